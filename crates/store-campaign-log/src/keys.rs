//! Every key of campaigns in Redis, the channel of their events, and the rights that both need.

use store_redis::{
    Family, FamilyTable,
    KeyType::{self, Hash, Set, Stream, String as Text},
    Need, PROBE_ARGUMENT,
    Removal::Expiry,
    Ttl::{Fixed, Required},
    Writer, escape_pattern,
};

/// How long an event stays in the log, in seconds.
pub const EVENT_AGE: u64 = 10 * 60;
/// The most events of a campaign in the log.
pub const MOST_EVENTS: usize = 10_000;
/// The most bytes of the payloads of a campaign in the log.
pub(crate) const MOST_BYTES: usize = 16 << 20;
/// The most runs and alerts of a campaign whose latest event is kept.
pub(crate) const MOST_LATEST: usize = 100;
/// The TTL of the log, in seconds: it lives on for a while without new events.
pub(crate) const LOG_TTL: u64 = EVENT_AGE + 60;
/// The TTL of ids, versions and latest events, in seconds.
pub(crate) const STATE_TTL: u64 = 24 * 60 * 60;

const fn campaign(name: &'static str, kind: KeyType, ttl: u64, sentence: &'static str) -> Family {
    Family {
        name,
        kind,
        ttl: Fixed(ttl),
        writer: Writer::State,
        reader: "campaign gateway",
        removal: Expiry,
        sentence,
    }
}

domain::table! {
    /// The families of campaigns, by their whole names, but for a prefix. The braces are a hash tag: one script writes all of them.
    FAMILIES: Family;
    pub(crate) FEED = campaign("tracker:campaigns:{log}:feed", Stream, LOG_TTL,
        "The last 10,000 events of all campaigns, which a gateway reads that was away.");
    pub(crate) IDS = campaign("tracker:campaigns:{log}:ids", Hash, STATE_TTL,
        "The last id of all events, and the last one up to which Redis has lost some.");
    pub(crate) LOG = campaign("tracker:campaigns:{log}:*:events", Stream, LOG_TTL,
        "The last events of a campaign, by their ids: at most 10,000, of the last 10 minutes.");
    pub(crate) STATE = campaign("tracker:campaigns:{log}:*:state", Hash, STATE_TTL,
        "The last id of a campaign, the last one that is no longer in its log, and the bytes of the log.");
    pub(crate) VERSIONS = campaign("tracker:campaigns:{log}:*:versions", Hash, STATE_TTL,
        "The last version of each run, job and alert of a campaign that became an event, and the event's id.");
    pub(crate) LATEST = campaign("tracker:campaigns:{log}:*:latest", Hash, STATE_TTL,
        "The latest event of each run of a campaign, which a client gets when it joins.");
    pub(crate) WATCHED = campaign("tracker:campaigns:{log}:watched", Set, STATE_TTL,
        "The runs that monitors watch: one that ends while no monitor looks is looked at by the next one.");
    pub(crate) SESSION = Family {
        ttl: Required,
        ..campaign("tracker:campaigns:session:*", Text, 0,
            "The rooms of a client's connection, which it finds again after it was away for a moment.")
    };
}

/// Every table of campaigns.
#[must_use]
pub fn key_families() -> Vec<FamilyTable> {
    vec![FamilyTable { title: "The log of campaign events", space: "", rows: FAMILIES.iter().collect() }]
}

/// The family of a key of campaigns, given without its prefix.
#[must_use]
pub fn family_of(key: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.matches(key))
}

/// The pattern of all keys here, without a prefix.
const ALL_KEYS: &str = "tracker:campaigns:*";
/// The channel of new events, without a prefix.
const CHANNEL: &str = "tracker:campaigns:events";

/// The keys under one prefix.
#[derive(Clone, Debug)]
pub struct CampaignKeys {
    prefix: String,
}

impl CampaignKeys {
    /// The keys behind a prefix, empty for none.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The channel on which every new event of all campaigns is published.
    #[must_use]
    pub fn channel(&self) -> String {
        self.named(CHANNEL)
    }

    /// The rights that a gateway needs. What this crate sends, by itself or in its script, has a line here.
    #[must_use]
    pub fn need(&self) -> Need {
        let pattern = match self.prefix.is_empty() {
            true => ALL_KEYS.to_owned(),
            false => format!("{}:{ALL_KEYS}", escape_pattern(&self.prefix)),
        };
        let (mut need, key) = (Need::new(pattern), self.named(&ALL_KEYS.replace('*', PROBE_ARGUMENT)));
        for (command, arguments) in [
            ("EXPIRE", &[PROBE_ARGUMENT][..]),
            ("PEXPIRE", &[PROBE_ARGUMENT]),
            ("GET", &[]),
            ("HDEL", &[PROBE_ARGUMENT]),
            ("HGET", &[PROBE_ARGUMENT]),
            ("HGETALL", &[]),
            ("HLEN", &[]),
            ("HMGET", &[PROBE_ARGUMENT]),
            ("HSET", &["field", "value", "field without a value"]),
            ("SADD", &[]),
            ("SMEMBERS", &[]),
            ("SREM", &[PROBE_ARGUMENT]),
            ("SET", &[PROBE_ARGUMENT, "PX", PROBE_ARGUMENT]),
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

    fn named(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}:{name}", self.prefix) }
    }

    /// The key of a family that has one key.
    pub(crate) fn one(&self, family: &Family) -> String {
        family.key(&self.prefix, &[])
    }

    pub(crate) fn of(&self, family: &Family, id: &str) -> String {
        family.key(&self.prefix, &[&id])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_the_log_have_one_hash_tag_and_every_key_has_a_ttl() {
        let keys = CampaignKeys::new("shadow");
        for family in FAMILIES {
            let key = if family.ids() == 0 { keys.one(family) } else { keys.of(family, "c1") };
            assert!(key.starts_with("shadow:tracker:campaigns:"), "{key}");
            assert_eq!(key.contains("{log}"), family.name != SESSION.name, "{key}");
            assert!(family.ttl.is_required(), "{key}");
            let of_key = key.strip_prefix("shadow:").and_then(family_of).map(|family| family.name);
            assert_eq!(of_key, Some(family.name));
        }
        assert_eq!(keys.channel(), "shadow:tracker:campaigns:events");
        assert_eq!(keys.need().pattern(), "shadow:tracker:campaigns:*");
    }
}
