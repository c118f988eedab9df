//! The model of one mailbox: which messages wait, in which order, which are in flight, and what each may come to next.
//!
//! It is written from the documents of `mailbox` and `Overflow`: the queue is first in first out, a batch is bounded, what an
//! incarnation had in flight returns to the front, and only the fault of a message charges it.

use std::collections::VecDeque;

use supervision::{Limits, MailboxStats, MailboxView, Overflow, SendError, Sent};

use super::{
    message::Msg,
    world::{Fate, Known},
};

pub(crate) struct BoxModel {
    pub(crate) path: String,
    /// Its reader.
    pub(crate) reader: usize,
    pub(crate) limits: Limits,
    pub(crate) view: MailboxView,
    pub(crate) waiting: VecDeque<usize>,
    pub(crate) bytes: usize,
    pub(crate) hand: VecDeque<usize>,
    /// How many takes are of one message only, since a batch failed.
    pub(crate) suspects: usize,
    /// The message in flight is such a suspect.
    pub(crate) suspect: bool,
    /// The senders that wait for room, by their messages.
    pub(crate) line: VecDeque<usize>,
    /// Those of them for which room is kept, so that nobody takes it before they run.
    pub(crate) granted: Vec<usize>,
    /// The bytes of that room.
    granted_bytes: usize,
    /// A lease of the first message in flight exists.
    pub(crate) leased: bool,
    pub(crate) unanswered: bool,
    pub(crate) batched: bool,
    pub(crate) returned: bool,
    /// The message that was charged, and how many were suspected, though the last incarnation may have been killed.
    pub(crate) unclear: Option<(Option<usize>, usize)>,
    pub(crate) dead: VecDeque<usize>,
    pub(crate) dead_bytes: usize,
    /// The message of the kit's own timer, and what happens when this is full.
    pub(crate) timer: Option<(usize, Overflow)>,
    pub(crate) counts: Counts,
    pub(crate) last_sequence: u64,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) handled: u64,
    pub(crate) coalesced: u64,
    pub(crate) dead: u64,
    pub(crate) evicted: u64,
    pub(crate) dropped: u64,
    pub(crate) refused: u64,
    /// Timers of the kit that may have been refused: only it knows.
    pub(crate) timers_refused: u64,
    pub(crate) returned: u64,
    pub(crate) high_water: u64,
    pub(crate) waits: u64,
}

impl BoxModel {
    pub(crate) fn new(path: &str, reader: usize, limits: Limits, view: MailboxView) -> Self {
        Self {
            path: path.to_owned(),
            reader,
            limits,
            view,
            waiting: VecDeque::new(),
            bytes: 0,
            hand: VecDeque::new(),
            suspects: 0,
            suspect: false,
            line: VecDeque::new(),
            granted: Vec::new(),
            granted_bytes: 0,
            leased: false,
            unanswered: false,
            batched: false,
            returned: false,
            unclear: None,
            dead: VecDeque::new(),
            dead_bytes: 0,
            timer: None,
            counts: Counts::default(),
            last_sequence: 0,
        }
    }

    pub(crate) fn has_room(&self, weight: usize) -> bool {
        self.waiting.len() + self.granted.len() < self.limits.capacity
            && self.bytes + self.granted_bytes + weight <= self.limits.bytes
    }
}

/// Sending.
impl Known {
    /// Keeps the room that there is for the senders that wait, in their order.
    pub(crate) fn grant(&mut self, at: usize) {
        loop {
            let mailbox = &mut self.boxes[at];
            let next = mailbox.line.iter().copied().find(|id| !mailbox.granted.contains(id));
            let Some((id, weight)) = next.map(|id| (id, self.letters[id].weight)) else { return };
            if !mailbox.has_room(weight) {
                return;
            }
            mailbox.granted.push(id);
            mailbox.granted_bytes += weight;
        }
    }

    /// A sender leaves the line. Returns whether it was in it, and whether room was kept for it.
    pub(crate) fn leave_line(&mut self, at: usize, id: usize) -> (bool, bool) {
        let mailbox = &mut self.boxes[at];
        let (waited, granted) = (mailbox.line.contains(&id), mailbox.granted.contains(&id));
        mailbox.line.retain(|other| *other != id);
        if granted {
            mailbox.granted.retain(|other| *other != id);
            mailbox.granted_bytes -= self.letters[id].weight;
        }
        (waited, granted)
    }

