//! What a pass reads beside epochs: the validator's own batches of the day, and the counts of priorities.

use domain::tracker::{Priorities, Reading};
use store_redis::{Batch, ErrorKind, Replies, StoreError};

use super::{MarketStore, Pass, spellings::Chosen};
use crate::keys::InputKeys;

/// The fields of `vpa:stats` that are read, in the order of [`take_numbers`].
pub(super) const PRIORITY_FIELDS: [&str; 4] = [
    "total_priority_assignments",
    "no_priority_count",
    "total_submissions_success",
    "total_submissions_failed",
];

impl MarketStore {
    pub(super) fn ask_activity(&self, batch: &mut Batch, chosen: &Chosen, day: &(String, f64)) {
        for input in chosen.inputs(&self.keys) {
            let (since, now) = day;
            batch.cmd("ZCOUNT", input.own_batches(&self.validator)).arg(since).arg(*now);
        }
    }

    pub(super) fn take_activity(&self, replies: &mut Replies, pass: &mut Pass) -> Result<(), StoreError> {
        let mut level1 = Vec::new();
        for input in pass.chosen.inputs(&self.keys) {
            level1.push(replies.take::<u64>(&input.own_batches(&self.validator))?);
        }
        pass.seen.day.level1 = first_not_zero(&level1);
        Ok(())
    }

    pub(super) fn ask_priorities(&self, batch: &mut Batch, chosen: &Chosen, day: &(String, f64)) {
        let (since, now) = day;
        for space in chosen.priorities(&self.keys) {
            batch.cmd("HMGET", space.vpa_stats()).arg(&PRIORITY_FIELDS);
            for timeline in [space.vpa_assignments(), space.vpa_submissions()] {
                batch.cmd("ZCOUNT", timeline).arg(since).arg(*now);
            }
        }
    }

    /// Each count is that of the first namespace that has one; a namespace whose key can't be read makes it unknown.
    pub(super) fn take_priorities(
        &self,
        replies: &mut Replies,
        chosen: &Chosen,
    ) -> Result<Priorities, StoreError> {
        let (mut all, mut assignments, mut submissions) = (Priorities::default(), Vec::new(), Vec::new());
        for space in chosen.priorities(&self.keys) {
            let fields = take_numbers(replies, space)?;
            let slots = [&mut all.assignments, &mut all.none, &mut all.succeeded, &mut all.failed];
            for (slot, field) in slots.into_iter().zip(fields) {
                if *slot == Reading::Absent {
                    *slot = field;
                }
            }
            assignments.push(replies.take::<u64>(&space.vpa_assignments())?);
            submissions.push(replies.take::<u64>(&space.vpa_submissions())?);
        }
        (all.assignments_24h, all.submissions_24h) =
            (first_not_zero(&assignments), first_not_zero(&submissions));
        Ok(all)
    }
}

fn take_numbers(replies: &mut Replies, space: InputKeys<'_>) -> Result<[Reading<u64>; 4], StoreError> {
    let key = space.vpa_stats();
    let Some(fields) = replies.take::<Vec<Option<String>>>(&key)? else {
        return Ok([Reading::Unreadable; 4]);
    };
    let mut numbers = [Reading::Absent; 4];
    for ((slot, field), name) in numbers.iter_mut().zip(fields).zip(PRIORITY_FIELDS) {
        let Some(text) = field else { continue };
        *slot = text.parse().map_or(Reading::Unreadable, Reading::Value);
        if slot.is_unreadable() {
            replies.fault(&key, ErrorKind::Malformed, format!("{name} is `{text}`, a count is expected"));
        }
    }
    Ok(numbers)
}

/// The first count that is not 0. An unreadable one is not 0, and makes the result unknown.
fn first_not_zero(counts: &[Option<u64>]) -> Option<u64> {
    counts.iter().copied().find(|count| *count != Some(0)).unwrap_or(Some(0))
}
