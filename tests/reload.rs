//! A new configuration while the process runs: SIGHUP.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeMap, path::Path};

use common::{MARKETS, Process, SOON, environment, following, get, producer, totals_reach};
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use testkit::{Emission, MarketProducer, RedisServer, wait_until, world::World};

/// A process whose markets are listed in a file.
async fn process(redis: &RedisServer, file: &Path) -> Process {
    let mut environment = environment(redis.addr());
    environment.remove("DATA_MARKET_ADDRESSES");
    environment.insert("STATE_TRACKER_CONFIG".to_owned(), file.display().to_string());
    let process = Process::start(&environment).await;
    process.wait_ready().await;
    process
}

fn write(file: &Path, markets: &[&str], more: &str) {
    let list: Vec<String> = markets.iter().map(|market| format!("{market:?}")).collect();
    std::fs::write(file, format!("[tracker]\nmarkets = [{}]\n{more}", list.join(", "))).expect("written");
}

/// The generation of each actor, by its path.
async fn generations(process: &Process) -> BTreeMap<String, u64> {
    let health: Value = serde_json::from_str(&get(process.operator, "/health").await.1).expect("JSON");
    let actors = health["actors"].as_array().expect("actors").iter();
    let generation = |actor: &Value| {
        let path = actor["path"].as_str().expect("a path").to_owned();
        (path, actor["generation"].as_u64().expect("a generation"))
    };
    actors.map(generation).collect()
}

async fn reload(process: &Process, said: &str) {
    process.signal("HUP").await;
    let mut log = process.log.clone();
    // The borrow locks the log, so it is dropped at once.
    let told = tokio::time::timeout(SOON, log.wait_for(|log| log.contains(said))).await.is_ok();
    assert!(told, "{said:?} is not in the log:\n{}", *process.log.borrow());
}

