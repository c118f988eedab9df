//! The faults of the original that must not be carried over, one test each: the situation is set up in a real Redis,
//! and the right value is checked, not only the absence of the wrong one.
//!
//! Two have tests elsewhere: the number of round trips in `round_trips.rs`, and the kinds of connections in `ways.rs`.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{MARKETS, Process, SOON, environment, key, metric, service};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use testkit::{FaultProxy, RedisServer, producers::unix_now, wait_until};
use tokio::time::Instant;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const MARKET: &str = MARKETS[0];

/// A server, and the keys of the first market.
struct Scene {
    redis: RedisServer,
    connection: MultiplexedConnection,
    now: i64,
}

impl Scene {
    async fn new() -> Self {
        let redis = RedisServer::start().await.expect("a Redis server");
        let connection = redis.connection().await.expect("a connection");
        Self { redis, connection, now: unix_now() }
    }

    async fn run(&mut self, words: &[&str]) -> redis::Value {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.connection).await.expect("the command is right")
    }

    /// Runs a command whose second word is the end of a key of the market.
    async fn put(&mut self, line: &str) {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        words[1] = key(MARKET, &words[1]);
        self.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    /// Entries of a timeline, by how many seconds ago.
    async fn timeline(&mut self, name: &str, entries: &[(&str, i64)]) {
        for (member, ago) in entries {
            self.put(&format!("ZADD {name} {} {member}", self.now - ago)).await;
        }
    }

    async fn dataset(&mut self, name: &str) -> Option<Value> {
        let mut command = redis::cmd("GET");
        let text: Option<String> =
            command.arg(key(MARKET, name)).query_async(&mut self.connection).await.expect("read");
        text.map(|text| serde_json::from_str(&text).expect("a dataset is JSON"))
    }

    /// Waits until these fields of a dataset have these values.
    async fn shows(&mut self, name: &str, expected: &Value) {
        let fields = expected.as_object().expect("fields");
        let (deadline, mut last) = (Instant::now() + SOON, Value::Null);
        while Instant::now() < deadline {
            last = self.dataset(name).await.unwrap_or_default();
            if fields.iter().all(|(field, value)| last.get(field) == Some(value)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{name} should show {expected}, and is {last}");
    }

    /// The environment of a service of the first market only.
    fn environment(&self) -> BTreeMap<String, String> {
        let mut environment = environment(self.redis.addr());
        environment.insert("DATA_MARKET_ADDRESSES".to_owned(), MARKET.to_owned());
        environment.insert("STATE_TRACKER__INTERVALS__HOURLY".to_owned(), "1s".to_owned());
        environment.insert("STATE_TRACKER__INTERVALS__DAILY".to_owned(), "1s".to_owned());
        environment
    }
}

/// The original serves only the first of DATA_MARKET_ADDRESSES: here every market is served, each by its own actors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_market_of_the_list_is_served() {
    let mut scene = Scene::new().await;
    let now = scene.now.to_string();
    for (epochs, market) in [(2, MARKETS[0]), (3, MARKETS[1])] {
        for epoch in 1..=epochs {
            let member = format!("open:{epoch}");
            scene.run(&["ZADD", &key(market, "metrics:epochs:timeline"), &now, &member]).await;
        }
    }
    let service = service(&environment(scene.redis.addr())).await;
    for (epochs, market) in [(2, MARKETS[0]), (3, MARKETS[1])] {
        wait_until(&format!("{epochs} epochs of {market}"), SOON, async || {
            let shown = common::summary(&mut scene.connection.clone(), market).await?;
            (shown["epochs_total"] == epochs).then_some(())
        })
        .await;
        let actors = service.tree().health();
        let own = |name: &str| format!("markets/{market}/{name}");
        for name in ["aggregator", "epoch-tracker"] {
            assert!(actors.iter().any(|actor| actor.path == own(name)), "{:?}", common::workers(&service));
        }
    }
    service.stop().await;
}

/// Its counters live in memory: a restart starts totals at 0, and events of other markets count too. Here they come
/// from the ledger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_survive_a_restart_and_count_no_event_of_another_market() {
    let mut scene = Scene::new().await;
    scene.timeline("metrics:epochs:timeline", &[("open:7", 30), ("close:7", 5)]).await;
    scene.timeline("metrics:batches:timeline", &[("local:7", 4), ("aggregated:7", 3)]).await;
    scene.timeline("epoch:7:submissions:ids", &[("a", 20), ("b", 19), ("c", 18)]).await;
    let totals = json!({ "submissions_total": 3, "epochs_total": 1, "batches_total": 2 });
    for start in 0..2 {
        let mut process = Process::start(&scene.environment()).await;
        // Ready, it is subscribed too.
        process.wait_ready().await;
        scene.shows("dashboard:summary", &totals).await;
        for event in ["submission:received:1", "epoch:open:8", "batch:local:8", "batch:aggregated:8"] {
            scene.run(&["PUBLISH", "state:change", event]).await;
        }
        wait_until("the events are heard", SOON, async || {
            metric(process.metrics, "state_tracker_changes_processed_total").await == 4.0
        })
        .await;
        // Two more passes.
        for _ in 0..2 {
            scene.run(&["DEL", &key(MARKET, "dashboard:summary")]).await;
            scene.shows("dashboard:summary", &totals).await;
        }
        process.signal("TERM").await;
        assert_eq!(process.exit_code().await, Some(0));
        if start == 0 {
            // After the restart only the ledger has the totals.
            for name in ["metrics:epochs:timeline", "metrics:batches:timeline", "epoch:7:submissions:ids"] {
                scene.run(&["DEL", &key(MARKET, name)]).await;
            }
            scene.run(&["DEL", &key(MARKET, "dashboard:summary")]).await;
        }
    }
}

