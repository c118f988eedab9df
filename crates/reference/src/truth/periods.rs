//! The hours and the day.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    look::Look,
    time::{hour_of, rfc3339},
};
use crate::{
    account::Effect,
    check::{Check, Report},
    keys::{DAY, HOUR},
    range::Range,
    shown::Shown,
};

/// An hour may still change as long after its end: an epoch of its last second is unfinished for so long.
const SETTLED: i64 = HOUR + 300;
/// "after an absence": the hours are certainly written anew after so long without a pass.
const ABSENCE: i64 = HOUR;

pub(super) fn check(look: &Look<'_>, shown: &Shown, report: &mut Report) {
    let (now, current) = (look.now(), hour_of(look.now()));
    for start in [current, current - HOUR] {
        let Some(hour) = shown.hours.get(&start) else {
            report.note(Check::Hours, format!("the hour of {start} is missing"));
            continue;
        };
        let updated = report.integer(hour, "updated_at").unwrap_or(0) as i64;
        report.demand(Check::Fresh, updated == now, || format!("the hour of {start} is of {updated}"));
        one_hour(Check::Hours, look, look, start, hour, report);
    }
    // "after an absence for every hour of the last 48 that the ledger knows"
    for back in 2..48 {
        let start = current - back * HOUR;
        let mut settled = look.passes[..=look.at].iter().enumerate().filter(|(at, pass)| {
            pass.totals == Effect::Whole && (pass.time < start + HOUR + SETTLED || is_return(look, *at))
        });
        let Some((at, _)) = settled.next_back() else { continue };
        let then = Look { at, ..*look };
        match shown.hours.get(&start) {
            Some(hour) => one_hour(Check::OldHours, &then, look, start, hour, report),
            None if start < now - look.kept => {}
            None => {
                let [epochs, batches, _] = counts(&then, start, start + HOUR);
                let is_known = epochs.least + batches.least > 0;
                report.demand(Check::OldHours, !is_known, || {
                    format!("the hour of {start} is missing, with {epochs} epochs and {batches} batches")
                });
            }
        }
    }
    day(look, &shown.day, report);
}

/// Whether the pass is the first after an absence.
fn is_return(look: &Look<'_>, at: usize) -> bool {
    let before = look.passes[..at].iter().rev().find(|pass| pass.totals == Effect::Whole);
    before.is_none_or(|before| look.passes[at].time - before.time > ABSENCE)
}

/// Epochs, batches and submissions of `[from, to)`: epochs opened then, batches made then, submissions of these epochs.
fn counts(look: &Look<'_>, from: i64, to: i64) -> [Range; 3] {
    let (mut epochs, mut batches, mut submissions) = (Range::default(), Range::default(), Range::default());
    for account in look.accounts().values() {
        let (is_in, may_be_in) = account.opened_at.lies_in(from, to);
        epochs.count(is_in, may_be_in);
        let least = if is_in { account.submissions.least } else { 0 };
        submissions =
            submissions.plus(Range::new(least, if may_be_in { account.submissions.most } else { 0 }));
        for time in [account.local_at, account.aggregated_at] {
            let (is_in, may_be_in) = time.lies_in(from, to);
            batches.count(is_in, may_be_in);
        }
    }
    [epochs, batches, submissions]
}

