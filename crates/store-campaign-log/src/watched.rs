//! The list of runs that monitors watch.

use redis::Value;
use store_redis::{Batch, Replies, Session, StoreError};

use crate::{
    keys::{CampaignKeys, STATE_TTL, WATCHED},
    operations::READ_WATCHED,
};

impl CampaignKeys {
    /// The runs on the list.
    ///
    /// # Errors
    /// [`StoreError`] when it can't be read.
    pub async fn watched(&self, session: &mut Session) -> Result<Vec<String>, StoreError> {
        let key = self.one(&WATCHED);
        let mut batch = Batch::new();
        batch.cmd("SMEMBERS", &key);
        let mut replies = Replies::new(READ_WATCHED, session.run(READ_WATCHED, &key, batch).await?);
        replies.required(&key)
    }

    /// Adds and removes runs.
    ///
    /// # Errors
    /// [`StoreError`] when it is unknown which ones were.
    pub async fn watch(
        &self,
        session: &mut Session,
        added: &[String],
        removed: &[String],
    ) -> Result<(), StoreError> {
        let key = self.one(&WATCHED);
        let mut batch = Batch::new();
        if !added.is_empty() {
            batch.cmd("SADD", &key).arg(added);
        }
        if !removed.is_empty() {
            batch.cmd("SREM", &key).arg(removed);
        }
        batch.cmd("EXPIRE", &key).arg(STATE_TTL);
        let many = batch.len();
        let mut replies = Replies::new(READ_WATCHED, session.run(READ_WATCHED, &key, batch).await?);
        for _ in 0..many {
            let _changed: Value = replies.required(&key)?;
        }
        Ok(())
    }
}