/// Its current epoch is whatever SMEMBERS returns first; only the five newest timeline entries are seen; `close:2301`
/// closes epoch 230. Here it is the highest open epoch, and whole members are compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_current_epoch_is_the_highest_open_one_however_old_and_whatever_was_closed() {
    let mut scene = Scene::new().await;
    for epoch in 1..=300 {
        scene.put(&format!("SADD epochs:active {epoch}")).await;
    }
    scene.timeline("metrics:epochs:timeline", &[("open:230", 20), ("open:229", 25)]).await;
    for epoch in 2300..2310 {
        let (open, close) = (format!("open:{epoch}"), format!("close:{epoch}"));
        scene.timeline("metrics:epochs:timeline", &[(&open, 15), (&close, 10)]).await;
    }
    scene.timeline("epoch:230:submissions:ids", &[("a", 10), ("b", 9)]).await;
    scene.put("HSET metrics:epoch:230:info status open duration 600").await;
    let service = service(&scene.environment()).await;
    let expected = json!({ "epoch_id": "230", "phase": "submission", "submissions_received": 2 });
    scene.shows("metrics:current_epoch", &expected).await;
    scene.timeline("metrics:epochs:timeline", &[("close:230", 0)]).await;
    scene.put("HSET metrics:epoch:230:info status closed").await;
    scene.shows("metrics:current_epoch", &json!({ "epoch_id": "229", "phase": "submission" })).await;
    service.stop().await;
}

/// It reads `timestamp` where producers write `start`: its remaining time is always the full window.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_remaining_time_counts_from_the_start() {
    let mut scene = Scene::new().await;
    let start = scene.now - 100;
    scene.put("SADD epochs:active 5").await;
    scene.put(&format!("HSET metrics:epoch:5:info status open start {start} duration 600")).await;
    let service = service(&scene.environment()).await;
    scene.shows("metrics:current_epoch", &json!({ "epoch_id": "5", "window_duration": 600 })).await;
    let shown = scene.dataset("metrics:current_epoch").await.expect("it was just there");
    let (left, at) = (shown["time_remaining_seconds"].as_i64(), shown["timestamp"].as_i64());
    let (left, at) = (left.expect("a number"), at.expect("a number"));
    // The fraction of a second that has begun may be cut off.
    let expected = start + 600 - at;
    assert!((expected - 1..=expected).contains(&left), "{shown}");
    service.stop().await;
}

