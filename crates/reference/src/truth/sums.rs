//! The summary, and `stats:current` with the same fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{look::Look, pass::LastSums};
use crate::{
    account::{Account, Effect},
    check::{Check, Null, Report},
    keys::DAY,
    range::Range,
    shown::Shown,
    view::Seen,
};

const TOTALS: [&str; 3] = ["epochs_total", "batches_total", "submissions_total"];
/// The shorter-lived key of an epoch's submissions lives an hour; a minute less, for clocks that differ.
const UNEXPIRED: i64 = 3540;
const RATES: [&str; 3] = ["epoch_rate", "batch_rate", "submission_rate"];

/// Compares the summary; returns what the next look must fit.
pub(super) fn check(
    look: &Look<'_>,
    before: Option<&LastSums>,
    shown: &Shown,
    report: &mut Report,
) -> Option<LastSums> {
    let summary = &shown.summary;
    if summary.is_null() {
        report.note(Check::Fresh, "there is no summary");
        return before.copied();
    }
    let updated = report.integer(summary, "updated_at").unwrap_or(0) as i64;
    report.demand(Check::Fresh, updated == look.now(), || format!("the summary is of {updated}"));
    let expected = look.pass().totals();
    let mut totals = [0; 3];
    let unread = unread(look);
    for (at, name) in TOTALS.into_iter().enumerate() {
        let null = if at == 2 { unread } else { Null::No };
        // Where it is not known, it has not moved.
        let unknown = before.map_or(0, |before| before.totals[at]);
        totals[at] = report.perhaps(Check::Totals, summary, name, (expected[at], null)).unwrap_or(unknown);
    }
    let began = updated - report.number(summary, "measurement_duration").unwrap_or(0.0) as i64;
    if let Some(before) = before {
        moves(look, before, totals, unread, report);
    }
    rates(look, before, (began, totals, unread), summary, report);
    recent(look, summary, report);
    report.within(Check::Queue, summary, "submissions_queue", Range::exactly(look.most().queue));
    report.perhaps(Check::Unfinished, summary, "processed_submissions", (unfinished(look), unread));
    let (known, unnamed) = (validators(look), unnamed(look));
    // It may keep its last value for a while, so that a 0 can't be told from a fresh one.
    report.perhaps(Check::Validators, summary, "active_validators", (known, unnamed));
    priorities(look, summary, report);
    gap_counts(shown, report);
    stats(shown, report);
    Some(LastSums { at: look.at, totals, began, unread })
}

/// Totals never fall, and what is sealed moves no more.
fn moves(look: &Look<'_>, before: &LastSums, totals: [u64; 3], unread: Null, report: &mut Report) {
    let mut growth = [Range::default(); 3];
    let earlier = &look.passes[before.at].accounts;
    for (epoch, account) in look.accounts() {
        let known = earlier.get(epoch).cloned().unwrap_or_default();
        if known.is_sealed {
            continue;
        }
        let grown = |from: Range, to: Range| {
            Range::new(to.least.saturating_sub(from.most), to.most - from.least.min(to.most))
        };
        let parts = [
            grown(known.opened, account.opened),
            grown(known.local.plus(known.aggregated), account.local.plus(account.aggregated)),
            grown(known.submissions, account.submissions),
        ];
        for at in 0..3 {
            growth[at] = growth[at].plus(parts[at]);
        }
    }
    // Of submissions that are not known, what is shown may be older.
    for at in 0..if unread == Null::No && before.unread == Null::No { 3 } else { 2 } {
        let (from, to) = (before.totals[at], totals[at]);
        report.demand(Check::TotalsMove, to >= from, || format!("{} falls from {from} to {to}", TOTALS[at]));
        report.demand(Check::TotalsMove, to < from || growth[at].allows(to - from), || {
            format!("{} grows from {from} to {to}, but {} is right", TOTALS[at], growth[at])
        });
    }
}

