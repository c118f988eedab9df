//! What the contracts say of markets, as other programs read it.

use domain::chain::ContractAddress;

use super::ChainStore;
use crate::{
    Session,
    batch::Batch,
    error::StoreError,
    reply::{Fault, Replies},
};

/// What the contracts say of one market; `None` where they were not asked, or did not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarketTables {
    /// The market as the configuration spells it.
    pub configured: String,
    /// `snapshotSubmissionWindow`, in seconds.
    pub submission_window: Option<u64>,
    /// `DAY_SIZE`, in microseconds, in decimal digits.
    pub day_size: Option<String>,
    /// `dailySnapshotQuota`, in decimal digits.
    pub quota: Option<String>,
    /// `epochsInADay`, in decimal digits.
    pub epochs_in_a_day: Option<String>,
}

impl ChainStore {
    /// Writes what is known of the markets, and how many nodes there are: one round trip. What can't be written is reported.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer.
    pub async fn write_tables(
        &self,
        session: &mut Session,
        markets: &[(ContractAddress, MarketTables)],
        nodes: Option<&str>,
    ) -> Result<Vec<Fault>, StoreError> {
        let (keys, operation) = (&self.keys, "write what the contracts say");
        let mut batch = Batch::new();
        let mut written = Vec::new();
        for (market, tables) in markets {
            let field = market.to_string();
            let rows = [
                (keys.submission_limits(), tables.submission_window.map(|seconds| seconds.to_string())),
                (keys.day_sizes(), tables.day_size.clone()),
                (keys.quotas(), tables.quota.clone()),
            ];
            for (key, value) in rows {
                if let Some(value) = value {
                    batch.cmd("HSET", &key).arg(&field).arg(value);
                    written.push(key);
                }
            }
            if let Some(value) = &tables.epochs_in_a_day {
                let key = keys.epochs_in_a_day(&tables.configured);
                batch.cmd("SET", &key).arg(value);
                written.push(key);
            }
        }
        if let Some(nodes) = nodes {
            batch.cmd("SET", keys.nodes()).arg(nodes);
            written.push(keys.nodes());
        }
        if written.is_empty() {
            return Ok(Vec::new());
        }
        let answers = session.run(operation, &keys.submission_limits(), batch).await?;
        let mut replies = Replies::new(operation, answers);
        for key in &written {
            replies.raw(key)?;
        }
        Ok(replies.into_faults())
    }
}
