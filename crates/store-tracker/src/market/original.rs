//! The original's datasets: what it reads of a market, and its texts in place of ours.
//!
//! It reads one spelling of the keys, as the original did: the first in use. Two round trips whatever the number of
//! epochs, beside those of the pass that keeps the ledger. What can't be read is 0, as in the original, and is
//! reported.

use domain::tracker::{
    DAY, Entries, EventsSinceStart, HOUR, OriginalEpoch, OriginalSeen, go_json, original_open,
};

use super::{MarketStore, priorities::PRIORITY_FIELDS};
use crate::{
    datasets::{Content, DAILY, HOURLY, Made, PARTICIPATION, STATS, SUMMARY},
    keys::InputKeys,
    operations,
};
use store_redis::{Batch, Fault, Replies, Session, StoreError};

/// How many of the newest timeline entries the original sees.
const NEWEST: isize = 5;

/// The texts of the original, to be written in place of ours.
#[derive(Clone, Debug, Default)]
pub struct OriginalDatasets {
    /// `dashboard:summary`
    pub summary: String,
    /// `stats:current`
    pub stats: Vec<(&'static str, String)>,
    /// `metrics:participation`
    pub participation: String,
    /// `stats:hourly:T` by T, the earlier first.
    pub hours: [(u64, String); 2],
    /// `stats:daily`
    pub day: String,
}

/// How long summary, stats and participation of the original live, in seconds.
const SUMMARY_TTL: u64 = 60;
/// How long its statistics of an hour live, in seconds.
const HOURLY_TTL: u64 = 2 * HOUR;
/// The same for those of the day.
const DAILY_TTL: u64 = 24 * HOUR;

impl OriginalDatasets {
    /// As they are written.
    #[must_use]
    pub fn made(&self) -> Vec<Made> {
        let json =
            |dataset, id, text: &str, ttl| Made { dataset, id, content: Content::Json(text.to_owned()), ttl };
        let stats = Content::Fields(self.stats.clone());
        let hours = self.hours.iter().map(|(start, text)| json(&HOURLY, Some(*start), text, HOURLY_TTL));
        let mut all = vec![
            json(&SUMMARY, None, &self.summary, SUMMARY_TTL),
            Made { dataset: &STATS, id: None, content: stats, ttl: SUMMARY_TTL },
            json(&PARTICIPATION, None, &self.participation, SUMMARY_TTL),
            json(&DAILY, None, &self.day, DAILY_TTL),
        ];
        all.extend(hours);
        all
    }

    /// The same keys as ours, with the original's contents where it has them.
    pub(super) fn in_place_of(&self, ours: &[Made]) -> Vec<Made> {
        let theirs = self.made();
        let of =
            |made: &Made| theirs.iter().find(|other| other.name() == made.name()).unwrap_or(made).clone();
        ours.iter().map(of).collect()
    }
}

impl MarketStore {
    /// The first spelling that the aggregator's passes found in use.
    fn in_use(&self) -> InputKeys<'_> {
        let used = self.spellings.first_used().and_then(|at| self.keys.inputs().nth(at));
        used.unwrap_or(self.keys.preferred())
    }

