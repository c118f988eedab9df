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
//! | "a block whose parent is not the checkpoint's hash is a reorganisation" | whether another branch that is lower is followed before it has the height |
//! | several nodes that disagree | which of their branches was followed meanwhile |

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    node::{DAY_SIZE, EPOCHS_IN_A_DAY, NODES, QUOTA},
    script::{CHECKSUM, Id, MARKETS, Script},
    settings::Settings,
};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
/// The lifetimes of the contract.
pub const INPUTS_LIVE: u64 = 20 * MINUTE;
const HASH_LIVES: u64 = 30 * MINUTE;
const DETAILS_LIVE: u64 = 30 * MINUTE;
const COUNT_LIVES: u64 = 24 * 60 * MINUTE;
const BATCH_LIVES: u64 = 5 * MINUTE;
/// "less a margin": of a minute. The clock closes windows in the minute before.
const MARGIN: u64 = MINUTE;
/// "If no block comes for 30 s".
const SILENCE: u64 = 30 * SECOND;
/// Times of blocks are whole seconds, and TTLs too.
const ROUNDING: u64 = 2 * SECOND;
/// "Submission sets of epochs older than the current one by more than 10".
const EPOCHS_KEPT: u64 = 10;

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
    /// Everything that was taken from the queue or lies in it, in the order of its writing.
    pub queue: Vec<String>,
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
    day: u64,
    at: (u64, u64),
}

/// What an epoch may be at a rest.
#[derive(Clone, Debug, Default)]
struct Choices {
    /// Open or waiting.
    open: bool,
    /// Closed with one of these blocks, and hindered.
    hindered: Vec<u64>,
    done: Vec<Done>,
}

impl Choices {
    /// Adds how it may have ended elsewhere.
    fn extend(&mut self, elsewhere: Self) {
        self.done.extend(elsewhere.done);
        self.hindered.extend(elsewhere.hindered);
    }
}

/// What the end of a branch is at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The head that the trackers see, and the last accepted block.
    Head,
    /// The last accepted block, and no head.
    Halted,
    /// The last accepted block at the look before.
    Before,
    /// A head since then, of which the trackers have accepted all, a part or nothing.
    Passed,
}

#[derive(Clone, Debug)]
pub struct Judge {
    settings: Settings,
    /// The last accepted block.
    pub tip: Option<Id>,
    /// Other heads that were seen since the last look.
    pub visited: Vec<Id>,
    done: BTreeMap<(usize, u64), Done>,
    /// With which block hindered windows were closed: they stay so while it is on the branch.
    closed: BTreeMap<(usize, u64), Id>,
    /// The accepted blocks by their numbers, and when they were accepted.
    hashes: BTreeMap<u64, (Id, (u64, u64))>,
    /// The highest epoch of each market at any time.
    highest: BTreeMap<usize, u64>,
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
            done: BTreeMap::new(),
            closed: BTreeMap::new(),
            hashes: BTreeMap::new(),
            highest: BTreeMap::new(),
            foreign: Seen::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Whether the batches of an epoch were handed over, or it was given up.
    pub fn is_done(&self, market: usize, epoch: u64) -> bool {
        self.done.contains_key(&(market, epoch))
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
        for market in 0..self.judge.settings.markets {
            self.market(market, &branch, is_head, &mut expected);
        }
        self.hashes(&branch, &mut expected);
        self.queue();
        expected.insert("finalizerQueue".to_owned());
        self.outputs(&mut expected);
        self.tables(&mut expected);
        self.inputs(&mut expected);
        self.others(&expected);
        self.judge.tip = Some(tip);
    }

