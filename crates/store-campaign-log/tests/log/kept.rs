//! What is kept is bounded and survives a restart of Redis; what is lost is said.

use std::time::Duration;

use store_campaign_log::{Appended, Form, Offer};
use testkit::{RedisServer, wait_until};

use crate::common::{CAMPAIGN, Gateway, id, ids, key, run, status};

#[tokio::test]
async fn a_log_is_read_on_page_by_page_and_the_newest_events_are_answered_with_what_is_missing() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    let mut all = Vec::new();
    for rank in 1..=10_u64 {
        all.push(id(gateway.offer(&status(rank, &format!("v{rank}"))).await));
    }
    let page = gateway.after(all[1], 3).await;
    assert_eq!((ids(&page), page.is_truncated, page.last), (all[2..5].to_vec(), false, all[9]));
    let newest = gateway.newest(all[1], 3).await;
    assert_eq!((ids(&newest), newest.has_more), (all[7..].to_vec(), true));
    let newest = gateway.newest(all[6], 3).await;
    assert_eq!((ids(&newest), newest.has_more), (all[7..].to_vec(), false));
    assert!(gateway.after(all[9], 3).await.events.is_empty());
}

#[tokio::test]
async fn the_log_keeps_ten_thousand_events_and_says_when_older_ones_are_gone() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    let mut session = gateway.session().await;
    let mut all = Vec::new();
    for chunk in 0..21_u64 {
        let names: Vec<String> = (0..500).map(|job| format!("j{}", chunk * 500 + job)).collect();
        let offers: Vec<Offer<'_>> = names
            .iter()
            .map(|job| Offer { kind: "job:status", subject: job, form: Form::Passing, ..status(1, "done") })
            .collect();
        let answers = gateway.keys.append(&mut session, &offers).await.expect("answers");
        all.extend(answers.into_iter().map(|answer| id(answer.expect("no fault"))));
    }
    assert_eq!(run::<u64>(&redis, "XLEN", key("events")).await, 10_000);
    // What is forgotten of a job goes with its event.
    assert_eq!(run::<u64>(&redis, "HLEN", key("versions")).await, 10_000);
    let gone = all.len() - 10_000 - 1;
    assert!(gateway.after(all[gone - 1], 1).await.is_truncated);
    let page = gateway.after(all[gone], 1).await;
    assert_eq!((page.is_truncated, ids(&page)), (false, vec![all[gone + 1]]));
}

#[tokio::test]
async fn large_payloads_shorten_the_log_and_a_larger_one_is_refused() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(60_000));
    for rank in 1..=400_u64 {
        let name = format!("v{rank}");
        id(gateway.offer(&Offer { payload: &large, ..status(rank, &name) }).await);
    }
    let (many, used): (u64, u64) = (
        run(&redis, "XLEN", key("events")).await,
        run(&redis, "HGET", &[key("state"), "bytes".to_owned()]).await,
    );
    assert!(many > 200 && used <= 16 << 20, "{many} events of {used} bytes");
    let larger = "x".repeat(70_000);
    let offers = [Offer { payload: &larger, ..status(900, "larger") }];
    let answers = gateway.keys.append(&mut gateway.session().await, &offers).await.expect("answers");
    assert!(answers[0].is_err());
}

#[tokio::test]
async fn the_latest_events_of_a_hundred_runs_are_kept_and_the_oldest_one_goes() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    for run in 0..120 {
        let run = format!("r{run}");
        id(gateway.offer(&Offer { subject: &run, ..status(1, "a") }).await);
    }
    let latest = gateway.latest().await;
    let expected: Vec<String> = (20..120).map(|run| format!("r{run}")).collect();
    assert_eq!(latest.iter().map(|event| event.subject.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(run::<u64>(&redis, "HLEN", key("versions")).await, 100);
}

#[tokio::test]
async fn every_key_has_a_ttl() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    id(gateway.offer(&status(1, "a")).await);
    let life = Duration::from_secs(120);
    gateway.keys.save_session(&mut gateway.session().await, "p1", "{}", life).await.expect("saved");
    let keys: Vec<String> = run(&redis, "KEYS", "*").await;
    assert_eq!(keys.len(), 7, "{keys:?}");
    for key in keys {
        let ttl: i64 = run(&redis, "TTL", &key).await;
        let name = key.as_str();
        let family = store_campaign_log::family_of(name).expect("a family");
        assert!(ttl > 0, "{key}: {ttl}");
        assert_eq!(run::<String>(&redis, "TYPE", &key).await, family.kind.as_str());
    }
}

