//! A day of a market, and when it ends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chain::ContractAddress;

/// How long a day is taken to last whose length is not known, in seconds.
const USUAL_DAY: u64 = 86_400;

/// A day of a market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Its number, counted from 1.
    pub number: u64,
    /// When it began, or the time of the block by which it was known, in Unix seconds of the chain.
    pub since: u64,
}

/// What is needed to say when a day ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Calendar {
    /// The time of Redis.
    pub(super) redis: u64,
    /// The lengths of the markets' days, in seconds.
    pub(super) lengths: BTreeMap<ContractAddress, u64>,
}

impl Calendar {
    /// For how many seconds this is the present day, if it is not over.
    pub(super) fn lives(&self, market: ContractAddress, day: Day) -> Option<u64> {
        let length = self.lengths.get(&market).copied().unwrap_or(USUAL_DAY);
        // A chain whose time runs ahead makes no day longer.
        let left = day.since.saturating_add(length).checked_sub(self.redis)?.min(length);
        (left > 0).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_lives_to_its_end_and_no_longer_than_its_length() {
        let market = ContractAddress([7; 20]);
        let at = |redis| Calendar { redis, lengths: [(market, 100)].into() };
        let day = Day { number: 3, since: 1_000 };
        for (redis, lives) in
            [(1_000, Some(100)), (1_099, Some(1)), (1_100, None), (2_000, None), (900, Some(100))]
        {
            assert_eq!(at(redis).lives(market, day), lives, "{redis}");
        }
        assert_eq!(Calendar { redis: 1_000, ..Calendar::default() }.lives(market, day), Some(USUAL_DAY));
    }
}
