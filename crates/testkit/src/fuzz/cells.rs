//! Spoils single values in a Redis: whatever may be written there is read by somebody. Panics when the server does not answer.

#![allow(clippy::expect_used, clippy::missing_panics_doc)]

use redis::aio::MultiplexedConnection;

use super::{Mutator, fed_name};
use crate::Dice;

/// All keys of a Redis, to be put back.
#[derive(Clone, Debug)]
pub struct Saved(Vec<(String, Vec<u8>, i64)>);

/// A value, or a part of one.
#[derive(Clone, Debug)]
enum Cell {
    Text(String, Vec<u8>),
    Field(String, Vec<u8>, Vec<u8>),
    Member(String, Vec<u8>),
    Scored(String, Vec<u8>, f64),
}

impl Saved {
    /// Reads all keys.
    pub async fn take(connection: &mut MultiplexedConnection) -> Self {
        let mut keys: Vec<String> =
            redis::cmd("KEYS").arg("*").query_async(connection).await.expect("answered");
        keys.sort();
        let mut all = Vec::new();
        for key in keys {
            let mut both = redis::pipe();
            both.cmd("DUMP").arg(&key).cmd("PTTL").arg(&key);
            let (value, left): (Vec<u8>, i64) = both.query_async(connection).await.expect("answered");
            all.push((key, value, left.max(0)));
        }
        Self(all)
    }

    /// Empties the Redis and puts all keys back.
    pub async fn restore(&self, connection: &mut MultiplexedConnection) {
        let mut all = redis::pipe();
        all.cmd("FLUSHALL").arg("SYNC").ignore();
        for (key, value, left) in &self.0 {
            all.cmd("RESTORE").arg(key).arg(left).arg(value).ignore();
        }
        all.query_async::<()>(connection).await.expect("restored");
    }
}

/// The values of a Redis, and what is made of them.
#[derive(Debug)]
pub struct Cells {
    cells: Vec<Cell>,
    mutator: Mutator,
}

impl Cells {
    /// Reads all values. Inputs that are kept stand beside them as what others are made of.
    pub async fn read(connection: &mut MultiplexedConnection, kept: &[(String, Vec<u8>)]) -> Self {
        let mut keys: Vec<String> =
            redis::cmd("KEYS").arg("*").query_async(connection).await.expect("answered");
        keys.sort();
        let mut cells = Vec::new();
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query_async(connection).await.expect("answered");
            cells.extend(of_key(connection, key, &kind).await);
        }
        let values = cells.iter().map(|cell| (String::new(), cell.value().to_vec()));
        let inputs: Vec<_> = kept.iter().cloned().chain(values).collect();
        Self { cells, mutator: Mutator::new(&inputs) }
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.cells.len()
    }

    /// Spoils one value, and says which one and how.
    pub async fn spoil(&self, connection: &mut MultiplexedConnection, dice: &mut Dice) -> String {
        let at = usize::try_from(dice.roll(self.cells.len().max(1) as u64)).unwrap_or_default();
        let Some(cell) = self.cells.get(at) else { return "nothing".to_owned() };
        // Mostly what is nearly right: what was never right is refused at the first look.
        let value = match dice.roll(4) {
            0 => self.mutator.next(dice),
            _ => self.mutator.changed(cell.value(), dice),
        };
        let mut write = redis::pipe();
        match cell {
            Cell::Text(key, _) => write.cmd("SET").arg(key).arg(&value).arg("KEEPTTL"),
            Cell::Field(key, field, old) if dice.roll(3) == 0 => {
                write.cmd("HDEL").arg(key).arg(field).ignore();
                write.cmd("HSET").arg(key).arg(&value).arg(old)
            }
            Cell::Field(key, field, _) => write.cmd("HSET").arg(key).arg(field).arg(&value),
            Cell::Member(key, old) => {
                write.cmd("SREM").arg(key).arg(old).ignore();
                write.cmd("SADD").arg(key).arg(&value)
            }
            Cell::Scored(key, old, score) => {
                let scores = [*score, 0.0, -1.0, 1e300, f64::INFINITY, 0.5, 9.007_199_254_740_993e15];
                let score = scores[usize::try_from(dice.roll(scores.len() as u64)).unwrap_or_default()];
                write.cmd("ZREM").arg(key).arg(old).ignore();
                write.cmd("ZADD").arg(key).arg(score).arg(&value)
            }
        }
        .ignore();
        write.query_async::<()>(connection).await.expect("written");
        format!("{cell:?} → {}", fed_name(&value))
    }
}

impl Cell {
    fn value(&self) -> &[u8] {
        match self {
            Self::Text(_, value)
            | Self::Field(_, _, value)
            | Self::Member(_, value)
            | Self::Scored(_, value, _) => value,
        }
    }
}

async fn of_key(connection: &mut MultiplexedConnection, key: String, kind: &str) -> Vec<Cell> {
    let command = |name: &str| {
        let mut command = redis::cmd(name);
        command.arg(&key);
        command
    };
    match kind {
        "string" => {
            let value = command("GET").query_async(connection).await.expect("answered");
            vec![Cell::Text(key, value)]
        }
        "hash" => {
            let fields: Vec<(Vec<u8>, Vec<u8>)> =
                command("HGETALL").query_async(connection).await.expect("answered");
            fields.into_iter().map(|(field, value)| Cell::Field(key.clone(), field, value)).collect()
        }
        "set" => {
            let mut members: Vec<Vec<u8>> =
                command("SMEMBERS").query_async(connection).await.expect("answered");
            members.sort();
            members.into_iter().map(|member| Cell::Member(key.clone(), member)).collect()
        }
        "zset" => {
            let members: Vec<(Vec<u8>, f64)> = command("ZRANGE")
                .arg(0)
                .arg(-1)
                .arg("WITHSCORES")
                .query_async(connection)
                .await
                .expect("answered");
            members.into_iter().map(|(member, score)| Cell::Scored(key.clone(), member, score)).collect()
        }
        _ => Vec::new(),
    }
}
