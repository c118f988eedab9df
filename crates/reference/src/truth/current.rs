//! `metrics:current_epoch`: "the highest open one, else the most recent, among ids with a known time (timeline, info, state,
//! ledger); an id that only `epochs:active` tells of counts when no other is known".

use std::collections::BTreeSet;

use serde_json::Value;

use super::look::Look;
use crate::{
    account::{Account, Effect, SEALED_AFTER, USUAL_WINDOW},
    check::{Check, Report},
    keys::DAY,
    range::Range,
    shown::Shown,
    view::Seen,
};

/// Whether an epoch's window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Yes,
    Perhaps,
    No,
}

/// An epoch that may be the current one.
struct Candidate<'a> {
    epoch: u64,
    account: &'a Account,
    least: Option<&'a Seen>,
    most: Option<&'a Seen>,
}

impl Candidate<'_> {
    /// Whether a time is certainly known, and possibly. "timeline, info, state, ledger"
    fn has_time(&self, now: i64) -> (bool, bool) {
        let is_true = |seen: Option<&Seen>| {
            seen.is_some_and(|seen| seen.opened().chain(seen.closed()).any(|at| at <= now))
        };
        let ledger = &self.account.opened_at;
        // The pass that finds an epoch may come after that of the current epoch.
        let found = self.account.found.certain.is_some_and(|at| at < now);
        let any = |seen: &Seen| {
            seen.opened().chain(seen.closed()).next().is_some()
                || seen.local_at.or(seen.aggregated_at).is_some()
        };
        let possible = self.account.ends.is_some() || self.most.is_some_and(any);
        (found && (is_true(self.least) || ledger.certain.is_some()), possible)
    }

    fn is_open(&self, now: i64) -> Open {
        let (mut says_open, mut says_closed) = (false, false);
        if let Some(seen) = self.most {
            says_closed |= seen.close_at.is_some() || seen.statuses().any(|closed| closed);
            says_open |= seen.open_at.is_some() || seen.statuses().any(|closed| !closed);
        }
        match (says_open, says_closed) {
            (false, true) => Open::No,
            (true, true) if self.least.is_some_and(is_surely_closed(now)) => Open::No,
            // An epoch that is long over and was never closed may be taken for closed.
            (true, false) if self.is_young(now) && self.least.is_some_and(is_surely_open(now)) => Open::Yes,
            _ => Open::Perhaps,
        }
    }

    fn is_young(&self, now: i64) -> bool {
        self.account.ends.is_none_or(|(first, _)| now < first + SEALED_AFTER) && !self.account.may_be_sealed
    }
}

/// All that speak of its end say that it has ended.
fn is_surely_closed(now: i64) -> impl Fn(&Seen) -> bool {
    move |seen| {
        let is_true = seen.close_at.is_none_or(|at| at <= now);
        let any = seen.close_at.is_some() || seen.statuses().next().is_some();
        // An opening in the timeline whose close is missing there speaks against it.
        let timeline = seen.close_at.is_some() || seen.open_at.is_none();
        any && is_true && timeline && seen.statuses().all(|closed| closed)
    }
}

fn is_surely_open(now: i64) -> impl Fn(&Seen) -> bool {
    move |seen| {
        let mut opened = seen.opened().peekable();
        opened.peek().is_some() && opened.all(|at| at <= now)
    }
}

