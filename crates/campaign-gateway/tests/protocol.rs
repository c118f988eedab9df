//! The contract of the feed, with clients of the official library over WebSocket, polling and the change between them.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test that can not go on panics.

mod common;

use std::time::{Duration, Instant, SystemTime};

use campaign_gateway::{EventKind, Origins, Settings};
use common::{
    log::Memory,
    official::{Official, SOON},
    world::{Running, campaign, settings, token, token_until},
};
use serde_json::{Value, json};
use supervision::Clock;

const TRANSPORTS: [&str; 3] = ["websocket", "polling", "upgrade"];

/// The options of the library for a way to connect.
fn by(transport: &str) -> Value {
    match transport {
        "upgrade" => json!({}),
        one => json!({ "transports": [one] }),
    }
}

/// A gateway with one campaign of the user `anna`, and clients.
async fn world() -> (Memory, Running, Official) {
    let memory = Memory::default();
    memory.own("anna", campaign(1));
    let running = Running::start(&memory, settings()).await;
    (memory, running, Official::start().await)
}

fn join(number: u128) -> Value {
    json!({ "campaignId": campaign(number) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_joins_gets_the_latest_status_at_once_and_each_one_after_it() {
    let (memory, running, mut official) = world().await;
    memory.status(campaign(1), 1);
    let latest = memory.status(campaign(1), 2);
    for transport in TRANSPORTS {
        official.connect(transport, &running.url(), &token("anna"), by(transport)).await;
        let connected = official.next(transport, "connect").await;
        assert_eq!(connected["recovered"], false);
        if transport == "upgrade" {
            assert_eq!(official.next(transport, "upgrade").await["transport"], "websocket");
        }
        let answer = official.ask(transport, "join_campaign", join(1)).await;
        let expected = format!("Successfully joined campaign {}", campaign(1));
        assert_eq!(answer, json!({ "success": true, "message": expected, "campaignId": campaign(1) }));
        let first = official.event(transport, "campaign:status").await;
        assert_eq!((&first[0]["eventId"], &first[0]["metrics"]["totalJobs"]), (&json!(latest), &json!(2)));
        assert!(first[0]["timestamp"].as_str().unwrap().ends_with('Z'), "{first}");
    }
    let next = memory.status(campaign(1), 3);
    for transport in TRANSPORTS {
        let event = official.event(transport, "campaign:status").await;
        assert_eq!(event[0]["eventId"], next);
        assert_eq!(event[1], next.to_string(), "the offset of the protocol");
    }
    for kind in [EventKind::Alert, EventKind::Job, EventKind::Run] {
        memory.append(campaign(1), kind, r#"{"runId":"r"}"#);
        for transport in TRANSPORTS {
            assert_eq!(official.event(transport, kind.name()).await[0]["runId"], "r");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_by_tls_too() {
    let memory = Memory::default();
    memory.own("anna", campaign(1));
    let identity = testkit::Authority::new("feed").unwrap().server().unwrap();
    let pem = ports::Pem::new(identity.certificate.as_bytes(), identity.key.as_bytes());
    let tls = ports::Tls::http(pem).unwrap();
    let running = Running::start_with(&memory, settings(), 0, Clock::system(), Some(tls)).await;
    let mut official = Official::start().await;
    let url = running.url().replace("http:", "https:");
    for transport in TRANSPORTS {
        let mut options = by(transport);
        options["rejectUnauthorized"] = json!(false);
        official.connect(transport, &url, &token("anna"), options).await;
        official.next(transport, "connect").await;
        if transport == "upgrade" {
            official.next(transport, "upgrade").await;
        }
        assert_eq!(official.ask(transport, "join_campaign", join(1)).await["success"], true);
        let sent = memory.status(campaign(1), 1);
        while official.event(transport, "campaign:status").await[0]["eventId"] != sent {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_of_a_campaign_joins_it() {
    let (memory, running, mut official) = world().await;
    memory.own("bert", campaign(2));
    official.connect("a", &running.url(), &token("anna"), json!({})).await;
    official.next("a", "connect").await;
    let refused = |message: &str| json!({ "success": false, "message": message });
    for number in [2, 3] {
        let answer = official.ask("a", "join_campaign", join(number)).await;
        assert_eq!(answer, refused("Campaign not found or access denied"));
    }
    for argument in [json!({}), json!(null), json!({ "campaignId": "campaign-123" }), json!([1])] {
        assert_eq!(official.ask("a", "join_campaign", argument).await, refused("Invalid campaign ID"));
    }
    let missed = official.ask("a", "get_missed_events", join(2)).await;
    assert_eq!((&missed["success"], &missed["events"]), (&json!(false), &json!([])));
    assert_eq!(official.ask("a", "get_subscriptions", json!({})).await["campaigns"], json!([]));
    // Nothing of another's campaign comes, and the own one works.
    memory.status(campaign(2), 1);
    official.ask("a", "join_campaign", join(1)).await;
    let own = memory.status(campaign(1), 1);
    assert_eq!(official.event("a", "campaign:status").await[0]["eventId"], own);
    memory.set_away(true);
    assert_eq!(official.ask("a", "join_campaign", join(2)).await, refused("Failed to join campaign"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_gets_nothing_more() {
    let (memory, running, mut official) = world().await;
    memory.own("anna", campaign(2));
    official.connect("a", &running.url(), &token("anna"), json!({})).await;
    official.next("a", "connect").await;
    for number in [1, 2] {
        official.ask("a", "join_campaign", join(number)).await;
    }
    let answer = official.ask("a", "leave_campaign", join(1)).await;
    assert_eq!(answer["message"], format!("Successfully left campaign {}", campaign(1)));
    memory.status(campaign(1), 1);
    memory.status(campaign(2), 2);
    assert_eq!(official.event("a", "campaign:status").await[0]["campaignId"], json!(campaign(2)));
    let answer = official.ask("a", "get_subscriptions", json!({})).await;
    assert_eq!(answer, json!({ "success": true, "campaigns": [campaign(2)], "recovered": false }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_bad_token_is_a_connect_error() {
    let (_memory, running, mut official) = world().await;
    let expired = token_until("anna", SystemTime::now() - Duration::from_secs(1));
    for (id, token, message) in [
        ("none", String::new(), "Authentication required"),
        ("bad", format!("{}x", token("anna")), "Invalid token"),
        ("expired", expired, "Token expired"),
    ] {
        for transport in TRANSPORTS {
            let id = format!("{id}-{transport}");
            official.connect(&id, &running.url(), &token, by(transport)).await;
            let refused = official.next(&id, "connect_error").await;
            assert_eq!(refused["message"], message);
            assert!(refused["data"]["code"].is_string(), "{refused}");
        }
    }
    let url = format!("http://127.0.0.1:{}/other", running.port);
    official.connect("other", &url, &token("anna"), json!({})).await;
    assert_eq!(official.next("other", "connect_error").await["message"], "Invalid namespace");
    assert_eq!(running.gateway.counts().connects, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_may_stand_in_the_url_and_counts_before_that_of_the_packet() {
    let (_memory, running, mut official) = world().await;
    let options = json!({ "query": { "token": token("anna") }, "auth": { "token": "wrong" } });
    official.connect("a", &running.url(), "", options).await;
    official.next("a", "connect").await;
    assert_eq!(official.ask("a", "join_campaign", join(1)).await["success"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_acknowledged_and_answered() {
    let (_memory, running, mut official) = world().await;
    official.connect("a", &running.url(), &token("anna"), json!({})).await;
    assert_eq!(official.ask("a", "ping", json!({})).await, "pong");
    assert!(official.event("a", "pong").await[0]["timestamp"].is_string());
    assert_eq!(official.ask("a", "something", json!({})).await["success"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_events_are_the_newest_since_an_event_or_a_time() {
    let (memory, running, mut official) = world().await;
    official.connect("a", &running.url(), &token("anna"), json!({})).await;
    for number in 1..=60 {
        memory.status(campaign(1), number);
    }
    let mut ask = async |mut argument: Value| {
        argument["campaignId"] = json!(campaign(1));
        let answer = official.ask("a", "get_missed_events", argument).await;
        assert_eq!(answer["success"], true, "{answer}");
        let events = answer["events"].as_array().unwrap();
        assert!(events.iter().all(|event| event["type"] == "campaign:status"), "{answer}");
        let ids: Vec<u64> =
            events.iter().map(|event| event["payload"]["eventId"].as_u64().unwrap()).collect();
        (ids, answer["truncated"].as_bool().unwrap())
    };
    assert_eq!(ask(json!({})).await, ((11..=60).collect(), true));
    assert_eq!(ask(json!({ "since": 55 })).await, ((56..=60).collect(), false));
    assert_eq!(ask(json!({ "since": 50, "limit": 2 })).await, (vec![59, 60], true));
    assert_eq!(
        ask(json!({ "since": "2020-01-01T00:00:00Z", "limit": 1_000 })).await,
        ((1..=60).collect(), false)
    );
    assert_eq!(ask(json!({ "since": "2999-01-01T00:00:00.000Z" })).await, (vec![], false));
    memory.truncate(57);
    assert_eq!(ask(json!({ "since": 56 })).await, (vec![58, 59, 60], true));
    assert_eq!(ask(json!({ "since": 57 })).await, (vec![58, 59, 60], false));
}

/// Lets seconds pass, of which the gateway sees each.
async fn pass(clock: &Clock, seconds: u64) {
    for _ in 0..seconds {
        // The round of the gateway waits, and the time limit of its reading of the log.
        let waits = async || clock.sleepers() >= 2;
        testkit::wait_until("the gateway waits", Duration::from_secs(60), waits).await;
        clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiring_token_is_told_and_may_be_replaced_before_its_rooms_are_left() {
    let memory = Memory::default();
    memory.own("anna", campaign(1));
    let clock = Clock::manual(Duration::from_secs(1_800_000_000));
    let running = Running::start_at(&memory, settings(), 0, clock.clone()).await;
    let mut official = Official::start().await;
    let until = |seconds| SystemTime::UNIX_EPOCH + clock.unix() + Duration::from_secs(seconds);
    let (soon, later) = (token_until("anna", until(100)), token_until("anna", until(3_600)));
    for id in ["stays", "goes"] {
        official.connect(id, &running.url(), &soon, json!({})).await;
        official.ask(id, "join_campaign", join(1)).await;
    }
    pass(&clock, 41).await;
    for id in ["stays", "goes"] {
        assert_eq!(official.event(id, "auth:expired").await[0]["expired"], false);
    }
    let foreign =
        official.ask("stays", "auth:refresh", json!({ "token": token_until("bert", until(3_600)) })).await;
    assert_eq!(foreign["success"], false);
    let answer = official.ask("stays", "auth:refresh", json!({ "token": later })).await;
    assert_eq!((&answer["success"], &answer["campaigns"]), (&json!(true), &json!([campaign(1)])));
    pass(&clock, 60).await;
    assert_eq!(official.event("goes", "auth:expired").await[0]["expired"], true);
    assert_eq!(official.ask("goes", "join_campaign", join(1)).await["message"], "Authentication required");
    let sent = memory.status(campaign(1), 1);
    assert_eq!(official.event("stays", "campaign:status").await[0]["eventId"], sent);
    pass(&clock, 60).await;
    let ended = official.next("goes", "disconnect").await;
    assert_eq!(ended["reason"], "io server disconnect", "so it does not come back by itself");
    let left = official.left("goes");
    assert!(left.iter().all(|line| line["name"] != "campaign:status"), "{left:?}");
    assert_eq!(running.gateway.counts().expired, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_sites_that_are_not_listed_are_refused_and_other_paths_are_pages() {
    let memory = Memory::default();
    memory.own("anna", campaign(1));
    let mut settings = settings();
    settings.connections.origins = Origins::List(vec!["https://app.example".to_owned()]);
    let running = Running::start(&memory, settings).await;
    let mut official = Official::start().await;
    for transport in ["websocket", "polling"] {
        let headers =
            |origin: &str| json!({ "transports": [transport], "extraHeaders": { "origin": origin } });
        let (good, bad) = (format!("good-{transport}"), format!("bad-{transport}"));
        official.connect(&good, &running.url(), &token("anna"), headers("https://app.example")).await;
        official.next(&good, "connect").await;
        official.connect(&bad, &running.url(), &token("anna"), headers("https://evil.example")).await;
        official.next(&bad, "connect_error").await;
    }
    let client = http_client::HttpClient::new(http_client::Trust::default());
    let url = format!("http://127.0.0.1:{}/campaigns/x/broadcast", running.port).parse().unwrap();
    let answer =
        client.post(&http_client::HttpTarget::new(&url).unwrap(), "{}".to_owned(), 1_000).await.unwrap();
    assert_eq!(&answer.body[..], b"POST /campaigns/x/broadcast {}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_with_inline_callbacks_is_slowed_down_and_disturbs_no_other_user() {
    let memory = Memory::default();
    memory.own("bert", campaign(1));
    let running = Running::start(&memory, Settings::default()).await;
    let (mut official, mut other) = (Official::start().await, Official::start().await);
    other.connect("b", &running.url(), &token("bert"), json!({})).await;
    assert_eq!(other.ask("b", "join_campaign", join(1)).await["success"], true);
    let options = json!({ "auth": { "token": token("anna") }, "transports": ["websocket"] });
    let command = json!({
        "do": "flood", "id": "f", "url": running.url(), "options": options, "count": 3_847, "within": 5_000,
    });
    let began = Instant::now();
    official.tell(command).await;
    for number in 0..50 {
        let sent = memory.status(campaign(1), number);
        assert_eq!(other.event("b", "campaign:status").await[0]["eventId"], sent);
    }
    let long = Duration::from_secs(240);
    let flooded = official.wait_within(long, |line| line["what"] == "flooded").await;
    println!("{flooded}");
    assert_eq!(flooded["made"], 3_847);
    let counts = running.gateway.counts();
    println!("let in {}, limited {}", counts.connects, counts.connects_limited);
    // 10 at once and 5 a second; one is the other user's.
    let most = 12 + (5.0 * began.elapsed().as_secs_f64()).ceil() as u64;
    assert!(counts.connects <= most, "{most}: {counts:?}");
    assert!(other.left("b").iter().all(|line| line["what"] != "disconnect"));
    let gone = async || running.gateway.counts().clients == 1;
    testkit::wait_until("the flood's connections are gone", Duration::from_secs(20), gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_joins_is_slowed_down() {
    let memory = Memory::default();
    memory.own("anna", campaign(1));
    // Its time stands still: nobody gets more than what is allowed at once.
    let clock = Clock::manual(Duration::from_secs(1_800_000_000));
    let running = Running::start_at(&memory, Settings::default(), 0, clock.clone()).await;
    let mut official = Official::start().await;
    let token = token_until("anna", SystemTime::UNIX_EPOCH + clock.unix() + Duration::from_secs(3_600));
    official.connect("a", &running.url(), &token, json!({})).await;
    let mut refused = 0;
    for number in 0..200 {
        let answer = official.ask("a", "join_campaign", join(number)).await;
        if answer["message"] == "Too many requests" {
            assert!(answer["retryAfterMs"].as_u64().unwrap() <= 50, "{answer}");
            refused += 1;
        }
    }
    assert_eq!(refused, 160, "40 at once");
    clock.advance(Duration::from_secs(1));
    assert_eq!(official.ask("a", "join_campaign", join(1)).await["success"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_events_that_exceed_what_may_wait_for_a_client_are_cut_and_the_answer_says_so() {
    let memory = Memory::default();
    memory.own("anna", campaign(1));
    // However long the client takes: that it is too slow is tested elsewhere.
    let patient = Settings { part_within: SOON, ..settings() };
    let (running, mut official) = (Running::start(&memory, patient).await, Official::start().await);
    official.connect("a", &running.url(), &token("anna"), by("websocket")).await;
    assert_eq!(official.ask("a", "join_campaign", join(1)).await["success"], true);
    let payload = json!({ "filler": "x".repeat(8_000) }).to_string();
    for _ in 0..60 {
        memory.append(campaign(1), EventKind::Job, &payload);
    }
    let last = memory.last();
    let question = json!({ "campaignId": campaign(1), "since": 0, "limit": 60 });
    let answer = official.ask("a", "get_missed_events", question).await;
    let events = answer["events"].as_array().unwrap();
    assert!((2..60).contains(&events.len()), "{}", events.len());
    assert_eq!(events.last().unwrap()["payload"]["eventId"], last);
    assert_eq!(answer["truncated"], true);
    assert!(official.left("a").iter().all(|line| line["what"] != "disconnect"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_while_its_campaign_is_looked_up_joins_nothing() {
    let (memory, running, mut official) = world().await;
    let expires = SystemTime::now() + Duration::from_secs(2);
    official.connect("a", &running.url(), &token_until("anna", expires), json!({})).await;
    official.next("a", "connect").await;
    let mut gate = memory.hold("owner_of", 0, false);
    let ask = json!({ "do": "emit", "id": "a", "name": "join_campaign", "values": [join(1)], "number": 999 });
    official.tell(ask).await;
    gate.reached().await;
    let is_expired = async || running.gateway.counts().expired == 1;
    testkit::wait_until("the token has expired", Duration::from_secs(10), is_expired).await;
    gate.open();
    let ack = official.wait(|line| line["what"] == "ack" && line["number"] == 999).await;
    assert_eq!(ack["value"]["message"], "Authentication required", "{ack}");
    assert_eq!(running.gateway.counts().rooms, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_while_missed_events_are_read_gets_none() {
    let (memory, running, mut official) = world().await;
    memory.status(campaign(1), 1);
    let expires = SystemTime::now() + Duration::from_secs(2);
    official.connect("a", &running.url(), &token_until("anna", expires), json!({})).await;
    official.next("a", "connect").await;
    let mut gate = memory.hold("missed", 0, false);
    let ask =
        json!({ "do": "emit", "id": "a", "name": "get_missed_events", "values": [join(1)], "number": 999 });
    official.tell(ask).await;
    gate.reached().await;
    let is_expired = async || running.gateway.counts().expired == 1;
    testkit::wait_until("the token has expired", Duration::from_secs(10), is_expired).await;
    gate.open();
    let ack = official.wait(|line| line["what"] == "ack" && line["number"] == 999).await;
    assert_eq!((&ack["value"]["success"], &ack["value"]["events"]), (&json!(false), &json!([])), "{ack}");
}
