//! What clients of a campaign's room get, with exactly the field names of the contract.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id::{CampaignId, JobId, RunId};
use super::metrics::Metrics;
use super::timestamp::Timestamp;

/// What each event begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventHead {
    /// Rising within a campaign.
    pub event_id: u64,
    /// When the event was made.
    pub timestamp: Timestamp,
}

/// An event with its payload.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// `campaign:status`.
    Status(StatusEvent),
    /// `job:status`.
    Job(JobEvent),
    /// `run:status`.
    Run(RunEvent),
    /// `campaign:alert`.
    Alert(AlertEvent),
}

impl Event {
    /// The event's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status(_) => StatusEvent::NAME,
            Self::Job(_) => JobEvent::NAME,
            Self::Run(_) => RunEvent::NAME,
            Self::Alert(_) => AlertEvent::NAME,
        }
    }

    /// The event's id and time.
    #[must_use]
    pub const fn head(&self) -> EventHead {
        match self {
            Self::Status(event) => event.head,
            Self::Job(event) => event.head,
            Self::Run(event) => event.head,
            Self::Alert(event) => event.head,
        }
    }

    /// The campaign whose room gets it.
    #[must_use]
    pub const fn campaign(&self) -> CampaignId {
        match self {
            Self::Status(event) => event.campaign_id,
            Self::Job(event) => event.campaign_id,
            Self::Run(event) => event.campaign_id,
            Self::Alert(event) => event.campaign_id,
        }
    }
}

/// The figures of a run have changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusEvent {
    /// Its id and time.
    #[serde(flatten)]
    pub head: EventHead,
    /// The run.
    pub run_id: RunId,
    /// Its campaign.
    pub campaign_id: CampaignId,
    /// The run's status, as the database has it.
    pub status: String,
    /// The figures.
    pub metrics: Metrics,
    /// When they were written.
    pub updated_at: Timestamp,
}

/// A job has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobEvent {
    /// Its id and time.
    #[serde(flatten)]
    pub head: EventHead,
    /// The job.
    pub job_id: JobId,
    /// Its run.
    pub run_id: RunId,
    /// Its campaign.
    pub campaign_id: CampaignId,
    /// The job's status, as the database has it.
    pub status: String,
    /// Its queue.
    pub queue: String,
    /// Its type.
    #[serde(rename = "type")]
    pub job_type: String,
    /// How often it was attempted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempts: Option<i32>,
    /// What it failed with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<Value>,
}

/// A run has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEvent {
    /// Its id and time.
    #[serde(flatten)]
    pub head: EventHead,
    /// The run.
    pub run_id: RunId,
    /// Its campaign.
    pub campaign_id: CampaignId,
    /// The run's status, as the database has it.
    pub status: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<Timestamp>,
    /// Its figures, once there are some.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub summary: Option<Metrics>,
}

/// The success rate of a run has fallen below its threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertEvent {
    /// Its id and time.
    #[serde(flatten)]
    pub head: EventHead,
    /// The run.
    pub run_id: RunId,
    /// Its campaign.
    pub campaign_id: CampaignId,
    /// The success rate of jobs that are over, from 0 to 1.
    pub success_rate: f64,
    /// The threshold.
    pub threshold: f64,
    /// When the figures were written.
    pub updated_at: Timestamp,
}

impl StatusEvent {
    /// The event's name.
    pub const NAME: &str = "campaign:status";
}

impl JobEvent {
    /// The event's name.
    pub const NAME: &str = "job:status";
}

impl RunEvent {
    /// The event's name.
    pub const NAME: &str = "run:status";
}

impl AlertEvent {
    /// The event's name.
    pub const NAME: &str = "campaign:alert";
}
