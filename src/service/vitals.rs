//! Connects the endpoints to the tree and to the readiness conditions.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock, Weak};

use actors::env::Services;
use serde_json::Value;
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
        let actors = self.tree().map_or_else(Vec::new, |tree| tree.health());
        let shown = |actor: ActorHealth| ActorHealth { last_crash: actor.last_crash.map(crash), ..actor };
        actors.into_iter().map(shown).collect()
    }

    fn dead_letters(&self) -> Vec<DeadLetter> {
        let letters = self.tree().map_or_else(Vec::new, |tree| tree.dead_letters());
        let shown = |mut letter: DeadLetter| {
            letter.reason = hidden(letter.reason);
            hide_in(&mut letter.message);
            letter
        };
        letters.into_iter().map(shown).collect()
    }

    fn outbox(&self) -> Option<OutboxDesk> {
        self.outbox.clone()
    }

    fn crashes(&self, actor: &str) -> Vec<Crash> {
        let crashes = self.tree().map_or_else(Vec::new, |tree| tree.crashes(actor));
        crashes.into_iter().map(crash).collect()
    }

    fn metrics(&self) -> Result<String, Failure> {
        Ok(self.services.telemetry.render()?)
    }
}

/// A crash without secrets: a panic may have any text, such as what a server repeats.
fn crash(crash: Crash) -> Crash {
    Crash { message: hidden(crash.message), backtrace: crash.backtrace.map(hidden), ..crash }
}

fn hidden(text: String) -> String {
    match errors::redacted(&text) {
        Cow::Owned(hidden) => hidden,
        Cow::Borrowed(_) => text,
    }
}

/// Hides secrets in a message. Its names are those of our fields.
fn hide_in(message: &mut Value) {
    match message {
        Value::String(text) => *text = hidden(std::mem::take(text)),
        Value::Array(items) => items.iter_mut().for_each(hide_in),
        Value::Object(fields) => fields.values_mut().for_each(hide_in),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use supervision::ExitKind;

    use super::*;

    #[test]
    fn what_is_shown_of_crashes_and_dead_letters_has_no_secrets() {
        errors::hide(errors::SecretsOf::Configuration, ["hunter-of-vitals".to_owned()]);
        let shown = crash(Crash {
            id: 1,
            at: 0.0,
            generation: 1,
            kind: ExitKind::Panicked,
            message: "it said hunter-of-vitals".to_owned(),
            location: None,
            backtrace: Some("at hunter-of-vitals".to_owned()),
        });
        assert_eq!((&*shown.message, shown.backtrace.as_deref()), ("it said ***", Some("at ***")));
        let mut message =
            serde_json::json!({ "events": [{ "id": "hunter-of-vitals!", "at": 1 }], "none": null });
        hide_in(&mut message);
        assert_eq!(message, serde_json::json!({ "events": [{ "id": "***!", "at": 1 }], "none": null }));
    }
}
