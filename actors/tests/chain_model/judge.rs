//! What Redis must hold whenever the trackers rest, computed from the script of the chain, the submissions with their lifetimes,
//! and the moments of the rests. Pure; no code of the product and none of its rules: a judge that copied them would agree with their
//! mistakes.
//!
//! Freedom. Where the contract allows several values, the judge has a choice of them, takes what it sees, and holds to it:
//!
//! | the contract says | so this is free |
//! |---|---|
//! | "a batch already handed over is not undone" | what stays of an epoch whose blocks were dropped: exactly what was handed over |
//! | "inputs (20 minutes) … gone", "expire at release + `inputs_live` less a margin" | in the margin: handed over whole, or not at all |
//! | "if no block comes for 30 s after that moment, the wall clock closes it" | how long a tracker that was just started waits |
//! | "a bound … would otherwise lose the epoch" | the minute in which the clock closes a window without a node |
//! | "an estimate at opening" | `SubmissionLimitBlockNumber` of an open window |
//! | "the last known length counts", where the contract of a market fails | which of the lengths that it ever gave, and how long nobody knows one |
//! | "given up when their submissions have been gone for another `submissions_ttl`" | the minute around that moment |
//! | "every `collector.cleanup_interval`" | whether the clean-up has come, until one must have |
//! | several nodes that disagree | which of their branches was followed meanwhile, and which of them told the contract's values at a block |

mod attests;
mod days;
mod inputs;
mod outputs;
mod timeline;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use self::timeline::Timeline;
use super::{
    script::{Id, MARKETS, Script},
    settings::Settings,
};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
/// The lifetimes of the contract.
pub const INPUTS_LIVE: u64 = 20 * MINUTE;
/// Times of blocks are whole seconds, and TTLs too.
const ROUNDING: u64 = 2 * SECOND;

/// A key of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub kind: String,
    /// The elements in their order; members sorted; `field = value`.
    pub words: Vec<String>,
    /// When it expires, in Unix milliseconds.
    pub expires: Option<u64>,
}

pub type Seen = BTreeMap<String, Held>;

/// The submissions of an epoch at a block, by market, epoch and block.
pub type Inputs = BTreeMap<(usize, u64, Id), Input>;

#[derive(Clone, Debug, Default)]
pub struct Input {
    pub members: BTreeSet<String>,
    /// When the set expires, in Unix milliseconds.
    pub until: u64,
}

/// The moment of a look. Times are Unix milliseconds.
#[derive(Clone, Debug)]
pub struct Rest {
    /// The end of the look before.
    pub from: u64,
    pub to: u64,
    /// Where the trackers may rest, and whether that is the head that they see.
    pub tips: Vec<(Id, bool)>,
    /// The chain's time up to which the clock must have closed what it closes.
    pub closed_to: u64,
    /// Epochs whose hand-over is hindered by a key of another type.
    pub hindered: BTreeSet<(usize, u64)>,
    /// The markets that a running tracker prepares; the same ones since the look before.
    pub prepared: BTreeSet<usize>,
    /// The markets of trackers that have run since the look before.
    pub steady: BTreeSet<usize>,
    /// The markets whose contract answers nothing, since the look before.
    pub failing: BTreeSet<usize>,
    /// The markets whose contract was asked for its values since the look before, with the heads that nodes have shown since.
    pub asked: BTreeMap<usize, BTreeSet<Id>>,
    /// Everything that was taken from the queue or lies in it, in the order of its writing.
    pub queue: Vec<String>,
    /// The same of the attestor's queue.
    pub attested: Vec<String>,
    /// Whether trackers were running.
    pub running: bool,
}

/// A batch: projects with their submissions.
type Batch = BTreeMap<String, BTreeSet<String>>;

/// What became of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Done {
    /// `None`: its submissions had expired.
    batches: Option<Vec<Batch>>,
    release: u64,
    limit: u64,
    /// The days that the contract may have given; one of them once its slots were looked at. `None`: nobody knows it.
    days: Vec<Option<u64>>,
    at: (u64, u64),
    /// The blocks of its window.
    blocks: BTreeSet<Id>,
    /// Whether the clean-up may find its submissions: not of a market that was removed since.
    is_cleaned: bool,
}

