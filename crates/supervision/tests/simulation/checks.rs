//! What must hold whenever nothing can run: health, counts and waits, judged by the model.

use std::collections::BTreeMap;

use supervision::{Activity, ActorHealth, ExitKind, MailboxStats, Overflow, Shutdown, State};

use super::{
    lives::{Ends, Kind, Life},
    world::{Fate, Known},
};

/// A healthy bound for what follows the deadline of a kill.
const GRACE: u64 = 500;

impl Known {
    pub(crate) fn check(&mut self, records: &[ActorHealth], permits: usize) {
        let records: BTreeMap<&str, &ActorHealth> =
            records.iter().map(|record| (&*record.path, record)).collect();
        for me in 0..self.lives.len() {
            if self.lives[me].gone {
                self.check_gone(me);
                continue;
            }
            let path = self.lives[me].path.clone();
            let Some(record) = records.get(&*path) else {
                let leaving =
                    (0..self.lives.len()).any(|other| self.lives[other].leaving && self.is_below(me, other));
                self.expect(leaving, "every member has a health record", || path.clone());
                continue;
            };
            self.check_record(me, record);
            self.check_pause(me, permits);
            if let (Some(at), Some(stats)) = (self.lives[me].mailbox, record.mailbox) {
                self.check_mailbox(at, &stats);
                self.check_waits(at, record.state);
            }
        }
        self.check_groups();
        self.check_questions();
        self.check_left();
        self.check_refusals(&records);
        self.check_drops();
        self.calls = 0;
        self.lives.iter_mut().for_each(|life| life.restarts.was_over = life.restarts.over);
    }

    /// What was removed has left nothing behind.
    fn check_gone(&mut self, me: usize) {
        let Life { path, inside, mailbox, .. } = &self.lives[me];
        let (path, inside, mailbox) = (path.clone(), *inside, *mailbox);
        self.expect(inside == 0, "what was removed has ended", || path.clone());
        if let Some(at) = mailbox {
            let line = self.boxes[at].line.clone();
            self.expect(line.is_empty(), "no sender waits for a reader that will never come", || {
                format!("{path}: {line:?}")
            });
        }
    }

    fn check_record(&mut self, me: usize, record: &ActorHealth) {
        let Life { path, kind, made, alive, ready, ends, activity, stalled, restarts, .. } = &self.lives[me];
        let (path, kind, made, is_in, ready, ends, activity, stalled) =
            (path.clone(), *kind, *made, *alive, *ready, *ends, *activity, *stalled);
        let (degraded, told) = (restarts.degraded, restarts.state);
        let state = record.state;
        self.expect(told.unwrap_or_default() == state, "subscribers get every change", || {
            format!("{path} is {state:?}, and was told as {told:?}")
        });
        self.expect(record.degraded == degraded, "subscribers get every change", || {
            format!("{path}: degraded")
        });
        self.expect(!record.wedged, "what yields is not wedged", || path.clone());
        if kind.supervises() {
            return;
        }
        let truth = match state {
            State::Running => is_in && ready,
            State::Starting => is_in && !ready,
            State::Stopping => is_in,
            State::Waiting | State::BackingOff | State::Degraded | State::Stopped => !is_in,
            State::Abandoned => false,
        };
        self.expect(truth, "health tells the truth", || {
            format!("{path} is {state:?}; inside: {is_in}, ready: {ready}")
        });
        // One that is killed before its value is made has entered, too.
        let unmade = record.generation.saturating_sub(made);
        self.expect(record.generation >= made, "the generation counts the incarnations", || {
            format!("{path}: {} of {made}", record.generation)
        });
        self.expect(record.activity == activity, "health tells the activity", || {
            format!("{path}: {:?}, not {activity:?}", record.activity)
        });
        self.check_exits(&path, ends, stalled, unmade, record);
    }

