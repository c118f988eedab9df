//! An offered state becomes an event once, in order, and reaches every gateway.

use std::collections::BTreeSet;

use store_campaign_log::{Appended, Event, Form, Offer};
use testkit::RedisServer;

use crate::common::{CAMPAIGN, Gateway, id, ids, run, status};

#[tokio::test]
async fn the_same_version_is_one_event_whichever_gateway_offers_it() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let (one, other) = (Gateway::at(&redis), Gateway::at(&redis));
    let first = id(one.offer(&status(10, "a")).await);
    assert_eq!(other.offer(&status(11, "a")).await, Appended::Known(first));
    let second = id(other.offer(&status(20, "b")).await);
    assert!(second > first);
    assert_eq!(one.offer(&status(21, "b")).await, Appended::Known(second));
    // A state that is reached again is another event.
    let third = id(one.offer(&status(30, "a")).await);
    let page = one.after(0, 100).await;
    assert_eq!((ids(&page), page.last), (vec![first, second, third], third));
    let previous: Vec<u64> = page.events.iter().map(|event| event.previous).collect();
    assert_eq!(previous, [0, first, second]);
}

#[tokio::test]
async fn a_state_that_was_read_before_the_last_event_changes_nothing() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    gateway.offer(&status(10, "a")).await;
    let second = id(gateway.offer(&status(30, "b")).await);
    assert_eq!(gateway.offer(&status(20, "a")).await, Appended::Overtaken(second));
    // The moment of the last reading counts, and not that of the event.
    assert_eq!(gateway.offer(&status(50, "b")).await, Appended::Known(second));
    assert_eq!(gateway.offer(&status(40, "a")).await, Appended::Overtaken(second));
    assert_eq!(gateway.after(0, 100).await.events.len(), 2);
    // Subjects and kinds are compared by themselves.
    let of_run = Offer { kind: "run:status", ..status(20, "a") };
    assert!(matches!(gateway.offer(&of_run).await, Appended::New(_)));
}

#[tokio::test]
async fn a_clock_of_the_database_that_was_put_back_does_not_silence_a_run() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    let hour = 3_600_000_000;
    gateway.offer(&status(2 * hour, "a")).await;
    assert!(matches!(gateway.offer(&status(hour, "b")).await, Appended::New(_)));
    assert!(matches!(gateway.offer(&status(hour + 1, "c")).await, Appended::New(_)));
}

#[tokio::test]
async fn gateways_that_append_at_once_agree_on_ids_and_order() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let appended = (0..4).map(|_| {
        let gateway = Gateway::at(&redis);
        tokio::spawn(async move {
            let mut new = Vec::new();
            for version in 1..=200_u64 {
                let name = format!("v{version}");
                if let Appended::New(id) = gateway.offer(&status(version, &name)).await {
                    new.push(id);
                }
            }
            new
        })
    });
    let (mut all, mut many) = (BTreeSet::new(), 0);
    for task in appended.collect::<Vec<_>>() {
        let new = task.await.expect("no panic");
        many += new.len();
        all.extend(new);
    }
    let page = Gateway::at(&redis).after(0, 1_000).await;
    assert_eq!(all.len(), many, "no id twice");
    assert_eq!(ids(&page), all.into_iter().collect::<Vec<_>>());
    let chain = page.events.windows(2).all(|pair| pair[1].previous == pair[0].id);
    assert!(chain, "each event names the one before it");
    assert!(many <= 200, "no version is two events: {many}");
}

#[tokio::test]
async fn a_new_event_reaches_every_subscribed_gateway_with_its_id() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateways = [Gateway::at(&redis), Gateway::at(&redis)];
    let mut feeds = Vec::new();
    for gateway in &gateways {
        feeds.push(gateway.store.subscribe(vec![gateway.keys.channel()]).await.expect("subscribed"));
    }
    let first = id(gateways[0].offer(&status(1, "a")).await);
    let second = id(gateways[1].offer(&status(2, "b")).await);
    for (_, events) in &mut feeds {
        for (wanted, before) in [(first, 0), (second, first)] {
            let (_, message) = events.next().await.expect("an event");
            let event = Event::parse(message).expect("ours");
            assert_eq!((event.id, event.previous, event.campaign.as_str()), (wanted, before, CAMPAIGN));
        }
    }
}

#[tokio::test]
async fn the_latest_event_of_each_run_is_there_for_those_that_join() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    assert!(gateway.latest().await.is_empty());
    gateway.offer(&status(1, "a")).await;
    let of_run = id(gateway.offer(&status(2, "b")).await);
    let other = id(gateway.offer(&Offer { subject: "r2", ..status(1, "a") }).await);
    let job = Offer { kind: "job:status", subject: "j1", form: Form::Passing, ..status(1, "a") };
    id(gateway.offer(&job).await);
    let latest = gateway.latest().await;
    assert_eq!(latest.iter().map(|event| event.id).collect::<Vec<_>>(), [of_run, other]);
    assert_eq!(latest[0].payload, "{\"status\":\"running\"}");
}

