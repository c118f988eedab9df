//! Days and rewards: what blocks and ends of epochs leave of them in Redis, and how plans become calls of the outbox, once.

use std::collections::BTreeMap;

use domain::{
    chain::MarketEvent,
    collector::{RelayCall, RewardPlan, RewardRules, Rollover},
};
use serde_json::json;
use store_collector::{
    ChainKeys,
    outbox::Outbox,
    rewards::{Due, EligibleNodes, Frozen, SLICE, StoredPlan},
};

use crate::scene::{Chain, MARKET, OTHER, day, market, released};

fn rewards() -> RewardRules {
    let (every, piece) = (10.try_into().expect("not 0"), 2.try_into().expect("not 0"));
    RewardRules { every, piece, past_days: 5 }
}

async fn chain() -> Chain {
    Chain { told: Some(rewards()), ..Chain::new().await }
}

/// A change from day 7 to day 8, shown by epoch 14, and epoch 20, which makes the rewards of day 7 due: up to block 9.
fn change_of_day() -> Vec<(u64, MarketEvent)> {
    vec![
        day(MARKET, 7, 3),
        released(MARKET, 13, 4),
        day(MARKET, 8, 5),
        released(MARKET, 14, 6),
        released(MARKET, 20, 7),
    ]
}

async fn due(chain: &Chain) -> Due {
    chain.chain.due_rewards(&mut chain.session().await, &market(MARKET)).await.expect("read")
}

async fn freeze(chain: &Chain, plan: &StoredPlan, frozen: &Frozen) -> bool {
    let session = &mut chain.session().await;
    chain.chain.freeze_rewards(session, &market(MARKET), plan, frozen).await.expect("answered")
}

/// The lane of the market: keys and calls.
async fn lane(chain: &Chain) -> Vec<(String, RelayCall)> {
    let outbox = Outbox::new(ChainKeys::new(""));
    let lane = outbox.lane(&mut chain.session().await, &market(MARKET), 100).await.expect("read");
    lane.waiting.into_iter().map(|entry| (entry.key.clone(), entry.parsed().expect("a call"))).collect()
}

#[tokio::test]
async fn the_day_of_a_market_is_shown_until_it_is_over_and_the_day_of_its_last_release_for_good() {
    let mut chain = chain().await;
    chain.rules.day_lengths = BTreeMap::from([(market(MARKET), 1_000)]);
    chain.accept(5, 0, change_of_day()[..3].to_vec()).await;
    let (current, last) = (format!("CurrentDayKey.{MARKET}"), format!("LastKnownDayKey.{MARKET}"));
    assert_eq!(chain.scene.run::<String>("GET", &current).await, "8");
    // It began ten seconds after the time at which the block is accepted.
    let left: i64 = chain.scene.run("TTL", &current).await;
    assert!((940..=1_000).contains(&left), "{left}");
    assert_eq!(chain.scene.run::<String>("GET", &last).await, "7", "no epoch was released in the new one");
    chain.accept(9, 0, vec![released(MARKET, 14, 6)]).await;
    assert_eq!(chain.scene.run::<String>("GET", &last).await, "8");
    assert_eq!(chain.scene.run::<i64>("TTL", &last).await, -1);
    chain.undo(4).await;
    assert_eq!(
        chain.scene.run::<[String; 2]>("MGET", &[&current, &last]).await,
        ["7", "7"].map(str::to_owned)
    );
    // Of a day that is over nobody is told as the present one.
    chain.rules.day_lengths = BTreeMap::from([(market(MARKET), 0)]);
    chain.accept(5, 1, vec![day(MARKET, 9, 5)]).await;
    assert!(!chain.scene.run::<bool>("EXISTS", &current).await);
}

