//! Storms of events, also of huge ones: memory stays bounded, and the datasets are right.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{MARKETS, Process, SOON, environment, get, producer};
use testkit::{MarketProducer, RedisServer, event_storm, producers::unix_now, wait_until};
use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    task::JoinHandle,
};

/// Small events a second, and for how long.
const EVENTS_A_SECOND: u64 = 100_000;
const LASTS: Duration = Duration::from_secs(3);
/// Payloads of nothing but colons.
const HUGE: usize = 1 << 20;
const HUGE_ONES: u64 = 150;
/// How much the process may grow meanwhile, in bytes.
const MORE: u64 = 192 << 20;

/// The small limit of waiting events in bytes, and how much the process may grow beside it.
const QUEUE: u64 = 1 << 20;
const BESIDE: u64 = 20 << 20;

/// The sum of a metric over its labels.
fn value(metrics: &str, name: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The peak memory of a process until the watch ends.
fn watch_memory(pid: i32) -> (oneshot::Sender<()>, JoinHandle<u64>) {
    let (over, mut is_over) = oneshot::channel::<()>();
    let watch = tokio::spawn(async move {
        let mut most = 0;
        while is_over.try_recv() == Err(TryRecvError::Empty) {
            most = most.max(resident(pid));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        most
    });
    (over, watch)
}

/// Resident memory of a process, in bytes.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("it has memory");
    1024 * line
        .split_whitespace()
        .nth(1)
        .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
        .expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_events_and_of_huge_ones_takes_bounded_memory_and_changes_no_total() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut market = MarketProducer::new(producer(MARKETS[0]), &redis.url()).expect("producers");
    market.open_epoch(1, unix_now()).await.expect("opened");
    market.submit(1, 5, unix_now()).await.expect("submitted");
    let process = Process::start(&environment(redis.addr())).await;
    process.wait_ready().await;
    common::totals_reach(&redis, MARKETS[0], &market.truth()).await;
    let (pid, before) = (process.pid(), resident(process.pid()));
    let (over, watch) = watch_memory(pid);
    let url = redis.url();
    let small = tokio::spawn(async move {
        event_storm(&url, 1, EVENTS_A_SECOND, tokio::time::sleep(LASTS)).await.expect("a storm")
    });
    let mut connection = redis.connection().await.expect("a connection");
    let colons = vec![b':'; HUGE];
    for _ in 0..HUGE_ONES {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg("state:change").arg(&colons);
        publish.query_async::<()>(&mut connection).await.expect("published");
    }
    let small = small.await.expect("it ends");
    market.submit(1, 4, unix_now()).await.expect("submitted");
    common::totals_reach(&redis, MARKETS[0], &market.truth()).await;
    // Received events are counted. Others are counted as dropped, or are a gap where the server disconnected a reader
    // that was too slow.
    let mut shown = (0.0, 0.0);
    wait_until("all is heard, or a gap is counted", SOON, async || {
        let (_, metrics) = get(process.metrics, "/metrics").await;
        let heard = value(&metrics, "state_tracker_events_received_total")
            + value(&metrics, "state_tracker_events_dropped_total");
        shown = (heard, value(&metrics, "state_tracker_subscription_gaps_total"));
        shown.1 > 0.0 || heard >= (small.published + HUGE_ONES) as f64
    })
    .await;
    over.send(()).expect("it is watched until now");
    let most = watch.await.expect("it ends");
    println!(
        "{} small events, {HUGE_ONES} huge ones: {before} → {most} bytes, heard and gaps {shown:?}",
        small.published
    );
    assert!(most < before + MORE, "{before} → {most} bytes");
}

/// A service for one market whose summary is written after gaps only, with a small limit of waiting events.
fn without_polling(redis: &RedisServer) -> BTreeMap<String, String> {
    let mut environment = environment(redis.addr());
    for (name, value) in [
        ("STATE_TRACKER__INTERVALS__SUMMARY", "1h".to_owned()),
        ("STATE_TRACKER__REDIS__EVENT_QUEUE_BYTES", QUEUE.to_string()),
    ] {
        environment.insert(name.to_owned(), value);
    }
    environment
}

/// Waits until the pass of the subscription is over: from then on only a gap starts another one.
async fn has_settled(process: &Process) {
    let actor = format!("markets/{}/aggregator", MARKETS[0]);
    let handled = format!("state_tracker_mailbox_messages_total{{actor=\"{actor}\",outcome=\"handled\"}}");
    wait_until("the subscription's pass is over", SOON, async || {
        value(&get(process.metrics, "/metrics").await.1, &handled) > 0.0
    })
    .await;
}

async fn dropped(process: &Process) -> f64 {
    value(&get(process.metrics, "/metrics").await.1, "state_tracker_events_dropped_total")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_hangs_in_a_storm_keeps_its_limit_and_datasets_catch_up() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut market = MarketProducer::new(producer(MARKETS[0]), &redis.url()).expect("producers");
    let mut environment = without_polling(&redis);
    for (name, value) in [
        ("STATE_TRACKER_FAILURE_POINTS", "listener::before_hand_over=hang*1"),
        // The shortest allowed time until it is replaced.
        ("STATE_TRACKER__REDIS__COMMAND_TIMEOUT", "1s"),
        ("STATE_TRACKER__REDIS__CONNECT_TIMEOUT", "1s"),
        ("STATE_TRACKER__SUPERVISION__STALL_TIMEOUT", "6s"),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    let process = Process::start(&environment).await;
    process.wait_ready().await;
    has_settled(&process).await;
    let before = resident(process.pid());
    let (over, watch) = watch_memory(process.pid());
    let storm =
        event_storm(&redis.url(), 1, EVENTS_A_SECOND, tokio::time::sleep(LASTS)).await.expect("a storm");
    market.open_epoch(1, unix_now()).await.expect("opened unheard");
    market.submit(1, 5, unix_now()).await.expect("submitted unheard");
    common::totals_reach(&redis, MARKETS[0], &market.truth()).await;
    drop(over);
    let most = watch.await.expect("it ends");
    println!("{} events that nobody read: {before} → {most} bytes", storm.published);
    assert!(most < before + QUEUE + BESIDE, "{before} → {most} bytes");
    // Without the limit all of them would have waited.
    wait_until("what was dropped is counted", SOON, async || {
        dropped(&process).await > 0.9 * storm.published as f64
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_were_dropped_are_made_up_for_by_a_pass_and_the_subscription_goes_on() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut market = MarketProducer::new(producer(MARKETS[0]), &redis.url()).expect("producers");
    let mut environment = without_polling(&redis);
    // Less than one burst, so some of it is dropped, however quick the reader is.
    environment.insert("STATE_TRACKER__REDIS__EVENT_QUEUE_BYTES".to_owned(), (64 << 10).to_string());
    let process = Process::start(&environment).await;
    process.wait_ready().await;
    has_settled(&process).await;
    market.open_epoch(1, unix_now()).await.expect("opened");
    market.submit(1, 5, unix_now()).await.expect("submitted");
    let before = dropped(&process).await;
    let mut connection = redis.connection().await.expect("a connection");
    wait_until("some were dropped", SOON, async || {
        let mut burst = redis::pipe();
        for _ in 0..4_000 {
            burst.publish("state:change", "epoch:open:1").ignore();
        }
        burst.query_async::<()>(&mut connection).await.expect("published");
        dropped(&process).await > before
    })
    .await;
    common::totals_reach(&redis, MARKETS[0], &market.truth()).await;
    let (_, metrics) = get(process.metrics, "/metrics").await;
    let gaps = value(&metrics, "state_tracker_subscription_gaps_total");
    assert!(gaps.abs() < 0.5, "it is no interruption of the subscription: {gaps}");
}