    /// The newest waiting message that would take this one.
    fn merges_into(&self, at: usize, id: usize) -> Option<usize> {
        let (mailbox, key) = (&self.boxes[at], self.letters[id].key?);
        // A merge may exceed the bytes once; then none follows.
        if mailbox.bytes > mailbox.limits.bytes {
            return None;
        }
        let takes =
            |other: &usize| self.letters[*other].key == Some(key) && self.letters[*other].attempts == 0;
        mailbox.waiting.iter().rev().copied().find(takes)
    }

    /// How many of the oldest droppable messages have to go for one of this weight; `None` when all are not enough.
    fn must_drop(&self, at: usize, weight: usize, in_turn: bool) -> Option<usize> {
        let mailbox = &self.boxes[at];
        let (mut gone, mut freed) = (0, 0);
        let droppable = mailbox.waiting.iter().filter(|id| self.letters[**id].droppable);
        for weight_of in droppable.map(|id| self.letters[*id].weight).chain([0]) {
            let has_room = mailbox.waiting.len() - gone + mailbox.granted.len() < mailbox.limits.capacity
                && mailbox.bytes - freed + mailbox.granted_bytes + weight <= mailbox.limits.bytes;
            // One that is not in turn takes nothing that a waiting sender could use.
            if has_room && (in_turn || (gone > 0 && freed >= weight)) {
                return Some(gone);
            }
            gone += 1;
            freed += weight_of;
        }
        None
    }

    /// A message was accepted, or not.
    pub(crate) fn sent(
        &mut self,
        at: usize,
        id: usize,
        overflow: Overflow,
        sent: &Result<Sent, SendError<Msg>>,
    ) {
        let path = self.boxes[at].path.clone();
        let weight = self.letters[id].weight;
        let (waited, granted) = self.leave_line(at, id);
        let mailbox = &self.boxes[at];
        let first = mailbox.line.iter().copied().find(|other| !mailbox.granted.contains(other));
        let in_turn = granted || first.is_none();
        let merges = matches!(overflow, Overflow::Coalesce | Overflow::CoalesceOrWait);
        let target = merges.then(|| self.merges_into(at, id)).flatten();
        self.note(format!("send {id} to {path} by {overflow:?}: {}", shown(sent)));
        match sent {
            Ok(Sent::Queued) => {
                self.expect(target.is_none(), "a message is merged at once where it can be", || {
                    format!("{id} to {path} was queued beside {target:?}")
                });
                self.expect(in_turn, "the line of senders is not overtaken", || {
                    format!("{id} to {path} came before {first:?}")
                });
                let room = granted || self.boxes[at].has_room(weight);
                self.expect(room, "capacity and bytes are never exceeded", || format!("{id} to {path}"));
                self.queue(at, id, overflow == Overflow::DropOldest);
            }
            Ok(Sent::Coalesced) => {
                let into = self.letters[id].merged_into;
                self.expect(
                    target.is_some() && into == target,
                    "a message merges into the newest that takes it",
                    || format!("{id} to {path} went into {into:?}, not {target:?}"),
                );
                self.merge(at, id);
            }
            Ok(Sent::Displaced(dropped)) => {
                let needed =
                    if overflow == Overflow::DropOldest { self.must_drop(at, weight, in_turn) } else { None };
                let dropped = *dropped;
                self.expect(
                    needed == Some(dropped) && dropped > 0,
                    "an edge drops only what has to go",
                    || format!("{id} to {path} dropped {dropped}, not {needed:?}"),
                );
                self.displace(at, dropped);
                self.queue(at, id, true);
            }
            Err(error) => {
                self.refused(at, id, overflow, error, target.is_some(), in_turn);
            }
        }
        self.boxes[at].counts.waits += u64::from(waited);
        self.grant(at);
    }

