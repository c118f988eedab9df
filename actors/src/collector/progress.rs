//! The progress of the collector: for metrics, the progress bar, the demo, and actors that need the chain's time.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use domain::{
    chain::{BlockRef, ContractAddress, WindowState},
    collector::{ChainState, Verdict},
};
use evm::{Counters, FaultKind, LogFaultKind, NodeStatus};
use relay_client::CallError;
use store_collector::outbox::{Lane, Stage};
use supervision::Clock;

/// The progress, shared by the collector's actors.
pub struct Progress {
    clock: Clock,
    /// When it began, in Unix seconds.
    started: u64,
    state: Mutex<ProgressSnapshot>,
}

/// The progress at one moment.
#[derive(Clone, Debug, Default)]
pub struct ProgressSnapshot {
    /// The last accepted block.
    pub checkpoint: Option<BlockRef>,
    /// The block that a node has reported last as the newest one, and when it was first reported.
    pub head: Option<(BlockRef, Instant)>,
    /// When the last accepted block was first known to be it: the chain's time is counted on from then.
    pub accepted_at: Option<Instant>,
    /// The last block of the backfill; `None` when there is none.
    pub backfill: Option<u64>,
    /// Blocks a second, as a moving average over segments.
    pub speed: f64,
    /// Whether it was reported that a node answers for so few blocks at once that the backfill is slow.
    pub is_narrow_reported: bool,
    /// Blocks accepted.
    pub blocks: u64,
    /// Reorganisations followed.
    pub reorganisations: u64,
    /// Writes that were skipped because another tracker was ahead.
    pub conflicts: u64,
    /// The number of effects of blocks, by the kind of their notice.
    pub notes: BTreeMap<String, u64>,
    /// For each market the number of windows of unknown length, and of waiting, open and closed ones.
    pub windows: BTreeMap<ContractAddress, [u64; 4]>,
    /// For each market the counts of its batch preparer.
    pub prepared: BTreeMap<ContractAddress, Prepared>,
    /// How often no worker became free in time.
    pub worker_timeouts: u64,
    /// The counts of the cleaner.
    pub cleaned: Cleaned,
    /// For each market what its lane of the outbox has done, and how it stood when it was read last.
    pub relayed: BTreeMap<ContractAddress, Relayed>,
    /// For each market the counts of its rewards.
    pub rewarded: BTreeMap<ContractAddress, Rewarded>,
}

/// The counts of a market's rewards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewarded {
    /// Whether past days are planned to be told after the start of the program.
    pub has_begun: bool,
    /// The plans whose calls are not in the outbox yet.
    pub due: u64,
    /// Plans whose calls are in the outbox.
    pub settled: u64,
    /// Those calls.
    pub calls: u64,
    /// Counters that held no number.
    pub broken: u64,
}

/// The counts of the cleaner: what it has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Markers of epochs.
    pub markers: u64,
    /// Sets of submissions.
    pub submissions: u64,
}

/// The counts of a market's batch preparer.
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
    /// Members that were set aside because they are no submissions of their epoch.
    pub malformed: u64,
    /// Blocks whose hash had expired.
    pub missing: u64,
}

/// What came of a call of the relayer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// The relayer has accepted it.
    Accepted,
    /// There was no whole answer in time.
    NoAnswer,
    /// The relayer could not take it, and it is made again.
    Unavailable,
    /// The relayer denied access.
    Denied,
    /// The relayer refused it, and it is made again for a while.
    Refused,
    /// It went to the dead calls.
    Buried,
}

impl CallOutcome {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Accepted, Self::NoAnswer, Self::Unavailable, Self::Denied, Self::Refused, Self::Buried];

    /// The value of the metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::NoAnswer => "no_answer",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Buried => "buried",
        }
    }

    /// That of a call that was not accepted.
    pub(super) fn of(error: &CallError) -> Self {
        match (error, error.verdict()) {
            (CallError::NoAnswer { .. } | CallError::Late { .. }, _) => Self::NoAnswer,
            (_, Verdict::Denied) => Self::Denied,
            (_, Verdict::Refused) => Self::Refused,
            _ => Self::Unavailable,
        }
    }
}

/// What the lane of a market has done, and how it stood when it was read last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// How many calls there were at each stage, in the order of [`Stage::ALL`].
    pub depths: [u64; 4],
    /// How long the first call had waited, and when that was.
    pub oldest: Option<(Duration, Instant)>,
    /// Whether an operator has paused it.
    pub is_paused: bool,
    /// Whether the relayer has denied access.
    pub is_denied: bool,
    /// How often each outcome came, in the order of [`CallOutcome::ALL`].
    pub outcomes: [u64; 6],
}