#[tokio::test]
async fn a_change_of_day_is_marked_until_its_rewards_are_due_and_an_undone_one_never_was() {
    let mut chain = chain().await;
    chain.accept(9, 0, change_of_day()).await;
    let set = format!("DayRolloverEpochMarkerSetKey.{MARKET}");
    let details = format!("DayRolloverEpochMarkerDetailsKey.{MARKET}.14");
    assert_eq!(chain.scene.run::<Vec<String>>("SMEMBERS", &set).await, ["14"]);
    let text: String = chain.scene.run("GET", &details).await;
    assert_eq!(text, r#"{"BufferEpoch":19,"CurrentEpoch":14,"LastKnownDay":"7"}"#);
    assert_eq!(chain.scene.run::<i64>("TTL", &details).await, -1);
    chain.undo(5).await;
    assert_eq!(chain.scene.run::<u64>("EXISTS", &[&set, &details]).await, 0);
    chain.accept(20, 1, change_of_day().split_off(3)).await;
    assert_eq!(chain.scene.run::<Vec<String>>("SMEMBERS", &set).await, ["14"]);
    chain.accept(40, 1, vec![]).await;
    chain.hand_over_all().await;
    assert!(!chain.scene.run::<bool>("EXISTS", &set).await);
    let left: i64 = chain.scene.run("TTL", &details).await;
    assert!((1_740..=1_800).contains(&left), "{left}");
    let due = due(&chain).await;
    let plans: Vec<_> = due.plans.iter().map(|stored| stored.plan.clone()).collect();
    let past = RewardPlan::PastDays { epoch: 20, today: 8, except: vec![7], started: None };
    let periodic = RewardPlan::Periodic { epoch: 20, day: 8 };
    assert_eq!(plans, [periodic, RewardPlan::Final { epoch: 20, day: 7 }, past]);
    assert_eq!((due.rollovers, due.last), (BTreeMap::new(), Some((20, 8))));
}

#[tokio::test]
async fn a_plan_becomes_calls_behind_those_of_its_market_once_and_all_of_them_together() {
    let mut chain = chain().await;
    chain.accept(40, 0, change_of_day()).await;
    chain.hand_over_all().await;
    let before = lane(&chain).await;
    assert_eq!(before.len(), 3, "the sizes of the batches: {before:?}");
    let plans = due(&chain).await.plans;
    let calls = plans[1].plan.pieces(&[(1, 5), (2, 6), (9, 7)], 2, &rewards());
    let frozen = Frozen { calls: calls.clone(), zero_days: vec![4] };
    // What others write in the place of a lane hinders all of it.
    let waiting = format!("tracker:relayer:{MARKET}:waiting");
    chain.scene.run::<()>("RENAME", &[&waiting, "aside"]).await;
    chain.scene.run::<()>("SET", &[&waiting, "x"]).await;
    let session = &mut chain.session().await;
    assert!(chain.chain.freeze_rewards(session, &market(MARKET), &plans[1], &frozen).await.is_err());
    assert_eq!(due(&chain).await.plans, plans);
    chain.scene.run::<()>("RENAME", &["aside", &waiting]).await;
    assert!(freeze(&chain, &plans[1], &frozen).await);
    assert!(!freeze(&chain, &plans[1], &frozen).await, "once, also by a second tracker");
    assert_eq!(due(&chain).await.plans, [plans[0].clone(), plans[2].clone()]);
    let after = lane(&chain).await;
    assert_eq!(after[..3], before);
    let key = |piece: u64| format!("chain 1 contract 0xab:{MARKET}:rewards:final:20:7:7:{piece}");
    assert_eq!(after[3..], [(key(0), calls[0].clone()), (key(1), calls[1].clone())]);
    let zero = format!("ZeroCountKey.{MARKET}.4");
    assert_eq!(chain.scene.run::<String>("GET", &zero).await, "true");
    let left: i64 = chain.scene.run("TTL", &zero).await;
    assert!((86_340..=86_400).contains(&left), "{left}");
}

#[tokio::test]
async fn a_plan_of_a_start_is_added_once() {
    let chain = chain().await;
    chain.accept(9, 0, change_of_day()).await;
    let plan = RewardPlan::PastDays { epoch: 20, today: 8, except: vec![], started: Some(1_000) };
    for except in [vec![], vec![7]] {
        let RewardPlan::PastDays { epoch, today, started, .. } = plan else { unreachable!() };
        let plan = RewardPlan::PastDays { epoch, today, except, started };
        chain.chain.plan_rewards(&mut chain.session().await, &market(MARKET), &plan).await.expect("answered");
    }
    let due = due(&chain).await;
    assert_eq!(due.plans.iter().map(|stored| &stored.plan).collect::<Vec<_>>(), [&plan]);
    assert_eq!(due.rollovers, BTreeMap::from([(14, Rollover { last_day: 7, buffer_epoch: 19 })]));
}

#[tokio::test]
async fn the_counters_of_ten_thousand_slots_are_read_by_ten_commands_and_broken_ones_are_reported() {
    let mut chain = chain().await;
    let key = |slot: u64| format!("EligibleSlotSubmissionsKey.{MARKET}.7.{slot}");
    let mut words = Vec::new();
    for slot in (1..=10_000_u64).filter(|slot| slot % 3 == 0) {
        words.extend([key(slot), (slot * 7).to_string()]);
    }
    chain.scene.run::<()>("MSET", &words).await;
    chain.scene.run::<()>("SET", &[key(6), "many".to_owned()]).await;
    chain.scene.run::<()>("SET", &[key(9).into_bytes(), vec![0xff]]).await;
    chain.scene.run::<()>("LPUSH", &[key(1_000), "x".to_owned()]).await;
    chain.scene.run::<()>("CONFIG", "RESETSTAT").await;
    let (mut counters, mut faults) = (Vec::new(), Vec::new());
    let mut session = chain.session().await;
    for first in (1..=10_000_u64).step_by(SLICE as usize) {
        let slots = first..=(first + SLICE - 1).min(10_000);
        let read = chain.chain.eligible_submissions(&mut session, &market(MARKET), 7, slots).await;
        let (more, bad) = read.expect("read");
        counters.extend(more);
        faults.extend(bad);
    }
    let expected: Vec<_> = (1..=10_000)
        .filter(|slot| slot % 3 == 0 && ![6, 9].contains(slot))
        .map(|slot| (slot, slot * 7))
        .collect();
    assert_eq!(counters, expected);
    assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), [key(6), key(9)]);
    let stats: String = chain.scene.run("INFO", "commandstats").await;
    assert!(stats.contains("cmdstat_mget:calls=10,"), "{stats}");
    assert!(!stats.contains("cmdstat_get:"), "{stats}");
}

