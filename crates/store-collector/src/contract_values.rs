//! Contract values of markets, in the keys that other programs read.

use std::sync::LazyLock;

use domain::chain::ContractAddress;

use crate::{ChainStore, operations};
use store_redis::{Batch, Fault, Lua, Replies, Session, StoreError};

/// Sets a number that other programs write too, but never to less.
static RAISE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("raise.lua")));

/// The contract values of one market; `None` where the contract was not asked or did not answer.
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
    /// Writes the contract values of markets, and the number of nodes: one round trip, two when the server has
    /// forgotten a script. Numbers that other programs write too are only raised. A key that can't be written is
    /// reported.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer.
    pub async fn write_tables(
        &self,
        session: &mut Session,
        markets: &[(ContractAddress, MarketTables)],
        nodes: Option<&str>,
    ) -> Result<Vec<Fault>, StoreError> {
        let (keys, operation) = (&self.keys, operations::WRITE_CONTRACT_VALUES);
        let (mut fields, mut numbers) = (Vec::new(), Vec::new());
        for (market, tables) in markets {
            let rows = [
                (keys.submission_limits(), tables.submission_window.map(|seconds| seconds.to_string())),
                (keys.day_sizes(), tables.day_size.clone()),
                (keys.quotas(), tables.quota.clone()),
            ];
            fields
                .extend(rows.into_iter().filter_map(|(key, value)| Some((key, market.to_string(), value?))));
            // Its readers spell the market as it is configured; the tables above have it in checksum form.
            let key = keys.epochs_in_a_day(&tables.configured);
            numbers.extend(tables.epochs_in_a_day.clone().map(|value| (key, value)));
        }
        numbers.extend(nodes.map(|nodes| (keys.nodes(), nodes.to_owned())));
        let fill = |batch: &mut Batch| {
            for (key, field, value) in &fields {
                batch.cmd("HSET", key).arg(field).arg(value);
            }
            // Digits as text: a contract's number may have 256 bits.
            for (key, value) in &numbers {
                RAISE.run(batch, &[key]).arg(value);
            }
        };
        let answers = session.run_scripts(operation, &keys.submission_limits(), fill).await?;
        let mut replies = Replies::new(operation, answers);
        for key in fields.iter().map(|(key, ..)| key).chain(numbers.iter().map(|(key, _)| key)) {
            replies.raw(key)?;
        }
        Ok(replies.into_faults())
    }
}
