//! Submission windows: when the window of an epoch opens and closes, and the states that it passes through.
//!
//! A window is open from the block that released its epoch until the first accepted block whose time is at its limit or
//! after it. Times are those of the chain, so no clock of ours can close one early.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The submission window of one epoch of one market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The block that released the epoch.
    pub release_block: u64,
    /// When it was released, in Unix seconds.
    pub released: u64,
    /// It closes with the first block at this time or after it, in Unix seconds. The release while its length is not known.
    pub limit: u64,
    /// The number of the block that is expected to be the last one.
    pub limit_block: u64,
    /// Up to this moment by the clock of Redis, in Unix seconds, all of its submissions are certainly there.
    pub expires: u64,
    /// The market's day at the release, once one is known.
    pub day: Option<u64>,
    /// Its state.
    pub state: WindowState,
}

/// The state of a window. A window is removed when its batches are handed over; its epoch is among the finished ones
/// then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WindowState {
    /// The contract has not told how long it lasts. It accepts submissions meanwhile.
    Unmeasured,
    /// The limit of open windows is reached; it opens when another one closes.
    Waiting,
    /// It accepts submissions.
    Open,
    /// Its batches are due, from the submissions at the blocks up to this one.
    Closed {
        /// The last block whose submissions count.
        block: u64,
    },
}

impl Window {
    /// Whether other programs see a marker of its epoch: once it has opened, not while it waits or its length is not known.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        !matches!(self.state, WindowState::Unmeasured | WindowState::Waiting)
    }

    /// Its length in seconds; `None` while it is not known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        (self.state != WindowState::Unmeasured).then(|| self.limit.saturating_sub(self.released))
    }

    /// The last block whose submissions count: known once it is closed, an estimate before.
    #[must_use]
    pub fn last_block(&self) -> u64 {
        match self.state {
            WindowState::Closed { block } => block,
            WindowState::Unmeasured | WindowState::Waiting | WindowState::Open => self.limit_block,
        }
    }

    /// Whether some of its submissions may have expired at `redis`, the clock of Redis in Unix seconds. Its batches would lack
    /// submissions then, and are not made.
    #[must_use]
    pub fn has_expired(&self, redis: u64) -> bool {
        redis > self.expires
    }
}

/// The most ranges of a set of epochs.
const MOST_RANGES: usize = 1_000;

/// A set of epochs, stored as ranges: it stays small while epochs follow each other. Where their ids have gaps, it keeps a limited
/// number of ranges, the highest; all epochs below them count as members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochSet(Vec<(u64, u64)>);

impl EpochSet {
    /// Whether an epoch is in it.
    #[must_use]
    pub fn contains(&self, epoch: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= epoch);
        after.checked_sub(1).is_some_and(|at| epoch <= self.0[at].1)
    }

    /// Adds an epoch; returns whether it is new.
    pub fn insert(&mut self, epoch: u64) -> bool {
        if self.contains(epoch) {
            return false;
        }
        let at = self.0.partition_point(|(first, _)| *first <= epoch);
        // Ranges that touch are joined, since finished epochs are kept for good: a market must need one range for
        // years of them. `checked_add`, since an id may be `u64::MAX`.
        let follows = at > 0 && self.0[at - 1].1.checked_add(1) == Some(epoch);
        let precedes = at < self.0.len() && epoch.checked_add(1) == Some(self.0[at].0);
        match (follows, precedes) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = epoch,
            (false, true) => self.0[at].0 = epoch,
            (false, false) => self.0.insert(at, (epoch, epoch)),
        }
        // The lowest gap is the oldest one: nobody will release an epoch in it.
        if self.0.len() > MOST_RANGES {
            self.0[1].0 = self.0[0].0;
            self.0.remove(0);
        }
        true
    }

    /// The number of ranges.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.0.len()
    }
}

/// `1-5,8`
impl fmt::Display for EpochSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// A text that is not a set of epochs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a set of epochs: expected ascending ranges such as `1-5,8`")]
pub struct BadEpochSet(String);

impl FromStr for EpochSet {
    type Err = BadEpochSet;

    fn from_str(text: &str) -> Result<Self, BadEpochSet> {
        let bad = || BadEpochSet(text.chars().take(100).collect());
        let mut all: Vec<(u64, u64)> = Vec::new();
        for range in text.split(',').filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Ok(first), Ok(last)) = (first.parse(), last.parse()) else { return Err(bad()) };
            // `contains` is a binary search, so the order is part of the format.
            if first > last || all.last().is_some_and(|(_, before)| *before >= first) {
                return Err(bad());
            }
            all.push((first, last));
        }
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_of_epochs_is_a_set_and_reads_what_it_prints(
            epochs in proptest::collection::vec(prop_oneof![0_u64..30, Just(u64::MAX), Just(u64::MAX - 1)], 0..40),
        ) {
            let (mut set, mut reference) = (EpochSet::default(), BTreeSet::new());
            for epoch in epochs {
                prop_assert_eq!(set.insert(epoch), reference.insert(epoch));
            }
            for epoch in (0..31).chain([u64::MAX - 2, u64::MAX - 1, u64::MAX]) {
                prop_assert_eq!(set.contains(epoch), reference.contains(&epoch), "{}", epoch);
            }
            // As few ranges as possible.
            let starts = reference.iter().filter(|epoch| **epoch == 0 || !reference.contains(&(**epoch - 1)));
            prop_assert_eq!(set.ranges(), starts.count());
            prop_assert_eq!(set.to_string().parse::<EpochSet>(), Ok(set));
        }
    }

    #[test]
    fn a_set_with_gaps_stays_small_and_what_is_old_is_in_it() {
        let mut set = EpochSet::default();
        for epoch in (0..10_000).step_by(2) {
            assert!(set.insert(epoch));
        }
        assert_eq!(set.ranges(), MOST_RANGES);
        assert!(set.contains(7) && set.contains(9_998) && !set.contains(9_997));
        assert_eq!(set.to_string().parse::<EpochSet>(), Ok(set));
    }

    #[test]
    fn what_is_no_set_of_epochs_is_refused() {
        for text in ["x", "5-1", "1-5,3", "1-", "-3", "1,1", "1 - 2"] {
            assert!(text.parse::<EpochSet>().is_err(), "{text}");
        }
        assert_eq!("".parse(), Ok(EpochSet::default()));
    }

    #[test]
    fn a_window_is_marked_once_it_has_opened_and_names_its_last_block() {
        let window = Window {
            release_block: 10,
            released: 100,
            limit: 160,
            limit_block: 40,
            expires: 1_300,
            day: None,
            state: WindowState::Open,
        };
        let closed = Window { state: WindowState::Closed { block: 38 }, ..window };
        let waiting = Window { state: WindowState::Waiting, ..window };
        let unmeasured = Window { state: WindowState::Unmeasured, ..window };
        let all = [window, closed, waiting, unmeasured];
        assert_eq!(all.map(|window| window.is_marked()), [true, true, false, false]);
        assert_eq!(all.map(|window| window.length()), [Some(60), Some(60), Some(60), None]);
        assert_eq!([window, closed, waiting].map(|window| window.last_block()), [40, 38, 40]);
        assert!(!window.has_expired(1_300) && window.has_expired(1_301));
    }
}
