//! How many connections each user has, and how often it asks: a flood of one user costs the others nothing. Pure: the time is given.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ports::Bucket;

/// How long a user without connections is remembered, so that its rates hold.
const REMEMBERED: Duration = Duration::from_secs(60);
/// The most users that are known at a time beyond those with connections.
const MOST_IDLE: usize = 10_000;

/// The limits of each user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserLimits {
    pub(crate) connections: usize,
    pub(crate) connects_per_second: u32,
    pub(crate) requests_per_second: u32,
}

/// All users.
pub(crate) struct Users {
    limits: UserLimits,
    all: Mutex<HashMap<Arc<str>, User>>,
}

struct User {
    connections: usize,
    connects: Bucket,
    requests: Bucket,
    seen: Instant,
}

/// The place of one connection of a user, as long as this exists.
pub(crate) struct Place {
    users: Arc<Users>,
    pub(crate) user: Arc<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(user) = self.users.lock().get_mut(&self.user) {
            user.connections = user.connections.saturating_sub(1);
        }
    }
}

impl Users {
    pub(crate) fn new(limits: UserLimits) -> Arc<Self> {
        Arc::new(Self { limits, all: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, User>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more connection of a user in.
    ///
    /// # Errors
    /// The time after which the user may try again.
    pub(crate) fn enter(self: &Arc<Self>, user: &Arc<str>, now: Instant) -> Result<Place, Duration> {
        let mut all = self.lock();
        if all.len() >= MOST_IDLE && !all.contains_key(user) {
            forget(&mut all, now);
        }
        let entry = self.entry(&mut all, user, now);
        entry.connects.take(now)?;
        if entry.connections >= self.limits.connections {
            return Err(Duration::from_secs(1));
        }
        entry.connections += 1;
        Ok(Place { users: self.clone(), user: user.clone() })
    }

    /// Lets a user ask once.
    ///
    /// # Errors
    /// The time after which it may ask again.
    pub(crate) fn ask(&self, user: &Arc<str>, now: Instant) -> Result<(), Duration> {
        let mut all = self.lock();
        self.entry(&mut all, user, now).requests.take(now)
    }

    fn entry<'a>(&self, all: &'a mut HashMap<Arc<str>, User>, user: &Arc<str>, now: Instant) -> &'a mut User {
        let bucket = |per_second: u32| {
            let rate = f64::from(per_second.max(1));
            Bucket::new(rate, rate * 2.0, now)
        };
        let entry = all.entry(user.clone()).or_insert_with(|| User {
            connections: 0,
            connects: bucket(self.limits.connects_per_second),
            requests: bucket(self.limits.requests_per_second),
            seen: now,
        });
        entry.seen = now;
        entry
    }

    /// Forgets the users that have not been here for a while.
    pub(crate) fn forget(&self, now: Instant) {
        forget(&mut self.lock(), now);
    }

    /// The users with connections.
    pub(crate) fn connected(&self) -> usize {
        self.lock().values().filter(|user| user.connections > 0).count()
    }
}

fn forget(all: &mut HashMap<Arc<str>, User>, now: Instant) {
    all.retain(|_, user| user.connections > 0 || now.saturating_duration_since(user.seen) < REMEMBERED);
    if all.len() >= MOST_IDLE {
        // So many within a minute: that they may ask a little more makes no difference.
        all.retain(|_, user| user.connections > 0);
    }
    all.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Arc<Users> {
        Users::new(UserLimits { connections: 3, connects_per_second: 5, requests_per_second: 2 })
    }

    #[test]
    fn a_flood_of_one_user_leaves_the_others_their_places() {
        let (users, now) = (users(), Instant::now());
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        let places: Vec<Place> = (0..3_847).filter_map(|_| users.enter(&one, now).ok()).collect();
        assert_eq!(places.len(), 3);
        assert!(users.enter(&other, now).is_ok());
        let asked = (0..100).filter(|_| users.ask(&one, now).is_ok()).count();
        assert_eq!((asked, users.ask(&other, now)), (4, Ok(())));
    }

    #[test]
    fn a_user_may_come_back_at_its_rate_after_its_connections_ended() {
        let (users, now) = (users(), Instant::now());
        let one: Arc<str> = "one".into();
        let entered = (0..100).filter(|_| users.enter(&one, now).is_ok()).count();
        assert_eq!(entered, 10);
        assert!(users.enter(&one, now + Duration::from_secs(1)).is_ok());
        assert_eq!(users.connected(), 0);
    }

    #[test]
    fn the_number_of_users_is_limited() {
        let (users, now) = (users(), Instant::now());
        for number in 0..MOST_IDLE + 100 {
            let _ = users.enter(&number.to_string().into(), now);
        }
        assert!(users.lock().len() <= MOST_IDLE);
        users.forget(now + REMEMBERED);
        assert_eq!(users.lock().len(), 0);
    }
}
