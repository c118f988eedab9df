//! The rights that the tracker needs, by the tables of key families: it reads all keys of a market in every spelling, and changes only
//! the families that it prunes, updates or writes, its ledger, and the state index.
//!
//! A command that is missing here is not granted by the access list that the doctor prints. So whatever this crate sends to
//! Redis must have a line here.

use store_redis::{Family, KeyType, Need, PROBE_ARGUMENT, Removal, escape_pattern};

use crate::{
    datasets::DATASETS,
    keys::{
        ACTIVE, EPOCH_STATE, EPOCH_VALIDATORS, INDEX, INPUTS, IndexKeys, MarketKeys, PRIORITIES, VPA_STATS,
    },
};

/// How a market's keys are read.
const READS: [(&str, &[&str]); 23] = [
    ("GET", &[]),
    ("GETRANGE", &["0", "1"]),
    ("EXISTS", &[]),
    ("LLEN", &[]),
    ("SCARD", &[]),
    ("SMEMBERS", &[]),
    ("SISMEMBER", &[PROBE_ARGUMENT]),
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

/// Arguments of a `SET` that the server refuses.
const SET: &[&str] = &[PROBE_ARGUMENT, "EX", PROBE_ARGUMENT];
/// The same of `HSET`.
const HSET: &[&str] = &["field", "value", "field without a value"];
/// The same of `ZADD` and `ZREMRANGEBYRANK`.
const TWO_WORDS: &[&str] = &[PROBE_ARGUMENT, PROBE_ARGUMENT];

fn read(need: &mut Need, key: &str) {
    for (command, arguments) in READS {
        need.probe(command, key, arguments);
    }
}

/// The need of one family's keys in a space, as yet without probes, and a key to probe with. Where the family has ids nobody uses it;
/// else it may exist, so that nothing may be sent that could change it.
fn of_family(space: &str, family: &Family) -> (Need, String) {
    let pattern = match space {
        "" => family.name.to_owned(),
        space => format!("{}:{}", escape_pattern(space), family.name),
    };
    let ids = vec![&PROBE_ARGUMENT as &dyn std::fmt::Display; family.ids()];
    (Need::new(pattern), family.key(space, &ids))
}

impl MarketKeys {
    /// The rights that the tracker needs to serve this market.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        let mut all = Vec::new();
        for (space, unused) in self.spaces_read() {
            let mut need = Need::new(format!("{}:*", escape_pattern(&space)));
            read(&mut need, &unused);
            all.push(need);
        }
        // A shadow changes no key of the producers.
        if !self.is_shadow() {
            all.extend(self.changed_inputs());
        }
        for output in self.outputs() {
            all.extend(DATASETS.iter().flat_map(|dataset| dataset_needs(output.space(), &dataset.family)));
        }
        all.push(self.ledger_need());
        all.push(self.transfer_need());
        all
    }

    /// A key of the producers that the tracker reads and never changes.
    #[must_use]
    pub fn never_changed(&self) -> String {
        self.preferred().queue()
    }

    /// The spaces whose keys are read, with a key in each that nobody uses.
    fn spaces_read(&self) -> Vec<(String, String)> {
        let inputs =
            self.inputs().chain(self.second()).map(|input| (input.space().to_owned(), input.unused()));
        let mut all: Vec<(String, String)> = inputs.collect();
        // Outputs without a prefix are in the spaces of the inputs.
        if self.is_shadow() {
            all.push((self.prefix().to_owned(), self.unused()));
        }
        all
    }

    /// The producers' keys that the tracker changes: it prunes timelines, counts the submissions of an open epoch, and renews the TTL of
    /// what it shows of priorities.
    fn changed_inputs(&self) -> Vec<Need> {
        let inputs = self.inputs().flat_map(|input| INPUTS.iter().map(move |family| (input, family)));
        let priorities =
            self.priorities().flat_map(|input| PRIORITIES.iter().map(move |family| (input, family)));
        let needs = inputs.chain(priorities).filter_map(|(input, family)| {
            let (mut need, key) = of_family(input.space(), family);
            if matches!(family.removal, Removal::Pruned(_)) {
                need.probe("ZREMRANGEBYRANK", &key, TWO_WORDS).probe_script(&key);
            } else if *family == EPOCH_STATE {
                need.probe("HSET", &key, HSET).probe_script(&key);
            } else if *family == VPA_STATS {
                need.probe("EXPIRE", &key, &[PROBE_ARGUMENT]);
            } else {
                return None;
            }
            Some(need)
        });
        needs.collect()
    }

    /// What `ledger` does with a ledger beside what the service does.
    fn transfer_need(&self) -> Need {
        let (mut need, unused) = (Need::new(self.ledger_pattern()).for_operators(), self.unused());
        need.probe_rename(&unused)
            .probe("PERSIST", &unused, &[])
            .probe("PEXPIRE", &unused, &[PROBE_ARGUMENT])
            .probe("PTTL", &unused, &[])
            .probe("UNLINK", &unused, &[]);
        need
    }

    fn ledger_pattern(&self) -> String {
        let unused = self.unused();
        format!("{}:*", escape_pattern(unused.strip_suffix(":unused").unwrap_or(&unused)))
    }

    /// The rights that the pruning of `epochs:active` needs beside these.
    #[must_use]
    pub fn needs_of_active(&self) -> Vec<Need> {
        let of_input = |space: &str| {
            let (mut need, key) = of_family(space, &ACTIVE);
            need.probe("SSCAN", &key, &["0"]).probe("SREM", &key, &[PROBE_ARGUMENT]).probe_script(&key);
            need
        };
        // A shadow removes nothing.
        let inputs = self.inputs().filter(|_| !self.is_shadow());
        inputs.map(|input| of_input(input.space())).collect()
    }

    /// The ledger, and what its scripts do with it.
    fn ledger_need(&self) -> Need {
        let (mut need, unused) = (Need::new(self.ledger_pattern()), self.unused());
        read(&mut need, &unused);
        need.probe("HSCAN", &unused, &["0"]);
        need.probe("TYPE", &unused, &[]);
        need.probe("HSET", &self.meta(), HSET);
        need.probe("HINCRBY", &self.sums(), &["field", PROBE_ARGUMENT]);
        need.probe("HDEL", &self.open(), &[PROBE_ARGUMENT]);
        need.probe("ZADD", &self.opened(), TWO_WORDS);
        need.probe("ZREM", &self.opened(), &[PROBE_ARGUMENT]);
        need.probe("ZREMRANGEBYRANK", &self.opened(), TWO_WORDS);
        need.probe("EXPIRE", &unused, &[PROBE_ARGUMENT]);
        need.probe_without_sending("SADD", &unused);
        // It names no key.
        need.probe_without_sending("UNSUBSCRIBE", &unused);
        need.probe_script(&self.open());
        need
    }
}

