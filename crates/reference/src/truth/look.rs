//! One look: the passes up to it, and what a correct tracker knows from them.

use std::collections::BTreeMap;

use super::{pass::Pass, time::hour_of};
use crate::{
    account::{Account, Effect},
    check::{Check, Report},
    keys::{DAY, HOUR},
    shown::Shown,
    view::{Seen, View},
};

/// Datasets of one market that expire together.
const TOGETHER: [&str; 4] =
    ["dashboard:summary", "stats:current", "metrics:participation", "metrics:current_epoch"];

/// What is known at one look at the datasets.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) passes: &'a [Pass],
    /// The position of its pass.
    pub(super) at: usize,
    /// How long the ledger keeps an epoch, in seconds.
    pub(super) kept: i64,
}

impl<'a> Look<'a> {
    pub(super) fn now(self) -> i64 {
        self.passes[self.at].time
    }

    pub(super) fn pass(self) -> &'a Pass {
        &self.passes[self.at]
    }

    pub(super) fn accounts(self) -> &'a BTreeMap<u64, Account> {
        &self.passes[self.at].accounts
    }

    pub(super) fn least(self) -> &'a View {
        &self.passes[self.at].least
    }

    pub(super) fn most(self) -> &'a View {
        &self.passes[self.at].most
    }

    pub(super) fn seen(self, epoch: u64) -> (Option<&'a Seen>, Option<&'a Seen>) {
        (self.least().epochs.get(&epoch), self.most().epochs.get(&epoch))
    }

    /// Whether its pass has certainly written the totals.
    pub(super) fn written(self) -> bool {
        self.pass().totals == Effect::Whole
    }

    pub(super) fn check_ttls(self, shown: &Shown, report: &mut Report) {
        let ttl = |name: &str| shown.ttls.get(name).copied();
        let together: Vec<(&str, i64)> =
            TOGETHER.into_iter().filter_map(|name| Some((name, ttl(name)?))).collect();
        let least = together.iter().map(|(_, ttl)| *ttl).min().unwrap_or(0);
        let most = together.iter().map(|(_, ttl)| *ttl).max().unwrap_or(0);
        report.demand(Check::Ttl, most - least <= 10, || format!("not within 10 s: {together:?}"));
        let summary = ttl("dashboard:summary").unwrap_or(0);
        // The contract's table says 24 h; its sentence about all datasets says the TTL of the summary.
        let gaps = ttl("epochs:gaps")
            .is_none_or(|ttl| (DAY - 10..=DAY).contains(&ttl) || (ttl - summary).abs() <= 10);
        report.demand(Check::Ttl, gaps, || format!("epochs:gaps expires in {:?}", ttl("epochs:gaps")));
        report.demand(Check::Ttl, summary >= 50, || format!("the summary expires in {summary}"));
        if self.written() {
            let hour = ttl(&format!("stats:hourly:{}", hour_of(self.now()))).unwrap_or(0);
            report.demand(Check::Ttl, (49 * HOUR - 10..=49 * HOUR).contains(&hour), || {
                format!("the running hour expires in {hour}")
            });
            let day = ttl("stats:daily").unwrap_or(0);
            report
                .demand(Check::Ttl, (DAY - 10..=DAY).contains(&day), || format!("the day expires in {day}"));
        }
        if let Some(ttl) = ttl("vpa:stats") {
            report.demand(Check::Priorities, ttl >= 7 * DAY - 10, || format!("vpa:stats expires in {ttl}"));
        }
    }
}
