//! Values of the collector's own keys as texts, and back.

use std::{collections::BTreeMap, error::Error};

use domain::{chain::Window, collector::Rollover};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use store_redis::{ErrorKind, Replies, StoreError};

use crate::operations::READ_CHECKPOINT;

/// The fields of a market, as they are read.
pub(crate) const MARKET_FIELDS: &[&str] = &["done", "current", "day", "since", "last_day"];
/// How many characters of a value that can't be read are shown.
const MOST_SHOWN: usize = 100;

/// `EpochMarkerDetailsKey`
pub(crate) fn details_of(window: &Window) -> String {
    json!({
        "EpochReleaseBlockNumber": window.release_block,
        "SubmissionLimitBlockNumber": window.last_block(),
    })
    .to_string()
}

/// `DayRolloverEpochMarkerDetailsKey`
pub(crate) fn rollover_details_of(epoch: u64, rollover: &Rollover) -> String {
    json!({
        "LastKnownDay": rollover.last_day.to_string(),
        "CurrentEpoch": epoch,
        "BufferEpoch": rollover.buffer_epoch,
    })
    .to_string()
}

pub(crate) fn text(value: &impl Serialize) -> String {
    // Plain data with texts for keys always has a JSON form.
    serde_json::to_string(value).unwrap_or_default()
}

/// The next answer, that of `TIME`, in Unix seconds.
pub(crate) fn take_time(replies: &mut Replies, route: &str) -> Result<u64, StoreError> {
    let (seconds, _): (u64, u64) = replies.required(route)?;
    Ok(seconds)
}

/// The next answer as something of ours; `None` if there is none.
pub(crate) fn take_json<T: DeserializeOwned>(
    replies: &mut Replies,
    key: &str,
) -> Result<Option<T>, StoreError> {
    let text: Option<String> = replies.required(key)?;
    text.map(|text| read(key, &text)).transpose()
}

/// The changes of day of the next answer, by their epochs.
pub(crate) fn take_rollovers(
    replies: &mut Replies,
    key: &str,
) -> Result<BTreeMap<u64, Rollover>, StoreError> {
    let texts: Vec<(u64, String)> = replies.required(key)?;
    texts.into_iter().map(|(epoch, text)| Ok((epoch, read(key, &text)?))).collect()
}

/// Something of ours.
pub(crate) fn read<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| unreadable(key, text, error))
}

pub(crate) fn parse<T: std::str::FromStr<Err: Error + Send + Sync + 'static>>(
    key: &str,
    text: Option<&str>,
) -> Result<Option<T>, StoreError> {
    text.map(|text| text.parse().map_err(|error| unreadable(key, text, error))).transpose()
}

fn unreadable(key: &str, text: &str, cause: impl Error + Send + Sync + 'static) -> StoreError {
    let text: String = text.chars().take(MOST_SHOWN).collect();
    let error = StoreError::caused(READ_CHECKPOINT, key, ErrorKind::Malformed, cause);
    error.with_context(format!("`{text}` can't be read"))
}
