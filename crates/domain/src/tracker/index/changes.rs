//! What a batch of events changes: one change an entity, so that repeated events make no more commands.

use std::collections::BTreeMap;

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

impl Changes {
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
}
