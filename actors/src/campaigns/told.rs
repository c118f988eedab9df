//! What is told of a run: the payloads of events, and the names of the states that they show. Pure.
//!
//! The same state has the same name at every gateway, so that the log makes it one event: the name is a digest of what clients see,
//! without the moment at which it was read.

use campaign_gateway::Event;
use domain::campaigns::{
    Alert, AlertChange, AlertEvent, CampaignId, EventHead, JobEvent, RunEvent, StatusEvent, Timestamp,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha3::{Digest, Sha3_256};
use store_campaign_log::Form;
use store_campaigns::{ChangedJob, RunRow};

use crate::{
    collector::{Notice, Severity},
    env::Place,
};

/// A state that is offered to the log.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) campaign: CampaignId,
    pub(super) kind: &'static str,
    pub(super) subject: String,
    pub(super) rank: u64,
    pub(super) version: String,
    pub(super) payload: String,
    pub(super) form: Form,
}

/// The head stands before the payload once the log has given it an id.
const NO_HEAD: EventHead = EventHead { event_id: 0, timestamp: Timestamp(0) };

/// The fields of an event without its head.
fn fields(event: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(event) {
        Ok(Value::Object(mut fields)) => {
            fields.remove("eventId");
            fields.remove("timestamp");
            fields
        }
        // Events are objects, whose keys are texts.
        _ => Map::new(),
    }
}

