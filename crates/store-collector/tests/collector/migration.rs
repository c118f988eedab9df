//! The migration of a market: what it copies, that it can be repeated, and that it changes nothing that the new market has.

use std::collections::BTreeMap;

use store_collector::{
    ChainKeys,
    migration::{CopiedKeys, Migrated, Migration, migrate},
};

use crate::scene::{Chain, MARKET, OTHER, market};

async fn run(chain: &Chain, days: u64, is_dry_run: bool) -> Migrated {
    let migration = Migration { from: market(MARKET), to: market(OTHER), days };
    let session = &mut chain.session().await;
    migrate(session, &ChainKeys::new(""), &migration, is_dry_run).await.expect("answered")
}

/// An old market with three days of 1,500 slots, and a new one that has counted a little.
async fn two_markets() -> Chain {
    let mut chain = Chain::new().await;
    let mut words = vec!["TotalNodesCount".to_owned(), "1500".to_owned()];
    for day in 5..=7_u64 {
        for slot in (1..=1_500_u64).step_by(2) {
            for kind in ["SlotSubmissionsKey", "EligibleSlotSubmissionsKey"] {
                words.extend([format!("{kind}.{MARKET}.{day}.{slot}"), (day * slot).to_string()]);
            }
        }
    }
    words.extend([format!("SlotSubmissionsKey.{OTHER}.7.3"), "1".to_owned()]);
    words.extend([format!("SlotSubmissionsKey.{OTHER}.7.5"), "35".to_owned()]);
    words.extend([format!("SlotSubmissionsKey.{MARKET}.7.9"), "many".to_owned()]);
    words.extend([format!("LastKnownDayKey.{MARKET}"), "7".to_owned()]);
    chain.scene.run::<()>("MSET", &words).await;
    chain.scene.run::<()>("SET", &[&format!("CurrentDayKey.{MARKET}"), "7", "EX", "500"]).await;
    chain.scene.run::<()>("SADD", &[&format!("EligibleNodeByDayKey.{MARKET}.7"), "1", "2"]).await;
    chain.scene.run::<()>("SADD", &[&format!("EligibleNodeByDayKey.{OTHER}.7"), "2", "3"]).await;
    chain.scene.run::<()>("SADD", &[&format!("DayRolloverEpochMarkerSetKey.{MARKET}"), "14", "15"]).await;
    let details = r#"{"LastKnownDay":"6","CurrentEpoch":14,"BufferEpoch":19}"#;
    chain.scene.run::<()>("SET", &[&format!("DayRolloverEpochMarkerDetailsKey.{MARKET}.14"), details]).await;
    chain
}

fn copied(migrated: &Migrated) -> BTreeMap<(&'static str, Option<u64>), (u64, u64, u64)> {
    let row = |row: &CopiedKeys| {
        ((row.key.split('.').next().unwrap_or(""), row.day), (row.found, row.copied, row.kept))
    };
    migrated.keys.iter().map(row).collect()
}

#[tokio::test]
async fn a_market_gets_what_it_does_not_have_of_the_last_days_and_a_repetition_changes_nothing() {
    let mut chain = two_markets().await;
    let before = chain.contents().await;
    let dry = run(&chain, 2, true).await;
    assert_eq!(chain.contents().await, before, "a dry run writes nothing");
    let done = run(&chain, 2, false).await;
    assert_eq!(copied(&dry), copied(&done));
    let expected = BTreeMap::from([
        (("SlotSubmissionsKey", Some(6)), (750, 750, 0)),
        // One differs, one is the same, one is broken.
        (("SlotSubmissionsKey", Some(7)), (750, 747, 1)),
        (("EligibleSlotSubmissionsKey", Some(6)), (750, 750, 0)),
        (("EligibleSlotSubmissionsKey", Some(7)), (750, 750, 0)),
        (("EligibleNodeByDayKey", Some(6)), (0, 0, 0)),
        (("EligibleNodeByDayKey", Some(7)), (2, 1, 0)),
        (("DayRolloverEpochMarkerDetailsKey", None), (1, 1, 0)),
        (("CurrentDayKey", None), (1, 1, 0)),
        (("LastKnownDayKey", None), (1, 1, 0)),
    ]);
    assert_eq!((copied(&done), done.today), (expected, Some(7)));
    let faults: Vec<_> = done.faults.iter().map(|fault| fault.key.clone()).collect();
    assert_eq!(faults, [format!("SlotSubmissionsKey.{MARKET}.7.9")]);
    let after = chain.contents().await;
    for (key, content) in &after {
        let Some(old) = key.contains(OTHER).then(|| key.replace(OTHER, MARKET)) else {
            assert_eq!(before.get(key), Some(content), "{key} of the old market was changed");
            continue;
        };
        let stayed = before.get(key).is_some_and(|before| before == content);
        let is_set =
            key.starts_with("EligibleNodeByDayKey") || key.starts_with("DayRolloverEpochMarkerSetKey");
        assert!(stayed || is_set || before.get(&old) == Some(content), "{key}: {content:?}");
    }
    let of = |key: &str| after[&format!("{key}.{OTHER}.7")].words.clone();
    assert_eq!(of("EligibleNodeByDayKey"), ["1", "2", "3"]);
    assert_eq!(after[&format!("DayRolloverEpochMarkerSetKey.{OTHER}")].words, ["14"]);
    let left: i64 = chain.scene.run("TTL", format!("CurrentDayKey.{OTHER}")).await;
    assert!((400..=500).contains(&left), "{left}");
    let again = run(&chain, 2, false).await;
    assert_eq!(again.keys.iter().map(|row| row.copied).sum::<u64>(), 0, "{again:?}");
    assert_eq!(chain.contents().await, after);
}

#[tokio::test]
async fn of_a_market_without_a_day_nothing_is_copied() {
    let mut chain = Chain::new().await;
    let done = run(&chain, 1, false).await;
    assert_eq!((done.today, done.keys), (None, vec![]));
    assert!(chain.contents().await.is_empty());
}

#[tokio::test]
async fn a_change_of_day_is_copied_with_what_was_counted_in_its_day() {
    let mut chain = two_markets().await;
    let done = run(&chain, 1, false).await;
    // Day 6 is not among the last days, and its rewards are due with epoch 19.
    assert_eq!(copied(&done)[&("EligibleSlotSubmissionsKey", Some(6))], (750, 750, 0));
    let many: u64 = chain.scene.run("GET", format!("EligibleSlotSubmissionsKey.{OTHER}.6.3")).await;
    assert_eq!(many, 18);
}

#[tokio::test]
async fn where_a_tracker_follows_the_new_market_no_change_of_day_is_copied_and_that_is_said() {
    let mut chain = two_markets().await;
    chain.scene.run::<()>("HSET", &[&format!("tracker:chain:{OTHER}:market"), "current", "9"]).await;
    let done = run(&chain, 1, false).await;
    assert_eq!(copied(&done)[&("DayRolloverEpochMarkerDetailsKey", None)], (0, 0, 0));
    let told = done.faults.iter().any(|fault| fault.detail.contains("followed already"));
    assert!(told, "{:?}", done.faults);
}

#[tokio::test]
async fn without_a_number_of_nodes_nothing_is_copied_not_even_the_day() {
    for count in ["many", "0", ""] {
        let mut chain = two_markets().await;
        chain.scene.run::<()>("SET", &["TotalNodesCount", count]).await;
        let before = chain.contents().await;
        let done = run(&chain, 1, false).await;
        assert!(done.keys.is_empty() && done.faults.len() == 1, "{count}: {done:?}");
        assert_eq!(chain.contents().await, before);
    }
}
