//! A run's summary as it stands in the users' table: the figures, and our bookkeeping beside them.
//!
//! The bookkeeping lives within the value, since an existing database is not altered. Each write raises the version under the
//! run's row lock, to at least the database's clock in milliseconds: no two different summaries of a run share a version, also
//! where another program has overwritten the value, and with it the version.

use serde_json::{Map, Value};

use super::metrics::Metrics;
use super::timestamp::Timestamp;

/// A run's summary.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The figures.
    pub metrics: Metrics,
    /// Which write this was, rising within a run; none where another program wrote the summary.
    pub version: Option<i64>,
    /// When it was written; none where another program wrote the summary.
    pub updated_at: Option<Timestamp>,
    /// Whether the run had left `running` when it was counted, so that this is its last summary.
    pub is_final: bool,
}

impl Summary {
    /// The field of the version.
    pub const VERSION: &str = "version";
    /// The field of the time of the write.
    pub const UPDATED_AT: &str = "updatedAt";
    /// The field that says that the summary is the run's last one.
    pub const FINAL: &str = "final";

    /// The summary in a value that any program wrote; none where there is no object.
    #[must_use]
    pub fn read(value: &Value) -> Option<Self> {
        value.is_object().then(|| Self {
            metrics: Metrics::read(value),
            version: value.get(Self::VERSION).and_then(Value::as_i64),
            updated_at: value.get(Self::UPDATED_AT).and_then(Value::as_str).and_then(Timestamp::parse),
            is_final: value.get(Self::FINAL).and_then(Value::as_bool).unwrap_or(false),
        })
    }

    /// What is compared to decide whether a run changed, and written with a version and a time: the figures and whether they are
    /// final.
    #[must_use]
    pub fn content(metrics: &Metrics, is_final: bool) -> Value {
        // Can't fail: the figures are numbers in maps with text keys.
        let value = serde_json::to_value(metrics).unwrap_or_default();
        let mut fields = match value {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        if is_final {
            fields.insert(Self::FINAL.to_owned(), Value::Bool(true));
        }
        Value::Object(fields)
    }
}