pub(super) fn check(look: &Look<'_>, shown: &Shown, report: &mut Report) {
    let now = look.now();
    let all: Vec<Candidate<'_>> = look
        .accounts()
        .iter()
        .map(|(epoch, account)| {
            let (least, most) = look.seen(*epoch);
            Candidate { epoch: *epoch, account, least, most }
        })
        .collect();
    let current = &shown.current;
    let is_kept = |one: &&Candidate<'_>| {
        let known = one.account.found.certain.is_some() && !one.account.may_be_forgotten;
        known && one.account.last_sign.max(one.account.found.certain.unwrap_or(0)) > now - look.kept
    };
    let known: Vec<u64> = all.iter().filter(is_kept).map(|one| one.epoch).collect();
    if current.is_null() {
        report.demand(Check::CurrentExists, known.is_empty(), || {
            format!(
                "there is no current epoch, though {:?} are known",
                &known[known.len().saturating_sub(5)..]
            )
        });
        return;
    }
    // An epoch older than a day of which only a timeline told is not kept: without it the dataset stays until it lapses.
    if look.pass().current == Effect::Whole && !known.is_empty() {
        let dated = report.integer(current, "timestamp").unwrap_or(0) as i64;
        report.demand(Check::Fresh, dated == now, || format!("the current epoch is of {dated}"));
        if dated != now {
            return;
        }
    }
    let allowed = choices(&all, now);
    let id = current["epoch_id"].as_str().and_then(|text| text.parse::<u64>().ok());
    let Some(one) = id.and_then(|id| all.iter().find(|one| one.epoch == id)) else {
        report.note(Check::CurrentChoice, format!("the current epoch is {}", current["epoch_id"]));
        return;
    };
    report.demand(Check::CurrentChoice, allowed.contains(&one.epoch), || {
        format!("the current epoch is {}, but {allowed:?} is right", one.epoch)
    });
    fields(one, now, current, report);
}

