//! The rights that the tracker needs: the keys of a market in every spelling, its ledger, the state index.
//!
//! A command that is missing here is not granted by the access list that the doctor prints. So whatever this crate sends to
//! Redis must have a line here.

use store_redis::{Access, Need, PROBE_ARGUMENT, escape_pattern};

use crate::{
    datasets::{GAPS, STATS, SUMMARY},
    keys::{EPOCH_VALIDATORS, INDEX, IndexKeys, MarketKeys},
};

/// How a market's keys are read.
const READS: [(&str, &[&str]); 24] = [
    ("GET", &[]),
    ("GETRANGE", &["0", "1"]),
    ("EXISTS", &[]),
    ("LLEN", &[]),
    ("SCARD", &[]),
    ("SMEMBERS", &[]),
    ("SISMEMBER", &[PROBE_ARGUMENT]),
    ("SRANDMEMBER", &["1"]),
    ("SMISMEMBER", &[PROBE_ARGUMENT]),
    ("SSCAN", &["0"]),
    ("HGET", &[PROBE_ARGUMENT]),
    ("HGETALL", &[]),
    ("HMGET", &[PROBE_ARGUMENT]),
    ("HKEYS", &[]),
    ("HLEN", &[]),
    ("HEXISTS", &[PROBE_ARGUMENT]),
    ("ZCARD", &[]),
    ("ZCOUNT", &["0", "1"]),
    ("ZSCORE", &[PROBE_ARGUMENT]),
    ("ZMSCORE", &[PROBE_ARGUMENT]),
    ("ZRANGE", &["0", "0"]),
    ("ZRANGEBYSCORE", &["0", "1"]),
    ("ZREVRANGE", &["0", "0"]),
    ("ZREVRANGEBYSCORE", &["1", "0"]),
];

fn read(need: &mut Need, key: &str) {
    for (command, arguments) in READS {
        need.probe(command, key, arguments);
    }
}

impl MarketKeys {
    /// The rights that the tracker needs to serve this market.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        let access = if self.is_shadow() { Access::Read } else { Access::Write };
        let mut all = Vec::new();
        for input in self.inputs().chain(self.second()) {
            let mut need = Need::new(format!("{}:*", escape_pattern(input.space())), access);
            read(&mut need, &input.unused());
            if !self.is_shadow() {
                need.probe("EVAL", &input.unused(), &[]);
                need.probe("ZREMRANGEBYRANK", &input.epochs_timeline(), &[PROBE_ARGUMENT, PROBE_ARGUMENT]);
                need.probe("EXPIRE", &input.vpa_stats(), &[PROBE_ARGUMENT]);
                need.probe_script(&input.unused());
            }
            all.push(need);
        }
        for output in self.outputs() {
            let pattern = match self.prefix() {
                "" => format!("{}:*", escape_pattern(output.space())),
                prefix => format!("{}*", escape_pattern(prefix)),
            };
            let mut need = Need::new(pattern, Access::Write);
            let [summary, stats, gaps] =
                [&SUMMARY, &STATS, &GAPS].map(|dataset| output.dataset(dataset, None));
            need.probe("SET", &summary, &[PROBE_ARGUMENT, "EX", PROBE_ARGUMENT]);
            need.probe("HSET", &stats, &["field", "value", "field without a value"]);
            need.probe("DEL", &output.unused(), &[]);
            need.probe("EXPIRE", &gaps, &[PROBE_ARGUMENT]);
            need.probe("ZADD", &gaps, &[PROBE_ARGUMENT, PROBE_ARGUMENT]);
            need.probe("ZREM", &gaps, &[PROBE_ARGUMENT]);
            all.push(need);
        }
        all.push(self.ledger_need());
        all.push(self.transfer_need());
        let spaces =
            self.inputs().chain(self.second()).map(|input| (input.space().to_owned(), input.unused()));
        all.extend(spaces.map(|(space, unused)| self.examination_need(&space, &unused, access)));
        all
    }

    /// What `doctor` asks about keys. The service needs none of it.
    fn examination_need(&self, space: &str, unused: &str, access: Access) -> Need {
        let mut need = Need::new(format!("{}:*", escape_pattern(space)), access).for_operators();
        need.probe("TYPE", unused, &[]).probe("PTTL", unused, &[]).probe_memory(unused);
        need
    }

    /// What `ledger` does with a ledger beside what the service does.
    fn transfer_need(&self) -> Need {
        let (mut need, unused) =
            (Need::new(self.ledger_pattern(), Access::Write).for_operators(), self.unused());
        need.probe_rename(&unused)
            .probe("PERSIST", &unused, &[])
            .probe("PEXPIRE", &unused, &[PROBE_ARGUMENT])
            .probe("PTTL", &unused, &[])
            .probe("UNLINK", &unused, &[])
            .probe_memory(&unused);
        need
    }

    fn ledger_pattern(&self) -> String {
        match self.prefix() {
            "" => {
                let unused = self.unused();
                format!("{}:*", escape_pattern(unused.strip_suffix(":unused").unwrap_or(&unused)))
            }
            prefix => format!("{}*", escape_pattern(prefix)),
        }
    }

    /// The rights that the pruning of `epochs:active` needs beside these.
    #[must_use]
    pub fn needs_of_active(&self) -> Vec<Need> {
        let of_input = |space: &str, unused: &str| {
            let mut need = Need::new(format!("{}:*", escape_pattern(space)), Access::Write);
            need.probe("SSCAN", unused, &["0"]);
            need.probe("SREM", unused, &[PROBE_ARGUMENT]);
            need
        };
        // A shadow removes nothing.
        let inputs = self.inputs().filter(|_| !self.is_shadow());
        inputs.map(|input| of_input(input.space(), &input.unused())).collect()
    }

    /// The ledger, and what its scripts do with it.
    fn ledger_need(&self) -> Need {
        let (mut need, unused) = (Need::new(self.ledger_pattern(), Access::Write), self.unused());
        read(&mut need, &unused);
        need.probe("HSCAN", &unused, &["0"]);
        need.probe("TYPE", &unused, &[]);
        need.probe("HSET", &self.meta(), &["field", "value", "field without a value"]);
        need.probe("HINCRBY", &self.sums(), &["field", PROBE_ARGUMENT]);
        need.probe("HDEL", &self.open(), &[PROBE_ARGUMENT]);
        need.probe("ZADD", &self.opened(), &[PROBE_ARGUMENT, PROBE_ARGUMENT]);
        need.probe("ZREM", &self.opened(), &[PROBE_ARGUMENT]);
        need.probe("ZREMRANGEBYRANK", &self.opened(), &[PROBE_ARGUMENT, PROBE_ARGUMENT]);
        need.probe("EXPIRE", &unused, &[PROBE_ARGUMENT]);
        need.probe_without_sending("SADD", &unused);
        // It names no key, but the script that asks must reach one node of a cluster.
        need.probe_without_sending("UNSUBSCRIBE", &unused);
        need.probe_script(&self.open());
        need
    }
}

