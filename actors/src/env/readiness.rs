//! Readiness: the conditions of `/readyz`. Redis answers, events are received, every market has fresh datasets.
//!
//! Actors record their successes and failures here; the HTTP endpoints read the conditions. Nothing here waits or does I/O, so
//! `/readyz` answers while Redis hangs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use supervision::Clock;

/// The age at which something that is written at this interval is stale: after three intervals and 5 s. Two failed attempts
/// in a row are no reason to take a process out of service.
#[must_use]
pub fn stale_after(interval: Duration) -> Duration {
    3 * interval + Duration::from_secs(5)
}

/// One readiness condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadinessCondition {
    /// Its name, such as `redis` or `market 0x…: summary`.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// Why it does not hold, or the age of the dataset.
    pub detail: String,
}

/// All readiness conditions, as the actors last observed them.
pub struct Readiness {
    clock: Clock,
    facts: Mutex<Facts>,
}

#[derive(Default)]
struct Facts {
    /// Why the subscription is down; `None` while it is up.
    subscription: Option<String>,
    /// Whether it is down because it was on another server than the one that is written to.
    is_deaf: bool,
    /// Why it can't be proven that it is on the server that is written to.
    unproven: Option<String>,
    subscribed_once: bool,
    datasets: BTreeMap<(String, &'static str), Freshness>,
    /// The markets of which the last pass found no producers' key.
    unproduced: BTreeSet<String>,
}

struct Freshness {
    /// Its owner, as the condition's name shows it.
    whose: String,
    /// The greatest age at which it is fresh.
    limit: Duration,
    /// When it was last written, in nanoseconds of the tree's clock: wall time may jump.
    written: Option<u64>,
    /// Why the last attempt failed.
    failure: Option<String>,
    /// Whether that counts at once, or only once the last success is too old.
    counts_at_once: bool,
}

impl Readiness {
    /// No observation yet.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        // Not ready before the first subscription: its absence is a failure, not an unknown.
        let facts = Facts { subscription: Some("not connected yet".to_owned()), ..Facts::default() };
        Self { clock: clock.clone(), facts: Mutex::new(facts) }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the condition that a dataset of this market is no older than `limit`.
    pub fn expect(&self, market: &str, dataset: &'static str, limit: Duration) {
        self.insert(market, format!("market {market}"), dataset, limit);
    }

    /// Adds the condition that something which belongs to no market is no older than `limit`.
    pub fn expect_of(&self, whose: &str, what: &'static str, limit: Duration) {
        self.insert(whose, whose.to_owned(), what, limit);
    }

    fn insert(&self, key: &str, whose: String, dataset: &'static str, limit: Duration) {
        let fresh = Freshness { whose, limit, written: None, failure: None, counts_at_once: false };
        self.facts().datasets.insert((key.to_owned(), dataset), fresh);
    }

    /// Removes the conditions of a market that is no longer tracked.
    pub fn forget(&self, market: &str) {
        let mut facts = self.facts();
        facts.datasets.retain(|(name, _), _| name != market);
        facts.unproduced.remove(market);
    }

    /// Records whether a pass found keys of the market's producers. It fails no condition: a market may wait for its producers.
    pub fn produced(&self, market: &str, has_keys: bool) {
        let mut facts = self.facts();
        // Unknown after `forget`, as in `written`.
        let is_expected = facts.datasets.keys().any(|(name, _)| name == market);
        if is_expected && !has_keys {
            facts.unproduced.insert(market.to_owned());
        } else {
            facts.unproduced.remove(market);
        }
    }

    /// The markets of which the last pass found no producers' key.
    #[must_use]
    pub fn without_producers(&self) -> Vec<String> {
        self.facts().unproduced.iter().cloned().collect()
    }

    /// Records that the subscription is established.
    pub fn subscribed(&self) {
        let mut facts = self.facts();
        facts.subscription = None;
        facts.unproven = None;
        facts.subscribed_once = true;
    }

    /// Records that nothing proves that the subscription is on the server that is written to. It is shown, and fails nothing.
    pub fn unproven(&self, why: impl ToString) {
        self.facts().unproven = Some(why.to_string());
    }

    /// Records that the subscription receives no events, because it is on another server than the one that is written to.
    pub fn deaf(&self, why: impl ToString) {
        let mut facts = self.facts();
        (facts.subscription, facts.is_deaf) = (Some(why.to_string()), true);
    }

    /// Records that the subscription is down.
    pub fn unsubscribed(&self, why: impl ToString) {
        let mut facts = self.facts();
        (facts.subscription, facts.is_deaf) = (Some(why.to_string()), false);
    }

    /// Records that a dataset was written, or that the market has none to write.
    pub fn written(&self, market: &str, dataset: &'static str) {
        let now = self.clock.nanos();
        // Unknown after `forget`: a pass may end after its market was removed.
        if let Some(fresh) = self.facts().datasets.get_mut(&(market.to_owned(), dataset)) {
            fresh.written = Some(now);
            fresh.failure = None;
        }
    }

