//! Reads the answers of a batch one by one. An answer of the wrong form becomes a [`Fault`] and a missing value; the others are
//! still used.

use std::fmt::Display;

use errors::{Operation, sanitise};
use redis::{FromRedisValue, RedisResult, Value, from_redis_value};

use crate::{
    answers::{consequence_of, kind_of},
    error::StoreError,
    kind::ErrorKind,
};

/// One key that could not be read or written, or could only be read in part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {kind}: {detail}", sanitise(key))]
pub struct Fault {
    /// The key.
    pub key: String,
    /// The kind of fault.
    pub kind: ErrorKind,
    /// The server's message, or the part that can't be read; at most 200 characters.
    pub detail: String,
}

impl Fault {
    /// A fault of this key.
    #[must_use]
    pub fn new(key: impl Display, kind: ErrorKind, detail: impl Display) -> Self {
        Self { key: key.to_string(), kind, detail: sanitise(detail) }
    }

    /// A fault from the server's error for this key.
    #[must_use]
    pub fn redis(key: &str, error: &redis::RedisError) -> Self {
        Self::new(key, kind_of(error), error)
    }
}

/// The answers of one batch, taken in the order of its commands. Keys are passed for reports alone, as anything that displays
/// them: a pass reads thousands of answers, and builds a name only for a fault.
pub struct Replies {
    operation: Operation,
    answers: std::vec::IntoIter<RedisResult<Value>>,
    faults: Vec<Fault>,
    /// Names of the keys that exist, if requested.
    present: Option<Vec<String>>,
}

impl Replies {
    /// The answers of a batch, with the operation that errors name.
    #[must_use]
    pub fn new(operation: Operation, answers: Vec<RedisResult<Value>>) -> Self {
        Self { operation, answers: answers.into_iter(), faults: Vec::new(), present: None }
    }

    /// Also collects the names of keys that exist, if `asked`.
    #[must_use]
    pub fn noting_present(self, asked: bool) -> Self {
        Self { present: asked.then(Vec::new), ..self }
    }

    /// The keys that exist, of the answers that were read so far; empty unless [`Replies::noting_present`] requested them.
    pub fn present(&mut self) -> Vec<String> {
        self.present.take().unwrap_or_default()
    }

    /// All faults of the answers that were read.
    #[must_use]
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Notes a fault of this key; at most 200 characters of the detail are kept.
    pub fn fault(&mut self, key: impl Display, kind: ErrorKind, detail: impl Display) {
        self.faults.push(Fault::new(key, kind, detail));
    }

    /// The next answer, unparsed.
    ///
    /// # Errors
    /// [`StoreError`] for an error that voids the batch by the table of answers.
    pub fn raw(&mut self, key: impl Display + Copy) -> Result<Option<Value>, StoreError> {
        match self.answers.next() {
            Some(Ok(value)) => {
                if let Some(present) = self.present.as_mut().filter(|_| !is_absent(&value)) {
                    present.push(key.to_string());
                }
                Ok(Some(value))
            }
            Some(Err(error)) => {
                let kind = kind_of(&error);
                // A pass that took such errors for missing keys would write totals that are too low.
                if consequence_of(&error).voids_batch() {
                    return Err(StoreError::redis(self.operation, key.to_string(), &error));
                }
                // An error about one key, such as WRONGTYPE, comes from a key that exists.
                if let Some(present) = &mut self.present {
                    present.push(key.to_string());
                }
                self.fault(key, kind, error);
                Ok(None)
            }
            // A bug of this crate: a batch has one answer a command.
            None => Err(StoreError::new(
                self.operation,
                key.to_string(),
                ErrorKind::Malformed,
                "an answer is missing",
            )),
        }
    }

    /// The next answer as a `T`; `None` without a fault if it is an error or of another form, where another answer about the same key
    /// reports that.
    ///
    /// # Errors
    /// As [`Replies::raw`].
    pub fn unreported<T: FromRedisValue>(
        &mut self,
        key: impl Display + Copy,
    ) -> Result<Option<T>, StoreError> {
        let faults = self.faults.len();
        let taken = self.take(key);
        self.faults.truncate(faults);
        taken
    }

    /// The next answer as a `T`; `None` with a fault if it is an error or of another form.
    pub fn take<T: FromRedisValue>(&mut self, key: impl Display + Copy) -> Result<Option<T>, StoreError> {
        let Some(value) = self.raw(key)? else { return Ok(None) };
        match from_redis_value(value) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.fault(key, ErrorKind::Malformed, error);
                Ok(None)
            }
        }
    }

    /// The next answer as a `T`, of a key without which the caller can't continue: one of the tracker's own.
    ///
    /// # Errors
    /// [`StoreError`] if it is an error or of another form.
    pub fn required<T: FromRedisValue>(&mut self, key: &str) -> Result<T, StoreError> {
        let failed = |error: &redis::RedisError| StoreError::redis(self.operation, key, error);
        match self.answers.next() {
            Some(Ok(value)) => from_redis_value(value).map_err(|error| failed(&error.into())),
            Some(Err(error)) => Err(failed(&error)),
            None => Err(StoreError::new(self.operation, key, ErrorKind::Malformed, "an answer is missing")),
        }
    }
}

/// Whether an answer is that of a missing key.
fn is_absent(answer: &Value) -> bool {
    match answer {
        // Redis deletes a collection with its last element, so that an empty one is a missing key.
        Value::Nil | Value::Int(0) | Value::Boolean(false) => true,
        // A scan that found nothing: the cursor of its end, and no members.
        Value::Array(items)
            if matches!(&items[..], [Value::BulkString(cursor), Value::Array(members)]
                if cursor == b"0" && members.is_empty()) =>
        {
            true
        }
        Value::Array(items) | Value::Set(items) => items.iter().all(is_absent),
        Value::Map(fields) => fields.is_empty(),
        // What a part of a missing text is.
        Value::BulkString(bytes) => bytes.is_empty(),
        _ => false,
    }
}
