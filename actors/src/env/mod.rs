//! What all actors share: services, messages, metrics, readiness, periodic jobs, the log throttle.
//!
//! **Invariant:** it imports neither the tracker nor the collector.

pub(crate) mod blocking;
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
pub use messages::{BatchFinalized, IndexEvents, Wake};
pub use readiness::{Readiness, ReadinessCondition, stale_after};
pub use report::{Place, Remedy};
pub use services::Services;