/// "per second over the measurement window, divisor at least 1 s"; "a new one every 24 h; survives restarts".
fn rates(
    look: &Look<'_>,
    before: Option<&LastSums>,
    (began, totals, unread): (i64, [u64; 3], Null),
    summary: &Value,
    report: &mut Report,
) {
    let now = look.now();
    report.demand(Check::Rates, began <= now && now - began < DAY, || format!("the window began at {began}"));
    if let Some(before) = before {
        // With a broken pass in between the old window may have ended there.
        let is_same = began == before.began;
        let is_over = now >= before.began + DAY;
        report.demand(Check::Rates, is_same != is_over, || {
            format!("the window began at {}, now at {began}", before.began)
        });
    }
    let Some(first) =
        look.passes[..=look.at].iter().position(|pass| pass.time == began && pass.totals != Effect::None)
    else {
        report.note(
            Check::Rates,
            format!("no pass was made at {began}, when the window is said to have begun"),
        );
        return;
    };
    // Whether the pass that begins the window counts into it is free; so is a pass at the same moment.
    let last = look.passes.iter().rposition(|pass| pass.time == began).unwrap_or(first);
    let least = first.checked_sub(1).map(|at| look.passes[at].totals()).unwrap_or_default();
    let most = look.passes[last].totals();
    for at in 0..3 {
        let null = if at == 2 { unread } else { Null::No };
        if !report.is_known(Check::Rates, summary, RATES[at], null) || null != Null::No {
            continue;
        }
        let Some(rate) = report.number(summary, RATES[at]) else { continue };
        let counted = rate * (now - began).max(1) as f64;
        let base = Range::new(least[at].least, most[at].most);
        let allowed = (totals[at] as f64 - base.most as f64, totals[at] as f64 - base.least as f64);
        let is_right = counted >= allowed.0 - 0.001 && counted <= allowed.1 + 0.001;
        report.demand(Check::Rates, is_right, || {
            format!("{}: {counted} in the window, but {allowed:?} is right", RATES[at])
        });
        let is_whole = (counted - counted.round()).abs() < 0.001;
        report.demand(Check::Rates, is_whole, || format!("{}: {counted} in the window", RATES[at]));
    }
}

fn recent(look: &Look<'_>, summary: &Value, report: &mut Report) {
    let now = look.now();
    for (seconds, suffix) in [(60, "1m"), (300, "5m")] {
        let (mut epochs, mut batches, mut submissions) =
            (Range::default(), Range::default(), Range::default());
        for (epoch, account) in look.accounts() {
            let (least, most) = look.seen(*epoch);
            let lies = |at: Option<i64>| at.is_some_and(|at| at > now - seconds && at < now);
            // "opened": the page does not say from which key. An opening in the timeline certainly counts.
            let in_timeline = lies(least.and_then(|seen| seen.open_at)) && !account.may_be_forgotten;
            epochs.count(
                in_timeline,
                account.opened_at.lies_within(seconds, now).1
                    || is_at(most.and_then(|seen| seen.open_at), seconds, now),
            );
            let times = |seen: Option<&crate::view::Seen>| {
                seen.map_or([None; 2], |seen| [seen.local_at, seen.aggregated_at])
            };
            // Changes after sealing are late, and may or may not count here.
            let sealed = account.may_be_sealed;
            for (at, (least, most)) in times(least).into_iter().zip(times(most)).enumerate() {
                let known = [account.local_at, account.aggregated_at][at];
                batches.count(
                    known.lies_within(seconds, now).0 || lies(least) && !sealed,
                    is_at(most, seconds, now),
                );
            }
            submissions = submissions.plus(processed(look, *epoch, seconds));
        }
        report.within(Check::Recent, summary, &format!("epochs_{suffix}"), epochs);
        report.within(Check::Recent, summary, &format!("batches_{suffix}"), batches);
        report.within(Check::Recent, summary, &format!("submissions_{suffix}"), submissions);
    }
}

fn is_at(at: Option<i64>, seconds: i64, now: i64) -> bool {
    at.is_some_and(|at| at >= now - seconds && at <= now)
}

