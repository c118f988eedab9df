//! The migration of markets at the start: before the chain is followed, and behind open ports, so that probes are answered while it waits
//! for Redis.

use color_eyre::eyre::Result;
use retry::{Attempts, table::MIGRATION};
use store_collector::{
    ChainKeys,
    migration::{Migrated, Migration, migrate},
    operations::MIGRATE_MARKET,
};
use store_redis::{ErrorKind, Store, StoreError};

use crate::{config::Config, escape::escaped, remedy};

/// The most keys that could not be copied of which the log tells.
const MOST_TOLD: usize = 10;

/// Migrates one market.
///
/// # Errors
/// [`StoreError`] when Redis does not answer.
pub(crate) async fn migrate_market(
    store: &Store,
    migration: &Migration,
    is_dry_run: bool,
) -> Result<Migrated, StoreError> {
    let mut session = store.session(MIGRATE_MARKET).await?;
    migrate(&mut session, &ChainKeys::new(""), migration, is_dry_run).await
}

/// Migrates the markets, where that is wanted at the start; waits for Redis.
///
/// # Errors
/// An error of Redis that does not pass by itself.
pub(super) async fn at_start(config: &Config, store: &Store) -> Result<()> {
    if !config.migrates() {
        return Ok(());
    }
    for migration in config.migration.all() {
        let mut attempts = Attempts::new(MIGRATION);
        let migrated = loop {
            match migrate_market(store, &migration, false).await {
                Ok(migrated) => break migrated,
                // A missing right, for example, does not pass by itself.
                Err(error) if error.kind == ErrorKind::Denied => return Err(error.into()),
                Err(error) => {
                    tracing::error!(
                        from = %migration.from, to = %migration.to,
                        "the market is not migrated yet, and nothing else starts before: {}", remedy::line(&error)
                    );
                    tokio::time::sleep(attempts.failed()).await;
                }
            }
        };
        let Migrated { keys, faults, .. } = migrated;
        let copied = keys.iter().map(|row| row.copied).sum::<u64>();
        tracing::info!(from = %migration.from, to = %migration.to, copied, faults = faults.len(), "migrated a market");
        for fault in faults.iter().take(MOST_TOLD) {
            tracing::warn!("not copied: {}: {}", escaped(&fault.key), escaped(&fault.to_string()));
        }
    }
    Ok(())
}
