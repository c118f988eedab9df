//! Reads a ledger from Redis, in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use store_redis::{Batch, ErrorKind, KeyType, Replies, Session, StoreError};

use super::{
    TransferError,
    archive::{Archive, Content, FORMAT, Head, MOST_ELEMENTS, is_known_schema, schema_of},
};
use crate::{
    keys::{HOURS_KEPT, LedgerPart, MarketKeys},
    ledger::SCHEMA,
    operations::EXPORT_LEDGER,
};

/// The ledger of a market at `now`, in Unix seconds: two round trips. It is read as it is, of whatever known version.
///
/// # Errors
/// [`TransferError`] when there is no ledger, when it is too large, of an unknown version or damaged, or when Redis fails.
pub async fn export_ledger(
    session: &mut Session,
    keys: &MarketKeys,
    now: u64,
) -> Result<Archive, TransferError> {
    let market = keys.market().checksummed();
    let parts: Vec<(LedgerPart, String)> =
        LedgerPart::all(now).map(|part| (part, keys.of_part(&part))).collect();
    // Before anything is read: a ledger that some program has blown up must not fill our memory.
    match count(session, market, &parts).await? {
        0 => return Err(TransferError::Absent(market.to_owned())),
        elements if elements > MOST_ELEMENTS => {
            return Err(TransferError::TooLarge { market: market.to_owned(), elements });
        }
        _ => {}
    }
    let parts = read(session, market, &parts, now).await?;
    let Some(schema) = schema_of(&parts).map(str::to_owned) else {
        let detail = "it has no field `schema`, while other parts of the ledger exist";
        return Err(StoreError::new(EXPORT_LEDGER, keys.meta(), ErrorKind::Torn, detail).into());
    };
    if !is_known_schema(&schema) {
        let detail = format!("the ledger has version {schema}, this program knows versions up to {SCHEMA}");
        return Err(StoreError::new(EXPORT_LEDGER, keys.meta(), ErrorKind::Foreign, detail).into());
    }
    let space = keys.name().to_owned();
    Ok(Archive { head: Head { format: FORMAT, schema, exported_at: now, space }, parts })
}

async fn count(
    session: &mut Session,
    market: &str,
    parts: &[(LedgerPart, String)],
) -> Result<usize, StoreError> {
    let mut batch = Batch::new();
    for (part, key) in parts {
        batch.cmd(part.count_command(), key);
    }
    let mut replies = Replies::new(EXPORT_LEDGER, session.run(EXPORT_LEDGER, market, batch).await?);
    let mut elements = 0_usize;
    for (_, key) in parts {
        elements = elements.saturating_add(replies.required::<usize>(key)?);
    }
    Ok(elements)
}

async fn read(
    session: &mut Session,
    market: &str,
    parts: &[(LedgerPart, String)],
    now: u64,
) -> Result<BTreeMap<String, Content>, StoreError> {
    let mut batch = Batch::new();
    // One transaction: a tracker may seal meanwhile, and each epoch must be in the archive once.
    batch.transaction(|batch| {
        for (part, key) in parts {
            match part.family().kind {
                KeyType::Hash => batch.cmd("HGETALL", key),
                KeyType::Zset => batch.cmd("ZRANGE", key).arg(0).arg(-1).arg("WITHSCORES"),
                _ => {
                    batch.cmd("PTTL", key);
                    batch.cmd("SMEMBERS", key)
                }
            };
        }
    });
    let mut replies = Replies::new(EXPORT_LEDGER, session.run(EXPORT_LEDGER, market, batch).await?);
    let mut contents = BTreeMap::new();
    for (part, key) in parts {
        let content = match part.family().kind {
            KeyType::Hash => Content::Hash(replies.required::<BTreeMap<_, _>>(key)?),
            KeyType::Zset => {
                Content::Zset(replies.required::<Vec<(String, f64)>>(key)?.into_iter().collect())
            }
            _ => {
                // Negative for a key that does not expire: it gets the TTL that it should have.
                let ttl = u64::try_from(replies.required::<i64>(key)?).unwrap_or(1000 * HOURS_KEPT);
                let members = replies.required::<BTreeSet<_>>(key)?;
                Content::Set { members, expires: (1000 * now).saturating_add(ttl) }
            }
        };
        if content.len() > 0 {
            contents.insert(part.name(), content);
        }
    }
    Ok(contents)
}