    fn check_exits(&mut self, path: &str, ends: Ends, stalled: u64, unmade: u64, record: &ActorHealth) {
        let of = |kind| record.exits(kind);
        let seen = [
            ends.stopped,
            ends.finished,
            ends.failed,
            ends.unavailable,
            ends.panicked,
            ends.dropped + unmade - stalled.min(ends.dropped),
            stalled,
        ];
        let told = [
            of(ExitKind::Stopped) + of(ExitKind::Sibling),
            of(ExitKind::Finished),
            of(ExitKind::Failed),
            of(ExitKind::Unavailable),
            of(ExitKind::Panicked),
            of(ExitKind::Killed),
            of(ExitKind::Stalled),
        ];
        self.expect(seen == told, "exits are counted by their kind", || {
            format!("{path}: {told:?}, not {seen:?} (stopped, finished, failed, unavailable, panicked, killed, stalled)")
        });
    }

    /// A pause ends, if a restart permit is free.
    fn check_pause(&mut self, me: usize, permits: usize) {
        let (now, awake) = (self.now, self.awake);
        let Life { above, path, restarts, leaving, .. } = &self.lives[me];
        let Some((since, _, high)) = restarts.waits else { return };
        let (path, above) = (path.clone(), *above);
        let above_runs = above.is_none_or(|above| self.lives[above].restarts.state == Some(State::Running));
        let siblings_stop = self
            .lives
            .iter()
            .any(|life| !life.gone && life.above == above && life.restarts.state == Some(State::Stopping));
        if now - since < high || *leaving || !above_runs || siblings_stop || self.ending {
            return;
        }
        let holds = |life: &&Life| match life.restarts.state {
            _ if life.gone => false,
            Some(State::Starting) => awake - life.restarts.starting < life.start_within,
            Some(State::Stopping) => true,
            _ => false,
        };
        let held = self.lives.iter().filter(holds).count();
        self.expect(held >= permits, "a restart follows its pause", || {
            format!("{path} waits since {since} for at most {high} ms; {held} of {permits} permits are held")
        });
        let life = &self.lives[me];
        let gives_up = life.policy.give_up_after.is_some_and(|limit| {
            let down = awake - life.restarts.degraded_since;
            life.restarts.state == Some(State::Degraded) && down >= limit.as_millis() as u64
        });
        self.expect(!gives_up, "the tree gives up when a mandatory actor stays down", || path.clone());
    }

    fn check_mailbox(&mut self, at: usize, stats: &MailboxStats) {
        self.follow_timer(at);
        let awake = self.awake;
        let mailbox = &self.boxes[at];
        let counts = &mailbox.counts;
        let front = mailbox.waiting.front().into_iter().chain(mailbox.hand.front());
        let oldest = front.map(|id| awake - self.letters[*id].accepted_at).max().unwrap_or(0);
        let known = [
            counts.accepted,
            counts.handled,
            mailbox.waiting.len() as u64,
            mailbox.hand.len() as u64,
            counts.coalesced,
            counts.dead,
            counts.evicted,
            counts.dropped,
            counts.returned,
            mailbox.bytes as u64,
            mailbox.line.len() as u64,
            counts.waits,
            counts.high_water,
            oldest * 1_000_000,
        ];
        let told = [
            stats.accepted,
            stats.handled,
            stats.waiting,
            stats.in_flight,
            stats.coalesced,
            stats.dead_lettered,
            stats.letters_evicted,
            stats.dropped,
            stats.redelivered,
            stats.bytes,
            stats.senders_waiting,
            stats.waits,
            stats.high_water,
            stats.oldest_age_nanos,
        ];
        let (path, refused, timers) = (mailbox.path.clone(), counts.refused, counts.timers_refused);
        let letters: Vec<(u64, u32, String)> = mailbox
            .dead
            .iter()
            .map(|id| &self.letters[*id])
            .map(|letter| (letter.sequence, letter.attempts, letter.reason.clone()))
            .collect();
        let dead = mailbox.view.dead_letters();
        self.expect(stats.is_conserved(), "the counts add up", || format!("{path}: {stats:?}"));
        self.expect(known == told, "the counts are true", || {
            format!(
                "{path}: {told:?}, not {known:?} (accepted, handled, waiting, in flight, merged, dead, evicted, dropped, \
                 returned, bytes, line, waits, high water, age)"
            )
        });
        self.expect((refused..=refused + timers).contains(&stats.refused), "the counts are true", || {
            format!("{path}: {} refused, not {refused}", stats.refused)
        });
        let same = dead.len() == letters.len()
            && dead.iter().zip(&letters).all(|(dead, (sequence, attempts, reason))| {
                dead.sequence == *sequence && dead.attempts == *attempts && dead.reason.starts_with(reason)
            });
        self.expect(same, "dead letters are kept with their reasons", || {
            format!("{path}: {dead:?}, not {letters:?}")
        });
    }

