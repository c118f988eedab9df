//! Writes a ledger into Redis: first under names of its own in the same hash slot, in pages, then one script puts all of it into the
//! place of the present ledger. A tracker finds the ledger before or the one after, and never a part.

use std::sync::LazyLock;

use store_redis::{Batch, Lua, Replies, Session, StoreError};

use super::{
    TransferError,
    archive::{Archive, Content},
};
use crate::{
    keys::{HOURS_KEPT, LedgerPart, MarketKeys, STAGED_KEPT},
    operations::IMPORT_LEDGER,
};

/// Puts the staged parts into their place.
static SWAP: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("swap.lua")));

/// How many elements are written at once.
const PAGE: usize = 500;

/// How an archive is imported.
#[derive(Clone, Copy, Debug)]
pub struct Import<'a> {
    /// What is imported.
    pub archive: &'a Archive,
    /// Whether it replaces a ledger.
    pub replace: bool,
    /// The present, in Unix seconds.
    pub now: u64,
    /// A word that no other import has, for the names of its keys.
    pub id: &'a str,
}

/// What an import has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// How many keys.
    pub keys: usize,
    /// How many elements they have together.
    pub elements: usize,
    /// How many hours of validators were left out, since they would have expired meanwhile.
    pub expired: usize,
}

/// Imports a ledger: two round trips, and one for each page of elements.
///
/// # Errors
/// [`TransferError`] when there is a ledger and it is not to be replaced, or when Redis fails. The ledger is then unchanged, unless the
/// answer to the last step was lost: in that case it is the one before or the imported one.
pub async fn import_ledger(
    session: &mut Session,
    keys: &MarketKeys,
    import: Import<'_>,
) -> Result<Imported, TransferError> {
    let market = keys.market().checksummed();
    let ledger: Vec<String> = LedgerPart::all(import.now).map(|part| keys.of_part(&part)).collect();
    // The script asks again; this saves the writing.
    if !import.replace && any_exists(session, market, &ledger).await? {
        return Err(TransferError::Exists(market.to_owned()));
    }
    let (parts, expired) = staged(keys, &import);
    let outcome = write(session, market, &parts, &ledger, import.replace).await;
    if !matches!(&outcome, Ok(answer) if answer == "imported") {
        // They would expire anyway, so an error adds nothing.
        let _ = remove(session, market, &parts).await;
    }
    match outcome?.as_str() {
        "imported" => {
            let elements = parts.iter().map(|part| part.content.len()).sum();
            Ok(Imported { keys: parts.len(), elements, expired })
        }
        "exists" => Err(TransferError::Exists(market.to_owned())),
        _ => Err(TransferError::Incomplete(market.to_owned())),
    }
}

/// A part that is written under another name first.
struct Staged<'a> {
    part: LedgerPart,
    content: &'a Content,
    key: String,
    becomes: String,
    /// In milliseconds.
    ttl: Option<u64>,
}

/// The parts that still live, and how many have expired.
fn staged<'a>(keys: &MarketKeys, import: &Import<'a>) -> (Vec<Staged<'a>>, usize) {
    let (mut staged, mut expired) = (Vec::new(), 0);
    for (name, content) in &import.archive.parts {
        // An archive has only parts that are known.
        let Some(part) = LedgerPart::named(name) else { continue };
        let ttl = match content {
            Content::Set { expires, .. } => Some(expires.saturating_sub(1000 * import.now)),
            _ => None,
        };
        if ttl == Some(0) {
            expired += 1;
            continue;
        }
        let ttl = ttl.map(|ttl| ttl.min(1000 * HOURS_KEPT));
        let (key, becomes) = (keys.staged(&part, import.id), keys.of_part(&part));
        staged.push(Staged { part, content, key, becomes, ttl });
    }
    (staged, expired)
}

async fn any_exists(session: &mut Session, market: &str, keys: &[String]) -> Result<bool, StoreError> {
    let mut batch = Batch::new();
    for key in keys {
        batch.cmd("EXISTS", key);
    }
    let mut replies = Replies::new(IMPORT_LEDGER, session.run(IMPORT_LEDGER, market, batch).await?);
    let mut any = false;
    for key in keys {
        any |= replies.required::<bool>(key)?;
    }
    Ok(any)
}

/// Writes the parts and puts them into their place; the answer of the script.
async fn write(
    session: &mut Session,
    market: &str,
    parts: &[Staged<'_>],
    ledger: &[String],
    replace: bool,
) -> Result<String, StoreError> {
    for part in parts {
        let (command, words) = words(part.content);
        for page in words.chunks(PAGE) {
            let mut batch = Batch::new();
            // One transaction, so that no key is ever without its TTL: it goes by itself where an import is broken off.
            batch.transaction(|batch| {
                batch.cmd(command, &part.key).arg(page);
                batch.cmd("EXPIRE", &part.key).arg(STAGED_KEPT);
            });
            acknowledged(session.run(IMPORT_LEDGER, market, batch).await?, &part.key)?;
        }
    }
    let targets = parts.iter().map(|part| &part.becomes);
    let keys: Vec<&str> = parts
        .iter()
        .map(|part| &part.key)
        .chain(targets.clone())
        .chain(ledger)
        .chain(targets)
        .map(String::as_str)
        .collect();
    let fill = |batch: &mut Batch| {
        let command = SWAP.run(batch, &keys).arg(parts.len()).arg(u8::from(replace));
        for Staged { part, content, ttl, .. } in parts {
            let ttl = ttl.map_or_else(String::new, |ttl| ttl.to_string());
            command.arg(part.count_command()).arg(content.len()).arg(ttl);
        }
    };
    let answers = session.run_scripts(IMPORT_LEDGER, market, fill).await?;
    Replies::new(IMPORT_LEDGER, answers).required(market)
}

/// The command that adds elements, and its words.
fn words(content: &Content) -> (&'static str, Vec<Vec<String>>) {
    match content {
        Content::Hash(fields) => {
            ("HSET", fields.iter().map(|(field, value)| vec![field.clone(), value.clone()]).collect())
        }
        Content::Zset(members) => {
            ("ZADD", members.iter().map(|(member, score)| vec![score.to_string(), member.clone()]).collect())
        }
        Content::Set { members, .. } => ("SADD", members.iter().map(|member| vec![member.clone()]).collect()),
    }
}

async fn remove(session: &mut Session, market: &str, parts: &[Staged<'_>]) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    for part in parts {
        batch.cmd("UNLINK", &part.key);
    }
    acknowledged(session.run(IMPORT_LEDGER, market, batch).await?, market)
}

fn acknowledged(answers: Vec<redis::RedisResult<redis::Value>>, key: &str) -> Result<(), StoreError> {
    let failed = answers.into_iter().find_map(Result::err);
    failed.map_or(Ok(()), |error| Err(StoreError::redis(IMPORT_LEDGER, key, &error)))
}