    /// Windows, markers and the current epoch of a market.
    fn market(&mut self, market: usize, branch: &[Id], is_head: bool, expected: &mut BTreeSet<String>) {
        let name = MARKETS[market];
        let releases = self.script.releases(market, branch, self.judge.settings.start);
        let key = format!("{name}.CurrentEpochID");
        let current = releases.last().map(|(epoch, _)| epoch.to_string());
        self.text(&key, current.as_deref(), None);
        expected.insert(key);
        if let Some((epoch, _)) = releases.last() {
            let highest = self.judge.highest.entry(market).or_default();
            *highest = (*highest).max(*epoch);
        }
        let marked: BTreeSet<u64> = {
            let set = format!("EpochMarkerSetKey.{name}");
            let members = self.seen.get(&set).map(|held| held.words.clone()).unwrap_or_default();
            expected.insert(set);
            members.iter().filter_map(|member| member.parse().ok()).collect()
        };
        let mut elsewhere: BTreeMap<u64, Choices> = BTreeMap::new();
        // The last accepted block stays one where time passes faster than blocks are shown.
        let visited = self.judge.visited.iter().map(|visited| (*visited, Place::Passed));
        let before = self.judge.tip.iter().map(|tip| (*tip, Place::Before));
        for (visited, place) in visited.chain(before).collect::<Vec<_>>() {
            let branch = self.script.branch(visited);
            for (epoch, at) in self.script.releases(market, &branch, self.judge.settings.start) {
                let highest = self.judge.highest.entry(market).or_default();
                *highest = (*highest).max(epoch);
                let choices = self.choices(market, epoch, &branch, at, place);
                elsewhere.entry(epoch).or_default().extend(choices);
            }
        }
        let (mut open, mut hindered) = (Vec::new(), Vec::new());
        let place = if is_head { Place::Head } else { Place::Halted };
        for (epoch, at) in &releases {
            let mut choices = self.choices(market, *epoch, branch, *at, place);
            choices.extend(elsewhere.remove(epoch).unwrap_or_default());
            if self.judge.is_done(market, *epoch) || self.take(market, *epoch, &choices, &marked) {
                continue;
            }
            let release = self.script.blocks[branch[*at]].number;
            let details = self.seen.get(&format!("EpochMarkerDetailsKey.{name}.{epoch}"));
            let is_so = |limit: &&u64| {
                let text = details.and_then(|held| held.words.first());
                text.is_some_and(|text| same_json(text, &details_of(release, **limit)))
            };
            let shown = choices.hindered.iter().find(is_so);
            match shown.or(choices.hindered.first().filter(|_| !choices.open)) {
                Some(limit) => {
                    hindered.push((*epoch, release, *limit));
                    self.judge.closed.extend(branch.get(*limit as usize).map(|id| ((market, *epoch), *id)));
                }
                None => open.push((*epoch, release)),
            }
        }
        // Released on a branch that is gone: handed over meanwhile, or of no effect.
        for (epoch, choices) in elsewhere {
            if !self.judge.is_done(market, epoch) {
                self.take(market, epoch, &Choices { open: true, ..choices }, &BTreeSet::new());
            }
        }
        self.count("open windows", open.len() as u64);
        // "Up to `max_windows` open at once a market; more wait."
        open.truncate(self.judge.settings.max_windows);
        let must: BTreeSet<u64> =
            open.iter().map(|(epoch, _)| *epoch).chain(hindered.iter().map(|(epoch, ..)| *epoch)).collect();
        if marked != must {
            self.fault(format!("EpochMarkerSetKey.{name} has {marked:?} instead of {must:?}"));
        }
        for (epoch, release) in open {
            self.details(market, epoch, release, None, expected);
        }
        for (epoch, release, limit) in hindered {
            self.details(market, epoch, release, Some(limit), expected);
        }
    }

