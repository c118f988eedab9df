//! Sends and questions that report to the model, from actors, sub-tasks and senders outside the tree, whatever their end.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use supervision::{Activity, Address, AskError, Overflow, SendError, Sent};

use super::{
    message::Msg,
    world::{Fate, Known, World},
};

/// An edge: the way to a mailbox.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) address: Address<Msg>,
    pub(crate) overflow: Overflow,
    /// The number of the mailbox.
    pub(crate) to: usize,
    pub(crate) from: String,
}

impl Way {
    /// A new message that fits this mailbox most of the time.
    pub(crate) fn message(&self, world: &World, is_question: bool) -> Msg {
        let (id, weight, key) = world.with(|known| {
            let limits = known.boxes[self.to].limits;
            let most = if known.random.chance(3) {
                limits.bytes as u64 + 4
            } else {
                (limits.bytes as u64 / 3).max(1)
            };
            let weight = known.random.between(1, most) as usize;
            let key = (!is_question && known.random.chance(50)).then(|| known.random.below(2));
            (known.new_letter(&self.from, weight, key), weight, key)
        });
        Msg { id, weight, key, reply: None, world: world.clone() }
    }

    pub(crate) fn try_send(&self, world: &World, message: Msg) {
        let id = message.id;
        world.with(|world| world.follow_timer(self.to));
        let sent = self.address.try_send(message);
        world.with(|world| world.sent(self.to, id, self.overflow, &sent));
        drop(sent);
    }

    /// Sends, and waits where the edge waits. `me`: the actor that waits meanwhile.
    pub(crate) async fn send(&self, world: &World, me: Option<usize>, message: Msg) {
        let waiting = Waiting { world: world.clone(), at: self.to, id: message.id, me };
        let mut sending = pin!(self.address.send(message));
        let sent = poll_fn(|cx| {
            world.with(|world| world.follow_timer(self.to));
            match sending.as_mut().poll(cx) {
                Poll::Ready(sent) => Poll::Ready(sent),
                Poll::Pending => {
                    waiting.has_waited();
                    Poll::Pending
                }
            }
        })
        .await;
        waiting.ends(|world| world.sent(self.to, waiting.id, self.overflow, &sent));
        drop(sent);
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, world: &World, me: Option<usize>, within: u64) {
        let mut message = self.message(world, true);
        let waiting = Waiting { world: world.clone(), at: self.to, id: message.id, me };
        let id = message.id;
        let deadline = world.with(|world| {
            world.note(format!("{} asks {id} within {within}", self.from));
            world.awake + within
        });
        let asking = self.address.ask(Duration::from_millis(within), |reply| {
            message.reply = Some(reply);
            message
        });
        world.with(|world| world.questions.push((id, deadline)));
        let asked = Asked { world: world.clone(), id };
        let mut asking = pin!(asking);
        let answer = poll_fn(|cx| {
            let before = world.with(|world| {
                world.follow_timer(self.to);
                world.boxes[self.to].counts.accepted
            });
            let polled = asking.as_mut().poll(cx);
            world.with(|world| {
                // Only this question was sent meanwhile.
                if world.boxes[self.to].view.stats().accepted > before {
                    world.sent(self.to, id, self.overflow, &Ok(Sent::Queued));
                }
            });
            if polled.is_pending() {
                waiting.has_waited();
            }
            polled
        })
        .await;
        drop(asked);
        waiting.ends(|world| world.asked(self, id, deadline, &answer));
        drop(answer);
    }
}

/// A question that waits for its answer.
struct Asked {
    world: World,
    id: usize,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.world.with(|world| world.questions.retain(|(id, _)| *id != self.id));
    }
}

impl Known {
    fn asked(&mut self, way: &Way, id: usize, deadline: u64, answer: &Result<u64, AskError<Msg>>) {
        let letter = self.letters[id].clone();
        let (awake, fate) = (self.awake, letter.fate);
        let shown = answer.as_ref().map_or_else(ToString::to_string, |answer| answer.to_string());
        self.note(format!("the answer to {id}: {shown}"));
        match answer {
            Ok(answer) => self.expect(
                letter.answered && *answer == id as u64,
                "an answer is that of its question",
                || format!("{id} got {answer}"),
            ),
            Err(AskError::Deadline { .. }) => {
                self.expect(awake >= deadline, "a question has its whole time", || {
                    format!("{id}: {awake} of {deadline}")
                });
                if fate == Fate::Sending {
                    self.cancelled(way.to, id);
                }
            }
            Err(AskError::Refused { error, .. }) => {
                let closed = matches!(error, SendError::Closed(_));
                let expected = closed || matches!(error, SendError::TooLarge { .. });
                self.expect(expected, "a question waits for room", || format!("{id} was refused: {error}"));
                self.letters[id].fate = Fate::Returned;
                let (waited, _) = self.leave_line(way.to, id);
                self.boxes[way.to].counts.waits += u64::from(waited);
                self.grant(way.to);
                if closed {
                    self.closed(way.to);
                }
            }
            Err(AskError::NoAnswer(_)) => {
                let is_over = matches!(fate, Fate::Acked | Fate::Evicted | Fate::Displaced);
                self.expect(
                    is_over && !letter.answered,
                    "a question that waits can still be answered",
                    || format!("{id} is {fate:?}"),
                );
            }
            Err(AskError::EdgeDoesNotWait(_)) => {
                let waits = way.overflow.waits();
                self.expect(!waits, "an edge that waits takes questions", || format!("{id}"));
                self.letters[id].fate = Fate::Returned;
            }
        }
    }

    /// A send was dropped before its message was accepted.
    fn cancelled(&mut self, at: usize, id: usize) {
        self.letters[id].fate = Fate::Returned;
        self.leave_line(at, id);
        self.grant(at);
    }
}

/// A send that may wait, until it ends or is dropped.
struct Waiting {
    world: World,
    at: usize,
    id: usize,
    me: Option<usize>,
}

impl Waiting {
    /// It is pending: in the line of the mailbox, or accepted and unanswered.
    fn has_waited(&self) {
        self.world.with(|world| {
            let mailbox = &mut world.boxes[self.at];
            let in_line = mailbox.view.stats().senders_waiting as usize;
            let known = mailbox.line.contains(&self.id);
            if !known && in_line > mailbox.line.len() {
                mailbox.line.push_back(self.id);
                let path = mailbox.path.clone();
                world.note(format!("send {} waits for room in {path}", self.id));
            }
            let waits =
                world.boxes[self.at].line.contains(&self.id) || world.letters[self.id].fate != Fate::Sending;
            if let Some(me) = self.me.filter(|me| waits && world.lives[*me].activity != Activity::Blocked) {
                world.does(me, Activity::Blocked);
            }
        });
    }

    fn ends(&self, how: impl FnOnce(&mut Known)) {
        self.world.with(|world| {
            how(world);
            if let Some(me) = self.me.filter(|me| world.lives[*me].activity == Activity::Blocked) {
                world.does(me, Activity::Working);
            }
        });
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.world.with(|world| {
            if world.letters[self.id].fate == Fate::Sending {
                world.note(format!("send {} is dropped", self.id));
                world.cancelled(self.at, self.id);
            }
        });
    }
}