    /// Reads the original's inputs, and makes its datasets: two round trips.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails.
    pub async fn original(
        &self,
        session: &mut Session,
        now: f64,
        events: &EventsSinceStart,
        gaps: u64,
    ) -> Result<(OriginalDatasets, Vec<Fault>), StoreError> {
        let (input, second) = (self.in_use(), now.max(0.0) as u64);
        let running = second - second % HOUR;
        let (day_ago, hour_before) = (second.saturating_sub(DAY), running.saturating_sub(HOUR));
        let periods =
            [(second.saturating_sub(60), second), (second.saturating_sub(300), second), (day_ago, second)];
        let hours = [(hour_before, running), (running, second)];
        let (epochs, batches) = (input.epochs_timeline(), input.batches_timeline());
        let submissions = input.submissions_timeline();
        let mut batch = Batch::new();
        batch.cmd("SMEMBERS", input.active());
        batch.cmd("LLEN", input.queue());
        let mut count = |key: &String, (from, to): (u64, u64)| {
            // Both bounds belong to it: an entry on the boundary of two hours counts in both, as in the original.
            batch.cmd("ZCOUNT", key).arg(from).arg(to);
        };
        for timeline in [&epochs, &batches] {
            periods.into_iter().chain(hours).for_each(|period| count(timeline, period));
        }
        (0..24).for_each(|hour| count(&epochs, (day_ago + hour * HOUR, day_ago + (hour + 1) * HOUR)));
        periods[..2].iter().for_each(|period| count(&submissions, *period));
        let counted = [input.own_batches(&self.validator), input.vpa_assignments(), input.vpa_submissions()];
        counted.iter().for_each(|key| count(key, periods[2]));
        batch.cmd("ZRANGEBYSCORE", &batches).arg(day_ago).arg(second).arg("WITHSCORES");
        batch.cmd("HMGET", input.vpa_stats()).arg(&PRIORITY_FIELDS);

        let operation = operations::READ_ORIGINALS_INPUTS;
        let mut replies = Replies::new(operation, session.run(operation, self.name(), batch).await?);
        // Ids as they are written: the original normalises none.
        let active: Vec<String> = texts(replies.take(&input.active())?);
        let mut seen = OriginalSeen { now, gaps, ..OriginalSeen::default() };
        seen.queue = replies.take(&input.queue())?.unwrap_or(0);
        let mut take = |key: &str| Ok::<u64, StoreError>(replies.take(key)?.unwrap_or(0));
        for (slot, key) in [(&mut seen.epochs, &epochs), (&mut seen.batches, &batches)] {
            let (one, five, day) = (take(key)?, take(key)?, take(key)?);
            *slot = Entries { one, five, day, hours: [take(key)?, take(key)?] };
        }
        for slot in &mut seen.epochs_by_hour {
            *slot = take(&epochs)?;
        }
        seen.submissions = (take(&submissions)?, take(&submissions)?);
        seen.level1 = take(&counted[0])?;
        seen.priorities = (take(&counted[1])?, take(&counted[2])?);
        let entries = timed_texts(replies.take(&batches)?);
        let fields: Vec<Option<String>> = replies.take(&input.vpa_stats())?.unwrap_or_default();
        for (slot, field) in seen.priority_sums.iter_mut().zip(fields) {
            *slot = field.and_then(|text| text.parse().ok());
        }
        let mut faults = replies.into_faults();
        faults.extend(self.original_validators(session, input, &active, entries, &mut seen).await?);
        Ok((self.texts_of(&seen, events), faults))
    }

    /// The second round trip: reads submissions and validators of the active epochs, and the validators of aggregated batches.
    async fn original_validators(
        &self,
        session: &mut Session,
        input: InputKeys<'_>,
        active: &[String],
        entries: Vec<(String, f64)>,
        seen: &mut OriginalSeen,
    ) -> Result<Vec<Fault>, StoreError> {
        let operation = operations::READ_ORIGINALS_INPUTS;
        // Each with the key of its validators.
        let of_batch = |(member, at): (String, f64)| {
            Some((input.batch_validators(member.strip_prefix("aggregated:")?), at))
        };
        let aggregated: Vec<(String, f64)> = entries.into_iter().filter_map(of_batch).collect();
        let mut batch = Batch::new();
        let active: Vec<[String; 2]> =
            active.iter().map(|id| [input.submission_ids(id), input.validators(id)]).collect();
        for [ids, validators] in &active {
            batch.cmd("ZCARD", ids);
            batch.cmd("SMEMBERS", validators);
        }
        for (validators, _) in &aggregated {
            batch.cmd("GET", validators);
        }
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut replies = Replies::new(operation, session.run(operation, self.name(), batch).await?);
        for [ids, validators] in &active {
            seen.processed += replies.take::<u64>(ids)?.unwrap_or(0);
            seen.validators.extend(texts(replies.take(validators)?));
        }
        for (validators, at) in aggregated {
            let list = replies.take::<Option<Vec<u8>>>(&validators)?.flatten();
            let named = list.and_then(|list| serde_json::from_slice(&list).ok()).unwrap_or_default();
            seen.aggregated.push((at, named));
        }
        Ok(replies.into_faults())
    }