/// Compares an hour with at least what was known at `then`, and at most what is known `now`.
fn one_hour(check: Check, then: &Look<'_>, now: &Look<'_>, start: i64, hour: &Value, report: &mut Report) {
    let end = (start + HOUR).min(now.now());
    for (field, time) in [("hour_start", start), ("hour_end", end)] {
        let right = rfc3339(time);
        report.demand(check, hour[field] == right.as_str(), || {
            format!("{start}: {field} is {}, not {right}", hour[field])
        });
    }
    // Epochs that were certainly known then and are forgotten now stay.
    let (then_counts, now_counts) = (counts(then, start, start + HOUR), counts(now, start, start + HOUR));
    for (at, field) in ["epochs", "batches", "submissions"].into_iter().enumerate() {
        let range = Range::new(then_counts[at].least, now_counts[at].most);
        let Some(value) = report.integer(hour, field) else { continue };
        let check = if at == 1 { Check::PeriodBatches } else { check };
        report.demand(check, range.allows(value), || {
            format!("the hour of {start}: {field} is {value}, but {range} is right")
        });
    }
    // The page does not say whose validators an hour's are.
    let (mut certain, mut possible) = (BTreeSet::new(), BTreeSet::new());
    for (epoch, account) in now.accounts() {
        let known = then.accounts().get(epoch);
        let opened = known.is_some_and(|known| known.opened_at.lies_in(start, start + HOUR).0);
        let made = known.is_some_and(|known| known.aggregated_at.lies_in(start, start + HOUR).0);
        if opened && made {
            certain.extend(known.into_iter().flat_map(|known| known.named[0].iter()).cloned());
        }
        let times = [account.opened_at, account.local_at, account.aggregated_at];
        if times.into_iter().any(|time| time.lies_in(start, start + HOUR).1) {
            possible.extend(account.named[1].iter().cloned());
            possible.extend(now.seen(*epoch).1.into_iter().flat_map(|seen| seen.remote.iter()).cloned());
        }
    }
    let range = Range::of_sets(&certain, &possible);
    let Some(value) = report.integer(hour, "unique_validators") else { return };
    report.demand(check, range.allows(value), || {
        format!("the hour of {start}: unique_validators is {value}, but {range} is right")
    });
}

fn day(look: &Look<'_>, day: &Value, report: &mut Report) {
    let now = look.now();
    if day.is_null() {
        report.note(Check::Day, "the day is missing");
        return;
    }
    let updated = report.integer(day, "updated_at").unwrap_or(0) as i64;
    report.demand(Check::Fresh, updated == now, || format!("the day is of {updated}"));
    for (field, time) in [("period_start", now - DAY), ("period_end", now)] {
        let right = rfc3339(time);
        report.demand(Check::Day, day[field] == right.as_str(), || {
            format!("{field} is {}, not {right}", day[field])
        });
    }
    // Which end of a period belongs to it is free.
    let both = |from: i64, to: i64| {
        let (inner, outer) = (counts(look, from + 1, to), counts(look, from, to + 1));
        [0, 1, 2].map(|at| Range::new(inner[at].least, outer[at].most))
    };
    let whole = both(now - DAY, now);
    let epochs = report.within(Check::Day, day, "epochs_total", whole[0]).unwrap_or(0);
    report.within(Check::PeriodBatches, day, "batches_total", whole[1]);
    report.within(Check::Day, day, "submissions_total", whole[2]);
    let Some(hours) = day["hourly_breakdown"].as_array().filter(|hours| hours.len() == 24) else {
        report.note(Check::Form, format!("hourly_breakdown: {}", day["hourly_breakdown"]));
        return;
    };
    let mut sum = 0;
    for (at, hour) in hours.iter().enumerate() {
        let start = now - DAY + at as i64 * HOUR;
        let name = format!("{:02}:{:02}", start % DAY / HOUR, start % HOUR / 60);
        report.demand(Check::Day, hour["hour"] == name.as_str(), || {
            format!("hour {at} is named {}, not {name}", hour["hour"])
        });
        sum += report.within(Check::Day, hour, "epochs", both(start, start + HOUR)[0]).unwrap_or(0);
    }
    // Half-open periods touch and do not overlap; only an epoch at the very beginning or end may be in one and not in the other.
    let at_ends = look
        .accounts()
        .values()
        .filter(|account| account.opened_at.possible.is_some_and(|at| at == now || at == now - DAY));
    let free = at_ends.count() as u64;
    report.demand(Check::Day, sum.abs_diff(epochs) <= free, || {
        format!("the hours have {sum} epochs, the day {epochs}")
    });
}