#[tokio::test]
async fn eligible_nodes_are_counted_by_days() {
    let mut chain = chain().await;
    chain.scene.run::<()>("SADD", &[&format!("EligibleNodeByDayKey.{MARKET}.7"), "1", "5", "9"]).await;
    chain.scene.run::<()>("SADD", &[&format!("EligibleNodeByDayKey.{OTHER}.6"), "1"]).await;
    chain.scene.run::<()>("SET", &[&format!("ZeroCountKey.{MARKET}.5"), "true"]).await;
    let session = &mut chain.session().await;
    let (nodes, faults) =
        chain.chain.eligible_nodes(session, &market(MARKET), &[7, 6, 5]).await.expect("read");
    assert_eq!(faults, []);
    let of = |nodes, is_marked| EligibleNodes { nodes, is_marked };
    assert_eq!(nodes, BTreeMap::from([(7, of(3, false)), (6, of(0, false)), (5, of(0, true))]));
    assert_eq!(chain.chain.node_count(session).await.expect("read"), (None, vec![]));
    for (text, count, faults) in [
        ("40", Some(40), 0),
        (" 40 ", Some(40), 0),
        ("1000000000000000000000000", Some(u64::MAX), 0),
        // No market has none: nobody has counted them yet.
        ("0", None, 0),
        ("-5", None, 1),
        ("1.5", None, 1),
        ("many", None, 1),
        ("", None, 1),
    ] {
        chain.scene.run::<()>("SET", &["TotalNodesCount", text]).await;
        let (found, told) = chain.chain.node_count(session).await.expect("read");
        assert_eq!((found, told.len()), (count, faults), "{text}");
    }
    chain.scene.run::<()>("DEL", "TotalNodesCount").await;
    chain.scene.run::<()>("RPUSH", &["TotalNodesCount", "40"]).await;
    let (found, told) = chain.chain.node_count(session).await.expect("read");
    assert_eq!((found, told.len()), (None, 1));
    // A day whose set is of another type is left out, and the others are not.
    chain.scene.run::<()>("SET", &[&format!("EligibleNodeByDayKey.{MARKET}.6"), "x"]).await;
    let (nodes, faults) =
        chain.chain.eligible_nodes(session, &market(MARKET), &[7, 6, 5]).await.expect("read");
    assert_eq!(nodes.into_keys().collect::<Vec<_>>(), [5, 7]);
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[tokio::test]
async fn a_broken_plan_or_change_of_day_is_told_and_hides_no_other() {
    let mut chain = chain().await;
    chain.accept(9, 0, change_of_day()).await;
    let own = |kind: &str| format!("tracker:chain:{MARKET}:{kind}");
    let plan = RewardPlan::Periodic { epoch: 20, day: 8 };
    let text = serde_json::to_string(&plan).expect("JSON");
    chain.scene.run::<()>("HSET", &[own("rewards"), plan.id(), text, "bad".into(), "{}".into()]).await;
    chain.scene.run::<()>("HSET", &[own("rollovers"), "15".to_owned(), "{".to_owned()]).await;
    let due = due(&chain).await;
    assert_eq!(due.plans.iter().map(|stored| &stored.plan).collect::<Vec<_>>(), [&plan]);
    assert_eq!((due.rollovers.len(), due.faults.len()), (1, 2), "{due:?}");
}

#[tokio::test]
async fn the_days_that_a_predecessor_left_are_taken_over_and_broken_ones_reported() {
    let mut chain = chain().await;
    chain.scene.run::<()>("SET", &[&format!("LastKnownDayKey.{MARKET}"), "7"]).await;
    chain.scene.run::<()>("SET", &[&format!("LastKnownDayKey.{OTHER}"), "soon"]).await;
    chain
        .scene
        .run::<()>("SADD", &[&format!("DayRolloverEpochMarkerSetKey.{MARKET}"), "14", "15", "x"])
        .await;
    let details = json!({ "LastKnownDay": "6", "CurrentEpoch": 14, "BufferEpoch": 19 }).to_string();
    let key = format!("DayRolloverEpochMarkerDetailsKey.{MARKET}");
    chain.scene.run::<()>("SET", &[format!("{key}.14"), details]).await;
    let (left, faults) = chain.chain.left(&mut chain.session().await).await.expect("read");
    let of_market = &left[&market(MARKET)];
    assert_eq!(of_market.last_day, Some(7));
    assert_eq!(of_market.rollovers, BTreeMap::from([(14, Rollover { last_day: 6, buffer_epoch: 19 })]));
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, [&format!("LastKnownDayKey.{OTHER}"), &format!("{key}.15")]);
}