/// Its `metrics:current_epoch` expires exactly when it is next written. Here it is never missing while an epoch exists.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_current_epoch_never_expires_before_it_is_written_anew() {
    let mut scene = Scene::new().await;
    scene.timeline("metrics:epochs:timeline", &[("open:5", 10)]).await;
    let mut environment = scene.environment();
    // It would live ten seconds longer if it was never written again.
    for (interval, least) in [("1s", 20_000), ("20s", 50_000)] {
        environment.insert("STATE_TRACKER__INTERVALS__CURRENT_EPOCH".to_owned(), interval.to_owned());
        let service = service(&environment).await;
        scene.run(&["DEL", &key(MARKET, "metrics:current_epoch")]).await;
        scene.run(&["PUBLISH", "state:change", "epoch:open:5"]).await;
        scene.shows("metrics:current_epoch", &json!({ "epoch_id": "5" })).await;
        // Through several writings, or the better part of one interval.
        let until = Instant::now() + Duration::from_millis(2_500);
        while Instant::now() < until {
            let mut command = redis::cmd("PTTL");
            let left: i64 = command
                .arg(key(MARKET, "metrics:current_epoch"))
                .query_async(&mut scene.connection)
                .await
                .expect("read");
            assert!(left >= least, "with an interval of {interval} it would be gone in {left} ms");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        service.stop().await;
    }
}

/// Its participation divides by local, validator and discovery entries too. Here by aggregated batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participation_divides_by_aggregated_batches() {
    let mut scene = Scene::new().await;
    for epoch in 1..=4 {
        let [open, local, aggregated, validator, peers] = [
            format!("open:{epoch}"),
            format!("local:{epoch}"),
            format!("aggregated:{epoch}"),
            format!("validator:validator2:{epoch}"),
            format!("peer_discovery:{epoch}:{}", scene.now),
        ];
        scene.timeline("metrics:epochs:timeline", &[(&open, 100)]).await;
        let batches = [(&*local, 50), (&*aggregated, 40), (&*validator, 45), (&*peers, 30)];
        scene.timeline("metrics:batches:timeline", &batches).await;
        let named = if epoch == 1 { r#"["validator2"]"# } else { r#"["validator1","validator2"]"# };
        scene.put(&format!("SET metrics:batch:{epoch}:validators {named}")).await;
    }
    scene
        .timeline("metrics:validator:validator1:batches", &[("1", 50), ("2", 50), ("3", 50), ("4", 50)])
        .await;
    let service = service(&scene.environment()).await;
    let expected = json!({
        "participation_rate": 75, "inclusion_rate": 75, "level2_inclusions_24h": 3, "level1_batches_24h": 4,
        "epochs_participated_24h": 4, "epochs_total_24h": 4,
    });
    scene.shows("metrics:participation", &expected).await;
    service.stop().await;
}

/// Opens and closes both count as epochs; foreign entries as batches. Here opens; local and aggregated ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_opens_count_as_epochs_and_only_our_batches_as_batches() {
    let mut scene = Scene::new().await;
    let entries = [("open:1", 250), ("close:1", 200), ("open:2", 25), ("close:2", 20), ("open:3", 10)];
    scene.timeline("metrics:epochs:timeline", &entries).await;
    let entries = [
        ("local:1", 190),
        ("aggregated:1", 180),
        ("local:2", 15),
        ("validator:validator2:1", 185),
        ("validator:aggregated:2", 14),
        ("peer_discovery:4:1795340104", 13),
    ];
    scene.timeline("metrics:batches:timeline", &entries).await;
    let service = service(&scene.environment()).await;
    let expected = json!({
        "epochs_total": 3, "epochs_1m": 2, "epochs_5m": 3, "batches_total": 3, "batches_1m": 1, "batches_5m": 3,
    });
    scene.shows("dashboard:summary", &expected).await;
    service.stop().await;
}

