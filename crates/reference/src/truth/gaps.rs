//! `epochs:gaps`: "the gaps of epochs whose window closed in the last 60 minutes, sealed ones too, at most one an epoch (the first
//! that applies), gone at once when closed".

use std::collections::BTreeSet;

use super::look::Look;
use crate::{
    account::Account,
    check::{Check, Report},
    keys::HOUR,
    shown::Shown,
    view::Seen,
};

pub(super) fn check(look: &Look<'_>, shown: &Shown, report: &mut Report) {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for (epoch, account) in look.accounts() {
        let (least, most) = look.seen(*epoch);
        let prefix = format!("{epoch}:");
        let listed: Vec<&str> = shown
            .gaps
            .iter()
            .filter_map(|gap| Some((gap, gap.strip_prefix(&prefix)?)))
            .map(|(gap, kind)| {
                known.insert(gap);
                kind
            })
            .collect();
        report.demand(Check::GapFalse, listed.len() <= 1, || format!("{epoch} has several gaps: {listed:?}"));
        let is_found = account.found.certain.is_some() && !account.may_be_forgotten && !account.may_be_pruned;
        // Changes after the seal are late. A close that the timeline tells of is noticed, one in another key alone need not be.
        let is_noticed = |seen: &&Seen| !account.may_be_sealed || seen.close_at.is_some();
        let seen = least.filter(|_| is_found).filter(is_noticed);
        if let Some(kind) = seen.and_then(|seen| certain(seen, account, look.now())) {
            report.demand(Check::GapMissing, listed.contains(&kind), || {
                format!("{epoch}:{kind} is not listed, but {listed:?}")
            });
        }
        let allowed = most.map(|seen| possible(seen, account, look.now())).unwrap_or_default();
        for kind in listed.iter().filter(|kind| !allowed.contains(*kind)) {
            report.note(Check::GapFalse, format!("{epoch}:{kind} is listed, but {allowed:?} is right"));
        }
    }
    for gap in shown.gaps.iter().filter(|gap| !known.contains(gap.as_str())) {
        report.note(Check::GapFalse, format!("{gap} is of no epoch"));
    }
}

/// The first gap that applies.
fn first(level1: &str, level2: &str, on_chain: &str) -> Option<&'static str> {
    if !["in_progress", "completed", "skipped"].contains(&level1) {
        Some("missing_level1")
    } else if level1 == "completed" && !["collecting", "aggregating", "completed"].contains(&level2) {
        Some("missing_level2")
    } else if level2 == "completed" && !["queued", "submitted", "confirmed"].contains(&on_chain) {
        Some("missing_onchain")
    } else {
        None
    }
}

/// The statuses of the levels: by the state alone, with what other keys show as done, and with what the ledger knows beside them, since
/// "an expired key never takes back what it had shown". What the ledger certainly knows is done by each.
fn levels<'a>(seen: &'a Seen, account: &Account) -> [[&'a str; 2]; 3] {
    let by_keys =
        [seen.local_at.is_some() || seen.has_local, seen.aggregated_at.is_some() || seen.has_aggregated];
    let is_kept = !account.may_be_forgotten && !account.may_be_pruned;
    let certain = [account.local, account.aggregated].map(|range| is_kept && range.least > 0);
    let with = |is_done: [bool; 2]| {
        [0, 1].map(|at| if certain[at] || is_done[at] { "completed" } else { seen.step(at) })
    };
    [with([false; 2]), with(by_keys), with([0, 1].map(|at| by_keys[at] || account.visibly_done[at]))]
}

/// The gap that must be listed: whatever shows the levels as done, and certainly within the hour.
fn certain(seen: &Seen, account: &Account, now: i64) -> Option<&'static str> {
    seen.state.as_ref()?;
    // A status without a time, or one that another key contradicts, leaves open whether and when the window closed.
    if seen.statuses().any(|closed| !closed) || seen.statuses().next().is_none() {
        return None;
    }
    let mut times = seen.closed().peekable();
    times.peek()?;
    if !times.all(|at| at > now - HOUR + 1 && at <= now) {
        return None;
    }
    let [gap, others @ ..] =
        levels(seen, account).map(|[level1, level2]| first(level1, level2, seen.step(2)));
    gap.filter(|_| others.into_iter().all(|other| other == gap))
}

/// The gaps that may be listed.
fn possible(seen: &Seen, account: &Account, now: i64) -> BTreeSet<&'static str> {
    // Of a window that is over by plan, producers may not have said so yet.
    let planned = seen.opened().flat_map(|at| seen.lengths().chain([60]).map(move |length| at + length));
    let planned = planned.filter(|at| *at <= now + 10);
    let planned = planned.chain(seen.state.iter().filter_map(|state| state.closes_at));
    let mut times = seen.closed().chain(planned);
    // Of a window that was closed early, the end by plan may still be written.
    let is_unknown = !seen.closed().any(|at| at <= now + 10) && seen.statuses().any(|closed| closed);
    // "window closed": not while all statuses say that it is open.
    let says_open =
        seen.close_at.is_none() && seen.statuses().next().is_some() && seen.statuses().all(|closed| !closed);
    if says_open || !is_unknown && !times.any(|at| at >= now - HOUR && at <= now + 10) {
        return BTreeSet::new();
    }
    let all = levels(seen, account);
    let mixed = all.iter().flat_map(|[level1, _]| all.iter().map(move |[_, level2]| (level1, level2)));
    mixed.filter_map(|(level1, level2)| first(level1, level2, seen.step(2))).collect()
}
