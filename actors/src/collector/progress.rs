//! How far the chain was followed, for metrics, readiness, and those who need the chain's time.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use domain::{
    chain::{BlockRef, ContractAddress, WindowState},
    collector::Following,
};
use evm::{Counters, FaultKind, LogFaultKind, NodeStatus};
use supervision::Clock;

/// Shared by the actors of the chain.
pub struct Progress {
    clock: Clock,
    state: Mutex<FollowState>,
}

/// How far the chain was followed, at a moment.
#[derive(Clone, Debug, Default)]
pub struct FollowState {
    /// The last accepted block.
    pub checkpoint: Option<BlockRef>,
    /// The newest block that a node has told of, and when it did.
    pub head: Option<(BlockRef, Instant)>,
    /// The last block of those that are fetched in large parts, while there are some.
    pub backfill: Option<u64>,
    /// Blocks a second, over the last parts.
    pub speed: f64,
    /// Blocks accepted.
    pub blocks: u64,
    /// Reorganisations followed.
    pub reorganisations: u64,
    /// Commits that another tracker was ahead of.
    pub conflicts: u64,
    /// What blocks have brought, by the kinds of notices.
    pub notes: BTreeMap<String, u64>,
    /// Of each market: windows that wait, are open, are closed.
    pub windows: BTreeMap<ContractAddress, [u64; 3]>,
    /// Of each market: batches handed over, epochs that had expired, submissions set aside, blocks without a hash.
    pub prepared: BTreeMap<ContractAddress, Prepared>,
    /// How often no turn came in time.
    pub worker_timeouts: u64,
    /// What the cleaner has removed.
    pub cleaned: Cleaned,
}

/// What was removed because it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Markers of epochs.
    pub markers: u64,
    /// Sets of submissions.
    pub submissions: u64,
}

/// What the preparer of a market has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Epochs whose batches were handed over.
    pub epochs: u64,
    /// Batches handed over.
    pub batches: u64,
    /// Submissions in them.
    pub submissions: u64,
    /// Epochs whose submissions had expired.
    pub expired: u64,
    /// Epochs whose batches another program had handed over.
    pub elsewhere: u64,
    /// Members that are no submissions of their epoch.
    pub malformed: u64,
    /// Blocks whose hash was not known any more.
    pub missing: u64,
}

impl Progress {
    /// Nothing is followed yet.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self { clock: clock.clone(), state: Mutex::default() }
    }

    /// As it is now.
    #[must_use]
    pub fn now(&self) -> FollowState {
        self.with(|state| state.clone())
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut FollowState) -> T) -> T {
        // A panic elsewhere leaves numbers that are as good as before it.
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins anew.
    pub fn forget(&self) {
        self.with(|state| *state = FollowState::default());
    }

    /// A node told of this head.
    pub(super) fn head(&self, head: BlockRef) {
        let now = self.clock.now();
        self.with(|state| {
            // A head that stays keeps the moment at which it came: the chain's time goes on from there.
            if state.head.is_none_or(|(known, _)| known.hash != head.hash) {
                state.head = Some((head, now));
            }
        });
    }

    /// The chain's time, in Unix seconds: that of its newest block, and what has passed since that came. So a clock that
    /// is wrong does no harm.
    #[must_use]
    pub fn chain_time(&self) -> Option<u64> {
        let (head, since) = self.with(|state| state.head)?;
        Some(head.time.saturating_add(self.clock.now().saturating_duration_since(since).as_secs()))
    }

    pub(super) fn followed(&self, following: &Following) {
        let windows = following.markets.iter().map(|(market, there)| {
            let count = |is: fn(&WindowState) -> bool| {
                there.windows.values().filter(|window| is(&window.state)).count() as u64
            };
            let counts = [
                count(|state| matches!(state, WindowState::Waiting)),
                count(|state| matches!(state, WindowState::Open)),
                count(|state| matches!(state, WindowState::Closed { .. })),
            ];
            (*market, counts)
        });
        let windows = windows.collect();
        self.with(|state| {
            state.checkpoint = following.checkpoint;
            state.windows = windows;
        });
    }
}