    /// Nobody waits for what is there.
    fn check_waits(&mut self, at: usize, state: State) {
        let mailbox = &self.boxes[at];
        let path = mailbox.path.clone();
        let idles = self.lives[mailbox.reader].activity == Activity::Idle && state == State::Running;
        let reads = idles && self.lives[mailbox.reader].reads;
        let missed = reads && !mailbox.waiting.is_empty();
        let first = mailbox.line.front().copied();
        let fits = first.is_some_and(|id| mailbox.has_room(self.letters[id].weight));
        let is_over = first.is_some() && self.is_over(mailbox.reader);
        self.expect(!missed, "a reader that waits gets what waits", || path.clone());
        self.expect(!fits, "a sender continues when there is room", || format!("{path}: {first:?}"));
        self.expect(!is_over, "no sender waits for a reader that will never come", || {
            format!("{path}: {first:?}")
        });
    }

    /// Whether it has ended for good: while its supervisor is away or stops, it may come back with it.
    fn is_over(&self, me: usize) -> bool {
        let state = |me: usize| self.lives[me].restarts.state;
        let has_ended = matches!(state(me), Some(State::Stopped | State::Abandoned)) && !self.is_failing(me);
        let above = self.lives[me].above;
        has_ended && above.is_none_or(|above| state(above) == Some(State::Running) || self.is_over(above))
    }

    /// Whether the supervisor of `me` may be stopping its children in order to fail: one of them is being stopped, or has ended
    /// though its policy restarts it.
    pub(crate) fn is_failing(&self, me: usize) -> bool {
        let above = self.lives[me].above;
        let mut siblings =
            self.lives.iter().enumerate().filter(|(_, life)| !life.gone && life.above == above);
        siblings.any(|(other, life)| match life.restarts.state {
            Some(State::Stopping) => other != me && !life.leaving,
            Some(State::Stopped) => life.restarts.exit.is_some_and(|exit| life.comes_back(exit)),
            _ => false,
        })
    }

    /// What depends on an actor that is down is down too.
    fn check_groups(&mut self) {
        let is =
            |life: &Life, states: &[State]| life.restarts.state.is_some_and(|state| states.contains(&state));
        let mut wrong = Vec::new();
        for (me, life) in self.lives.iter().enumerate() {
            if life.gone || life.leaving || !is(life, &[State::BackingOff, State::Degraded]) {
                continue;
            }
            let Some(above) = life.above else { continue };
            let kind = self.lives[above].kind;
            let siblings = || {
                let all = self.lives.iter().enumerate().filter(|(_, life)| life.above == Some(above));
                all.filter(|(other, life)| *other != me && !life.gone && !life.leaving)
            };
            let depends = |other: usize| match kind {
                Kind::RestForOne => other > me,
                Kind::OneForAll => true,
                _ => false,
            };
            // The stop goes on, one after the other.
            let mut all = self.lives.iter().filter(|life| life.above == Some(above) && !life.gone);
            if all.any(|life| is(life, &[State::Stopping])) {
                continue;
            }
            let up = siblings()
                .filter(|(other, life)| depends(*other) && is(life, &[State::Running, State::Starting]));
            wrong
                .extend(up.map(|(_, sibling)| format!("{} is up while {} is down", sibling.path, life.path)));
        }
        for what in wrong {
            self.violated("what depends on an actor that is down is stopped", what);
        }
    }

