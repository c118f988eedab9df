//! One simulated sender: its model, and the connection that it sends by.

use std::time::Duration;

use color_eyre::eyre::{Result, WrapErr};
use peer_snapshots::{Sender, SenderCounts};
use testkit::{
    Dice,
    peers::{Conduct, SenderFault},
};
use tokio::time::Instant;

use super::{model::Simulated, raw::Raw, target::Target};

/// What a sender did in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Performed {
    /// It sent its picture as it should, or with a wrong clock.
    Sent,
    /// It wrote something else; with the reasons of the lines that a receiver should drop.
    Wrote(Vec<&'static str>),
    /// It has no connection.
    Nothing,
}

/// A simulated sender.
pub(crate) struct Performer {
    model: Simulated,
    fault: Option<SenderFault>,
    target: Target,
    dice: Dice,
    round: u64,
    sender: Option<Sender>,
    raw: Raw,
    /// What the senders before its deaths have done.
    former: SenderCounts,
    /// The messages that it gave to its senders.
    given: u64,
    /// The same of the present one.
    given_now: u64,
    pictures: u64,
    /// The bytes and bad lines that it wrote.
    written: (u64, u64),
    /// It misbehaved, and does nothing any more.
    is_gone: bool,
}

impl Performer {
    /// A sender that misbehaves if it has a fault. `seed` decides how.
    pub(crate) fn new(model: Simulated, fault: Option<SenderFault>, target: Target, seed: u64) -> Self {
        Self {
            model,
            fault,
            target,
            // Not the numbers of the model, which has the same seed.
            dice: Dice::new(!seed),
            round: 0,
            sender: None,
            raw: Raw::default(),
            former: SenderCounts::default(),
            given: 0,
            given_now: 0,
            pictures: 0,
            written: (0, 0),
            is_gone: false,
        }
    }

    /// Its model.
    pub(crate) fn model(&self) -> &Simulated {
        &self.model
    }

    /// From now on its picture stays as it is; one that misbehaves is gone.
    pub(crate) fn stand_still(&mut self) {
        self.model.stand_still();
        if self.fault.is_some() {
            self.die();
            self.is_gone = true;
        }
    }

    /// Plays one round at `now`, in Unix seconds. It waits only where it writes what no well-behaved sender does, and not for long.
    ///
    /// # Errors
    /// The system's, if it starts no thread.
    pub(crate) async fn perform(&mut self, now: u64) -> Result<Performed> {
        self.model.advance(now);
        if self.is_gone {
            return Ok(Performed::Nothing);
        }
        let conduct = match self.fault {
            None => Conduct::Send,
            Some(fault) => fault.conduct(self.round, &self.model.line(), &mut self.dice, now),
        };
        self.round += 1;
        match conduct {
            Conduct::Send => self.send(None),
            Conduct::SendAt(at) => self.send(Some(at)),
            Conduct::Write { bytes, reasons } => Ok(self.write(&bytes, reasons).await),
            Conduct::Die => {
                self.die();
                Ok(Performed::Nothing)
            }
        }
    }

    fn send(&mut self, at: Option<u64>) -> Result<Performed> {
        if self.sender.is_none() {
            if self.pictures > 0 {
                self.model.restart();
            }
            let sender = Sender::start(self.target.destination.clone());
            self.sender =
                Some(sender.wrap_err("the thread of a sender can't be started; ask for fewer senders")?);
        }
        let Some(sender) = &self.sender else { return Ok(Performed::Nothing) };
        let messages = self.model.messages(at);
        self.pictures += 1;
        self.given += messages.len() as u64;
        self.given_now += messages.len() as u64;
        messages.into_iter().for_each(|message| sender.send(message));
        Ok(Performed::Sent)
    }

    async fn write(&mut self, bytes: &[u8], reasons: Vec<&'static str>) -> Performed {
        if !self.raw.write(&self.target, bytes).await {
            return Performed::Nothing;
        }
        self.written = (self.written.0 + bytes.len() as u64, self.written.1 + reasons.len() as u64);
        Performed::Wrote(reasons)
    }

    /// Its connection ends, and what it has not sent is lost.
    fn die(&mut self) {
        self.raw.close();
        if let Some(sender) = self.sender.take() {
            self.former = added(self.former, sender.counts());
            self.given_now = 0;
        }
    }

    /// Waits until its sender has sent all, or until then.
    pub(crate) async fn drain(&self, until: Instant) {
        while let Some(sender) = &self.sender {
            let counts = sender.counts();
            let is_over = counts.sent + counts.replaced + counts.dropped_quotes >= self.given_now;
            if is_over || Instant::now() >= until {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What its senders have done, and how often connections were made and failed.
    pub(super) fn counts(&self) -> SenderCounts {
        let now = self.sender.as_ref().map(Sender::counts).unwrap_or_default();
        let raw = SenderCounts {
            connections: self.raw.connections,
            failures: self.raw.failures,
            ..SenderCounts::default()
        };
        added(added(self.former, now), raw)
    }

    /// Pictures that it made, messages of them, and bytes and bad lines that it wrote.
    pub(super) fn made(&self) -> [u64; 4] {
        [self.pictures, self.given, self.written.0, self.written.1]
    }
}

fn added(one: SenderCounts, other: SenderCounts) -> SenderCounts {
    SenderCounts {
        sent: one.sent + other.sent,
        replaced: one.replaced + other.replaced,
        dropped_quotes: one.dropped_quotes + other.dropped_quotes,
        connections: one.connections + other.connections,
        failures: one.failures + other.failures,
    }
}