/// An hour's submissions are those of all active epochs. Here those of that hour's epochs. An entry on an hour's
/// boundary counts in both hours. Here periods are half open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_counts_its_own_epochs_and_a_boundary_belongs_to_one_hour() {
    let mut scene = Scene::new().await;
    // In the first seconds of an hour the running one would still be empty; at its end another one would begin
    // meanwhile.
    while !(2..HOUR - 20).contains(&(unix_now() % HOUR)) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scene.now = unix_now();
    let start = scene.now - scene.now % HOUR;
    let ago = |at: i64| scene.now - at;
    let epochs = [
        // The very last and the very first second of hours, and one of the hour before both.
        ("1", ago(start - HOUR - 1), 2),
        ("2", ago(start - HOUR), 3),
        ("3", ago(start - 1), 4),
        ("4", ago(start), 5),
    ];
    for (epoch, ago, submissions) in epochs {
        scene.put(&format!("SADD epochs:active {epoch}")).await;
        let [open, local, aggregated] = ["open", "local", "aggregated"].map(|kind| format!("{kind}:{epoch}"));
        scene.timeline("metrics:epochs:timeline", &[(&open, ago)]).await;
        scene.timeline("metrics:batches:timeline", &[(&local, ago), (&aggregated, ago)]).await;
        for submission in 0..submissions {
            scene
                .timeline(&format!("epoch:{epoch}:submissions:ids"), &[(&submission.to_string(), ago)])
                .await;
        }
    }
    let service = service(&scene.environment()).await;
    let before = json!({ "epochs": 2, "batches": 4, "submissions": 7 });
    scene.shows(&format!("stats:hourly:{}", start - HOUR), &before).await;
    let running = json!({ "epochs": 1, "batches": 2, "submissions": 5 });
    scene.shows(&format!("stats:hourly:{start}"), &running).await;
    let day = json!({ "epochs_total": 4, "batches_total": 8, "submissions_total": 14 });
    scene.shows("stats:daily", &day).await;
    service.stop().await;
}

/// It prunes two timelines, the rest grow for ever. Here every timeline is pruned, those of priorities after 7 days.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_timeline_is_pruned() {
    let mut scene = Scene::new().await;
    let timelines = ["epochs", "batches", "submissions", "validations", "parts"];
    let timelines = timelines.into_iter().map(|name| format!("metrics:{name}:timeline"));
    // The own validator, and two that only the batches timeline names.
    let validators = ["validator1", "v:2", "v3"].map(|name| format!("metrics:validator:{name}:batches"));
    let priorities = ["vpa:priority:timeline", "vpa:submission:timeline"].map(str::to_owned);
    let [p, m] = [common::PROTOCOL, MARKET].map(str::to_lowercase);
    let (mut all, other) = (Vec::new(), |name: &String| format!("{p}:{m}:{name}"));
    let by_day = timelines.chain(validators).map(|name| (name, DAY));
    for (name, kept) in by_day.chain(priorities.map(|name| (name, 7 * DAY))) {
        for key in [key(MARKET, &name), other(&name)] {
            for (member, ago) in [("open:1", kept + 60), ("open:2", kept - 60), ("open:3", 5)] {
                scene.run(&["ZADD", &key, &(scene.now - ago).to_string(), member]).await;
            }
            all.push(key);
        }
    }
    let batches = "metrics:batches:timeline".to_owned();
    for (key, member) in [(key(MARKET, &batches), "validator:v:2:1"), (other(&batches), "validator:v3:1")] {
        scene.run(&["ZADD", &key, &(scene.now - DAY - 30).to_string(), member]).await;
    }
    let mut environment = scene.environment();
    environment.insert("STATE_TRACKER__INTERVALS__PRUNE".to_owned(), "100ms".to_owned());
    environment.insert("PROTOCOL_STATE_CONTRACT".to_owned(), p.clone());
    environment.insert("DATA_MARKET_ADDRESSES".to_owned(), m.clone());
    let service = service(&environment).await;
    for key in all {
        let command = redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).to_owned();
        wait_until(&format!("{key} is pruned"), SOON, async || {
            let members: Vec<String> =
                command.query_async(&mut scene.connection.clone()).await.expect("read");
            members == ["open:2", "open:3"]
        })
        .await;
    }
    service.stop().await;
}

