//! The status of campaigns: job rows of a PostgreSQL database are counted, and clients are told what has changed.
//!
//! ```text
//! scheduler → job rows → status workers → summaries → monitor → log of events → gateway → rooms of clients
//! ```
//!
//! Each arrow but the last two is a row of the database, which belongs to other programs; the log is in Redis. So the two halves,
//! scheduler with workers and monitor with gateway, may run apart and several times each. A crash of any actor loses nothing and
//! doubles nothing: rows are claimed under a lease, and the log makes the same state one event.
//!
//! The actors touch the database, Redis and the port for clients. What a status is, whose turn it is and when an alert is raised is
//! decided in `domain::campaigns`.

mod counter;
mod counts;
mod figures;
mod fitness;
mod gateway;
mod hands;
mod heard;
mod jobs;
mod known;
mod listener;
mod log;
pub(crate) mod metrics;
mod monitor;
mod owners;
pub(crate) mod points;
mod scheduler;
mod shared;
mod told;
mod worker;

pub use counter::Counter;
pub use counts::{Computations, Counts, JobOutcome, QueueState, SummaryOutcome};
pub use gateway::{CampaignGateway, GatewayWorker};
pub use jobs::JobFeed;
pub use listener::RunListener;
pub use log::GatewayLog;
pub use metrics::CampaignMetrics;
pub use monitor::Monitor;
pub use scheduler::Scheduler;
pub use shared::{Campaigns, CampaignsSettings, SendStatusError};
pub use worker::StatusWorker;
