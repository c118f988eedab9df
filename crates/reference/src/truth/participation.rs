//! `metrics:participation`, and `submissions_count` in the states.

use super::look::Look;
use crate::{
    check::{Check, Null, Report},
    keys::DAY,
    range::Range,
    shown::Shown,
};

pub(super) fn check(look: &Look<'_>, shown: &Shown, report: &mut Report) {
    counts(look, shown, report);
    let (part, now) = (&shown.participation, look.now());
    if part.is_null() {
        report.note(Check::Fresh, "there is no participation");
        return;
    }
    let dated = report.integer(part, "timestamp").unwrap_or(0) as i64;
    report.demand(Check::Fresh, dated == now, || format!("participation is of {dated}"));
    let is_at = |at: &&i64| **at >= now - DAY && **at <= now;
    let certain = look.least().own.values().filter(|at| **at > now - DAY && **at < now).count();
    let own = Range::new(certain as u64, look.most().own.values().filter(is_at).count() as u64);
    let (mut opened, mut aggregated, mut included) = (Range::default(), Range::default(), Range::default());
    for account in look.accounts().values() {
        let (is_opened, may_be_opened) = account.opened_at.lies_within(DAY, now);
        opened.count(is_opened, may_be_opened);
        let (is_made, may_be_made) = account.aggregated_at.lies_within(DAY, now);
        aggregated.count(is_made, may_be_made);
        included.count(is_made && account.included.least > 0, may_be_made && account.included.most > 0);
    }
    let is_named = |which: usize| {
        look.accounts().values().any(|account| {
            let time = account.aggregated_at.lies_within(DAY, now);
            match which {
                0 => time.0 && account.listed.least > 0,
                _ => time.1 && account.listed.most > 0,
            }
        })
    };
    // No producer has listed anybody.
    let unnamed = match (is_named(0), is_named(1)) {
        (true, _) => Null::No,
        (false, false) if aggregated.least > 0 => Null::Surely,
        _ if aggregated.most > 0 => Null::Perhaps,
        _ => Null::No,
    };
    let level1 = report.within(Check::Participation, part, "level1_batches_24h", own).unwrap_or(0);
    report.within(Check::Participation, part, "epochs_total_24h", opened);
    if !report.is_known(Check::Participation, part, "level2_inclusions_24h", unnamed) {
        for field in ["inclusion_rate", "participation_rate"] {
            report.demand(Check::Participation, part[field].is_null(), || {
                format!("{field} is of nothing known")
            });
        }
        return;
    }
    report.demand(Check::Participation, unnamed != Null::Surely, || {
        format!("{} inclusions, though no batch lists anybody", part["level2_inclusions_24h"])
    });
    let inclusions =
        report.within(Check::Participation, part, "level2_inclusions_24h", included).unwrap_or(0);
    // The page names the field and does not define it.
    let taken = Range::new(level1.min(inclusions), level1 + inclusions);
    report.within(Check::Participation, part, "epochs_participated_24h", taken);
    let percent = |of: u64| if of == 0 { 0.0 } else { (100.0 * inclusions as f64 / of as f64).min(100.0) };
    let rate = report.number(part, "inclusion_rate").unwrap_or(-1.0);
    let free = level1 == 0 && inclusions > 0;
    report.demand(Check::Participation, free || (rate - percent(level1)).abs() < 1e-6, || {
        format!("inclusion_rate is {rate}, not {}", percent(level1))
    });
    let rate = report.number(part, "participation_rate").unwrap_or(-1.0);
    let fits = (aggregated.least..=aggregated.most).any(|of| (rate - percent(of)).abs() < 1e-6);
    report.demand(Check::Participation, fits, || {
        format!("participation_rate is {rate}: {inclusions} inclusions, {aggregated} aggregated batches")
    });
}

/// "for every unfinished epoch, only where the hash exists", "plain integer".
fn counts(look: &Look<'_>, shown: &Shown, report: &mut Report) {
    for (epoch, count) in &shown.counts {
        let (least, most) = look.seen(*epoch);
        let Some(account) = look.accounts().get(epoch) else { continue };
        if most.is_none_or(|seen| seen.state.is_none()) {
            report.note(Check::StateCount, format!("{epoch}: the state was made by the tracker"));
            continue;
        }
        let is_certain = least.is_some_and(|seen| seen.state.is_some())
            && account.found.certain.is_some()
            && !account.may_be_sealed
            && look.written();
        let Some(text) = count else {
            report.demand(Check::StateCount, !is_certain, || {
                format!("{epoch}: the state has no submissions_count")
            });
            continue;
        };
        let Ok(number) = text.parse::<u64>() else {
            report.note(Check::StateCount, format!("{epoch}: submissions_count is {text:?}"));
            continue;
        };
        // Of a finished epoch the last count stays.
        let range = if is_certain { account.submissions } else { Range::new(0, account.submissions.most) };
        report.demand(Check::StateCount, range.allows(number), || {
            format!("{epoch}: submissions_count is {number}, but {range} is right")
        });
    }
}
