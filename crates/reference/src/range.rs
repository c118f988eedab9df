//! The values that the contract allows for one number.

use std::{collections::BTreeSet, fmt};

/// All values from `least` to `most`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The smallest.
    pub least: u64,
    /// The largest.
    pub most: u64,
}

impl Range {
    /// From one to the other. When they cross, the contract demands the first.
    #[must_use]
    pub fn new(least: u64, most: u64) -> Self {
        Self { least, most: most.max(least) }
    }

    /// One value only.
    #[must_use]
    pub fn exactly(value: u64) -> Self {
        Self::new(value, value)
    }

    /// Whether this value is allowed.
    #[must_use]
    pub fn allows(self, value: u64) -> bool {
        (self.least..=self.most).contains(&value)
    }

    /// Whether one value only is allowed.
    #[must_use]
    pub fn is_exact(self) -> bool {
        self.least == self.most
    }

    /// Counts one more, which certainly counts, or only possibly.
    pub fn count(&mut self, certainly: bool, possibly: bool) {
        self.least += u64::from(certainly);
        self.most += u64::from(certainly || possibly);
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { least: self.least + other.least, most: self.most + other.most }
    }

    /// The sum of all.
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().fold(Self::default(), Self::plus)
    }

    /// How many members a set has of which some are certain and others are possible.
    #[must_use]
    pub fn of_sets(certain: &BTreeSet<String>, possible: &BTreeSet<String>) -> Self {
        Self::new(certain.len() as u64, certain.union(possible).count() as u64)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_exact() {
            write!(f, "{}", self.least)
        } else {
            write!(f, "{} to {}", self.least, self.most)
        }
    }
}

/// A value that is known certainly, or only possibly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maybe<T> {
    /// The value that a correct tracker certainly knows.
    pub certain: Option<T>,
    /// The value that it may know.
    pub possible: Option<T>,
}

impl Maybe<i64> {
    /// Whether the time lies in `[from, to)`: certainly, possibly.
    #[must_use]
    pub fn lies_in(self, from: i64, to: i64) -> (bool, bool) {
        let is_in = |at: Option<i64>| at.is_some_and(|at| at >= from && at < to);
        (is_in(self.certain), is_in(self.possible))
    }

    /// Whether the time lies in the last `seconds` before `now`: certainly, possibly. The contract says that periods are half
    /// open and not at which end, so a time at an end is possible only.
    #[must_use]
    pub fn lies_within(self, seconds: i64, now: i64) -> (bool, bool) {
        let inner = self.certain.is_some_and(|at| at > now - seconds && at < now);
        (inner, self.possible.is_some_and(|at| at >= now - seconds && at <= now))
    }
}