    fn refused(
        &mut self,
        at: usize,
        id: usize,
        overflow: Overflow,
        error: &SendError<Msg>,
        merges: bool,
        in_turn: bool,
    ) {
        let (path, weight) = (self.boxes[at].path.clone(), self.letters[id].weight);
        self.letters[id].fate = Fate::Returned;
        match error {
            SendError::Full(_) => {
                self.boxes[at].counts.refused += 1;
                let drops = overflow == Overflow::DropOldest && self.must_drop(at, weight, in_turn).is_some();
                let room = (in_turn && self.boxes[at].has_room(weight)) || merges || drops;
                self.expect(!room, "only a full mailbox refuses", || format!("{id} to {path}"));
            }
            SendError::TooLarge { .. } => {
                let fits = weight <= self.boxes[at].limits.bytes;
                self.expect(!fits, "only a message that can never fit is too large", || {
                    format!("{id} to {path}")
                });
            }
            SendError::Closed(_) => self.closed(at),
        }
    }

    /// Puts an accepted message at the end.
    pub(crate) fn queue(&mut self, at: usize, id: usize, droppable: bool) {
        let awake = self.awake;
        let mailbox = &mut self.boxes[at];
        mailbox.last_sequence += 1;
        mailbox.counts.accepted += 1;
        mailbox.waiting.push_back(id);
        mailbox.counts.high_water = mailbox.counts.high_water.max(mailbox.waiting.len() as u64);
        let letter = &mut self.letters[id];
        mailbox.bytes += letter.weight;
        (letter.fate, letter.sequence, letter.accepted_at) = (Fate::Waiting, mailbox.last_sequence, awake);
        (letter.droppable, letter.attempts) = (droppable, 0);
    }

    fn merge(&mut self, at: usize, id: usize) {
        self.letters[id].fate = Fate::Merged;
        let weight = self.letters[id].weight;
        let mailbox = &mut self.boxes[at];
        mailbox.counts.accepted += 1;
        mailbox.counts.coalesced += 1;
        if let Some(into) = self.letters[id].merged_into {
            // It holds what another edge has handed over, which no edge may drop.
            self.letters[into].droppable = false;
            let before = self.letters[into].weight;
            self.letters[into].weight = before.max(weight);
            mailbox.bytes += self.letters[into].weight - before;
        }
    }

    /// The oldest droppable messages go.
    fn displace(&mut self, at: usize, dropped: usize) {
        let droppable: Vec<usize> =
            self.boxes[at].waiting.iter().copied().filter(|id| self.letters[*id].droppable).collect();
        for id in droppable.into_iter().take(dropped) {
            self.letters[id].fate = Fate::Displaced;
            let mailbox = &mut self.boxes[at];
            mailbox.waiting.retain(|other| *other != id);
            mailbox.bytes -= self.letters[id].weight;
            mailbox.counts.dropped += 1;
        }
    }

    /// Follows what the kit's own timer has sent since the last event of this mailbox.
    pub(crate) fn follow_timer(&mut self, at: usize) {
        let Some((id, overflow)) = self.boxes[at].timer else { return };
        let MailboxStats { accepted, dropped, .. } = self.boxes[at].view.stats();
        if accepted > self.boxes[at].counts.accepted {
            self.boxes[at].timer = None;
            let displaced = (dropped - self.boxes[at].counts.dropped) as usize;
            let sent = match (self.letters[id].merged_into, displaced) {
                (Some(_), _) => Sent::Coalesced,
                (None, 0) => Sent::Queued,
                (None, displaced) => Sent::Displaced(displaced),
            };
            self.sent(at, id, overflow, &Ok(sent));
        } else if self.drops.contains(&id) {
            // Refused, or its incarnation has ended before.
            self.boxes[at].timer = None;
            self.letters[id].fate = Fate::Returned;
            self.boxes[at].counts.timers_refused += 1;
        }
    }
}

fn shown(sent: &Result<Sent, SendError<Msg>>) -> String {
    match sent {
        Ok(sent) => format!("{sent:?}"),
        Err(SendError::Full(_)) => "full".to_owned(),
        Err(SendError::TooLarge { .. }) => "too large".to_owned(),
        Err(SendError::Closed(_)) => "closed".to_owned(),
    }
}
