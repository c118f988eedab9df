//! The rights that the tracker needs: the keys of a market in every spelling, its ledger, the state index.
//!
//! A command that is missing here is not granted by the access list that the doctor prints. So whatever this crate sends to
//! Redis must have a line here.

use store_redis::{Access, NOBODY, Need, literal};

use crate::keys::{IndexKeys, MarketKeys};

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

/// The keys of a state index without a market in its names.
const INDEX: [&str; 22] = [
    "metrics:*:by_time",
    "epoch:*:submissions",
    "epoch:*:validators",
    "validator:*:epochs",
    "validator:*:batches",
    "validator:*:stats",
    "project:*:submissions",
    "snapshotter:*:submissions",
    "state:epoch:*",
    "state:submission:*",
    "state:validator:*",
    "validators:last_seen",
    "validators:peer_mapping",
    "pending:epochs",
    "active:epochs",
    "completed:epochs",
    "active:submissions",
    "rejected:submissions",
    "finalized:submissions",
    "online:validators",
    "active:validators",
    "offline:validators",
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
            need.sent("SET", &output.summary(), &[NOBODY, "EX", NOBODY]);
            need.sent("HSET", &output.stats(), &["field", "value", "field without a value"]);
            need.sent("DEL", &output.unused(), &[]);
            need.sent("EXPIRE", &output.gaps(), &[NOBODY]);
            need.sent("ZADD", &output.gaps(), &[NOBODY, NOBODY]);
            need.sent("ZREM", &output.gaps(), &[NOBODY]);
            need.sent("ZREMRANGEBYSCORE", &output.gaps(), &[NOBODY, NOBODY]);
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
        let before = self.before();
        let patterns: Vec<String> = match before {
            "" => INDEX.iter().map(|pattern| (*pattern).to_owned()).collect(),
            before => vec![format!("{}*", literal(before))],
        };
        let mut all = Vec::new();
        for pattern in patterns {
            // Exact names are keys that exist: nothing is sent that could change them.
            let key = match pattern.strip_suffix('*') {
                Some(_) if !before.is_empty() => format!("{before}tracker:unused"),
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
