//! Tests the user with which the configuration logs in now against the access list.

use std::time::Duration;

use color_eyre::eyre::Result;
use store_redis::{Store, StoreError, may_run, operations::READ_RIGHTS, server_version};

use super::{DEFAULT_USER, Dialect, Missing, configured_user, missing};
use crate::{
    config::Config,
    remedy,
    service::{self, market_keys},
};

/// Time limit for the test: the list is printed whether a server answers or not.
const WITHIN: Duration = Duration::from_secs(10);

/// Commands that no access list of this program grants, with their meaning.
const TOO_MUCH: [(&[&str], &str); 2] = [
    (&["FLUSHALL"], "delete everything (FLUSHALL)"),
    (&["SET", "a key of another program", "1"], "write keys of other programs"),
];

/// What is known of the present user and of the server.
#[derive(Debug, Default)]
pub struct Present {
    /// What the present user lacks, or has beyond the list, for the administrator.
    pub notes: Vec<String>,
    /// What the server understands of access lists; `None` where it did not say.
    pub dialect: Option<Dialect>,
}

/// Tests the present user. No key is changed.
pub async fn present_user(config: &Config) -> Present {
    let mut present = Present::default();
    let why = match tokio::time::timeout(WITHIN, test(config, &mut present)).await {
        Ok(Ok(())) => return present,
        Ok(Err(error)) => remedy::line(error.as_ref()),
        Err(_) => format!("no answer within {}", errors::rounded(WITHIN)),
    };
    present.notes = vec![format!("the present user was not tested: {why}")];
    present
}

async fn test(config: &Config, present: &mut Present) -> Result<()> {
    let servers = config.redis.servers()?;
    let user = configured_user(&servers).unwrap_or(DEFAULT_USER);
    let store = service::connect(config)?;
    // First, so that a server that does not answer is no list of missing rights.
    store.ping().await?;
    let version = server_version(&mut store.session(READ_RIGHTS).await?).await?;
    present.dialect = version.as_deref().and_then(Dialect::of_version);
    let lacks = missing(config, &store, &config.tracker.markets).await?;
    let notes = &mut present.notes;
    let lacks = lacks.into_iter().map(|Missing { object, problem, is_for_operators }| {
        let only =
            if is_for_operators { "; the service runs without, doctor, diff and ledger don't" } else { "" };
        format!("the present user {user} lacks {object}: {problem}{only}")
    });
    notes.extend(lacks);
    if notes.is_empty() {
        notes.push(format!("the present user {user} has every right of the list"));
    }
    let more = too_much(config, &store).await?;
    if !more.is_empty() {
        notes.push(format!(
            "the present user {user} may do more than the list grants: {}; give the tracker a user of its own",
            more.join(", ")
        ));
    }
    Ok(())
}

/// What the user may do and the list does not grant; nothing on a Redis before 7, which does not say.
async fn too_much(config: &Config, store: &Store) -> Result<Vec<&'static str>, StoreError> {
    let markets = config.tracker.markets.first();
    let read_only = markets.map(|market| market_keys(config, market).never_changed());
    let of_producers = read_only.iter().map(|key| {
        (vec!["DEL", key.as_str()], "change keys that producers write and the tracker only reads")
    });
    let all: Vec<(Vec<&str>, &str)> =
        TOO_MUCH.iter().map(|(words, meaning)| (words.to_vec(), *meaning)).chain(of_producers).collect();
    let mut session = store.session(READ_RIGHTS).await?;
    let words: Vec<&[&str]> = all.iter().map(|(words, _)| words.as_slice()).collect();
    let answers = may_run(&mut session, &words).await?;
    let granted = all.iter().zip(answers).filter(|(_, may)| *may);
    Ok(granted.map(|((_, meaning), _)| *meaning).collect())
}
