//! What a pass reads, and which epochs it examines: pure rules over the ledger's mark and the epochs found so far.
//!
//! **The mark.** Each pass that has found everything writes down how many entries the timelines had up to a moment ([`EarlyCounts`]),
//! and how many members `epochs:active` has. The next pass, of any process, reads on from there ([`Span`]): after a crash or an
//! interruption it reads only what happened since, and after an absence of minutes the members of `epochs:active`. A pass without a
//! mark reads everything that is still there.
//!
//! **The epochs.** Timelines and `epochs:active` come in pages, newest first. [`Found`] collects their epochs in bounded memory, and
//! returns those about which the ledger must be asked. Epochs of the last minutes are examined whether they are sealed or not, since
//! changes after the seal are counted; of the others only new ones are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    EpochId,
    tracker::{Claim, DAY, Entry, GAP_SHOWN},
};

/// How far every pass looks back, in seconds: the five minutes of the recent counts, and five more for late entries.
pub const RECENT: f64 = 600.0;

/// How long ago a pass may have been, in seconds, so that the next one reads little more than the last minutes.
pub const ABSENCE: f64 = 300.0;

/// The most new epochs that one pass adds to the ledger, those with a time before the others and the highest first; each needs some
/// 10 kB during the pass.
const NEW_EPOCHS_A_PASS: usize = 10_000;

/// The most epochs of the last minutes that a pass examines without having asked whether they are sealed; about the others it asks, and
/// examines the new ones. Fewer than [`NEW_EPOCHS_A_PASS`], so that each pass has room for new epochs, however many sealed ones are
/// named again.
const RECENT_EPOCHS_A_PASS: usize = 5_000;

/// How many entries the timelines of a market have up to a moment. If a later pass counts another number, entries were written late, or
/// were pruned.
#[derive(Clone, Debug, PartialEq)]
pub struct EarlyCounts {
    /// The moment, in Unix seconds.
    pub before: f64,
    /// How many entries each timeline has under each spelling; `None`: it can't be read.
    pub entries: Vec<Option<u64>>,
}

impl fmt::Display for EarlyCounts {
    /// The stored form: the moment and the counts, separated by blanks; `?` for an unknown count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.before)?;
        self.entries.iter().try_for_each(|count| match count {
            Some(count) => write!(f, " {count}"),
            None => write!(f, " ?"),
        })
    }
}

impl EarlyCounts {
    /// Reads the stored form; `None` for any other text, as if there were no mark.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (before, counts) = text.split_once(' ')?;
        let before = before.parse().ok().filter(|before: &f64| before.is_finite())?;
        let count = |text: &str| match text {
            "?" => Some(None),
            count => count.parse().ok().map(Some),
        };
        Some(Self { before, entries: counts.split(' ').map(count).collect::<Option<_>>()? })
    }
}

/// How much a pass reads of the timelines and of `epochs:active`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// It reads the entries of timelines after this moment, in Unix seconds.
    pub since: f64,
    /// Whether it reads the members of `epochs:active`.
    pub active: bool,
}

impl Span {
    /// Everything that is still there, at `now` (Unix seconds).
    #[must_use]
    pub fn everything(now: f64) -> Self {
        Self { since: now - DAY as f64, active: true }
    }

    /// What no earlier pass has read according to the ledger's mark, at `now` (Unix seconds).
    #[must_use]
    pub fn after(early: Option<&EarlyCounts>, active_known: Option<u64>, now: f64) -> Self {
        let day = Self::everything(now).since;
        let since = early.map_or(day, |early| early.before.clamp(day, now - RECENT));
        // After an absence the set may have expired and been filled anew: then the number of its members says nothing.
        let was_absent = since < now - RECENT - ABSENCE;
        Self { since, active: active_known.is_none() || was_absent }
    }

    /// Whether it includes all entries after those that an earlier pass has counted.
    #[must_use]
    pub fn follows(&self, early: &EarlyCounts) -> bool {
        self.since <= early.before
    }

    /// The moment, in Unix seconds, since which changes of sealed epochs are looked for: after an absence a close within the last hour has
    /// to be found, since the gaps of such an epoch are shown.
    #[must_use]
    pub fn changes_since(&self, now: f64) -> f64 {
        self.since.max(now - GAP_SHOWN as f64)
    }
}

/// What a pass knows before it looks for epochs.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// When the pass began, in Unix seconds.
    pub now: f64,
    /// What it reads.
    pub span: Span,
    /// The unsealed entries.
    pub stored: &'a BTreeMap<EpochId, Entry>,
    /// Sealed epochs whose window closed within the last hour.
    pub ended: &'a BTreeSet<EpochId>,
    /// The ledger's floor: every epoch up to it is sealed, though its entry may be forgotten.
    pub floor: Option<&'a EpochId>,
}

