//! The acts of the producers: what each of them does at one moment, chosen at random.

use super::{
    Epoch, Producers, Role,
    part::{AGGREGATED, CLOSE, LOCAL, OPEN},
};
use crate::{
    database::{Command, Write},
    keys::{Key, OWN, VALIDATORS, full},
};

/// The most epochs of a history.
const MOST_EPOCHS: usize = 30;
/// An id far above those of the market.
const STRAY: u64 = 99_999_999;

impl Producers {
    /// One act; the commands that it sends to Redis.
    pub fn act(&mut self) -> Vec<Command> {
        let known: Vec<u64> = self.epochs.keys().copied().collect();
        let recent: Vec<u64> = known.iter().rev().take(4).copied().collect();
        // Mostly one of the newest, sometimes any: producers can be late.
        let is_late = self.random.chance(12);
        let epoch =
            if known.is_empty() { 0 } else { self.random.pick(if is_late { &known } else { &recent }) };
        match self.random.within(0, 99) {
            0..=17 if known.len() < MOST_EPOCHS => self.open(),
            _ if known.is_empty() => self.open(),
            18..=36 => self.submit(epoch),
            37..=48 => self.close(epoch),
            49..=58 => self.local(epoch),
            59..=68 => self.aggregate(epoch),
            69..=75 => self.hear(epoch),
            76..=80 => self.step(epoch),
            81..=86 => self.catch_up(),
            87..=89 => self.repeat(),
            90..=92 => self.priority(epoch),
            93..=95 => self.stray(epoch),
            _ => self.queue(),
        }
        std::mem::take(&mut self.commands)
    }

    fn open(&mut self) {
        let epoch = self.next;
        self.next += self.random.within(1, 3) as u64;
        let newer = [[true, false], [true, true]];
        let known = Epoch {
            opened: self.clock(Role::Monitor),
            window: self.random.within(20, 120),
            closed: None,
            local: None,
            aggregated: None,
            named: VALIDATORS.into_iter().filter(|_| self.random.chance(55)).collect(),
            submitted: 0,
            forms: if self.is_old { [false, true] } else { self.random.pick(&newer) },
            is_scientific: self.random.chance(4),
            has_start: self.random.chance(80),
            skipped: false,
        };
        self.tell(&format!("{epoch} opens at {}, for {} s", known.opened, known.window));
        self.epochs.insert(epoch, known);
        if self.random.chance(6) {
            self.postponed.extend(OPEN.map(|part| (epoch, part)));
            if self.random.chance(50) { self.local(epoch) } else { self.aggregate(epoch) }
        } else {
            self.begin(epoch, &OPEN);
        }
    }

    fn close(&mut self, epoch: u64) {
        let at = self.clock(Role::Monitor);
        let Some(known) = self.epochs.get_mut(&epoch).filter(|known| known.closed.is_none()) else { return };
        known.closed = Some(at);
        self.begin(epoch, &CLOSE);
    }

    fn local(&mut self, epoch: u64) {
        let at = self.clock(Role::Finalizer);
        let Some(known) = self.epochs.get_mut(&epoch).filter(|known| known.local.is_none() && !known.skipped)
        else {
            return;
        };
        known.local = Some(at);
        self.begin(epoch, &LOCAL);
    }

    fn aggregate(&mut self, epoch: u64) {
        let at = self.clock(Role::Aggregator);
        let Some(known) = self.epochs.get_mut(&epoch).filter(|known| known.aggregated.is_none()) else {
            return;
        };
        known.aggregated = Some(at);
        self.begin(epoch, &AGGREGATED);
    }

    fn submit(&mut self, epoch: u64) {
        let (count, again) = (self.random.within(1, 6) as u64, self.random.chance(15));
        let at = self.clock(Role::Dequeuer);
        let Some(known) = self.epochs.get_mut(&epoch) else { return };
        // Again: the same ones, written a second time.
        let first = if again { known.submitted.saturating_sub(count) } else { known.submitted };
        let (numbers, forms) = (first..first + count, known.forms);
        known.submitted = known.submitted.max(numbers.end);
        self.tell(&format!("{epoch}: submissions {numbers:?}"));
        for number in numbers {
            let id = format!("{epoch}-project:{number}-{}", number * 7);
            if forms[0] {
                self.write(Key::Ids(epoch), Write::Timed(id.clone(), at));
            }
            if forms[1] {
                self.write(Key::Processed(epoch), Write::Member(id.clone()));
            }
            self.write(
                Key::Submissions,
                Write::Timed(format!("received:{epoch}:{number}:project:{at}:peer"), at),
            );
            self.write(Key::Validations, Write::Timed(id, at));
        }
    }

