//! What the producers' writes leave in Redis, with real expiry: a copy of the producers' keys that the reference keeps for itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::keys::Key;

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A string.
    Text(String),
    /// A hash.
    Hash(BTreeMap<String, String>),
    /// A set.
    Set(BTreeSet<String>),
    /// A sorted set: members with their scores.
    Zset(BTreeMap<String, i64>),
    /// A list of so many items.
    List(u64),
}

/// A key that exists.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What it is.
    pub key: Key,
    /// What it holds.
    pub content: Content,
    /// When it was written first.
    pub born: i64,
    /// When it expires.
    pub gone: Option<i64>,
}

/// One write.
#[derive(Clone, Debug)]
pub enum Write {
    /// `SET`
    Text(String),
    /// `HSET`
    Field(&'static str, String),
    /// `SADD`
    Member(String),
    /// `ZADD`
    Timed(String, i64),
    /// `LPUSH`
    Push,
    /// `RPOP`
    Pop,
}

/// A command of Redis with its arguments.
pub type Command = Vec<String>;

/// All keys of the producers. A clone is cheap: contents are shared until they change.
#[derive(Clone, Debug, Default)]
pub struct Database {
    keys: BTreeMap<String, Arc<Stored>>,
}

impl Database {
    /// Applies a write at `now`; returns the commands that do the same to Redis.
    pub fn write(&mut self, now: i64, name: &str, key: Key, write: Write) -> Vec<Command> {
        let empty = || {
            let content = match write {
                Write::Text(_) => Content::Text(String::new()),
                Write::Field(..) => Content::Hash(BTreeMap::new()),
                Write::Member(_) => Content::Set(BTreeSet::new()),
                Write::Timed(..) => Content::Zset(BTreeMap::new()),
                Write::Push | Write::Pop => Content::List(0),
            };
            Arc::new(Stored { key, content, born: now, gone: None })
        };
        let stored = Arc::make_mut(self.keys.entry(name.to_owned()).or_insert_with(empty));
        let command = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Command>();
        let mut commands = vec![match (&write, &mut stored.content) {
            (Write::Text(text), Content::Text(held)) => {
                held.clone_from(text);
                command(&["SET", name, text])
            }
            (Write::Field(field, value), Content::Hash(fields)) => {
                fields.insert((*field).to_owned(), value.clone());
                command(&["HSET", name, field, value])
            }
            (Write::Member(member), Content::Set(members)) => {
                members.insert(member.clone());
                command(&["SADD", name, member])
            }
            (Write::Timed(member, at), Content::Zset(members)) => {
                members.insert(member.clone(), *at);
                command(&["ZADD", name, &at.to_string(), member])
            }
            (Write::Push, Content::List(length)) => {
                *length += 1;
                command(&["LPUSH", name, "waiting"])
            }
            (Write::Pop, Content::List(length)) => {
                *length = length.saturating_sub(1);
                command(&["RPOP", name])
            }
            (write, content) => unreachable!("{write:?} of {name}, which holds {content:?}"),
        }];
        if let Some(ttl) = key.ttl() {
            stored.gone = Some(now + ttl);
            commands.push(command(&["EXPIRE", name, &ttl.to_string()]));
        }
        if stored.content == Content::List(0) {
            self.keys.remove(name);
        }
        commands
    }

    /// Removes what has expired by `now`.
    pub fn age(&mut self, now: i64) {
        self.keys.retain(|_, stored| stored.gone.is_none_or(|gone| gone > now));
    }

    /// Renews the TTL of `vpa:stats`, as the tracker does.
    pub fn renew_vpa(&mut self, gone: i64) {
        for stored in self.keys.values_mut().filter(|stored| stored.key == Key::VpaStats) {
            Arc::make_mut(stored).gone = Some(gone);
        }
    }

    /// All keys with their names.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &Stored)> {
        self.keys.iter().map(|(name, stored)| (name.as_str(), &**stored))
    }
}
