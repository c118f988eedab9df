//! Values of the collector's own keys as texts, and back.

use domain::chain::Window;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use store_redis::{ErrorKind, StoreError};

/// How long the details of an epoch are kept once its batches are handed over, in seconds.
pub(crate) const DETAILS_TTL: u64 = 30 * 60;

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

/// Something of ours.
pub(crate) fn read<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| {
        let detail = format!("`{}` can't be read: {error}", text.chars().take(100).collect::<String>());
        StoreError::new("read the checkpoint", key, ErrorKind::Malformed, detail)
    })
}

pub(crate) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    key: &str,
    text: Option<&str>,
) -> Result<Option<T>, StoreError> {
    text.map(|text| {
        text.parse().map_err(|error| StoreError::new("read the checkpoint", key, ErrorKind::Malformed, error))
    })
    .transpose()
}
