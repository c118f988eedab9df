//! Figures made of counts, parameters, alerts.

use serde_json::json;

use crate::campaigns::{
    Alert, AlertChange, CampaignParams, JobStatus, Latencies, MOST_TOTAL_LAMPORTS, Metrics, QueueMetrics,
    QueueTally, RunStatus, Tally,
};

fn queue(succeeded: u64, failed: u64, queued: u64, running: u64, cancelled: u64) -> QueueTally {
    QueueTally { succeeded, failed, queued, running, cancelled }
}

#[test]
fn figures_add_up_over_queues_and_a_queue_without_a_name_is_unknown() {
    let queues =
        [("buy", queue(1, 2, 3, 4, 5)), ("", queue(1, 0, 0, 0, 0)), ("unknown", queue(0, 0, 0, 0, 2))];
    let tally = Tally {
        queues: queues.map(|(name, queue)| (name.to_owned(), queue)).into(),
        others: queue(0, 0, 2, 0, 0),
        executions: 9,
        latencies: Latencies { count: 4, sum_ms: 10, min_ms: 1, max_ms: 4, p95_ms: 4, p99_ms: 4 },
        tip_lamports: 7,
        fee_lamports: 8,
        ..Tally::default()
    };
    let metrics = Metrics::of(&tally);
    let counts = [
        metrics.total_jobs,
        metrics.succeeded_jobs,
        metrics.failed_jobs,
        metrics.queued_jobs,
        metrics.running_jobs,
        metrics.cancelled_jobs,
    ];
    assert_eq!(counts, [20, 2, 2, 5, 4, 7]);
    assert_eq!(
        metrics.by_queue["buy"],
        QueueMetrics { total: 15, succeeded: 1, failed: 2, queued: 3, running: 4 }
    );
    assert_eq!(
        metrics.by_queue["unknown"],
        QueueMetrics { total: 3, succeeded: 1, ..QueueMetrics::default() }
    );
    assert_eq!(metrics.by_queue.len(), 2);
    assert!((metrics.success_rate - 0.1).abs() < 1e-12 && (metrics.avg_latency_ms - 2.5).abs() < 1e-12);
    assert_eq!((metrics.total_executions, metrics.total_cost_lamports), (9, 15));
}

#[test]
fn a_run_without_jobs_has_zeroes_and_never_a_null() {
    let metrics = Metrics::of(&Tally::default());
    assert_eq!(metrics, Metrics::default());
    let value = serde_json::to_value(&metrics).unwrap();
    assert!(value.as_object().unwrap().values().all(|field| !field.is_null()));
    assert_eq!(value["byQueue"], json!({}));
}

#[test]
fn sums_stay_exact_in_javascript() {
    let tally = Tally { tip_lamports: u64::MAX, fee_lamports: 5, ..Tally::default() };
    let metrics = Metrics::of(&tally);
    assert_eq!(
        (metrics.tip_lamports, metrics.total_cost_lamports),
        (MOST_TOTAL_LAMPORTS, MOST_TOTAL_LAMPORTS)
    );
}

#[test]
fn parameters_are_clamped_and_nonsense_is_no_parameter() {
    let read = |params| CampaignParams::read(&params);
    assert_eq!(read(json!({"status_interval_seconds": 30})).interval_ms, Some(30_000));
    assert_eq!(read(json!({"status_interval_seconds": "2.5"})).interval_ms, Some(2_500));
    assert_eq!(read(json!({"status_interval_seconds": 0})).interval_ms, Some(1_000));
    assert_eq!(read(json!({"status_interval_seconds": -1e300})).interval_ms, Some(1_000));
    assert_eq!(read(json!({"status_interval_seconds": 1e300})).interval_ms, Some(3_600_000));
    assert_eq!(read(json!({"alert_threshold": 1.5})).alert_threshold, Some(1.0));
    for odd in [json!(null), json!([]), json!({"status_interval_seconds": null, "alert_threshold": "high"})] {
        assert_eq!(read(odd), CampaignParams::default());
    }
    assert_eq!(read(json!({"alert_threshold": "NaN"})), CampaignParams::default());
}

#[test]
fn an_alert_is_told_once_until_the_rate_has_recovered() {
    let rate = |succeeded, failed| {
        let queues = [("a".to_owned(), queue(succeeded, failed, 1000, 0, 0))].into();
        Metrics::of(&Tally { queues, ..Tally::default() })
    };
    let mut alert = Alert::default();
    let mut judge = |succeeded, failed| alert.judge(&rate(succeeded, failed), 0.5);
    assert_eq!(judge(0, 0), None, "nothing is over yet");
    assert_eq!(judge(5, 5), None, "at the threshold");
    assert_eq!(judge(4, 6), Some(AlertChange::Raised { success_rate: 0.4 }));
    assert_eq!(judge(3, 7), None, "told already");
    assert_eq!(judge(51, 49), None, "it trembles around the threshold");
    assert_eq!(judge(4, 6), None, "it has not recovered meanwhile");
    assert_eq!(judge(6, 4), Some(AlertChange::Recovered { success_rate: 0.6 }));
    assert_eq!(judge(4, 6), Some(AlertChange::Raised { success_rate: 0.4 }));
}

#[test]
fn a_threshold_of_one_can_recover_and_one_of_zero_never_alerts() {
    let of = |succeeded, failed| {
        let queues = [("a".to_owned(), queue(succeeded, failed, 0, 0, 0))].into();
        Metrics::of(&Tally { queues, ..Tally::default() })
    };
    let mut alert = Alert { is_raised: true };
    assert_eq!(alert.judge(&of(10, 0), 1.0), Some(AlertChange::Recovered { success_rate: 1.0 }));
    assert_eq!(alert.judge(&of(0, 10), 0.0), None);
}

#[test]
fn words_of_statuses_are_those_of_the_database() {
    let runs = ["running", "paused", "stopped", "completed", "failed"];
    assert_eq!(RunStatus::ALL.iter().map(|status| status.as_str()).collect::<Vec<_>>(), runs);
    assert_eq!(serde_json::to_value(JobStatus::Processing).unwrap(), json!("processing"));
    assert_eq!(JobStatus::parse("processing"), Some(JobStatus::Processing));
    assert_eq!(JobStatus::parse("Succeeded"), None);
    assert!(!RunStatus::Running.has_left() && RunStatus::Paused.has_left());
}
