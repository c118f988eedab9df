//! What the doctor and `check` read of the chain state: whose it is, and whether it can be read. Only reads.

use store_redis::{Batch, ErrorKind, Operation, Replies, Session, StoreError};

use crate::{ChainStore, operations};

impl ChainStore {
    /// The id of the chain that the state in Redis is of; `None` without a state. `id` is the chain that this tracker follows, if that
    /// is known. Two or three round trips.
    ///
    /// # Errors
    /// [`StoreError`] if the state is of another chain or contract, if a part of it can't be read, or when the server does not answer.
    pub async fn examine(&self, session: &mut Session, id: Option<u64>) -> Result<Option<u64>, StoreError> {
        let operation = operations::READ_CHECKPOINT;
        let Some(there) = self.identity_there(session, operation).await? else { return Ok(None) };
        let known = self.of_identity(&there);
        let wanted = id.map_or_else(|| known.clone(), |id| self.of_chain(id));
        wanted.check_identity(operation, Some(&there))?;
        wanted.load(session).await?;
        Ok(there.split_once(':').and_then(|(id, _)| id.parse().ok()))
    }

    /// The identity of the state in Redis.
    pub(crate) async fn identity_there(
        &self,
        session: &mut Session,
        operation: Operation,
    ) -> Result<Option<String>, StoreError> {
        let key = self.keys.identity();
        let mut batch = Batch::new();
        batch.cmd("GET", &key);
        let mut replies = Replies::new(operation, session.run(operation, &key, batch).await?);
        replies.required(&key)
    }

    /// The same store for the chain of this identity, if it is of the same contract.
    pub(crate) fn of_identity(&self, there: &str) -> Self {
        match there.split_once(':') {
            Some((id, contract)) if contract == self.identity => {
                Self { identity: format!("{id}:{contract}"), ..self.clone() }
            }
            _ => self.clone(),
        }
    }

    /// Refuses what is of another chain or contract.
    pub(crate) fn check_identity(&self, operation: Operation, there: Option<&str>) -> Result<(), StoreError> {
        let Some(there) = there.filter(|there| *there != self.identity) else { return Ok(()) };
        let detail = format!("it is of {there}, and this program follows {}", self.identity);
        Err(StoreError::new(operation, self.keys.identity(), ErrorKind::Foreign, detail))
    }
}
