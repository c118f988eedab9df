//! Lanes that are refused, denied, paused, away, and what operators do with them.

use std::{collections::BTreeMap, time::Duration};

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use state_tracker::service::Service;
use supervision::fail::{Fault, When};
use testkit::{
    Authority, RedisServer, RelayerAnswer, RelayerServer, TlsFront, contents::query, wait_until, world::World,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    common::{Process, SOON, run, service, with},
    handed_over, judge, of_market, telling,
};

/// The operators' token.
const OPERATOR: &str = "the-token-of-an-operator";

/// A world whose chain has released epochs of both markets, whose windows have closed.
async fn told_of(seed: u64) -> (World, RedisServer, MultiplexedConnection, RelayerServer) {
    let mut world = World::new(seed).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let relayer = RelayerServer::start().await.expect("a relayer");
    world.grow_collected(60, &mut connection).await;
    (world, redis, connection, relayer)
}

/// Waits until the relayer has got all that was handed over of a market up to the head.
async fn all_told(connection: &MultiplexedConnection, world: &World, relayer: &RelayerServer, market: &str) {
    let height = world.height().await;
    wait_until("all is told", 2 * SOON, async || {
        let mut connection = connection.clone();
        let followed =
            super::common::checkpoint(&mut connection).await.is_some_and(|(number, _)| number == height);
        let windows = format!("tracker:chain:{}:windows", market.to_lowercase());
        let windows: Vec<String> = query(&mut connection, &["HVALS", &windows]).await;
        let handed = handed_over(&mut connection, market).await;
        let calls = relayer.calls();
        let taken = of_market(&calls, market).iter().filter(|call| call.is_taken()).count();
        followed
            && !windows.iter().any(|window| window.contains("Closed"))
            && taken >= handed.len()
            && taken > 3
    })
    .await;
}

/// The lanes as the command shows them.
async fn lanes(environment: &BTreeMap<String, String>) -> Value {
    let (code, text, errors) = run(environment, &["outbox", "list", "--json"]).await;
    assert_eq!(code, Some(0), "{errors}");
    serde_json::from_str(&text).expect("JSON")
}

fn lane<'a>(lanes: &'a Value, market: &str) -> &'a Value {
    let is_of = |lane: &&Value| lane["market"].as_str().is_some_and(|of| of.eq_ignore_ascii_case(market));
    lanes.as_array().expect("a list").iter().find(is_of).expect("it has a lane")
}

