//! What every actor works with: the way to Redis, messages, metrics, readiness, the throttle of the log.

pub(crate) mod failure_point;
pub(crate) mod lock;
pub(crate) mod log_throttle;
pub(crate) mod messages;
pub(crate) mod periodic;
pub(crate) mod readiness;
pub(crate) mod report;
pub(crate) mod services;
pub mod telemetry;

pub use failure_point::FailurePoint;
pub use messages::{IndexEvents, Look};
pub use readiness::{Readiness, Status, stale_after};
pub use report::Remedy;
pub use services::Services;