    /// What an epoch may be that was released with this block of a branch.
    fn choices(&self, market: usize, epoch: u64, branch: &[Id], at: usize, place: Place) -> Choices {
        let (rest, settings) = (self.rest, &self.judge.settings);
        let block = |index: usize| &self.script.blocks[branch[index]];
        let released = block(at).time * SECOND;
        let limit = released + settings.window * SECOND;
        // "A window closes with the first accepted block whose time is at or after release time + window."
        let by_block = (at..branch.len()).find(|index| block(*index).time * SECOND >= limit);
        // "If no block comes for 30 s after that moment, the wall clock closes it with the last accepted block."
        let may_clock = rest.to + ROUNDING >= limit + SILENCE && place != Place::Halted;
        // "Once a bound (`inputs_live` less a margin) would otherwise lose the epoch."
        let may_last = rest.to + ROUNDING >= released + INPUTS_LIVE - 2 * MARGIN;
        let must_clock = place == Place::Head && rest.closed_to >= limit + SILENCE;
        let mut choices = Choices { open: by_block.is_none() && !must_clock, ..Choices::default() };
        let mut ends = match by_block {
            Some(end) => vec![end],
            None if place == Place::Passed && may_clock => (at..branch.len()).collect(),
            None if may_clock || may_last => vec![branch.len() - 1],
            None => Vec::new(),
        };
        let closed = self.judge.closed.get(&(market, epoch));
        ends.extend(branch.iter().position(|id| Some(id) == closed).filter(|end| *end >= at));
        let may_expire = rest.to + ROUNDING >= released + INPUTS_LIVE - MARGIN;
        for end in ends {
            let (batches, is_whole) = self.batches(market, epoch, &branch[at..=end]);
            let done = Done {
                batches: None,
                release: block(at).number,
                limit: block(end).number,
                day: self.script.day(market, branch[at]),
                at: (rest.from, rest.to),
            };
            if rest.hindered.contains(&(market, epoch)) {
                choices.hindered.push(done.limit);
            } else if is_whole {
                choices.done.push(Done { batches: Some(batches), ..done.clone() });
            }
            if may_expire {
                choices.done.push(done);
            }
        }
        choices.open |= !rest.running;
        choices
    }

    /// The batches of the submissions at these blocks, and whether none of the sets had expired at the look before.
    fn batches(&self, market: usize, epoch: u64, blocks: &[Id]) -> (Vec<Batch>, bool) {
        let (mut projects, mut is_whole) = (Batch::new(), true);
        for block in blocks {
            let Some(input) = self.inputs.get(&(market, epoch, *block)) else { continue };
            is_whole &= input.until > self.rest.from;
            for key in &input.members {
                // "Four parts by dots; anything else is malformed."
                let parts: Vec<&str> = key.split('.').collect();
                let [of_market, of_epoch, project, slot] = parts[..] else { continue };
                let is_ours = of_market == MARKETS[market] && of_epoch == epoch.to_string();
                if is_ours && !project.is_empty() && slot.parse::<u64>().is_ok() {
                    projects.entry(project.to_owned()).or_default().insert(key.clone());
                }
            }
        }
        let projects: Vec<(String, BTreeSet<String>)> = projects.into_iter().collect();
        let batches = projects.chunks(self.judge.settings.batch_size);
        (batches.map(|batch| batch.iter().cloned().collect()).collect(), is_whole)
    }

    /// Whether an epoch is over: then what was seen of it becomes what must stay.
    fn take(&mut self, market: usize, epoch: u64, choices: &Choices, marked: &BTreeSet<u64>) -> bool {
        let count = format!("BatchCountKey.{}.{epoch}", MARKETS[market]);
        let is_counted = self.seen.get(&count).is_some_and(|held| held.kind == "string");
        if !is_counted {
            let given_up = choices.done.iter().find(|done| done.batches.is_none());
            let is_open = (choices.open || !choices.hindered.is_empty())
                && (marked.contains(&epoch) || given_up.is_none());
            if is_open {
                return false;
            }
            match given_up {
                Some(done) => {
                    self.judge.done.insert((market, epoch), done.clone());
                    self.count("expired", 1);
                }
                None => self.fault(format!("{count} is missing: {choices:?}")),
            }
            return true;
        }
        let found = self.queued(market, epoch);
        let details = self.seen.get(&format!("EpochMarkerDetailsKey.{}.{epoch}", MARKETS[market]));
        let details = details.and_then(|held| held.words.first()).map_or("", String::as_str);
        let is_so = |done: &&Done| {
            done.batches.as_ref() == Some(&found) && same_json(details, &details_of(done.release, done.limit))
        };
        match choices.done.iter().find(is_so).cloned() {
            Some(done) => {
                self.count("handed over", 1);
                self.count("batches", found.len() as u64);
                self.judge.done.insert((market, epoch), done);
            }
            None => self.fault(format!(
                "epoch {epoch} of market {market} was handed over as {found:#?} with {details} instead of {:#?}",
                choices.done
            )),
        }
        true
    }

