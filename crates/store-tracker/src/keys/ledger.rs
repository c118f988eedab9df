//! The keys of a market's ledger. They share one hash slot: the space is `{P:M}`, braces included.

use store_redis::{
    Age, Family,
    KeyType::{self, Hash, Set, Zset},
    Removal::{self, Actor, Bounded, Expiry, Pruned},
    Retention,
    Ttl::{self, Fixed, Forbidden},
    Writer,
};

use domain::tracker::GAP_SHOWN;

use super::MarketKeys;

/// How long the times of sealed epochs are kept, in seconds: the statistics look back 24 hours.
const TIMES_KEPT: u64 = 30 * 3600;
/// How long the sums and the validators of an hour are kept, in seconds: as long as its statistics are read, and an hour more.
pub(crate) const HOURS_KEPT: u64 = 50 * 3600;
/// How long the keys of an import live that was broken off, in seconds.
pub(crate) const STAGED_KEPT: u64 = 600;

const fn ledger(
    name: &'static str,
    kind: KeyType,
    ttl: Ttl,
    removal: Removal,
    sentence: &'static str,
) -> Family {
    Family { name, kind, ttl, writer: Writer::State, reader: "aggregator", removal, sentence }
}

/// A key of a ledger that is being imported; its id is that of the import, with the name of the part that it becomes.
const fn staged(name: &'static str, kind: KeyType) -> Family {
    let sentence = "A part of a ledger that `ledger import` writes, until all parts take effect in one step.";
    Family { reader: "ledger import", ..ledger(name, kind, Fixed(STAGED_KEPT), Expiry, sentence) }
}

domain::table! {
    /// What the tracker keeps of a market for itself, behind `{P:M}:`.
    pub(crate) LEDGER: Family;
    pub(crate) OPEN = ledger("tracker:open", Hash, Forbidden, Actor { name: "aggregator", age: None },
        "The entries of the epochs that are not sealed, by their ids; the aggregator seals them.");
    pub(crate) SEALED = ledger("tracker:sealed", Hash, Forbidden, Actor { name: "pruner", age: Some(Age::Configured(Retention::Ledger)) },
        "The entries of the sealed epochs, by their ids.");
    pub(crate) SUMS = ledger("tracker:sums", Hash, Forbidden, Bounded, "The sums of all sealed epochs.");
    pub(crate) META = ledger("tracker:meta", Hash, Forbidden, Bounded,
        "Schema version, birth, measurement window, floor, and marks of the last pass.");
    OPENED = ledger("tracker:opened", Zset, Forbidden, Pruned(Age::Seconds(TIMES_KEPT)),
        "Sealed epochs by the time of their opening.");
    ENDED = ledger("tracker:ended", Zset, Forbidden, Pruned(Age::Seconds(GAP_SHOWN)),
        "Sealed epochs by the end of their windows: those of the last hour may have a gap.");
    LOCAL = ledger("tracker:local", Zset, Forbidden, Pruned(Age::Seconds(TIMES_KEPT)),
        "Sealed epochs by the time of their local batch.");
    AGGREGATED = ledger("tracker:aggregated", Zset, Forbidden, Pruned(Age::Seconds(TIMES_KEPT)),
        "Sealed epochs by the time of their aggregated batch.");
    LISTED = ledger("tracker:listed", Zset, Forbidden, Pruned(Age::Seconds(TIMES_KEPT)),
        "The same, where the validators of the aggregated batch are known.");
    INCLUDED = ledger("tracker:included", Zset, Forbidden, Pruned(Age::Seconds(TIMES_KEPT)),
        "The same, where they include the own validator.");
    pub(crate) HOURS = ledger("tracker:hours", Hash, Forbidden, Bounded,
        "The sums of sealed epochs by hours: `HOUR:epochs`, `HOUR:batches`, `HOUR:submissions`.");
    pub(crate) HOUR_VALIDATORS = ledger("tracker:validators:*", Set, Fixed(HOURS_KEPT), Expiry,
        "The validators in the aggregated batches of an hour's sealed epochs.");
    pub(crate) STAGED_HASH = staged("tracker:import:hash:*", Hash);
    pub(crate) STAGED_ZSET = staged("tracker:import:zset:*", Zset);
    pub(crate) STAGED_SET = staged("tracker:import:set:*", Set);
}

impl MarketKeys {
    fn of_family(&self, family: &Family) -> String {
        family.key(&self.ledger, &[])
    }

    /// A key of the ledger that nobody uses.
    pub(crate) fn unused(&self) -> String {
        format!("{}:tracker:unused", self.ledger)
    }

    /// The keys of the ledger but those of single hours, in the order in which its script takes them.
    pub(crate) fn of_ledger(&self) -> [String; 11] {
        let all = [OPEN, SEALED, SUMS, META, HOURS, ENDED, OPENED, LOCAL, AGGREGATED, LISTED, INCLUDED];
        all.map(|family| self.of_family(&family))
    }

    pub(crate) fn open(&self) -> String {
        self.of_family(&OPEN)
    }

    pub(crate) fn sealed(&self) -> String {
        self.of_family(&SEALED)
    }

    pub(crate) fn sums(&self) -> String {
        self.of_family(&SUMS)
    }

    pub(crate) fn meta(&self) -> String {
        self.of_family(&META)
    }

    pub(crate) fn opened(&self) -> String {
        self.of_family(&OPENED)
    }

    pub(crate) fn aggregated(&self) -> String {
        self.of_family(&AGGREGATED)
    }

    /// The times of sealed epochs that are counted over the last day: opened, aggregated, listed, included.
    pub(crate) fn of_day(&self) -> [String; 4] {
        [OPENED, AGGREGATED, LISTED, INCLUDED].map(|family| self.of_family(&family))
    }

    pub(crate) fn local(&self) -> String {
        self.of_family(&LOCAL)
    }

    pub(crate) fn listed(&self) -> String {
        self.of_family(&LISTED)
    }

    pub(crate) fn ended(&self) -> String {
        self.of_family(&ENDED)
    }

    pub(crate) fn hours(&self) -> String {
        self.of_family(&HOURS)
    }

    /// The key of an hour's validators.
    pub(crate) fn hour_validators(&self, hour: u64) -> String {
        HOUR_VALIDATORS.key(&self.ledger, &[&hour])
    }

    /// The same without the hour and the colon before it: the ledger's script adds them.
    pub(crate) fn validators_prefix(&self) -> String {
        let key = HOUR_VALIDATORS.key(&self.ledger, &[&""]);
        key.strip_suffix(':').unwrap_or(&key).to_owned()
    }

    /// The keys of the ledger that the pruner takes members from.
    pub(crate) fn pruned_of_ledger(&self) -> impl Iterator<Item = (&'static Family, String)> {
        let pruned = LEDGER.iter().filter(|family| matches!(family.removal, Pruned(_)));
        pruned.map(|family| (family, self.of_family(family)))
    }
}
