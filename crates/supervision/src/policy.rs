//! The policy of a child: which exits restart it, with which pauses, how often, and its deadlines.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// The exits after which a child is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Every exit.
    Permanent,
    /// Every exit but an orderly one. A stalled or killed child did not end orderly.
    Transient,
    /// None.
    Temporary,
}

/// What happens to the siblings of a child that ends and is restarted, and whether they stop one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// They continue.
    #[default]
    OneForOne,
    /// They continue, and all stop at once: none needs another one.
    Independent,
    /// All depend on each other: the others stop in reverse order, and all start again in order.
    OneForAll,
    /// Those after it in the start order depend on it: they stop in reverse order, and start again after it in order.
    RestForOne,
}

/// The restart limit, as in OTP: at most `max_restarts` restarts in any period of `within`. One more makes the child
/// degraded, or ends its supervisor: [`Policy::on_limit`].
#[derive(Clone, Copy, Debug)]
pub struct Intensity {
    /// The most restarts in the period.
    pub max_restarts: u32,
    /// The length of the period.
    pub within: Duration,
}

/// What happens when a child exceeds its restart limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLimit {
    /// It is degraded: retried with [`Policy::degraded_retry`], while its siblings continue.
    #[default]
    Degrade,
    /// Its supervisor stops its other children in reverse order and fails, as in OTP; the supervisor above decides about its
    /// restart. The root fails with [`Outcome::GaveUp`](crate::Outcome::GaveUp).
    Escalate,
}

/// How a child is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// It is asked, and killed when it has not ended within this time.
    Within(Duration),
    /// It is killed without being asked.
    AtOnce,
    /// It is asked, and may take as long as it needs. [`Tree::stop`](crate::Tree::stop) still kills it at its own deadline.
    Unlimited,
}

impl Shutdown {
    /// The time that it may take; `None` without a limit.
    pub(crate) fn limit(self) -> Option<Duration> {
        match self {
            Self::Within(limit) => Some(limit),
            Self::AtOnce => Some(Duration::ZERO),
            Self::Unlimited => None,
        }
    }
}

/// The pause before a restart: doubled at each one, from `first` to `max`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
    /// Whether each pause is shortened at random by up to its half, so that actors which crashed together restart apart.
    pub jitter: bool,
    /// After this time without a crash a child is healthy: its backoff and its restart limit start again, and it is no longer
    /// degraded.
    pub reset_after: Duration,
}

/// The policy of a child.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The exits after which it is restarted.
    pub restart: Restart,
    /// The restart limit. Exits with [`Unavailable`](crate::Unavailable) don't count: an outage is no fault of the actor.
    pub intensity: Intensity,
    /// What happens when it exceeds the restart limit.
    pub on_limit: OnLimit,
    /// The pauses before restarts.
    pub backoff: Backoff,
    /// How long the next sibling in the start order waits for this child to be ready.
    pub start_within: Duration,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// How long it may work without progress before it is killed and restarted; `None` for no limit.
    pub stall_after: Option<Duration>,
    /// The pause between the restarts of a degraded child.
    pub degraded_retry: Duration,
    /// Set for a mandatory child: when it is degraded for this long, the root gives up.
    pub give_up_after: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            restart: Restart::Permanent,
            intensity: Intensity { max_restarts: 5, within: Duration::from_secs(60) },
            on_limit: OnLimit::Degrade,
            backoff: Backoff {
                first: Duration::from_millis(100),
                max: Duration::from_secs(30),
                jitter: true,
                reset_after: Duration::from_secs(60),
            },
            start_within: Duration::from_secs(5),
            shutdown: Shutdown::Within(Duration::from_secs(2)),
            stall_after: Some(Duration::from_secs(30)),
            degraded_retry: Duration::from_secs(30),
            give_up_after: None,
        }
    }
}

/// The pauses of one child since it was last healthy.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    /// The last one, without its jitter; zero before the first.
    last: Duration,
}

impl Pauses {
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn next(&mut self, backoff: &Backoff, chance: &mut Chance) -> Duration {
        self.last = match self.last {
            Duration::ZERO => backoff.first.min(backoff.max),
            last => last.saturating_mul(2).min(backoff.max),
        };
        jittered(self.last, backoff, chance)
    }
}

/// A pause, shortened by chance where the backoff says so.
pub(crate) fn jittered(pause: Duration, backoff: &Backoff, chance: &mut Chance) -> Duration {
    if backoff.jitter { pause.mul_f64(1.0 - chance.fraction() / 2.0) } else { pause }
}

/// A source of chance that a seed determines. Not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that nobody chose.
    pub(crate) fn any_seed() -> u64 {
        // Each RandomState has other keys.
        RandomState::new().build_hasher().finish()
    }

    /// The next number: the generator SplitMix64, by Guy Steele, Doug Lea and Christine Flood.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to 1.
    fn fraction(&mut self) -> f64 {
        // 53 bits are what a fraction holds.
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// 1,000 draws of a pause: the shortest and the longest, in milliseconds.
    fn spread(mut draw: impl FnMut() -> Duration) -> (u128, u128) {
        let draws: Vec<u128> = (0..1_000).map(|_| draw().as_millis()).collect();
        (draws.iter().min().copied().unwrap_or(0), draws.iter().max().copied().unwrap_or(0))
    }

    #[test]
    fn jitter_spreads_every_pause_and_the_longest_one_too() {
        let mut chance = Chance::new(Chance::any_seed());
        let backoff = Backoff { first: SECOND, max: 4 * SECOND, jitter: true, reset_after: SECOND };
        for (step, longest) in [1_000, 2_000, 4_000, 4_000].into_iter().enumerate() {
            let (least, most) = spread(|| {
                let mut pauses = Pauses::default();
                for _ in 0..step {
                    pauses.next(&backoff, &mut chance);
                }
                pauses.next(&backoff, &mut chance)
            });
            // 1,000 draws leave out a tenth at an end once in 10^46 runs.
            assert!(least >= longest / 2 && least < longest * 6 / 10, "{least} of {longest}");
            assert!(most <= longest && most > longest * 9 / 10, "{most} of {longest}");
        }
    }

    #[test]
    fn without_jitter_the_pause_doubles_up_to_the_longest_and_begins_again_after_a_reset() {
        let chance = &mut Chance::new(1);
        let backoff = Backoff { first: SECOND, max: 5 * SECOND, jitter: false, reset_after: SECOND };
        let mut pauses = Pauses::default();
        assert_eq!([1, 2, 4, 5, 5].map(|_| pauses.next(&backoff, chance).as_secs()), [1, 2, 4, 5, 5]);
        pauses.reset();
        assert_eq!(pauses.next(&backoff, chance), SECOND);
        let longer = Backoff { first: 9 * SECOND, ..backoff };
        assert_eq!(Pauses::default().next(&longer, chance), 5 * SECOND);
    }

    #[test]
    fn a_seed_determines_its_numbers() {
        // The first numbers of the generator for the seed 1234567, as its authors' implementation prints them.
        let mut chance = Chance::new(1_234_567);
        let numbers = [(); 3].map(|()| chance.number());
        assert_eq!(
            numbers,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }
}
