//! The datasets in a market's first output, and the number of entries in its timelines.

use redis::Value as Answer;
use serde_json::Value;

use crate::{
    datasets::{DATASETS, Dataset, key_of, object_of_fields, object_of_members},
    keys::{InputKeys, MarketKeys},
    operations,
};
use store_redis::{Batch, KeyType, Replies, Session, StoreError};

/// The datasets that readers of the first output find, by the names of their keys behind `P:M:`. Hashes and gaps are an object each; a
/// missing or unreadable dataset is null. `hours` are the starts, in Unix seconds, of the hours that are read. One round trip.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn datasets(
    session: &mut Session,
    keys: &MarketKeys,
    hours: &[u64],
) -> Result<Vec<(String, Value)>, StoreError> {
    let operation = operations::READ_DATASETS;
    let Some(output) = keys.outputs().next() else { return Ok(Vec::new()) };
    let ids = |dataset: &Dataset| match dataset.family.ids() {
        0 => vec![None],
        _ => hours.iter().copied().map(Some).collect(),
    };
    let all: Vec<(&Dataset, Option<u64>)> =
        DATASETS.iter().flat_map(|dataset| ids(dataset).into_iter().map(move |id| (dataset, id))).collect();
    let mut batch = Batch::new();
    for (dataset, id) in &all {
        let key = output.dataset(dataset, *id);
        match dataset.family.kind {
            KeyType::Hash => batch.cmd("HGETALL", &key),
            KeyType::Zset => batch.cmd("ZRANGE", &key).arg(0).arg(-1),
            _ => batch.cmd("GET", &key),
        };
    }
    let answers = session.run(operation, keys.market().checksummed(), batch).await?;
    let mut replies = Replies::new(operation, answers);
    let mut read = |dataset: &Dataset, key: &str| -> Result<Value, StoreError> {
        Ok(match dataset.family.kind {
            KeyType::Hash => {
                let fields: Vec<(String, String)> = replies.take(key)?.unwrap_or_default();
                if fields.is_empty() { Value::Null } else { object_of_fields(fields.into_iter()) }
            }
            KeyType::Zset => {
                object_of_members(replies.take::<Vec<String>>(key)?.unwrap_or_default().into_iter())
            }
            _ => match replies.raw(key)? {
                Some(Answer::BulkString(text)) => serde_json::from_slice(&text).unwrap_or(Value::Null),
                _ => Value::Null,
            },
        })
    };
    let value = |(dataset, id): (&Dataset, Option<u64>)| {
        let value = read(dataset, &output.dataset(dataset, id))?;
        Ok((key_of(dataset, "", id), value))
    };
    all.into_iter().map(value).collect()
}

/// For the timelines of epochs and of batches: how many entries they have since `since` (Unix seconds), and how many of these count
/// (openings, local and aggregated batches), under all spellings. One round trip.
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
    let counted: [&[&str]; 2] = [&["open:"], &["local:", "aggregated:"]];
    for (kind, key) in &timelines {
        let members: Vec<Vec<u8>> = replies.take(key)?.unwrap_or_default();
        let is_counted =
            |member: &&Vec<u8>| counted[*kind].iter().any(|prefix| member.starts_with(prefix.as_bytes()));
        let [all, of_counted] = &mut counts[*kind];
        *all += members.len() as u64;
        *of_counted += members.iter().filter(is_counted).count() as u64;
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
    let timelines: Vec<String> = keys.pruned_inputs(validator).map(|(_, key)| key).collect();
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