    /// The batches of an epoch as they were queued; their order is checked elsewhere.
    fn queued(&self, market: usize, epoch: u64) -> Vec<Batch> {
        let jobs = self.rest.queue.iter().filter_map(|job| serde_json::from_str::<Value>(job).ok());
        let ours = jobs.filter(|job| {
            let address = job["DataMarketAddress"].as_str().unwrap_or_default();
            address.eq_ignore_ascii_case(MARKETS[market]) && job["EpochID"] == epoch
        });
        ours.map(|job| serde_json::from_value(job["Batch"].clone()).unwrap_or_default()).collect()
    }

    /// "Each batch exactly once", in the order of its number, and in the form of the contract.
    fn queue(&mut self) {
        let mut next: BTreeMap<(usize, u64), u64> = BTreeMap::new();
        for job in self.rest.queue.clone() {
            let read: Value = serde_json::from_str(&job).unwrap_or_default();
            let address = read["DataMarketAddress"].as_str().unwrap_or_default().to_owned();
            let market = MARKETS.iter().position(|market| address.eq_ignore_ascii_case(market));
            let (Some(market), Some(epoch)) = (market, read["EpochID"].as_u64()) else {
                self.fault(format!("a job that can't be read: {job}"));
                continue;
            };
            let number = next.entry((market, epoch)).or_insert(0);
            *number += 1;
            let must = json!({ "DataMarketAddress": address, "EpochID": epoch, "BatchID": *number, "Batch": read["Batch"] });
            if read != must {
                self.fault(format!("the job {job} instead of {must}"));
            }
        }
        for ((market, epoch), number) in next {
            let batches = self.judge.done.get(&(market, epoch)).and_then(|done| done.batches.as_ref());
            if batches.map_or(0, Vec::len) as u64 != number {
                let must = batches.map(Vec::len);
                self.fault(format!(
                    "{number} batches of epoch {epoch} of market {market} were queued instead of {must:?}"
                ));
            }
        }
    }

