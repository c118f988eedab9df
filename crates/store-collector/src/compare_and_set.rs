//! Writes that happen together and only if what they were concluded from still stands: all of them or none, once.

use std::{collections::BTreeMap, sync::LazyLock};

use redis::ToRedisArgs;

use store_redis::{ErrorKind, Fault, KeyType, Lua, Operation, Replies, Session, StoreError};

static GUARD: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("compare_and_set.lua")));

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Everything, but for counters that hold no number.
    All {
        /// Those counters.
        faults: Vec<Fault>,
    },
    /// Nothing: this key does not hold what is expected.
    Changed {
        /// The key.
        key: String,
    },
    /// Nothing: its time was over.
    Late,
}

/// Commands to be run together, and what must stand for that.
#[derive(Default)]
pub(super) struct CompareAndSet {
    guards: Vec<[Vec<u8>; 4]>,
    types: BTreeMap<String, KeyType>,
    writes: Vec<Vec<u8>>,
    /// Up to which moment it may be written, by the clock of Redis in Unix seconds.
    until: Option<u64>,
}

impl CompareAndSet {
    /// With `until`, nothing is written after that moment, by the clock of Redis in Unix seconds.
    pub(super) fn new(until: Option<u64>) -> Self {
        Self { until, ..Self::default() }
    }

    /// The value of a key must be this one; `None`: there must be none.
    pub(super) fn expect(&mut self, key: &str, value: Option<&str>) {
        self.expect_field(key, "", value);
    }

    /// The field of a hash must have this value; `None`: it must not be there.
    pub(super) fn expect_field(&mut self, key: &str, field: &str, value: Option<&str>) {
        let there = if value.is_some() { "1" } else { "0" };
        self.types.insert(key.to_owned(), if field.is_empty() { KeyType::String } else { KeyType::Hash });
        self.guards.push([key, field, there, value.unwrap_or_default()].map(|word| word.as_bytes().to_vec()));
    }

    /// A command that writes a key of this type.
    pub(super) fn write(&mut self, name: &str, key: &str, kind: KeyType, arguments: &[&dyn Word]) {
        self.types.insert(key.to_owned(), kind);
        self.writes.push((arguments.len() + 2).to_string().into_bytes());
        self.writes.extend([name.as_bytes().to_vec(), key.as_bytes().to_vec()]);
        self.writes.extend(arguments.iter().map(|argument| argument.word()));
    }

    /// Adds a number to a counter of other programs. One that holds something else is a fault, and holds up nothing: so its type is not
    /// checked before.
    pub(super) fn count(&mut self, key: &str, many: &u64) {
        self.writes.extend([b"3".to_vec(), b"INCRBY".to_vec(), key.as_bytes().to_vec(), many.word()]);
    }

    /// One round trip; two where the server had forgotten the script.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known whether anything was written. When a key holds another type than is written, the
    /// user may not write it, or the server takes no writes, nothing was.
    pub(super) async fn run(
        self,
        session: &mut Session,
        operation: Operation,
        route: &str,
    ) -> Result<Written, StoreError> {
        let answers = session
            .run_scripts(operation, route, |batch| {
                let command = GUARD.run(batch, &[route]);
                command.arg(self.until.map_or_else(String::new, |until| until.to_string()));
                command.arg(self.guards.len());
                self.guards.iter().flatten().for_each(|word| {
                    command.arg(word);
                });
                command.arg(self.types.len());
                for (key, kind) in &self.types {
                    command.arg(key).arg(kind.as_str());
                }
                command.arg(&self.writes);
            })
            .await?;
        let mut replies = Replies::new(operation, answers);
        let words: Vec<String> = replies.required(route)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["done", faults @ ..] => {
                let fault = |pair: &[&str]| Fault::new(pair[0], ErrorKind::Malformed, pair[1]);
                Ok(Written::All { faults: faults.chunks_exact(2).map(fault).collect() })
            }
            ["late"] => Ok(Written::Late),
            ["changed", key] => Ok(Written::Changed { key: (*key).to_owned() }),
            ["type", key, there] => {
                let detail = format!("it is a {there}; nothing was written");
                Err(StoreError::new(operation, *key, ErrorKind::WrongType, detail))
            }
            ["denied", key, command] => {
                let detail = format!("the user may not {command} it; nothing was written");
                Err(StoreError::new(operation, *key, ErrorKind::Denied, detail))
            }
            other => {
                let detail = format!("the script answered `{}`", other.join(" "));
                Err(StoreError::new(operation, route, ErrorKind::Malformed, detail))
            }
        }
    }
}

/// One word of a command.
pub(super) trait Word {
    fn word(&self) -> Vec<u8>;
}

impl<T: ToRedisArgs> Word for T {
    fn word(&self) -> Vec<u8> {
        // Those that are used here are one word each.
        self.to_redis_args().concat()
    }
}
