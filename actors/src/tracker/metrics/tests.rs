//! The metrics of the tracker as Prometheus reads them.

use super::*;
use crate::env::telemetry::{
    Telemetry,
    tests::{assert_line, render},
};

const NOW: Duration = Duration::from_secs(1_000);

fn metrics() -> (Telemetry, TrackerMetrics) {
    let telemetry = Telemetry::new().expect("an own registry refuses nothing");
    let metrics = TrackerMetrics::register(telemetry.meter(), &Clock::manual(NOW));
    (telemetry, metrics)
}

#[test]
fn metrics_of_the_trackers_actors_have_their_exact_names() {
    use store_tracker::datasets::{CURRENT_EPOCH, PARTICIPATION, STATS, SUMMARY};
    let (telemetry, metrics) = metrics();
    metrics.events(Entity::Epoch, 2);
    metrics.events(Entity::Malformed, 4);
    metrics.events(Entity::Other, 1);
    metrics.dataset_written("0xAbC", &PARTICIPATION, NOW);
    metrics.dataset_written("0xAbC", &STATS, NOW);
    metrics.dataset_written("0xAbC", &CURRENT_EPOCH, Duration::from_millis(989_500));
    metrics.pass_took(&SUMMARY, Duration::from_millis(20));
    metrics.pass_took(&PARTICIPATION, Duration::from_millis(20));
    metrics.subscribed(true);
    metrics.proven(true);
    metrics.subscription_gap();
    metrics.events_dropped(6);
    metrics.unaccounted_epochs(1);
    metrics.late_changes(5);
    metrics.unfinished_epochs("0xAbC", 7);
    metrics.market_added("0xAbC");
    metrics.ledger_fault("0xAbC", LedgerFault::Lost);
    metrics.index_events(IndexOutcome::Backwards, 3);
    let text = render(&telemetry);
    for line in [
        r#"state_tracker_changes_processed_total{entity_type="epoch"} 2"#,
        r#"state_tracker_changes_processed_total{entity_type="other"} 1"#,
        r#"state_tracker_events_received_total{entity_type="epoch"} 2"#,
        r#"state_tracker_events_received_total{entity_type="other"} 5"#,
        r#"state_tracker_datasets_generated_total{dataset_type="participation"} 1"#,
        r#"state_tracker_datasets_generated_total{dataset_type="dashboard_summary"} 0"#,
        r#"state_tracker_dataset_age_seconds{dataset_type="current_epoch",market="0xAbC"} 10.5"#,
        r#"state_tracker_aggregation_duration_seconds_bucket{aggregation_type="current_metrics",le="0.01"} 0"#,
        r#"state_tracker_aggregation_duration_seconds_bucket{aggregation_type="current_metrics",le="0.025"} 1"#,
        r#"state_tracker_aggregation_duration_seconds_bucket{aggregation_type="current_metrics",le="30"} 1"#,
        r#"state_tracker_aggregation_duration_seconds_count{aggregation_type="current_metrics"} 1"#,
        "state_tracker_redis_up 1",
        "state_tracker_subscription_connected 1",
        "state_tracker_subscription_proven 1",
        "state_tracker_subscription_gaps_total 1",
        "state_tracker_events_dropped_total 6",
        "state_tracker_unaccounted_epochs_total 1",
        "state_tracker_late_changes_total 5",
        r#"state_tracker_unfinished_epochs{market="0xAbC"} 7"#,
        r#"state_tracker_ledger_faults_total{kind="lost",market="0xAbC"} 1"#,
        r#"state_tracker_ledger_faults_total{kind="torn",market="0xAbC"} 0"#,
        r#"state_tracker_index_events_total{outcome="backwards"} 3"#,
    ] {
        assert_line(&text, line);
    }
    metrics.written_every(&Intervals {
        summary: Duration::from_secs(30),
        hourly: Duration::from_secs(300),
        daily: Duration::from_secs(3600),
        current_epoch: Duration::from_millis(100),
    });
    let text = render(&telemetry);
    for (dataset, limit) in
        [("dashboard_summary", 95), ("hourly_stats", 905), ("daily_stats", 10_805), ("current_epoch", 6)]
    {
        assert_line(
            &text,
            &format!(r#"state_tracker_dataset_stale_after_seconds{{dataset_type="{dataset}"}} {limit}"#),
        );
    }
    metrics.market_removed("0xAbC");
    assert!(!render(&telemetry).contains("0xAbC"), "a market that is gone leaves no series behind");
}

#[test]
fn label_values_are_those_of_the_originals_metrics() {
    let known = |label: Label| match label.values {
        Values::Known(values) => values(),
        Values::Code | Values::Configuration => Vec::new(),
    };
    assert_eq!(known(ENTITY_TYPE), ["submission", "epoch", "part", "batch", "peers", "validation", "other"]);
    assert_eq!(
        known(DATASET_TYPE),
        ["dashboard_summary", "participation", "current_epoch", "hourly_stats", "daily_stats"]
    );
    assert_eq!(known(AGGREGATION_TYPE), ["current_metrics", "current_epoch", "hourly_stats", "daily_stats"]);
}

#[test]
fn counters_with_known_labels_are_visible_before_anything_happened() {
    let (telemetry, _metrics) = metrics();
    let text = render(&telemetry);
    for row in METRICS.iter().filter(|row| row.kind == crate::env::telemetry::Kind::Counter) {
        for label in row.labels {
            let Values::Known(values) = label.values else {
                panic!("{} has a label that is not known", row.name)
            };
            for value in values() {
                let named = format!(r#"{}="{value}""#, label.name);
                let is_zero = |line: &str| line.contains(&named) && line.ends_with("} 0");
                let mut series = text.lines().filter(|line| line.starts_with(&format!("{}{{", row.name)));
                assert!(series.any(is_zero), "{} has no series with {named}", row.name);
            }
        }
        assert!(!row.labels.is_empty() || text.contains(&format!("\n{} 0\n", row.name)), "{}", row.name);
    }
    assert_line(&text, "state_tracker_redis_up 0");
    assert_line(&text, "state_tracker_subscription_connected 0");
}

#[test]
fn a_thousand_markets_are_told_apart() {
    let (telemetry, metrics) = metrics();
    for n in 0..1_000 {
        metrics.dataset_written(&n.to_string(), &store_tracker::datasets::DAILY, NOW);
    }
    let text = render(&telemetry);
    assert!(!text.contains("otel_metric_overflow"));
    assert_line(&text, r#"state_tracker_dataset_age_seconds{dataset_type="daily_stats",market="999"} 0"#);
}
