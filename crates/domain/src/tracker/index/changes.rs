//! What a batch of events changes: one change an entity, so that repeated events make no more commands.

use std::collections::{BTreeMap, BTreeSet};

use super::{EpochState, IndexEvent, SubmissionParts, SubmissionState, ValidatorSigns};
use crate::EpochId;

/// The changes of a batch of events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Epochs that were moved or named.
    pub epochs: BTreeMap<EpochId, EpochChange>,
    /// Submissions.
    pub submissions: BTreeMap<String, SubmissionChange>,
    /// Validators.
    pub validators: BTreeMap<String, ValidatorSigns>,
    /// The number of events.
    pub events: u64,
}

/// The change of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochChange {
    /// The time of the first event that named it, in Unix seconds.
    pub first: u64,
    /// Each event's state, in the order of the events, with its time.
    pub steps: Vec<(u64, EpochState)>,
    /// Validators that made a batch of it, and when first.
    pub validators: BTreeMap<String, u64>,
}

/// The change of a submission.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubmissionChange {
    /// The time of the first event that named it, in Unix seconds.
    pub first: u64,
    /// Each event's state, in the order of the events, with its time.
    pub steps: Vec<(u64, SubmissionState)>,
}

/// Entities that the index has no room for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Epochs.
    pub epochs: BTreeSet<EpochId>,
    /// Submissions.
    pub submissions: BTreeSet<String>,
    /// Validators.
    pub validators: BTreeSet<String>,
}

impl Refused {
    /// Whether everything has room.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.epochs.is_empty() && self.submissions.is_empty() && self.validators.is_empty()
    }
}

impl Changes {
    /// The changes of all other entities, and how much was left out: the steps of refused epochs and submissions, and the batches
    /// whose validator or epoch was refused.
    #[must_use]
    pub fn without(&self, refused: &Refused) -> (Self, u64) {
        let (mut kept, mut left_out) = (self.clone(), 0);
        kept.submissions.retain(|id, change| {
            let is_refused = refused.submissions.contains(id);
            left_out += if is_refused { change.steps.len() as u64 } else { 0 };
            !is_refused
        });
        kept.epochs.retain(|epoch, change| {
            let is_refused = refused.epochs.contains(epoch);
            left_out += if is_refused { change.steps.len() as u64 } else { 0 };
            change.validators.retain(|validator, _| {
                let is_refused = is_refused || refused.validators.contains(validator);
                left_out += u64::from(is_refused);
                !is_refused
            });
            !is_refused
        });
        kept.validators.retain(|validator, _| !refused.validators.contains(validator));
        (kept, left_out)
    }

    /// Adds an event that was received at `at`, in Unix seconds.
    pub fn add(&mut self, at: u64, event: &IndexEvent) {
        self.events += 1;
        match event {
            IndexEvent::Epoch { epoch, to } => self.epoch(epoch, at).steps.push((at, *to)),
            IndexEvent::Submission { id, to } => {
                // The id names its epoch, whose own events may have been missed.
                if let Some(parts) = SubmissionParts::of(id) {
                    self.epoch(&parts.epoch, at);
                }
                let submission = self.submissions.entry(id.clone());
                let submission =
                    submission.or_insert_with(|| SubmissionChange { first: at, steps: Vec::new() });
                submission.first = submission.first.min(at);
                submission.steps.push((at, *to));
            }
            IndexEvent::ValidatorBatch { validator, epoch } => {
                // The earliest time, since the store keeps the first batch of a validator for an epoch.
                let first = self.epoch(epoch, at).validators.entry(validator.clone()).or_insert(at);
                *first = (*first).min(at);
                let signs = self.validators.entry(validator.clone()).or_default();
                *signs = signs.joined(ValidatorSigns { seen: at, batch: at });
            }
        }
    }

    fn epoch(&mut self, epoch: &EpochId, at: u64) -> &mut EpochChange {
        let new = || EpochChange { first: at, ..EpochChange::default() };
        let change = self.epochs.entry(epoch.clone()).or_insert_with(new);
        change.first = change.first.min(at);
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_entity_become_one_change_in_their_order() {
        let mut changes = Changes::default();
        for (at, payload) in [
            (10, "submission:received:7:1:p:9:peer"),
            (11, "epoch:open:7"),
            (12, "batch:validator:a:b:7"),
            (13, "epoch:closed:7"),
            (14, "batch:validator:a:b:7"),
            (15, "submission:validated:other"),
        ] {
            changes.add(at, &IndexEvent::parse(payload.as_bytes()).expect(payload));
        }
        let epoch = EpochId::parse("7").expect("an epoch id");
        assert_eq!(changes.epochs.keys().collect::<Vec<_>>(), [&epoch]);
        let change = &changes.epochs[&epoch];
        assert_eq!(change.first, 10, "its submission named it first");
        assert_eq!(change.steps, [(11, EpochState::Processing), (13, EpochState::Finalizing)]);
        assert_eq!(change.validators, BTreeMap::from([("a:b".to_owned(), 12)]));
        assert_eq!(changes.validators["a:b"], ValidatorSigns { seen: 14, batch: 14 });
        assert_eq!(changes.submissions.len(), 2);
        assert_eq!(changes.events, 6);
    }

    #[test]
    fn nothing_is_refused_only_if_no_entity_of_any_kind_is() {
        assert!(Refused::default().is_empty());
        for refused in [
            Refused { epochs: BTreeSet::from([EpochId::parse("7").expect("an id")]), ..Refused::default() },
            Refused { submissions: BTreeSet::from(["a".to_owned()]), ..Refused::default() },
            Refused { validators: BTreeSet::from(["v".to_owned()]), ..Refused::default() },
        ] {
            assert!(!refused.is_empty(), "{refused:?}");
        }
    }

    #[test]
    fn refused_entities_are_left_out_with_their_links_and_counted() {
        let mut changes = Changes::default();
        for payload in [
            "epoch:open:7",
            "epoch:closed:7",
            "batch:validator:v:7",
            "batch:validator:v:8",
            "batch:validator:w:8",
            "submission:received:s",
            "submission:validated:t",
        ] {
            changes.add(1, &IndexEvent::parse(payload.as_bytes()).expect(payload));
        }
        assert_eq!(changes.without(&Refused::default()), (changes.clone(), 0));
        let epoch = EpochId::parse("7").expect("an epoch id");
        let refused = Refused {
            epochs: BTreeSet::from([epoch.clone()]),
            submissions: BTreeSet::from(["s".to_owned()]),
            validators: BTreeSet::from(["w".to_owned()]),
        };
        let (kept, left_out) = changes.without(&refused);
        // Two steps of the epoch, its validator's batch, that of the refused validator, the submission.
        assert_eq!(left_out, 5);
        assert_eq!(kept.epochs.len(), 1);
        assert!(!kept.epochs.contains_key(&epoch));
        let of_epochs: Vec<_> = kept.epochs.values().flat_map(|change| change.validators.keys()).collect();
        assert_eq!(of_epochs, ["v"]);
        assert_eq!(kept.validators.keys().collect::<Vec<_>>(), ["v"]);
        assert_eq!(kept.submissions.keys().collect::<Vec<_>>(), ["t"]);
    }
}
