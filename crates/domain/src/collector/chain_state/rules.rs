//! The rules of the chain state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chain::{ContractAddress, Window, WindowState};

/// Values from the configuration and the contracts. Times are seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The last known length of each market's submission window: `snapshotSubmissionWindow`. It counts for epochs whose release
    /// block was not asked for its own.
    pub windows: BTreeMap<ContractAddress, u64>,
    /// The last known length of each market's day: `DAY_SIZE`.
    pub day_lengths: BTreeMap<ContractAddress, u64>,
    /// How many past days rewards are told of: an older change of day is forgotten.
    pub past_days: u64,
    /// What is wanted for the markets of this tracker.
    pub followed: Followed,
    /// How many windows of a market are open at once.
    pub max_windows: usize,
    /// How many blocks may be undone.
    pub max_reorg_depth: u64,
    /// How long a set of submissions lives in Redis after it was written, which may be as early as the release of its epoch.
    pub inputs_live: u64,
    /// How long after its limit a window waits for a block that closes it.
    pub silence: u64,
    /// How long a block takes, for the estimate of a window's last block.
    pub block_time: f64,
}

/// What a tracker wants for a market that it follows, whichever tracker accepts its blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// Whether its submitted batches go to the attestor.
    pub attest: bool,
}

/// What the contract of each market said at blocks, by their numbers.
pub type Releases = BTreeMap<(ContractAddress, u64), AtRelease>;

/// What a contract said of a market after a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtRelease {
    /// `snapshotSubmissionWindow`, in seconds.
    pub length: Option<u64>,
    /// `dayCounter`.
    pub day: Option<u64>,
}

/// A moment by two clocks, in Unix seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// The time of the chain's newest block.
    pub chain: u64,
    /// The clock of Redis, which expires the submissions.
    pub redis: u64,
}

impl Clocks {
    /// How many seconds have passed since a time of the chain, by the clock that is further ahead: a chain that halts has no newer
    /// block, and of a chain whose time runs ahead the clock of Redis knows too little.
    fn since(self, at: u64) -> u64 {
        self.chain.max(self.redis).saturating_sub(at)
    }
}

/// Which numbers of nodes are believed. One that is not would stay the current one for ever.
pub(super) struct Plausible {
    highest: u64,
    most_ahead: u64,
}

/// Epochs. Other programs read them as numbers of JSON, which are exact up to the highest one. A contract counts them one by one.
pub(super) const EPOCHS: Plausible = Plausible { highest: (1 << 53) - 1, most_ahead: 1_000_000_000 };
/// Days: one a day since long before there were chains, and at most ten years in which the market was not followed.
pub(super) const DAYS: Plausible = Plausible { highest: 1_000_000, most_ahead: 3_650 };

impl Plausible {
    /// Whether a number is believed, after the market's last one.
    pub(super) fn has(&self, number: u64, last: Option<u64>) -> bool {
        number <= last.map_or(self.highest, |last| last.saturating_add(self.most_ahead).min(self.highest))
    }
}

/// How long before the first submissions can expire an epoch counts as expired, in seconds; at most a tenth of their life. The batches
/// are read and handed over in this time, and collectors may learn of a release sooner than we do.
const MARGIN: u64 = 60;

impl Rules {
    fn margin(&self) -> u64 {
        MARGIN.min(self.inputs_live / 10)
    }

    /// How long after the release all submissions of an epoch are certainly there.
    fn complete_for(&self) -> u64 {
        self.inputs_live - self.margin()
    }

    /// Whether the submissions of an epoch that was released at this time of the chain may have expired.
    #[must_use]
    pub fn is_past(&self, released: u64, now: Clocks) -> bool {
        now.since(released) > self.complete_for()
    }

    /// Whether nobody will use a window at this time of Redis: without a length it can't close before its submissions expire, and once it
    /// is closed the tracker of its market would have ended it long ago.
    pub(super) fn is_abandoned(&self, window: &Window, redis: u64) -> bool {
        match window.state {
            WindowState::Unmeasured => window.has_expired(redis),
            WindowState::Closed { .. } => window.has_expired(redis.saturating_sub(self.inputs_live)),
            WindowState::Waiting | WindowState::Open => false,
        }
    }

    /// The window with this length.
    pub(super) fn measured(&self, window: Window, length: u64, state: WindowState) -> Window {
        // An estimate for other programs. A block time of 0 adds no blocks: infinity as an integer is `u64::MAX`.
        let blocks = (length as f64 / self.block_time).ceil();
        let blocks = if blocks.is_finite() && blocks > 0.0 { blocks as u64 } else { 0 };
        Window {
            limit: window.released.saturating_add(length),
            limit_block: window.release_block.saturating_add(blocks),
            state,
            ..window
        }
    }

    /// How much time is left for the batches of an epoch when a submission window of this length ends, both in seconds. Without any it
    /// gets no batches: its submissions have begun to expire.
    #[must_use]
    pub fn left_for_batches(&self, window: u64) -> u64 {
        self.complete_for().saturating_sub(window)
    }

    /// How much time the batches of an epoch need after the end of its window, in seconds: where no block closes it, the clock
    /// does after a while, and then they are made.
    #[must_use]
    pub fn needed_for_batches(&self) -> u64 {
        self.silence.saturating_add(self.margin())
    }

    /// Whether a window has to be closed at this time of Redis, though it is not known that no block comes before its limit: its
    /// submissions are about to expire, and its length has passed.
    pub(super) fn is_last_call(&self, window: &Window, redis: u64) -> bool {
        let since_release = redis.saturating_add(self.complete_for()).saturating_sub(window.expires);
        redis.saturating_add(self.margin()) >= window.expires
            && since_release >= window.limit.saturating_sub(window.released)
    }

    /// The window of an epoch that was released, while `ahead` windows of its market are open or wait; `None` if its submissions may have
    /// expired. Without a length it is not measured.
    pub(super) fn window(
        &self,
        AtRelease { length, day }: AtRelease,
        (block, released): (u64, u64),
        ahead: usize,
        now: Clocks,
    ) -> Option<Window> {
        let left = self.complete_for().checked_sub(now.since(released))?;
        let window = Window {
            release_block: block,
            released,
            limit: released,
            limit_block: block,
            expires: now.redis.saturating_add(left),
            day,
            state: WindowState::Unmeasured,
        };
        let Some(length) = length else { return Some(window) };
        let state = if ahead < self.max_windows { WindowState::Open } else { WindowState::Waiting };
        Some(self.measured(window, length, state))
    }

    /// The length of the window of an epoch that this block released, and the day; `None` where that is not known.
    pub(super) fn at_release(
        &self,
        releases: &Releases,
        market: ContractAddress,
        block: u64,
        last_day: Option<u64>,
    ) -> AtRelease {
        let AtRelease { length, day } = releases.get(&(market, block)).copied().unwrap_or_default();
        AtRelease {
            length: length.or_else(|| self.windows.get(&market).copied()),
            // Not every deployment announces its days by events.
            day: day.or(last_day),
        }
    }
}