/// Epoch ids in scientific notation are never converted; a NaN or infinite duration writes an empty string. Here ids
/// are converted, and the duration is the default one, and counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scientific_ids_are_converted_and_odd_durations_replaced_and_counted() {
    for duration in ["NaN", "+Inf", "-inf", "1e999"] {
        let mut scene = Scene::new().await;
        scene.timeline("metrics:epochs:timeline", &[("open:2.3000001e+07", 10)]).await;
        scene.put("SADD epochs:active 2.3000001e+07 23000001").await;
        scene.put(&format!("HSET metrics:epoch:23000001:info status open duration {duration}")).await;
        let process = Process::start(&scene.environment()).await;
        let expected = json!({ "epoch_id": "23000001", "phase": "submission", "window_duration": 60 });
        scene.shows("metrics:current_epoch", &expected).await;
        scene.shows("dashboard:summary", &json!({ "epochs_total": 1 })).await;
        let counted = r#"state_tracker_errors_total{kind="malformed""#;
        assert!(metric(process.metrics, counted).await > 0.0, "a duration of {duration} is counted");
    }
}

/// It ignores REDIS_DB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_the_database_is_honoured() {
    let mut scene = Scene::new().await;
    scene.timeline("metrics:epochs:timeline", &[("open:1", 10)]).await;
    scene.run(&["SELECT", "5"]).await;
    scene.timeline("metrics:epochs:timeline", &[("open:1", 10), ("open:2", 5)]).await;
    let mut environment = scene.environment();
    environment.insert("REDIS_DB".to_owned(), "5".to_owned());
    let service = service(&environment).await;
    scene.shows("dashboard:summary", &json!({ "epochs_total": 2 })).await;
    service.stop().await;
    scene.run(&["SELECT", "0"]).await;
    let untouched = scene.run(&["KEYS", "*"]).await;
    let timeline = key(MARKET, "metrics:epochs:timeline").into_bytes();
    assert_eq!(untouched, redis::Value::Array(vec![redis::Value::BulkString(timeline)]));
}

/// Events lost during a Redis disconnect stay lost; a half-open connection leaves it deaf. Here datasets come from
/// keys, the gap is measured, and a dead connection is noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_is_made_up_for_and_the_gap_is_counted() {
    for half_open in [false, true] {
        let mut scene = Scene::new().await;
        let proxy = FaultProxy::start(scene.redis.addr()).await.expect("a proxy");
        let mut environment = scene.environment();
        environment.insert("REDIS_PORT".to_owned(), proxy.port().to_string());
        scene.timeline("metrics:epochs:timeline", &[("open:1", 10)]).await;
        let process = Process::start(&environment).await;
        process.wait_ready().await;
        scene.shows("dashboard:summary", &json!({ "epochs_total": 1 })).await;
        let gaps = metric(process.metrics, "state_tracker_subscription_gaps_total").await;
        let cut = Instant::now();
        if half_open {
            proxy.blackhole(true);
            wait_until("the dead connection is noticed", SOON, async || {
                process.get(process.metrics, "/readyz").await.0 == 503
            })
            .await;
            assert!(cut.elapsed() < Duration::from_secs(15), "{:?}", cut.elapsed());
        } else {
            proxy.refuse(true).await.expect("refused");
        }
        proxy.cut();
        scene.timeline("metrics:epochs:timeline", &[("open:2", 1)]).await;
        scene.timeline("epoch:2:submissions:ids", &[("a", 1)]).await;
        scene.run(&["PUBLISH", "state:change", "epoch:open:2"]).await;
        proxy.blackhole(false);
        proxy.refuse(false).await.expect("accepting");
        scene.shows("dashboard:summary", &json!({ "epochs_total": 2, "submissions_total": 1 })).await;
        wait_until("the gap is counted", SOON, async || {
            metric(process.metrics, "state_tracker_subscription_gaps_total").await > gaps
        })
        .await;
    }
}

