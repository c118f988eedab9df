//! The sessions of clients: what a client that was away needs to go on at any gateway.

use std::time::Duration;

use store_redis::{Batch, Replies, Session, StoreError};

use crate::{
    keys::{CampaignKeys, SESSION},
    operations::{READ_SESSION, SAVE_SESSION},
};

impl CampaignKeys {
    /// Saves a session for this time. A saved one is replaced.
    ///
    /// # Errors
    /// [`StoreError`] when it is unknown whether it was saved.
    pub async fn save_session(
        &self,
        session: &mut Session,
        id: &str,
        content: &str,
        life: Duration,
    ) -> Result<(), StoreError> {
        let key = self.of(&SESSION, id);
        let mut batch = Batch::new();
        batch.cmd("SET", &key).arg(content).arg("PX").arg(millis(life));
        for answer in session.run(SAVE_SESSION, &key, batch).await? {
            answer.map_err(|error| StoreError::redis(SAVE_SESSION, key.as_str(), &error))?;
        }
        Ok(())
    }

    /// Keeps these sessions for this time from now on. Unknown ones are left out.
    ///
    /// # Errors
    /// [`StoreError`] when it is unknown which ones are kept.
    pub async fn keep_sessions<'a>(
        &self,
        session: &mut Session,
        ids: impl IntoIterator<Item = &'a str>,
        life: Duration,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for id in ids {
            batch.cmd("PEXPIRE", self.of(&SESSION, id)).arg(millis(life));
        }
        if batch.is_empty() {
            return Ok(());
        }
        for answer in session.run(SAVE_SESSION, "sessions", batch).await? {
            answer.map_err(|error| StoreError::redis(SAVE_SESSION, "sessions", &error))?;
        }
        Ok(())
    }

    /// The content of a session; `None` once its time is over. It stays: a client whose connection breaks again finds it again.
    ///
    /// # Errors
    /// [`StoreError`] when it is unknown whether it is there.
    pub async fn session(&self, session: &mut Session, id: &str) -> Result<Option<String>, StoreError> {
        let key = self.of(&SESSION, id);
        let mut batch = Batch::new();
        batch.cmd("GET", &key);
        let mut replies = Replies::new(READ_SESSION, session.run(READ_SESSION, &key, batch).await?);
        replies.required(&key)
    }
}

/// At least one: Redis refuses a time of 0.
fn millis(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1)
}
