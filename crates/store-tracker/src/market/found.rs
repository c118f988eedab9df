//! Which epochs a pass finds, page by page: those that the ledger doesn't know as unsealed, in bounded memory.
//!
//! A recent pass examines each epoch of the last minutes and finds out with its keys whether it is sealed. A full pass asks the
//! ledger first, for the ids of each page, since most of a day's epochs are sealed.

use std::collections::{BTreeMap, BTreeSet};

use domain::{EpochId, tracker::Claim};

use super::Pass;

/// The most new epochs that one pass adds to the ledger, those with a time before the others and the highest first; each needs some
/// 10 kB during the pass.
const NEW_EPOCHS_A_PASS: usize = 5_000;

/// The epochs that were found so far.
#[derive(Default)]
pub(super) struct Found {
    /// Those of the last pages, of which it is not known whether they are sealed.
    pending: BTreeMap<EpochId, Trace>,
    /// Sealed epochs of the last minutes: late changes of them are noticed.
    again: BTreeSet<EpochId>,
    /// New epochs that a timeline names.
    timed: Highest,
    /// New epochs of `epochs:active`.
    bare: Highest,
}

#[derive(Clone, Copy, Default)]
struct Trace {
    is_timed: bool,
    is_recent: bool,
}

/// The highest of all ids that were added.
#[derive(Default)]
struct Highest {
    ids: BTreeSet<EpochId>,
    /// Whether there were more.
    are_more: bool,
}

impl Highest {
    fn add(&mut self, epoch: EpochId) {
        if self.ids.contains(&epoch) {
            return;
        }
        self.ids.insert(epoch);
        if self.ids.len() > NEW_EPOCHS_A_PASS {
            // An id that goes here never comes back: all that stay are higher. So the entries of those that stay are complete.
            self.ids.pop_first();
            self.are_more = true;
        }
    }
}

/// The epochs that a pass examines beside the unsealed ones.
pub(super) struct Selection {
    pub(super) unknown: BTreeSet<EpochId>,
    /// There are more new epochs than one pass takes.
    pub(super) partial: bool,
    /// There are more new epochs than the ledger has room for.
    pub(super) is_full: bool,
}

impl Found {
    /// Notes that a timeline names an epoch with this time, or `epochs:active` does without one.
    pub(super) fn note(&mut self, pass: &Pass, at: Option<f64>, epoch: &EpochId) {
        // What is a little ahead is not yet true. Up to the floor every epoch is sealed, though its entry may be forgotten.
        let is_ahead = at.is_some_and(|at| Claim::of(at, pass.seen.now) == Claim::Ahead);
        let is_known = pass.seen.stored.contains_key(epoch)
            || self.timed.ids.contains(epoch)
            || self.again.contains(epoch);
        if is_ahead || is_known || pass.is_below_floor(epoch) {
            return;
        }
        let trace = self.pending.entry(epoch.clone()).or_default();
        trace.is_timed |= at.is_some();
        trace.is_recent |= at.is_some_and(|at| at > pass.changes_since());
    }

    /// The epochs of which it has to be asked whether they are sealed, in the order of [`Found::settle`].
    pub(super) fn pending(&self) -> Vec<&str> {
        self.pending.keys().map(EpochId::as_str).collect()
    }

    /// Sorts the pending epochs by whether they are sealed.
    pub(super) fn settle(&mut self, sealed: impl IntoIterator<Item = bool>) {
        for ((epoch, trace), is_sealed) in std::mem::take(&mut self.pending).into_iter().zip(sealed) {
            match (is_sealed, trace.is_timed) {
                (true, _) if trace.is_recent => {
                    self.again.insert(epoch);
                }
                (true, _) => {}
                (false, true) => self.timed.add(epoch),
                (false, false) => self.bare.add(epoch),
            }
        }
    }

    /// Whether the entry of a timeline is needed after the pending epochs are settled.
    pub(super) fn needs(&self, pass: &Pass, at: f64, epoch: &EpochId) -> bool {
        at > pass.changes_since()
            || self.timed.ids.contains(epoch)
            || pass.seen.stored.contains_key(epoch)
            // Those in which a close after the seal may show.
            || pass.ended.contains(epoch)
            || pass.is_below_floor(epoch)
    }

    /// The epochs to examine, of which at most `room` may be new.
    pub(super) fn select(self, room: usize) -> Selection {
        let Self { again, timed, bare, .. } = self;
        let are_more = timed.are_more || bare.are_more;
        let bare: Vec<EpochId> = bare.ids.into_iter().filter(|epoch| !timed.ids.contains(epoch)).collect();
        let most = room.min(NEW_EPOCHS_A_PASS);
        let are_more = are_more || timed.ids.len() + bare.len() > most;
        let new = timed.ids.into_iter().rev().chain(bare.into_iter().rev()).take(most);
        let unknown = new.chain(again).collect();
        let is_full = are_more && most < NEW_EPOCHS_A_PASS;
        Selection { unknown, partial: are_more && !is_full, is_full }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reach, Scope};

    fn id(number: usize) -> EpochId {
        EpochId::parse(&number.to_string()).expect("a number")
    }

    #[test]
    fn epochs_with_a_time_are_taken_up_before_ids_without_one_and_the_highest_first() {
        const NOW: f64 = 1_000_000.0;
        let pass = Pass::new(Scope::everything(), NOW);
        let (timed, bare) = (1..=3_000, 10_000..=18_000);
        let mut found = Found::default();
        for page in bare.collect::<Vec<_>>().chunks(1_000) {
            page.iter().for_each(|&number| found.note(&pass, None, &id(number)));
            assert_eq!(found.pending().len(), page.len());
            found.settle(std::iter::repeat(false));
        }
        timed.for_each(|number| found.note(&pass, Some(NOW - 80_000.0), &id(number)));
        // What is a little ahead is no trace yet.
        found.note(&pass, Some(NOW + 1.0), &id(9_999));
        found.settle(std::iter::repeat(false));
        let Selection { unknown, partial, is_full } = found.select(usize::MAX);
        let expected: BTreeSet<EpochId> = (1..=3_000).chain(16_001..=18_000).map(id).collect();
        assert!(unknown == expected && partial && !is_full, "{} epochs", unknown.len());
    }

    #[test]
    fn sealed_epochs_are_new_never_and_examined_only_while_their_entries_are_recent() {
        const NOW: f64 = 1_000_000.0;
        // After an absence, a close of the last hour matters.
        for (reach, since) in [(Reach::Recent, 600.0), (Reach::Full, 3_600.0)] {
            let pass = Pass::new(Scope::summary(reach), NOW);
            let mut found = Found::default();
            let (before, after) = (NOW - since - 1.0, NOW - since + 1.0);
            for (number, at) in [(1, Some(before)), (2, Some(after)), (3, None), (4, None)] {
                found.note(&pass, at, &id(number));
            }
            found.settle([true, true, true, false]);
            let Selection { unknown, partial, is_full } = found.select(0);
            assert_eq!((unknown, partial, is_full), ([id(2)].into(), false, true), "there is no room for 4");
        }
    }
}