/// The submissions of an epoch that were processed lately. A plain set has no times, so its members may count or not.
fn processed(look: &Look<'_>, epoch: u64, seconds: i64) -> Range {
    let now = look.now();
    let (least, most) = look.seen(epoch);
    let Some(account) = look.accounts().get(&epoch) else { return Range::default() };
    let ids = most.and_then(|seen| seen.ids.as_ref());
    let possible = match ids {
        Some(ids) => ids.values().filter(|at| is_at(Some(**at), seconds, now)).count(),
        None => most.and_then(|seen| seen.processed.as_ref()).map_or(0, BTreeSet::len),
    };
    let is_certain = account.found.certain.is_some() && !account.may_be_sealed;
    let times = least
        .filter(|_| is_certain)
        .and_then(|seen| seen.ids.as_ref())
        .into_iter()
        .flat_map(BTreeMap::values);
    Range::new(times.filter(|at| **at > now - seconds && **at < now).count() as u64, possible as u64)
}

/// Whether the submissions are not known: an epoch has a local batch, which was made of some, and no key of them while it can't have
/// expired. "one that can't be computed … is then null"
fn unread(look: &Look<'_>) -> Null {
    let now = look.now();
    let of_one = |(epoch, account): (&u64, &Account)| {
        let (least, most) = look.seen(*epoch);
        let shows = |seen: Option<&Seen>| seen.is_some_and(|seen| seen.submissions() > 0);
        let may_lack = account.local.most > 0 && account.submissions.least == 0;
        let is_young = account.opened_at.certain.is_some_and(|at| at > now - UNEXPIRED && at <= now);
        let lacks = account.local.least > 0 && account.submissions.most == 0 && !shows(most);
        match (may_lack, lacks) {
            _ if account.is_sealed => Null::No,
            (_, true) if is_young && least.is_some() && !account.may_be_sealed => Null::Surely,
            (true, _) => Null::Perhaps,
            _ => Null::No,
        }
    };
    let unsealed = look.accounts().iter().map(of_one).max().unwrap_or(Null::No);
    // Of the sealed ones: batches were made, and no submission was ever seen.
    let least = Range::sum(look.accounts().values().map(|account| account.submissions)).least;
    let is_any = look.accounts().values().any(|account| account.may_be_sealed && account.local.most > 0);
    unsealed.max(if least == 0 && is_any { Null::Perhaps } else { Null::No })
}

/// Whether it is not known who made the aggregated batches of the last five minutes: they have no list.
fn unnamed(look: &Look<'_>) -> Null {
    let now = look.now();
    let of_one = |epoch: &u64| {
        let (least, most) = look.seen(*epoch);
        let is_recent = |seen: &&Seen| is_at(seen.aggregated_at, 300, now);
        let surely = most.filter(is_recent).is_some_and(|seen| seen.named.is_none())
            && least.and_then(|seen| seen.aggregated_at).is_some_and(|at| at > now - 300 && at < now);
        let may_be_unnamed = least.is_none_or(|seen| seen.named.is_none());
        let perhaps = most.is_some_and(|most| is_recent(&most)) && may_be_unnamed;
        if surely {
            Null::Surely
        } else if perhaps {
            Null::Perhaps
        } else {
            Null::No
        }
    };
    look.accounts().keys().map(of_one).max().unwrap_or(Null::No)
}

/// "of the unfinished epochs"
fn unfinished(look: &Look<'_>) -> Range {
    let all = look.accounts().iter().filter(|(_, account)| !account.is_sealed);
    Range::sum(all.map(|(epoch, account)| {
        let visible = look.seen(*epoch).0.map_or(0, crate::view::Seen::submissions);
        let least = if account.may_be_sealed { 0 } else { account.submissions.least.min(visible) };
        Range::new(least, account.submissions.most)
    }))
}

