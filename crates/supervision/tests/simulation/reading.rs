//! The model of a mailbox as its reader sees it: deliveries, answers, and what the end of an incarnation does to what it had in
//! flight.

use super::world::{Fate, Known};

/// How an incarnation ended, as its own code saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It returned without an error, after it was asked to stop.
    Stopped,
    /// It returned without an error and unasked.
    Finished,
    Failed,
    Unavailable,
    Panicked,
    /// Its future was dropped: it was killed, or one of its sub-tasks panicked.
    Dropped,
}

impl How {
    fn charges(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Panicked)
    }
}

const UNANSWERED: &str = "its handler dropped it without acknowledging it";

impl Known {
    /// The reader continues: a message that it left unanswered is charged, unless the stop may have interrupted its handling.
    pub(crate) fn continues(&mut self, at: usize, is_stopping: bool) {
        self.follow_timer(at);
        if std::mem::take(&mut self.boxes[at].unanswered) {
            if is_stopping {
                self.boxes[at].returned = true;
            } else {
                self.charge_first(at, UNANSWERED);
            }
        }
    }

    fn charge_first(&mut self, at: usize, reason: &str) {
        let mailbox = &mut self.boxes[at];
        let Some(&id) = mailbox.hand.front() else { return };
        self.letters[id].attempts += 1;
        if self.letters[id].attempts >= mailbox.limits.max_attempts {
            mailbox.hand.pop_front();
            self.bury(at, id, reason);
        }
    }

    /// A message becomes a dead letter; the oldest ones are evicted beyond the bounds.
    fn bury(&mut self, at: usize, id: usize, reason: &str) {
        let mailbox = &mut self.boxes[at];
        mailbox.returned = false;
        mailbox.counts.dead += 1;
        mailbox.dead.push_back(id);
        mailbox.dead_bytes += self.letters[id].weight;
        self.letters[id].fate = Fate::Dead;
        self.letters[id].reason = reason.to_owned();
        while mailbox.dead.len() > mailbox.limits.dead_letters || mailbox.dead_bytes > mailbox.limits.bytes {
            let Some(oldest) = mailbox.dead.pop_front() else { break };
            mailbox.dead_bytes -= self.letters[oldest].weight;
            mailbox.counts.evicted += 1;
            self.letters[oldest].fate = Fate::Evicted;
        }
    }

    /// Moves what waits to the hand, which is empty.
    fn take(&mut self, at: usize) {
        let mailbox = &mut self.boxes[at];
        mailbox.suspect = mailbox.suspects > 0;
        mailbox.suspects = mailbox.suspects.saturating_sub(1);
        let most = if mailbox.suspect { 1 } else { mailbox.limits.batch };
        while mailbox.hand.len() < most
            && let Some(id) = mailbox.waiting.pop_front()
        {
            mailbox.bytes -= self.letters[id].weight;
            self.letters[id].fate = Fate::InFlight;
            mailbox.hand.push_back(id);
        }
        self.grant(at);
    }

    /// The reader got these messages, a single one as a lease with this attempt and sequence.
    pub(crate) fn delivered(&mut self, at: usize, ids: &[usize], lease: Option<(u32, u64)>) {
        self.follow_timer(at);
        if self.boxes[at].hand.is_empty() {
            self.take(at);
        }
        let path = self.boxes[at].path.clone();
        let expected: Vec<usize> = match lease {
            Some(_) => self.boxes[at].hand.front().into_iter().copied().collect(),
            None => self.boxes[at].hand.iter().copied().collect(),
        };
        self.note(format!("{path} got {ids:?} {lease:?}"));
        self.expect(ids == expected, "messages are delivered once and in order", || {
            format!("{path} got {ids:?}, not {expected:?}")
        });
        let (held, most) = (self.boxes[at].hand.len(), self.boxes[at].limits.batch);
        self.expect(held <= most, "at most a batch is in flight", || format!("{path} has {held} of {most}"));
        self.boxes[at].batched = lease.is_none();
        self.boxes[at].leased = lease.is_some();
        let (Some((attempt, sequence)), Some(&id)) = (lease, ids.first()) else { return };
        let (attempts, known) = (self.letters[id].attempts, self.letters[id].sequence);
        self.expect(attempt == attempts + 1, "only a fault of the message charges it", || {
            format!("{id} in {path} has attempt {attempt} after {attempts} charged ones")
        });
        self.expect(sequence == known, "a message keeps its sequence", || {
            format!("{id} in {path}: {sequence}, {known}")
        });
    }

