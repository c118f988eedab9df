//! Gaps in the life of an epoch: a step that should have been taken and was not.

use crate::{
    EpochId,
    tracker::{Entry, EpochFacts},
};

/// How long after its window closed the gap of an epoch is shown, in seconds.
pub const GAP_SHOWN: u64 = 3600;

/// Which step is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gap {
    /// The window is closed, and level 1 is neither in progress, completed nor skipped.
    Level1,
    /// The window is closed, level 1 is completed, and level 2 is neither collecting, aggregating nor completed.
    Level2,
    /// The window is closed, level 2 is completed, and nothing was queued, submitted or confirmed on the chain.
    Onchain,
}

impl Gap {
    /// Every kind of gap.
    pub const ALL: [Self; 3] = [Self::Level1, Self::Level2, Self::Onchain];

    /// The gap of an epoch at `now` (Unix seconds): the first that applies. None without a state hash, since only that says what is
    /// under way. A level that the ledger knows as done is done, also when the key that has shown it has expired.
    #[must_use]
    pub fn of(facts: &EpochFacts, known: &Entry, now: f64) -> Option<Self> {
        let state = facts.state.value()?;
        if !facts.closed(now).has_happened() {
            return None;
        }
        // `pending`, `failed` and no status at all are gaps alike: only the listed ones show that the step is under way.
        let is = |status: &Option<String>, any: &[&str]| {
            status.as_deref().is_some_and(|status| any.contains(&status))
        };
        let local = facts.local(now).max(known.local).has_happened();
        let aggregated = facts.aggregated(now).max(known.aggregated).has_happened();
        let applies = |gap: &Self| match gap {
            Self::Level1 => !local && !is(&state.level1, &["in_progress", "skipped"]),
            Self::Level2 => local && !aggregated && !is(&state.level2, &["collecting", "aggregating"]),
            Self::Onchain => aggregated && !is(&state.onchain, &["queued", "submitted", "confirmed"]),
        };
        Self::ALL.into_iter().find(applies)
    }

    /// The member of `epochs:gaps`.
    #[must_use]
    pub fn member(self, epoch: &EpochId) -> String {
        let kind = match self {
            Self::Level1 => "missing_level1",
            Self::Level2 => "missing_level2",
            Self::Onchain => "missing_onchain",
        };
        format!("{epoch}:{kind}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::{Moment, Moments, Reading, StateHash};

    fn facts(open: bool, level1: &str, level2: &str, onchain: &str) -> EpochFacts {
        let status = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (level1, level2, onchain) = (status(level1), status(level2), status(onchain));
        let state = Reading::Value(StateHash { level1, level2, onchain, ..StateHash::default() });
        EpochFacts { open: Some(open), state, ..EpochFacts::default() }
    }

    #[test]
    fn an_epoch_has_the_first_gap_that_applies() {
        for (open, level1, level2, onchain, gap) in [
            (true, "pending", "pending", "pending", None),
            (true, "completed", "pending", "", None),
            (true, "completed", "completed", "pending", None),
            (false, "pending", "pending", "pending", Some(Gap::Level1)),
            (false, "", "", "", Some(Gap::Level1)),
            (false, "failed", "", "", Some(Gap::Level1)),
            (false, "failed", "completed", "", Some(Gap::Level1)),
            (false, "in_progress", "pending", "", None),
            (false, "skipped", "pending", "", None),
            (false, "skipped", "completed", "", Some(Gap::Onchain)),
            (false, "skipped", "completed", "queued", None),
            (false, "completed", "pending", "", Some(Gap::Level2)),
            (false, "completed", "failed", "", Some(Gap::Level2)),
            (false, "completed", "collecting", "", None),
            (false, "completed", "aggregating", "", None),
            (false, "completed", "completed", "pending", Some(Gap::Onchain)),
            (false, "completed", "completed", "failed", Some(Gap::Onchain)),
            (false, "completed", "completed", "submitted", None),
            (false, "completed", "completed", "confirmed", None),
        ] {
            let found = Gap::of(&facts(open, level1, level2, onchain), &Entry::default(), 1000.0);
            assert_eq!(found, gap, "open {open}, {level1}, {level2}, {onchain}");
        }
        assert_eq!(Gap::Level2.member(&EpochId::parse("7").expect("an id")), "7:missing_level2");
    }

    #[test]
    fn a_level_that_timeline_or_metadata_show_is_done_whatever_the_state_says() {
        let pending = || facts(false, "pending", "pending", "");
        let timeline = Moments { local: Some(900.0), ..Moments::default() };
        let of = |facts| Gap::of(&facts, &Entry::default(), 1000.0);
        assert_eq!(of(EpochFacts { timeline, ..pending() }), Some(Gap::Level2));
        let both = EpochFacts { local_batch: true, aggregated_batch: true, ..pending() };
        assert_eq!(of(both), Some(Gap::Onchain));
    }

    #[test]
    fn a_level_that_the_ledger_knows_is_done_after_its_key_has_expired() {
        let local = Entry { local: Moment::Sometime, ..Entry::default() };
        let both = Entry { aggregated: Moment::At(900), ..local.clone() };
        for (level2, known, gap) in [
            ("", Entry::default(), Gap::Level1),
            ("", local.clone(), Gap::Level2),
            ("", both, Gap::Onchain),
            ("completed", Entry::default(), Gap::Level1),
            ("completed", local, Gap::Onchain),
        ] {
            assert_eq!(Gap::of(&facts(false, "", level2, ""), &known, 1000.0), Some(gap), "{known:?}");
        }
    }

    #[test]
    fn without_a_state_nothing_is_said_to_be_missing() {
        for state in [Reading::Absent, Reading::Unreadable] {
            let facts = EpochFacts { state, open: Some(false), ..EpochFacts::default() };
            assert_eq!(Gap::of(&facts, &Entry::default(), 1000.0), None);
        }
    }
}
