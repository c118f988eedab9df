//! Scripts that run within Redis, each with the hash by which a server knows it once it has been loaded.

use errors::Operation;
use redis::{Cmd, RedisResult, Script, Value};

use crate::{batch::Batch, connect::Session, error::StoreError};

/// A script. Its hash is computed once in the process.
pub struct Lua {
    source: &'static str,
    hash: String,
}

impl Lua {
    /// The script of this text.
    #[must_use]
    pub fn new(source: &'static str) -> Self {
        Self { source, hash: Script::new(source).get_hash().to_owned() }
    }

    /// A run by its hash, over keys of one hash slot; refused by a server that has not loaded it, unless the batch is
    /// sent by [`Session::run_scripts`].
    pub fn run<'a>(&self, batch: &'a mut Batch, keys: &[&str]) -> &'a mut Cmd {
        batch.known_script(self.source, &self.hash, keys)
    }

    /// Has every server load it.
    pub fn load(&self, batch: &mut Batch) {
        batch.keyless("SCRIPT").arg("LOAD").arg(self.source);
    }
}

impl Session {
    /// Makes a round trip as [`Session::run`] does. The runs of scripts that a server did not know are sent again, and
    /// nothing else, in a second one that brings the scripts along: so no command may depend on a script before it.
    /// `fill` gives the same commands each time; without any, nothing is sent.
    pub async fn run_scripts(
        &mut self,
        operation: Operation,
        object: &str,
        mut fill: impl FnMut(&mut Batch),
    ) -> Result<Vec<RedisResult<Value>>, StoreError> {
        let mut batch = Batch::new();
        fill(&mut batch);
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut answers = self.run(operation, object, batch).await?;
        if answers.iter().any(is_unknown) {
            let mut batch = Batch::new();
            fill(&mut batch);
            let (places, batch) = batch.into_whole(|at| answers.get(at).is_some_and(is_unknown));
            for (at, answer) in places.into_iter().zip(self.run(operation, object, batch).await?) {
                answers[at] = answer;
            }
        }
        Ok(answers)
    }
}

/// Whether the server did not know the script.
fn is_unknown(answer: &RedisResult<Value>) -> bool {
    answer.as_ref().err().is_some_and(|error| error.code() == Some("NOSCRIPT"))
}
