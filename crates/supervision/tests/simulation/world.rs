//! What the simulation knows: the trace, the violations, and the model of every message, mailbox and actor.
//!
//! The code of actors and senders reports here what it sees through the public interface, and the model says whether the
//! documents allow that. The model follows the documents of the kit and shares no code with it. One lock guards all; no call
//! into the kit is made under it but reading the counts of a mailbox.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use supervision::Tree;

use super::{lives::Life, mailboxes::BoxModel, random::Random};

/// A handle to the world.
#[derive(Clone)]
pub(crate) struct World {
    known: Arc<Mutex<Known>>,
    tree: Arc<OnceLock<Weak<Tree>>>,
}

/// A message as the model knows it.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) fate: Fate,
    pub(crate) weight: usize,
    pub(crate) key: Option<u64>,
    pub(crate) sender: String,
    pub(crate) attempts: u32,
    pub(crate) droppable: bool,
    pub(crate) sequence: u64,
    pub(crate) accepted_at: u64,
    pub(crate) merged_into: Option<usize>,
    /// Why it is a dead letter: the beginning of the reason.
    pub(crate) reason: String,
    pub(crate) answered: bool,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// With its sender, or on its way.
    Sending,
    /// In a timer of the kit.
    Timer,
    Waiting,
    InFlight,
    Acked,
    Dead,
    Evicted,
    Merged,
    /// Dropped by an edge that drops the oldest.
    Displaced,
    /// Refused, or its send was dropped.
    Returned,
}

impl Fate {
    /// Whether its value may be gone.
    fn is_final(self) -> bool {
        !matches!(self, Self::Sending | Self::Waiting | Self::InFlight | Self::Dead)
    }
}

pub(crate) struct Known {
    pub(crate) random: Random,
    pub(crate) trace: Vec<String>,
    pub(crate) violations: Vec<String>,
    /// The clock, in milliseconds since the start; `awake` without the frozen time.
    pub(crate) now: u64,
    pub(crate) awake: u64,
    /// The clock before its last move.
    pub(crate) before: u64,
    pub(crate) letters: Vec<Letter>,
    pub(crate) boxes: Vec<BoxModel>,
    pub(crate) lives: Vec<Life>,
    pub(crate) drops: Vec<usize>,
    /// The questions that wait for their answers, with their deadlines in awake time.
    pub(crate) questions: Vec<(usize, u64)>,
    /// Readers that are removed and ended while messages waited, and how many.
    pub(crate) left: Vec<(usize, usize)>,
    /// The mailboxes that refused a message since they were closed.
    pub(crate) refusals: Vec<usize>,
    /// Calls by actors since the last step, to see one that spins.
    pub(crate) calls: u64,
    /// The restarts after a pause, and those whose pause was shortened by chance.
    pub(crate) pauses: (u64, u64),
    /// The tree is being stopped, or has decided to end.
    pub(crate) ending: bool,
    /// The actors for which it may have decided so.
    pub(crate) reasons: Vec<usize>,
    /// It was asked to stop.
    pub(crate) stopped: bool,
}

/// No step needs this many calls: something spins.
const MOST_CALLS: u64 = 20_000;

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let known = Known {
            random: Random::new(seed),
            trace: Vec::new(),
            violations: Vec::new(),
            now: 0,
            awake: 0,
            before: 0,
            letters: Vec::new(),
            boxes: Vec::new(),
            lives: Vec::new(),
            drops: Vec::new(),
            questions: Vec::new(),
            left: Vec::new(),
            refusals: Vec::new(),
            calls: 0,
            pauses: (0, 0),
            ending: false,
            reasons: Vec::new(),
            stopped: false,
        };
        Self { known: Arc::new(Mutex::new(known)), tree: Arc::default() }
    }

    /// Reads or changes what is known.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tree, once it is started.
    pub(crate) fn tree(&self) -> Option<Arc<Tree>> {
        self.tree.get().and_then(Weak::upgrade)
    }

    pub(crate) fn set_tree(&self, tree: &Arc<Tree>) {
        let _ = self.tree.set(Arc::downgrade(tree));
    }

    pub(crate) fn below(&self, limit: u64) -> u64 {
        self.with(|world| world.random.below(limit))
    }

    pub(crate) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        self.with(|world| world.note(line()));
    }
}

impl Known {
    pub(crate) fn note(&mut self, line: String) {
        let now = self.now;
        self.trace.push(format!("{now} {line}"));
    }

    /// Reports something that the documents rule out.
    pub(crate) fn violated(&mut self, promise: &str, what: impl std::fmt::Display) {
        let line = format!("VIOLATED {promise}: {what}");
        self.note(line.clone());
        self.violations.push(line);
    }

    pub(crate) fn expect(&mut self, holds: bool, promise: &str, what: impl FnOnce() -> String) {
        if !holds {
            let what = what();
            self.violated(promise, what);
        }
    }

    /// Counts a call of an actor. `true` when something spins: then the caller must wait for ever.
    pub(crate) fn spins(&mut self) -> bool {
        self.calls += 1;
        if self.calls == MOST_CALLS {
            self.violated("no actor spins", "20,000 calls without a move of the clock");
        }
        self.calls >= MOST_CALLS
    }

    pub(crate) fn new_letter(&mut self, sender: &str, weight: usize, key: Option<u64>) -> usize {
        self.letters.push(Letter {
            fate: Fate::Sending,
            weight,
            key,
            sender: sender.to_owned(),
            attempts: 0,
            droppable: false,
            sequence: 0,
            accepted_at: 0,
            merged_into: None,
            reason: String::new(),
            answered: false,
        });
        self.letters.len() - 1
    }

    /// The kit merges a message into another one.
    pub(crate) fn merged(&mut self, newer: usize, older: usize) {
        if let Some(letter) = self.letters.get_mut(newer) {
            letter.merged_into = Some(older);
        }
    }

    /// A mailbox was closed when a message came.
    pub(crate) fn closed(&mut self, at: usize) {
        // One that had ended for good is open again when its supervisor begins anew.
        if !self.lives[self.boxes[at].reader].restarts.over {
            self.refusals.push(at);
        }
    }

    /// Every value that is gone must have had its fate.
    pub(crate) fn check_drops(&mut self) {
        for id in std::mem::take(&mut self.drops) {
            let Letter { fate, sender, .. } = self.letters[id].clone();
            self.expect(fate.is_final(), "no message is lost", || {
                format!("message {id} of {sender} was dropped while it was {fate:?}")
            });
        }
    }
}
