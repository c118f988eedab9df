//! `[log]`: level and format of the log.

use serde::Deserialize;

use super::super::checks::LOG_LEVEL;
use super::super::setting::{choice, section, text};

section! {
    /// The log, on standard error.
    pub struct Log in "log" {
        /// Lowest level that is logged, or a filter such as `info,store_redis=debug`.
        level: String = text("info", LOG_LEVEL).variable("LOG_LEVEL"),
        /// Form of a log line: `text` for people, `json` for machines.
        format: LogFormat = choice("text", &["text", "json"]),
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}