    /// Records that a dataset could not be written.
    pub fn failed(&self, market: &str, dataset: &'static str, why: impl ToString) {
        self.note_failure(market, dataset, why.to_string(), true);
    }

    /// Records why an attempt failed that others are expected to make good, such as one of a single node: the reason is
    /// shown, and the condition fails once the last success is too old.
    pub fn hindered(&self, market: &str, dataset: &'static str, why: impl ToString) {
        self.note_failure(market, dataset, why.to_string(), false);
    }

    fn note_failure(&self, market: &str, dataset: &'static str, why: String, counts_at_once: bool) {
        if let Some(fresh) = self.facts().datasets.get_mut(&(market.to_owned(), dataset)) {
            (fresh.failure, fresh.counts_at_once) = (Some(why), counts_at_once);
        }
    }

    /// Every condition, with its state at this moment.
    #[must_use]
    pub fn conditions(&self) -> Vec<ReadinessCondition> {
        let now = self.clock.nanos();
        let facts = self.facts();
        let redis = ReadinessCondition {
            name: "redis".to_owned(),
            ok: facts.subscription.is_none(),
            detail: match (&facts.subscription, facts.subscribed_once) {
                (None, _) => match &facts.unproven {
                    None => "connected and subscribed to events".to_owned(),
                    Some(why) => format!("connected and subscribed to events, without a proof: {why}"),
                },
                (Some(why), _) if facts.is_deaf => {
                    format!("events are not received, subscribing again: {why}")
                }
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
            // A failure counts at once. To wait for staleness would tell operators minutes late.
            let ok = fresh_enough && !(fresh.failure.is_some() && fresh.counts_at_once);
            ReadinessCondition { name: format!("{}: {dataset}", fresh.whose), ok, detail }
        });
        std::iter::once(redis).chain(datasets).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(readiness: &Readiness) -> Vec<bool> {
        readiness.conditions().into_iter().map(|condition| condition.ok).collect()
    }

    #[test]
    fn readiness_needs_redis_and_every_dataset_fresh() {
        let clock = Clock::manual(Duration::ZERO);
        let readiness = Readiness::new(&clock);
        readiness.expect("m", "summary", Duration::from_secs(90));
        assert_eq!(ok(&readiness), [false, false]);
        readiness.subscribed();
        readiness.written("m", "summary");
        assert_eq!(ok(&readiness), [true, true]);
        clock.advance(Duration::from_secs(91));
        assert_eq!(ok(&readiness), [true, false]);
        readiness.written("m", "summary");
        readiness.unsubscribed("connection refused");
        assert_eq!(ok(&readiness), [false, true]);
        assert!(readiness.conditions()[0].detail.contains("connection refused"));
        readiness.forget("m");
        readiness.written("m", "summary");
        assert_eq!(ok(&readiness), [false], "a removed market has no conditions");
    }

    #[test]
    fn a_market_without_keys_of_its_producers_is_named_and_fails_no_condition() {
        let readiness = Readiness::new(&Clock::manual(Duration::ZERO));
        readiness.subscribed();
        readiness.expect("m", "summary", Duration::from_secs(90));
        readiness.written("m", "summary");
        assert_eq!(readiness.without_producers(), [""; 0]);
        readiness.produced("m", false);
        assert_eq!((readiness.without_producers(), ok(&readiness)), (vec!["m".to_owned()], vec![true, true]));
        readiness.produced("m", true);
        assert_eq!(readiness.without_producers(), [""; 0]);
        readiness.produced("m", false);
        readiness.forget("m");
        readiness.produced("m", false);
        assert_eq!(readiness.without_producers(), [""; 0], "a removed market is not named");
    }

    #[test]
    fn a_failure_of_nodes_is_shown_at_once_and_counts_when_the_last_success_is_too_old() {
        let clock = Clock::manual(Duration::ZERO);
        let readiness = Readiness::new(&clock);
        readiness.subscribed();
        readiness.expect_of("collector", "blocks", Duration::from_secs(90));
        readiness.hindered("collector", "blocks", "no node answered");
        let detail = || readiness.conditions()[1].detail.clone();
        assert_eq!(ok(&readiness), [true, false], "never written");
        assert!(detail().contains("no node answered"), "{}", detail());
        readiness.written("collector", "blocks");
        assert_eq!((ok(&readiness), detail().as_str()), (vec![true, true], "0.0 s old"));
        readiness.hindered("collector", "blocks", "no node answered");
        assert_eq!(ok(&readiness), [true, true]);
        assert!(detail().contains("no node answered"), "{}", detail());
        clock.advance(Duration::from_secs(91));
        assert_eq!(ok(&readiness), [true, false]);
    }
}