    /// `EpochMarkerDetailsKey` of an open or hindered window. "An open window must survive a crash and a restart."
    fn details(
        &mut self,
        market: usize,
        epoch: u64,
        release: u64,
        limit: Option<u64>,
        expected: &mut BTreeSet<String>,
    ) {
        let key = format!("EpochMarkerDetailsKey.{}.{epoch}", MARKETS[market]);
        let held = self.seen.get(&key);
        let read = held.and_then(|held| serde_json::from_str::<Value>(held.words.first()?).ok());
        let limit = limit.or_else(|| {
            let estimate = read.as_ref()?["SubmissionLimitBlockNumber"].as_u64()?;
            (estimate >= release).then_some(estimate)
        });
        let is_right = read.is_some() && read == limit.map(|limit| details_of(release, limit));
        if !is_right || held.is_some_and(|held| held.expires.is_some()) {
            self.fault(format!("{key} is {held:?} instead of {release}, {limit:?} without a TTL"));
        }
        expected.insert(key);
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

    /// `BlockHashByNumberKey.N`: "a block is accepted; corrected on a reorganisation".
    fn hashes(&mut self, branch: &[Id], expected: &mut BTreeSet<String>) {
        let turmoil = !self.judge.visited.is_empty();
        let now = (self.rest.from, self.rest.to);
        let mut hashes = BTreeMap::new();
        for (number, block) in branch.iter().enumerate() {
            let number = number as u64;
            let mut at = now;
            if let Some((known, accepted)) =
                self.judge.hashes.get(&number).filter(|(known, _)| known == block)
            {
                at = if turmoil { (accepted.0, now.1) } else { *accepted };
                debug_assert_eq!(known, block);
            }
            hashes.insert(number, (*block, at));
            let key = format!("BlockHashByNumberKey.{number}");
            let hash = self.script.hash(*block).to_owned();
            // Of blocks that old nobody can ask any more; and those before the first one were not accepted.
            let is_old = self.script.blocks[*block].time * SECOND + HASH_LIVES <= self.rest.to;
            let is_before = number < self.judge.settings.start;
            if (is_old || is_before) && !self.seen.contains_key(&key) {
                continue;
            }
            self.text(&key, Some(&hash), Some((at, HASH_LIVES)));
            expected.insert(key);
        }
        self.judge.hashes = hashes;
    }

    /// What stays of the epochs that are over.
    fn outputs(&mut self, expected: &mut BTreeSet<String>) {
        let mut slots: BTreeMap<String, u64> = BTreeMap::new();
        for ((market, epoch), done) in self.judge.done.clone() {
            let name = MARKETS[market];
            let details = format!("EpochMarkerDetailsKey.{name}.{epoch}");
            let Some(batches) = done.batches else {
                // Whether details are kept of an epoch without batches is nowhere said.
                if let Some(held) = self.seen.get(&details)
                    && held.expires.is_none_or(|expires| expires > done.at.1 + DETAILS_LIVE + ROUNDING)
                {
                    self.fault(format!("{details} is {held:?} after the epoch has expired"));
                }
                expected.insert(details);
                if !self.rest.hindered.contains(&(market, epoch)) {
                    self.text(&format!("BatchCountKey.{name}.{epoch}"), None, None);
                }
                continue;
            };
            let text = details_of(done.release, done.limit).to_string();
            self.text(&details, Some(&text), Some((done.at, DETAILS_LIVE)));
            expected.insert(details);
            let count = format!("BatchCountKey.{name}.{epoch}");
            self.text(&count, Some(&batches.len().to_string()), Some((done.at, COUNT_LIVES)));
            expected.insert(count);
            if self.queued(market, epoch) != batches {
                self.fault(format!(
                    "the batches of epoch {epoch} of market {market} are no longer what they were"
                ));
            }
            for (index, batch) in batches.iter().enumerate() {
                let key = format!("BatchSubmissionsKey.{name}.{epoch}.{}", index + 1);
                self.text(&key, Some(&json!(batch).to_string()), Some((done.at, BATCH_LIVES)));
                expected.insert(key);
                for submission in batch.values().flatten() {
                    let slot: u64 =
                        submission.rsplit('.').next().and_then(|slot| slot.parse().ok()).unwrap_or(0);
                    *slots.entry(format!("SlotSubmissionsKey.{name}.{}.{slot}", done.day)).or_default() += 1;
                }
            }
        }
        self.count("slots", slots.len() as u64);
        for (key, many) in slots {
            self.text(&key, Some(&many.to_string()), None);
            expected.insert(key);
        }
    }

    /// What the contract's view functions say.
    fn tables(&mut self, expected: &mut BTreeSet<String>) {
        let rows = [
            ("SubmissionLimitTable", self.judge.settings.window),
            ("DaySizeTableKey", DAY_SIZE),
            ("DailySnapshotQuotaTableKey", QUOTA),
        ];
        for (key, value) in rows {
            expected.insert(key.to_owned());
            let must: Vec<String> = CHECKSUM
                .iter()
                .take(self.judge.settings.markets)
                .map(|market| format!("{market} = {value}"))
                .collect();
            let found = self.seen.get(key).map(|held| held.words.clone()).unwrap_or_default();
            if self.judge.tip.is_some() && found.iter().collect::<BTreeSet<_>>() != must.iter().collect() {
                self.fault(format!("{key} is {found:?} instead of {must:?}"));
            }
        }
        let mut rows = vec![("TotalNodesCount".to_owned(), NODES)];
        let markets = MARKETS.iter().take(self.judge.settings.markets);
        rows.extend(markets.map(|market| (format!("ProtocolState.{market}.EpochsInADay"), EPOCHS_IN_A_DAY)));
        for (key, value) in rows {
            if self.judge.tip.is_some() {
                self.text(&key, Some(&value.to_string()), None);
            }
            expected.insert(key);
        }
    }

    /// The submissions of others stay, but for those that the clean-up may remove.
    fn inputs(&mut self, expected: &mut BTreeSet<String>) {
        for ((market, epoch, block), input) in self.inputs.clone() {
            let key = format!("SnapshotCollector.{}.{epoch}.{}", MARKETS[market], self.script.hash(block));
            let may_be_gone = input.until <= self.rest.to
                || self
                    .judge
                    .highest
                    .get(&market)
                    .is_some_and(|highest| highest.saturating_sub(epoch) > EPOCHS_KEPT);
            let held = self.seen.get(&key).map(|held| held.words.iter().cloned().collect::<BTreeSet<_>>());
            if held.as_ref() != Some(&input.members) && !(held.is_none() && may_be_gone) {
                self.fault(format!("{key} is {held:?}: it is no longer what the collector wrote"));
            }
            expected.insert(key);
        }
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
