//! Connects the endpoints to the tree and to the readiness conditions.

use std::sync::{Arc, OnceLock, Weak};

use actors::env::Services;
use supervision::{ActorHealth, Crash, DeadLetter, Failure, State, Tree};

use crate::{
    http::{Condition, Vitals},
    outbox::OutboxDesk,
};

/// The data behind the endpoints. Without a tree, before its start and after its stop, the lists are empty.
pub(super) struct ServiceVitals {
    /// Set once the tree is started. The endpoints answer before that, and are then not ready.
    pub(super) tree: Arc<OnceLock<Weak<Tree>>>,
    pub(super) services: Services,
    /// The outbox, where the collector runs; a shadow has none.
    pub(super) outbox: Option<OutboxDesk>,
}

impl ServiceVitals {
    fn tree(&self) -> Option<Arc<Tree>> {
        self.tree.get().and_then(Weak::upgrade)
    }
}

impl Vitals for ServiceVitals {
    fn conditions(&self) -> Vec<Condition> {
        let outside = self.services.readiness.conditions();
        let outside = outside.into_iter().map(|fact| Condition::new(fact.name, fact.ok, fact.detail));
        // Backing off is not down: an actor that crashed once and is restarted does not make the process unready.
        let down = |actor: &ActorHealth| {
            actor.degraded
                || actor.wedged
                || matches!(actor.state, State::Stopping | State::Stopped | State::Abandoned)
        };
        let actors = self.actors();
        let down: Vec<&str> =
            actors.iter().filter(|actor| down(actor)).map(|actor| actor.path.as_str()).collect();
        let detail = match down.is_empty() {
            true => format!("{} actors run", actors.len()),
            false => format!("down, degraded or wedged: {}", down.join(", ")),
        };
        // An empty tree is not ready: the endpoints answer before the actors exist.
        std::iter::once(Condition::new("actors", down.is_empty() && !actors.is_empty(), detail))
            .chain(outside)
            .collect()
    }

    fn notes(&self) -> Vec<String> {
        let note = |market: String| {
            format!(
                "market {market}: the last pass found no key of its producers; `state-tracker doctor` looks for them in other \
                 databases (redis.db) and under similar names"
            )
        };
        self.services.readiness.without_producers().into_iter().map(note).collect()
    }

    fn actors(&self) -> Vec<ActorHealth> {
        self.tree().map_or_else(Vec::new, |tree| tree.health())
    }

    fn dead_letters(&self) -> Vec<DeadLetter> {
        self.tree().map_or_else(Vec::new, |tree| tree.dead_letters())
    }

    fn outbox(&self) -> Option<OutboxDesk> {
        self.outbox.clone()
    }

    fn crashes(&self, actor: &str) -> Vec<Crash> {
        self.tree().map_or_else(Vec::new, |tree| tree.crashes(actor))
    }

    fn metrics(&self) -> Result<String, Failure> {
        Ok(self.services.telemetry.render()?)
    }
}
