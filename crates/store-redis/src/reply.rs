//! Answers of Redis, read one by one: each that is not what it should be becomes a [`Fault`] and a missing
//! value, and the others go on.

use std::fmt::Display;

use errors::{Operation, sanitise};
use redis::{FromRedisValue, RedisResult, Value, from_redis_value};

use crate::error::{ErrorKind, StoreError, kind_of};

/// One key that could not be read or written, or could only be read in part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {kind}: {detail}", sanitise(key))]
pub struct Fault {
    /// The key.
    pub key: String,
    /// What is wrong with it.
    pub kind: ErrorKind,
    /// The server's word, or the piece that can't be read; at most 200 characters.
    pub detail: String,
}

impl Fault {
    /// A fault of this key.
    #[must_use]
    pub fn new(key: impl Display, kind: ErrorKind, detail: impl Display) -> Self {
        Self { key: key.to_string(), kind, detail: sanitise(detail) }
    }

    /// What the server said of this key.
    #[must_use]
    pub fn redis(key: &str, error: &redis::RedisError) -> Self {
        Self::new(key, kind_of(error), error)
    }
}

/// The answers of one batch, taken in the order of its commands. Keys are named for reports alone: a name that has
/// to be made is made when it is needed.
pub struct Replies {
    operation: Operation,
    answers: std::vec::IntoIter<RedisResult<Value>>,
    faults: Vec<Fault>,
    /// Keys that are there, where somebody asks for that.
    present: Option<Vec<String>>,
}

impl Replies {
    /// The answers of a batch, for this operation.
    #[must_use]
    pub fn new(operation: Operation, answers: Vec<RedisResult<Value>>) -> Self {
        Self { operation, answers: answers.into_iter(), faults: Vec::new(), present: None }
    }

    /// Keeps the names of keys under which there is something, where somebody asks for them.
    #[must_use]
    pub fn noting(self, asked: bool) -> Self {
        Self { present: asked.then(Vec::new), ..self }
    }

    /// The keys under which there was something, as far as they were noted.
    pub fn present(&mut self) -> Vec<String> {
        self.present.take().unwrap_or_default()
    }

    /// All faults so far.
    #[must_use]
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Notes a fault of this key; at most 200 characters of the detail are kept.
    pub fn fault(&mut self, key: impl Display, kind: ErrorKind, detail: impl Display) {
        self.faults.push(Fault::new(key, kind, detail));
    }

    /// The next answer, whatever it is.
    ///
    /// # Errors
    /// [`StoreError`] for an error that says that the server as a whole is of no use, or that this user may
    /// not do this: then no answer of the batch can be trusted to be complete.
    pub fn raw(&mut self, key: impl Display + Copy) -> Result<Option<Value>, StoreError> {
        match self.answers.next() {
            Some(Ok(value)) => {
                if let Some(present) = self.present.as_mut().filter(|_| !is_nothing(&value)) {
                    present.push(key.to_string());
                }
                Ok(Some(value))
            }
            Some(Err(error)) => {
                let kind = kind_of(&error);
                if kind.spoils_a_batch() {
                    return Err(StoreError::redis(self.operation, key.to_string(), &error));
                }
                if let Some(present) = &mut self.present {
                    present.push(key.to_string());
                }
                self.fault(key, kind, error);
                Ok(None)
            }
            None => Err(StoreError::new(
                self.operation,
                key.to_string(),
                ErrorKind::Malformed,
                "an answer is missing",
            )),
        }
    }

    /// The next answer as a `T`; `None` when it is an error or something else.
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

    /// The next answer as a `T`, without which nothing can be concluded: a key of the tracker's own.
    ///
    /// # Errors
    /// [`StoreError`] when it is an error or something else.
    pub fn own<T: FromRedisValue>(&mut self, key: &str) -> Result<T, StoreError> {
        let failed = |error: &redis::RedisError| StoreError::redis(self.operation, key, error);
        match self.answers.next() {
            Some(Ok(value)) => from_redis_value(value).map_err(|error| failed(&error.into())),
            Some(Err(error)) => Err(failed(&error)),
            None => Err(StoreError::new(self.operation, key, ErrorKind::Malformed, "an answer is missing")),
        }
    }
}

/// What Redis answers of a key that is not there.
fn is_nothing(answer: &Value) -> bool {
    match answer {
        Value::Nil | Value::Int(0) | Value::Boolean(false) => true,
        Value::Array(items) | Value::Set(items) => items.iter().all(is_nothing),
        Value::Map(fields) => fields.is_empty(),
        _ => false,
    }
}
