//! `compat = "go"` against the original's recorded outputs for the same states, byte by byte.
//!
//! The clock is set to the moment of the recording, so times are the same too. Not compared: `measurement_duration` and
//! the rates made from it, which have the original's fractions of a millisecond in them (they are checked to be near),
//! and `submissions_count`, which the original also writes without a state, into a hash that expires in a
//! second.

#![allow(clippy::expect_used)] // A test that can't continue panics.

mod common;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use actors::tracker::{
    Aggregator, EpochTracker, Listener, MarketEdges, MarketRegistry, TrackerServices, WakeEdges,
};
use common::timing;
use domain::{Address, tracker::go_json};
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use store_tracker::MarketKeys;
use supervision::{Activity, ActorHealth, Child, Clock, Limits, Mailbox, Name, Tree, TreeOptions};
use testkit::{RedisServer, wait_until};

const SOON: Duration = Duration::from_secs(20);
const PROTOCOL: &str = "0xPROTO000000000000000000000000000000000001";
const MARKET: &str = "0xMARKET00000000000000000000000000000000001";
const PASS: Duration = Duration::from_secs(30);

fn file(name: &str) -> String {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The commands of a file, its times put in.
fn commands(text: &str, now: u64) -> Vec<Vec<String>> {
    let hour = now - now % 3600;
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|line| words(&with_times(line, now, hour))).collect()
}

fn with_times(line: &str, now: u64, hour: u64) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        let (place, behind) = after.split_once("}}").expect("a placeholder ends");
        let base = if place.starts_with("now") { now } else { hour };
        let offset = place.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_start_matches('+');
        let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().expect("an offset") };
        text.push_str(before);
        text.push_str(&base.checked_add_signed(offset).expect("a time").to_string());
        rest = behind;
    }
    text + rest
}

