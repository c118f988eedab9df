//! One round trip of the index: commands that each have one key, and their answers, none of which keeps another
//! from being read.

use redis::{Cmd, FromRedisValue, Script, Value};

use crate::{
    batch::Batch,
    connect::Session,
    error::{ErrorKind, StoreError},
    reply::{Fault, Replies},
};

/// Moves a state.
const ADVANCE: &str = include_str!("advance.lua");
/// Raises numbers.
const RAISE: &str = include_str!("raise.lua");

/// The hashes of the scripts.
#[derive(Clone, Debug)]
pub(super) struct Scripts {
    advance: String,
    raise: String,
}

impl Default for Scripts {
    fn default() -> Self {
        let hash = |source| Script::new(source).get_hash().to_owned();
        Self { advance: hash(ADVANCE), raise: hash(RAISE) }
    }
}

/// The commands of a round trip.
pub(super) struct Round<'a> {
    batch: Batch,
    keys: Vec<String>,
    scripts: &'a Scripts,
    /// Whether the scripts are sent whole, to a server that does not know them yet.
    whole: bool,
}

impl Round<'_> {
    /// A command with its key.
    pub(super) fn cmd(&mut self, name: &str, key: String) -> &mut Cmd {
        self.keys.push(key);
        // The key was just pushed.
        self.batch.cmd(name, &self.keys[self.keys.len() - 1])
    }

    /// A run of `advance.lua`.
    pub(super) fn advance(&mut self, key: String) -> &mut Cmd {
        let scripts = self.scripts;
        self.script(ADVANCE, &scripts.advance, key)
    }

    /// A run of `raise.lua`.
    pub(super) fn raise(&mut self, key: String) -> &mut Cmd {
        let scripts = self.scripts;
        self.script(RAISE, &scripts.raise, key)
    }

    /// A run of another script, sent whole.
    pub(super) fn eval(&mut self, source: &str, key: String) -> &mut Cmd {
        let command = self.batch.script("EVAL", source, &[&key]);
        self.keys.push(key);
        command
    }

    fn script(&mut self, source: &str, hash: &str, key: String) -> &mut Cmd {
        let (name, script) = if self.whole { ("EVAL", source) } else { ("EVALSHA", hash) };
        let command = self.batch.script(name, script, &[&key]);
        self.keys.push(key);
        command
    }
}

/// Makes a round trip; a second one where a server did not know a script. What was done is done again then.
pub(super) async fn run(
    session: &mut Session,
    operation: &'static str,
    scripts: &Scripts,
    object: &str,
    fill: impl Fn(&mut Round<'_>),
) -> Result<Answers, StoreError> {
    let mut whole = false;
    loop {
        let mut round = Round { batch: Batch::new(), keys: Vec::new(), scripts, whole };
        fill(&mut round);
        let Round { batch, keys, .. } = round;
        let answers =
            if keys.is_empty() { Vec::new() } else { session.run(operation, object, batch).await? };
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
