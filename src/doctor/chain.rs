//! The chain state: whether it is of the configured chain and contract, and can be read.

use store_collector::operations::READ_CHECKPOINT;
use store_redis::{ErrorKind, Store, StoreError};

use super::finding::Finding;
use crate::{
    config::Config,
    remedy::{self, keys},
    service::collector_store,
};

/// The findings about the chain state; none where the collector does not run.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub(super) async fn examine(config: &Config, store: &Store) -> Result<Option<Finding>, StoreError> {
    // Its addresses were examined with the rights: an error would have ended the examination.
    let chain = config.collector.is_enabled().then(|| collector_store(config).ok()).flatten();
    let Some(chain) = chain else { return Ok(None) };
    let mut session = store.session(READ_CHECKPOINT).await?;
    match chain.examine(&mut session, config.collector.id()).await {
        Ok(_) => Ok(None),
        Err(error) if error.kind.is_outage() => Err(error),
        Err(error) => Ok(judge(&error)),
    }
}

fn judge(error: &StoreError) -> Option<Finding> {
    let (check, remedy) = match error.kind {
        // A missing right is reported already.
        ErrorKind::Denied => return None,
        ErrorKind::WrongType => return Some(wrong_type(error)),
        ErrorKind::Foreign => ("chain_identity", remedy::of_store(error)),
        _ => ("chain_state", remedy::of_store(error)),
    };
    let problem = format!("the collector can't {}: {}", error.operation, error.detail());
    Some(Finding::error(check, &error.object, problem, remedy))
}

fn wrong_type(error: &StoreError) -> Finding {
    // The prefix may have colons, and the names of this state begin all the same.
    let name = error.object.find("tracker:chain:").and_then(|at| error.object.get(at..));
    let family = name.and_then(store_collector::family_of);
    let right = family.map_or("another type", |family| family.kind.as_str());
    let remedy = family.map_or_else(|| keys::malformed(None), |family| keys::wrong_type(family, true));
    let problem = format!("it must be a {right}, and is not: {}", error.detail());
    Finding::error("wrong_type", &error.object, problem, remedy)
}
