//! The rights that the tracker needs: the keys of a market in every spelling, its ledger, the state index.
//!
//! A command that is missing here is not granted by the access list that the doctor prints. So whatever this crate sends to
//! Redis must have a line here.

use store_redis::{Access, NOBODY, Need, literal};

use crate::{
    datasets::{GAPS, STATS, SUMMARY},
    keys::{EPOCH_VALIDATORS, INDEX, IndexKeys, MarketKeys},
};

/// How a market's keys are read.
const READS: [(&str, &[&str]); 17] = [
    ("GET", &[]),
    ("EXISTS", &[]),
    ("LLEN", &[]),
    ("SCARD", &[]),
    ("SMEMBERS", &[]),
    ("SUNION", &[]),
    ("SMISMEMBER", &[NOBODY]),
    ("HGET", &[NOBODY]),
    ("HGETALL", &[]),
    ("HMGET", &[NOBODY]),
    ("HKEYS", &[]),
    ("HLEN", &[]),
    ("HEXISTS", &[NOBODY]),
    ("ZCARD", &[]),
    ("ZCOUNT", &["0", "1"]),
    ("ZRANGEBYSCORE", &["0", "1"]),
    ("ZREVRANGE", &["0", "0"]),
];

fn read(need: &mut Need, key: &str) {
    for (command, arguments) in READS {
        need.sent(command, key, arguments);
    }
}

impl MarketKeys {
    /// The rights that the tracker needs to serve this market.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        let access = if self.is_shadow() { Access::Read } else { Access::Write };
        let mut all = Vec::new();
        for input in self.inputs().chain(self.second()) {
            let mut need = Need::new(format!("{}:*", literal(input.space())), access);
            read(&mut need, &input.unused());
            if !self.is_shadow() {
                need.sent("EVAL", &input.unused(), &[]);
                need.sent("ZREMRANGEBYRANK", &input.epochs_timeline(), &[NOBODY, NOBODY]);
                need.sent("EXPIRE", &input.vpa_stats(), &[NOBODY]);
                need.script(&input.unused());
            }
            all.push(need);
        }
        for output in self.outputs() {
            let pattern = match self.prefix() {
                "" => format!("{}:*", literal(output.space())),
                prefix => format!("{}*", literal(prefix)),
            };
            let mut need = Need::new(pattern, Access::Write);
            let [summary, stats, gaps] =
                [&SUMMARY, &STATS, &GAPS].map(|dataset| output.dataset(dataset, None));
            need.sent("SET", &summary, &[NOBODY, "EX", NOBODY]);
            need.sent("HSET", &stats, &["field", "value", "field without a value"]);
            need.sent("DEL", &output.unused(), &[]);
            need.sent("EXPIRE", &gaps, &[NOBODY]);
            need.sent("ZADD", &gaps, &[NOBODY, NOBODY]);
            need.sent("ZREM", &gaps, &[NOBODY]);
            need.sent("ZREMRANGEBYSCORE", &gaps, &[NOBODY, NOBODY]);
            all.push(need);
        }
        all.push(self.ledger_need());
        all
    }

    /// The ledger, and what its scripts do with it.
    fn ledger_need(&self) -> Need {
        let pattern = match self.prefix() {
            "" => {
                let unused = self.unused();
                format!("{}:*", literal(unused.strip_suffix(":unused").unwrap_or(&unused)))
            }
            prefix => format!("{}*", literal(prefix)),
        };
        let (mut need, unused) = (Need::new(pattern, Access::Write), self.unused());
        read(&mut need, &unused);
        need.sent("HSCAN", &unused, &["0"]);
        need.sent("TYPE", &unused, &[]);
        need.sent("HSET", &self.meta(), &["field", "value", "field without a value"]);
        need.sent("HINCRBY", &self.sums(), &["field", NOBODY]);
        need.sent("HDEL", &self.open(), &[NOBODY]);
        need.sent("ZADD", &self.opened(), &[NOBODY, NOBODY]);
        need.sent("ZREMRANGEBYRANK", &self.opened(), &[NOBODY, NOBODY]);
        need.sent("EXPIRE", &unused, &[NOBODY]);
        need.asked("SADD", &unused);
        need.script(&self.open());
        need
    }
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
            space => vec![format!("{}:*", literal(space))],
        };
        let mut all = Vec::new();
        for pattern in patterns {
            // Exact names are keys that exist: nothing is sent that could change them.
            let key = match pattern.strip_suffix('*') {
                Some(_) if !space.is_empty() => format!("{space}:tracker:unused"),
                _ => pattern.replace('*', NOBODY),
            };
            let mut need = Need::new(pattern, Access::Write);
            need.sent("SREM", &key, &[NOBODY]);
            all.push(need);
            if all.len() > 1 {
                continue;
            }
            let need = &mut all[0];
            for (command, arguments) in [
                ("HGET", &[NOBODY][..]),
                ("HMGET", &[NOBODY]),
                ("HKEYS", &[]),
                ("HSCAN", &["0"]),
                ("SCARD", &[]),
                ("ZRANGEBYSCORE", &["0", "1"]),
                ("HSET", &["field", "value", "field without a value"]),
                ("HDEL", &[NOBODY]),
                ("EXPIRE", &[NOBODY]),
                ("ZADD", &[NOBODY, NOBODY]),
                ("ZREM", &[NOBODY]),
            ] {
                need.sent(command, &key, arguments);
            }
            need.asked("SADD", &key).asked("HSETNX", &key).asked("UNLINK", &key).script(&key);
        }
        all
    }
}