impl Known<'_> {
    /// Whether an epoch is not above the floor.
    #[must_use]
    pub fn is_below_floor(&self, epoch: &EpochId) -> bool {
        self.floor.is_some_and(|floor| epoch <= floor)
    }

    /// Whether a time lies within what every pass reads; one that is far ahead can't be read, and does not.
    #[must_use]
    pub fn is_new(&self, at: f64) -> bool {
        at > self.now - RECENT && Claim::of(at, self.now) != Claim::Unreadable
    }

    /// Whether changes at this time are noticed, sealed or not. Not at one that is far ahead: it would stay recent, and all epochs with
    /// such times together may be more than a pass takes.
    fn is_recent(&self, at: f64) -> bool {
        at > self.span.changes_since(self.now) && Claim::of(at, self.now) != Claim::Unreadable
    }
}

/// The epochs that were found so far, beside the unsealed ones.
#[derive(Debug, Default)]
pub struct Found {
    /// Epochs of the last page, and whether a timeline names them. It is not known yet whether they are sealed.
    pending: BTreeMap<EpochId, bool>,
    /// Those of the page before, about which the ledger is being asked.
    asked: BTreeMap<EpochId, bool>,
    /// Epochs that a timeline has named recently, sealed or not; those with the newest entries if there are very many.
    recent: BTreeSet<EpochId>,
    /// Other new epochs that a timeline names.
    timed: Highest,
    /// New epochs without a time.
    bare: Highest,
}

/// The highest of all ids that were added.
#[derive(Debug, Default)]
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
            // A removed id is never added again, since all that stay are higher. So no entry of those that stay is missing.
            self.ids.pop_first();
            self.are_more = true;
        }
    }
}

/// The epochs that a pass examines beside the unsealed ones.
#[derive(Debug, PartialEq, Eq)]
pub struct Selection {
    /// New epochs, and recent ones that are sealed.
    pub unknown: BTreeSet<EpochId>,
    /// There are more new epochs than one pass takes.
    pub partial: bool,
}

impl Found {
    /// Notes that a timeline names an epoch with this time, or that another key does without one.
    pub fn note(&mut self, known: &Known<'_>, at: Option<f64>, epoch: &EpochId) {
        // A time ahead of our clock does not count yet.
        let is_ahead = at.is_some_and(|at| Claim::of(at, known.now) == Claim::Ahead);
        let is_found = self.recent.contains(epoch) || self.timed.ids.contains(epoch);
        if is_ahead || is_found || known.stored.contains_key(epoch) || known.is_below_floor(epoch) {
            return;
        }
        let has_room = self.recent.len() < RECENT_EPOCHS_A_PASS;
        match at {
            Some(at) if known.is_recent(at) && has_room => {
                self.recent.insert(epoch.clone());
            }
            at => {
                let known = self.asked.get_mut(epoch);
                *known.unwrap_or_else(|| self.pending.entry(epoch.clone()).or_default()) |= at.is_some();
            }
        }
    }

    /// The epochs of which it has to be asked whether they are sealed, in the order of [`Found::settle`]. Others may be noted before
    /// the answer is there.
    pub fn ask(&mut self) -> Vec<&str> {
        self.asked.append(&mut self.pending);
        self.asked.keys().map(EpochId::as_str).collect()
    }

    /// Sorts the epochs that were asked about by whether they are sealed.
    pub fn settle(&mut self, sealed: impl IntoIterator<Item = bool>) {
        for ((epoch, is_timed), is_sealed) in std::mem::take(&mut self.asked).into_iter().zip(sealed) {
            match (is_sealed, is_timed) {
                (true, _) => {}
                (false, true) => self.timed.add(epoch),
                (false, false) => self.bare.add(epoch),
            }
        }
    }

    /// Whether the entry of a timeline is needed after epochs are settled.
    #[must_use]
    pub fn needs(&self, known: &Known<'_>, at: f64, epoch: &EpochId) -> bool {
        known.is_recent(at)
            || self.recent.contains(epoch)
            || self.timed.ids.contains(epoch)
            || self.pending.contains_key(epoch)
            || known.stored.contains_key(epoch)
            // A close after the seal may follow.
            || known.ended.contains(epoch)
            || known.is_below_floor(epoch)
    }