/// The epochs of which each may be the current one.
fn choices(all: &[Candidate<'_>], now: i64) -> BTreeSet<u64> {
    let timed = |one: &&Candidate<'_>| one.has_time(now).1;
    let surely_timed = |one: &&Candidate<'_>| one.has_time(now).0;
    let mut allowed: BTreeSet<u64> = BTreeSet::new();
    // Every possibly open one that no certainly open one exceeds.
    let highest = all
        .iter()
        .filter(surely_timed)
        .filter(|one| one.is_open(now) == Open::Yes)
        .map(|one| one.epoch)
        .max();
    let open = all.iter().filter(timed).filter(|one| one.is_open(now) != Open::No);
    allowed.extend(open.map(|one| one.epoch).filter(|epoch| highest.is_none_or(|highest| *epoch >= highest)));
    if highest.is_some() {
        return allowed;
    }
    // The most recent: by id, by the last time that is certainly known, or by the last one that may be.
    let surely: Vec<&Candidate<'_>> = all.iter().filter(surely_timed).collect();
    let last = |seen: Option<&Seen>| {
        seen.and_then(|seen| seen.opened().chain(seen.closed()).filter(|at| *at <= now).max())
    };
    let sign = |one: &Candidate<'_>| last(one.least).max(one.account.opened_at.certain);
    let id = surely.iter().map(|one| one.epoch).max();
    let opened = surely.iter().map(|one| one.account.opened_at.certain).max();
    let signed = surely.iter().map(|one| sign(one)).max();
    for one in all.iter().filter(timed) {
        let opened_at = one.account.opened_at.possible.max(last(one.most));
        let is_last = Some(one.epoch) >= id
            || opened.is_none_or(|opened| one.account.opened_at.possible >= opened)
            || signed.is_none_or(|signed| opened_at >= signed || Some(one.account.last_sign) >= signed);
        if is_last {
            allowed.insert(one.epoch);
        }
    }
    if surely.is_empty() {
        allowed.extend(all.iter().map(|one| one.epoch));
    }
    allowed
}

fn fields(one: &Candidate<'_>, now: i64, current: &Value, report: &mut Report) {
    let phases = phases(one, now);
    let phase = current["phase"].as_str().unwrap_or_default();
    report.demand(Check::Phase, phases.contains(phase), || {
        format!("the phase of {} is {phase}, but {phases:?} is right", one.epoch)
    });
    // "60 when unknown"; where a key says it, it is known.
    let mut lengths: BTreeSet<i64> = one.most.into_iter().flat_map(Seen::lengths).collect();
    // The ledger may know it still.
    if let Some((first, last)) = one.account.ends.filter(|_| lengths.is_empty()) {
        let opened = one.account.opened_at.possible.unwrap_or(first);
        lengths.extend([first - opened, last - opened]);
    }
    if one.least.is_none_or(|seen| seen.lengths().next().is_none()) {
        lengths.insert(USUAL_WINDOW);
    }
    let length = report.number(current, "window_duration").unwrap_or(-1.0);
    report.demand(
        Check::WindowLength,
        lengths.iter().any(|known| (length - *known as f64).abs() < 0.01),
        || format!("{}: window_duration is {length}, but {lengths:?} is right", one.epoch),
    );
    let starts: BTreeSet<i64> =
        one.most.into_iter().flat_map(Seen::opened).chain(one.account.opened_at.possible).collect();
    let left = starts.iter().map(|start| (*start as f64 + length - now as f64).clamp(0.0, length.max(0.0)));
    let (least, most) =
        left.fold((f64::MAX, 0.0_f64), |(least, most), left| (least.min(left), most.max(left)));
    let least = if phase == "submission" && !starts.is_empty() { least.floor() } else { 0.0 };
    let most = if phase == "submission" { most.ceil() } else { 0.0 };
    let free = starts.is_empty() && phase == "submission";
    if let Some(shown) = report.integer(current, "time_remaining_seconds") {
        let fits = free || (least..=most).contains(&(shown as f64));
        report.demand(Check::CurrentFields, fits, || {
            format!("{}: {shown} s remain, but {least} to {most} is right", one.epoch)
        });
    }
    let visible = one.least.map_or(0, Seen::submissions);
    let range = Range::new(
        one.account.submissions.least.min(visible),
        one.account.submissions.most.max(one.account.visible),
    );
    report.within(Check::CurrentFields, current, "submissions_received", range);
    let named =
        |seen: Option<&Seen>| seen.and_then(|seen| seen.info.as_ref()).is_some_and(|info| info.has_market);
    let market = current["data_market"].as_str();
    let is_right = match market {
        Some(market) => crate::keys::MARKET.contains(&market),
        None => !named(one.least),
    };
    report.demand(Check::CurrentFields, is_right, || format!("{}: data_market is {market:?}", one.epoch));
}

/// "window `open` → submission. Otherwise level 1 not done → finalization; level 1 done (or skipped), level 2 not → aggregation;
/// both → complete. A level is done when any of state, timeline or metadata says so."
fn phases(one: &Candidate<'_>, now: i64) -> BTreeSet<&'static str> {
    let open = one.is_open(now);
    let mut phases = BTreeSet::new();
    if open != Open::No {
        phases.insert("submission");
    }
    let done = |seen: Option<&Seen>, at: usize, is_certain: bool| {
        seen.is_some_and(|seen| {
            let (time, has) =
                [(seen.local_at, seen.has_local), (seen.aggregated_at, seen.has_aggregated)][at];
            // "timelines 24 h": an older entry may be pruned at any moment.
            let is_true = time.is_some_and(|time| (time <= now && time > now - DAY) || !is_certain);
            let ahead = is_certain && time.is_some_and(|time| time > now);
            let step = seen.step(at) == "completed" || at == 0 && seen.step(0) == "skipped";
            !ahead && (is_true || has || step)
        })
    };
    let known = [one.account.local, one.account.aggregated];
    // What the ledger has forgotten, after its retention, only the keys still tell.
    let is_kept = !one.account.may_be_pruned;
    let certain = [0, 1].map(|at| done(one.least, at, true) || is_kept && known[at].least > 0);
    let possible = [0, 1].map(|at| done(one.most, at, false) || one.account.visibly_done[at] || certain[at]);
    if open != Open::Yes {
        for level1 in [certain[0], possible[0]] {
            for level2 in [certain[1], possible[1]] {
                phases.insert(match (level1, level2) {
                    (false, _) => "finalization",
                    (true, false) => "aggregation",
                    (true, true) => "complete",
                });
            }
        }
        // "timelines 24 h": an older entry may be pruned at any moment, and then no key tells of a window.
        let young = |at: Option<i64>| at.is_some_and(|at| at > now - DAY);
        let window = one.least.is_some_and(|seen| {
            seen.statuses().next().is_some() || young(seen.close_at) || young(seen.open_at)
        });
        if !window {
            phases.insert("unknown");
        }
    }
    phases
}
