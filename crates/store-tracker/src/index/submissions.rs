//! Reading the submissions of an epoch.

use domain::EpochId;
use store_redis::{Fault, Session, StoreError};

use super::Index;
use crate::operations::READ_SUBMISSION_IDS;

impl Index {
    /// Some of the ids of an epoch's submissions, about `slice` of them, beginning with cursor 0; the next cursor, which is 0 at the end;
    /// and the key if it can't be read. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails.
    pub async fn submissions_of(
        &self,
        session: &mut Session,
        epoch: &EpochId,
        cursor: u64,
        slice: usize,
    ) -> Result<(Vec<String>, u64, Vec<Fault>), StoreError> {
        let key = self.keys.epoch_submissions(epoch);
        let scan = |round: &mut super::round_trip::RoundTrip| {
            round.cmd("SSCAN", key.clone()).arg(cursor).arg("COUNT").arg(slice);
        };
        let mut answers = self.run(session, READ_SUBMISSION_IDS, scan).await?;
        let (next, ids): (u64, Vec<String>) = answers.take()?.unwrap_or_default();
        Ok((ids, next, answers.finish()?))
    }
}