    fn hear(&mut self, epoch: u64) {
        let heard: Vec<&'static str> = VALIDATORS.into_iter().filter(|_| self.random.chance(40)).collect();
        self.tell(&format!("{epoch}: remote validators {heard:?}"));
        for validator in heard {
            self.write(Key::Validators(epoch), Write::Member(validator.to_owned()));
            if validator != OWN {
                let at = self.now;
                self.write(Key::BatchesOf(validator), Write::Timed(epoch.to_string(), at));
                self.write(Key::Batches, Write::Timed(format!("validator:{validator}:{epoch}"), at));
            }
        }
        if self.random.chance(20) {
            self.write(Key::Validators(epoch), Write::Member(String::new()));
        }
    }

    /// A step of the epoch on its way: skipped, failed, in progress, or on the chain.
    fn step(&mut self, epoch: u64) {
        let is_odd = self.random.chance(50);
        let on_chain = self.random.pick(&["queued", "submitted", "confirmed", "failed"]);
        let first = self.random.pick(&["in_progress", "failed", "skipped"]);
        let second = self.random.pick(&["collecting", "aggregating", "failed"]);
        if self.is_old {
            return;
        }
        let Some(known) = self.epochs.get_mut(&epoch) else { return };
        let (field, status) = match (known.local, known.aggregated) {
            (None, _) if is_odd => ("level1_status", first),
            (_, None) if is_odd => ("level2_status", second),
            _ => ("onchain_status", on_chain),
        };
        known.skipped |= status == "skipped";
        self.tell(&format!("{epoch}: {field} is {status}"));
        self.field(Key::State(epoch), field, status);
    }

    /// A write that is made a second time.
    fn repeat(&mut self) {
        let again: Vec<_> =
            self.written.iter().rev().take(12).filter(|(_, part)| part.may_repeat()).copied().collect();
        if !again.is_empty() {
            let (epoch, part) = self.random.pick(&again);
            self.put(epoch, part);
        }
    }

    fn priority(&mut self, epoch: u64) {
        if !self.random.chance(100) {
            return;
        }
        let numbers = [(); 4].map(|()| self.random.within(0, 9));
        let names = [
            "total_priority_assignments",
            "no_priority_count",
            "total_submissions_success",
            "total_submissions_failed",
        ];
        self.tell(&format!("priorities {numbers:?}"));
        for (name, number) in names.into_iter().zip(numbers) {
            self.field(Key::VpaStats, name, number);
        }
        let at = self.clock(Role::Client);
        self.write(Key::VpaPriority, Write::Timed(format!("{epoch}:{}:assigned", numbers[0]), at));
        self.write(Key::VpaSubmission, Write::Timed(format!("{epoch}:{}:success", numbers[1]), at));
    }

    /// Members and keys that are none of the market's epochs.
    fn stray(&mut self, epoch: u64) {
        let now = self.now;
        if self.random.chance(25) {
            self.tell("a stray id is active");
            self.write(Key::Active, Write::Member(STRAY.to_string()));
        }
        if self.random.chance(50) {
            self.tell("empty members");
            self.write(Key::Active, Write::Member(String::new()));
            self.write(Key::Epochs, Write::Timed("open:".to_owned(), now));
            self.write(Key::Batches, Write::Timed(String::new(), now));
        }
        if self.random.chance(70) {
            self.tell("foreign members");
            self.write(Key::Active, Write::Member("no-epoch".to_owned()));
            self.write(Key::Epochs, Write::Timed(format!("close:{epoch}x"), now));
            self.write(Key::Epochs, Write::Timed(format!("paused:{epoch}"), now));
            self.write(Key::Batches, Write::Timed(format!("peer_discovery:4:{now}"), now));
            let other = full(0, "metrics:epochs:timeline").replace(':', "1:");
            self.commands.push(vec!["ZADD".into(), other, now.to_string(), format!("open:{}", epoch + 1)]);
        }
    }

    fn queue(&mut self) {
        let write = if self.random.chance(60) { Write::Push } else { Write::Pop };
        self.write(Key::Queue, write);
    }
}