impl Relayed {
    /// Takes a lane as it was read at this moment.
    pub(super) fn seen(&mut self, lane: &Lane, now: Instant) {
        self.depths = Stage::ALL.map(|stage| lane.depth(stage));
        self.oldest = lane.oldest().map(|oldest| (Duration::from_millis(oldest), now));
        (self.is_paused, self.is_denied) = (lane.holds.paused.is_some(), lane.holds.denied.is_some());
    }

    pub(super) fn count(&mut self, outcome: CallOutcome) {
        self.outcomes[outcome as usize] += 1;
    }

    /// How long the first call has waited by this moment.
    #[must_use]
    pub fn oldest(&self, now: Instant) -> Duration {
        self.oldest.map(|(oldest, at)| oldest + now.saturating_duration_since(at)).unwrap_or_default()
    }
}

impl Progress {
    /// No progress yet.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            started: u64::try_from(clock.unix().as_nanos()).unwrap_or(u64::MAX),
            state: Mutex::default(),
        }
    }

    /// When it began, in Unix seconds: the same for all incarnations of the actors.
    pub(super) fn started(&self) -> u64 {
        self.started
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A copy of the progress now.
    #[must_use]
    pub fn now(&self) -> ProgressSnapshot {
        self.with(|state| state.clone())
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut ProgressSnapshot) -> T) -> T {
        // Poisoning is ignored: no closure can panic between two changes that belong together.
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns to no progress.
    pub fn reset(&self) {
        self.with(|state| *state = ProgressSnapshot::default());
    }

    /// Records the head that a node reported.
    pub(super) fn head(&self, head: BlockRef) {
        let now = self.clock.now();
        self.with(|state| {
            if state.head.is_none_or(|(known, _)| known.hash != head.hash) {
                state.head = Some((head, now));
            }
        });
    }

    /// The chain's time, in Unix seconds: the time of the last accepted block plus the time since it was accepted. Windows are closed
    /// by it. It does not depend on the wall clock of this machine, which may be wrong. Nor does it on heads that were not accepted, or
    /// on dropped blocks: nodes behind a balancer report another head each time, and the time of one may be wrong.
    #[must_use]
    pub fn chain_time(&self) -> Option<u64> {
        let (block, since) = self.with(|state| Some((state.checkpoint?, state.accepted_at?)))?;
        Some(block.time.saturating_add(self.clock.now().saturating_duration_since(since).as_secs()))
    }

    /// Records the chain state that was read or written, of the markets of this tracker.
    pub(super) fn followed(&self, chain: &ChainState, markets: &[ContractAddress]) {
        let own = chain.markets.iter().filter(|(market, _)| markets.contains(market));
        let windows = own.map(|(market, there)| {
            let count = |is: fn(&WindowState) -> bool| {
                there.windows.values().filter(|window| is(&window.state)).count() as u64
            };
            let counts = [
                count(|state| matches!(state, WindowState::Unmeasured)),
                count(|state| matches!(state, WindowState::Waiting)),
                count(|state| matches!(state, WindowState::Open)),
                count(|state| matches!(state, WindowState::Closed { .. })),
            ];
            (*market, counts)
        });
        // Counted before the lock, which scrapes and other actors wait for.
        let windows = windows.collect();
        let now = self.clock.now();
        self.with(|state| {
            let hash = |block: &BlockRef| block.hash;
            if state.checkpoint.as_ref().map(hash) != chain.checkpoint.as_ref().map(hash) {
                state.accepted_at = Some(now);
            }
            state.checkpoint = chain.checkpoint;
            state.windows = windows;
            // From 0 on: alerts see no growth in the first sample of a series.
            for market in markets {
                state.prepared.entry(*market).or_default();
            }
        });
    }
}