    fn texts_of(&self, seen: &OriginalSeen, events: &EventsSinceStart) -> OriginalDatasets {
        let summary = seen.summary(events);
        let object = summary.iter().map(|(name, number)| ((*name).to_owned(), number.to_json()));
        let hour = |which| {
            let (start, value) = seen.hour(which);
            (start, go_json(&value))
        };
        OriginalDatasets {
            summary: go_json(&serde_json::Value::Object(object.collect())),
            stats: summary.iter().map(|(name, number)| (*name, number.to_text())).collect(),
            participation: go_json(&seen.participation(&self.validator)),
            hours: [hour(0), hour(1)],
            day: go_json(&seen.day()),
        }
    }

    /// `metrics:current_epoch` as the original makes it: two round trips. `None` when it would write none.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails.
    pub async fn original_current(
        &self,
        session: &mut Session,
        now: f64,
    ) -> Result<(Option<String>, Vec<Fault>), StoreError> {
        let operation = operations::READ_ORIGINALS_EPOCH;
        let mut batch = Batch::new();
        for input in self.keys.inputs() {
            batch.cmd("SMEMBERS", input.active());
            batch.cmd("ZREVRANGE", input.epochs_timeline()).arg(0).arg(NEWEST - 1).arg("WITHSCORES");
        }
        let mut replies = Replies::new(operation, session.run(operation, self.name(), batch).await?);
        let mut found = None;
        for input in self.keys.inputs() {
            let active: Vec<String> = texts(replies.take(&input.active())?);
            let newest = timed_texts(replies.take(&input.epochs_timeline())?);
            // The first in the order of SMEMBERS, whatever that is, and the timeline only without any.
            let current = active.into_iter().next().map(|first| (first, None));
            let current = current.or_else(|| original_open(&newest).map(|(id, at)| (id, Some(at))));
            found = found.or(current.map(|current| (input, current)));
        }
        let mut faults = replies.into_faults();
        let Some((input, (id, opened))) = found else { return Ok((None, faults)) };
        let (info, ids) = (&input.info(&id), &input.submission_ids(&id));
        let (local, aggregated) = (&input.local_batch(&id), &input.aggregated_batch(&id));
        let mut batch = Batch::new();
        batch.cmd("HMGET", info).arg(&["status", "timestamp", "duration", "data_market"]);
        batch.cmd("EXISTS", local);
        batch.cmd("EXISTS", aggregated);
        batch.cmd("ZCARD", ids);
        let mut replies = Replies::new(operation, session.run(operation, self.name(), batch).await?);
        let fields: Vec<Option<String>> = replies.take(info)?.unwrap_or_default();
        let mut fields = fields.into_iter();
        let mut field = || fields.next().flatten();
        let epoch = OriginalEpoch {
            id,
            opened,
            status: field(),
            timestamp: field(),
            duration: field(),
            data_market: field(),
            local: replies.take(local)?.unwrap_or(false),
            aggregated: replies.take(aggregated)?.unwrap_or(false),
            submissions: replies.take(ids)?.unwrap_or(0),
        };
        faults.extend(replies.into_faults());
        Ok((Some(go_json(&epoch.to_json(now))), faults))
    }
}

fn texts(members: Option<Vec<Vec<u8>>>) -> Vec<String> {
    members.into_iter().flatten().filter_map(|member| String::from_utf8(member).ok()).collect()
}

/// The members of a timeline that are texts, with their times.
fn timed_texts(members: Option<Vec<(Vec<u8>, f64)>>) -> Vec<(String, f64)> {
    let text = |(member, at)| Some((String::from_utf8(member).ok()?, at));
    members.into_iter().flatten().filter_map(text).collect()
}
