//! Windows: markers, the current epoch, and what became of epochs.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::script::{Id, MARKETS},
    Batch, Done, INPUTS_LIVE, Look, MINUTE, ROUNDING, SECOND, details_of, same_json,
    timeline::Timeline,
};

/// "Less a margin": of a minute. The clock closes windows in the minute before.
const MARGIN: u64 = MINUTE;
/// "If no block comes for 30 s".
const SILENCE: u64 = 30 * SECOND;

/// What an epoch may be at a rest.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices {
    /// Open or waiting.
    open: bool,
    /// Whether it may have no marker while it is open, since nobody knows its length.
    unmarked: bool,
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

/// A release on a branch.
#[derive(Clone, Copy)]
struct Release<'a> {
    market: usize,
    epoch: u64,
    branch: &'a [Id],
    at: usize,
}

/// Open, waiting and hindered windows.
type Places = (Vec<(u64, u64, bool)>, Vec<(u64, u64, bool)>, Vec<(u64, u64, u64)>);

/// Windows at a rest.
#[derive(Default)]
struct Shown {
    open: Vec<(u64, u64, bool)>,
    /// Epochs with the numbers of their first and last blocks.
    hindered: Vec<(u64, u64, u64)>,
    /// Those of them that may be open as well: the estimate of the last block is the block that closes them.
    either: Vec<u64>,
}

impl Shown {
    /// The open windows with a place among `most`, those that wait, and the hindered ones, if only the first of those that may be
    /// either are closed.
    fn with(&self, closed: usize, most: usize) -> Places {
        let still_open = &self.either[closed..];
        let (reopened, hindered): (Vec<_>, Vec<_>) =
            self.hindered.iter().copied().partition(|(epoch, ..)| still_open.contains(epoch));
        let mut open = self.open.clone();
        open.extend(reopened.into_iter().map(|(epoch, release, _)| (epoch, release, false)));
        // In the order of their releases: both lists are.
        open.sort_by_key(|(epoch, release, _)| (*release, *epoch));
        // "Up to `max_windows` open at once a market; more wait."
        let waiting = open.split_off(open.len().min(most));
        (open, waiting, hindered)
    }
}

