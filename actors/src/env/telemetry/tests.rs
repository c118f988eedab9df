//! The metrics as Prometheus reads them: every test checks the rendered text.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use store_redis::{ErrorKind, RedisSettings, Servers};
use store_tracker::operations::READ_EPOCHS;
use supervision::{Activity, MailboxStats, State};

use super::*;

fn telemetry() -> Telemetry {
    Telemetry::new().expect("an own registry refuses nothing")
}

pub(crate) fn render(telemetry: &Telemetry) -> String {
    telemetry.render().expect("metrics can be rendered")
}

#[track_caller]
pub(crate) fn assert_line(text: &str, line: &str) {
    let family = line.split(['{', ' ']).next().unwrap_or(line);
    let near: Vec<_> = text.lines().filter(|found| found.starts_with(family)).collect();
    assert!(near.contains(&line), "no {line:?} among {near:#?}");
}

fn actor(path: &str, mailbox: Option<MailboxStats>) -> ActorHealth {
    ActorHealth {
        path: path.to_owned(),
        supervisor: false,
        state: State::Running,
        degraded: false,
        generation: 3,
        exits: [0, 0, 1, 0, 1, 0, 0, 0],
        last_crash: None,
        activity: Activity::Idle,
        wedged: false,
        quiet: Duration::ZERO,
        mailbox,
    }
}

/// Everything noted once, so that every metric is there.
fn everything() -> Telemetry {
    let telemetry = telemetry();
    telemetry.error(store_tracker::operations::READ_EPOCHS, store_redis::ErrorKind::Timeout.row());
    telemetry.round_trips("summary", 4);
    telemetry.pool_waited(Duration::from_millis(2));
    telemetry.observe_log(|| 12);
    let mailbox = MailboxStats {
        accepted: 10,
        handled: 5,
        waiting: 1,
        coalesced: 1,
        dead_lettered: 2,
        dropped: 1,
        refused: 8,
        redelivered: 9,
        capacity: 1_024,
        high_water: 6,
        bytes: 40,
        waited_nanos: 1_500_000_000,
        oldest_age_nanos: 250_000_000,
        ..MailboxStats::default()
    };
    telemetry.observe_tree(move || {
        let down = ActorHealth { state: State::Degraded, degraded: true, wedged: true, ..actor("m/b", None) };
        vec![actor("m/a", Some(mailbox)), down]
    });
    telemetry
}

