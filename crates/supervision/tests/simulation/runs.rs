//! One simulation from its seed to its end, and what it leaves behind.

use std::fmt;

use supervision::{ChangeError, Notice, Overflow};

use super::{
    message::Msg,
    steps::{Removal, Simulation, now},
    world::{Fate, Known},
};

/// How many steps a simulation has.
const STEPS: u64 = 200;

/// A simulation that kept all promises.
pub(crate) struct Passed {
    pub(crate) trace: Vec<String>,
    /// The restarts after a pause, and those whose pause was shortened by chance.
    pub(crate) pauses: (u64, u64),
}

/// A simulation that found a broken promise.
pub(crate) struct Failed {
    pub(crate) seed: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Vec<String>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, violations, trace } = self;
        let shown = if std::env::var_os("SUPERVISION_TRACE").is_some() { trace.len() } else { 100 };
        let last = trace.len().saturating_sub(shown);
        writeln!(f, "the last lines of the trace of seed {seed}:")?;
        trace[last..].iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        violations.iter().take(3).try_for_each(|line| writeln!(f, "seed {seed}: {line}"))?;
        write!(f, "replay: SUPERVISION_SEED={seed} cargo test -p supervision --test simulation")
    }
}

/// Runs the simulation of this seed.
pub(crate) fn run(seed: u64) -> Result<Passed, Box<Failed>> {
    let mut simulation = Simulation::new(seed);
    let steps = STEPS / 2 + simulation.world.below(STEPS);
    for _ in 0..steps {
        if simulation.ended || simulation.is_violated() {
            break;
        }
        simulation.step();
    }
    if !simulation.is_violated() {
        simulation.finish();
    }
    let world = simulation.world.clone();
    // The kit's values go before the judgement is read: the rest of the messages with them.
    drop(simulation);
    let (violations, trace, pauses) = world.with(|world| {
        (std::mem::take(&mut world.violations), std::mem::take(&mut world.trace), world.pauses)
    });
    if violations.is_empty() {
        return Ok(Passed { trace, pauses });
    }
    Err(Box::new(Failed { seed, violations, trace }))
}

impl Simulation {
    fn is_violated(&self) -> bool {
        self.world.with(|world| !world.violations.is_empty())
    }

    /// Lets everything run that can, and checks what must hold then.
    pub(crate) fn settle(&mut self) {
        self.driver.settle();
        while let Some(notice) = self.driver.run(now(self.changes.next())).flatten() {
            self.world.with(|world| match notice {
                Notice::Changed(change) => world.changed(&change),
                Notice::Missed(missed) => world.violated("a subscriber that reads misses nothing", missed),
            });
        }
        if !self.ended
            && let Some(outcome) = self.driver.run(now(self.tree.ended()))
        {
            self.ended = true;
            let was_stopped = self.world.with(|world| world.stopped);
            self.check_outcome(&outcome, was_stopped);
            self.world.with(|world| world.ending = true);
        }
        self.world.with(Known::clear_all);
        self.check_removals();
        let records = self.tree.health();
        let permits = self.permits;
        self.world.with(|world| world.check(&records, permits));
        if !self.ended {
            let (edges, tree) = (&self.builder.edges, self.edges());
            self.world.with(|world| {
                let known = world.edges(edges);
                world.expect(tree == known, "an edge exists as long as its address", || {
                    format!("{tree:?}, not {known:?}")
                });
            });
        }
    }

    fn check_removals(&mut self) {
        let ended = self.ended;
        let removals = std::mem::take(&mut self.removals);
        let left = removals.into_iter().filter_map(|mut removal| {
            let outcome = removal.outcome.lock().expect("no panic").take();
            self.world.with(|world| match outcome {
                Some(outcome) => {
                    world.removed(&removal, &outcome);
                    None
                }
                None => {
                    world.waits_for(&mut removal, ended);
                    Some(removal)
                }
            })
        });
        self.removals = left.collect();
    }

