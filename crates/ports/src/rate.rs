//! The rate of requests, or of connections, of each client address. Pure: the time is given.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The most addresses that are known at a time.
const MOST: usize = 1_024;

/// The buckets of all addresses.
#[derive(Debug)]
pub struct Rates {
    per_second: u32,
    all: Mutex<HashMap<IpAddr, Bucket>>,
}

/// An allowance that fills up with time.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// What it gains a second, and the most that it has.
    per_second: f64,
    most: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn new(per_second: f64, most: f64, now: Instant) -> Self {
        Self { per_second, most, left: most, at: now }
    }

    fn filled(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + since * self.per_second).min(self.most)
    }

    /// Takes one.
    ///
    /// # Errors
    /// The time after which there is one again.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        (self.left, self.at) = (self.filled(now), now);
        if self.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.left) / self.per_second));
        }
        self.left -= 1.0;
        Ok(())
    }
}

impl Rates {
    /// At most so many a second of each address, and twice as many at once.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second: per_second.max(1), all: Mutex::default() }
    }

    /// Takes one of this address.
    ///
    /// # Errors
    /// The time after which it may come again.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let key = network(address);
        if !all.contains_key(&key) && all.len() >= MOST {
            // A full bucket is as good as none.
            all.retain(|_, bucket| bucket.filled(now) < bucket.most);
            if all.len() >= MOST {
                // As many clients at once: which of them is forgotten makes no difference.
                all.clear();
            }
        }
        let rate = f64::from(self.per_second);
        all.entry(key).or_insert_with(|| Bucket::new(rate, rate * 2.0, now)).take(now)
    }
}

/// What stands for a client: its address, or of IPv6 its network of 64 bits, in which it may choose any address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_slowed_down_to_its_rate_and_disturbs_no_other() {
        let (rates, now) = (Rates::new(10), Instant::now());
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let taken = (0..100).filter(|_| rates.take(one, now).is_ok()).count();
        assert_eq!(taken, 20);
        let wait = rates.take(one, now).unwrap_err();
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        assert!(rates.take(other, now).is_ok());
        let later = now + Duration::from_millis(500);
        assert_eq!((0..100).filter(|_| rates.take(one, later).is_ok()).count(), 5);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_a_mapped_address_is_its_ipv4_one() {
        let (rates, now) = (Rates::new(1), Instant::now());
        let asked = |text: &str| rates.take(text.parse().unwrap(), now).is_ok();
        assert!(asked("2001:db8::1") && asked("2001:db8::ffff:1") && !asked("2001:db8::2"));
        assert!(asked("2001:db8:0:1::1"));
        assert!(asked("10.0.0.1") && asked("::ffff:10.0.0.1") && !asked("10.0.0.1"));
    }

    #[test]
    fn the_number_of_known_addresses_is_limited() {
        let (rates, now) = (Rates::new(1), Instant::now());
        for number in 0..10_000_u32 {
            assert!(rates.take(IpAddr::from(number.to_be_bytes()), now).is_ok());
            assert!(rates.all.lock().unwrap().len() <= MOST);
        }
    }
}