    /// Its reader got a message. `returned`: it has returned one uncharged and is being stopped.
    pub(crate) fn leaves_it(&mut self, at: usize, returned: bool) {
        let path = self.boxes[at].path.clone();
        self.expect(!returned, "an actor that is stopped does not get back what it returned", || path);
    }

    /// The first message in flight, or all of them, are about to be acknowledged.
    pub(crate) fn acks(&mut self, at: usize, all: bool) {
        let mailbox = &mut self.boxes[at];
        let count = if all { mailbox.hand.len() } else { 1 };
        for id in mailbox.hand.drain(..count) {
            self.letters[id].fate = Fate::Acked;
            mailbox.counts.handled += 1;
        }
        mailbox.leased = false;
        mailbox.returned = false;
        if all {
            mailbox.batched = false;
        }
        let path = mailbox.path.clone();
        self.note(format!("{path} acknowledges {}", if all { "all" } else { "one" }));
    }

    /// The reader returns what it has, uncharged.
    pub(crate) fn nacks(&mut self, at: usize, all: bool) {
        let mailbox = &mut self.boxes[at];
        mailbox.leased = false;
        mailbox.returned = true;
        if all {
            mailbox.batched = false;
        }
        let path = mailbox.path.clone();
        self.note(format!("{path} returns"));
    }

    pub(crate) fn dead_letters_first(&mut self, at: usize, reason: &str) {
        self.boxes[at].leased = false;
        if let Some(id) = self.boxes[at].hand.pop_front() {
            let path = self.boxes[at].path.clone();
            self.note(format!("{path} buries {id}"));
            self.bury(at, id, reason);
        }
    }

    /// The reader drops its lease.
    pub(crate) fn drops_lease(&mut self, at: usize) {
        let mailbox = &mut self.boxes[at];
        if std::mem::take(&mut mailbox.leased) {
            (mailbox.unanswered, mailbox.batched) = (true, false);
        }
    }

    /// The incarnation that reads has ended: what it had in flight returns to the front, charged only for a fault of its own.
    /// `unclear`: it may have been killed instead, which its exit will show.
    pub(crate) fn reader_ended(&mut self, at: usize, how: How, unclear: bool) {
        self.follow_timer(at);
        self.drops_lease(at);
        let mailbox = &mut self.boxes[at];
        let alone = mailbox.unanswered || (mailbox.batched && mailbox.hand.len() == 1);
        let mut suspects = false;
        if how.charges() && alone {
            let first = mailbox.hand.front().copied();
            mailbox.unclear = Some((first, 0)).filter(|_| unclear);
            let reason = match how {
                How::Finished => "its actor finished",
                How::Failed => "its actor failed",
                _ => "its actor panicked",
            };
            self.charge_first(at, reason);
        } else if how.charges() {
            suspects = mailbox.batched;
            let suspected = if suspects { mailbox.hand.len() } else { 0 };
            mailbox.unclear = Some((None, suspected)).filter(|_| unclear);
        }
        let mailbox = &mut self.boxes[at];
        if suspects || mailbox.suspect {
            mailbox.suspects += mailbox.hand.len();
        }
        mailbox.counts.returned += mailbox.hand.len() as u64;
        for id in mailbox.hand.drain(..).rev() {
            self.letters[id].fate = Fate::Waiting;
            mailbox.bytes += self.letters[id].weight;
            mailbox.waiting.push_front(id);
        }
        (mailbox.unanswered, mailbox.batched, mailbox.returned, mailbox.suspect) =
            (false, false, false, false);
    }

    /// The exit of an unclear end is known. A kill charges and suspects nothing.
    pub(crate) fn resolve(&mut self, at: usize, panicked: bool) {
        let Some((first, suspected)) = self.boxes[at].unclear.take() else { return };
        if panicked {
            return;
        }
        self.boxes[at].suspects -= suspected;
        // It is no dead letter: see where sub-tasks panic.
        first.into_iter().for_each(|id| self.letters[id].attempts -= 1);
    }

    /// Whether a panic of a sub-task can be undone by the model.
    pub(crate) fn may_panic(&self, me: usize) -> bool {
        let Some(at) = self.lives[me].mailbox else { return true };
        let mailbox = &self.boxes[at];
        let is_last = |id: &usize| self.letters[*id].attempts + 1 >= mailbox.limits.max_attempts;
        !mailbox.hand.front().is_some_and(is_last)
    }

    /// A dead letter was accepted again as a new message.
    pub(crate) fn replayed(&mut self, at: usize, id: usize) {
        let mailbox = &mut self.boxes[at];
        mailbox.dead.retain(|other| *other != id);
        mailbox.dead_bytes -= self.letters[id].weight;
        self.queue(at, id, false);
    }
}