#[test]
fn metrics_of_every_actor_have_their_exact_names() {
    let text = render(&everything());
    for line in [
        r#"state_tracker_errors_total{kind="timeout",operation="read_epochs"} 1"#,
        r#"state_tracker_round_trips_total{operation="summary"} 4"#,
        "state_tracker_pool_wait_seconds_sum 0.002",
        r#"state_tracker_pool_wait_seconds_bucket{le="0.001"} 0"#,
        r#"state_tracker_pool_wait_seconds_bucket{le="0.005"} 1"#,
        "state_tracker_log_lines_dropped_total 12",
        concat!(r#"state_tracker_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
    ] {
        assert_line(&text, line);
    }
}

#[tokio::test]
async fn the_connections_of_the_pool_are_exposed_in_use_and_idle() {
    let redis = testkit::RedisServer::start().await.expect("a Redis server");
    let second = Duration::from_secs(5);
    let server = redis::IntoConnectionInfo::into_connection_info(redis.url()).expect("a URL");
    let settings = RedisSettings {
        servers: Servers::from(server),
        certificates: None,
        address: redis.url(),
        pool_size: 3,
        connect_timeout: second,
        command_timeout: second,
        check_after: Duration::ZERO,
    };
    let (telemetry, store) = (telemetry(), Store::new(settings).expect("settings"));
    assert!(!render(&telemetry).contains("pool_connections"), "there is no pool yet");
    telemetry.observe_pool(store.clone());
    let shows = |in_use: u64, idle: u64, created: u64| {
        let text = render(&telemetry);
        assert_line(&text, &format!(r#"state_tracker_pool_connections{{state="in_use"}} {in_use}"#));
        assert_line(&text, &format!(r#"state_tracker_pool_connections{{state="idle"}} {idle}"#));
        assert_line(&text, &format!("state_tracker_pool_connections_created_total {created}"));
        assert_line(&text, "state_tracker_pool_connections_limit 3");
    };
    shows(0, 0, 0);
    let first = store.session(READ_EPOCHS).await.expect("a session");
    let second = store.session(READ_EPOCHS).await.expect("a session");
    shows(2, 0, 2);
    drop(second);
    shows(1, 1, 2);
    drop(first);
    shows(0, 2, 2);
    let _again = store.session(READ_EPOCHS).await.expect("a session");
    shows(1, 1, 2);
}

#[test]
fn metrics_of_the_tree_have_their_exact_names() {
    let text = render(&everything());
    for line in [
        r#"state_tracker_actor_up{actor="m/a"} 1"#,
        r#"state_tracker_actor_up{actor="m/b"} 0"#,
        r#"state_tracker_actor_degraded{actor="m/b"} 1"#,
        r#"state_tracker_actor_wedged{actor="m/b"} 1"#,
        r#"state_tracker_actor_state{actor="m/b",state="degraded"} 1"#,
        r#"state_tracker_actor_generation{actor="m/a"} 3"#,
        r#"state_tracker_actor_restarts_total{actor="m/a"} 2"#,
        r#"state_tracker_actor_exits_total{actor="m/a",reason="panicked"} 1"#,
        r#"state_tracker_actor_exits_total{actor="m/a",reason="stalled"} 0"#,
        r#"state_tracker_mailbox_depth{actor="m/a"} 1"#,
        r#"state_tracker_mailbox_capacity{actor="m/a"} 1024"#,
        r#"state_tracker_mailbox_high_water{actor="m/a"} 6"#,
        r#"state_tracker_mailbox_bytes{actor="m/a"} 40"#,
        r#"state_tracker_mailbox_oldest_age_seconds{actor="m/a"} 0.25"#,
        r#"state_tracker_mailbox_wait_seconds_total{actor="m/a"} 1.5"#,
        r#"state_tracker_mailbox_messages_total{actor="m/a",outcome="accepted"} 10"#,
        r#"state_tracker_mailbox_messages_total{actor="m/a",outcome="handled"} 5"#,
        r#"state_tracker_mailbox_messages_total{actor="m/a",outcome="coalesced"} 1"#,
        r#"state_tracker_mailbox_messages_total{actor="m/a",outcome="dropped"} 1"#,
        r#"state_tracker_mailbox_messages_total{actor="m/a",outcome="dead_lettered"} 2"#,
        r#"state_tracker_mailbox_messages_total{actor="m/a",outcome="refused"} 8"#,
        r#"state_tracker_mailbox_messages_total{actor="m/a",outcome="redelivered"} 9"#,
        r#"state_tracker_dead_letters_total{actor="m/a"} 2"#,
    ] {
        assert_line(&text, line);
    }
    assert!(!text.contains(r#"mailbox_depth{actor="m/b"}"#), "an actor without a mailbox has no depth");
}

#[test]
fn the_tree_is_read_once_a_scrape() {
    let telemetry = telemetry();
    let asked = Arc::new(AtomicU64::new(0));
    telemetry.observe_tree({
        let asked = asked.clone();
        move || {
            asked.fetch_add(1, Relaxed);
            vec![actor("a", Some(MailboxStats::default())), actor("b", None)]
        }
    });
    for scrape in 1..=3 {
        render(&telemetry);
        assert_eq!(asked.load(Relaxed), scrape);
    }
}

#[test]
fn a_removed_actor_leaves_no_series_behind() {
    let telemetry = everything();
    assert!(render(&telemetry).contains(r#"actor="m/a""#));
    telemetry.observe_tree(|| vec![actor("other", None)]);
    let text = render(&telemetry);
    assert!(!text.contains(r#"actor="m/a""#));
    assert_line(&text, r#"state_tracker_actor_up{actor="other"} 1"#);
}

#[test]
fn the_actors_of_a_thousand_markets_are_told_apart() {
    let telemetry = telemetry();
    telemetry.observe_tree(|| {
        (0..1_000).map(|n| actor(&format!("markets/{n}/a"), Some(MailboxStats::default()))).collect()
    });
    let text = render(&telemetry);
    assert!(!text.contains("otel_metric_overflow"));
    assert_line(&text, r#"state_tracker_mailbox_messages_total{actor="markets/999/a",outcome="refused"} 0"#);
}

#[test]
fn a_metric_whose_labels_the_code_bounds_has_at_most_512_series() {
    static KINDS: std::sync::LazyLock<Vec<String>> =
        std::sync::LazyLock::new(|| (0..1_000).map(|n| format!("kind {n}")).collect());
    let telemetry = telemetry();
    KINDS.iter().for_each(|kind| telemetry.error(READ_EPOCHS, errors::Kind::new(kind, "")));
    let text = render(&telemetry);
    let series = text.lines().filter(|line| line.starts_with("state_tracker_errors_total{")).count();
    assert!((500..=513).contains(&series) && text.contains("otel_metric_overflow"), "{series}");
}

#[test]
fn two_trees_in_one_process_do_not_mix() {
    let (one, two) = (telemetry(), telemetry());
    one.error(READ_EPOCHS, ErrorKind::Timeout.row());
    assert_line(&render(&one), r#"state_tracker_errors_total{kind="timeout",operation="read_epochs"} 1"#);
    assert!(!render(&two).contains("state_tracker_errors_total"));
}

#[test]
fn labels_are_escaped() {
    let telemetry = telemetry();
    telemetry.observe_tree(|| vec![actor("a\"b\\c\nd", None)]);
    assert_line(&render(&telemetry), r#"state_tracker_actor_up{actor="a\"b\\c\nd"} 1"#);
}

/// A scrape of so many actors and series of markets, with this limit.
fn of_many(limit: usize, markets: usize) -> String {
    static AGES: &[Observed<usize>] = &[
        Observed {
            metric: Metric::gauge("age_of_markets", &[KIND, MARKET], "seconds", "An age."),
            read: |markets, emit| {
                for market in 0..*markets {
                    // The one in the middle is the oldest.
                    let age = if market == markets / 2 { 1_000 } else { market };
                    for kind in ["a", "b"] {
                        emit(age as f64, &[kind.into(), format!("0x{market}").into()]);
                    }
                }
            },
        },
        Observed {
            metric: Metric::counter("faults_of_markets_total", &[KIND, MARKET], "faults", "Faults."),
            read: |markets, emit| {
                for market in 0..*markets {
                    emit(2.0, &["a".into(), format!("0x{market}").into()]);
                }
            },
        },
    ];
    const KIND: Label = Label { name: "kind", values: Values::Code };
    const MARKET: Label = Label { name: "market", values: Values::Configuration };
    let telemetry = telemetry();
    telemetry.limit_series(limit);
    telemetry.meter().observe(AGES, &Arc::new(markets));
    telemetry.observe_tree(move || {
        let of_market = |market: usize| {
            let waiting = if market == 1 { 700 } else { 1 };
            let state = if market == 2 { State::BackingOff } else { State::Running };
            let mailbox = MailboxStats { waiting, capacity: 1_024, accepted: 3, ..MailboxStats::default() };
            ActorHealth { state, ..actor(&format!("markets/0x{market}/aggregator"), Some(mailbox)) }
        };
        let supervisors = (0..markets).map(|market| actor(&format!("markets/0x{market}"), None));
        let top = [actor("listener", None), actor("markets", None)];
        top.into_iter().chain(supervisors).chain((0..markets).map(of_market)).collect()
    });
    render(&telemetry)
}

#[test]
fn of_too_many_markets_counters_are_summed_and_the_worst_one_of_each_gauge_is_named() {
    let text = of_many(10, 11);
    for line in [
        r#"age_of_markets{kind="a",market="0x5"} 1000"#,
        r#"age_of_markets{kind="b",market="0x5"} 1000"#,
        r#"faults_of_markets_total{kind="a",market="*"} 22"#,
        // The actor that does not run, and the deepest mailbox with its own capacity.
        r#"state_tracker_actor_up{actor="markets/0x2/aggregator"} 0"#,
        r#"state_tracker_mailbox_depth{actor="markets/0x1/aggregator"} 700"#,
        r#"state_tracker_mailbox_capacity{actor="markets/0x1/aggregator"} 1024"#,
        r#"state_tracker_actor_restarts_total{actor="markets/*/aggregator"} 22"#,
        r#"state_tracker_actor_restarts_total{actor="markets/*"} 22"#,
        r#"state_tracker_actor_state{actor="markets/*/aggregator",state="running"} 10"#,
        r#"state_tracker_actor_state{actor="markets/*/aggregator",state="backing_off"} 1"#,
        r#"state_tracker_mailbox_messages_total{actor="markets/*/aggregator",outcome="accepted"} 33"#,
        r#"state_tracker_actor_up{actor="listener"} 1"#,
    ] {
        assert_line(&text, line);
    }
    assert_eq!(text.matches("age_of_markets{").count(), 2);
    assert_eq!(text.matches("state_tracker_actor_up{").count(), 4);
    assert_eq!(text.matches("state_tracker_mailbox_depth{").count(), 1);
}

#[test]
fn up_to_the_limit_each_market_has_its_series() {
    let text = of_many(11, 11);
    assert_eq!(text.matches("age_of_markets{").count(), 22);
    assert_eq!(text.matches("state_tracker_actor_up{").count(), 24);
    assert!(!text.contains('*'), "nothing is summed");
}

#[test]
fn a_scrape_of_ten_thousand_markets_is_small() {
    let text = of_many(1_000, 10_000);
    assert!(text.len() < 100_000, "{} bytes", text.len());
}