#[tokio::test]
async fn an_alert_is_one_event_until_its_end_is_noted() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    let low = |rank| Offer { kind: "campaign:alert", ..status(rank, "low") };
    let fine = |rank| Offer { kind: "campaign:alert", form: Form::Silent, ..status(rank, "fine") };
    assert_eq!(gateway.offer(&fine(1)).await, Appended::Noted);
    let first = id(gateway.offer(&low(2)).await);
    assert_eq!(gateway.offer(&low(3)).await, Appended::Known(first));
    assert_eq!(gateway.offer(&fine(4)).await, Appended::Noted);
    let second = id(gateway.offer(&low(5)).await);
    assert_eq!(ids(&gateway.after(0, 10).await), [first, second]);
}

#[tokio::test]
async fn a_server_that_has_forgotten_the_script_is_given_it_in_the_same_call() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    id(gateway.offer(&status(1, "a")).await);
    run::<()>(&redis, "SCRIPT", &["FLUSH"]).await;
    id(gateway.offer(&status(2, "b")).await);
}

#[tokio::test]
async fn one_campaign_with_a_broken_key_leaves_the_others_alone() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    run::<()>(&redis, "SET", &["tracker:campaigns:{log}:broken:state", "text"]).await;
    let broken = Offer { campaign: "broken", ..status(1, "a") };
    let refused = Offer { subject: "not a name", ..status(1, "a") };
    let mut session = gateway.session().await;
    let all = gateway.keys.append(&mut session, &[broken, refused, status(1, "a")]).await.expect("answers");
    assert!(all[0].is_err() && all[1].is_err(), "{all:?}");
    assert!(matches!(all[2], Ok(Appended::New(_))), "{all:?}");
}

#[tokio::test]
async fn an_id_is_greater_than_all_before_it_also_when_the_clock_of_redis_stands_behind() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    let first = id(gateway.offer(&status(1, "a")).await);
    // As after a failover to a server whose clock is an hour behind.
    let ahead = first + 3_600_000_000;
    run::<()>(
        &redis,
        "HSET",
        &["tracker:campaigns:{log}:ids".to_owned(), "last".to_owned(), ahead.to_string()],
    )
    .await;
    let second = id(gateway.offer(&status(2, "b")).await);
    assert_eq!(second, ahead + 1);
    assert!(second < 1 << 53, "JavaScript reads it exactly");
    assert_eq!(ids(&gateway.after(first, 10).await), [second]);
}

#[tokio::test]
async fn a_gateway_that_was_away_reads_the_events_of_all_campaigns_in_their_order() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    let mut all = Vec::new();
    for number in 0..6 {
        let campaign = format!("c{}", number % 2);
        all.push(id(gateway
            .offer(&Offer { campaign: &campaign, ..status(number, &format!("v{number}")) })
            .await));
    }
    let mut session = gateway.session().await;
    assert_eq!(gateway.keys.last_id(&mut session).await.expect("an id"), all[5]);
    let page = gateway.keys.feed(&mut session, all[1], 3).await.expect("a page");
    assert_eq!((ids(&page), page.has_more, page.is_truncated), (all[2..5].to_vec(), true, false));
    let page = gateway.keys.feed(&mut session, all[4], 3).await.expect("a page");
    assert_eq!((ids(&page), page.has_more, page.is_truncated), (vec![all[5]], false, false));
    // What was trimmed is told.
    run::<()>(&redis, "XTRIM", &["tracker:campaigns:{log}:feed", "MAXLEN", "2"]).await;
    let page = gateway.keys.feed(&mut session, all[1], 3).await.expect("a page");
    assert_eq!((ids(&page), page.is_truncated), (all[4..].to_vec(), true));
    run::<()>(&redis, "DEL", "tracker:campaigns:{log}:feed").await;
    assert!(gateway.keys.feed(&mut session, all[4], 3).await.expect("a page").is_truncated);
    assert!(!gateway.keys.feed(&mut session, all[5], 3).await.expect("a page").is_truncated);
}

#[tokio::test]
async fn a_repeated_status_is_an_event_and_the_same_status_after_it_is_none() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let gateway = Gateway::at(&redis);
    let first = id(gateway.offer(&status(10, "a")).await);
    let second = id(gateway.offer(&Offer { form: Form::Repeated, ..status(11, "a") }).await);
    assert!(second > first);
    assert_eq!(gateway.offer(&status(12, "a")).await, Appended::Known(second));
    assert_eq!(gateway.latest().await.last().map(|event| event.id), Some(second));
}
