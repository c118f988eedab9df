//! Hashes of Redis as answers. Entries that can't be read are left out and reported, as the original leaves them out. Pure.

use std::{borrow::Cow, collections::BTreeMap, io::Write};

use serde::Deserialize;
use store_collector::Entries;
use store_redis::{ErrorKind, Fault};

use super::{
    answers::{
        DiscardedDetails, DiscardedOfDay, DiscardedOfEpoch, DiscardedProject, EligibleCounts, SlotCount,
        SlotDetails, SlotProject,
    },
    json,
    outcome::Refusal,
    submission::Stored,
};

/// The most projects of an answer, or of a page.
const PROJECTS: usize = 50;
/// The most entries that are reported of one hash.
const REPORTED: usize = 4;

/// What an entry takes in the text of an answer beside its field and its value, in bytes.
const ENTRY: usize = 64;

/// What was left out of an answer.
pub(super) type LeftOut = Vec<Fault>;

/// The text of the answer with the submissions of an epoch, in the order of the hash.
///
/// # Errors
/// 422 for one that is too large.
pub(super) fn submissions(
    id: &str,
    Entries { key, all: entries }: &Entries,
) -> Result<(Vec<u8>, LeftOut), Refusal> {
    let mut left_out = LeftOut::new();
    let size = entries.iter().map(|(field, value)| field.len() + value.len() + ENTRY).sum();
    let text = json::text_of(id, size, |text| {
        text.write_all(b"{\"submissions\":[")?;
        let mut comma: &[u8] = b"";
        for (field, value) in entries {
            let stored = match Stored::read(field, value) {
                Ok(stored) => stored,
                Err(error) => {
                    leave_out(&mut left_out, key, field, &error);
                    continue;
                }
            };
            text.write_all(comma)?;
            stored.write(text)?;
            comma = b",";
        }
        text.write_all(b"]}")
    })?;
    Ok((text, left_out))
}

/// The eligible submissions of each slot.
pub(super) fn eligible(Entries { key, all: entries }: &Entries) -> (EligibleCounts, LeftOut) {
    let mut left_out = LeftOut::new();
    let mut counts = Vec::with_capacity(entries.len());
    for (field, value) in entries {
        match (number(field), number(value)) {
            (Ok(slot), Ok(count)) => counts.push(SlotCount { slot, count }),
            (Err(error), _) | (_, Err(error)) => leave_out(&mut left_out, key, field, &error),
        }
    }
    counts.sort_unstable_by_key(|slot| slot.slot);
    (EligibleCounts { counts }, left_out)
}

/// The first projects with discarded submissions.
pub(super) fn discarded_of_epoch(Entries { key, all: entries }: &Entries) -> (DiscardedOfEpoch, LeftOut) {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_unstable();
    let (mut projects, mut left_out) = (Vec::new(), LeftOut::new());
    for (field, value) in entries {
        if projects.len() == PROJECTS {
            break;
        }
        match serde_json::from_slice::<DiscardedDetails>(value) {
            Ok(details) => {
                let project = String::from_utf8_lossy(field).into_owned();
                projects.push(DiscardedProject { project, details });
            }
            Err(error) => leave_out(&mut left_out, key, field, &error),
        }
    }
    (DiscardedOfEpoch { projects }, left_out)
}

/// A page of the projects of a slot; what is less than the first page is the first one.
///
/// # Errors
/// A value that is no JSON of this form.
pub(super) fn discarded_of_day(
    slot: u64,
    page: i64,
    value: &[u8],
) -> Result<DiscardedOfDay, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Projects<'a>(#[serde(borrow)] BTreeMap<Cow<'a, str>, Option<SlotDetails>>);

    let Projects(projects) = serde_json::from_slice(value)?;
    let projects: Vec<SlotProject> = projects
        .into_iter()
        .filter_map(|(project, details)| {
            Some(SlotProject { project: project.into_owned(), details: details? })
        })
        .collect();
    let page = u64::try_from(page).unwrap_or_default().max(1);
    let total_pages = projects.len().div_ceil(PROJECTS) as u64;
    let skipped = usize::try_from(page - 1).unwrap_or(usize::MAX).saturating_mul(PROJECTS);
    let discarded_submissions = projects.into_iter().skip(skipped).take(PROJECTS).collect();
    Ok(DiscardedOfDay { slot, discarded_submissions, total_pages, current_page: page })
}

/// Slot ids in the order of their numbers, what is none behind them.
pub(super) fn in_order(mut slots: Vec<String>) -> Vec<String> {
    slots.sort_by_cached_key(|slot| (slot.parse::<u64>().map_err(drop), slot.clone()));
    slots
}

/// Notes an entry, unless enough of its hash are noted.
fn leave_out(all: &mut LeftOut, key: &str, field: &[u8], error: &dyn std::fmt::Display) {
    if all.len() < REPORTED {
        let field = String::from_utf8_lossy(field);
        let detail = format!("the field {} can't be read: {error}", errors::sanitise(field));
        all.push(Fault::new(key, ErrorKind::Malformed, detail));
    }
}

fn number(text: &[u8]) -> Result<u64, Box<dyn std::error::Error>> {
    Ok(std::str::from_utf8(text)?.parse()?)
}