impl FollowState {
    /// How many blocks are not accepted yet.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        Some(self.head?.0.number.saturating_sub(self.checkpoint?.number))
    }

    /// Blocks that are left of those that are fetched in large parts.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        let last = self.checkpoint.map_or(0, |checkpoint| checkpoint.number);
        self.backfill.map_or(0, |to| to.saturating_sub(last))
    }

    /// How long the rest of a backfill takes, at the present speed.
    #[must_use]
    pub fn estimate(&self) -> Option<Duration> {
        let seconds = self.remaining() as f64 / self.speed;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// What a source has counted, in one list: name of the kind and how often.
pub(super) fn faults(counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    let of_nodes = FaultKind::ALL.iter().map(|kind| (kind.label(), counters.faults(*kind)));
    of_nodes.chain(LogFaultKind::ALL.iter().map(|kind| (kind.label(), counters.log_faults(*kind))))
}

/// How many nodes are in which state.
pub(super) fn nodes(nodes: &[NodeStatus]) -> impl Iterator<Item = (&'static str, u64)> {
    let mut counts = [("up", 0), ("lagging", 0), ("set_aside", 0), ("unknown", 0)];
    for node in nodes {
        let state = match node {
            node if !node.set_aside_for.is_zero() => 2,
            node if node.lagging => 1,
            node if node.head.is_none() => 3,
            _ => 0,
        };
        counts[state].1 += 1;
    }
    counts.into_iter()
}

#[cfg(test)]
mod tests {
    use domain::chain::Hash;

    use super::*;

    fn block(number: u64, time: u64) -> BlockRef {
        BlockRef { number, hash: Hash([number as u8; 32]), parent: Hash([0; 32]), time }
    }

    #[test]
    fn the_time_of_the_chain_does_not_know_what_our_clock_says() {
        // A day ahead of the chain.
        let clock = Clock::manual(Duration::from_secs(1_000_000 + 86_400));
        let progress = Progress::new(&clock);
        assert_eq!(progress.chain_time(), None);
        progress.head(block(1, 1_000_000));
        assert_eq!(progress.chain_time(), Some(1_000_000));
        clock.advance(Duration::from_secs(7));
        // That there is no new block is no new time.
        progress.head(block(1, 1_000_000));
        assert_eq!(progress.chain_time(), Some(1_000_007));
        progress.head(block(2, 1_000_005));
        assert_eq!(progress.chain_time(), Some(1_000_005));
    }

    #[test]
    fn lag_and_estimate_are_known_once_there_is_something_to_reckon_with() {
        let mut state = FollowState::default();
        assert_eq!((state.lag(), state.remaining(), state.estimate()), (None, 0, None));
        state.checkpoint = Some(block(40, 1_000_040));
        state.head = Some((block(47, 1_000_047), Instant::now()));
        (state.backfill, state.speed) = (Some(1_040), 250.0);
        let four_seconds = Some(Duration::from_secs(4));
        assert_eq!((state.lag(), state.remaining(), state.estimate()), (Some(7), 1_000, four_seconds));
        // A node that is behind us.
        state.head = Some((block(39, 1_000_039), Instant::now()));
        state.backfill = None;
        assert_eq!((state.lag(), state.remaining(), state.estimate()), (Some(0), 0, Some(Duration::ZERO)));
    }

    #[test]
    fn each_node_is_in_one_state() {
        let node = |head, lagging, seconds| NodeStatus {
            node: "http://127.0.0.1:1".parse().expect("a URL"),
            archive: false,
            head,
            lagging,
            fault: None,
            set_aside_for: Duration::from_secs(seconds),
        };
        let all = [
            node(Some(7), false, 0),
            node(Some(3), true, 0),
            node(Some(3), true, 9),
            node(None, false, 9),
            node(None, false, 0),
        ];
        let states: Vec<_> = nodes(&all).collect();
        assert_eq!(states, [("up", 1), ("lagging", 1), ("set_aside", 2), ("unknown", 1)]);
    }
}
