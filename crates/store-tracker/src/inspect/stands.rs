//! Everything that stands in a market's outputs.

use redis::Value as Answer;
use serde_json::{Map, Value};

use crate::{
    keys::{InputKeys, MarketKeys},
    operations,
};
use store_redis::{Batch, Replies, Session, StoreError};

/// The datasets that readers of the first output find, by the names of their keys behind `P:M:`, hash fields and
/// gaps as an object each; null where nothing stands that can be read. `hours` are the starts of the hours that are
/// read. One round trip.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn stands(
    session: &mut Session,
    keys: &MarketKeys,
    hours: &[u64],
) -> Result<Vec<(String, Value)>, StoreError> {
    let operation = operations::READ_DATASETS;
    let Some(output) = keys.outputs().next() else { return Ok(Vec::new()) };
    let texts = [output.summary(), output.participation(), output.current_epoch(), output.daily()];
    let texts: Vec<String> = texts.into_iter().chain(hours.iter().map(|hour| output.hourly(*hour))).collect();
    let mut batch = Batch::new();
    for key in &texts {
        batch.cmd("GET", key);
    }
    batch.cmd("HGETALL", output.stats());
    batch.cmd("ZRANGE", output.gaps()).arg(0).arg(-1);
    let answers = session.run(operation, keys.market().checksummed(), batch).await?;
    let mut replies = Replies::new(operation, answers);
    let name = |key: &str| key.strip_prefix(output.space()).unwrap_or(key).trim_start_matches(':').to_owned();
    let mut all = Vec::new();
    for key in &texts {
        let json = match replies.raw(key)? {
            Some(Answer::BulkString(text)) => serde_json::from_slice(&text).unwrap_or(Value::Null),
            _ => Value::Null,
        };
        all.push((name(key), json));
    }
    let fields: Vec<(String, String)> = replies.take(&output.stats())?.unwrap_or_default();
    let number = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    let fields: Map<String, Value> = fields.into_iter().map(|(name, text)| (name, number(text))).collect();
    all.push((name(&output.stats()), if fields.is_empty() { Value::Null } else { Value::Object(fields) }));
    let gaps: Vec<String> = replies.take(&output.gaps())?.unwrap_or_default();
    let gaps = gaps.into_iter().map(|gap| (gap, Value::Bool(true))).collect();
    all.push((name(&output.gaps()), Value::Object(gaps)));
    Ok(all)
}

/// How many raw entries the timelines of epochs and batches have in the last 24 hours, and how many of these are
/// openings of epochs, and batches of ours, under all spellings: one round trip.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn raw_entries(
    session: &mut Session,
    keys: &MarketKeys,
    since: u64,
) -> Result<[[u64; 2]; 2], StoreError> {
    let operation = operations::READ_TIMELINES;
    let timelines = |input: InputKeys<'_>| [(0, input.epochs_timeline()), (1, input.batches_timeline())];
    let timelines: Vec<(usize, String)> = keys.inputs().flat_map(timelines).collect();
    let mut batch = Batch::new();
    for (_, key) in &timelines {
        batch.cmd("ZRANGEBYSCORE", key).arg(since).arg("+inf");
    }
    let answers = session.run(operation, keys.market().checksummed(), batch).await?;
    let mut replies = Replies::new(operation, answers);
    let mut counts = [[0; 2]; 2];
    let ours: [&[&str]; 2] = [&["open:"], &["local:", "aggregated:"]];
    for (kind, key) in &timelines {
        let members: Vec<Vec<u8>> = replies.take(key)?.unwrap_or_default();
        let is_ours =
            |member: &&Vec<u8>| ours[*kind].iter().any(|prefix| member.starts_with(prefix.as_bytes()));
        let [all, of_ours] = &mut counts[*kind];
        *all += members.len() as u64;
        *of_ours += members.iter().filter(is_ours).count() as u64;
    }
    Ok(counts)
}

/// How many entries a market's timelines have had at or after each of these moments (Unix seconds), under all
/// spellings: one round trip.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn entries_since(
    session: &mut Session,
    keys: &MarketKeys,
    validator: &str,
    moments: &[u64],
) -> Result<Vec<u64>, StoreError> {
    let operation = operations::COUNT_ENTRIES;
    let timelines = |input: InputKeys<'_>| {
        let priorities = [input.vpa_assignments(), input.vpa_submissions()];
        input.timelines(validator).into_iter().chain(priorities)
    };
    let timelines: Vec<String> = keys.inputs().flat_map(timelines).collect();
    let mut batch = Batch::new();
    for moment in moments {
        for key in &timelines {
            batch.cmd("ZCOUNT", key).arg(*moment).arg("+inf");
        }
    }
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let answers = session.run(operation, keys.market().checksummed(), batch).await?;
    let mut replies = Replies::new(operation, answers);
    let mut counts = vec![0; moments.len()];
    for count in &mut counts {
        for key in &timelines {
            *count += replies.take::<u64>(key)?.unwrap_or(0);
        }
    }
    Ok(counts)
}
