//! What the tracker's user may do with the keys of a market.
//!
//! To learn it without writing, write commands are sent that the server must refuse for their arguments: rights
//! are checked before that. Some of them name a key or a member that nobody has, and so remove nothing.

use crate::{
    datasets::{GAPS, STATS, SUMMARY},
    keys::{InputKeys, MarketKeys},
};
use store_redis::{Batch, ErrorKind, Session, StoreError, kind_of};

/// A command that the user may not send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The command.
    pub command: &'static str,
    /// The key, or what else it is about.
    pub object: String,
    /// What the server said.
    pub detail: String,
}

/// An argument that is no number, and a member that nobody has.
const NONE: &str = "state-tracker-doctor";

/// What is read, of keys that nobody has.
const READS: [(&str, &[&str]); 15] = [
    ("GET", &[]),
    ("EXISTS", &[]),
    ("LLEN", &[]),
    ("SCARD", &[]),
    ("SMEMBERS", &[]),
    ("SUNION", &[]),
    ("SMISMEMBER", &[NONE]),
    ("HGETALL", &[]),
    ("HMGET", &[NONE]),
    ("HKEYS", &[]),
    ("HLEN", &[]),
    ("ZCARD", &[]),
    ("ZCOUNT", &["0", "1"]),
    ("ZRANGEBYSCORE", &["0", "1"]),
    ("ZREVRANGE", &["0", "0"]),
];

/// What the user may not do of what the tracker does with this market: one round trip.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn rights(session: &mut Session, keys: &MarketKeys) -> Result<Vec<Refusal>, StoreError> {
    let (mut batch, mut asked) = (Batch::new(), Vec::new());
    let mut ask = |command: &'static str, key: String, arguments: &[&str]| {
        batch.cmd(command, &key).arg(arguments);
        asked.push((command, key));
    };
    let ledger = keys.unused();
    for space in keys.inputs().map(InputKeys::unused).chain([ledger]) {
        for (command, arguments) in READS {
            ask(command, space.clone(), arguments);
        }
    }
    for output in keys.outputs() {
        let [summary, stats, gaps] = [&SUMMARY, &STATS, &GAPS].map(|dataset| output.dataset(dataset, None));
        ask("SET", summary, &[NONE, "EX", NONE]);
        ask("HSET", stats, &["field", "value", "field without a value"]);
        ask("DEL", output.unused(), &[]);
        ask("EXPIRE", gaps.clone(), &[NONE]);
        ask("ZADD", gaps.clone(), &[NONE, NONE]);
        ask("ZREM", gaps.clone(), &[NONE]);
        ask("ZREMRANGEBYSCORE", gaps, &[NONE, NONE]);
    }
    if !keys.is_shadow() {
        for input in keys.inputs() {
            ask("ZREMRANGEBYRANK", input.epochs_timeline(), &[NONE, NONE]);
            ask("EXPIRE", input.vpa_stats(), &[NONE]);
        }
    }
    ask("HSET", keys.meta(), &["field", "value", "field without a value"]);
    ask("HINCRBY", keys.sums(), &["field", NONE]);
    ask("HDEL", keys.open(), &[NONE]);
    // There is no script of that name.
    let ledger = [keys.open(), keys.sealed(), keys.sums(), keys.meta()];
    let names: Vec<&str> = ledger.iter().map(String::as_str).collect();
    batch.script("EVALSHA", &"0".repeat(40), &names);
    asked.push(("EVALSHA", keys.open()));
    let answers = session.run("ask for rights", keys.market().checksummed(), batch).await?;
    let refused = asked.into_iter().zip(answers).filter_map(|((command, object), answer)| {
        let error = answer.err().filter(|error| kind_of(error) == ErrorKind::Denied)?;
        Some(Refusal { command, object, detail: error.to_string() })
    });
    Ok(refused.collect())
}
