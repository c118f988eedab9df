//! What a reader of the producers' keys can know at one moment, epoch by epoch.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    database::{Content, Database, Stored},
    keys::{Key, MARKET, OWN, id},
};

/// What the info of an epoch says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info {
    /// Its `status` is `closed`; `None` without a status.
    pub closed: Option<bool>,
    /// `start`, or `timestamp`
    pub start: Option<i64>,
    /// `end`
    pub end: Option<i64>,
    /// `duration`
    pub duration: Option<i64>,
    /// Whether it names the market.
    pub has_market: bool,
}

/// What the state of an epoch says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Its `window_status` is `closed`; `None` without a status.
    pub closed: Option<bool>,
    /// `window_opened_at`
    pub opened_at: Option<i64>,
    /// `window_closes_at`
    pub closes_at: Option<i64>,
    /// `level1_status`, `level2_status`, `onchain_status`; empty when missing.
    pub steps: [String; 3],
}

/// Everything that the keys say of one epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// It is a member of `epochs:active`.
    pub active: bool,
    /// The time of `open:E`.
    pub open_at: Option<i64>,
    /// The time of `close:E`.
    pub close_at: Option<i64>,
    /// The time of `local:E`.
    pub local_at: Option<i64>,
    /// The time of `aggregated:E`.
    pub aggregated_at: Option<i64>,
    /// The metadata of the local batch exists.
    pub has_local: bool,
    /// The metadata of the aggregated batch exists.
    pub has_aggregated: bool,
    /// The validators in the aggregated batch.
    pub named: Option<BTreeSet<String>>,
    /// The remote validators.
    pub remote: BTreeSet<String>,
    /// The ordered set of submissions, with times.
    pub ids: Option<BTreeMap<String, i64>>,
    /// The plain set of submissions.
    pub processed: Option<BTreeSet<String>>,
    /// The info.
    pub info: Option<Info>,
    /// The state.
    pub state: Option<State>,
    /// What the timeline of validations names, with times.
    pub validated: BTreeMap<String, i64>,
}

impl Seen {
    /// The number of processed submissions: the ordered set is preferred, the plain one is used when that is missing.
    #[must_use]
    pub fn submissions(&self) -> u64 {
        let plain = || self.processed.as_ref().map_or(0, BTreeSet::len);
        self.ids.as_ref().map_or_else(plain, BTreeMap::len) as u64
    }

    /// The times at which its window opened, from each key that says so.
    pub fn opened(&self) -> impl Iterator<Item = i64> + '_ {
        self.open_at.into_iter().chain(self.opened_without_timeline())
    }

    /// The same without the timeline.
    pub fn opened_without_timeline(&self) -> impl Iterator<Item = i64> + '_ {
        let info = self.info.as_ref().and_then(|info| info.start);
        let state = self.state.as_ref().and_then(|state| state.opened_at);
        [info, state].into_iter().flatten()
    }

    /// Whether a time is ahead.
    #[must_use]
    pub fn is_ahead(&self, now: i64) -> bool {
        let batches = [self.local_at, self.aggregated_at].into_iter().flatten();
        self.opened().chain(self.closed()).chain(batches).any(|at| at > now)
    }

    /// The times at which its window has closed, from each key that says so.
    pub fn closed(&self) -> impl Iterator<Item = i64> + '_ {
        let info = self.info.as_ref().filter(|info| info.closed == Some(true)).and_then(|info| info.end);
        let state = self.state.as_ref().filter(|state| state.closed == Some(true));
        [self.close_at, info, state.and_then(|state| state.closes_at)].into_iter().flatten()
    }

    /// The statuses of the window in info and state: closed or not.
    pub fn statuses(&self) -> impl Iterator<Item = bool> + '_ {
        let info = self.info.as_ref().and_then(|info| info.closed);
        let state = self.state.as_ref().and_then(|state| state.closed);
        [info, state].into_iter().flatten()
    }

    /// The lengths of its window, from each key that says one.
    pub fn lengths(&self) -> impl Iterator<Item = i64> + '_ {
        let info = self.info.as_ref().and_then(|info| info.duration);
        let state = self.state.as_ref();
        let state = state.and_then(|state| Some(state.closes_at? - state.opened_at?));
        [info, state].into_iter().flatten()
    }

    /// The status of a step in the state.
    #[must_use]
    pub fn step(&self, at: usize) -> &str {
        self.state.as_ref().map_or("", |state| state.steps[at].as_str())
    }
}

/// What all keys say at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The epochs.
    pub epochs: BTreeMap<u64, Seen>,
    /// The times of `validator:V:E` in the batches timeline, by validator.
    pub makers: BTreeMap<String, i64>,
    /// The members of this validator's batch zset that are ids.
    pub own: BTreeMap<u64, i64>,
    /// The length of the queue.
    pub queue: u64,
    /// `vpa:stats`
    pub vpa: Option<BTreeMap<String, i64>>,
    /// The times of `vpa:priority:timeline` and of `vpa:submission:timeline`.
    pub vpa_times: [Option<Vec<i64>>; 2],
}