/// What writes a dataset, and what `ledger remove` needs to delete it.
fn dataset_needs(space: &str, family: &Family) -> [Need; 2] {
    let (mut need, key) = of_family(space, family);
    let (removal, _) = of_family(space, family);
    let mut removal = removal.for_operators();
    removal.probe_without_sending("UNLINK", &key);
    match family.kind {
        KeyType::String => need.probe("SET", &key, SET),
        KeyType::Hash => need.probe_without_sending("DEL", &key).probe("HSET", &key, HSET).probe(
            "EXPIRE",
            &key,
            &[PROBE_ARGUMENT],
        ),
        _ => need
            .probe_without_sending("DEL", &key)
            .probe("ZADD", &key, TWO_WORDS)
            .probe("ZREM", &key, &[PROBE_ARGUMENT])
            .probe("EXPIRE", &key, &[PROBE_ARGUMENT]),
    };
    [need, removal]
}

/// What `doctor` asks of a server beside the rights for its keys.
#[must_use]
pub fn need_of_doctor() -> Need {
    let mut need = Need::new("").for_operators();
    need.probe_keyless("SCAN", &["0", "COUNT", "1"]);
    need.probe_keyless("DBSIZE", &[]);
    need.probe_keyless("PUBSUB", &["NUMSUB"]);
    need
}

/// The right that the finder needs beside those of its markets: to read the names of all keys.
#[must_use]
pub fn need_of_finder() -> Need {
    let mut scan = Need::new("");
    scan.probe_keyless("SCAN", &["0", "COUNT", "1"]);
    scan
}

impl IndexKeys {
    /// The rights that the indexer needs to keep this index.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        let space = self.space();
        let validators = Some(&EPOCH_VALIDATORS).filter(|_| !self.is_namespaced());
        INDEX.iter().chain(validators).flat_map(|family| index_needs(space, family)).collect()
    }
}

/// What keeps a key of an index, and what `ledger remove --index` needs to delete it, where that is more.
fn index_needs(space: &str, family: &Family) -> Vec<Need> {
    let (mut need, key) = of_family(space, family);
    let has_ids = family.ids() > 0;
    match family.kind {
        KeyType::Zset => {
            need.probe("ZCARD", &key, &[]).probe("ZSCORE", &key, &[PROBE_ARGUMENT]);
            need.probe("ZRANGEBYSCORE", &key, &["0", "1"]).probe("ZADD", &key, TWO_WORDS);
            need.probe("ZREM", &key, &[PROBE_ARGUMENT]).probe_script(&key);
        }
        KeyType::Set => {
            need.probe("SCARD", &key, &[]).probe("SSCAN", &key, &["0"]);
            need.probe_without_sending("SADD", &key).probe("SREM", &key, &[PROBE_ARGUMENT]);
        }
        _ => {
            need.probe("HGET", &key, &[PROBE_ARGUMENT]).probe("HMGET", &key, &[PROBE_ARGUMENT]);
            need.probe("HKEYS", &key, &[]).probe("HLEN", &key, &[]).probe("HEXISTS", &key, &[PROBE_ARGUMENT]);
            need.probe("HSCAN", &key, &["0"]).probe("EXISTS", &key, &[]).probe("HSET", &key, HSET);
            need.probe_script(&key);
            // Only the hashes that hold all validators lose fields.
            if !has_ids {
                need.probe("HDEL", &key, &[PROBE_ARGUMENT]);
            }
        }
    }
    if has_ids {
        need.probe("EXPIRE", &key, &[PROBE_ARGUMENT]).probe("UNLINK", &key, &[]);
        return vec![need];
    }
    let mut removal = Need::new(need.pattern()).for_operators();
    removal.probe_without_sending("UNLINK", &key);
    vec![need, removal]
}
