//! The audit log: who did what, when, with what outcome. It is kept in memory, the newest entries only, and each entry is a line of the
//! log with the target `audit`.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use ports::Bucket;
use serde::Serialize;

/// The entries that are kept.
const KEPT: usize = 1_000;
/// Lines at once, and lines a second: a stranger must not fill the log with refusals.
const LINES: f64 = 20.0;
const LINES_PER_SECOND: f64 = 1.0;

/// One action of an operator, or one refusal.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// When, in Unix seconds.
    pub at: f64,
    /// The id of the request.
    pub request_id: String,
    /// `operator` or `read` by the token; `local` where no token is asked for, `anonymous` without a right one.
    pub who: &'static str,
    /// The address of the client.
    pub from: String,
    /// The method, path and query, shortened.
    pub what: String,
    /// The status of the answer.
    pub outcome: u16,
}

/// The log. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Audit(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    /// The lines that may be written; `None` before the first one.
    lines: Option<Bucket>,
    left_out: u64,
}

impl Audit {
    /// The entries, the newest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entries.iter().rev().cloned().collect()
    }

    pub(crate) fn note(&self, entry: Entry) {
        let left_out = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let allowed = state.allows(Instant::now());
            state.entries.push_back(entry.clone());
            if state.entries.len() > KEPT {
                state.entries.pop_front();
            }
            if !allowed {
                state.left_out += 1;
                return;
            }
            std::mem::take(&mut state.left_out)
        };
        let Entry { request_id, who, from, what, outcome, .. } = entry;
        tracing::info!(
            target: "audit", request_id, who, from, outcome,
            left_out = Some(left_out).filter(|left_out| *left_out > 0), "{what}"
        );
    }
}

impl State {
    /// Whether a line may be written now.
    fn allows(&mut self, now: Instant) -> bool {
        self.lines.get_or_insert_with(|| Bucket::new(LINES_PER_SECOND, LINES, now)).take(now).is_ok()
    }
}

/// The present time in Unix seconds.
pub(crate) fn unix_now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_newest_entries_are_kept() {
        let audit = Audit::default();
        for number in 0..KEPT + 5 {
            audit.note(Entry {
                at: 0.0,
                request_id: number.to_string(),
                who: "local",
                from: String::new(),
                what: String::new(),
                outcome: 200,
            });
        }
        let entries = audit.entries();
        assert_eq!(
            (entries.len(), &*entries[0].request_id, &*entries[KEPT - 1].request_id),
            (KEPT, "1004", "5")
        );
    }

    #[test]
    fn lines_are_limited_and_go_on_after_a_while() {
        let (mut state, now) = (State::default(), Instant::now());
        let mut allowed = |after| (0..100).filter(|_| state.allows(now + Duration::from_secs(after))).count();
        assert_eq!([allowed(0), allowed(0), allowed(1), allowed(4), allowed(1_000)], [20, 0, 1, 3, 20]);
    }
}
