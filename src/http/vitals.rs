//! The interface between the endpoints and the service.

use serde::Serialize;
use supervision::{ActorHealth, Crash, DeadLetter, Failure};

use crate::outbox::OutboxDesk;

/// The data behind the endpoints. Each method runs on the task of a request, so it must answer from memory without
/// waiting.
pub trait Vitals: Send + Sync + 'static {
    /// The readiness conditions.
    fn conditions(&self) -> Vec<Condition>;
    /// What an operator should know although every condition may hold; one line each.
    fn notes(&self) -> Vec<String>;
    /// The health records of all actors.
    fn actors(&self) -> Vec<ActorHealth>;
    /// The kept dead letters.
    fn dead_letters(&self) -> Vec<DeadLetter>;
    /// The last crashes of the actor with this path, with their backtraces.
    fn crashes(&self, actor: &str) -> Vec<Crash>;
    /// The outbox, if the service has one: its methods ask Redis, and may wait for it.
    fn outbox(&self) -> Option<OutboxDesk>;
    /// The metrics in Prometheus' text format.
    ///
    /// # Errors
    /// They can't be collected. The scrape then fails with this text, so that Prometheus records a gap and not zeros.
    fn metrics(&self) -> Result<String, Failure>;
}

/// A readiness condition: it must hold for the process to be ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Its name, such as `redis` or `market 0x…: summary`.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// Its present state, or the reason why it does not hold. In one line.
    pub detail: String,
}

impl Condition {
    /// A condition and whether it holds.
    pub fn new(name: impl Into<String>, ok: bool, detail: impl Into<String>) -> Self {
        Self { name: name.into(), ok, detail: detail.into() }
    }
}
