//! The process from its operator's side: endpoints, probes, signals.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

#[cfg(feature = "failure-points")]
use std::time::Duration;

use common::{MARKETS, Process, environment, free_port, get, producer};
use testkit::{MarketProducer, RedisServer, producers::unix_now, wait_until};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_endpoints_tell_what_the_process_does() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let process = Process::start(&environment(redis.addr())).await;
    process.wait_ready().await;
    let mut market = MarketProducer::new(producer(MARKETS[0]), &redis.url()).expect("producers");
    market.open_epoch(1, unix_now()).await.expect("opened");
    market.submit(1, 3, unix_now()).await.expect("submitted");
    let mut metrics = String::new();
    wait_until("the events are counted", common::SOON, async || {
        metrics = get(process.metrics, "/metrics").await.1;
        metrics.contains("state_tracker_changes_processed_total{entity_type=\"submission\"} 6")
    })
    .await;
    for name in [
        "state_tracker_changes_processed_total{entity_type=\"epoch\"} 1",
        "state_tracker_datasets_generated_total{dataset_type=\"dashboard_summary\"}",
        "state_tracker_aggregation_duration_seconds_count{aggregation_type=\"current_metrics\"}",
        "state_tracker_actor_up{actor=\"listener\"} 1",
    ] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
    let (status, body) = get(process.operator, "/health").await;
    let health: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, health["status"].as_str()), (200, Some("ready")));
    let paths: Vec<_> =
        health["actors"].as_array().expect("actors").iter().map(|actor| actor["path"].as_str()).collect();
    let aggregator = format!("markets/{}/aggregator", MARKETS[1]);
    assert!(paths.contains(&Some("listener")) && paths.contains(&Some(aggregator.as_str())), "{paths:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthcheck_tells_ready_from_waiting_and_from_gone() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let healthcheck = async |address: std::net::SocketAddr| {
        let url = format!("http://{address}/readyz");
        let binary =
            Command::new(env!("CARGO_BIN_EXE_state-tracker")).args(["healthcheck", "--url", &url]).output();
        binary.await.expect("it runs").status.code()
    };
    let ready = Process::start(&environment(redis.addr())).await;
    ready.wait_ready().await;
    assert_eq!(healthcheck(ready.metrics).await, Some(0));
    let waiting = Process::start(&environment(([127, 0, 0, 1], free_port().await).into())).await;
    assert_eq!(healthcheck(waiting.metrics).await, Some(1));
    assert_eq!(healthcheck(([127, 0, 0, 1], free_port().await).into()).await, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_ledgers_begin_at_0_for_each_market_before_any_pass() {
    let away = ([127, 0, 0, 1], free_port().await).into();
    let process = Process::start(&environment(away)).await;
    let metrics = get(process.metrics, "/metrics").await.1;
    for market in MARKETS {
        for kind in ["torn", "lost"] {
            let zero =
                format!("state_tracker_ledger_faults_total{{kind=\"{kind}\",market=\"{market}\"}} 0\n");
            assert!(metrics.contains(&zero), "{zero} is missing in\n{metrics}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_with_connect_tells_whether_redis_answers() {
    let redis = RedisServer::builder().password("12345").start().await.expect("a Redis server");
    let mut environment = environment(redis.addr());
    let check = async |environment: &std::collections::BTreeMap<String, String>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
        let output = command
            .args(["check", "--connect"])
            .env_clear()
            .envs(environment)
            .output()
            .await
            .expect("it runs");
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), text)
    };
    let (code, text) = check(&environment).await;
    assert!(code == Some(1) && text.contains("check redis.username and redis.password"), "{text}");
    environment.insert("REDIS_PASSWORD".to_owned(), "12345".to_owned());
    let (code, text) = check(&environment).await;
    assert!(code == Some(0) && text.contains("answers") && !text.contains("12345"), "{text}");

    let mut connection = redis.connection().await.expect("a connection");
    let maxclients = ["SET", "maxclients", "1"];
    redis::cmd("CONFIG").arg(&maxclients).query_async::<()>(&mut connection).await.expect("set");
    let (code, text) = check(&environment).await;
    let said = "max number of clients reached; raise maxclients of Redis";
    assert!(code == Some(1) && text.contains(said), "{text}");
    let plain = ("REDIS_TLS".to_owned(), "true".to_owned());
    environment.extend([plain]);
    redis::cmd("CONFIG")
        .arg(&["SET", "maxclients", "100"])
        .query_async::<()>(&mut connection)
        .await
        .expect("set");
    let (code, text) = check(&environment).await;
    assert!(
        code == Some(1)
            && text.contains("a server without TLS answers; set redis.tls to false")
            && !text.contains("Redis busy"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_stops_the_process_in_order_with_exit_code_0() {
    let redis = RedisServer::start().await.expect("a Redis server");
    for signal in ["TERM", "INT"] {
        let mut process = Process::start(&environment(redis.addr())).await;
        process.wait_ready().await;
        process.signal(signal).await;
        assert_eq!(process.exit_code().await, Some(0));
        let mut log = process.log.clone();
        let stopped = log
            .wait_for(|log| log.contains("\"stopped\"") && log.contains("abandoned\":\"[]\""))
            .await
            .is_ok();
        assert!(stopped, "{}", *process.log.borrow());
    }
}

/// SIGHUP, SIGUSR1 and SIGUSR2 end a process that does not catch them. Until the configuration is read, nothing has started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_signal_but_those_for_a_stop_ends_the_process_also_while_it_starts() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().await.expect("mkfifo runs");
    assert!(made.success());
    let mut environment = environment(redis.addr());
    environment.insert("STATE_TRACKER_CONFIG".to_owned(), pipe.display().to_string());
    // Returns when the process has opened the pipe to read its configuration.
    let open = async || {
        let pipe = pipe.clone();
        let opened = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(pipe));
        opened.await.expect("joined").expect("opened")
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
    command.env_clear().envs(&environment).kill_on_drop(true).stderr(std::process::Stdio::null());
    let signal = async |process: &tokio::process::Child, name: &str| {
        let pid = process.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().await;
        assert!(sent.expect("kill runs").success());
    };
    let mut process = command.spawn().expect("it starts");
    let configuration = open().await;
    for name in ["HUP", "USR1", "USR2"] {
        signal(&process, name).await;
    }
    signal(&process, "TERM").await;
    let ended = tokio::time::timeout(std::time::Duration::from_secs(4), process.wait()).await;
    assert_eq!(ended.expect("before the pipe's end").expect("waited").code(), Some(0));
    drop(configuration);

    environment.remove("STATE_TRACKER_CONFIG");
    let mut process = Process::start(&environment).await;
    process.wait_ready().await;
    for name in ["USR1", "USR2", "HUP"] {
        process.signal(name).await;
    }
    let mut log = process.log.clone();
    assert!(log.wait_for(|log| log.contains("SIGHUP: ")).await.is_ok(), "it still runs");
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
}

/// An environment in which failures take effect fast.
#[cfg(feature = "failure-points")]
fn impatient(redis: &RedisServer, failure: &str) -> std::collections::BTreeMap<String, String> {
    let mut environment = environment(redis.addr());
    for (name, value) in [
        ("STATE_TRACKER__REDIS__COMMAND_TIMEOUT", "100ms"),
        ("STATE_TRACKER__REDIS__CONNECT_TIMEOUT", "100ms"),
        ("STATE_TRACKER__SUPERVISION__STALL_TIMEOUT", "600ms"),
        ("STATE_TRACKER__SUPERVISION__WEDGE_TIMEOUT", "1200ms"),
        ("STATE_TRACKER__SUPERVISION__MAX_RESTARTS", "1"),
        ("STATE_TRACKER__SUPERVISION__DEGRADED_RETRY_INTERVAL", "200ms"),
        ("STATE_TRACKER__SUPERVISION__GIVE_UP_TIMEOUT", "1s"),
        ("STATE_TRACKER_FAILURE_POINTS", failure),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    environment
}

/// Intensity: 1 in 60 s; retried every 200 ms once degraded, given up after 1 s; 2 attempts.
#[cfg(feature = "failure-points")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_what_it_can_not_do_without_ends_with_70_and_says_why() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let cases = [
        ("epoch_tracker::before_read=error", "gave up", "epoch-tracker stayed down"),
        ("aggregator::before_read=spin", "wedged", "the actor has not yielded"),
    ];
    for (failure, what, word) in cases {
        let mut process = Process::start(&impatient(&redis, failure)).await;
        assert_eq!(process.exit_code().await, Some(70), "{what}");
        let mut log = process.log.clone();
        let told = tokio::time::timeout(common::SOON, log.wait_for(|log| log.contains(word))).await;
        assert!(told.is_ok_and(|told| told.is_ok()), "{what}: {}", *process.log.borrow());
    }
}

#[cfg(feature = "failure-points")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_actor_is_replaced_and_the_process_goes_on() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let process = Process::start(&impatient(&redis, "aggregator::before_read=hang*1")).await;
    process.wait_ready().await;
    let stalled = "reason=\"stalled\"} 1";
    wait_until("it was replaced as stalled", common::SOON, async || {
        get(process.metrics, "/metrics").await.1.lines().any(|line| line.ends_with(stalled))
    })
    .await;
    process.wait_ready().await;
}

#[cfg(feature = "failure-points")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_hangs_does_not_keep_the_process_from_stopping() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut environment = environment(redis.addr());
    environment.insert("STATE_TRACKER_FAILURE_POINTS".to_owned(), "pruner::before_pause=hang".to_owned());
    // It passes the point again and again: the first time may come before the point is armed.
    environment.insert("STATE_TRACKER__INTERVALS__PRUNE".to_owned(), "100ms".to_owned());
    for (second_signal, code) in [(false, 0), (true, 130)] {
        let mut process = Process::start(&environment).await;
        the_pruner_hangs(&process).await;
        let told = std::time::Instant::now();
        process.signal("TERM").await;
        if second_signal {
            process.signal_until_it_ends("TERM").await;
        }
        assert_eq!(process.exit_code().await, Some(code));
        assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    }
}

