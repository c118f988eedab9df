//! One round trip of the index: commands, each of one key, and their answers. After an error in one answer the others can still be
//! read.

use std::sync::LazyLock;

use redis::{Cmd, FromRedisValue, Value};

use super::Index;
use store_redis::{Batch, ErrorKind, Fault, Lua, Operation, Replies, Session, StoreError};

/// Moves a state.
pub(super) static ADVANCE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("advance.lua")));
/// Raises numbers.
pub(super) static RAISE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("raise.lua")));

/// The commands of a round trip.
#[derive(Default)]
pub(super) struct RoundTrip {
    batch: Batch,
    keys: Vec<String>,
}

impl RoundTrip {
    /// A command with its key.
    pub(super) fn cmd(&mut self, name: &str, key: String) -> &mut Cmd {
        let command = self.batch.cmd(name, &key);
        self.keys.push(key);
        command
    }

    /// A run of a script with its key.
    pub(super) fn script(&mut self, script: &Lua, key: String) -> &mut Cmd {
        let command = script.run(&mut self.batch, &[&key]);
        self.keys.push(key);
        command
    }
}

impl Index {
    /// Makes a round trip; a second one when a server does not know a script.
    pub(super) async fn run(
        &self,
        session: &mut Session,
        operation: Operation,
        fill: impl Fn(&mut RoundTrip),
    ) -> Result<Answers, StoreError> {
        // `run_scripts` may fill the batch twice: each time anew, so that keys and answers stay side by side.
        let mut keys = Vec::new();
        let fill = |batch: &mut Batch| {
            let mut round = RoundTrip::default();
            fill(&mut round);
            *batch = round.batch;
            keys = round.keys;
        };
        let answers = session.run_scripts(operation, self.keys.name(), fill).await?;
        let replies = Replies::new(operation, answers);
        Ok(Answers { replies, keys: keys.into_iter(), last: String::new() })
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
    /// [`StoreError`] when the server as a whole fails.
    pub(super) fn take<T: FromRedisValue>(&mut self) -> Result<Option<T>, StoreError> {
        // Kept for `fault`: some answers turn out to be malformed only after they are taken.
        self.last = self.keys.next().unwrap_or_default();
        self.replies.take(&self.last)
    }

    /// Passes over the next answer, of which only an error matters.
    ///
    /// # Errors
    /// As [`Answers::take`].
    pub(super) fn skip(&mut self) -> Result<(), StoreError> {
        self.take::<Value>().map(drop)
    }

    /// Notes a fault of the key whose answer was taken last.
    pub(super) fn fault(&mut self, kind: ErrorKind, detail: String) {
        self.replies.fault(&self.last, kind, detail);
    }

    /// Searches the remaining answers for errors, and returns all faults.
    ///
    /// # Errors
    /// [`StoreError`] when the server as a whole fails.
    pub(super) fn finish(mut self) -> Result<Vec<Fault>, StoreError> {
        // The caller needs no value of these, but an error among them must be reported.
        for key in self.keys.by_ref() {
            self.replies.raw(&key)?;
        }
        Ok(self.replies.into_faults())
    }
}