/// Words as a shell reads them: single and double quotes, and a backslash outside of single ones.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (' ', None) => words.extend(word.take()),
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(chars.next()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

async fn run(connection: &mut MultiplexedConnection, commands: Vec<Vec<String>>) {
    for words in commands {
        let mut command = redis::cmd(&words[0]);
        command.arg(&words[1..]);
        let _: redis::Value = command.query_async(connection).await.expect("it is done");
    }
}

struct Tracker {
    tree: Tree,
    clock: Clock,
    tracker: TrackerServices,
}

impl Tracker {
    async fn start(redis: &RedisServer, now: u64) -> Self {
        let clock = Clock::manual(Duration::from_secs(now));
        let services = common::tracker(&redis.url(), Duration::from_secs(5), timing(PASS), &clock);
        let keys = MarketKeys::new(&Address::new(PROTOCOL), &Address::new(MARKET));
        let (aggregator, epochs) =
            (Mailbox::new("a", Limits::default(), &clock), Mailbox::new("e", Limits::default(), &clock));
        let listener = Name::new("l");
        let edges = MarketEdges {
            keys: keys.clone(),
            listener: WakeEdges::new(&listener, &aggregator, &epochs),
            finder: WakeEdges::new(&Name::new("finder"), &aggregator, &epochs),
        };
        let registry = MarketRegistry::new(vec![edges]);
        let (of_aggregator, of_epochs, of_listener) = (services.clone(), services.clone(), services.clone());
        let other_keys = keys.clone();
        let children = vec![
            Child::actor(aggregator, move || {
                Aggregator::new(of_aggregator.clone(), keys.clone()).as_original(true)
            }),
            Child::actor(epochs, move || {
                EpochTracker::new(of_epochs.clone(), other_keys.clone()).as_original(true)
            }),
            Child::worker(listener, move || Listener::new(of_listener.clone(), registry.clone())),
        ];
        let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
        let tree = Tree::start(children, options).await.expect("a tree");
        Self { tree, clock, tracker: services }
    }
}

/// The text of a dataset, or of a hash as an object.
async fn text(connection: &mut MultiplexedConnection, rest: &str) -> Option<String> {
    let key = format!("{PROTOCOL}:{MARKET}:{rest}");
    let kind: String = redis::cmd("TYPE").arg(&key).query_async(connection).await.expect("a type");
    match kind.as_str() {
        "string" => redis::cmd("GET").arg(&key).query_async(connection).await.expect("read"),
        "hash" => {
            let fields: BTreeMap<String, String> =
                redis::cmd("HGETALL").arg(&key).query_async(connection).await.expect("read");
            Some(serde_json::to_string(&fields).expect("JSON"))
        }
        _ => None,
    }
}

async fn ttl(connection: &mut MultiplexedConnection, rest: &str) -> i64 {
    let key = format!("{PROTOCOL}:{MARKET}:{rest}");
    redis::cmd("TTL").arg(key).query_async(connection).await.expect("a TTL")
}

/// Replaces the fields that depend on how long the original had run.
fn without_duration(mut value: Value) -> Value {
    for field in ["measurement_duration", "submission_rate", "epoch_rate", "batch_rate"] {
        if let Some(field) = value.get_mut(field) {
            *field = Value::from("near");
        }
    }
    value
}

async fn is_reproduced(name: &str) {
    let recorded: Value = serde_json::from_str(&file(&format!("{name}.out.json"))).expect("JSON");
    let now = recorded["applied_at"].as_u64().expect("a time");
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    run(&mut connection, commands(&file(&format!("{name}.in.redis")), now)).await;
    let began = Instant::now();
    let tracker = Tracker::start(&redis, now).await;
    wait_until("the first pass is made", SOON, async || {
        let mut connection = connection.clone();
        text(&mut connection, "stats:daily").await.is_some()
    })
    .await;
    let events =
        std::fs::read_to_string(format!("{}/tests/golden/{name}.events.redis", env!("CARGO_MANIFEST_DIR")));
    if let Ok(events) = &events {
        wait_until("the channel is subscribed", SOON, async || {
            let counts: Vec<(String, u64)> = redis::cmd("PUBSUB")
                .arg("NUMSUB")
                .arg("state:change")
                .query_async(&mut connection.clone())
                .await
                .expect("counted");
            counts[0].1 > 0
        })
        .await;
        run(&mut connection, commands(events, now)).await;
        wait_until("all are received", SOON, async || tracker.tracker.events.counts().batches == 3).await;
        // The new subscription caused a pass: the time of the next one counts from its end.
        let is_idle = |actor: &ActorHealth| {
            let has_none = actor.mailbox.as_ref().is_none_or(|stats| stats.waiting == 0);
            actor.path != "a" || actor.activity == Activity::Idle && has_none
        };
        wait_until("the aggregator waits", SOON, async || tracker.tree.health().iter().all(is_idle)).await;
        // The events wake only the epoch tracker; the summary follows with the next pass.
        tracker.clock.advance(PASS);
    }
    let hour = recorded["hour"].as_u64().expect("an hour");
    let outputs = recorded["outputs"].as_object().expect("outputs");
    for (key, expected) in outputs.iter().filter(|(key, _)| !key.ends_with(":state")) {
        let key =
            key.replace("{{hour}}", &hour.to_string()).replace("{{hour-3600}}", &(hour - 3600).to_string());
        let expected_text = expected["raw"].as_str().map(str::to_owned);
        let expected_value = expected.get("value").cloned().map(without_duration);
        let mut seen = None;
        wait_until(&format!("{name}: {key} is what the original made of it"), SOON, async || {
            seen = text(&mut connection.clone(), &key).await;
            let value: Option<Value> = seen.as_ref().map(|text| serde_json::from_str(text).expect("JSON"));
            value.map(without_duration) == expected_value
        })
        .await;
        let (Some(seen), Some(value)) = (seen, expected.get("value")) else { continue };
        if let Some(raw) = expected_text {
            let parsed: Value = serde_json::from_str(&seen).expect("JSON");
            assert_eq!(go_json(value), raw, "{name}: {key}: the encoder is the original's");
            assert_eq!(go_json(&without_duration(parsed)), go_json(&without_duration(value.clone())));
            assert_eq!(go_json(&serde_json::from_str(&seen).expect("JSON")), seen, "{name}: {key}: its form");
        }
        if events.is_err() {
            let (left, recorded) =
                (ttl(&mut connection, &key).await, expected["ttl_s"].as_i64().expect("a TTL"));
            // It was written after this test began, and some of its TTL has passed.
            let least = recorded - 1 - began.elapsed().as_secs().cast_signed();
            assert!((least..=recorded).contains(&left), "{name}: {key} lives for {left} s, not {recorded}");
        }
        for field in ["measurement_duration", "submission_rate", "epoch_rate", "batch_rate"] {
            let near = |value: &Value| match &value[field] {
                Value::String(text) => text.parse().ok(),
                other => other.as_f64(),
            };
            let (Some(ours), Some(theirs)): (Option<f64>, Option<f64>) =
                (near(&serde_json::from_str(&seen).expect("JSON")), near(value))
            else {
                continue;
            };
            assert!(
                (ours - theirs).abs() <= 0.01 + theirs / 1000.0,
                "{name}: {key} {field}: {ours}, not {theirs}"
            );
        }
    }
    tracker.tree.stop(Duration::from_secs(5)).await;
}

macro_rules! reproduced {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                is_reproduced($name).await;
            }
        )*
    };
}

reproduced! {
    a_closed_epoch_without_a_batch_is_shown_as_the_original_showed_it: "2a_closed_no_batch",
    a_closed_epoch_with_a_local_batch_is_shown_as_the_original_showed_it: "2b_closed_local",
    an_epoch_that_only_the_timeline_knows_is_shown_as_the_original_showed_it: "3a_timeline_open",
    an_empty_market_is_shown_as_the_original_showed_it: "4_empty",
    an_odd_id_is_shown_as_the_original_showed_it: "5c_sci_trailing_e",
    the_first_of_two_markets_is_shown_as_the_original_showed_it: "6_two_markets",
    events_add_to_the_totals_as_they_did_for_the_original: "7_events",
    an_odd_duration_is_shown_as_the_original_showed_it: "8f_duration_odd",
    entries_on_the_boundaries_of_hours_count_as_they_did_for_the_original: "9_hour_boundaries",
    texts_are_escaped_as_the_original_escaped_them: "10_escaping",
    the_first_of_the_active_epochs_is_the_current_one_as_for_the_original: "11_active_order",
}