#[cfg(feature = "failure-points")]
async fn the_pruner_hangs(process: &Process) {
    process.wait_ready().await;
    wait_until("the pruner hangs", common::SOON, async || {
        let health: serde_json::Value =
            serde_json::from_str(&get(process.operator, "/health").await.1).expect("JSON");
        let actors = health["actors"].as_array().cloned().unwrap_or_default();
        let pruner = actors.into_iter().find(|actor| actor["path"] == "pruner").unwrap_or_default();
        pruner["activity"] == "working" && pruner["quiet"].as_f64().is_some_and(|quiet| quiet > 0.5)
    })
    .await;
}

/// As `timeout` does: it signals the process, and then its group. The stop takes 2 s.
#[cfg(feature = "failure-points")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_repeated_within_250_ms_counts_once() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut environment = environment(redis.addr());
    for (name, value) in [
        ("STATE_TRACKER_FAILURE_POINTS", "pruner::before_pause=hang"),
        ("STATE_TRACKER__INTERVALS__PRUNE", "100ms"),
        ("STATE_TRACKER__SUPERVISION__STOP_TIMEOUT", "2s"),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    let mut process = Process::start(&environment).await;
    the_pruner_hangs(&process).await;
    let twice = "kill -TERM $0; sleep 0.02; kill -TERM $0";
    let status = Command::new("sh").args(["-c", twice, &process.pid().to_string()]).status().await;
    assert!(status.expect("sh runs").success());
    assert_eq!(process.exit_code().await, Some(0), "{}", *process.log.borrow());
    let mut log = process.log.clone();
    let stopped = log.wait_for(|log| log.contains("\"stopped\"")).await.is_ok();
    assert!(stopped, "it stopped in order: {}", *process.log.borrow());
}

