//! Reading submission windows.

use std::collections::BTreeMap;

use domain::chain::{ContractAddress, Window};
use store_redis::{Batch, Replies, Session, StoreError};

use crate::{keys::ChainKeys, operations, values::read};

/// The windows of a market, by their epochs: one round trip. Without a followed chain there are none.
///
/// # Errors
/// [`StoreError`] when the server does not answer, or a window can't be read.
pub async fn windows(
    session: &mut Session,
    keys: &ChainKeys,
    market: &ContractAddress,
) -> Result<BTreeMap<u64, Window>, StoreError> {
    let (operation, key) = (operations::READ_WINDOWS, keys.windows(market));
    let mut batch = Batch::new();
    batch.cmd("HGETALL", &key);
    let mut replies = Replies::new(operation, session.run(operation, &key, batch).await?);
    take_windows(&mut replies, &key)
}

/// The windows of the next answer, by their epochs.
pub(crate) fn take_windows(replies: &mut Replies, key: &str) -> Result<BTreeMap<u64, Window>, StoreError> {
    let texts: Vec<(u64, String)> = replies.required(key)?;
    texts.into_iter().map(|(epoch, text)| Ok((epoch, read(key, &text)?))).collect()
}
