//! The payloads have exactly the contract's fields.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{campaign, run};
use crate::campaigns::{
    AlertEvent, Event, EventHead, JobEvent, JobId, Metrics, RunEvent, StatusEvent, Summary, Timestamp,
};

const AT: Timestamp = Timestamp(1_764_522_000_123);
const AT_TEXT: &str = "2025-11-30T17:00:00.123Z";

fn head() -> EventHead {
    EventHead { event_id: 7, timestamp: AT }
}

fn empty_metrics() -> Value {
    json!({
        "totalJobs": 0, "succeededJobs": 0, "failedJobs": 0, "queuedJobs": 0, "runningJobs": 0, "cancelledJobs": 0,
        "successRate": 0.0, "byQueue": {}, "totalExecutions": 0, "avgLatencyMs": 0.0, "minLatencyMs": 0,
        "maxLatencyMs": 0, "p95LatencyMs": 0, "p99LatencyMs": 0, "tipLamports": 0, "feeLamports": 0,
        "totalCostLamports": 0
    })
}

#[test]
fn a_status_event_has_the_contracts_fields() {
    let event = StatusEvent {
        head: head(),
        run_id: run(1),
        campaign_id: campaign(2),
        status: "running".to_owned(),
        metrics: Metrics::default(),
        updated_at: AT,
    };
    let expected = json!({
        "eventId": 7, "timestamp": AT_TEXT, "runId": run(1).to_string(), "campaignId": campaign(2).to_string(),
        "status": "running", "metrics": empty_metrics(), "updatedAt": AT_TEXT
    });
    assert_eq!(serde_json::to_value(&event).unwrap(), expected);
    assert_eq!(serde_json::from_value::<StatusEvent>(expected).unwrap(), event);
    assert_eq!(Event::Status(event).name(), "campaign:status");
}

#[test]
fn a_job_event_leaves_out_what_a_job_does_not_have() {
    let mut event = JobEvent {
        head: head(),
        job_id: JobId(Uuid::from_u128(3)),
        run_id: run(1),
        campaign_id: campaign(2),
        status: "failed".to_owned(),
        queue: "buy".to_owned(),
        job_type: "swap".to_owned(),
        attempts: None,
        error: None,
    };
    let mut expected = json!({
        "eventId": 7, "timestamp": AT_TEXT, "jobId": event.job_id.to_string(), "runId": run(1).to_string(),
        "campaignId": campaign(2).to_string(), "status": "failed", "queue": "buy", "type": "swap"
    });
    assert_eq!(serde_json::to_value(&event).unwrap(), expected);
    (event.attempts, event.error) = (Some(2), Some(json!({"message": "no"})));
    expected["attempts"] = json!(2);
    expected["error"] = json!({"message": "no"});
    assert_eq!(serde_json::to_value(Event::Job(event)).unwrap(), expected);
}

#[test]
fn a_run_event_leaves_out_what_a_run_does_not_have() {
    let mut event = RunEvent {
        head: head(),
        run_id: run(1),
        campaign_id: campaign(2),
        status: "running".to_owned(),
        started_at: AT,
        ended_at: None,
        summary: None,
    };
    let mut expected = json!({
        "eventId": 7, "timestamp": AT_TEXT, "runId": run(1).to_string(), "campaignId": campaign(2).to_string(),
        "status": "running", "startedAt": AT_TEXT
    });
    assert_eq!(serde_json::to_value(&event).unwrap(), expected);
    (event.ended_at, event.summary) = (Some(AT), Some(Metrics::default()));
    expected["endedAt"] = json!(AT_TEXT);
    expected["summary"] = empty_metrics();
    assert_eq!(serde_json::to_value(Event::Run(event)).unwrap(), expected);
}

#[test]
fn an_alert_has_the_contracts_fields() {
    let event = AlertEvent {
        head: head(),
        run_id: run(1),
        campaign_id: campaign(2),
        success_rate: 0.25,
        threshold: 0.5,
        updated_at: AT,
    };
    let expected = json!({
        "eventId": 7, "timestamp": AT_TEXT, "runId": run(1).to_string(), "campaignId": campaign(2).to_string(),
        "successRate": 0.25, "threshold": 0.5, "updatedAt": AT_TEXT
    });
    assert_eq!(serde_json::to_value(Event::Alert(event)).unwrap(), expected);
}

#[test]
fn times_outside_of_four_digit_years_are_written_as_the_nearest_inside() {
    assert_eq!(Timestamp(-1).to_string(), "1970-01-01T00:00:00.000Z");
    assert_eq!(Timestamp(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    assert_eq!(Timestamp::parse(AT_TEXT), Some(AT));
    assert_eq!(Timestamp::parse("yesterday"), None);
}

#[test]
fn a_summary_that_another_program_wrote_is_read_as_far_as_it_goes() {
    let read = Summary::read(
        &json!({"totalJobs": 3, "successRate": "high", "byQueue": {"a": {"total": 3}, "b": 1}}),
    );
    let read = read.unwrap();
    assert_eq!((read.version, read.is_final, read.metrics.total_jobs), (None, false, 3));
    assert_eq!((read.metrics.success_rate, read.metrics.by_queue["a"].total), (0.0, 3));
    assert_eq!(read.metrics.by_queue["b"].total, 0);
    for odd in [json!(null), json!([]), json!("text"), json!(5)] {
        assert_eq!(Summary::read(&odd), None);
    }
}

#[test]
fn what_is_written_is_read_again() {
    let metrics = Metrics { total_jobs: 2, success_rate: 1.0 / 3.0, ..Metrics::default() };
    let mut value = Summary::content(&metrics, true);
    value[Summary::VERSION] = json!(5);
    value[Summary::UPDATED_AT] = json!(AT_TEXT);
    let expected = Summary { metrics, version: Some(5), updated_at: Some(AT), is_final: true };
    assert_eq!(Summary::read(&value), Some(expected));
}
