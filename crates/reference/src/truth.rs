//! The truth: all passes of the tracker with what they could see, and what follows for the datasets.

mod current;
mod gaps;
mod look;
mod participation;
mod pass;
mod periods;
mod sums;
mod time;

use std::collections::BTreeSet;

use crate::{
    account::Effect,
    check::{Difference, Report},
    database::Database,
    shown::Shown,
    view::View,
};
use look::Look;
use pass::LastSums;
pub use pass::Pass;

/// Keys that are younger than this may be unknown under a spelling that is looked for "again every minute".
const SPELLING: i64 = 62;

/// All passes so far.
#[derive(Debug, Default)]
pub struct Truth {
    /// How long the ledger keeps an epoch, in seconds.
    pub kept: i64,
    passes: Vec<Pass>,
    before: Option<LastSums>,
}

impl Truth {
    /// The truth before the first pass. The ledger keeps an epoch for `kept` seconds.
    #[must_use]
    pub fn new(kept: i64) -> Self {
        Self { kept, ..Self::default() }
    }

    /// Records a pass of the tracker at `now` over these keys. `is_mixed`: some have another spelling than the preferred one.
    /// `are_keys_searched`: before the pass, the tracker has scanned the names of all keys.
    pub fn pass(
        &mut self,
        now: i64,
        database: &Database,
        [is_mixed, are_keys_searched]: [bool; 2],
        [totals, current]: [Effect; 2],
    ) {
        let least = View::of(database, if is_mixed { now - SPELLING } else { now });
        let most = View::of(database, now);
        let mut accounts = self.passes.last().map(|pass| pass.accounts.clone()).unwrap_or_default();
        let mut newer_end: Option<i64> = None;
        let forgotten = accounts
            .iter()
            .filter(|(_, account)| account.may_be_sealed && account.last_sign < now - self.kept)
            .map(|(epoch, _)| *epoch)
            .max();
        let epochs: Vec<u64> = most.epochs.keys().chain(accounts.keys()).copied().collect();
        for epoch in epochs.into_iter().collect::<BTreeSet<_>>().into_iter().rev() {
            let account = accounts.entry(epoch).or_default();
            let is_new = account.found.possible.is_none();
            account.may_be_pruned |= account.may_be_sealed && account.last_sign < now - self.kept;
            let [sure, possible] = [&least, &most].map(|view| view.epochs.get(&epoch));
            account.pass(now, totals, are_keys_searched, sure, possible, newer_end);
            // "below the floor": ids up to a forgotten one are taken for forgotten ones.
            if is_new && forgotten.is_some_and(|floor| epoch <= floor) || account.may_be_forgotten {
                account.doubt();
            }
            // A batch is made when the window has closed, so its time is as good as that of the opening.
            let times = [&account.opened_at, &account.local_at, &account.aggregated_at];
            if times.into_iter().any(|at| at.possible.is_some()) {
                newer_end = newer_end.into_iter().chain(account.ends.map(|ends| ends.0)).min();
            }
        }
        self.passes.push(Pass { time: now, totals, current, least, most, accounts });
    }

    /// Compares what readers see now with the truth, after a pass that ended well.
    pub fn look(&mut self, shown: &Shown) -> Vec<Difference> {
        let mut report = Report::default();
        let Some(at) = self.passes.len().checked_sub(1) else { return Vec::new() };
        let before = sums::check(&self.at(at), self.before.as_ref(), shown, &mut report);
        let look = self.at(at);
        participation::check(&look, shown, &mut report);
        periods::check(&look, shown, &mut report);
        gaps::check(&look, shown, &mut report);
        current::check(&look, shown, &mut report);
        look.check_ttls(shown, &mut report);
        self.before = before;
        report.0
    }

    /// What is known after a pass.
    fn at(&self, at: usize) -> Look<'_> {
        Look { passes: &self.passes, at, kept: self.kept }
    }

    /// How many passes were recorded.
    #[must_use]
    pub fn passes(&self) -> usize {
        self.passes.len()
    }
}
