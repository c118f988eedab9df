//! The rules of campaigns: when a run is counted, what its figures are, which job row counts it, what clients get.
//!
//! [`Tally`] is what a store counted in one run, [`Metrics`] the figures made of it, [`Summary`] how they stand in the
//! users' table. [`Schedule`] decides whose turn it is, [`plan_rows`] which job row takes a turn, [`Alert`] when a success rate is
//! told. [`Event`] is what goes to clients.
//!
//! Times are Unix milliseconds. A row that can't be read counts in no figure: the store counts it in [`Unreadable`].

mod alert;
mod event;
mod id;
mod job_row;
mod metrics;
mod params;
mod schedule;
mod status;
mod summary;
#[cfg(test)]
mod tests;
mod timestamp;

pub use alert::{Alert, AlertChange, RECOVERY_MARGIN};
pub use event::{AlertEvent, Event, EventHead, JobEvent, RunEvent, StatusEvent};
pub use id::{BadId, CampaignId, JobId, RunId, UserId};
pub use job_row::{MOST_DEAD, Plan, RowState, RunWanted, StatusRow, Turn, plan_rows, row_id, rows_of};
pub use metrics::{
    LONGEST_LATENCY_MS, LONGEST_QUEUE_NAME, Latencies, MOST_COST_DIGITS, MOST_QUEUES, MOST_TOTAL_LAMPORTS,
    Metrics, QueueMetrics, QueueTally, Tally, UNKNOWN_QUEUE, Unreadable,
};
pub use params::{CampaignParams, INTERVAL_SECONDS};
pub use schedule::{Candidate, PAUSE_FACTOR, Schedule, pause_after};
pub use status::{CampaignStatus, JobStatus, RunStatus};
pub use summary::Summary;
pub use timestamp::Timestamp;
