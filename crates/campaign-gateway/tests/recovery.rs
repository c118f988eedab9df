//! Clients that were away: each event once and in order, after a cut, a crash of the gateway, on another replica.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test that can not go on panics.

mod common;

use std::time::{Duration, SystemTime};

use campaign_gateway::{EventKind, Settings};
use common::{
    log::Memory,
    official::Official,
    world::{Running, campaign, settings, token, token_until},
};
use serde_json::{Value, json};
use supervision::Clock;

fn join(number: u128) -> Value {
    json!({ "campaignId": campaign(number) })
}

/// A log with `campaigns` of the user `anna`, a gateway on it, and clients.
async fn world(campaigns: u128) -> (Memory, Running, Official) {
    let memory = Memory::default();
    (1..=campaigns).for_each(|number| memory.own("anna", campaign(number)));
    let running = Running::start(&memory, settings()).await;
    (memory, running, Official::start().await)
}

/// Receives events up to this one, and returns the ids of all.
async fn ids_until(official: &mut Official, id: &str, last: u64) -> Vec<u64> {
    let mut ids = Vec::new();
    while ids.last() != Some(&last) {
        let line = official.wait(|line| line["id"] == id && line["what"] == "event").await;
        ids.push(line["values"][0]["eventId"].as_u64().unwrap());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_cut_off_is_recovered_and_misses_nothing() {
    let (memory, running, mut official) = world(2).await;
    for transport in ["websocket", "polling"] {
        official
            .connect(transport, &running.url(), &token("anna"), json!({ "transports": [transport] }))
            .await;
        official.next(transport, "connect").await;
        for number in [1, 2] {
            official.ask(transport, "join_campaign", join(number)).await;
        }
        let first = memory.status(campaign(1), 0);
        assert_eq!(ids_until(&mut official, transport, first).await.last(), Some(&first));
        official.tell(json!({ "do": "cut", "id": transport })).await;
        official.next(transport, "disconnect").await;
        let mut last = 0;
        for number in 0..20 {
            memory.status(campaign(1 + number % 2), 0);
            last = memory.append(campaign(1 + number % 2), EventKind::Job, "{}");
        }
        assert_eq!(official.next(transport, "connect").await["recovered"], true);
        assert_eq!(ids_until(&mut official, transport, last).await, (first + 1..=last).collect::<Vec<_>>());
        let answer = official.ask(transport, "get_subscriptions", json!({})).await;
        assert_eq!(answer["recovered"], true);
        assert_eq!(answer["campaigns"], json!([campaign(1), campaign(2)]));
        official.tell(json!({ "do": "disconnect", "id": transport })).await;
    }
    assert_eq!(running.gateway.counts().recovered, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_had_no_event_yet_is_recovered_from_where_it_joined() {
    let (memory, running, mut official) = world(1).await;
    memory.status(campaign(1), 1);
    official.connect("a", &running.url(), &token("anna"), json!({ "transports": ["websocket"] })).await;
    official.ask("a", "join_campaign", join(1)).await;
    official.event("a", "campaign:status").await;
    official.tell(json!({ "do": "cut", "id": "a" })).await;
    official.next("a", "disconnect").await;
    let last = memory.status(campaign(1), 2);
    assert_eq!(official.wait(|line| line["what"] == "connect" && line["recovered"] == true).await["id"], "a");
    assert_eq!(ids_until(&mut official, "a", last).await, [last]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_go_from_one_replica_to_another_while_events_come_and_get_each_once_in_order() {
    let (memory, one, mut official) = world(3).await;
    let other = Running::start(&memory, settings()).await;
    let clients: Vec<String> = (0..6).map(|number| format!("c{number}")).collect();
    for (number, id) in clients.iter().enumerate() {
        let running = if number % 2 == 0 { &one } else { &other };
        let transports = if number % 3 == 0 { json!(["polling"]) } else { json!(["websocket"]) };
        official.connect(id, &running.url(), &token("anna"), json!({ "transports": transports })).await;
        official.next(id, "connect").await;
        for number in 1..=3 {
            official.ask(id, "join_campaign", join(number)).await;
        }
    }
    let mut last = 0;
    for round in 0..200_u64 {
        last = memory.status(campaign(1 + u128::from(round % 3)), round);
        if round % 10 == 0 {
            // A client that loses one replica comes back at the other, as through a balancer.
            let id = &clients[(round / 10) as usize % clients.len()];
            let running = if round / 60 % 2 == 0 { &other } else { &one };
            official.tell(json!({ "do": "cut", "id": id, "next": running.url() })).await;
        }
        tokio::task::yield_now().await;
    }
    for id in &clients {
        let ids = ids_until(&mut official, id, last).await;
        assert_eq!(ids, (1..=last).collect::<Vec<_>>(), "{id}");
    }
    drop((one, other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_loses_no_event_and_no_room() {
    let (memory, mut running, mut official) = world(2).await;
    for (id, transport) in [("w", "websocket"), ("p", "polling")] {
        official
            .connect(
                id,
                &running.url(),
                &token("anna"),
                json!({ "transports": [transport], "reconnectionDelay": 20 }),
            )
            .await;
        official.next(id, "connect").await;
        for number in [1, 2] {
            official.ask(id, "join_campaign", join(number)).await;
        }
    }
    let mut last = 0;
    for round in 0..10 {
        for number in 0..5 {
            last = memory.status(campaign(1 + number % 2), round);
        }
        let port = running.kill().await;
        last = memory.append(campaign(1), EventKind::Job, "{}").max(last);
        running = Running::start_at(&memory, settings(), port, Clock::system()).await;
        for id in ["w", "p"] {
            let connected = official.next(id, "connect").await;
            assert_eq!(connected["recovered"], true, "{connected}");
        }
    }
    for id in ["w", "p"] {
        assert_eq!(ids_until(&mut official, id, last).await, (1..=last).collect::<Vec<_>>(), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_not_recovered_where_events_are_gone_and_is_told_so() {
    let (memory, running, mut official) = world(1).await;
    official.connect("a", &running.url(), &token("anna"), json!({ "transports": ["websocket"] })).await;
    official.ask("a", "join_campaign", join(1)).await;
    let first = memory.status(campaign(1), 1);
    ids_until(&mut official, "a", first).await;
    official.next("a", "connect").await;
    let port = running.stop().await;
    official.next("a", "disconnect").await;
    let gone = memory.status(campaign(1), 2);
    let last = memory.status(campaign(1), 3);
    memory.truncate(gone);
    let running = Running::start_at(&memory, settings(), port, Clock::system()).await;
    assert_eq!(official.next("a", "connect").await["recovered"], false);
    assert_eq!(official.ask("a", "get_subscriptions", json!({})).await["campaigns"], json!([]));
    let mut argument = join(1);
    argument["since"] = json!(first);
    let missed = official.ask("a", "get_missed_events", argument).await;
    assert_eq!(missed["truncated"], true, "{missed}");
    assert_eq!(missed["events"][0]["payload"]["eventId"], last);
    assert_eq!(running.gateway.counts().not_recovered, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_does_not_get_the_rooms_of_a_secret_that_it_knows() {
    let (memory, running, mut official) = world(1).await;
    official.connect("a", &running.url(), &token("anna"), json!({ "transports": ["websocket"] })).await;
    official.ask("a", "join_campaign", join(1)).await;
    let first = memory.status(campaign(1), 1);
    ids_until(&mut official, "a", first).await;
    official.next("a", "connect").await;
    // The same client, with its secret, and another's token.
    official.tell(json!({ "do": "token", "id": "a", "token": token("bert") })).await;
    official.tell(json!({ "do": "cut", "id": "a" })).await;
    assert_eq!(official.next("a", "connect").await["recovered"], false);
    memory.status(campaign(1), 2);
    assert_eq!(official.ask("a", "get_subscriptions", json!({})).await["campaigns"], json!([]));
    assert!(official.left("a").iter().all(|line| line["name"] != "campaign:status"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_kept_for_two_minutes_after_a_client_has_left_and_longer_while_it_is_there() {
    let (memory, running, mut official) = world(1).await;
    official.connect("a", &running.url(), &token("anna"), json!({})).await;
    official.ask("a", "join_campaign", join(1)).await;
    assert!(memory.longest_session() > Duration::from_secs(590));
    official.tell(json!({ "do": "disconnect", "id": "a" })).await;
    let is_short = async || memory.longest_session() <= Duration::from_secs(120);
    testkit::wait_until("it lives for two minutes", Duration::from_secs(10), is_short).await;
    assert!(memory.longest_session() > Duration::from_secs(100));
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_away_for_a_while_costs_no_event() {
    let (memory, running, mut official) = world(1).await;
    official.connect("a", &running.url(), &token("anna"), json!({})).await;
    official.ask("a", "join_campaign", join(1)).await;
    let first = memory.status(campaign(1), 1);
    ids_until(&mut official, "a", first).await;
    memory.set_away(true);
    for number in 2..=5 {
        memory.status(campaign(1), number);
    }
    let is_retrying =
        async || matches!(running.gateway.feed_state(), campaign_gateway::FeedState::Retrying { .. });
    testkit::wait_until("the gateway notices", Duration::from_secs(10), is_retrying).await;
    memory.set_away(false);
    assert_eq!(ids_until(&mut official, "a", first + 4).await, (first + 1..=first + 4).collect::<Vec<_>>());
    assert!(official.left("a").iter().all(|line| line["what"] != "disconnect"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_missed_events_lets_its_clients_connect_again() {
    let (memory, running, mut official) = world(1).await;
    official.connect("a", &running.url(), &token("anna"), json!({ "transports": ["websocket"] })).await;
    official.ask("a", "join_campaign", join(1)).await;
    let first = memory.status(campaign(1), 1);
    ids_until(&mut official, "a", first).await;
    official.next("a", "connect").await;
    memory.set_away(true);
    let gone = memory.status(campaign(1), 2);
    memory.truncate(gone);
    memory.set_away(false);
    memory.status(campaign(1), 3);
    assert_eq!(official.next("a", "connect").await["recovered"], false);
    assert_eq!(official.ask("a", "join_campaign", join(1)).await["success"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_missed_events_come_as_fast_as_the_client_reads_them() {
    // The library's default begins with polling, and changes its transport while the first events come.
    for transports in [json!(["websocket"]), json!(["polling"]), json!(["polling", "websocket"])] {
        many_missed(json!({ "transports": transports })).await;
    }
}

async fn many_missed(options: Value) {
    let memory = Memory::default();
    memory.own("anna", campaign(1));
    memory.own("anna", campaign(2));
    // A buffer that holds a hundredth of what was missed.
    let mut small: Settings = settings();
    small.connections.client_buffer = socket_io::Bounds { messages: 64, bytes: 16 << 10 };
    let running = Running::start(&memory, small.clone()).await;
    let mut official = Official::start().await;
    official.connect("a", &running.url(), &token("anna"), options).await;
    for number in [1, 2] {
        official.ask("a", "join_campaign", join(number)).await;
    }
    official.next("a", "connect").await;
    let port = running.stop().await;
    official.next("a", "disconnect").await;
    let mut last = 0;
    for number in 0..5_000 {
        last =
            memory.append(campaign(1 + number % 2), EventKind::Job, r#"{"jobId":"0f1e2d3c-4b5a-6978-8796"}"#);
    }
    let running = Running::start_at(&memory, small, port, Clock::system()).await;
    assert_eq!(official.next("a", "connect").await["recovered"], true);
    // Before the client would find out by a missing ping that nothing comes any more, and go on in another session.
    let ids = tokio::time::timeout(Duration::from_secs(40), ids_until(&mut official, "a", last)).await;
    assert_eq!(ids.expect("all come"), (1..=last).collect::<Vec<_>>());
    assert_eq!(running.gateway.counts().replayed, 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_behind_its_client_sends_nothing_twice() {
    let (memory, running, mut official) = world(1).await;
    let late = memory.of_a_replica();
    let mut gate = late.hold("feed", 0, false);
    let behind = Running::start(&late, settings()).await;
    gate.reached().await;
    official.connect("a", &running.url(), &token("anna"), json!({ "transports": ["websocket"] })).await;
    official.ask("a", "join_campaign", join(1)).await;
    official.next("a", "connect").await;
    for _ in 0..10 {
        memory.append(campaign(1), EventKind::Job, "{}");
    }
    let mut ids = ids_until(&mut official, "a", 10).await;
    official.tell(json!({ "do": "cut_if_connected", "id": "a", "next": behind.url() })).await;
    let is_there = async || behind.gateway.counts().clients == 1;
    testkit::wait_until("the client is at the other replica", Duration::from_secs(10), is_there).await;
    // The replica waits until it knows what the client knows; were it to let the client in before, it would do so now.
    let is_in = async || {
        while behind.gateway.counts().recovered == 0 {
            tokio::task::yield_now().await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(500), is_in()).await;
    gate.open();
    assert_eq!(official.next("a", "connect").await["recovered"], true);
    let last = memory.append(campaign(1), EventKind::Job, "{}");
    ids.extend(ids_until(&mut official, "a", last).await);
    assert_eq!(ids, (1..=last).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_breaks_off_sends_nothing_of_what_came_meanwhile() {
    let (memory, running, mut official) = world(1).await;
    official.connect("a", &running.url(), &token("anna"), json!({ "transports": ["websocket"] })).await;
    official.ask("a", "join_campaign", join(1)).await;
    let port = running.stop().await;
    official.next("a", "disconnect").await;
    for _ in 0..500 {
        memory.append(campaign(1), EventKind::Job, "{}");
    }
    // The second page of what was missed can't be read, and an event comes before that is known.
    let mut gate = memory.hold("between", 1, true);
    let running = Running::start_at(&memory, settings(), port, Clock::system()).await;
    gate.reached().await;
    let last = memory.append(campaign(1), EventKind::Job, "{}");
    let is_sent = async || running.gateway.counts().position >= last;
    testkit::wait_until("the event is held for the client", Duration::from_secs(10), is_sent).await;
    gate.open();
    assert_eq!(ids_until(&mut official, "a", last).await, (1..=last).collect::<Vec<_>>());
}

/// Random numbers that a seed fixes.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes"]
async fn a_thousand_cuts_and_twenty_crashes_of_gateways_cost_no_event_and_double_none() {
    let seed = std::env::var("GATEWAY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    println!("GATEWAY_SEED={seed}");
    let mut dice = Dice(seed);
    let memory = Memory::default();
    (1..=5).for_each(|number| memory.own("anna", campaign(number)));
    // A client whose gateway crashes while it changes to a WebSocket has paused its polling, and finds out by the missing ping alone.
    let mut settings = settings();
    settings.connections.ping_interval = Duration::from_secs(2);
    settings.connections.ping_timeout = Duration::from_secs(3);
    let start = async |port| Running::start_at(&memory, settings.clone(), port, Clock::system()).await;
    let mut replicas = [start(0).await, start(0).await];
    let mut official = Official::start().await;
    let clients: Vec<String> = (0..30).map(|number| format!("c{number}")).collect();
    for (number, id) in clients.iter().enumerate() {
        let transports = [json!(["websocket"]), json!(["polling"]), json!(["polling", "websocket"])];
        let options = json!({ "transports": transports[number % 3] });
        official.connect(id, &replicas[number % 2].url(), &token("anna"), options).await;
        official.next(id, "connect").await;
        for number in 1..=5 {
            official.ask(id, "join_campaign", join(number)).await;
        }
    }
    let mut received: std::collections::HashMap<String, Vec<u64>> = Default::default();
    let (mut last, mut cuts) = (0, 0);
    for round in 0..1_000_u64 {
        for _ in 0..=dice.below(2) {
            last = memory.status(campaign(1 + u128::from(dice.below(5))), round);
        }
        let id = &clients[dice.below(30) as usize];
        let next = replicas[dice.below(2) as usize].url();
        // One that is connecting has nothing to be cut.
        official.tell(json!({ "do": "cut_if_connected", "id": id, "next": next })).await;
        cuts += 1;
        if round % 50 == 49 {
            let place = dice.below(2) as usize;
            let port = replicas[place].port;
            replicas[place].crash().await;
            last = memory.status(campaign(1), round);
            replicas[place] = start(port).await;
        }
        // Until another client has all, so that cuts and crashes meet clients in all states.
        let other = &clients[dice.below(30) as usize];
        until(&mut official, &mut received, other, last).await;
    }
    for id in &clients {
        until(&mut official, &mut received, id, last).await;
        assert_eq!(received[id], (1..=last).collect::<Vec<_>>(), "{id}");
    }
    let recovered: u64 = replicas.iter().map(|running| running.gateway.counts().recovered).sum();
    println!("{cuts} cuts, {last} events, {recovered} recoveries at the gateways of the end");
    assert!(recovered > 30, "{recovered}");
}

/// Notes all events until this client has this one. Each connection after the first must be a recovered one.
async fn until(
    official: &mut Official,
    received: &mut std::collections::HashMap<String, Vec<u64>>,
    id: &str,
    last: u64,
) {
    while received.get(id).and_then(|ids| ids.last()).is_none_or(|got| *got < last) {
        let line = official.wait(|line| line["id"].is_string()).await;
        match line["what"].as_str() {
            Some("event") => {
                let number = line["values"][0]["eventId"].as_u64().unwrap();
                received.entry(line["id"].as_str().unwrap().to_owned()).or_default().push(number);
            }
            Some("connect") => assert_eq!(line["recovered"], true, "{line}"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_ends_with_the_rights_of_its_token_and_says_so() {
    let (memory, running, mut official) = world(1).await;
    let token = token_until("anna", SystemTime::now() + Duration::from_secs(5));
    official.connect("a", &running.url(), &token, json!({})).await;
    official.ask("a", "join_campaign", join(1)).await;
    official.next("a", "connect").await;
    let port = running.stop().await;
    official.next("a", "disconnect").await;
    (0..1_000).for_each(|_| {
        memory.append(campaign(1), EventKind::Job, "{}");
    });
    // The first page is read before the client is in; the second one waits for the end of the token.
    let mut gate = memory.hold("between", 1, false);
    let patient = Settings { source_timeout: Duration::from_secs(30), ..settings() };
    let running = Running::start_at(&memory, patient, port, Clock::system()).await;
    assert_eq!(official.next("a", "connect").await["recovered"], true);
    gate.reached().await;
    // Held back behind the replay, and lost with the rights.
    memory.status(campaign(1), 1);
    let is_expired = async || running.gateway.counts().expired == 1;
    testkit::wait_until("the token has expired", Duration::from_secs(10), is_expired).await;
    let is_told = |line: &Value| line["name"] == "auth:expired" && line["values"][0]["expired"] == true;
    official.wait(is_told).await;
    gate.open();
    // What is answered while messages are held is dropped with them: an answer says that the replay is over.
    let pong = async { while !is_answered(&mut official).await {} };
    tokio::time::timeout(Duration::from_secs(20), pong).await.expect("the replay is over");
    assert_eq!(running.gateway.counts().replayed, 200);
    let statuses = official.left("a").iter().filter(|line| line["name"] == "campaign:status").count();
    assert_eq!(statuses, 0);
}

/// Whether a ping is answered soon.
async fn is_answered(official: &mut Official) -> bool {
    let ping = official.ask("a", "ping", json!({}));
    tokio::time::timeout(Duration::from_secs(1), ping).await.is_ok()
}
