//! Scripts that run within Redis, each with the hash by which a server knows it once it has been loaded.

use std::sync::LazyLock;

use redis::{Cmd, Script};

use crate::batch::Batch;

/// Sets a field of a hash that exists.
pub(crate) static COUNT: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("count.lua")));

/// A script. Its hash is reckoned once in the process.
pub(crate) struct Lua {
    source: &'static str,
    hash: String,
}

impl Lua {
    pub(crate) fn new(source: &'static str) -> Self {
        Self { source, hash: Script::new(source).get_hash().to_owned() }
    }

    /// A run by its hash, over keys of one hash slot; refused by a server that has not loaded it.
    pub(crate) fn run<'a>(&self, batch: &'a mut Batch, keys: &[&str]) -> &'a mut Cmd {
        batch.script("EVALSHA", &self.hash, keys)
    }

    /// A run that brings the script along, after which the server knows it.
    pub(crate) fn run_whole<'a>(&self, batch: &'a mut Batch, keys: &[&str]) -> &'a mut Cmd {
        batch.script("EVAL", self.source, keys)
    }

    /// Has every server load it.
    pub(crate) fn load(&self, batch: &mut Batch) {
        batch.keyless("SCRIPT").arg("LOAD").arg(self.source);
    }
}
