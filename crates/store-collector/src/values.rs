//! Values of the collector's own keys as texts, and back.

use std::error::Error;

use domain::chain::Window;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use store_redis::{ErrorKind, Replies, StoreError};

use crate::operations::READ_CHECKPOINT;

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