#[derive(Clone, Debug)]
pub struct Judge {
    settings: Settings,
    /// The last accepted block.
    pub tip: Option<Id>,
    /// Other heads that were seen since the last look.
    pub visited: Vec<Id>,
    /// What is followed, by markets.
    followed: Vec<Timeline>,
    done: BTreeMap<(usize, u64), Done>,
    /// With which block hindered windows were closed: they stay so while it is on the branch.
    closed: BTreeMap<(usize, u64), Id>,
    /// The accepted blocks by their numbers, and when they were accepted.
    hashes: BTreeMap<u64, (Id, (u64, u64))>,
    /// Blocks that may have been accepted while the contract of a market failed.
    unasked: BTreeSet<(usize, Id)>,
    /// Blocks of other branches that nodes showed when a block was accepted: a node gives the state of its own branch.
    siblings: BTreeMap<Id, BTreeSet<Id>>,
    /// The highest epoch of each market at any time.
    highest: BTreeMap<usize, u64>,
    /// Markets with rows in the tables of contract values.
    tabled: BTreeSet<usize>,
    /// The deliveries to the attestor: for which event each of them stands.
    attested: BTreeMap<(Id, usize), super::script::Submitted>,
    /// How many words of the attestor's queue were looked at.
    attests: usize,
    /// Markers of finished epochs that another program has written.
    pub planted: BTreeSet<(usize, u64)>,
    replanted: BTreeSet<(usize, u64)>,
    cleaning: inputs::Cleaning,
    /// Keys of others.
    pub foreign: Seen,
    /// What was seen in all looks together.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Judge {
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            tip: None,
            visited: Vec::new(),
            followed: vec![Timeline::default(); MARKETS.len()],
            done: BTreeMap::new(),
            closed: BTreeMap::new(),
            hashes: BTreeMap::new(),
            unasked: BTreeSet::new(),
            siblings: BTreeMap::new(),
            highest: BTreeMap::new(),
            tabled: BTreeSet::new(),
            attested: BTreeMap::new(),
            attests: 0,
            planted: BTreeSet::new(),
            replanted: BTreeSet::new(),
            cleaning: inputs::Cleaning::default(),
            foreign: Seen::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Whether the batches of an epoch were handed over, or it was given up.
    pub fn is_done(&self, market: usize, epoch: u64) -> bool {
        self.done.contains_key(&(market, epoch))
    }

    /// The epochs of a market whose batches were handed over.
    pub fn handed_over(&self, market: usize) -> Vec<u64> {
        let done = self.done.iter().filter(|((of, _), done)| *of == market && done.batches.is_some());
        done.map(|((_, epoch), _)| *epoch).collect()
    }

    /// Whether a market is followed.
    pub fn follows(&self, market: usize) -> bool {
        self.followed[market].first().is_some()
    }

    /// What is wanted for a market now: `None` if it is not followed.
    pub fn wish(&self, market: usize) -> Option<bool> {
        self.followed[market].at(u64::MAX)
    }

    /// Since which block a market is followed without a break.
    pub fn followed_since(&self, market: usize) -> Option<u64> {
        self.followed[market].first()
    }

    /// From this block on a market is followed, or its tracker wants something else for it.
    pub fn follow(&mut self, market: usize, first: u64, attest: bool) {
        self.followed[market].set(first, Some(attest));
    }

    /// A market was removed at a rest: what is over stays, and nothing else.
    pub fn remove(&mut self, market: usize, first: u64) {
        self.followed[market].set(first, None);
        self.closed.retain(|(of, _), _| *of != market);
        self.cleaning.forget(market);
        self.done
            .iter_mut()
            .filter(|((of, _), _)| *of == market)
            .for_each(|(_, done)| done.is_cleaned = false);
    }

    /// Another program marks an epoch that is over.
    pub fn plant(&mut self, market: usize, epoch: u64) {
        self.planted.insert((market, epoch));
        self.replanted.insert((market, epoch));
    }

    /// Compares everything.
    ///
    /// # Errors
    /// The differences, for the place where there are fewest.
    pub fn look(
        &mut self,
        script: &Script,
        inputs: &Inputs,
        rest: &Rest,
        seen: &Seen,
    ) -> Result<(), Vec<String>> {
        let mut best: Option<Vec<String>> = None;
        for (tip, is_head) in &rest.tips {
            let mut next = self.clone();
            let mut look = Look { judge: &mut next, script, inputs, rest, seen, faults: Vec::new() };
            look.at(*tip, *is_head);
            let faults = look.faults;
            if faults.is_empty() {
                next.visited.clear();
                *self = next;
                return Ok(());
            }
            if best.as_ref().is_none_or(|best| faults.len() < best.len()) {
                best = Some(faults);
            }
        }
        Err(best.unwrap_or_default())
    }
}

struct Look<'a> {
    judge: &'a mut Judge,
    script: &'a Script,
    inputs: &'a Inputs,
    rest: &'a Rest,
    seen: &'a Seen,
    faults: Vec<String>,
}

