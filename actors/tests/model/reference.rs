//! The expected datasets, computed the slow and obvious way from what the producers did. No code of the tracker is used
//! here.
//!
//! The reference also knows when passes were made, since two rules depend on it: what expired between two passes was
//! never seen, and what comes after an epoch was sealed is not counted. The tracker chooses when to seal an epoch,
//! within limits: not before the epoch is ripe, and soon after. The reference takes nothing else from Redis.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    history::{History, MARKET, Made, OWN},
    shown::Shown,
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// What is known of an epoch by the passes so far.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    seen: i64,
    /// When it was opened, once that is known.
    opened: Option<i64>,
    closed: Option<i64>,
    /// When its window ends by plan.
    due: i64,
    submissions: u64,
    local: Option<i64>,
    aggregated: Option<i64>,
    included: bool,
    accounted: bool,
    /// Since when it may be sealed.
    ripe: Option<i64>,
    /// With the validators that were named then.
    sealed: Option<Vec<String>>,
}

/// How long a ripe epoch may wait until its keys are read under all spellings, in seconds: once a minute, and once more
/// when the first pass fails.
const HELD: i64 = 130;

/// The keys that a pass may see when those of the market and those of its epochs are spelled differently: a spelling
/// that is not in use is read once a minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sight {
    All,
    Market,
    Epochs,
}

/// What an interrupted pass may have done, each step whole or not at all.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Effect {
    /// It wrote the ledger and nothing else.
    Ledger,
    /// It wrote the summary, and the measurement window with it.
    Summary,
    /// It wrote everything.
    All,
}

/// The reference.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    known: BTreeMap<u64, Known>,
    /// When a gap was last seen.
    gaps: BTreeMap<String, i64>,
    /// What `submissions_count` of a state should be.
    counts: BTreeMap<u64, u64>,
    window: Option<Window>,
    looked: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Window {
    began: i64,
    totals: [u64; 3],
}

fn count(made: &Made) -> u64 {
    (if made.ids.is_empty() { made.processed.len() } else { made.ids.len() }) as u64
}

/// Epochs whose keys are read: the open ones, and those with a timeline entry of the last ten minutes.
fn examined<'a>(history: &'a History, open: &BTreeSet<u64>) -> BTreeMap<u64, &'a Made> {
    let lately = |at: Option<i64>| at.is_some_and(|at| at > history.now - 600);
    let is_examined = |epoch: &u64, made: &Made| {
        let opened = made.in_timeline.then_some(made.opened);
        open.contains(epoch) || [opened, made.closed, made.local, made.aggregated].into_iter().any(lately)
    };
    let all = history.epochs.iter().filter(|(epoch, made)| is_examined(epoch, made));
    all.map(|(epoch, made)| (*epoch, made)).collect()
}

fn number(real: f64) -> Value {
    if real.fract() == 0.0 { json!(real as u64) } else { json!(real) }
}

