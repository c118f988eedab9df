//! What the handlers share.

use std::{sync::Arc, time::Instant};

use http_server::Audit;

use super::vitals::Vitals;

/// The state of the handlers.
#[derive(Clone)]
pub(super) struct EndpointState {
    pub(super) vitals: Arc<dyn Vitals>,
    /// The start of the process, for its uptime.
    pub(super) began: Instant,
    pub(super) audit: Audit,
}
