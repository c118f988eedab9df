//! The producers of one market: gateway, event monitor, dequeuer, finalizer, aggregator, priority client.
//!
//! Each act is what one of them does at one moment. It changes the reference's own copy of the keys and returns the commands
//! that do the same to Redis. Everything follows from the seed.

mod acts;
mod part;
mod parts;

use std::collections::BTreeMap;

use crate::{
    database::{Command, Database, Write},
    keys::{KINDS, Key, full, scientific},
    random::Random,
};
use part::Part;

/// The producers that stamp times, each with a clock of its own.
#[derive(Clone, Copy, Debug)]
enum Role {
    Monitor,
    Dequeuer,
    Finalizer,
    Aggregator,
    Client,
}

/// What the producers know of one epoch.
#[derive(Clone, Debug)]
struct Epoch {
    opened: i64,
    window: i64,
    closed: Option<i64>,
    local: Option<i64>,
    aggregated: Option<i64>,
    named: Vec<&'static str>,
    submitted: u64,
    /// Whether its submissions are in the ordered set, and in the plain one.
    forms: [bool; 2],
    /// Whether the names of its keys have the id in scientific notation.
    is_scientific: bool,
    /// Whether its info has `start`, or `timestamp`.
    has_start: bool,
    skipped: bool,
}

/// The producers.
pub struct Producers {
    /// The random numbers of the history.
    pub random: Random,
    /// The time of the history.
    pub now: i64,
    /// What the keys hold.
    pub database: Database,
    /// What was done, for the report of a failure.
    pub acts: Vec<String>,
    /// The form in which the market is configured.
    pub configured: usize,
    epochs: BTreeMap<u64, Epoch>,
    /// What will be written later.
    postponed: Vec<(u64, Part)>,
    /// What was written, and may be written again.
    written: Vec<(u64, Part)>,
    spellings: [usize; KINDS],
    is_old: bool,
    is_late: bool,
    clocks: [i64; 5],
    next: u64,
    commands: Vec<Command>,
}

impl Producers {
    /// The producers of this seed.
    #[must_use]
    pub fn new(seed: u64, now: i64) -> Self {
        let mut random = Random::new(seed);
        let is_old = random.chance(25);
        let bare = random.chance(25);
        let configured = if random.chance(50) { 0 } else { 1 + usize::from(bare) };
        let mut spellings = [if random.chance(50) { 0 } else { configured }; KINDS];
        if random.chance(50) {
            spellings = spellings.map(|_| if random.chance(50) { 0 } else { configured });
        }
        let clocks = [(); 5].map(|()| {
            let clock = random.within(-10, 10);
            if random.chance(40) { clock } else { 0 }
        });
        let is_late = random.chance(60);
        let next = 22_999_990 + random.within(0, 20) as u64;
        Self {
            random,
            now,
            database: Database::default(),
            acts: Vec::new(),
            configured,
            epochs: BTreeMap::new(),
            postponed: Vec::new(),
            written: Vec::new(),
            spellings,
            is_old,
            is_late,
            clocks,
            next,
            commands: Vec::new(),
        }
    }

    /// One line that describes them.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { configured, spellings, is_old, is_late, clocks, .. } = self;
        let generation = if *is_old { "older" } else { "newer" };
        format!(
            "{generation} producers, late parts: {is_late}, clocks {clocks:?}, configured as {configured}, spelled {spellings:?}"
        )
    }

    /// Whether keys exist under another spelling than the first that the tracker looks for.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        self.configured != 0
    }

    /// Lets some seconds pass: what expires is gone.
    pub fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        self.database.age(self.now);
    }

    /// Every epoch that the producers have begun.
    pub fn epochs(&self) -> impl Iterator<Item = u64> + '_ {
        self.epochs.keys().copied()
    }

    /// The names of the states: of those that exist, and for the other epochs the name under which nothing may appear.
    #[must_use]
    pub fn states(&self) -> Vec<(u64, String)> {
        let mut names: BTreeMap<u64, String> = self
            .epochs()
            .map(|epoch| (epoch, full(0, &Key::State(epoch).rest(&epoch.to_string()))))
            .collect();
        for (name, stored) in self.database.keys() {
            if let Key::State(epoch) = stored.key {
                names.insert(epoch, name.to_owned());
            }
        }
        names.into_iter().collect()
    }

    /// A line of the report.
    pub fn tell(&mut self, what: &str) {
        self.acts.push(format!("{}: {what}", self.now));
    }

    /// The time on the clock of a producer.
    fn clock(&self, role: Role) -> i64 {
        self.now + self.clocks[role as usize]
    }

    /// An id as some producer writes it in members.
    fn member(&mut self, epoch: u64) -> String {
        // The producer that names an epoch's keys by a floating-point number writes its members so, too: no reader could find such
        // keys otherwise.
        let is_named_so = self.epochs.get(&epoch).is_some_and(|known| known.is_scientific);
        if self.random.chance(15) || is_named_so { scientific(epoch) } else { epoch.to_string() }
    }

    fn write(&mut self, key: Key, write: Write) {
        let form = |epoch: u64| match self.epochs.get(&epoch) {
            Some(known) if known.is_scientific => scientific(epoch),
            _ => epoch.to_string(),
        };
        let id = key.epoch().map(form).unwrap_or_default();
        let name = full(self.spellings[key.kind()], &key.rest(&id));
        self.commands.extend(self.database.write(self.now, &name, key, write));
    }

    fn field(&mut self, key: Key, field: &'static str, value: impl ToString) {
        self.write(key, Write::Field(field, value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_history() {
        let history = |seed| {
            let mut producers = Producers::new(seed, 1_795_341_000);
            let mut commands = Vec::new();
            for _ in 0..500 {
                commands.extend(producers.act());
                producers.pass(30);
            }
            (commands, producers.acts)
        };
        assert_eq!(history(7), history(7));
        assert_ne!(history(7), history(8));
    }
}