impl Look<'_> {
    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    fn count(&mut self, what: &'static str, many: u64) {
        *self.judge.counts.entry(what).or_default() += many;
    }

    fn at(&mut self, tip: Id, is_head: bool) {
        let branch = self.script.branch(tip);
        let mut expected = BTreeSet::new();
        let before = self.judge.followed.clone();
        if let Some(last) = self.judge.tip {
            let fork = self.script.fork(last, tip);
            self.judge.followed.iter_mut().for_each(|timeline| timeline.fork(fork));
        }
        self.note_accepted(&branch);
        for (market, before) in before.iter().enumerate().take(self.judge.settings.markets) {
            self.market(market, &branch, is_head, before, &mut expected);
        }
        self.hashes(&branch, &mut expected);
        self.queue();
        self.attestor(tip, &mut expected);
        expected.insert("finalizerQueue".to_owned());
        self.outputs(&mut expected);
        self.tables(&mut expected);
        self.shown_days(&branch, &mut expected);
        self.inputs(&branch, &mut expected);
        self.others(&expected);
        self.judge.tip = Some(tip);
    }

    /// Which blocks may have been accepted while contracts failed, or while nodes were on several branches.
    fn note_accepted(&mut self, branch: &[Id]) {
        let turmoil = !self.judge.visited.is_empty();
        let last = self.judge.tip.map(|tip| self.script.branch(tip)).unwrap_or_default();
        let mut branches: Vec<Vec<Id>> =
            self.judge.visited.iter().map(|visited| self.script.branch(*visited)).collect();
        branches.push(branch.to_vec());
        let known: BTreeSet<Id> = if turmoil { BTreeSet::new() } else { last.iter().copied().collect() };
        let accepted: BTreeSet<Id> =
            branches.iter().flatten().copied().filter(|block| !known.contains(block)).collect();
        branches.push(last);
        for block in accepted {
            for market in 0..self.judge.settings.markets {
                // A node on a branch that is lower knows nothing of the block, and two seconds may pass so.
                if turmoil || self.rest.failing.contains(&market) {
                    self.judge.unasked.insert((market, block));
                } else {
                    self.judge.unasked.remove(&(market, block));
                }
            }
            if turmoil {
                let number = self.script.blocks[block].number as usize;
                let others = branches.iter().filter_map(|branch| branch.get(number)).copied();
                self.judge.siblings.entry(block).or_default().extend(others);
            } else {
                self.judge.siblings.remove(&block);
            }
        }
    }

    /// The blocks whose state a contract may have given for this one: first of all itself.
    fn states(&self, block: Id) -> Vec<Id> {
        let others = self.judge.siblings.get(&block).into_iter().flatten().copied();
        std::iter::once(block).chain(others.filter(|other| *other != block)).collect()
    }

    /// "No foreign key touched", and no key that nobody knows.
    fn others(&mut self, expected: &BTreeSet<String>) {
        for (key, held) in self.judge.foreign.clone() {
            if self.seen.get(&key) != Some(&held) {
                self.fault(format!(
                    "{key} of another program is {:?} instead of {held:?}",
                    self.seen.get(&key)
                ));
            }
        }
        for (key, held) in self.seen {
            // The tracker's own keys are its own affair.
            let is_known =
                expected.contains(key) || self.judge.foreign.contains_key(key) || key.starts_with("tracker:");
            if !is_known {
                self.fault(format!("{key} should not be there: {held:?}"));
            }
        }
    }

    /// A string with its lifetime: the moments of its writing, and how long it lives from there.
    fn text(&mut self, key: &str, must: Option<&str>, lives: Option<((u64, u64), u64)>) {
        let held = self.seen.get(key);
        let value = held.filter(|held| held.kind == "string").and_then(|held| held.words.first());
        let (must_be, may_be) = match lives {
            None => (true, true),
            Some(((from, to), lives)) => {
                (self.rest.to + ROUNDING < from + lives, self.rest.from < to + lives + ROUNDING)
            }
        };
        let Some(must) = must else {
            if held.is_some() {
                self.fault(format!("{key} is {held:?} instead of nothing"));
            }
            return;
        };
        match (held, value) {
            (None, _) if !must_be => {}
            (Some(held), Some(value)) if may_be && same(value, must) => match (held.expires, lives) {
                (None, None) => {}
                (Some(expires), Some(((from, to), lives)))
                    if expires + ROUNDING >= from + lives && expires <= to + lives + ROUNDING => {}
                (expires, lives) => self.fault(format!("{key} expires at {expires:?} instead of {lives:?}")),
            },
            _ => self.fault(format!("{key} is {held:?} instead of {must}, {lives:?}, now {}", self.rest.to)),
        }
    }
}

fn details_of(release: u64, limit: u64) -> Value {
    json!({ "EpochReleaseBlockNumber": release, "SubmissionLimitBlockNumber": limit })
}

fn same_json(text: &str, value: &Value) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|read| read == *value)
}

/// The same text, or the same JSON: the order of fields is free.
fn same(one: &str, other: &str) -> bool {
    one == other
        || (one.starts_with('{') && serde_json::from_str(other).is_ok_and(|other| same_json(one, &other)))
}