/// "distinct over the unfinished epochs and the aggregated batches of the last 5 minutes, together"
fn validators(look: &Look<'_>) -> Range {
    let (mut certain, mut possible) = (BTreeSet::new(), BTreeSet::new());
    for (epoch, account) in look.accounts() {
        let (least, most) = look.seen(*epoch);
        if !account.is_sealed {
            possible.extend(
                most.into_iter()
                    .flat_map(|seen| seen.remote.iter().chain(seen.named.iter().flatten()))
                    .cloned(),
            );
        }
        if !account.may_be_sealed && account.found.certain.is_some() {
            certain.extend(least.into_iter().flat_map(|seen| seen.remote.iter()).cloned());
        }
        let made = |seen: Option<&crate::view::Seen>| seen.and_then(|seen| seen.aggregated_at);
        if made(least).is_some_and(|at| at > look.now() - 300 && at < look.now()) {
            certain.extend(least.into_iter().flat_map(|seen| seen.named.iter().flatten()).cloned());
        }
        if is_at(made(most), 300, look.now()) {
            possible.extend(most.into_iter().flat_map(|seen| seen.named.iter().flatten()).cloned());
        }
    }
    if certain.is_empty() {
        // Where no list names anybody, the timeline names those that made a local batch.
        let made = look.most().makers.iter().filter(|(_, at)| is_at(Some(**at), 300, look.now()));
        possible.extend(made.map(|(validator, _)| validator.clone()));
    }
    Range::of_sets(&certain, &possible)
}

/// "where the sources exist"
fn priorities(look: &Look<'_>, summary: &Value, report: &mut Report) {
    let now = look.now();
    for (at, name) in ["vpa_priority_assignments_24h", "vpa_submissions_24h"].into_iter().enumerate() {
        let (Some(least), Some(most)) = (&look.least().vpa_times[at], &look.most().vpa_times[at]) else {
            continue;
        };
        let certain = least.iter().filter(|time| **time > now - DAY && **time < now).count();
        let possible = most.iter().filter(|time| is_at(Some(**time), DAY, now)).count();
        report.within(Check::Priorities, summary, name, Range::new(certain as u64, possible as u64));
    }
    let Some(stats) = &look.least().vpa else { return };
    let known = |name: &str| stats.get(name).map(|number| *number as u64);
    for (field, source) in [
        ("vpa_priority_assignments_total", "total_priority_assignments"),
        ("vpa_no_priority_count", "no_priority_count"),
        ("vpa_submissions_success", "total_submissions_success"),
        ("vpa_submissions_failed", "total_submissions_failed"),
    ] {
        if let Some(number) = known(source) {
            report.within(Check::Priorities, summary, field, Range::exactly(number));
        }
    }
    let both = known("total_submissions_success").zip(known("total_submissions_failed"));
    if let Some((success, failed)) = both.filter(|(success, failed)| success + failed > 0) {
        let right = 100.0 * success as f64 / (success + failed) as f64;
        let rate = report.number(summary, "vpa_submission_success_rate").unwrap_or(-1.0);
        report.demand(Check::Priorities, (rate - right).abs() < 1e-6, || {
            format!("the rate of success is {rate}")
        });
    }
}

/// "`epoch_gaps_count` is its size"; "`epoch_gaps_rate` = gaps / (`epochs_5m` + 1)"
fn gap_counts(shown: &Shown, report: &mut Report) {
    let (summary, size) = (&shown.summary, shown.gaps.len() as u64);
    let count = report.within(Check::GapCount, summary, "epoch_gaps_count", Range::exactly(size));
    let rate = report.number(summary, "epoch_gaps_rate").unwrap_or(0.0);
    let recent = summary["epochs_5m"].as_f64().unwrap_or(0.0);
    let right = count.unwrap_or(0) as f64 / (recent + 1.0);
    report.demand(Check::GapCount, (rate - right).abs() < 1e-6, || {
        format!("epoch_gaps_rate is {rate}, not {right}")
    });
}

/// "the same fields, one each"
fn stats(shown: &Shown, report: &mut Report) {
    let same = |value: &Value, text: &str| text.parse::<f64>().ok() == value.as_f64();
    for (name, value) in shown.summary.as_object().into_iter().flatten() {
        let is_same = match shown.stats.get(name) {
            Some(text) => same(value, text),
            None => value.is_null(),
        };
        report.demand(Check::Stats, is_same, || {
            format!("{name}: {value}, in the hash {:?}", shown.stats.get(name))
        });
    }
    for name in shown.stats.keys().filter(|name| shown.summary.get(name.as_str()).is_none()) {
        report.note(Check::Stats, format!("{name} is in the hash alone"));
    }
}