/// A key of the wrong type, malformed JSON or a Redis error silently becomes 0, freshly dated. Here the field keeps its
/// last good value, then it is null; it is counted by kind and logged once a minute; other datasets are unaffected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_read_is_no_zero_but_counted_and_logged_once() {
    let mut scene = Scene::new().await;
    scene.put("RPUSH submissionQueue a b c").await;
    scene.timeline("metrics:epochs:timeline", &[("open:1", 8), ("close:1", 6)]).await;
    scene.timeline("metrics:batches:timeline", &[("local:1", 5), ("aggregated:1", 4)]).await;
    scene.put("SET metrics:batch:1:validators [\"validator1\"]").await;
    let mut environment = scene.environment();
    // A good value is kept for three intervals, which are longer than any short delay of this test.
    environment.insert("STATE_TRACKER__INTERVALS__SUMMARY".to_owned(), "3s".to_owned());
    let process = Process::start(&environment).await;
    scene.shows("dashboard:summary", &json!({ "submissions_queue": 3, "active_validators": 1 })).await;
    // In one step, so that no pass finds the key missing in between.
    let queue = key(MARKET, "submissionQueue");
    scene.run(&["SET", &queue, "spoilt"]).await;
    scene.put("SET metrics:batch:1:validators [\"validator1").await;
    let spoilt = unix_now();
    let counted = |kind: &str| format!("state_tracker_errors_total{{kind=\"{kind}\"");
    let kept = wait_until("a summary of what is spoilt", SOON, async || {
        let summary = common::summary(&mut scene.connection.clone(), MARKET).await?;
        (summary["updated_at"].as_f64()? > spoilt as f64).then_some(summary)
    })
    .await;
    assert_eq!((&kept["submissions_queue"], &kept["active_validators"]), (&json!(3), &json!(1)), "last good");
    let before = metric(process.metrics, &counted("wrong_type")).await;
    assert!(
        before > 0.0 && metric(process.metrics, &counted("malformed")).await > 0.0,
        "counted by their kinds"
    );
    scene.shows("dashboard:summary", &json!({ "submissions_queue": null, "active_validators": null })).await;
    scene.shows("dashboard:summary", &json!({ "epochs_total": 1, "batches_total": 2, "epochs_1m": 1 })).await;
    let stats = scene.run(&["HEXISTS", &key(MARKET, "stats:current"), "submissions_queue"]).await;
    assert_eq!(stats, redis::Value::Int(0), "absent in the hash");
    scene.shows("metrics:participation", &json!({ "level2_inclusions_24h": 1 })).await;
    // The timeline alone says that both batches were made.
    scene.shows("metrics:current_epoch", &json!({ "epoch_id": "1", "phase": "complete" })).await;
    assert!(metric(process.metrics, &counted("wrong_type")).await > before, "in each pass");
    let log = process.log.borrow().clone();
    let lines = log.lines().filter(|line| line.contains("submissionQueue")).count();
    assert_eq!(lines, 1, "{log}");
}

/// A hang of Redis during a pass blocks SIGTERM for more than a minute. Here the process is out within 10 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_of_redis_during_a_pass_does_not_hold_up_sigterm() {
    let mut scene = Scene::new().await;
    let proxy = FaultProxy::start(scene.redis.addr()).await.expect("a proxy");
    let mut environment = scene.environment();
    environment.insert("REDIS_PORT".to_owned(), proxy.port().to_string());
    scene.timeline("metrics:epochs:timeline", &[("open:1", 10)]).await;
    let mut process = Process::start(&environment).await;
    process.wait_ready().await;
    scene.redis.pause().expect("hung");
    // A pass has asked, and waits for its answer.
    let asked = proxy.counts().bytes_to_server;
    wait_until("a pass has begun", SOON, async || proxy.counts().bytes_to_server > asked).await;
    let told = Instant::now();
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
}