impl View {
    /// The view of a database, of those keys that were born at `by` or before.
    #[must_use]
    pub fn of(database: &Database, by: i64) -> Self {
        let mut view = Self::default();
        for (_, stored) in database.keys().filter(|(_, stored)| stored.born <= by) {
            match stored.key.epoch() {
                Some(epoch) => of_epoch(view.epochs.entry(epoch).or_default(), stored),
                None => view.of_market(stored),
            }
        }
        view
    }

    fn of_market(&mut self, stored: &Stored) {
        match (&stored.key, &stored.content) {
            (Key::Queue, Content::List(length)) => self.queue = *length,
            (Key::Active, Content::Set(members)) => {
                for epoch in members.iter().filter_map(|member| id(member)) {
                    self.epochs.entry(epoch).or_default().active = true;
                }
            }
            (Key::Epochs | Key::Batches, Content::Zset(members)) => {
                for (member, at) in members {
                    self.of_timeline(member, *at);
                }
            }
            (Key::Validations, Content::Zset(members)) => {
                for (member, at) in members {
                    let Some(epoch) = member.split_once('-').and_then(|(epoch, _)| id(epoch)) else {
                        continue;
                    };
                    self.epochs.entry(epoch).or_default().validated.insert(member.clone(), *at);
                }
            }
            (Key::BatchesOf(OWN), Content::Zset(members)) => {
                self.own.extend(members.iter().filter_map(|(member, at)| Some((id(member)?, *at))));
            }
            (Key::VpaStats, Content::Hash(fields)) => {
                let numbers =
                    fields.iter().filter_map(|(name, text)| Some((name.clone(), text.parse().ok()?)));
                self.vpa = Some(numbers.collect());
            }
            (Key::VpaPriority, Content::Zset(members)) => {
                self.vpa_times[0] = Some(members.values().copied().collect());
            }
            (Key::VpaSubmission, Content::Zset(members)) => {
                self.vpa_times[1] = Some(members.values().copied().collect());
            }
            _ => {}
        }
    }

    fn of_timeline(&mut self, member: &str, at: i64) {
        let Some((what, epoch)) = member.split_once(':') else { return };
        if what == "validator"
            && let Some((validator, _)) = epoch.rsplit_once(':')
        {
            let last = self.makers.entry(validator.to_owned()).or_insert(at);
            *last = at.max(*last);
        }
        let Some(epoch) = id(epoch) else { return };
        let slot = match what {
            "open" => &mut self.epochs.entry(epoch).or_default().open_at,
            "close" => &mut self.epochs.entry(epoch).or_default().close_at,
            "local" => &mut self.epochs.entry(epoch).or_default().local_at,
            "aggregated" => &mut self.epochs.entry(epoch).or_default().aggregated_at,
            _ => return,
        };
        *slot = Some(at);
    }
}

fn of_epoch(seen: &mut Seen, stored: &Stored) {
    match (&stored.key, &stored.content) {
        (Key::Validators(_), Content::Set(members)) => {
            // No validator is empty: an empty member is set aside.
            seen.remote = members.iter().filter(|member| !member.is_empty()).cloned().collect();
        }
        (Key::Ids(_), Content::Zset(members)) => {
            let named = members.iter().filter(|(member, _)| !member.is_empty());
            seen.ids = Some(named.map(|(member, at)| (member.clone(), *at)).collect());
        }
        (Key::Processed(_), Content::Set(members)) => {
            seen.processed = Some(members.iter().filter(|member| !member.is_empty()).cloned().collect());
        }
        (Key::Local(_), _) => seen.has_local = true,
        (Key::Aggregated(_), _) => seen.has_aggregated = true,
        (Key::Named(_), Content::Text(text)) => {
            let named: Vec<String> = serde_json::from_str(text).unwrap_or_default();
            seen.named = Some(named.into_iter().filter(|validator| !validator.is_empty()).collect());
        }
        (Key::Info(_), Content::Hash(fields)) => seen.info = Some(info(fields)),
        (Key::State(_), Content::Hash(fields)) => seen.state = Some(state(fields)),
        _ => {}
    }
}

fn number(fields: &BTreeMap<String, String>, name: &str) -> Option<i64> {
    fields.get(name)?.parse().ok()
}

fn info(fields: &BTreeMap<String, String>) -> Info {
    Info {
        closed: fields.get("status").map(|status| status == "closed"),
        start: number(fields, "start").or_else(|| number(fields, "timestamp")),
        end: number(fields, "end"),
        duration: number(fields, "duration"),
        has_market: fields.get("data_market").is_some_and(|market| MARKET.contains(&market.as_str())),
    }
}

fn state(fields: &BTreeMap<String, String>) -> State {
    let step = |name: &str| fields.get(name).cloned().unwrap_or_default();
    State {
        closed: fields.get("window_status").map(|status| status == "closed"),
        opened_at: number(fields, "window_opened_at"),
        closes_at: number(fields, "window_closes_at"),
        steps: ["level1_status", "level2_status", "onchain_status"].map(step),
    }
}