fn rfc3339(unix: i64) -> String {
    // Days since 1970 to a date, year by year and month by month.
    let (mut days, second) = (unix / DAY, unix % DAY);
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let mut year = 1970;
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / HOUR, second % HOUR / 60, second % 60);
    format!("{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

impl Reference {
    /// Whether the two will always agree, within the tolerances.
    pub fn is_like(&self, other: &Self) -> bool {
        let known = |one: &Known, two: &Known| {
            one.ripe.is_some() == two.ripe.is_some() && *one == Known { ripe: one.ripe, ..two.clone() }
        };
        self.counts == other.counts
            && (self.window, self.looked) == (other.window, other.looked)
            && self.known.len() == other.known.len()
            && self.known.iter().zip(&other.known).all(|(one, two)| one.0 == two.0 && known(one.1, two.1))
            && self.gaps.len() == other.gaps.len()
            && self
                .gaps
                .iter()
                .zip(&other.gaps)
                .all(|(one, two)| one.0 == two.0 && (one.1 - two.1).abs() <= 10)
    }

    /// The possible states after an interrupted pass at `history.now`, when this is shown: the pass had no effect, a
    /// part of it, or all. It may have seen everything, or only one of these sights.
    pub fn after_broken(&self, history: &History, shown: &Shown, sights: &[Sight]) -> Vec<Self> {
        let mut all = Vec::new();
        let is_sealed = |epoch: &u64| self.known.get(epoch).is_some_and(|known| known.sealed.is_some());
        if shown.sealed.iter().all(is_sealed) {
            all.push(self.clone());
        }
        for sight in [Sight::All].iter().chain(sights) {
            for effect in [Effect::Ledger, Effect::Summary, Effect::All] {
                all.extend(self.after(history, shown, *sight, effect).ok());
            }
        }
        all
    }

    /// The possible states after a pass at `history.now` with one of these sights.
    pub fn after_narrow(&self, history: &History, shown: &Shown, sights: &[Sight]) -> Vec<Self> {
        sights.iter().filter_map(|sight| self.after(history, shown, *sight, Effect::All).ok()).collect()
    }

    fn after(&self, history: &History, shown: &Shown, sight: Sight, effect: Effect) -> Result<Self, String> {
        let mut looked = self.clone();
        let before = looked.open(history);
        looked.look(history, &shown.sealed, sight)?;
        if effect >= Effect::Summary {
            looked.window(history.now, shown.began())?;
            looked.looked = Some(history.now);
        }
        if effect == Effect::All && sight == Sight::All {
            looked.write(history, &before);
        }
        Ok(looked)
    }

    /// The sights that passes may have until all spellings are read again, besides that of everything. All of them
    /// include the spellings under which the last pass found keys.
    pub fn sights(&self, history: &History) -> Vec<Sight> {
        if !history.is_mixed() {
            return Vec::new();
        }
        let newest = examined(history, &self.open(history));
        let market = history.has_active().then_some(Sight::Market);
        let epochs = newest.values().rev().take(8).any(|made| made.has_key()).then_some(Sight::Epochs);
        match (market, epochs) {
            (Some(_), Some(_)) => Vec::new(),
            (None, None) => vec![Sight::Market, Sight::Epochs],
            (one, other) => one.or(other).into_iter().collect(),
        }
    }

    /// The tracker made a pass at `history.now`, and has sealed these epochs.
    fn look(&mut self, history: &History, sealed: &BTreeSet<u64>, sight: Sight) -> Result<(), String> {
        let now = history.now;
        let (of_market, of_epochs) = (sight != Sight::Epochs, sight != Sight::Market);
        let mut wrong = Ok(());
        for (epoch, made) in &history.epochs {
            // Of an epoch the keys of the market tell.
            if !of_market && !self.known.contains_key(epoch) {
                continue;
            }
            let known = self.known.entry(*epoch).or_insert_with(|| Known { seen: now, ..Known::default() });
            if known.sealed.is_some() {
                continue;
            }
            let made = &made.seen(of_market, of_epochs);
            if made.in_timeline || made.has_info || made.has_state {
                known.opened = Some(made.opened);
            }
            known.closed = known.closed.max(made.closed);
            let plan = match (made.has_info, made.closed, made.has_state) {
                (true, Some(closed), _) => closed,
                (true, None, _) | (false, _, true) => made.opened + made.window,
                (false, _, false) if made.in_timeline => made.opened + 60,
                (false, _, false) => 0,
            };
            known.due = known.due.max(plan);
            known.submissions = known.submissions.max(count(made));
            known.local = known.local.max(made.local);
            known.aggregated = known.aggregated.max(made.aggregated);
            known.included |= made.named.iter().flatten().any(|named| named == OWN);
            let over = known.closed.is_some() || known.due > 0 && now >= known.due;
            let is_young = known.opened.is_some_and(|at| now < at + HOUR);
            known.accounted |= over && (count(made) > 0 || is_young);
            let end = known.closed.unwrap_or(known.due);
            let batch = known.local.max(known.aggregated).unwrap_or(known.seen);
            let long_over = now >= if end > 0 { end } else { batch } + HOUR;
            let both = known.local.is_some() && known.aggregated.is_some();
            let listed = made.named.is_some() || known.aggregated.is_some_and(|at| now >= at + 60);
            if sight == Sight::All {
                // A held epoch is no longer ripe when a later end becomes known.
                known.ripe = (long_over || over && both && listed).then(|| known.ripe.unwrap_or(now));
            }
            if end > 0 {
                known.seen = 0;
            }
            // An id without any trace is given up when newer epochs are long over.
            let nothing = known.opened.is_none()
                && known.submissions == 0
                && known.local.max(known.aggregated).is_none();
            match (sealed.contains(epoch), known.ripe) {
                (true, None) if !nothing => wrong = Err(format!("{epoch} was sealed before its time")),
                (true, _) => {
                    known.sealed = Some(made.named.clone().unwrap_or_default());
                    // What no longer counts must not make references differ.
                    (known.seen, known.due, known.closed, known.ripe) = Default::default();
                }
                (false, Some(since))
                    if sight == Sight::All
                        && now >= since + if history.has_one_spelling() { 0 } else { HELD } =>
                {
                    wrong = Err(format!("{epoch} is not sealed, though it is ripe since {since}"));
                }
                (false, _) => {}
            }
        }
        wrong
    }

    /// The expected datasets after a pass at `history.now`, when these epochs are sealed. With `after`: after a second
    /// pass at the same moment, which finds sealed what the first one sealed; the first is the aggregator's, the second
    /// the epoch tracker's. `began` is the shown begin of the measurement window.
    pub fn shown(
        &mut self,
        history: &History,
        sealed: &BTreeSet<u64>,
        began: i64,
        after: [bool; 2],
    ) -> Result<Shown, String> {
        let now = history.now;
        let before = self.open(history);
        self.look(history, sealed, Sight::All)?;
        self.write(history, &before);
        let [open, of_current] = after.map(|after| if after { self.open(history) } else { before.clone() });
        let examined = examined(history, &open);
        let gaps = self.gaps(now, &examined);
        let counts = history.epochs.iter().filter(|(_, made)| made.has_state);
        let counts = counts.map(|(epoch, _)| (*epoch, self.counts.get(epoch).copied())).collect();
        let summary = self.summary(history, &open, &examined, gaps, began)?;
        let stats = summary.as_object().expect("an object").clone().into_iter().collect();
        let start = now - now % HOUR;
        self.looked = Some(now);
        Ok(Shown {
            stats,
            summary,
            participation: self.participation(history),
            current: self.current(history, &of_current),
            hours: [self.hour(history, start, now, &open), self.hour(history, start - HOUR, start, &open)],
            day: self.day(now, &open),
            gaps: self.gaps.keys().cloned().collect(),
            counts,
            sealed: sealed.clone(),
        })
    }

    /// What a pass writes beside the datasets, when these epochs were unsealed before it.
    fn write(&mut self, history: &History, open: &BTreeSet<u64>) {
        for epoch in open {
            self.counts.insert(*epoch, self.known[epoch].submissions);
        }
        self.gaps(history.now, &examined(history, open));
    }

    fn open(&self, history: &History) -> BTreeSet<u64> {
        let is_open = |epoch: &u64| self.known.get(epoch).is_none_or(|known| known.sealed.is_none());
        history.epochs.keys().copied().filter(is_open).collect()
    }

    /// Gaps that were last seen an hour ago, give or take some seconds, may be shown or not.
    pub fn fading(&self, now: i64) -> BTreeSet<String> {
        let fading = self.gaps.iter().filter(|(_, seen)| (now - **seen - HOUR).abs() <= 30);
        fading.map(|(gap, _)| gap.clone()).collect()
    }

    fn gaps(&mut self, now: i64, examined: &BTreeMap<u64, &Made>) -> u64 {
        let mut present = 0;
        for (epoch, made) in examined {
            let [level1, level2, onchain] = made.steps;
            let closed = made.closed.is_some();
            let missing = [
                ("missing_level1", closed && !["in_progress", "completed"].contains(&level1)),
                (
                    "missing_level2",
                    level1 == "completed" && !["collecting", "aggregating", "completed"].contains(&level2),
                ),
                (
                    "missing_onchain",
                    level2 == "completed" && !["queued", "submitted", "confirmed"].contains(&onchain),
                ),
            ];
            for (kind, is_missing) in missing {
                let member = format!("{epoch}:{kind}");
                if is_missing && made.has_state {
                    present += 1;
                    self.gaps.insert(member, now);
                } else {
                    self.gaps.remove(&member);
                }
            }
        }
        self.gaps.retain(|_, seen| *seen >= now - HOUR - 30);
        present
    }

    fn totals(&self) -> [u64; 3] {
        let submissions = self.known.values().map(|known| known.submissions).sum();
        let epochs = self.known.len() as u64;
        let batch = |at: Option<i64>| u64::from(at.is_some());
        let batches = self.known.values().map(|known| batch(known.local) + batch(known.aggregated)).sum();
        [submissions, epochs, batches]
    }

    /// The measurement window of a summary at `now`.
    fn window(&mut self, now: i64, began: i64) -> Result<Window, String> {
        let window = match self.window {
            Some(window) if now < window.began + DAY => window,
            // A new one began with a pass since the last look; nothing was written since then.
            _ if began <= now && self.looked.is_none_or(|looked| began > looked) => {
                Window { began, totals: self.totals() }
            }
            _ => return Err(format!("the measurement window is said to have begun at {began}")),
        };
        self.window = Some(window);
        Ok(window)
    }

    fn summary(
        &mut self,
        history: &History,
        open: &BTreeSet<u64>,
        examined: &BTreeMap<u64, &Made>,
        gaps: u64,
        began: i64,
    ) -> Result<Value, String> {
        let now = history.now;
        let totals = self.totals();
        let window = self.window(now, began)?;
        let elapsed = now - window.began;
        let rate = |at: usize| number((totals[at] - window.totals[at]) as f64 / elapsed.max(1) as f64);
        let lately = |at: i64, seconds: i64| at > now - seconds && at <= now;
        let opened = |seconds: i64| {
            history.epochs.values().filter(|made| made.in_timeline && lately(made.opened, seconds)).count()
        };
        let batches = |seconds: i64| {
            let times = history.epochs.values().flat_map(|made| [made.local, made.aggregated]);
            times.flatten().filter(|at| lately(*at, seconds)).count()
        };
        let submissions = |seconds: i64| -> u64 {
            let of = |made: &&Made| match made.ids.is_empty() {
                false => made.ids.values().filter(|at| lately(**at, seconds)).count() as u64,
                true if lately(made.opened, seconds) => made.processed.len() as u64,
                true => 0,
            };
            examined.values().map(of).sum()
        };
        let validators: BTreeSet<&String> = if open.is_empty() {
            let aggregated =
                history.epochs.values().filter(|made| made.aggregated.is_some_and(|at| lately(at, 300)));
            aggregated.flat_map(|made| made.named.iter().flatten()).collect()
        } else {
            open.iter().flat_map(|epoch| &history.epochs[epoch].remote).collect()
        };
        let unfinished = self.known.values().filter(|known| {
            let over = known.closed.is_some() || known.due > 0 && now >= known.due;
            let both = known.local.is_some() && known.aggregated.is_some();
            known.sealed.is_none() && known.ripe.is_none() && !(over && both)
        });
        let processed: u64 = unfinished.map(|known| known.submissions).sum();
        let unaccounted =
            self.known.values().filter(|known| known.sealed.is_some() && !known.accounted).count();
        let fields = [
            ("active_validators", json!(validators.len())),
            ("batch_rate", rate(2)),
            ("batches_1m", json!(batches(60))),
            ("batches_5m", json!(batches(300))),
            ("batches_total", json!(totals[2])),
            ("epoch_gaps_count", json!(gaps)),
            ("epoch_gaps_rate", number(gaps as f64 / (opened(300) as f64 + 1.0))),
            ("epoch_rate", rate(1)),
            ("epochs_1m", json!(opened(60))),
            ("epochs_5m", json!(opened(300))),
            ("epochs_total", json!(totals[1])),
            ("measurement_duration", json!(elapsed)),
            ("processed_submissions", json!(processed)),
            ("submission_rate", rate(0)),
            ("submissions_1m", json!(submissions(60))),
            ("submissions_5m", json!(submissions(300))),
            ("submissions_queue", json!(history.queue)),
            ("submissions_total", json!(totals[0])),
            ("unaccounted_epochs", json!(unaccounted)),
            ("updated_at", json!(now)),
            ("vpa_priority_assignments_24h", json!(0)),
            ("vpa_submissions_24h", json!(0)),
        ];
        Ok(Value::Object(
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>(),
        ))
    }

    fn participation(&self, history: &History) -> Value {
        let now = history.now;
        let today = |at: Option<i64>| at.is_some_and(|at| at > now - DAY && at <= now);
        let all = || self.known.values();
        let opened = all().filter(|known| today(known.opened)).count();
        let aggregated = all().filter(|known| today(known.aggregated)).count();
        let included = all().filter(|known| today(known.aggregated) && known.included).count();
        let own = history.own.values().filter(|at| today(Some(**at))).count();
        let percent = |part: usize, whole: usize| {
            if whole == 0 { json!(0) } else { number((100.0 * part as f64 / whole as f64).min(100.0)) }
        };
        json!({
            "epochs_participated_24h": own,
            "epochs_total_24h": opened,
            "participation_rate": percent(included, aggregated),
            "level1_batches_24h": own,
            "level2_inclusions_24h": included,
            "inclusion_rate": percent(included, own),
            "timestamp": now,
        })
    }

    /// Epochs, batches, submissions of `[start, end)`. Statistics are computed from unsealed epochs and from those that
    /// were opened within a day and three hours: older ones had their batches long ago.
    fn stretch(&self, start: i64, end: i64, now: i64, open: &BTreeSet<u64>) -> [u64; 3] {
        let within = |at: Option<i64>| at.is_some_and(|at| at >= start && at < end);
        let is_young = |known: &Known| known.opened.is_some_and(|at| at >= now - DAY - 3 * HOUR);
        let counts = |(epoch, known): &(&u64, &Known)| open.contains(*epoch) || is_young(known);
        let all = || self.known.iter().filter(counts).map(|(_, known)| known);
        let opened = || all().filter(|known| within(known.opened));
        let made = |known: &Known| u64::from(within(known.local)) + u64::from(within(known.aggregated));
        let batches = all().map(made).sum();
        [opened().count() as u64, batches, opened().map(|known| known.submissions).sum()]
    }

    fn hour(&self, history: &History, start: i64, end: i64, open: &BTreeSet<u64>) -> Value {
        let [epochs, batches, submissions] = self.stretch(start, end, history.now, open);
        let mut validators = BTreeSet::new();
        for (epoch, known) in &self.known {
            // An hour is known by the epochs that were opened in it, to its very end.
            if known.opened.is_some_and(|at| at >= start && at < start + HOUR) {
                match &known.sealed {
                    Some(named) => validators.extend(named.clone()),
                    None => validators.extend(history.epochs[epoch].named.clone().unwrap_or_default()),
                }
            }
        }
        json!({
            "hour_start": rfc3339(start), "hour_end": rfc3339(end), "epochs": epochs, "batches": batches,
            "submissions": submissions, "unique_validators": validators.len(), "updated_at": history.now,
        })
    }

    fn day(&self, now: i64, open: &BTreeSet<u64>) -> Value {
        let [epochs, batches, submissions] = self.stretch(now - DAY, now, now, open);
        let hours: Vec<Value> = (0..24)
            .map(|hour| {
                let start = now - DAY + hour * HOUR;
                let of_day = format!("{:02}:{:02}", start % DAY / HOUR, start % HOUR / 60);
                json!({ "hour": of_day, "epochs": self.stretch(start, start + HOUR, now, open)[0] })
            })
            .collect();
        json!({
            "period_start": rfc3339(now - DAY), "period_end": rfc3339(now), "epochs_total": epochs,
            "batches_total": batches, "submissions_total": submissions, "hourly_breakdown": hours,
            "updated_at": now,
        })
    }
}

impl Reference {
    /// The highest open epoch, else the most recent one, of those that the timeline or the ledger still has.
    fn current(&self, history: &History, open: &BTreeSet<u64>) -> Value {
        let now = history.now;
        let kept = |at: Option<i64>| at.is_some_and(|at| at >= history.pruned);
        let told = |(epoch, made): &(&u64, &Made)| {
            made.in_timeline && kept(Some(made.opened))
                || kept(made.closed)
                || made.closed.is_none() && open.contains(*epoch)
        };
        let all = || history.epochs.iter().filter(told);
        let open = all().rev().find(|(_, made)| made.closed.is_none());
        let recent = || all().max_by_key(|(epoch, made)| (made.closed.max(Some(made.opened)), **epoch));
        let Some((epoch, made)) = open.or_else(recent) else { return Value::Null };
        let phase = match (made.closed, made.has_local, made.has_aggregated) {
            (None, ..) => "submission",
            (Some(_), false, _) => "finalization",
            (Some(_), true, false) => "aggregation",
            (Some(_), true, true) => "complete",
        };
        let planned = made.has_info || made.has_state && made.closed.is_none();
        let window = if planned { made.window } else { 60 };
        let left = if phase == "submission" { (made.opened + window - now).clamp(0, window) } else { 0 };
        let mut shown = json!({
            "epoch_id": epoch.to_string(), "phase": phase, "time_remaining_seconds": left, "window_duration": window,
            "submissions_received": count(made), "timestamp": now,
        });
        if made.has_info {
            shown["data_market"] = json!(MARKET[0]);
        }
        shown
    }
}