/// A runtime of one thread, which the actor takes, and one of as many threads as the machine has cores. The actors may
/// take 1 s to stop; without the signal the process would end after 60 s, with 70.
#[cfg(feature = "failure-points")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_never_yields_does_not_keep_the_process_from_stopping() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let spinning = format!("{}/aggregator", MARKETS[0]);
    let mut one_thread = environment(redis.addr());
    for (name, value) in [
        ("STATE_TRACKER_FAILURE_POINTS", format!("aggregator::before_read@{spinning}=spin").as_str()),
        ("STATE_TRACKER__SUPERVISION__SHUTDOWN_TIMEOUT", "1s"),
        ("STATE_TRACKER__SUPERVISION__STOP_TIMEOUT", "500ms"),
        ("TOKIO_WORKER_THREADS", "1"),
    ] {
        one_thread.insert(name.to_owned(), value.to_owned());
    }
    let mut all_cores = one_thread.clone();
    all_cores.remove("TOKIO_WORKER_THREADS");
    let names_it = |line: &str| {
        let end = line.contains("\"stopped\"") || line.contains("did not end within");
        end && line.contains(&spinning)
    };
    for (environment, second_signal, code) in
        [(&one_thread, false, 0), (&one_thread, true, 130), (&all_cores, false, 0), (&all_cores, true, 130)]
    {
        let mut process = Process::start(environment).await;
        let log = process.log.clone();
        let logs = async |what: &str, found: &dyn Fn(&str) -> bool| {
            let mut log = log.clone();
            // The borrow locks the log, so it is dropped at once.
            let found = log.wait_for(|log| log.lines().any(found));
            let found = tokio::time::timeout(common::SOON, found).await.is_ok_and(|found| found.is_ok());
            assert!(found, "{what}: {}", *log.borrow());
        };
        logs("it spins", &|line| line.contains("holds this thread")).await;
        let told = std::time::Instant::now();
        process.signal("TERM").await;
        if second_signal {
            logs("the signal is heard", &|line| line.contains("SIGTERM: stopping")).await;
            process.signal_until_it_ends("TERM").await;
        }
        assert_eq!(process.exit_code().await, Some(code), "{}", *process.log.borrow());
        assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
        if !second_signal {
            logs("the actor is named", &names_it).await;
        }
    }
}
