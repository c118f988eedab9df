//! The metrics as Prometheus reads them: every test looks at the rendered text.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use supervision::{Activity, MailboxStats, State};

use super::*;

fn telemetry() -> Telemetry {
    Telemetry::new().expect("an own registry refuses nothing")
}

fn render(telemetry: &Telemetry) -> String {
    telemetry.render().expect("metrics can be rendered")
}

#[track_caller]
fn assert_line(text: &str, line: &str) {
    let family = line.split(['{', ' ']).next().unwrap_or(line);
    let near: Vec<_> = text.lines().filter(|found| found.starts_with(family)).collect();
    assert!(near.contains(&line), "no {line:?} among {near:#?}");
}

fn family_types(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

fn actor(path: &str, mailbox: Option<MailboxStats>) -> ActorHealth {
    ActorHealth {
        path: path.to_owned(),
        supervisor: false,
        state: State::Running,
        degraded: false,
        generation: 3,
        exits: [0, 0, 1, 1, 0, 0, 0],
        last_crash: None,
        activity: Activity::Idle,
        wedged: false,
        quiet: Duration::ZERO,
        mailbox,
    }
}

/// Everything noted once, so that every metric is there.
fn everything() -> Telemetry {
    let clock = Clock::manual(Duration::from_secs(1_000));
    let telemetry = Telemetry::with_clock(&clock).expect("an own registry refuses nothing");
    telemetry.change_processed("epoch", 2);
    telemetry.event_received("epoch", 3);
    telemetry.dataset_generated(Dataset::Participation);
    telemetry.dataset_written("0xAbC", Dataset::CurrentEpoch, Duration::from_millis(989_500));
    telemetry.aggregation_took(Aggregation::CurrentMetrics, Duration::from_millis(20));
    telemetry.error(store_tracker::operations::READ_EPOCHS, store_redis::ErrorKind::Timeout.row());
    telemetry.round_trips("summary", 4);
    telemetry.pool_waited(Duration::from_millis(2));
    telemetry.redis_up(true);
    telemetry.subscription_connected(true);
    telemetry.subscription_gap();
    telemetry.events_dropped(6);
    telemetry.unaccounted_epochs(1);
    telemetry.late_changes(5);
    telemetry.unfinished_epochs("0xAbC", 7);
    telemetry.index_events(IndexOutcome::Backwards, 3);
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
fn what_the_actors_note_is_exposed_under_its_exact_name() {
    let text = render(&everything());
    for line in [
        r#"state_tracker_changes_processed_total{entity_type="epoch"} 2"#,
        r#"state_tracker_events_received_total{entity_type="epoch"} 3"#,
        r#"state_tracker_datasets_generated_total{dataset_type="participation"} 1"#,
        r#"state_tracker_dataset_age_seconds{dataset_type="current_epoch",market="0xAbC"} 10.5"#,
        r#"state_tracker_aggregation_duration_seconds_bucket{aggregation_type="current_metrics",le="0.01"} 0"#,
        r#"state_tracker_aggregation_duration_seconds_bucket{aggregation_type="current_metrics",le="0.025"} 1"#,
        r#"state_tracker_aggregation_duration_seconds_bucket{aggregation_type="current_metrics",le="30"} 1"#,
        r#"state_tracker_aggregation_duration_seconds_count{aggregation_type="current_metrics"} 1"#,
        r#"state_tracker_errors_total{kind="timeout",operation="read_epochs"} 1"#,
        r#"state_tracker_round_trips_total{operation="summary"} 4"#,
        "state_tracker_pool_wait_seconds_sum 0.002",
        "state_tracker_redis_up 1",
        "state_tracker_subscription_connected 1",
        "state_tracker_subscription_gaps_total 1",
        "state_tracker_events_dropped_total 6",
        "state_tracker_unaccounted_epochs_total 1",
        "state_tracker_late_changes_total 5",
        r#"state_tracker_unfinished_epochs{market="0xAbC"} 7"#,
        r#"state_tracker_index_events_total{outcome="backwards"} 3"#,
        "state_tracker_log_lines_dropped_total 12",
        concat!(r#"state_tracker_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
    ] {
        assert_line(&text, line);
    }
}

#[test]
fn what_the_tree_tells_is_exposed_under_its_exact_name() {
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
fn every_name_follows_the_rules_of_prometheus() {
    let text = render(&everything());
    for unwanted in ["_total_total", "_seconds_seconds", "otel_", "target_info"] {
        assert!(!text.contains(unwanted), "{unwanted} in {text}");
    }
    let types = family_types(&text);
    for (&name, &kind) in &types {
        assert!(name.starts_with("state_tracker_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is not described");
    }
    // A series that is told twice makes the whole scrape fail.
    let series: Vec<_> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' ')).collect();
    assert_eq!(series.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len(), series.len());
    assert!(series.iter().all(|(_, value)| value.parse::<f64>().is_ok_and(f64::is_finite)));
}

#[test]
fn counters_with_known_labels_are_visible_before_anything_happened() {
    let text = render(&telemetry());
    for entity in ENTITY_TYPES.into_iter().chain(["other"]) {
        assert_line(&text, &format!(r#"state_tracker_changes_processed_total{{entity_type="{entity}"}} 0"#));
        assert_line(&text, &format!(r#"state_tracker_events_received_total{{entity_type="{entity}"}} 0"#));
    }
    for dataset in Dataset::ALL {
        let dataset = dataset.as_str();
        assert_line(
            &text,
            &format!(r#"state_tracker_datasets_generated_total{{dataset_type="{dataset}"}} 0"#),
        );
    }
    for metric in [
        "subscription_gaps_total",
        "unaccounted_epochs_total",
        "late_changes_total",
        "log_lines_dropped_total",
        "redis_up",
    ] {
        assert_line(&text, &format!("state_tracker_{metric} 0"));
    }
    assert!(!text.contains("actor="), "no tree is observed yet");
}

#[test]
fn unknown_entity_types_share_one_series() {
    let telemetry = telemetry();
    for n in 0..10_000 {
        telemetry.change_processed(&format!("invented-{n}"), 1);
    }
    telemetry.change_processed("Epoch", 1);
    let text = render(&telemetry);
    assert_line(&text, r#"state_tracker_changes_processed_total{entity_type="other"} 10001"#);
    let series =
        text.lines().filter(|line| line.starts_with("state_tracker_changes_processed_total{")).count();
    assert_eq!(series, ENTITY_TYPES.len() + 1);
}

#[test]
fn the_tree_is_asked_once_a_scrape() {
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
fn what_is_gone_leaves_no_series_behind() {
    let telemetry = everything();
    assert!(render(&telemetry).contains(r#"actor="m/a""#));
    telemetry.observe_tree(|| vec![actor("other", None)]);
    telemetry.market_removed("0xAbC");
    let text = render(&telemetry);
    assert!(!text.contains(r#"actor="m/a""#));
    assert!(!text.contains(r#"market="0xAbC""#));
    assert_line(&text, r#"state_tracker_actor_up{actor="other"} 1"#);
}

#[test]
fn a_thousand_markets_are_told_apart() {
    let telemetry = telemetry();
    telemetry.observe_tree(|| {
        (0..1_000).map(|n| actor(&format!("markets/{n}/a"), Some(MailboxStats::default()))).collect()
    });
    for n in 0..1_000 {
        telemetry.dataset_written(&n.to_string(), Dataset::DailyStats, Duration::ZERO);
    }
    let text = render(&telemetry);
    assert!(!text.contains("otel_metric_overflow"));
    assert_line(&text, r#"state_tracker_mailbox_messages_total{actor="markets/999/a",outcome="refused"} 0"#);
}

#[test]
fn two_trees_in_one_process_do_not_mix() {
    let (one, two) = (telemetry(), telemetry());
    one.change_processed("epoch", 5);
    assert_line(&render(&one), r#"state_tracker_changes_processed_total{entity_type="epoch"} 5"#);
    assert_line(&render(&two), r#"state_tracker_changes_processed_total{entity_type="epoch"} 0"#);
}

#[test]
fn labels_are_escaped() {
    let telemetry = telemetry();
    telemetry.unfinished_epochs("a\"b\\c\nd", 1);
    assert_line(&render(&telemetry), r#"state_tracker_unfinished_epochs{market="a\"b\\c\nd"} 1"#);
}