    /// Stops the tree, and checks that nothing is left.
    fn finish(&mut self) {
        let report = self.stop();
        if self.is_violated() {
            return;
        }
        // Questions that nobody will answer end by their own deadlines.
        self.advance_by(10_000, false);
        self.settle();
        let sends: Vec<_> =
            self.builder.outside.iter().filter(|way| way.overflow == Overflow::Wait).cloned().collect();
        for way in sends {
            let id = self.world.with(|world| world.new_letter("the end", 1, None));
            let sent = way.address.try_send(Msg {
                id,
                weight: 1,
                key: None,
                reply: None,
                world: self.world.clone(),
            });
            let closed = matches!(sent, Err(supervision::SendError::Closed(_)));
            drop(sent);
            self.world.with(|world| {
                world.letters[id].fate = Fate::Returned;
                world.expect(closed, "every mailbox is closed at the end", || {
                    way.address.mailbox().to_owned()
                });
            });
        }
        self.world.with(|world| {
            world.over(report.as_ref().map(|report| (report.left_behind, report.abandoned.clone())));
        });
        let left = self.removals.len();
        let waiting = self.sends_left();
        self.world.with(|world| {
            world.expect(left == 0, "a removal ends with the tree", || format!("{left} wait"));
            world.expect(waiting == 0, "a send ends with the tree", || format!("{waiting} wait"));
        });
    }
}

impl Known {
    fn removed(&mut self, removal: &Removal, outcome: &Result<supervision::Removed, ChangeError>) {
        let path = self.lives[removal.me].path.clone();
        self.note(format!("{path} was removed: {outcome:?}"));
        let was_gone = self.lives[removal.me].gone;
        let expected = match outcome {
            Ok(_) => true,
            Err(ChangeError::Ended) => self.ending,
            Err(ChangeError::Unknown(_)) => was_gone,
            Err(_) => false,
        };
        self.expect(expected, "a member can be removed", || format!("{path}: {outcome:?}"));
        if outcome.is_ok() {
            for me in 0..self.lives.len() {
                if self.is_below(me, removal.me) {
                    self.lives[me].gone = true;
                }
            }
        }
    }

    /// A removal waits: its supervisor is away, or its member has not used up its time.
    fn waits_for(&mut self, removal: &mut Removal, ended: bool) {
        let awake = self.awake;
        let mut above = self.lives[removal.me].above;
        while let Some(at) = above {
            if self.lives[at].restarts.state != Some(supervision::State::Running) {
                removal.calm_since = awake;
            }
            above = self.lives[at].above;
        }
        if self.is_failing(removal.me) {
            removal.calm_since = awake;
        }
        let (bound, path) = (self.stop_bound(removal.me), self.lives[removal.me].path.clone());
        let waited = awake - removal.calm_since;
        let late = bound.is_some_and(|bound| waited > bound) && !self.ending;
        if late && !removal.extended {
            // Its supervisor may have begun to stop meanwhile, which asks it again: once.
            (removal.extended, removal.calm_since) = (true, awake);
            return;
        }
        self.expect(!late, "a removal ends", || format!("{path} waits for {waited} of {bound:?} ms"));
        self.expect(!ended, "a removal ends with the tree", || path.clone());
    }

    /// The tree has been stopped.
    fn over(&mut self, report: Option<(usize, Vec<String>)>) {
        let clean = report.as_ref().is_some_and(|(left, abandoned)| *left == 0 && abandoned.is_empty());
        self.expect(clean, "a stop leaves nothing behind", || format!("{report:?}"));
        let inside: Vec<String> =
            self.lives.iter().filter(|life| life.inside > 0).map(|life| life.path.clone()).collect();
        self.expect(inside.is_empty(), "nothing runs after the stop", || format!("{inside:?}"));
        let lines: Vec<String> = self
            .boxes
            .iter()
            .filter(|mailbox| !mailbox.line.is_empty())
            .map(|mailbox| mailbox.path.clone())
            .collect();
        self.expect(lines.is_empty(), "a send ends with the tree", || format!("{lines:?}"));
        let asking = self.questions.clone();
        self.expect(asking.is_empty(), "a question ends with the tree", || format!("{asking:?}"));
        let lost: Vec<usize> = self
            .letters
            .iter()
            .enumerate()
            .filter(|(_, letter)| letter.fate == Fate::InFlight || letter.fate == Fate::Sending)
            .map(|(id, _)| id)
            .collect();
        self.expect(lost.is_empty(), "no message is lost", || format!("{lost:?}"));
    }
}