/// Whether the channel of a market has a subscriber.
async fn is_heard(connection: &mut MultiplexedConnection, market: &str) -> bool {
    let channel = common::key(market, "state:change");
    let counts: Vec<(String, u64)> =
        redis::cmd("PUBSUB").arg("NUMSUB").arg(channel).query_async(connection).await.expect("counted");
    counts[0].1 > 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markets_come_and_go_at_sighup_and_no_other_actor_notices() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    let [first, second] = MARKETS;
    write(&file, &[first], "");
    let mut process = process(&redis, &file).await;
    let before = generations(&process).await;
    let mut connection = redis.connection().await.expect("a connection");
    let mut one = MarketProducer::new(producer(first), &redis.url()).expect("producers");
    let mut other = MarketProducer::new(producer(second), &redis.url()).expect("producers");
    one.finish_epoch(1, 3).await.expect("written");
    other.finish_epoch(1, 3).await.expect("written");

    write(&file, &[first, second], "");
    reload(&process, &format!("added\":\"[\\\"{second}\\\"]")).await;
    totals_reach(&redis, second, &other.truth()).await;
    wait_until("the new market is heard", SOON, async || is_heard(&mut connection.clone(), second).await)
        .await;
    process.wait_ready().await;
    let both = generations(&process).await;
    assert_eq!(both.len(), before.len() + 3, "a supervisor and two actors more: {both:?}");
    assert!(
        before.iter().all(|(path, generation)| both.get(path) == Some(generation)),
        "{before:?} {both:?}"
    );

    // Its own settings restart it, and it continues where it was.
    write(&file, &[first, second], &format!("[markets.{second:?}]\npriority.protocol = \"0xother\"\n"));
    reload(&process, &format!("replaced\":\"[\\\"{second}\\\"]")).await;
    other.finish_epoch(2, 3).await.expect("written");
    totals_reach(&redis, second, &other.truth()).await;

    write(&file, &[first], "");
    reload(&process, &format!("removed\":\"[\\\"{second}\\\"]")).await;
    assert_eq!(generations(&process).await, before, "nothing is left of it");
    wait_until("nobody hears it", SOON, async || !is_heard(&mut connection.clone(), second).await).await;
    assert!(is_heard(&mut connection, first).await);
    let (metrics, ready) =
        (get(process.metrics, "/metrics").await.1, get(process.metrics, "/readyz?verbose").await.1);
    assert!(!metrics.contains(second) && !ready.contains(second), "{ready}\n{metrics}");
    one.finish_epoch(2, 3).await.expect("written");
    totals_reach(&redis, first, &one.truth()).await;
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulty_configuration_changes_nothing_and_other_settings_need_a_restart() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    write(&file, &MARKETS, "[retention]\nledger = \"8days\"\n");
    let process = process(&redis, &file).await;
    let before = generations(&process).await;

    write(&file, &MARKETS[..1], "[intervals]\nhourly = \"never\"\n");
    reload(&process, "SIGHUP: nothing is changed, the configuration has an error").await;
    assert!(process.log.borrow().contains("intervals.hourly"), "it says which");
    assert!(!process.log.borrow().contains("othing was started"), "the service runs");
    // An event is one line, in a log for people too.
    assert!(!process.log.borrow().contains("\\n"), "{}", *process.log.borrow());
    assert_eq!(generations(&process).await, before);

    write(&file, &MARKETS, "[retention]\nledger = \"9days\"\n");
    reload(&process, "retention.ledger has changed since the start; the change takes effect with a restart")
        .await;
    assert_eq!(generations(&process).await, before);
    process.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markets_from_the_environment_stay_at_sighup_and_the_log_says_why() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let process = Process::start(&environment(redis.addr())).await;
    process.wait_ready().await;
    let before = generations(&process).await;
    reload(&process, "tracker.markets comes from the environment variable DATA_MARKET_ADDRESSES").await;
    assert_eq!(generations(&process).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_sighup_the_chain_is_followed_for_new_markets_too_and_shown_for_those_that_stay() {
    let world = World::new(41).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    let [first, second] = [&world.contracts.markets[0], &world.contracts.markets[1]];
    write(&file, &[first], "");
    let mut environment = following(redis.addr(), &world);
    environment.remove("DATA_MARKET_ADDRESSES");
    environment.insert("STATE_TRACKER_CONFIG".to_owned(), file.display().to_string());
    let mut process = Process::start(&environment).await;
    process.wait_ready().await;
    let release = async |epoch| {
        for market in [first, second] {
            world.emit(market, &Emission::EpochReleased { epoch, begin: 0, end: 1 }).await;
        }
        world.anvil.mine().await.expect("mined");
    };
    let mut current = async |market: &String| -> Option<u64> {
        let key = format!("{market}.CurrentEpochID");
        redis::cmd("GET").arg(key).query_async(&mut connection).await.expect("answered")
    };

    release(1).await;
    wait_until("the first market's epoch is current", SOON, async || current(first).await == Some(1)).await;
    write(&file, &[first, second], "");
    let name = |market: &str| domain::Address::new(market).checksummed().to_owned();
    reload(&process, &format!("added\":\"[\\\"{}\\\"]", name(second))).await;
    release(2).await;
    for market in [first, second] {
        wait_until("both markets' epochs are current", SOON, async || current(market).await == Some(2)).await;
    }

    let metrics = async || process.get(process.metrics, "/metrics").await.1;
    let value = |text: &str, name: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    let blocks = async || value(&metrics().await, "state_tracker_blocks_total ");
    for _ in 0..5 {
        world.anvil.mine().await.expect("mined");
    }
    wait_until("all blocks are accepted", SOON, async || blocks().await >= Some(6.0)).await;
    write(&file, &[second], "");
    reload(&process, &format!("removed\":\"[\\\"{}\\\"]", name(first))).await;
    release(3).await;
    wait_until("the second market's epoch is current", SOON, async || current(second).await == Some(3)).await;
    // A market is followed until it is removed by a command: another tracker may have it.
    wait_until("the first market's epoch is current", SOON, async || current(first).await == Some(3)).await;
    // What was shown of the chain is that of the actors that follow it now.
    let windows = |market: &str| format!("state_tracker_windows{{market=\"{}\"", name(market));
    wait_until("the metrics show the market that stays, and no other", SOON, async || {
        let text = metrics().await;
        let shows = |line: &str| text.lines().any(|found| found.starts_with(line));
        let begins_anew = value(&text, "state_tracker_blocks_total ") < Some(6.0);
        shows(&windows(second)) && !shows(&windows(first)) && begins_anew
    })
    .await;
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0), "{}", *process.log.borrow());
}

/// The operator's mistakes with files: each is told, and changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_without_an_end_neither_fills_the_memory_nor_holds_a_stop() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    write(&file, &MARKETS, "");
    let mut process = process(&redis, &file).await;
    let become_ = |path: &Path| {
        std::fs::remove_file(&file).expect("removed");
        std::os::unix::fs::symlink(path, &file).expect("linked");
    };
    become_(Path::new("/dev/zero"));
    reload(&process, "a device, and must be a file or a pipe").await;

    // Reading the pipe takes 5 s, the stop does not wait for it.
    let pipe = folder.path().join("pipe");
    let made = tokio::process::Command::new("mkfifo").arg(&pipe).status().await.expect("mkfifo runs");
    assert!(made.success());
    become_(&pipe);
    process.signal("HUP").await;
    // It can be opened for writing once it is open for reading.
    let opened =
        tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(pipe)).await;
    let writer = opened.expect("joined").expect("opened");
    let told = std::time::Instant::now();
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
    assert!(told.elapsed() < std::time::Duration::from_secs(4), "{:?}", told.elapsed());
    drop(writer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_on_a_new_configuration_are_logged_at_sighup() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    write(&file, &MARKETS[..1], "");
    let process = process(&redis, &file).await;
    // A digit of the second market is missing.
    write(&file, &[MARKETS[0], &MARKETS[1][..41]], "");
    reload(&process, "is nearly an address").await;
    assert!(process.log.borrow().contains("SIGHUP: tracker.markets: "), "{}", *process.log.borrow());
}
