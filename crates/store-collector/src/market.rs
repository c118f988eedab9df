//! Reading what is known of one market.

use domain::{chain::ContractAddress, collector::Market};
use store_redis::{Batch, Replies, Session, StoreError};

use crate::{
    ChainStore,
    basis::Basis,
    operations,
    values::{parse, take_rollovers, take_time},
    windows::take_windows,
};

/// What is known of one market, as it was read.
#[derive(Clone, Debug, Default)]
pub struct MarketSnapshot {
    /// What is known; without its current epoch and days.
    pub known: Market,
    /// When it was read, by the clock of Redis, in Unix seconds.
    pub now: u64,
    /// What effects that follow from it are written upon.
    pub basis: Basis,
}

impl ChainStore {
    /// Reads the windows, the finished epochs and the changes of day of a market: one round trip, at one moment.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer, or when the chain state can't be read or belongs to another
    /// chain or contract.
    pub async fn market(
        &self,
        session: &mut Session,
        market: ContractAddress,
    ) -> Result<MarketSnapshot, StoreError> {
        let operation = operations::FIND_CLOSED_WINDOWS;
        let (windows, key) = (self.keys.windows(&market), self.keys.market(&market));
        let (identity, version_key) = (self.keys.identity(), self.keys.version_of(&market));
        let rollovers_key = self.keys.rollovers(&market);
        let mut batch = Batch::new();
        batch.transaction(|batch| {
            batch.keyless("TIME");
            batch.cmd("GET", &identity);
            batch.cmd("HGETALL", &windows);
            batch.cmd("HGET", &key).arg("done");
            batch.cmd("GET", &version_key);
            batch.cmd("HGETALL", &rollovers_key);
        });
        let mut replies = Replies::new(operation, session.run(operation, &windows, batch).await?);
        let now = take_time(&mut replies, &windows)?;
        let there = replies.required::<Option<String>>(&identity)?;
        self.check_identity(operation, there.as_deref())?;
        let windows = take_windows(&mut replies, &windows)?;
        let done = replies.required::<Option<String>>(&key)?;
        let version = replies.required::<Option<String>>(&version_key)?;
        let done = parse(&key, done.as_deref())?.unwrap_or_default();
        let rollovers = take_rollovers(&mut replies, &rollovers_key)?;
        let known = Market { windows, done, rollovers, ..Market::default() };
        Ok(MarketSnapshot { known, now, basis: Basis::of_market(there.is_some(), market, version) })
    }
}
