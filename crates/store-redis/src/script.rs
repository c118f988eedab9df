//! Lua scripts, which Redis runs as one step. They are called by their hash, and sent with their text to a server that lacks them.

use errors::Operation;
use redis::{Cmd, RedisResult, Script, Value};

use crate::{batch::Batch, connect::Session, error::StoreError};

/// A script with its hash, which is computed once in the process.
pub struct Lua {
    source: &'static str,
    hash: String,
}

impl Lua {
    /// A script with this text.
    #[must_use]
    pub fn new(source: &'static str) -> Self {
        Self { source, hash: Script::new(source).get_hash().to_owned() }
    }

    /// Adds a call by hash, over keys of one hash slot. A server that has not loaded the script refuses it, unless the batch is
    /// sent by [`Session::run_scripts`].
    pub fn run<'a>(&self, batch: &'a mut Batch, keys: &[&str]) -> &'a mut Cmd {
        batch.known_script(self.source, &self.hash, keys)
    }

    /// Adds a command that loads the script on every server.
    pub fn load(&self, batch: &mut Batch) {
        batch.keyless("SCRIPT").arg("LOAD").arg(self.source);
    }
}

impl Session {
    /// Sends a batch like [`Session::run`]. Calls of scripts that a server did not know are repeated with the scripts' text in a
    /// second round trip, and nothing else is: no command may depend on a script before it. `fill` must add the same commands
    /// each time; without commands nothing is sent.
    pub async fn run_scripts(
        &mut self,
        operation: Operation,
        object: &str,
        mut fill: impl FnMut(&mut Batch),
    ) -> Result<Vec<RedisResult<Value>>, StoreError> {
        // Filled by a closure and not passed: sending consumes a batch, and the second round trip needs it again.
        let mut batch = Batch::new();
        fill(&mut batch);
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut answers = self.run(operation, object, batch).await?;
        // Even a script that was loaded can be unknown: a restart, a failover or SCRIPT FLUSH empties the server's cache.
        if answers.iter().any(is_unknown_script) {
            let mut batch = Batch::new();
            fill(&mut batch);
            let (places, batch) = batch.into_evals(|at| answers.get(at).is_some_and(is_unknown_script));
            for (at, answer) in places.into_iter().zip(self.run(operation, object, batch).await?) {
                answers[at] = answer;
            }
        }
        Ok(answers)
    }
}

/// Whether the server lacks the script. It then has run nothing of the call, so that repeating the call is safe.
fn is_unknown_script(answer: &RedisResult<Value>) -> bool {
    answer.as_ref().err().is_some_and(|error| error.code() == Some("NOSCRIPT"))
}
