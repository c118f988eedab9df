//! The rights that the collector needs: its own keys, those that it hands to other programs, the sets of submissions.
//!
//! A command that is missing here is not granted by the access list that the doctor prints. So whatever this crate sends to
//! Redis, by itself or in a script, must have a line here.

use std::fmt::Display;

use domain::chain::ContractAddress;
use store_redis::{Family, Need, PROBE_ARGUMENT};

use crate::{
    ChainKeys, ChainStore,
    keys::{
        ATTESTOR_QUEUE, BATCH, BATCH_COUNT, BLOCK_HASH, CURRENT_DAY, CURRENT_EPOCH, DAY_SIZES, DETAILS,
        ELIGIBLE_NODES, ELIGIBLE_SLOT, EPOCHS_IN_A_DAY, FINALIZER_QUEUE, LAST_KNOWN_DAY, MARKED, NODES,
        QUOTAS, ROLLED_OVER, ROLLOVER_DETAILS, SLOT, SUBMISSION_LIMITS, SUBMISSIONS, ZERO_COUNT, named,
    },
    migration::Migration,
};

/// Arguments of a `SET` that the server refuses.
const SET: &[&str] = &[PROBE_ARGUMENT, "EX", PROBE_ARGUMENT];
/// The same of `HSET`.
const HSET: &[&str] = &["field", "value", "field without a value"];

impl ChainStore {
    /// The rights that the collector needs, each family of keys by itself; `spelled` are the markets as the configuration
    /// spells them. Where it tells the relayer, it needs the outbox too.
    #[must_use]
    pub fn needs(&self, spelled: &[String], tells_relayer: bool) -> Vec<Need> {
        let keys = &self.keys;
        let mut all = vec![self.own_need()];
        if tells_relayer {
            all.push(self.outbox_need());
        }
        let mut of = |name: &str, ask: &dyn Fn(&mut Need, &str)| {
            let (mut need, key) = (Need::new(keys.pattern(name)), keys.probe(name));
            // A commit looks at the types of all keys that it writes, before it writes one.
            need.probe("TYPE", &key, &[]);
            ask(&mut need, &key);
            all.push(need);
        };
        of(BLOCK_HASH.name, &|need, key| {
            need.probe("GET", key, &[]).probe("SET", key, SET).probe("DEL", key, &[]);
        });
        // Of every market: each tracker writes what blocks change of the markets of all trackers.
        of(CURRENT_EPOCH.name, &|need, key| {
            need.probe("SET", key, SET).probe_without_sending("DEL", key);
        });
        for set in [MARKED, ROLLED_OVER] {
            of(set.name, &|need, key| {
                need.probe("SMEMBERS", key, &[])
                    .probe("SREM", key, &[PROBE_ARGUMENT])
                    .probe_without_sending("SADD", key);
            });
        }
        of(DETAILS.name, &|need, key| {
            need.probe("GET", key, &[]).probe("SET", key, SET).probe("DEL", key, &[]);
            need.probe("EXPIRE", key, &[PROBE_ARGUMENT]);
        });
        for market in &self.markets {
            let market = market.lower();
            let mut of = |family: &Family, ask: &dyn Fn(&mut Need, &str)| of(&named(family, &market), ask);
            of(&BATCH_COUNT, &|need, key| {
                need.probe("GET", key, &[]).probe("EXISTS", key, &[]).probe("SET", key, SET);
            });
            of(&BATCH, &|need, key| {
                need.probe("SET", key, SET);
            });
            of(&SLOT, &|need, key| {
                need.probe("INCRBY", key, &[PROBE_ARGUMENT]);
            });
        }
        let queues = [Some(FINALIZER_QUEUE), Some(ATTESTOR_QUEUE).filter(|_| self.attest)];
        for queue in queues.into_iter().flatten() {
            of(queue.name, &|need, key| {
                need.probe_without_sending("LPUSH", key);
            });
        }
        for table in [SUBMISSION_LIMITS, DAY_SIZES, QUOTAS] {
            of(table.name, &|need, key| {
                need.probe("HSET", key, HSET);
            });
        }
        let numbers = spelled.iter().map(|market| named(&EPOCHS_IN_A_DAY, market));
        for number in numbers.chain([NODES.name.to_owned()]) {
            of(&number, &|need, key| {
                need.probe("GET", key, &[]).probe("SET", key, SET).probe_script(key);
            });
        }
        all.extend(self.markets.iter().map(|market| self.submissions_need(&market.lower())));
        all.extend(self.day_needs(tells_relayer));
        all
    }

    /// What is known of the chain. Families of one market have its name in the middle, so all of them are one pattern.
    fn own_need(&self) -> Need {
        let name = "tracker:chain:*";
        let (mut need, key) = (Need::new(self.keys.pattern(name)), self.keys.probe(name));
        for (command, arguments) in [
            ("GET", &[][..]),
            ("HGET", &[PROBE_ARGUMENT]),
            ("HGETALL", &[]),
            ("HMGET", &[PROBE_ARGUMENT]),
            ("TYPE", &[]),
            ("SET", SET),
            ("HSET", HSET),
            ("HDEL", &[PROBE_ARGUMENT]),
            ("INCRBY", &[PROBE_ARGUMENT]),
            ("DEL", &[]),
            ("SADD", &[]),
            ("SREM", &[PROBE_ARGUMENT]),
            ("SCARD", &[]),
            ("EXPIRE", &[PROBE_ARGUMENT]),
        ] {
            match command {
                "SADD" => need.probe_without_sending(command, &key),
                _ => need.probe(command, &key, arguments),
            };
        }
        need.probe_keyless("TIME", &[]).probe_script(&key);
        need
    }

