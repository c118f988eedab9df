//! Families of the keys of the chain's side, for whoever looks at keys without reading them.

use store_redis::{
    Family, KeyType, Life,
    Writer::{Datasets, Ledger, Producers},
    family,
};

/// By their whole names, but for a prefix. What the tracker writes without a TTL, others may have written with one.
static OF_CHAIN: [Family; 20] = {
    use KeyType::{Hash, List, Set, String};
    use Life::{Either, Expires, Stays};
    [
        family("BlockHashByNumberKey.*", String, Expires, Datasets),
        family("*.CurrentEpochID", String, Either, Datasets),
        family("EpochMarkerSetKey.*", Set, Either, Datasets),
        // Without a TTL while the window is open, with one afterwards.
        family("EpochMarkerDetailsKey.*.*", String, Either, Datasets),
        family("BatchCountKey.*.*", String, Expires, Datasets),
        family("BatchSubmissionsKey.*.*.*", String, Expires, Datasets),
        family("SlotSubmissionsKey.*.*.*", String, Either, Datasets),
        family("finalizerQueue", List, Either, Datasets),
        family("attestorQueue", List, Either, Datasets),
        family("SubmissionLimitTable", Hash, Either, Datasets),
        family("DaySizeTableKey", Hash, Either, Datasets),
        family("DailySnapshotQuotaTableKey", Hash, Either, Datasets),
        family("TotalNodesCount", String, Either, Datasets),
        family("ProtocolState.*.EpochsInADay", String, Either, Datasets),
        family("SnapshotCollector.*.*.*", Set, Either, Producers),
        family("tracker:chain:identity", String, Stays, Ledger),
        family("tracker:chain:checkpoint", String, Stays, Ledger),
        family("tracker:chain:deeds", Hash, Stays, Ledger),
        family("tracker:chain:kept", String, Stays, Ledger),
        // `windows` and `market` of each.
        family("tracker:chain:*:*", Hash, Stays, Ledger),
    ]
};

/// The family of a key of the collector, given without its prefix.
#[must_use]
pub fn family_of(key: &str) -> Option<&'static Family> {
    OF_CHAIN.iter().find(|family| is_named(key, family.name))
}

/// Whether a key has these segments; a `*` is any that is not empty.
fn is_named(key: &str, name: &str) -> bool {
    let separator = if name.starts_with("tracker:") { ':' } else { '.' };
    let (mut segments, mut names) = (key.split(separator), name.split(separator));
    loop {
        match (segments.next(), names.next()) {
            (None, None) => return true,
            (Some(segment), Some("*")) if !segment.is_empty() => {}
            (Some(segment), Some(name)) if segment == name => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::chain::ContractAddress;

    use super::*;
    use crate::ChainKeys;

    #[test]
    fn every_key_of_the_chains_side_has_its_family() {
        let (keys, market) = (ChainKeys::new(""), ContractAddress([7; 20]));
        let all = [
            keys.block_hash(7),
            keys.current_epoch(&market),
            keys.marked(&market),
            keys.details(&market, 7),
            keys.batch_count(&market, 7),
            keys.batch(&market, 7, 1),
            keys.slot(&market, 3, 42),
            keys.finalizer_queue(),
            keys.attestor_queue(),
            keys.submission_limits(),
            keys.day_sizes(),
            keys.quotas(),
            keys.nodes(),
            keys.epochs_in_a_day("0xAB"),
            ChainKeys::submitted(&market, 7, "0xcd"),
            keys.identity(),
            keys.checkpoint(),
            keys.deeds(),
            keys.kept(),
            keys.windows(&market),
            keys.market(&market),
        ];
        let names: BTreeSet<_> =
            all.iter().map(|key| family_of(key).unwrap_or_else(|| panic!("{key}")).name).collect();
        assert_eq!(names, OF_CHAIN.iter().map(|family| family.name).collect());
    }

    #[test]
    fn types_and_lives_are_those_of_the_contract() {
        let market = "0x21cb57c1f2352ad215a463dd867b838749cd3b8f";
        for (key, kind, life) in [
            ("BlockHashByNumberKey.123".to_owned(), KeyType::String, Life::Expires),
            (format!("EpochMarkerSetKey.{market}"), KeyType::Set, Life::Either),
            (format!("BatchCountKey.{market}.7"), KeyType::String, Life::Expires),
            (format!("BatchSubmissionsKey.{market}.7.1"), KeyType::String, Life::Expires),
            (format!("SnapshotCollector.{market}.7.0xab"), KeyType::Set, Life::Either),
            ("tracker:chain:checkpoint".to_owned(), KeyType::String, Life::Stays),
            (format!("tracker:chain:{market}:windows"), KeyType::Hash, Life::Stays),
        ] {
            let family = family_of(&key).expect("a family");
            assert_eq!((family.kind, family.life), (kind, life), "{key}");
        }
        for key in [
            "",
            ".",
            "BlockHashByNumberKey.",
            "BlockHashByNumberKey",
            "BatchCountKey.a",
            "a.b.CurrentEpochID",
        ] {
            assert_eq!(family_of(key), None, "{key}");
        }
    }
}