/// What `doctor` asks of a server beside the rights for its keys.
#[must_use]
pub fn need_of_doctor() -> Need {
    let mut need = Need::new("", Access::Read).for_operators();
    need.probe_keyless("SCAN", &["0", "COUNT", "1"]);
    need.probe_keyless("DBSIZE", &[]);
    need.probe_keyless("PUBSUB", &["NUMSUB"]);
    need
}

/// The right that the finder needs beside those of its markets: to read the names of all keys.
#[must_use]
pub fn need_of_finder() -> Need {
    let mut scan = Need::new("", Access::Read);
    scan.probe_keyless("SCAN", &["0", "COUNT", "1"]);
    scan
}

impl IndexKeys {
    /// The rights that the indexer needs to keep this index.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        let space = self.space();
        // Those with ids first: the first pattern names a key that does not exist.
        let mut families: Vec<_> = INDEX.iter().chain([&EPOCH_VALIDATORS]).collect();
        families.sort_by_key(|family| family.ids() == 0);
        let patterns: Vec<String> = match space {
            "" => families.into_iter().map(|family| family.name.to_owned()).collect(),
            space => vec![format!("{}:*", escape_pattern(space))],
        };
        let mut all = Vec::new();
        for pattern in patterns {
            // Exact names are keys that exist: nothing is sent that could change them.
            let key = match pattern.strip_suffix('*') {
                Some(_) if !space.is_empty() => format!("{space}:tracker:unused"),
                _ => pattern.replace('*', PROBE_ARGUMENT),
            };
            let mut need = Need::new(pattern, Access::Write);
            need.probe("SREM", &key, &[PROBE_ARGUMENT]);
            all.push(need);
            if all.len() > 1 {
                continue;
            }
            let need = &mut all[0];
            for (command, arguments) in [
                ("HGET", &[PROBE_ARGUMENT][..]),
                ("HMGET", &[PROBE_ARGUMENT]),
                ("HKEYS", &[]),
                ("HSCAN", &["0"]),
                ("SCARD", &[]),
                ("SSCAN", &["0"]),
                ("ZRANGEBYSCORE", &["0", "1"]),
                ("HSET", &["field", "value", "field without a value"]),
                ("HDEL", &[PROBE_ARGUMENT]),
                ("EXPIRE", &[PROBE_ARGUMENT]),
                ("ZADD", &[PROBE_ARGUMENT, PROBE_ARGUMENT]),
                ("ZREM", &[PROBE_ARGUMENT]),
            ] {
                need.probe(command, &key, arguments);
            }
            need.probe_without_sending("SADD", &key)
                .probe_without_sending("HSETNX", &key)
                .probe_without_sending("UNLINK", &key)
                .probe_script(&key);
        }
        all
    }
}