    /// The epochs to examine.
    #[must_use]
    pub fn select(self) -> Selection {
        let Self { recent, timed, bare, .. } = self;
        let room = NEW_EPOCHS_A_PASS - recent.len();
        let bare_ids = bare.ids.into_iter().rev().filter(|epoch| !timed.ids.contains(epoch));
        let highest = timed.ids.iter().rev().cloned().chain(bare_ids);
        // A recent one may have been asked about before its recent entry was read.
        let mut highest = highest.filter(|epoch| !recent.contains(epoch));
        let new: Vec<EpochId> = highest.by_ref().take(room).collect();
        let are_too_many = highest.next().is_some();
        let partial = timed.are_more || bare.are_more || are_too_many;
        drop(highest);
        Selection { unknown: recent.into_iter().chain(new).collect(), partial }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: f64 = 1_000_000.0;

    fn id(number: usize) -> EpochId {
        EpochId::parse(&number.to_string()).expect("a number")
    }

    fn known(span: Span) -> Known<'static> {
        static NONE: (BTreeMap<EpochId, Entry>, BTreeSet<EpochId>) = (BTreeMap::new(), BTreeSet::new());
        Known { now: NOW, span, stored: &NONE.0, ended: &NONE.1, floor: None }
    }

    #[test]
    fn a_mark_is_read_back_as_it_was_written_and_damage_is_no_mark() {
        for entries in [vec![Some(3), None, Some(0)], vec![None]] {
            let early = EarlyCounts { before: 1_795_341_600.25, entries };
            assert_eq!(EarlyCounts::parse(&early.to_string()), Some(early));
        }
        for text in
            ["", "1795341600", "1795341600 ", "x 1", "NaN 1", "inf 1", "1795341600 1 -1", "1795341600 1  2"]
        {
            assert_eq!(EarlyCounts::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_pass_reads_on_from_the_mark_but_the_last_minutes_always_and_never_more_than_a_day() {
        let early = |before| EarlyCounts { before, entries: Vec::new() };
        let day = NOW - 86_400.0;
        for (before, since, active) in [
            (NOW - 630.0, NOW - 630.0, false),
            (NOW - 500.0, NOW - 600.0, false),
            (NOW + 50.0, NOW - 600.0, false),
            (NOW - 900.0, NOW - 900.0, false),
            (NOW - 901.0, NOW - 901.0, true),
            (NOW - 90_000.0, day, true),
        ] {
            let early = early(before);
            let span = Span::after(Some(&early), Some(7), NOW);
            assert_eq!((span, span.follows(&early)), (Span { since, active }, since <= before));
        }
        assert_eq!(Span::after(None, None, NOW), Span::everything(NOW));
        assert!(Span::after(Some(&early(NOW - 630.0)), None, NOW).active);
        // After an absence the changes of the last hour matter.
        let changes = [630.0, 3_600.0, 7_200.0].map(|ago| Span { since: NOW - ago, active: false });
        assert_eq!(changes.map(|span| NOW - span.changes_since(NOW)), [630.0, 3_600.0, 3_600.0]);
    }

    #[test]
    fn epochs_with_a_time_are_taken_up_before_ids_without_one_and_the_highest_first() {
        let known = known(Span::everything(NOW));
        let (timed, bare) = (1..=6_000, 10_000..=26_000);
        let mut found = Found::default();
        for page in bare.collect::<Vec<_>>().chunks(1_000) {
            page.iter().for_each(|&number| found.note(&known, None, &id(number)));
            assert_eq!(found.ask().len(), page.len());
            found.settle(std::iter::repeat(false));
        }
        timed.for_each(|number| found.note(&known, Some(NOW - 80_000.0), &id(number)));
        // What is a little ahead is no trace yet.
        found.note(&known, Some(NOW + 1.0), &id(9_999));
        assert_eq!(found.ask().len(), 6_000);
        found.settle(std::iter::repeat(false));
        let Selection { unknown, partial } = found.select();
        let expected: BTreeSet<EpochId> = (1..=6_000).chain(22_001..=26_000).map(id).collect();
        assert!(unknown == expected && partial, "{} epochs", unknown.len());
    }

    #[test]
    fn recent_epochs_are_examined_sealed_or_not_and_older_ones_only_if_they_are_new() {
        // After an absence, a close of the last hour matters.
        for (since, changes) in [(630.0, 630.0), (90_000.0, 3_600.0)] {
            let known = known(Span { since: NOW - since, active: true });
            let mut found = Found::default();
            let (before, after) = (NOW - changes - 1.0, NOW - changes + 1.0);
            for (number, at) in [(1, Some(before)), (2, Some(after)), (3, None), (4, None), (5, Some(before))]
            {
                found.note(&known, at, &id(number));
            }
            assert_eq!(found.ask(), ["1", "3", "4", "5"]);
            // The newest entries of an epoch come first, but two timelines are read side by side.
            found.note(&known, Some(after), &id(5));
            found.settle([true, true, false, true]);
            let needs = [1, 2, 5].map(|number| found.needs(&known, before, &id(number)));
            assert_eq!(needs, [false, true, true]);
            assert_eq!(found.select(), Selection { unknown: [2, 4, 5].map(id).into(), partial: false });
        }
    }

    #[test]
    fn new_epochs_are_taken_up_though_very_many_sealed_ones_were_named_again() {
        let known = known(Span::everything(NOW));
        let mut found = Found::default();
        (20_001..=40_000).for_each(|number| found.note(&known, Some(NOW - 1.0), &id(number)));
        // A new one has the oldest entry and the lowest id, another one no time at all.
        found.note(&known, Some(NOW - 500.0), &id(7));
        found.note(&known, None, &id(8));
        let asked = found.ask().len();
        assert_eq!(asked, 15_002, "all but those that are examined anyway");
        found.settle((0..asked).map(|at| at > 1));
        let Selection { unknown, partial } = found.select();
        assert_eq!((unknown.len(), partial), (5_002, false));
        assert!([7, 8, 20_001].into_iter().all(|number| unknown.contains(&id(number))));
    }

    #[test]
    fn entries_that_are_read_while_the_ledger_is_asked_stay_until_it_is_asked_about_them() {
        let (known, old) = (known(Span::everything(NOW)), NOW - 80_000.0);
        let mut found = Found::default();
        [1, 2].iter().for_each(|&number| found.note(&known, Some(old), &id(number)));
        assert_eq!(found.ask(), ["1", "2"]);
        // 2 is named again, and gets no second question.
        [2, 3].iter().for_each(|&number| found.note(&known, Some(old), &id(number)));
        found.settle([true, false]);
        let needs = |found: &Found| [1, 2, 3].map(|number| found.needs(&known, old, &id(number)));
        assert_eq!(needs(&found), [false, true, true]);
        assert_eq!(found.ask(), ["3"]);
        found.settle([true]);
        assert_eq!(needs(&found), [false, true, false]);
    }

    #[test]
    fn older_entries_of_a_sealed_epoch_stay_while_its_gap_may_be_shown() {
        let ended = [id(1)].into();
        let known = Known { ended: &ended, ..known(Span::everything(NOW)) };
        let (mut found, old) = (Found::default(), NOW - 80_000.0);
        [1, 2].iter().for_each(|&number| found.note(&known, Some(old), &id(number)));
        assert_eq!(found.ask(), ["1", "2"]);
        found.settle([true, true]);
        assert_eq!([1, 2].map(|number| found.needs(&known, old, &id(number))), [true, false]);
    }

    #[test]
    fn sealed_epochs_with_times_far_ahead_are_not_examined_again_however_many_there_are() {
        let known =
            known(Span::after(Some(&EarlyCounts { before: NOW - 630.0, entries: Vec::new() }), Some(7), NOW));
        let mut found = Found::default();
        let far = 1_000.0 * NOW;
        (1..=NEW_EPOCHS_A_PASS + 1).for_each(|number| found.note(&known, Some(far), &id(number)));
        assert_eq!(found.ask().len(), NEW_EPOCHS_A_PASS + 1);
        found.settle((1..=NEW_EPOCHS_A_PASS + 1).map(|number| number > 1));
        // The ids are in the order of numbers, so that the first is the one that is not sealed.
        assert_eq!([1, 2].map(|number| found.needs(&known, far, &id(number))), [true, false]);
        assert_eq!(found.select(), Selection { unknown: [id(1)].into(), partial: false });
        assert_eq!(
            [NOW - 599.0, NOW + 299.0, NOW - 601.0, far].map(|at| known.is_new(at)),
            [true, true, false, false]
        );
    }

    #[test]
    fn unsealed_epochs_and_those_up_to_the_floor_are_not_found_again() {
        let (stored, ended) = ([(id(8), Entry::default())].into(), BTreeSet::new());
        let (span, floor) = (Span::everything(NOW), id(5));
        let known = Known { now: NOW, span, stored: &stored, ended: &ended, floor: Some(&floor) };
        let mut found = Found::default();
        for number in [4, 5, 6, 8] {
            found.note(&known, Some(NOW - 1.0), &id(number));
            found.note(&known, None, &id(number));
        }
        assert_eq!(found.ask(), Vec::<&str>::new());
        assert_eq!(found.select().unknown, [id(6)].into());
    }
}
