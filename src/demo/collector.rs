//! A small collector: writes the submissions for an epoch at a block, with some malformed keys, like the real one. It writes to
//! Redis, and records what it wrote.

use std::collections::{BTreeMap, BTreeSet};

use color_eyre::eyre::{Result, WrapErr};
use redis::aio::MultiplexedConnection;
use testkit::{
    Dice,
    collector::{LIVES, Submitted, set, submissions},
};

/// A market in lower case, as in the collector's keys, and an epoch of it.
pub(super) type Epoch = (String, u64);
/// Keys of submissions by project.
pub(super) type Projects = BTreeMap<String, BTreeSet<String>>;

pub(super) struct Collector {
    connection: MultiplexedConnection,
    dice: Dice,
    written: Vec<Collected>,
}

/// One written set.
pub(super) struct Collected {
    pub(super) epoch: Epoch,
    pub(super) hash: String,
    pub(super) submissions: Vec<Submitted>,
}

impl Collector {
    /// A collector that writes over this connection.
    pub(super) fn new(connection: MultiplexedConnection) -> Self {
        // Fixed seeds, here and in the chain: two runs of the demo differ only in their timing.
        Self { connection, dice: Dice::new(2), written: Vec::new() }
    }

    /// Writes submissions for an epoch at the block of this hash; different ones each time.
    ///
    /// # Errors
    /// When Redis does not confirm.
    pub(super) async fn collect(&mut self, epoch: Epoch, hash: &str) -> Result<()> {
        let submissions = submissions(&mut self.dice, &epoch.0, epoch.1);
        // SADD without members is an error, and an epoch without submissions is a case worth showing.
        if submissions.is_empty() {
            return Ok(());
        }
        let key = set(&epoch.0, epoch.1, hash);
        let members: Vec<&str> = submissions.iter().map(|submitted| submitted.key.as_str()).collect();
        let mut pipe = redis::pipe();
        pipe.cmd("SADD").arg(&key).arg(members).ignore().cmd("EXPIRE").arg(&key).arg(LIVES).ignore();
        let confirmed: redis::RedisResult<()> = pipe.query_async(&mut self.connection).await;
        confirmed.wrap_err("the collector can't write")?;
        // Recorded only once Redis has confirmed: what was never written can't be missing.
        self.written.push(Collected { epoch, hash: hash.to_owned(), submissions });
        Ok(())
    }

    /// Every set that it wrote.
    pub(super) fn written(&self) -> impl Iterator<Item = &Collected> {
        self.written.iter()
    }
}