async fn stopped(service: Service) {
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_call_goes_to_the_dead_ones_after_ten_seconds_and_delays_no_other_market() {
    let (world, redis, mut connection, relayer) = told_of(31).await;
    let [refused, other] = [0, 1].map(|index| world.contracts.markets[index].clone());
    // The first epoch that is told of this market.
    let bad = 100;
    relayer.answer(move |call, _| {
        let answer = match call.field("epochID").as_u64() {
            Some(epoch) if epoch == bad => RelayerAnswer::Say(422, None),
            _ => RelayerAnswer::Accept,
        };
        (answer, Duration::ZERO)
    });
    let environment = telling(redis.addr(), &world, &relayer);
    let process = Process::start(&environment).await;
    all_told(&connection, &world, &relayer, &other).await;
    let calls = relayer.calls();
    let waiting = of_market(&calls, &refused).iter().all(|call| call.field("epochID") == bad);
    assert!(waiting, "nothing overtakes the call that is refused");
    judge(&calls, &other, &handed_over(&mut connection, &other).await);
    // Then the lane goes on without it.
    let mut expected = handed_over(&mut connection, &refused).await;
    wait_until("the lane goes on", SOON, async || relayer.calls().len() > calls.len() + expected.len() / 2)
        .await;
    let calls = relayer.calls();
    let refusals: Vec<_> =
        of_market(&calls, &refused).into_iter().filter(|call| call.field("epochID") == bad).collect();
    let (first, last) = (refusals.first().expect("it was called"), refusals.last().expect("it was called"));
    let tried = last.at - first.at;
    assert!(tried >= Duration::from_secs(10) && refusals.len() >= 4, "{} within {tried:?}", refusals.len());
    assert!(refusals.iter().all(|call| call.key == first.key));
    wait_until("it is told", SOON, async || process.log.borrow().contains("set aside with the dead ones"))
        .await;
    assert_eq!(lane(&lanes(&environment).await, &refused)["dead"], 1);
    // An operator finds it, and puts it behind the others once the relayer takes it.
    let (_, dead, _) = run(&environment, &["outbox", "list", &refused, "--stage", "dead", "--json"]).await;
    let dead: Value = serde_json::from_str(&dead).expect("JSON");
    assert_eq!(dead[0]["call"]["epoch"], bad);
    assert!(dead[0]["why"].as_str().expect("a reason").contains("422"), "{dead}");
    relayer.always(RelayerAnswer::Accept);
    let (code, _, errors) = run(&environment, &["outbox", "retry", &refused, "--all", "--yes"]).await;
    assert_eq!(code, Some(0), "{errors}");
    wait_until("it is delivered", SOON, async || {
        of_market(&relayer.calls(), &refused).last().is_some_and(|call| call.field("epochID") == bad)
    })
    .await;
    let calls = relayer.calls();
    let last = of_market(&calls, &refused).pop().expect("a call");
    assert_eq!(last.key, first.key, "with the same key");
    expected.remove(&bad);
    assert_eq!(lane(&lanes(&environment).await, &refused)["dead"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_pauses_the_lane_and_a_restart_with_the_right_one_goes_on() {
    let (world, redis, mut connection, relayer) = told_of(32).await;
    relayer.answer(|call, _| {
        let is_right = call.field("authToken") == super::TOKEN;
        (if is_right { RelayerAnswer::Accept } else { RelayerAnswer::Say(401, None) }, Duration::ZERO)
    });
    let environment = telling(redis.addr(), &world, &relayer);
    let wrong = with(&environment, &[("TX_RELAYER_AUTH_WRITE_TOKEN", "not-the-right-token")]);
    let mut process = Process::start(&wrong).await;
    wait_until("both lanes are denied", SOON, async || {
        let lanes = lanes(&environment).await;
        lanes.as_array().is_some_and(|all| all.len() == 2 && all.iter().all(|lane| !lane["denied"].is_null()))
    })
    .await;
    let tried = relayer.calls().len();
    assert!(tried <= 2, "one call a lane: {tried}");
    let log = process.log.borrow().clone();
    assert_eq!(log.matches("relayer_denies").count(), 2, "told once a lane: {log}");
    assert!(!log.contains("not-the-right-token"), "{log}");
    // Nothing is thrown away, and a restart tries once more.
    process.signal("KILL").await;
    process.exit_code().await;
    let process = Process::start(&environment).await;
    for market in &world.contracts.markets {
        all_told(&connection, &world, &relayer, market).await;
    }
    let taken: Vec<_> = relayer.calls().into_iter().filter(|call| call.is_taken()).collect();
    for market in &world.contracts.markets {
        judge(&taken, market, &handed_over(&mut connection, market).await);
    }
    wait_until("no lane is held any more", SOON, async || {
        let lanes = lanes(&environment).await;
        lanes
            .as_array()
            .is_some_and(|all| all.iter().all(|lane| lane["denied"].is_null() && lane["waiting"] == 0))
    })
    .await;
    drop(process);
    let values: Vec<String> = query(&mut connection, &["KEYS", "tracker:*"]).await;
    for key in values {
        let dump: Vec<u8> = redis::cmd("DUMP").arg(&key).query_async(&mut connection).await.expect("a key");
        assert!(!String::from_utf8_lossy(&dump).contains(super::TOKEN), "{key} holds the token");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_wait_while_the_relayer_is_away_and_then_come_in_their_order() {
    let (mut world, redis, mut connection, mut relayer) = told_of(33).await;
    relayer.go_away();
    let environment = telling(redis.addr(), &world, &relayer);
    let process = Process::start(&environment).await;
    wait_until("calls wait", SOON, async || {
        let lanes = lanes(&environment).await;
        lanes
            .as_array()
            .is_some_and(|all| all.len() == 2 && all.iter().all(|lane| lane["waiting"].as_u64() > Some(3)))
    })
    .await;
    world.grow_collected(30, &mut connection).await;
    // Told once, after ten seconds.
    wait_until("it is told", SOON, async || process.log.borrow().matches("relayer_away").count() == 2).await;
    let metrics = super::common::get(process.metrics, "/metrics").await.1;
    let oldest = metrics.lines().filter(|line| line.starts_with("state_tracker_outbox_oldest_seconds{"));
    let oldest: Vec<f64> = oldest.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    assert!(oldest.len() == 2 && oldest.iter().all(|oldest| *oldest > 9.0), "{oldest:?}");
    assert!(metrics.contains("outcome=\"no_answer\""), "{metrics}");
    relayer.come_back().await.expect("it comes back");
    for market in &world.contracts.markets {
        all_told(&connection, &world, &relayer, market).await;
        judge(&relayer.calls(), market, &handed_over(&mut connection, market).await);
    }
    wait_until("that is told too", SOON, async || process.log.borrow().matches("relayer_back").count() == 2)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_pause_drop_and_replay_by_command_and_port_and_the_audit_log_tells() {
    let (world, redis, connection, relayer) = told_of(34).await;
    let market = world.contracts.markets[0].clone();
    let environment = telling(redis.addr(), &world, &relayer);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    std::fs::write(&file, OPERATOR).expect("written");
    let with_tokens =
        with(&environment, &[("STATE_TRACKER__HTTP__OPERATOR_TOKEN_FILE", file.to_str().expect("UTF-8"))]);
    let service = service(&with_tokens).await;
    all_told(&connection, &world, &relayer, &market).await;
    let port = service.http().operator_address();
    // Accepted calls are sent again, with their keys, once they were looked at.
    let (code, shown, _) = run(
        &environment,
        &["outbox", "replay", &market, "--from-epoch", "101", "--to-epoch", "102", "--dry-run"],
    )
    .await;
    assert!(code == Some(0) && shown.contains("would be done, 2 calls"), "{shown}");
    let before = relayer.calls();
    let (code, _, errors) =
        run(&environment, &["outbox", "replay", &market, "--from-epoch", "101", "--to-epoch", "102"]).await;
    assert!(code == Some(2) && errors.contains("--yes"), "no terminal to ask: {errors}");
    let order = json!({ "market": market, "action": "replay", "from_epoch": 101, "to_epoch": 102 });
    let (status, answer) = post(port, &order).await;
    assert!(status == 200 && answer["calls"] == 2, "{answer}");
    wait_until("they come again", SOON, async || relayer.calls().len() == before.len() + 2).await;
    let calls = relayer.calls();
    let key_of = |epoch: u64| {
        let calls = of_market(&before, &market).into_iter();
        calls.filter(|call| call.field("epochID") == epoch).map(|call| call.key.clone()).next_back()
    };
    for (call, epoch) in calls[before.len()..].iter().zip([101, 102]) {
        assert_eq!((call.field("epochID"), Some(call.key.clone())), (json!(epoch), key_of(epoch)));
    }
    // A paused lane keeps everything; what waits can be dropped.
    let (status, answer) =
        post(port, &json!({ "market": market, "action": "pause", "why": "the relayer moves" })).await;
    assert_eq!(status, 200, "{answer}");
    let mut world = world;
    world.grow_collected(40, &mut connection.clone()).await;
    let known = relayer.calls().len();
    wait_until("calls wait", SOON, async || {
        lane(&lanes(&environment).await, &market)["waiting"].as_u64() > Some(2)
    })
    .await;
    let state = lanes(&environment).await;
    assert_eq!(lane(&state, &market)["paused"]["why"], "the relayer moves");
    let waiting = of_market(&relayer.calls()[known..], &market).len();
    assert_eq!(waiting, 0, "a paused lane sends nothing");
    let (status, calls) = get(port, &format!("/outbox/calls?market={market}")).await;
    assert_eq!(status, 200);
    let id = calls[0]["id"].as_str().expect("an id").to_owned();
    let dropped = calls[0]["call"]["epoch"].as_u64().expect("an epoch");
    let (code, _, errors) =
        run(&environment, &["outbox", "drop", &market, "--stage", "waiting", "--id", &id, "--yes"]).await;
    assert_eq!(code, Some(0), "{errors}");
    let (code, _, errors) = run(&environment, &["outbox", "resume", &market]).await;
    assert_eq!(code, Some(0), "{errors}");
    wait_until("the others come", SOON, async || lane(&lanes(&environment).await, &market)["waiting"] == 0)
        .await;
    let calls = relayer.calls();
    let later = of_market(&calls[known..], &market);
    assert!(
        !later.is_empty() && later.iter().all(|call| call.field("epochID") != dropped),
        "{dropped} was dropped"
    );
    // What can't be done is said.
    for (order, says) in [
        (json!({ "market": market, "action": "drop", "stage": "sent", "all": true }), "accepted"),
        (json!({ "market": market, "action": "retry" }), "which calls"),
        (json!({ "market": market, "action": "pause", "all": true }), "name none"),
        (json!({ "market": market, "action": "replay", "from_epoch": 9, "to_epoch": 8 }), "empty"),
        (json!({ "market": market, "action": "dance" }), "no order"),
        (json!({ "market": "0x12", "action": "resume" }), "no order"),
    ] {
        let (status, answer) = post(port, &order).await;
        assert!(
            status == 400 && answer["message"].as_str().is_some_and(|text| text.contains(says)),
            "{answer}"
        );
    }
    let nobody = json!({ "market": format!("0x{}", "12".repeat(20)), "action": "resume" });
    assert_eq!(post(port, &nobody).await.0, 404);
    // Each action is told, the latest first.
    let (_, audit) = get(port, "/outbox/audit").await;
    let told: Vec<&str> =
        audit.as_array().expect("a list").iter().filter_map(|entry| entry["what"].as_str()).collect();
    assert!(
        told[0] == "resume" && told[1].starts_with("drop from waiting") && told[2].starts_with("pause"),
        "{told:?}"
    );
    assert!(told[3].starts_with("replay: epochs 101 to 102") && told.len() == 4, "{told:?}");
    assert!(audit[0]["who"].as_str().is_some_and(|who| who.contains("command line")), "{audit}");
    assert!(audit[2]["who"].as_str().is_some_and(|who| who.contains("operator at 127.0.0.1")), "{audit}");
    stopped(service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_dropped_while_another_is_out_are_not_made_and_an_order_ends_a_pause() {
    let (mut world, redis, connection, relayer) = told_of(38).await;
    let market = world.contracts.markets[0].clone();
    let environment = telling(redis.addr(), &world, &relayer);
    // All calls gather first, so that the lane reads them at once.
    relayer.always(RelayerAnswer::Say(503, None));
    let service = service(&environment).await;
    let id_of = |lane: &Value, at: usize| lane[at]["id"].as_str().map(str::to_owned);
    let port = service.http().operator_address();
    let path = format!("/outbox/calls?market={market}");
    wait_until("calls wait", SOON, async || {
        get(port, &path).await.1.as_array().is_some_and(|all| all.len() > 4)
    })
    .await;
    let refused = relayer.calls().len();
    relayer.answer(|_, _| (RelayerAnswer::Accept, Duration::from_secs(3)));
    wait_until("two calls are made, so that the others were read with them", SOON, async || {
        let calls = relayer.calls();
        of_market(&calls[refused..], &market).iter().filter(|call| call.is_taken()).count() > 1
    })
    .await;
    let waiting = get(port, &path).await.1;
    let out = of_market(&relayer.calls(), &market).last().expect("a call").field("epochID");
    let at =
        waiting.as_array().expect("a list").iter().position(|call| call["call"]["epoch"] == out).unwrap_or(0);
    let dropped: Vec<Value> = [at + 1, at + 2].map(|at| waiting[at]["call"]["epoch"].clone()).into();
    let ids: Vec<String> = [at + 1, at + 2].into_iter().filter_map(|at| id_of(&waiting, at)).collect();
    let order = ["outbox", "drop", &market, "--stage", "waiting", "--id", &ids[0], "--id", &ids[1], "--yes"];
    let (code, _, errors) = run(&environment, &order).await;
    assert_eq!(code, Some(0), "{errors}");
    relayer.always(RelayerAnswer::Accept);
    all_settled(&environment, &market).await;
    let calls = relayer.calls();
    let told: Vec<Value> = of_market(&calls, &market).iter().map(|call| call.field("epochID")).collect();
    assert!(told.len() > 3 && dropped.iter().all(|epoch| !told.contains(epoch)), "{dropped:?} of {told:?}");
    // A relayer that asks for five minutes: an order of an operator is followed all the same.
    relayer.always(RelayerAnswer::Say(503, Some(300)));
    world.grow_collected(40, &mut connection.clone()).await;
    let known = calls.len();
    wait_until("it asks for a pause", SOON, async || {
        !of_market(&relayer.calls()[known..], &market).is_empty()
    })
    .await;
    relayer.always(RelayerAnswer::Accept);
    let (code, _, errors) = run(&environment, &["outbox", "resume", &market]).await;
    assert_eq!(code, Some(0), "{errors}");
    all_settled(&environment, &market).await;
    stopped(service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_can_not_be_read_holds_its_lane_alone_until_it_is_resumed() {
    let (world, redis, mut connection, relayer) = told_of(36).await;
    let [held, other] = [0, 1].map(|index| world.contracts.markets[index].clone());
    let hold = format!("tracker:relayer:{}:hold", held.to_lowercase());
    let _: i64 = query(&mut connection, &["HSET", &hold, "paused", "{spoilt"]).await;
    let environment = telling(redis.addr(), &world, &relayer);
    let _process = Process::start(&environment).await;
    all_told(&connection, &world, &relayer, &other).await;
    assert!(of_market(&relayer.calls(), &held).is_empty(), "nothing is sent over a hold");
    let all = lanes(&environment).await;
    let why = lane(&all, &held)["paused"]["why"].as_str().expect("a reason").to_owned();
    assert!(why.contains("can't be read"), "{all}");
    assert!(lane(&all, &held)["paused"]["at"].is_null(), "nobody knows since when: {all}");
    let (code, _, errors) = run(&environment, &["outbox", "resume", &held]).await;
    assert_eq!(code, Some(0), "{errors}");
    all_told(&connection, &world, &relayer, &held).await;
}

/// Waits until nothing waits in the lane of a market.
async fn all_settled(environment: &BTreeMap<String, String>, market: &str) {
    wait_until("the lane is empty", SOON, async || lane(&lanes(environment).await, market)["waiting"] == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_counts_by_its_status_alone() {
    let (world, redis, mut connection, relayer) = told_of(39).await;
    let market = world.contracts.markets[0].clone();
    relayer.always(RelayerAnswer::AcceptAtLength(200_000));
    let service = service(&telling(redis.addr(), &world, &relayer)).await;
    all_told(&connection, &world, &relayer, &market).await;
    let calls = relayer.calls();
    let keys: Vec<_> = of_market(&calls, &market).iter().map(|call| call.key.clone()).collect();
    let mut once = keys.clone();
    once.dedup();
    assert_eq!(keys, once, "each is made once");
    judge(&calls, &market, &handed_over(&mut connection, &market).await);
    stopped(service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_crashes_at_any_step_leaves_no_call_out_and_repeats_it_with_its_key_alone() {
    let (mut world, redis, mut connection, relayer) = told_of(37).await;
    let more = [
        ("STATE_TRACKER__SUPERVISION__BACKOFF_FIRST", "20ms"),
        ("STATE_TRACKER__SUPERVISION__BACKOFF_MAX", "50ms"),
        ("STATE_TRACKER__SUPERVISION__MAX_RESTARTS", "1000"),
    ];
    let service = service(&with(&telling(redis.addr(), &world, &relayer), &more)).await;
    let points = service.tree().failure_points();
    let steps = ["relayer::before_call", "relayer::after_call", "relayer::after_write"];
    for step in steps {
        points.arm(step, "", Fault::Panic, When::Every(2));
    }
    for _ in 0..4 {
        world.grow_collected(30, &mut connection).await;
    }
    for market in &world.contracts.markets.clone() {
        all_told(&connection, &world, &relayer, market).await;
        wait_until("all is noted", SOON, async || {
            query::<u64>(
                &mut connection.clone(),
                &["XLEN", &format!("tracker:relayer:{}:waiting", market.to_lowercase())],
            )
            .await
                == 0
        })
        .await;
        judge(&relayer.calls(), market, &handed_over(&mut connection, market).await);
    }
    assert!(steps.iter().all(|step| points.passages(step).1 > 3), "each step has failed");
    stopped(service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_relayer_and_in_a_shadow_nothing_is_kept_for_it() {
    let (world, redis, mut connection, relayer) = told_of(35).await;
    let telling = telling(redis.addr(), &world, &relayer);
    let shadow = with(&telling, &[("STATE_TRACKER__OUTPUT__PREFIX", "shadow")]);
    let mut silent = telling.clone();
    silent.remove("TX_RELAYER_URL");
    let (shadow, silent) = tokio::join!(service(&shadow), service(&silent));
    for prefix in ["", "shadow:"] {
        let pattern = format!("{prefix}BatchCountKey.*");
        wait_until("epochs are handed over", SOON, async || {
            query::<Vec<String>>(&mut connection.clone(), &["KEYS", &pattern]).await.len() > 5
        })
        .await;
    }
    let kept: Vec<String> = query(&mut connection, &["KEYS", "*tracker:relayer:*"]).await;
    assert!(kept.is_empty() && relayer.calls().is_empty(), "{kept:?}");
    stopped(shadow).await;
    stopped(silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relayer_behind_tls_is_called_only_if_its_authority_is_trusted() {
    let (world, redis, connection, relayer) = told_of(36).await;
    let authority = Authority::new("relayer").expect("an authority");
    let front =
        TlsFront::start(&authority.server().expect("a certificate"), relayer.addr()).await.expect("TLS");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, authority.certificate()).expect("written");
    let url = format!("https://localhost:{}", front.addr().port());
    let untrusted = with(&telling(redis.addr(), &world, &relayer), &[("TX_RELAYER_URL", &url)]);
    let trusted = with(&untrusted, &[("STATE_TRACKER__RELAYER__CA_FILE", file.to_str().expect("UTF-8"))]);
    let mut process = Process::start(&untrusted).await;
    wait_until("it is told", SOON, async || process.log.borrow().contains("call_relayer")).await;
    process.signal("TERM").await;
    process.exit_code().await;
    assert!(relayer.calls().is_empty(), "no call goes to a stranger");
    let _process = Process::start(&trusted).await;
    all_told(&connection, &world, &relayer, &world.contracts.markets[0]).await;
}

async fn get(port: std::net::SocketAddr, path: &str) -> (u16, Value) {
    let token = format!("Authorization: Bearer {OPERATOR}");
    let (status, body) = super::common::ask(port, path, &["Host: localhost", &token]).await;
    (status, serde_json::from_str(&body).expect("JSON"))
}

async fn post(port: std::net::SocketAddr, order: &Value) -> (u16, Value) {
    let mut stream = tokio::net::TcpStream::connect(port).await.expect("the port is open");
    let body = order.to_string();
    let request = format!(
        "POST /outbox/orders HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OPERATOR}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).expect("JSON"))
}
