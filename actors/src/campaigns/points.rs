//! The failure points of the campaigns' actors.

use crate::env::FailurePoint;

const SCHEDULER: &str = "campaign scheduler";
const WORKER: &str = "status worker";
const MONITOR: &str = "campaign monitor";
const GATEWAY: &str = "campaign gateway";

domain::table! {
    /// The failure points of the campaigns' actors.
    pub(crate) POINTS: FailurePoint;
    pub(super) SCHEDULER_BEFORE_ROUND = FailurePoint::new("campaign_scheduler::before_round", SCHEDULER,
        "The scheduler is to look for active campaigns, and has not.");
    pub(super) SCHEDULER_BEFORE_QUEUE = FailurePoint::new("campaign_scheduler::before_queue", SCHEDULER,
        "Campaigns are due, and no job row of theirs is queued.");
    pub(super) SCHEDULER_AFTER_QUEUE = FailurePoint::new("campaign_scheduler::after_queue", SCHEDULER,
        "Job rows are queued, and no worker was told.");
    pub(super) WORKER_AFTER_CLAIM = FailurePoint::new("status_worker::after_claim", WORKER,
        "A worker has taken a job row, and computed nothing.");
    pub(super) WORKER_BEFORE_WRITE = FailurePoint::new("status_worker::before_write", WORKER,
        "The metrics of a run are computed, and its summary is the one before.");
    pub(super) WORKER_AFTER_WRITE = FailurePoint::new("status_worker::after_write", WORKER,
        "The summary is written, and the job row is not finished.");
    pub(super) MONITOR_AFTER_READ = FailurePoint::new("campaign_monitor::after_read", MONITOR,
        "The monitor has read runs, and none of them is an event.");
    pub(super) MONITOR_AFTER_APPEND = FailurePoint::new("campaign_monitor::after_append", MONITOR,
        "The events are in the log, and the monitor does not know it.");
    pub(super) GATEWAY_BEFORE_SERVE = FailurePoint::new("campaign_gateway::before_serve", GATEWAY,
        "The gateway has its port, and serves no client.");
    pub(super) GATEWAY_AFTER_FEED = FailurePoint::new("campaign_gateway::after_feed", GATEWAY,
        "The gateway has received events, and sent them to no client.");
}
