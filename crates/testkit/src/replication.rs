//! Waiting until a replica has its master's data, so that a failover in a test loses nothing. Reads only.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::redis_server::{RedisServer, RedisServerError};

const POLL: Duration = Duration::from_millis(20);

/// Waits until `replica` has everything that `master` has now.
pub(crate) async fn until_replicated(
    master: &RedisServer,
    replica: &RedisServer,
    within: Duration,
) -> Result<(), RedisServerError> {
    // Read once, before the wait: writes that come later are not waited for.
    let wanted = offset(master, "master_repl_offset").await?;
    let deadline = Instant::now() + within;
    loop {
        let has = offset(replica, "slave_repl_offset").await?;
        if has.is_some() && has >= wanted {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let what = "a replica with its master's data".to_owned();
            return Err(RedisServerError::NotTogether { what, waited: within, seen: format!("{has:?}") });
        }
        sleep(POLL).await;
    }
}

/// A field of `INFO replication`; `None` when it is missing.
async fn offset(server: &RedisServer, field: &str) -> Result<Option<u64>, RedisServerError> {
    let mut connection = server.connection().await?;
    let info: String =
        redis::cmd("INFO").arg("replication").query_async(&mut connection).await.map_err(|source| {
            RedisServerError::Command { command: "INFO replication".to_owned(), port: server.port(), source }
        })?;
    let value =
        info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.trim().parse().ok());
    Ok(value)
}