impl ProgressSnapshot {
    /// How many blocks are not accepted yet.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        // Saturating: the last head may come from a node that is behind the checkpoint.
        Some(self.head?.0.number.saturating_sub(self.checkpoint?.number))
    }

    /// How many accepted blocks are above the head. A node that is a few blocks behind makes it more than 0 for a moment.
    #[must_use]
    pub fn lead(&self) -> Option<u64> {
        Some(self.checkpoint?.number.saturating_sub(self.head?.0.number))
    }

    /// The number of blocks that are left of the backfill.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        // Saturating: the two are updated at different moments.
        let last = self.checkpoint.map_or(0, |checkpoint| checkpoint.number);
        self.backfill.map_or(0, |to| to.saturating_sub(last))
    }

    /// The time that the rest of the backfill takes at the present speed.
    #[must_use]
    pub fn estimate(&self) -> Option<Duration> {
        let seconds = self.remaining() as f64 / self.speed;
        // Fails for a speed of 0: the quotient is infinite or no number.
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// The faults that a source has counted: label of the kind, and number.
pub(super) fn faults(counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    let of_nodes = FaultKind::ALL.iter().map(|kind| (kind.label(), counters.faults(*kind)));
    of_nodes.chain(LogFaultKind::ALL.iter().map(|kind| (kind.label(), counters.log_faults(*kind))))
}

/// The number of nodes in each state. A node has one state: the first that applies of set aside, lagging, unknown, up. After its
/// pause a node stays set aside until it has answered: one that hangs would count as up during each of its requests.
pub(super) fn nodes(nodes: &[NodeStatus]) -> impl Iterator<Item = (&'static str, u64)> {
    let mut counts = [("up", 0), ("lagging", 0), ("set_aside", 0), ("unknown", 0)];
    for node in nodes {
        let state = match node {
            // First: what a node reported before it was set aside does not count.
            node if !node.set_aside_for.is_zero() || node.fault.is_some() => 2,
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

    fn accept(progress: &Progress, block: BlockRef) {
        progress.followed(&ChainState { checkpoint: Some(block), ..ChainState::default() }, &[]);
    }

    #[test]
    fn the_chains_time_does_not_depend_on_the_wall_clock() {
        // A day ahead of the chain.
        let clock = Clock::manual(Duration::from_secs(1_000_000 + 86_400));
        let progress = Progress::new(&clock);
        progress.head(block(1, 1_000_000));
        assert_eq!(progress.chain_time(), None);
        accept(&progress, block(1, 1_000_000));
        assert_eq!(progress.chain_time(), Some(1_000_000));
        clock.advance(Duration::from_secs(7));
        // The same block again does not set the time back.
        accept(&progress, block(1, 1_000_000));
        assert_eq!(progress.chain_time(), Some(1_000_007));
        accept(&progress, block(2, 1_000_009));
        assert_eq!(progress.chain_time(), Some(1_000_009));
    }

    #[test]
    fn the_chains_time_goes_on_while_nodes_report_different_heads_and_recovers_from_a_wrong_one() {
        let clock = Clock::manual(Duration::from_secs(1_000_000));
        let progress = Progress::new(&clock);
        accept(&progress, block(20, 1_000_020));
        for second in 0..40 {
            progress.head(block(20 - second % 2, 1_000_020 - second % 2));
            assert_eq!(progress.chain_time(), Some(1_000_020 + second));
            clock.advance(Duration::from_secs(1));
        }
        // Minutes ahead, and not accepted.
        progress.head(block(21, 1_000_540));
        assert_eq!(progress.chain_time(), Some(1_000_060));
    }

    #[test]
    fn the_chains_time_is_that_of_the_block_that_replaced_a_dropped_one() {
        let clock = Clock::manual(Duration::from_secs(1_000_000));
        let progress = Progress::new(&clock);
        accept(&progress, block(20, 1_000_540));
        clock.advance(Duration::from_secs(2));
        accept(&progress, BlockRef { hash: Hash([99; 32]), ..block(20, 1_000_042) });
        assert_eq!(progress.chain_time(), Some(1_000_042));
    }

    #[test]
    fn lag_and_estimate_are_known_once_their_inputs_are() {
        let mut state = ProgressSnapshot::default();
        assert_eq!((state.lag(), state.remaining(), state.estimate()), (None, 0, None));
        assert_eq!(state.lead(), None);
        state.checkpoint = Some(block(40, 1_000_040));
        state.head = Some((block(47, 1_000_047), Instant::now()));
        (state.backfill, state.speed) = (Some(1_040), 250.0);
        let four_seconds = Some(Duration::from_secs(4));
        assert_eq!((state.lag(), state.remaining(), state.estimate()), (Some(7), 1_000, four_seconds));
        assert_eq!(state.lead(), Some(0));
        // A node that is behind the checkpoint.
        state.head = Some((block(39, 1_000_039), Instant::now()));
        state.backfill = None;
        assert_eq!((state.lag(), state.remaining(), state.estimate()), (Some(0), 0, Some(Duration::ZERO)));
        assert_eq!(state.lead(), Some(1));
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
            log_range: None,
        };
        let all = [
            node(Some(7), false, 0),
            node(Some(3), true, 0),
            node(Some(3), true, 9),
            node(None, false, 9),
            node(None, false, 0),
            // Its pause is over, and it has not answered since.
            NodeStatus { fault: Some(FaultKind::Timeout), ..node(Some(7), false, 0) },
        ];
        let states: Vec<_> = nodes(&all).collect();
        assert_eq!(states, [("up", 1), ("lagging", 1), ("set_aside", 3), ("unknown", 1)]);
    }
}
