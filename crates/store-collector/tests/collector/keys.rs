//! The keys that other programs read, literally as documented.

use serde_json::{Value, json};
use store_collector::MarketTables;

use crate::scene::{CHECKSUM, Chain, MARKET, OTHER, arranged, day, hash, market, released, submitted};

const HALF_AN_HOUR: i64 = 1_800;

async fn json(chain: &mut Chain, command: &str, key: &str) -> Option<Value> {
    let text: Option<String> = chain.scene.run(command, key).await;
    text.map(|text| serde_json::from_str(&text).expect("JSON"))
}

/// Whether a key expires within this many seconds, and not much before.
async fn lives(chain: &mut Chain, key: &str, seconds: i64) {
    let left: i64 = chain.scene.run("TTL", key).await;
    assert!((seconds - 60..=seconds).contains(&left), "{key} lives for {left} s, not {seconds}");
}

#[tokio::test]
async fn accepted_blocks_leave_their_hashes_the_current_epoch_and_the_markers() {
    let mut chain = Chain::new().await;
    chain.accept(9, 0, vec![released(MARKET, 7, 6)]).await;
    for number in 1..=9_u64 {
        let key = format!("BlockHashByNumberKey.{number}");
        assert_eq!(chain.scene.run::<String>("GET", &key).await, hash(number, 0).to_string());
        lives(&mut chain, &key, HALF_AN_HOUR).await;
    }
    let current = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed.CurrentEpochID";
    assert_eq!(chain.scene.run::<String>("GET", current).await, "7");
    let marked = "EpochMarkerSetKey.0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed";
    assert_eq!(chain.scene.run::<Vec<String>>("SMEMBERS", marked).await, ["7"]);
    let details = "EpochMarkerDetailsKey.0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed.7";
    // Twenty seconds of two seconds a block.
    let expected = r#"{"EpochReleaseBlockNumber":6,"SubmissionLimitBlockNumber":16}"#;
    assert_eq!(chain.scene.run::<String>("GET", details).await, expected);
    assert_eq!(chain.scene.run::<i64>("TTL", details).await, -1, "an open window outlives any pause");
    let untouched = [format!("{OTHER}.CurrentEpochID"), format!("EpochMarkerSetKey.{OTHER}")];
    assert_eq!(chain.scene.run::<u64>("EXISTS", &untouched).await, 0);
}

#[tokio::test]
async fn a_hand_over_queues_batches_in_order_and_writes_every_documented_key() {
    let mut chain = Chain::new().await;
    chain.accept(9, 0, vec![day(MARKET, 3, 5), released(MARKET, 7, 6), day(MARKET, 4, 7)]).await;
    chain.submit(MARKET, 7, 6, 0, &[("b:pair", 42), ("a:pair", 42)]).await;
    chain.submit(MARKET, 7, 16, 0, &[("c:pair", 43)]).await;
    // Neither before the release nor after the limit.
    chain.submit(MARKET, 7, 5, 0, &[("x:pair", 1)]).await;
    chain.submit(MARKET, 7, 17, 0, &[("x:pair", 1)]).await;
    chain.accept(17, 0, vec![]).await;
    let [closed] = chain.closed(MARKET).await.try_into().expect("one");
    let inputs = chain.inputs(&closed).await;
    assert_eq!((&inputs.missing, &inputs.faults), (&vec![], &vec![]));
    let arranged = arranged(&closed, inputs, 2);
    let _ = chain.hand_over(&closed, &arranged).await.expect("handed over");

    let key = |project: &str, slot: u64| format!("{MARKET}.7.{project}.{slot}");
    let first = json!({ "a:pair": [key("a:pair", 42)], "b:pair": [key("b:pair", 42)] });
    let second = json!({ "c:pair": [key("c:pair", 43)] });
    for (number, batch) in [(1, &first), (2, &second)] {
        let expected =
            json!({ "DataMarketAddress": CHECKSUM, "EpochID": 7, "BatchID": number, "Batch": batch });
        assert_eq!(json(&mut chain, "RPOP", "finalizerQueue").await, Some(expected));
        let of_batch = format!("BatchSubmissionsKey.{MARKET}.7.{number}");
        lives(&mut chain, &of_batch, 300).await;
        assert_eq!(json(&mut chain, "GET", &of_batch).await.as_ref(), Some(batch));
    }
    assert_eq!(json(&mut chain, "RPOP", "finalizerQueue").await, None);
    let count = format!("BatchCountKey.{MARKET}.7");
    assert_eq!(chain.scene.run::<String>("GET", &count).await, "2");
    lives(&mut chain, &count, 86_400).await;
    // The day at the release, not the one at the end.
    let slots = [("3.42", Some("2")), ("3.43", Some("1")), ("4.42", None), ("3.1", None)];
    for (slot, submissions) in slots {
        let counted: Option<String> =
            chain.scene.run("GET", format!("SlotSubmissionsKey.{MARKET}.{slot}")).await;
        assert_eq!(counted.as_deref(), submissions, "{slot}");
    }
    assert!(!chain.scene.run::<bool>("EXISTS", format!("EpochMarkerSetKey.{MARKET}")).await);
    let details = format!("EpochMarkerDetailsKey.{MARKET}.7");
    lives(&mut chain, &details, HALF_AN_HOUR).await;
    let expected = json!({ "EpochReleaseBlockNumber": 6, "SubmissionLimitBlockNumber": 16 });
    assert_eq!(json(&mut chain, "GET", &details).await, Some(expected));
    let after = chain.load().await.state;
    assert!(after.markets[&market(MARKET)].done.contains(7));
    assert!(after.markets[&market(MARKET)].windows.is_empty());
}