    fn check_questions(&mut self) {
        let awake = self.awake;
        for (id, deadline) in self.questions.clone() {
            let letter = &self.letters[id];
            let is_over = letter.answered || matches!(letter.fate, Fate::Acked | Fate::Evicted);
            let fate = letter.fate;
            self.expect(awake < deadline && !is_over, "a question ends", || {
                format!("{id} waits at {awake} for {deadline}; it is {fate:?}")
            });
        }
    }

    /// What is removed handles its messages first, unless its supervisor was stopping it already, to start it again.
    fn check_left(&mut self) {
        for (me, left) in std::mem::take(&mut self.left) {
            let mut above = self.lives[me].above;
            let mut calm = true;
            while let Some(at) = above {
                calm &= self.lives[at].restarts.state == Some(State::Running);
                above = self.lives[at].above;
            }
            let path = self.lives[me].path.clone();
            let is_done = !calm || self.ending || self.is_failing(me);
            self.expect(is_done, "a stop for good comes after the messages", || {
                format!("{path} leaves {left}")
            });
        }
    }

    /// Only the mailbox of an actor that has ended for good, or is being stopped for good, is closed.
    fn check_refusals(&mut self, records: &BTreeMap<&str, &ActorHealth>) {
        for at in std::mem::take(&mut self.refusals) {
            let (reader, path) = (self.boxes[at].reader, self.boxes[at].path.clone());
            let leaves =
                (0..self.lives.len()).any(|other| self.lives[other].leaving && self.is_below(reader, other));
            let state = records.get(&*path).map(|record| record.state);
            let is_down = state
                .is_none_or(|state| matches!(state, State::Stopped | State::Stopping | State::Abandoned));
            let gone = self.lives[reader].gone || self.lives[reader].restarts.was_over;
            self.expect(
                is_down || leaves || gone || self.ending,
                "a mailbox is open while its reader comes back",
                || format!("{path} is closed, and its reader {state:?}"),
            );
        }
    }

    /// How long the stop of a member may take once it was asked, if there is a limit.
    pub(crate) fn stop_bound(&self, me: usize) -> Option<u64> {
        let life = &self.lives[me];
        if !life.kind.supervises() {
            return match life.policy.shutdown {
                Shutdown::AtOnce => Some(GRACE),
                Shutdown::Within(limit) => Some(limit.as_millis() as u64 + GRACE),
                Shutdown::Unlimited => None,
            };
        }
        let children = self.lives.iter().enumerate().filter(|(_, life)| life.above == Some(me));
        let mut bounds = children.map(|(child, _)| self.stop_bound(child));
        match life.kind {
            // All at once: the slowest of them.
            Kind::Independent => {
                bounds.try_fold(2_000 + GRACE, |all, child| Some(all.max(2_000 + child? + GRACE)))
            }
            _ => bounds.try_fold(2_000, |all, child| Some(all + child? + GRACE)),
        }
    }

    /// The declared edges between members that are in the tree, by the model.
    pub(crate) fn edges(&self, edges: &[(usize, usize, Overflow)]) -> Vec<(String, String, Overflow)> {
        let in_tree = |me: usize| !self.lives[me].gone;
        let known = edges.iter().filter(|(from, to, _)| in_tree(*from) && in_tree(self.boxes[*to].reader));
        let mut edges: Vec<_> = known
            .map(|&(from, to, overflow)| {
                (self.lives[from].path.clone(), self.boxes[to].path.clone(), overflow)
            })
            .collect();
        edges.sort();
        edges.dedup();
        edges
    }
}