    /// What the relayer is told.
    fn outbox_need(&self) -> Need {
        let name = "tracker:relayer:*";
        let (mut need, key) = (Need::new(self.keys.pattern(name)), self.keys.probe(name));
        for (command, arguments) in [
            ("TYPE", &[][..]),
            ("HMGET", &[PROBE_ARGUMENT]),
            ("HSET", HSET),
            ("HDEL", &[PROBE_ARGUMENT]),
            ("SADD", &[]),
            ("SMEMBERS", &[]),
            ("XADD", &[PROBE_ARGUMENT, "field", "value", "field without a value"]),
            ("XDEL", &[PROBE_ARGUMENT]),
            ("XLEN", &[]),
            ("XRANGE", &["-", PROBE_ARGUMENT]),
            ("XREVRANGE", &["+", PROBE_ARGUMENT]),
        ] {
            match command {
                "SADD" => need.probe_without_sending(command, &key),
                _ => need.probe(command, &key, arguments),
            };
        }
        need.probe_keyless("TIME", &[]).probe_script(&key);
        need
    }

    /// Days, and what the finalizers write of rewards where the relayer is told of it.
    fn day_needs(&self, tells_relayer: bool) -> Vec<Need> {
        let keys = &self.keys;
        let of = |name: &str, commands: &[&'static str]| {
            let (mut need, key) = (Need::new(keys.pattern(name)), keys.probe(name));
            need.probe("TYPE", &key, &[]);
            commands.iter().for_each(|command| {
                need.probe(command, &key, &[]).probe("SET", &key, SET);
            });
            need.probe_without_sending("DEL", &key);
            need
        };
        let mut all = vec![of(CURRENT_DAY.name, &["GET"]), of(LAST_KNOWN_DAY.name, &["GET"])];
        all.push(of(ROLLOVER_DETAILS.name, &["GET"]));
        for market in &self.markets {
            if tells_relayer {
                all.push(of(&named(&ZERO_COUNT, &market.lower()), &["EXISTS"]));
                all.extend(eligible_needs(market));
            }
        }
        all
    }

    /// What the collectors write. A shadow removes none of it.
    fn submissions_need(&self, market: &str) -> Need {
        let mut need = Need::new(named(&SUBMISSIONS, market));
        let key = SUBMISSIONS.key("", &[&market, &0, &PROBE_ARGUMENT]);
        need.probe("SMEMBERS", &key, &[]);
        if !self.keys.is_shadow() {
            need.probe("UNLINK", &key, &[]);
        }
        need
    }
}

/// The rights that a migration of a market needs besides those of the collector.
#[must_use]
pub fn needs_of_migration(migration: &Migration) -> Vec<Need> {
    let keys = ChainKeys::new("");
    let [from, to] = [migration.from.lower(), migration.to.lower()];
    let mut all = Vec::new();
    let mut of = |name: &str, read: &[&'static str], write: Option<&'static str>| {
        let (mut need, key) = (Need::new(keys.pattern(name)), keys.probe(name));
        read.iter().for_each(|command| {
            need.probe(command, &key, &[]);
        });
        match write {
            Some("SET") => drop(need.probe("SET", &key, SET)),
            Some(command) => drop(need.probe_without_sending(command, &key)),
            None => {}
        }
        all.push(need);
    };
    for (counted, read, write) in
        [(ELIGIBLE_SLOT, "MGET", "SET"), (SLOT, "MGET", "SET"), (ELIGIBLE_NODES, "SMEMBERS", "SADD")]
    {
        of(&named(&counted, &from), &[read], None);
        of(&named(&counted, &to), &[read], Some(write));
    }
    // Of every market, as the collector itself.
    for day in [CURRENT_DAY, LAST_KNOWN_DAY] {
        of(day.name, &["MGET", "PTTL"], Some("SET"));
    }
    of(ROLLED_OVER.name, &["SMEMBERS"], Some("SADD"));
    of(ROLLOVER_DETAILS.name, &["MGET"], Some("SET"));
    of(NODES.name, &["MGET"], None);
    // Whether a tracker follows the new market.
    of("tracker:chain:*", &["EXISTS"], None);
    all
}

/// What the finalizers write of rewards. A shadow tells nobody of it.
fn eligible_needs(market: &ContractAddress) -> [Need; 2] {
    let market = market.lower();
    let need = |family: &Family, ids: &[&dyn Display], command: &'static str| {
        let (mut need, key) = (Need::new(named(family, &market)), family.key("", ids));
        need.probe(command, &key, &[]);
        need
    };
    [
        need(&ELIGIBLE_SLOT, &[&market, &0, &PROBE_ARGUMENT], "MGET"),
        need(&ELIGIBLE_NODES, &[&market, &PROBE_ARGUMENT], "SCARD"),
    ]
}
