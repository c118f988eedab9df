//! What decides whether the process is ready: Redis answers, events are heard, every market has fresh datasets.
//!
//! Actors note here what they meet; the HTTP endpoints read it. Nothing in here waits or does I/O.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use supervision::Clock;

/// How old something may be that is written at this interval: three intervals and some slack.
#[must_use]
pub fn stale_after(interval: Duration) -> Duration {
    3 * interval + Duration::from_secs(5)
}

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Its name, as in `redis` or `market 0x…: summary`.
    pub name: String,
    /// Whether it is met.
    pub ok: bool,
    /// Why not, or since when.
    pub detail: String,
}

/// The state of things outside, as the actors last met them.
pub struct Status {
    clock: Clock,
    facts: Mutex<Facts>,
}

#[derive(Default)]
struct Facts {
    /// Why the subscription is down; `None` while it is up.
    subscription: Option<String>,
    subscribed_once: bool,
    datasets: BTreeMap<(String, &'static str), Freshness>,
}

struct Freshness {
    /// Whose it is, as it is shown.
    whose: String,
    /// How old the dataset may be.
    limit: Duration,
    /// When it was last written, on the tree's clock.
    written: Option<u64>,
    /// Why the last attempt failed.
    failure: Option<String>,
}

impl Status {
    /// No observation yet.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        let facts = Facts { subscription: Some("not connected yet".to_owned()), ..Facts::default() };
        Self { clock: clock.clone(), facts: Mutex::new(facts) }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares a dataset of a market that must be no older than `limit`.
    pub fn expect(&self, market: &str, dataset: &'static str, limit: Duration) {
        self.insert(market, format!("market {market}"), dataset, limit);
    }

    /// Declares something of no market that must be no older than `limit`.
    pub fn expect_of(&self, whose: &str, what: &'static str, limit: Duration) {
        self.insert(whose, whose.to_owned(), what, limit);
    }

    fn insert(&self, key: &str, whose: String, dataset: &'static str, limit: Duration) {
        let fresh = Freshness { whose, limit, written: None, failure: None };
        self.facts().datasets.insert((key.to_owned(), dataset), fresh);
    }

    /// Expects nothing more of a market that is no longer tracked.
    pub fn forget(&self, market: &str) {
        self.facts().datasets.retain(|(name, _), _| name != market);
    }

    /// The subscription stands.
    pub fn subscribed(&self) {
        let mut facts = self.facts();
        facts.subscription = None;
        facts.subscribed_once = true;
    }

    /// The subscription is down.
    pub fn unsubscribed(&self, why: impl ToString) {
        self.facts().subscription = Some(why.to_string());
    }

    /// A dataset was written, or found not to exist.
    pub fn written(&self, market: &str, dataset: &'static str) {
        let now = self.clock.nanos();
        if let Some(fresh) = self.facts().datasets.get_mut(&(market.to_owned(), dataset)) {
            fresh.written = Some(now);
            fresh.failure = None;
        }
    }

    /// A dataset could not be written.
    pub fn failed(&self, market: &str, dataset: &'static str, why: impl ToString) {
        if let Some(fresh) = self.facts().datasets.get_mut(&(market.to_owned(), dataset)) {
            fresh.failure = Some(why.to_string());
        }
    }

    /// Every condition.
    #[must_use]
    pub fn readiness(&self) -> Vec<Readiness> {
        let now = self.clock.nanos();
        let facts = self.facts();
        let redis = Readiness {
            name: "redis".to_owned(),
            ok: facts.subscription.is_none(),
            detail: match (&facts.subscription, facts.subscribed_once) {
                (None, _) => "connected and subscribed to events".to_owned(),
                (Some(why), false) => format!("waiting for Redis: {why}"),
                (Some(why), true) => format!("Redis is away, reconnecting: {why}"),
            },
        };
        let datasets = facts.datasets.iter().map(|((_, dataset), fresh)| {
            let age = fresh.written.map(|written| Duration::from_nanos(now.saturating_sub(written)));
            let fresh_enough = age.is_some_and(|age| age <= fresh.limit);
            let limit = fresh.limit.as_secs_f64();
            let shown = match age {
                None => "never written".to_owned(),
                Some(age) if fresh_enough => format!("{:.1} s old", age.as_secs_f64()),
                Some(age) => format!("{:.1} s old, {limit:.0} s are allowed", age.as_secs_f64()),
            };
            let detail = match &fresh.failure {
                Some(failure) => format!("{shown}; the last attempt failed: {failure}"),
                None => shown,
            };
            let ok = fresh_enough && fresh.failure.is_none();
            Readiness { name: format!("{}: {dataset}", fresh.whose), ok, detail }
        });
        std::iter::once(redis).chain(datasets).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(status: &Status) -> Vec<bool> {
        status.readiness().into_iter().map(|condition| condition.ok).collect()
    }

    #[test]
    fn readiness_needs_redis_and_every_dataset_fresh() {
        let clock = Clock::manual(Duration::ZERO);
        let status = Status::new(&clock);
        status.expect("m", "summary", Duration::from_secs(90));
        assert_eq!(ok(&status), [false, false]);
        status.subscribed();
        status.written("m", "summary");
        assert_eq!(ok(&status), [true, true]);
        clock.advance(Duration::from_secs(91));
        assert_eq!(ok(&status), [true, false]);
        status.written("m", "summary");
        status.unsubscribed("connection refused");
        assert_eq!(ok(&status), [false, true]);
        assert!(status.readiness()[0].detail.contains("connection refused"));
        status.forget("m");
        status.written("m", "summary");
        assert_eq!(ok(&status), [false], "nobody waits for a market that is gone");
    }
}
