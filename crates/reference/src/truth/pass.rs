//! One pass of the tracker, as the truth remembers it.

use std::collections::BTreeMap;

use crate::{
    account::{Account, Effect},
    check::Null,
    range::Range,
    view::View,
};

/// A pass of the tracker.
#[derive(Clone, Debug)]
pub struct Pass {
    /// When it was made, in Unix seconds.
    pub time: i64,
    /// Whether the totals and the datasets of the summary were written.
    pub totals: Effect,
    /// Whether the current epoch was written.
    pub current: Effect,
    /// What it certainly saw.
    pub least: View,
    /// What it may have seen.
    pub most: View,
    /// What was known after it.
    pub(super) accounts: BTreeMap<u64, Account>,
}

/// The sums that the last look found.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastSums {
    pub(super) at: usize,
    /// The totals of epochs, batches and submissions.
    pub(super) totals: [u64; 3],
    /// When the measurement window began, in Unix seconds.
    pub(super) began: i64,
    /// Whether the submissions were not known.
    pub(super) unread: Null,
}

impl Pass {
    /// The totals of epochs, batches and submissions.
    pub(super) fn totals(&self) -> [Range; 3] {
        let all = || self.accounts.values();
        [
            Range::sum(all().map(|account| account.opened)),
            Range::sum(all().map(|account| account.local.plus(account.aggregated))),
            Range::sum(all().map(|account| account.submissions)),
        ]
    }
}
