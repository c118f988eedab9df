//! One round trip of the index: commands that each have one key, and their answers, none of which keeps another
//! from being read.

use std::sync::LazyLock;

use redis::{Cmd, FromRedisValue, Value};

use super::Index;
use crate::{
    batch::Batch,
    connect::Session,
    error::{ErrorKind, StoreError},
    reply::{Fault, Replies},
    script::Lua,
};

/// Moves a state.
pub(super) static ADVANCE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("advance.lua")));
/// Raises numbers.
pub(super) static RAISE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("raise.lua")));

/// The commands of a round trip.
#[derive(Default)]
pub(super) struct Round {
    batch: Batch,
    keys: Vec<String>,
    /// Whether the scripts are sent whole, to a server that does not know them yet.
    whole: bool,
}

impl Round {
    /// A command with its key.
    pub(super) fn cmd(&mut self, name: &str, key: String) -> &mut Cmd {
        let command = self.batch.cmd(name, &key);
        self.keys.push(key);
        command
    }

    /// A run of a script with its key.
    pub(super) fn script(&mut self, script: &Lua, key: String) -> &mut Cmd {
        let run = if self.whole { Lua::run_whole } else { Lua::run };
        let command = run(script, &mut self.batch, &[&key]);
        self.keys.push(key);
        command
    }
}

impl Index {
    /// Makes a round trip; a second one where a server did not know a script. What was done is done again then.
    pub(super) async fn run(
        &self,
        session: &mut Session,
        operation: &'static str,
        fill: impl Fn(&mut Round),
    ) -> Result<Answers, StoreError> {
        let mut whole = false;
        loop {
            let mut round = Round { whole, ..Round::default() };
            fill(&mut round);
            let Round { batch, keys, .. } = round;
            let answers = match keys.is_empty() {
                true => Vec::new(),
                false => session.run(operation, self.keys.name(), batch).await?,
            };
            let unknown = |answer: &redis::RedisResult<Value>| {
                answer.as_ref().err().is_some_and(|error| error.code() == Some("NOSCRIPT"))
            };
            if whole || !answers.iter().any(unknown) {
                let replies = Replies::new(operation, answers);
                return Ok(Answers { replies, keys: keys.into_iter(), last: String::new() });
            }
            whole = true;
        }
    }
}

/// The answers of a round trip, in the order of its commands.
pub(super) struct Answers {
    replies: Replies,
    keys: std::vec::IntoIter<String>,
    last: String,
}

impl Answers {
    /// The next answer; `None` when it is an error, which is noted.
    ///
    /// # Errors
    /// [`StoreError`] when the server as a whole is of no use.
    pub(super) fn take<T: FromRedisValue>(&mut self) -> Result<Option<T>, StoreError> {
        self.last = self.keys.next().unwrap_or_default();
        self.replies.take(&self.last)
    }

    /// Notes a fault of the key whose answer was taken last.
    pub(super) fn fault(&mut self, kind: ErrorKind, detail: String) {
        self.replies.fault(&self.last, kind, detail);
    }

    /// Looks through the remaining answers for errors; all faults there were.
    ///
    /// # Errors
    /// [`StoreError`] when the server as a whole is of no use.
    pub(super) fn finish(mut self) -> Result<Vec<Fault>, StoreError> {
        for key in self.keys.by_ref() {
            self.replies.raw(&key)?;
        }
        Ok(self.replies.into_faults())
    }
}
