//! What the endpoints show, as the program wires it to its tree and metrics.

use serde::Serialize;
use supervision::{ActorHealth, Crash, DeadLetter, Failure};

/// What the endpoints show. Every method is called on a request's task: it answers from memory, at once.
pub trait Vitals: Send + Sync + 'static {
    /// What must hold for the process to count as ready, each with how it stands.
    fn conditions(&self) -> Vec<Condition>;
    /// The records of all actors.
    fn actors(&self) -> Vec<ActorHealth>;
    /// The dead letters that are kept.
    fn dead_letters(&self) -> Vec<DeadLetter>;
    /// The last crashes of the actor with this path, with their backtraces.
    fn crashes(&self, actor: &str) -> Vec<Crash>;
    /// The metrics in Prometheus' text format.
    ///
    /// # Errors
    /// When they can't be collected; the scrape then fails, with this error as its text.
    fn metrics(&self) -> Result<String, Failure>;
}

/// Something that must hold for the process to be ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What it is about: `redis`, `subscription`, `first pass`.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// How it stands, or what is missing, in one line.
    pub detail: String,
}

impl Condition {
    /// A condition and whether it holds.
    pub fn new(name: impl Into<String>, ok: bool, detail: impl Into<String>) -> Self {
        Self { name: name.into(), ok, detail: detail.into() }
    }
}