/// The name of a state: 128 bits of a digest, in hex digits.
fn name_of(state: &Value) -> String {
    let digest = Sha3_256::digest(state.to_string().as_bytes());
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The status of a run; nothing while there is no summary.
pub(super) fn status(run: &RunRow) -> Option<Told> {
    let summary = run.summary.as_ref()?;
    let written = summary.updated_at;
    // Another program may have written it, and not said when.
    let updated_at = written.unwrap_or_else(|| millis(run.read_us));
    let event = StatusEvent {
        head: NO_HEAD,
        run_id: run.run,
        campaign_id: run.campaign,
        status: run.status.as_str().to_owned(),
        metrics: summary.metrics.clone(),
        updated_at,
    };
    let mut payload = fields(&event);
    if summary.is_final {
        payload.insert("final".to_owned(), Value::Bool(true));
    }
    let mut state = payload.clone();
    if written.is_none() {
        state.remove("updatedAt");
    }
    let version = name_of(&Value::Object(state));
    Some(told(run, StatusEvent::NAME, version, payload, Form::Lasting))
}

/// The state of a run, without its figures: those come as its status.
pub(super) fn run(run: &RunRow) -> Told {
    let event = RunEvent {
        head: NO_HEAD,
        run_id: run.run,
        campaign_id: run.campaign,
        status: run.status.as_str().to_owned(),
        started_at: run.started_at,
        ended_at: run.ended_at,
        summary: run.summary.as_ref().map(|summary| summary.metrics.clone()),
    };
    let payload = fields(&event);
    let state = json!([event.status, event.started_at, event.ended_at]);
    told(run, RunEvent::NAME, name_of(&state), payload, Form::Lasting)
}

/// A job that has changed.
pub(super) fn job(job: &ChangedJob) -> Told {
    let event = JobEvent {
        head: NO_HEAD,
        job_id: job.job,
        run_id: job.run,
        campaign_id: job.campaign,
        status: job.status.as_str().to_owned(),
        queue: job.queue.clone(),
        job_type: job.kind.clone(),
        attempts: Some(job.attempts),
        error: job.error.clone(),
    };
    Told {
        campaign: job.campaign,
        kind: JobEvent::NAME,
        subject: job.job.to_string(),
        rank: job.read_us,
        version: name_of(&json!([event.status, event.attempts, job.updated_at])),
        payload: Value::Object(fields(&event)).to_string(),
        form: Form::Passing,
    }
}

/// The alert of a run: raised, over, or nothing in between and without a threshold.
pub(super) fn alert(run: &RunRow, below: f64) -> Option<Told> {
    let summary = run.summary.as_ref()?;
    let threshold = run.alert_threshold.unwrap_or(below);
    let judged = |is_raised| Alert { is_raised }.judge(&summary.metrics, threshold);
    if threshold > 0.0
        && let Some(AlertChange::Raised { success_rate }) = judged(false)
    {
        let event = AlertEvent {
            head: NO_HEAD,
            run_id: run.run,
            campaign_id: run.campaign,
            success_rate,
            threshold,
            updated_at: summary.updated_at.unwrap_or_else(|| millis(run.read_us)),
        };
        let payload = fields(&event);
        return Some(told(run, AlertEvent::NAME, "raised".to_owned(), payload, Form::Lasting));
    }
    let is_over = threshold <= 0.0 || matches!(judged(true), Some(AlertChange::Recovered { .. }));
    is_over.then(|| told(run, AlertEvent::NAME, "over".to_owned(), Map::new(), Form::Silent))
}

fn told(run: &RunRow, kind: &'static str, version: String, payload: Map<String, Value>, form: Form) -> Told {
    Told {
        campaign: run.campaign,
        kind,
        subject: run.run.to_string(),
        rank: run.read_us,
        version,
        payload: Value::Object(payload).to_string(),
        form,
    }
}

fn millis(rank: u64) -> Timestamp {
    Timestamp(i64::try_from(rank / 1_000).unwrap_or(i64::MAX))
}

/// A status that may be old, since the database does not answer.
pub(super) fn stale(event: Event) -> Event {
    let payload = match event.payload.strip_suffix('}') {
        Some(fields) => format!("{fields},\"stale\":true}}"),
        None => event.payload,
    };
    Event { payload, ..event }
}

/// The notice of an alert, for operators.
pub(super) fn notice(told: &Told) -> Notice {
    let payload: Value = serde_json::from_str(&told.payload).unwrap_or_default();
    let number = |name: &str| payload.get(name).and_then(Value::as_f64).unwrap_or_default() * 100.0;
    let text = format!(
        "run {} of campaign {}: {:.1} % of its jobs succeeded, and {:.1} % are expected",
        told.subject,
        told.campaign,
        number("successRate"),
        number("threshold")
    );
    Notice::new("campaign_alert", Severity::Medium, Place::default(), text)
}

#[cfg(test)]
mod tests {
    use domain::campaigns::{Metrics, RunStatus, Summary};

    use super::*;

    fn metrics(succeeded: u64, failed: u64) -> Metrics {
        let total_jobs = succeeded + failed;
        Metrics { succeeded_jobs: succeeded, failed_jobs: failed, total_jobs, ..Metrics::default() }
    }

    fn row(metrics: Metrics) -> RunRow {
        RunRow {
            run: "9b2b54d2-50a0-4a6e-8f0e-7f8f6d6d0001".parse().expect("an id"),
            campaign: "3f0c8a54-7a0e-4c39-b6a1-0d8f0f4d6f11".parse().expect("an id"),
            status: RunStatus::Running,
            started_at: Timestamp(1_700_000_000_000),
            ended_at: None,
            summary: Some(Summary {
                metrics,
                version: Some(1),
                updated_at: Some(Timestamp(5)),
                is_final: false,
            }),
            fingerprint: String::new(),
            alert_threshold: None,
            read_us: 7_000_000,
        }
    }

    #[test]
    fn a_status_has_the_fields_of_the_contract_and_no_head() {
        let told = status(&row(metrics(3, 1))).expect("a status");
        let payload: Value = serde_json::from_str(&told.payload).expect("JSON");
        for field in ["runId", "campaignId", "status", "metrics", "updatedAt"] {
            assert!(!payload[field].is_null(), "{field}: {payload}");
        }
        assert!(payload["metrics"]["byQueue"].is_object() && payload.get("eventId").is_none());
        let without = RunRow { summary: None, ..row(metrics(0, 0)) };
        assert_eq!(status(&without), None);
    }

    #[test]
    fn the_same_state_has_the_same_name_whenever_it_was_read() {
        let at = |read_us, row| RunRow { read_us, ..row };
        let foreign = |read_us| {
            let mut row = at(read_us, row(metrics(3, 1)));
            if let Some(summary) = &mut row.summary {
                (summary.updated_at, summary.version) = (None, None);
            }
            status(&row).expect("a status").version
        };
        assert_eq!(foreign(7_000_000), foreign(9_000_000));
        let name = |row: &RunRow| status(row).expect("a status").version;
        let first = row(metrics(3, 1));
        let ended = RunRow { status: RunStatus::Stopped, ..first.clone() };
        let others = [name(&row(metrics(4, 1))), name(&ended), foreign(7_000_000)];
        assert!(others.iter().all(|other| *other != name(&first)), "{others:?}");
        assert_eq!(run(&first).version, run(&at(9_000_000, row(metrics(9, 9)))).version);
        assert_ne!(run(&first).version, run(&ended).version);
    }

    #[test]
    fn an_alert_is_raised_below_the_threshold_and_over_above_it() {
        let of = |succeeded, failed| {
            alert(&row(metrics(succeeded, failed)), 0.8).map(|told| (told.version, told.form))
        };
        assert_eq!(of(7, 3), Some(("raised".to_owned(), Form::Lasting)));
        assert_eq!(of(81, 19), None, "between the threshold and the recovery");
        assert_eq!(of(9, 1), Some(("over".to_owned(), Form::Silent)));
        assert_eq!(of(0, 0), None);
        let without = alert(&row(metrics(1, 9)), 0.0).map(|told| told.form);
        assert_eq!(without, Some(Form::Silent));
        let own = RunRow { alert_threshold: Some(0.95), ..row(metrics(9, 1)) };
        assert_eq!(alert(&own, 0.0).map(|told| told.version).as_deref(), Some("raised"));
    }

    #[test]
    fn a_state_ranks_by_the_moment_at_which_the_database_read_it() {
        let row = RunRow { read_us: 123, ..row(metrics(1, 9)) };
        let ranks = [status(&row), Some(run(&row)), alert(&row, 0.8)].map(|told| told.expect("a state").rank);
        assert_eq!(ranks, [123; 3]);
    }

    #[test]
    fn a_stale_status_says_so() {
        let event = Event {
            id: 1,
            campaign: "3f0c8a54-7a0e-4c39-b6a1-0d8f0f4d6f11".parse().expect("an id"),
            kind: campaign_gateway::EventKind::Status,
            at: std::time::UNIX_EPOCH,
            payload: "{\"a\":1}".to_owned(),
        };
        assert_eq!(stale(event).payload, "{\"a\":1,\"stale\":true}");
    }
}