#[tokio::test]
async fn the_estimate_of_the_last_block_is_corrected_when_the_window_closes() {
    let mut chain = Chain::new().await;
    chain.rules.block_time = 4.0;
    chain.accept(6, 0, vec![released(MARKET, 7, 6)]).await;
    let details = format!("EpochMarkerDetailsKey.{MARKET}.7");
    for (to, limit) in [(15, 11), (20, 16)] {
        chain.accept(to, 0, vec![]).await;
        let expected = json!({ "EpochReleaseBlockNumber": 6, "SubmissionLimitBlockNumber": limit });
        assert_eq!(json(&mut chain, "GET", &details).await, Some(expected));
    }
}

#[tokio::test]
async fn an_epoch_without_submissions_has_no_batches_and_a_count_that_says_so() {
    let mut chain = Chain::new().await;
    chain.accept(17, 0, vec![released(MARKET, 7, 6)]).await;
    chain.hand_over_all().await;
    assert_eq!(chain.scene.run::<String>("GET", format!("BatchCountKey.{MARKET}.7")).await, "0");
    assert!(!chain.scene.run::<bool>("EXISTS", "finalizerQueue").await);
}

#[tokio::test]
async fn an_epoch_that_is_given_up_ends_without_batches_and_without_a_count() {
    let mut chain = Chain::new().await;
    chain.accept(17, 0, vec![released(MARKET, 7, 6)]).await;
    let [closed] = chain.closed(MARKET).await.try_into().expect("one");
    let _ = chain.give_up(&closed).await.expect("ended");
    assert!(chain.load().await.state.markets[&market(MARKET)].done.contains(7));
    let gone =
        ["finalizerQueue", &format!("BatchCountKey.{MARKET}.7"), &format!("EpochMarkerSetKey.{MARKET}")]
            .map(str::to_owned);
    assert_eq!(chain.scene.run::<u64>("EXISTS", &gone).await, 0);
    lives(&mut chain, &format!("EpochMarkerDetailsKey.{MARKET}.7"), HALF_AN_HOUR).await;
}

#[tokio::test]
async fn submitted_batches_go_to_the_attestor_in_their_order_where_that_is_wanted() {
    for attest in [true, false] {
        let mut chain = Chain::with("", attest).await;
        chain.accept(5, 0, vec![submitted(MARKET, 7, "cid1", 4), submitted(MARKET, 7, "cid2", 5)]).await;
        for cid in ["cid1", "cid2"] {
            let expected = json!({ "DataMarketAddress": CHECKSUM, "BatchCID": cid, "EpochID": 7 });
            assert_eq!(json(&mut chain, "RPOP", "attestorQueue").await, Some(expected).filter(|_| attest));
        }
        assert_eq!(json(&mut chain, "RPOP", "attestorQueue").await, None);
    }
}

#[tokio::test]
async fn what_contracts_say_stands_under_the_market_in_checksum_form_and_as_configured() {
    let mut chain = Chain::new().await;
    let tables = MarketTables {
        configured: "0x5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED".to_owned(),
        submission_window: Some(20),
        day_size: Some("86400000000".to_owned()),
        quota: Some("5".to_owned()),
        epochs_in_a_day: Some("7200".to_owned()),
    };
    let markets = [(market(MARKET), tables), (market(OTHER), MarketTables::default())];
    let written = chain.chain.write_tables(&mut chain.session().await, &markets, Some("321")).await;
    assert_eq!(written.expect("written"), []);
    for (table, value) in [
        ("SubmissionLimitTable", "20"),
        ("DaySizeTableKey", "86400000000"),
        ("DailySnapshotQuotaTableKey", "5"),
    ] {
        let fields: Vec<String> = chain.scene.run("HGETALL", table).await;
        assert_eq!(fields, [CHECKSUM, value], "{table}");
    }
    let epochs = "ProtocolState.0x5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED.EpochsInADay";
    assert_eq!(chain.scene.run::<String>("GET", epochs).await, "7200");
    assert_eq!(chain.scene.run::<String>("GET", "TotalNodesCount").await, "321");
}

#[tokio::test]
async fn a_number_that_others_write_too_is_never_set_to_less() {
    let mut chain = Chain::new().await;
    for (there, ours, left) in [
        ("321", "320", "321"),
        ("99", "320", "320"),
        ("0320", "320", "0320"),
        ("9007199254740993", "9007199254740992", "9007199254740993"),
        ("9007199254740992", "9007199254740993", "9007199254740993"),
        ("no number", "5", "5"),
        ("", "5", "5"),
    ] {
        chain.scene.run::<()>("SET", &["TotalNodesCount", there]).await;
        let written = chain.chain.write_tables(&mut chain.session().await, &[], Some(ours)).await;
        assert_eq!(written.expect("written"), []);
        assert_eq!(chain.scene.run::<String>("GET", "TotalNodesCount").await, left, "{ours} on {there}");
    }
}

#[tokio::test]
async fn under_a_prefix_nothing_is_written_without_it() {
    let mut chain = Chain::with("shadow", true).await;
    chain.accept(9, 0, vec![released(MARKET, 7, 6), submitted(MARKET, 6, "cid", 7)]).await;
    chain.submit(MARKET, 7, 6, 0, &[("a", 1)]).await;
    chain.accept(17, 0, vec![]).await;
    chain.hand_over_all().await;
    let all = chain.contents().await;
    let bare: Vec<&String> = all.keys().filter(|key| !key.starts_with("shadow:")).collect();
    assert!(bare.iter().all(|key| key.starts_with("SnapshotCollector.")), "{bare:?}");
    assert_eq!(all["shadow:finalizerQueue"].words.len(), 1);
    assert_eq!(all["shadow:attestorQueue"].words.len(), 1);
}
