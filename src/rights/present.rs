//! Tests the user with which the configuration logs in now against the access list.

use std::time::Duration;

use color_eyre::eyre::Result;
use store_redis::{Store, StoreError, may_run, operations::READ_RIGHTS};

use super::{DEFAULT_USER, Missing, configured_user, missing};
use crate::{config::Config, remedy, service};

/// Time limit for the test: the list is printed whether a server answers or not.
const WITHIN: Duration = Duration::from_secs(10);

/// Commands that no access list of this program grants, with their meaning.
const TOO_MUCH: [(&[&str], &str); 2] = [
    (&["FLUSHALL"], "delete everything (FLUSHALL)"),
    (&["SET", "a key of another program", "1"], "write keys of other programs"),
];

/// What the present user lacks, or has beyond the list, as notes for the administrator. No key is changed.
pub async fn present_user(config: &Config) -> Vec<String> {
    let untested = |why: String| vec![format!("the present user was not tested: {why}")];
    match tokio::time::timeout(WITHIN, test(config)).await {
        Ok(Ok(notes)) => notes,
        Ok(Err(error)) => untested(remedy::line(error.as_ref())),
        Err(_) => untested(format!("no answer within {}", errors::rounded(WITHIN))),
    }
}

async fn test(config: &Config) -> Result<Vec<String>> {
    let servers = config.redis.servers()?;
    let user = configured_user(&servers).unwrap_or(DEFAULT_USER);
    let store = service::connect(config)?;
    // First, so that a server that does not answer is no list of missing rights.
    store.ping().await?;
    let lacks = missing(config, &store, &config.tracker.markets).await?;
    let mut notes: Vec<String> = lacks
        .into_iter()
        .map(|Missing { object, problem, is_for_operators }| {
            let only = if is_for_operators {
                "; the service runs without, doctor, diff and ledger don't"
            } else {
                ""
            };
            format!("the present user {user} lacks {object}: {problem}{only}")
        })
        .collect();
    if notes.is_empty() {
        notes.push(format!("the present user {user} has every right of the list"));
    }
    let more = too_much(&store).await?;
    if !more.is_empty() {
        notes.push(format!(
            "the present user {user} may do more than the list grants: {}; give the tracker a user of its own",
            more.join(", ")
        ));
    }
    Ok(notes)
}

async fn too_much(store: &Store) -> Result<Vec<&'static str>, StoreError> {
    let mut session = store.session(READ_RIGHTS).await?;
    let answers = may_run(&mut session, &TOO_MUCH.map(|(words, _)| words)).await?;
    let granted = TOO_MUCH.iter().zip(answers).filter(|(_, may)| *may);
    Ok(granted.map(|((_, meaning), _)| *meaning).collect())
}
