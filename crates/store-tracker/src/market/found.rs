//! Which epochs a pass finds, page by page: those that the ledger doesn't know as unsealed, in bounded memory.
//!
//! A recent pass examines each epoch of the last minutes and finds out with its keys whether it is sealed. A full pass asks the
//! ledger first, for the ids of each page, since most of a day's epochs are sealed.

use std::collections::{BTreeMap, BTreeSet};

use domain::{EpochId, tracker::Claim};

use super::{Pass, RECENT_REACH};

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
        trace.is_recent |= at.is_some_and(|at| at > pass.seen.now - RECENT_REACH);
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
        at > pass.seen.now - RECENT_REACH
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