#[tokio::test]
async fn a_log_that_has_expired_says_that_its_events_are_gone() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    let first = id(gateway.offer(&status(1, "a")).await);
    let second = id(gateway.offer(&status(2, "b")).await);
    run::<()>(&redis, "DEL", key("events")).await;
    assert!(gateway.after(first, 10).await.is_truncated);
    assert!(!gateway.after(second, 10).await.is_truncated);
    let third = id(gateway.offer(&status(3, "c")).await);
    assert!(gateway.after(first, 10).await.is_truncated, "also once there are new ones");
    let page = gateway.after(second, 10).await;
    assert_eq!((ids(&page), page.is_truncated), (vec![third], false));
}

#[tokio::test]
async fn events_and_ids_survive_a_killed_redis_that_keeps_its_file() {
    let mut redis = RedisServer::builder().append_only(true).start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    let first = id(gateway.offer(&status(1, "a")).await);
    redis.kill_hard().expect("killed");
    redis.restart().await.expect("started again");
    let gateway = Gateway::at(&redis);
    assert_eq!(gateway.offer(&status(2, "a")).await, Appended::Known(first));
    let second = id(gateway.offer(&status(3, "b")).await);
    assert_eq!(ids(&gateway.after(0, 10).await), [first, second]);
}

#[tokio::test]
async fn after_redis_has_lost_its_data_ids_go_on_and_a_known_version_is_no_second_event() {
    let mut redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    let first = id(gateway.offer(&status(1, "a")).await);
    let second = id(gateway.offer(&status(2, "b")).await);
    redis.kill_hard().expect("killed");
    redis.restart().await.expect("started again, empty");
    let gateway = Gateway::at(&redis);
    assert!(gateway.after(first, 10).await.is_truncated, "the client is told");
    let known = Offer { seen: second, known: second, ..status(3, "b") };
    assert_eq!(gateway.offer(&known).await, Appended::Known(second));
    let latest = gateway.latest().await;
    assert_eq!(latest.iter().map(|event| event.id).collect::<Vec<_>>(), [second], "those that join get it");
    assert!(gateway.after(first, 10).await.is_truncated);
    assert!(!gateway.after(second, 10).await.is_truncated, "what it has seen is complete");
    let third = id(gateway.offer(&Offer { seen: second, ..status(4, "c") }).await);
    assert!(third > second);
    let page = gateway.after(second, 10).await;
    assert_eq!((ids(&page), page.is_truncated), (vec![third], false));
}

#[tokio::test]
async fn a_gateway_that_has_seen_more_than_redis_kept_says_so_to_all() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    let first = id(gateway.offer(&status(1, "a")).await);
    // As after a failover that lost the last events.
    let lost = first + 1_000_000_000;
    let next = id(gateway.offer(&Offer { seen: lost, ..status(2, "b") }).await);
    assert!(next > lost);
    assert!(gateway.after(first, 10).await.is_truncated);
    assert!(!gateway.after(lost, 10).await.is_truncated);
}

#[tokio::test]
async fn a_session_is_found_at_any_gateway_within_its_time() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let (one, other) = (Gateway::at(&redis), Gateway::at(&redis));
    let (mut session, life) = (one.session().await, Duration::from_millis(200));
    for id in ["p1", "p2"] {
        one.keys.save_session(&mut session, id, "{\"rooms\":[]}", life).await.expect("saved");
    }
    one.keys.keep_sessions(&mut session, ["p2", "unknown"], Duration::from_mins(2)).await.expect("kept");
    let mut session = other.session().await;
    let found = other.keys.session(&mut session, "p2").await.expect("asked");
    assert_eq!(found.as_deref(), Some("{\"rooms\":[]}"));
    assert!(other.keys.session(&mut session, "p2").await.expect("asked").is_some(), "it stays");
    assert_eq!(other.keys.session(&mut session, "unknown").await.expect("asked"), None);
    wait_until("the end of a session", Duration::from_secs(5), async || {
        other.keys.session(&mut session, "p1").await.expect("asked").is_none()
    })
    .await;
}

#[tokio::test]
async fn an_unknown_campaign_has_no_events_and_nothing_is_missing_for_who_has_seen_none() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    let page = gateway.newest(0, 50).await;
    assert_eq!((page.events.len(), page.is_truncated, page.last), (0, false, 0));
    assert!(gateway.newest(7, 50).await.is_truncated, "{CAMPAIGN} had an event once");
}
