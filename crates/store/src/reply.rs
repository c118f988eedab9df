//! Answers of Redis, read one by one: each that is not what it should be becomes a [`Fault`] and a missing
//! value, and the others go on.

use std::fmt::Display;

use domain::{EpochId, Timed};
use redis::{FromRedisValue, RedisResult, Value, from_redis_value};

use crate::error::{ErrorKind, StoreError, kind_of};

/// One input that could not be read, or could only be read in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key.
    pub key: String,
    /// What is wrong with it.
    pub kind: ErrorKind,
    /// The server's word, or the piece that can't be read.
    pub detail: String,
}

impl Fault {
    pub(crate) fn redis(key: &str, error: &redis::RedisError) -> Self {
        let detail = error.to_string().chars().take(200).collect();
        Self { key: key.to_owned(), kind: kind_of(error), detail }
    }
}

/// The answers of one batch, taken in the order of its commands. Keys are named for reports alone: a name that has
/// to be made is made when it is needed.
pub(crate) struct Replies {
    operation: &'static str,
    answers: std::vec::IntoIter<RedisResult<Value>>,
    faults: Vec<Fault>,
    /// Epochs that members named in another form than the normal one, with that form.
    other_forms: Vec<(EpochId, String)>,
    /// Keys that are there, where somebody asks for that.
    present: Option<Vec<String>>,
}

impl Replies {
    pub(crate) fn new(operation: &'static str, answers: Vec<RedisResult<Value>>) -> Self {
        Self {
            operation,
            answers: answers.into_iter(),
            faults: Vec::new(),
            other_forms: Vec::new(),
            present: None,
        }
    }

    /// Keeps the names of keys under which there is something, where somebody asks for them.
    pub(crate) fn noting(self, asked: bool) -> Self {
        Self { present: asked.then(Vec::new), ..self }
    }

    /// The keys under which there was something, as far as they were noted.
    pub(crate) fn present(&mut self) -> Vec<String> {
        self.present.take().unwrap_or_default()
    }

    /// The epochs that members named in another form than the normal one since this was last asked.
    pub(crate) fn other_forms(&mut self) -> Vec<(EpochId, String)> {
        std::mem::take(&mut self.other_forms)
    }

    pub(crate) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    pub(crate) fn fault(&mut self, key: impl Display, kind: ErrorKind, detail: impl ToString) {
        let detail = detail.to_string().chars().take(200).collect();
        self.faults.push(Fault { key: key.to_string(), kind, detail });
    }

    /// The next answer, whatever it is.
    ///
    /// # Errors
    /// [`StoreError`] for an error that says that the server as a whole is of no use, or that this user may
    /// not do this: then no answer of the batch can be trusted to be complete.
    pub(crate) fn raw(&mut self, key: impl Display + Copy) -> Result<Option<Value>, StoreError> {
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
    pub(crate) fn take<T: FromRedisValue>(
        &mut self,
        key: impl Display + Copy,
    ) -> Result<Option<T>, StoreError> {
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
    pub(crate) fn own<T: FromRedisValue>(&mut self, key: &str) -> Result<T, StoreError> {
        let failed = |error: &redis::RedisError| StoreError::redis(self.operation, key, error);
        match self.answers.next() {
            Some(Ok(value)) => from_redis_value(value).map_err(|error| failed(&error.into())),
            Some(Err(error)) => Err(failed(&error)),
            None => Err(StoreError::new(self.operation, key, ErrorKind::Malformed, "an answer is missing")),
        }
    }

    /// The members of a set of epoch ids, and how many members it has; those that name no epoch are reported
    /// once, with their number.
    pub(crate) fn epochs(&mut self, key: &str) -> Result<Option<(Vec<EpochId>, u64)>, StoreError> {
        let Some(members) = self.take::<Vec<Vec<u8>>>(key)? else { return Ok(None) };
        let count = members.len() as u64;
        let (mut epochs, mut unread) = (Vec::with_capacity(members.len()), Vec::new());
        for member in members {
            let text = std::str::from_utf8(&member).ok();
            match text.and_then(|text| EpochId::parse(text).ok()) {
                Some(epoch) => {
                    if let Some(text) = text.filter(|text| *text != epoch.as_str()) {
                        self.other_forms.push((epoch.clone(), text.to_owned()));
                    }
                    epochs.push(epoch);
                }
                None => unread.push(member),
            }
        }
        self.unread(key, &unread);
        Ok(Some((epochs, count)))
    }

    /// The members of a timeline with their scores, read by `parse`.
    pub(crate) fn timeline<T, E>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<Vec<Timed<T>>>, StoreError> {
        let Some(members) = self.take::<Vec<(Vec<u8>, f64)>>(key)? else { return Ok(None) };
        let (mut timeline, mut unread) = (Vec::with_capacity(members.len()), Vec::new());
        for (member, at) in members {
            let text = std::str::from_utf8(&member).ok();
            match text.and_then(|text| parse(text).ok()) {
                Some(what) => {
                    self.other_forms.extend(text.and_then(other_form));
                    timeline.push(Timed { at, what });
                }
                None => unread.push(member),
            }
        }
        self.unread(key, &unread);
        Ok(Some(timeline))
    }

    fn unread(&mut self, key: &str, members: &[Vec<u8>]) {
        if let Some(first) = members.first() {
            let first = String::from_utf8_lossy(first).chars().take(60).collect::<String>();
            self.fault(
                key,
                ErrorKind::Malformed,
                format!("{} members name no epoch, one is `{first}`", members.len()),
            );
        }
    }
}

/// The epoch of a member `what:ID`, where the id has another form than the normal one.
fn other_form(member: &str) -> Option<(EpochId, String)> {
    let (_, id) = member.split_once(':')?;
    let is_normal = id.bytes().all(|byte| byte.is_ascii_digit()) && (id == "0" || !id.starts_with('0'));
    let epoch = if is_normal { None } else { EpochId::parse(id).ok() };
    epoch.map(|epoch| (epoch, id.to_owned()))
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