impl Look<'_> {
    /// Windows, markers and the current epoch of a market. `before` is what was followed at the look before.
    pub(super) fn market(
        &mut self,
        market: usize,
        branch: &[Id],
        is_head: bool,
        before: &Timeline,
        expected: &mut BTreeSet<String>,
    ) {
        let releases = self.releases(market, branch, self.judge.followed[market].first());
        self.current(market, &releases, expected);
        let mut elsewhere = self.elsewhere(market, before);
        let marked = self.marked(market, expected);
        let mut shown = Shown::default();
        let place = if is_head { Place::Head } else { Place::Halted };
        for (epoch, at) in &releases {
            let release = Release { market, epoch: *epoch, branch, at: *at };
            let mut choices = self.choices(release, place);
            choices.extend(elsewhere.remove(epoch).unwrap_or_default());
            // A window that waits has no marker either.
            choices.unmarked |= choices.open && shown.open.len() >= self.judge.settings.max_windows;
            if self.judge.is_done(market, *epoch) || self.take(market, *epoch, &choices, &marked) {
                continue;
            }
            self.show(release, &choices, &mut shown);
        }
        // Released on a branch that is gone: handed over meanwhile, or of no effect.
        for (epoch, choices) in elsewhere {
            if !self.judge.is_done(market, epoch) {
                self.take(market, epoch, &Choices { open: true, ..choices }, &BTreeSet::new());
            }
        }
        self.markers(market, &marked, shown, expected);
    }

    /// The epochs that were released while the market was followed.
    fn releases(&self, market: usize, branch: &[Id], first: Option<u64>) -> Vec<(u64, usize)> {
        let Some(first) = first else { return Vec::new() };
        self.script.releases(market, branch, first.max(self.judge.settings.start))
    }

    fn current(&mut self, market: usize, releases: &[(u64, usize)], expected: &mut BTreeSet<String>) {
        let key = format!("{}.CurrentEpochID", MARKETS[market]);
        let current = releases.iter().map(|(epoch, _)| *epoch).max();
        self.text(&key, current.map(|epoch| epoch.to_string()).as_deref(), None);
        expected.insert(key);
        if let Some(epoch) = current {
            let highest = self.judge.highest.entry(market).or_default();
            *highest = (*highest).max(epoch);
        }
    }

    /// How epochs may have ended on branches that were followed since the look before.
    fn elsewhere(&mut self, market: usize, before: &Timeline) -> BTreeMap<u64, Choices> {
        let mut elsewhere: BTreeMap<u64, Choices> = BTreeMap::new();
        // The last accepted block stays one where time passes faster than blocks are shown.
        let visited = self.judge.visited.iter().map(|visited| (*visited, Place::Passed));
        let last = self.judge.tip.iter().map(|tip| (*tip, Place::Before));
        for (visited, place) in visited.chain(last).collect::<Vec<_>>() {
            let branch = self.script.branch(visited);
            let mut timeline = before.clone();
            if let Some(tip) = self.judge.tip {
                timeline.fork(self.script.fork(tip, visited));
            }
            for (epoch, at) in self.releases(market, &branch, timeline.first()) {
                let highest = self.judge.highest.entry(market).or_default();
                *highest = (*highest).max(epoch);
                let choices = self.choices(Release { market, epoch, branch: &branch, at }, place);
                elsewhere.entry(epoch).or_default().extend(choices);
            }
        }
        elsewhere
    }

    /// The marked epochs, without those that others have marked though they are over.
    fn marked(&mut self, market: usize, expected: &mut BTreeSet<String>) -> BTreeSet<u64> {
        let set = format!("EpochMarkerSetKey.{}", MARKETS[market]);
        let members = self.seen.get(&set).map(|held| held.words.clone()).unwrap_or_default();
        expected.insert(set);
        let mut marked: BTreeSet<u64> = members.iter().filter_map(|member| member.parse().ok()).collect();
        let planted = self.judge.planted.clone();
        for (_, epoch) in planted.iter().filter(|(of, _)| *of == market) {
            if !marked.remove(epoch) {
                // Once it is gone it stays so.
                self.judge.planted.remove(&(market, *epoch));
                self.count("markers cleaned", 1);
            }
        }
        marked
    }

    /// Which of the possible states of a window Redis shows.
    fn show(&mut self, release: Release<'_>, choices: &Choices, shown: &mut Shown) {
        let Release { market, epoch, branch, at } = release;
        let first = self.script.blocks[branch[at]].number;
        let details = self.seen.get(&format!("EpochMarkerDetailsKey.{}.{epoch}", MARKETS[market]));
        let is_so = |limit: &&u64| {
            let text = details.and_then(|held| held.words.first());
            text.is_some_and(|text| same_json(text, &details_of(first, **limit)))
        };
        let closed = choices.hindered.iter().find(is_so);
        match closed.or(choices.hindered.first().filter(|_| !choices.open)) {
            Some(limit) => {
                shown.hindered.push((epoch, first, *limit));
                shown.either.extend(choices.open.then_some(epoch));
                self.judge.closed.extend(branch.get(*limit as usize).map(|id| ((market, epoch), *id)));
            }
            None => shown.open.push((epoch, first, choices.unmarked)),
        }
    }

    /// `EpochMarkerSetKey` and `EpochMarkerDetailsKey` of what is not over.
    fn markers(
        &mut self,
        market: usize,
        marked: &BTreeSet<u64>,
        shown: Shown,
        expected: &mut BTreeSet<String>,
    ) {
        let most = self.judge.settings.max_windows;
        let must = |(open, _, hindered): &Places| -> BTreeSet<u64> {
            let shown = open.iter().filter(|(epoch, _, unmarked)| marked.contains(epoch) || !unmarked);
            shown.map(|(epoch, ..)| *epoch).chain(hindered.iter().map(|(epoch, ..)| *epoch)).collect()
        };
        // The clock closes them in the order of their releases.
        let mut places = (0..=shown.either.len()).rev().map(|closed| shown.with(closed, most));
        let fits = places.clone().find(|places| must(places) == *marked);
        let Some(places) = fits.or_else(|| places.next()) else { return };
        if must(&places) != *marked {
            let must = must(&places);
            self.fault(format!("EpochMarkerSetKey.{} has {marked:?} instead of {must:?}", MARKETS[market]));
        }
        let (open, waiting, hindered) = places;
        self.count("open windows", open.len() as u64);
        self.count("waiting windows", waiting.len() as u64);
        if !self.rest.prepared.contains(&market) {
            self.count("windows nobody prepares", hindered.len() as u64);
        }
        let (open, unmarked): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|(epoch, _, unmarked)| marked.contains(epoch) || !unmarked);
        self.count("unmarked windows", unmarked.len() as u64);
        for (epoch, ..) in waiting.iter().chain(&unmarked) {
            // It may have been given up already; else it has no details.
            let key = format!("EpochMarkerDetailsKey.{}.{epoch}", MARKETS[market]);
            if self.seen.get(&key).is_some_and(|held| held.expires.is_some()) {
                expected.insert(key);
            }
        }
        for (epoch, release, _) in open {
            self.details(market, epoch, release, None, expected);
        }
        for (epoch, release, limit) in hindered {
            self.details(market, epoch, release, Some(limit), expected);
        }
    }

    /// How long the window of a release may be, in milliseconds, and whether that may be unknown.
    fn lengths(&self, market: usize, block: Id) -> (BTreeSet<u64>, bool) {
        let first = self.judge.settings.window;
        let given = |block: Id| self.script.length(market, block).unwrap_or(first);
        let unasked = self.judge.unasked.contains(&(market, block));
        let all = match unasked {
            true => self.script.lengths(market, first),
            false => self.states(block).into_iter().map(given).collect(),
        };
        (all.into_iter().map(|seconds| seconds * SECOND).collect(), unasked)
    }

    /// What an epoch may be.
    fn choices(&self, release: Release<'_>, place: Place) -> Choices {
        let Release { market, branch, at, .. } = release;
        let (lengths, may_be_unknown) = self.lengths(market, branch[at]);
        let mut all = Choices::default();
        for length in lengths {
            let choices = self.choices_of(release, place, length);
            all.open |= choices.open;
            all.extend(choices);
        }
        if may_be_unknown {
            let released = self.script.blocks[branch[at]].time * SECOND;
            (all.open, all.unmarked) = (true, true);
            if self.rest.to + ROUNDING >= released + INPUTS_LIVE - MARGIN {
                all.done.push(self.ended(release, at, None));
            }
        }
        all
    }

    /// The days that the contract may have given for a block, the right one first.
    fn days(&self, market: usize, block: Id) -> Vec<Option<u64>> {
        if !self.judge.settings.tells_days {
            // The last one that was announced since the market is followed.
            let first = self.judge.followed[market].first().unwrap_or(0).max(self.judge.settings.start);
            return vec![self.script.announced_day(market, block, first)];
        }
        let mut days = Vec::new();
        for day in self.states(block).into_iter().map(|block| Some(self.script.day(market, block))) {
            if !days.contains(&day) {
                days.push(day);
            }
        }
        days
    }

    fn ended(&self, release: Release<'_>, end: usize, batches: Option<Vec<Batch>>) -> Done {
        let Release { market, branch, at, .. } = release;
        Done {
            batches,
            release: self.script.blocks[branch[at]].number,
            limit: self.script.blocks[branch[end]].number,
            days: self.days(market, branch[at]),
            at: (self.rest.from, self.rest.to),
            blocks: branch[at..=end].iter().copied().collect(),
            is_cleaned: true,
        }
    }

    /// What an epoch may be whose window has this length.
    fn choices_of(&self, release: Release<'_>, place: Place, length: u64) -> Choices {
        let Release { market, epoch, branch, at } = release;
        let rest = self.rest;
        let block = |index: usize| &self.script.blocks[branch[index]];
        let released = block(at).time * SECOND;
        let limit = released + length;
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
        let is_prepared = rest.prepared.contains(&market);
        // Found too late, or nobody has prepared it: "given up when their submissions have been gone for another `submissions_ttl`".
        let is_known = self.judge.tip.is_some_and(|tip| self.script.is_on(branch[at], tip));
        let lives = if is_known && !is_prepared { 2 * INPUTS_LIVE } else { INPUTS_LIVE };
        let may_expire = rest.to + ROUNDING >= released + lives - MARGIN;
        let must_expire = place == Place::Head && rest.from >= released + 2 * INPUTS_LIVE + MARGIN;
        for end in ends {
            let (batches, is_whole) = self.batches(market, epoch, &branch[at..=end]);
            let done = self.ended(release, end, None);
            if rest.hindered.contains(&(market, epoch)) || !is_prepared {
                if !must_expire {
                    choices.hindered.push(done.limit);
                }
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
            let details = self.seen.get(&format!("EpochMarkerDetailsKey.{}.{epoch}", MARKETS[market]));
            // Details that expire are those of an epoch that is over.
            let is_over = details.is_some_and(|held| held.expires.is_some());
            let is_open = (choices.open || !choices.hindered.is_empty())
                && (marked.contains(&epoch) || given_up.is_none() || (choices.unmarked && !is_over));
            if is_open {
                return false;
            }
            match given_up {
                Some(done) => {
                    self.judge.done.insert((market, epoch), done.clone());
                    let is_prepared = self.rest.prepared.contains(&market);
                    self.count(if is_prepared { "expired" } else { "abandoned or expired" }, 1);
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
        let read = held.and_then(|held| serde_json::from_str::<serde_json::Value>(held.words.first()?).ok());
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
}
