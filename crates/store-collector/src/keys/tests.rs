//! The families, and the names that other programs expect.

use std::fmt::Display;

use super::*;

#[test]
fn every_key_has_the_family_that_it_is_built_from() {
    for family in FAMILIES {
        let ids: [&dyn Display; 3] = [&"0xab", &7, &"0xcd"];
        let key = family.key("", &ids[..family.ids()]);
        assert_eq!(family_of(&key), Some(family), "{key}");
    }
    let tables = key_families();
    assert_eq!(tables.iter().map(|table| table.rows.len()).sum::<usize>(), FAMILIES.len());
}

#[test]
fn the_keys_that_other_programs_read_have_the_names_types_and_ttls_that_these_expect() {
    let (keys, market) = (ChainKeys::new(""), ContractAddress([7; 20]));
    let lower = market.lower();
    for (key, name, kind, ttl) in [
        (keys.block_hash(123), "BlockHashByNumberKey.123".to_owned(), KeyType::String, Fixed(1_800)),
        (keys.current_epoch(&market), format!("{lower}.CurrentEpochID"), KeyType::String, Optional),
        (keys.marked(&market), format!("EpochMarkerSetKey.{lower}"), KeyType::Set, Optional),
        (keys.details(&market, 7), format!("EpochMarkerDetailsKey.{lower}.7"), KeyType::String, Optional),
        (keys.batch_count(&market, 7), format!("BatchCountKey.{lower}.7"), KeyType::String, Fixed(86_400)),
        (keys.batch(&market, 7, 1), format!("BatchSubmissionsKey.{lower}.7.1"), KeyType::String, Fixed(300)),
        (keys.slot(&market, 3, 42), format!("SlotSubmissionsKey.{lower}.3.42"), KeyType::String, Optional),
        (
            ChainKeys::submitted(&market, 7, "0xab"),
            format!("SnapshotCollector.{lower}.7.0xab"),
            KeyType::Set,
            Optional,
        ),
        (keys.current_day(&market), format!("CurrentDayKey.{lower}"), KeyType::String, Optional),
        (keys.last_known_day(&market), format!("LastKnownDayKey.{lower}"), KeyType::String, Optional),
        (keys.zero_count(&market, 3), format!("ZeroCountKey.{lower}.3"), KeyType::String, Fixed(86_400)),
        (keys.rolled_over(&market), format!("DayRolloverEpochMarkerSetKey.{lower}"), KeyType::Set, Optional),
        (
            keys.rollover_details(&market, 7),
            format!("DayRolloverEpochMarkerDetailsKey.{lower}.7"),
            KeyType::String,
            Optional,
        ),
        (
            ChainKeys::eligible_slot(&market, 3, 42),
            format!("EligibleSlotSubmissionsKey.{lower}.3.42"),
            KeyType::String,
            Optional,
        ),
        (
            ChainKeys::eligible_nodes(&market, 3),
            format!("EligibleNodeByDayKey.{lower}.3"),
            KeyType::Set,
            Optional,
        ),
        (keys.followed(), "tracker:chain:followed".to_owned(), KeyType::String, Forbidden),
        (keys.windows(&market), format!("tracker:chain:{lower}:windows"), KeyType::Hash, Forbidden),
        (keys.market(&market), format!("tracker:chain:{lower}:market"), KeyType::Hash, Forbidden),
    ] {
        assert_eq!(key, name);
        let family = family_of(&key).expect("a family");
        assert_eq!((family.kind, family.ttl), (kind, ttl), "{key}");
    }
    assert_eq!(ChainKeys::new("s").checkpoint(), "s:tracker:chain:checkpoint");
}

#[test]
fn names_of_other_programs_have_no_family() {
    for key in [
        "",
        ".",
        "BlockHashByNumberKey.",
        "BlockHashByNumberKey",
        "BatchCountKey.a",
        "a.b.CurrentEpochID",
        "tracker:chain::windows",
    ] {
        assert_eq!(family_of(key), None, "{key}");
    }
}
