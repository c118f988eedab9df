//! What is known of causes and crashes, and the alerts that wait.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use errors::{controls_terminal, redacted};
use supervision::{ActorHealth, Crash, State};
use webhook::Report as Sent;

use super::causes::{Alert, Cause, Causes, Gravity};
use crate::collector::{Notice, Severity};

/// The most alerts that wait.
pub(super) const MOST_WAITING: usize = 100;
/// How long an actor has to run after a crash until that is told.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// Notices that tell that others are over, of the same market.
const RECOVERIES: [(&str, &[&str]); 2] =
    [("relayer_back", &["relayer_away", "relayer_denies"]), ("rewards_go_on", &["rewards_held"])];

/// Notices that are no trouble and are told all the same, each by itself: a setting asks for these numbers.
const NEWS: [&str; 2] = ["eligible_nodes", "eligible_nodes_of_day"];

/// What outlives a crash of the actor. Clones share it.
#[derive(Clone, Default)]
pub struct AlertBook(pub(super) Arc<Mutex<Book>>);

#[derive(Default)]
pub(super) struct Book {
    causes: Causes,
    pub(super) waiting: VecDeque<Sent>,
    /// How many alerts have left those that wait: the number of the first one.
    left: u64,
    /// For each actor the number of its last crash, and since when it was well; none while it is not.
    crashes: BTreeMap<String, (u64, Option<Instant>)>,
    pub(super) counts: Counts,
}

/// What came of alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) undelivered: u64,
}

impl Book {
    /// The first alert that waits, with its number.
    pub(super) fn first(&self) -> Option<(u64, Sent)> {
        Some((self.left, self.waiting.front().cloned()?))
    }

    /// The first alert leaves, if it has this number. Another one may be the first meanwhile.
    pub(super) fn leaves(&mut self, number: u64) -> bool {
        let is_first = self.left == number && self.waiting.pop_front().is_some();
        self.left += u64::from(is_first);
        is_first
    }

    fn add(&mut self, alert: Alert, at: SystemTime) {
        let Alert { name, text, gravity, is_recovery } = alert;
        if self.waiting.len() >= MOST_WAITING {
            self.leaves(self.left);
            self.counts.undelivered += 1;
        }
        self.waiting.push_back(Sent {
            name,
            text: shown(&text),
            at,
            severity: gravity.as_str(),
            is_recovery,
        });
    }

    /// Takes a notice.
    pub(super) fn notice(&mut self, notice: &Notice, now: Instant, at: SystemTime) {
        let subject = notice.place.market.map(|market| market.to_string()).unwrap_or_default();
        let cause = |name: &str| Cause { name: name.to_owned(), subject: subject.clone() };
        if let Some((_, ends)) = RECOVERIES.iter().find(|(kind, _)| *kind == notice.kind) {
            for name in *ends {
                let over = self.causes.ended(&cause(name), &notice.text);
                over.into_iter().for_each(|alert| self.add(alert, at));
            }
            return;
        }
        if NEWS.contains(&notice.kind.as_ref()) {
            let (name, text) = (notice.kind.to_string(), notice.text.clone());
            return self.add(Alert { name, text, gravity: Gravity::Low, is_recovery: false }, at);
        }
        let gravity = match notice.severity {
            Severity::Low => return,
            Severity::Medium => Gravity::Medium,
            Severity::High => Gravity::High,
        };
        let new = self.causes.came(cause(&notice.kind), gravity, notice.text.clone(), now);
        new.into_iter().for_each(|alert| self.add(alert, at));
    }

    /// Looks at the records of the actors: tells crashes, and actors that are well again.
    pub(super) fn look(&mut self, actors: &[ActorHealth], now: Instant, at: SystemTime) {
        for actor in actors {
            let Some(crash) = &actor.last_crash else { continue };
            let (known, well) = self.crashes.entry(actor.path.clone()).or_default();
            let cause = Cause { name: actor.path.clone(), subject: String::new() };
            if crash.id > *known {
                (*known, *well) = (crash.id, None);
                let text = crash_text(actor, crash);
                let new = self.causes.came(cause, Gravity::High, text, now);
                new.into_iter().for_each(|alert| self.add(alert, at));
                continue;
            }
            if actor.state != State::Running || actor.degraded || actor.wedged {
                *well = None;
                continue;
            }
            let since = *well.get_or_insert(now);
            if now.saturating_duration_since(since) >= WELL_AFTER {
                let text = format!("the actor {} runs again, for a minute now", actor.path);
                let over = self.causes.ended(&cause, &text);
                over.into_iter().for_each(|alert| self.add(alert, at));
            }
        }
        for alert in self.causes.due(now) {
            self.add(alert, at);
        }
        // Actors of removed markets.
        self.crashes.retain(|path, _| actors.iter().any(|actor| actor.path == *path));
    }
}

fn crash_text(actor: &ActorHealth, crash: &Crash) -> String {
    let place = crash.location.as_deref().map(|place| format!(" at {place}")).unwrap_or_default();
    format!(
        "the actor {path} crashed{place}: {}; it is restarted alone (incarnation {}); its backtrace is number {} of /crashes?actor={path} at \
         the operators' port",
        crash.message,
        crash.generation,
        crash.id,
        path = actor.path
    )
}

/// A text without secrets, and without characters that change what stands beside them.
fn shown(text: &str) -> String {
    redacted(text).chars().map(|c| if controls_terminal(c) { ' ' } else { c }).collect()
}
