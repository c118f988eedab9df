//! The days of markets. Which releases count for them where an epoch was handed over on a branch that is gone, and where contracts fail,
//! the contract page does not say: so each value must be one that the branch knows, and each mark must fit its own details.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::script::{Id, MARKETS},
    Look, MINUTE, ROUNDING,
    outputs::DETAILS_LIVE,
};

/// "5 epochs after a day change."
const BUFFER: u64 = 5;
const DAY: u64 = 24 * 60 * MINUTE;

impl Look<'_> {
    pub(super) fn shown_days(&mut self, branch: &[Id], expected: &mut BTreeSet<String>) {
        for (market, name) in MARKETS.iter().enumerate().take(self.judge.settings.markets) {
            // Nodes on other branches may have told the day of their own.
            let mut known: BTreeSet<u64> =
                branch.iter().map(|block| self.script.day(market, *block)).collect();
            for block in branch {
                known.extend(self.states(*block).into_iter().map(|block| self.script.day(market, block)));
            }
            for (key, lives) in
                [(format!("CurrentDayKey.{name}"), true), (format!("LastKnownDayKey.{name}"), false)]
            {
                let Some(held) = self.seen.get(&key) else { continue };
                let day = held.words.first().and_then(|day| day.parse::<u64>().ok());
                let is_right = match held.expires {
                    Some(expires) => lives && expires <= self.rest.to + DAY + ROUNDING,
                    None => !lives,
                };
                if !is_right || day.is_none_or(|day| !known.contains(&day)) {
                    self.fault(format!("{key} is {held:?}, and the days are {known:?}"));
                }
                self.count("days shown", 1);
                expected.insert(key);
            }
            self.changes(market, &known, expected);
        }
    }

    /// `DayRolloverEpochMarkerSetKey` with its details, and the details that are left.
    fn changes(&mut self, market: usize, known: &BTreeSet<u64>, expected: &mut BTreeSet<String>) {
        let set = format!("DayRolloverEpochMarkerSetKey.{}", MARKETS[market]);
        let marked: BTreeSet<String> =
            self.seen.get(&set).map(|held| held.words.iter().cloned().collect()).unwrap_or_default();
        expected.insert(set.clone());
        let prefix = format!("DayRolloverEpochMarkerDetailsKey.{}.", MARKETS[market]);
        let details: Vec<_> = self.seen.iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
        let detailed: BTreeSet<&str> = details.iter().map(|(key, _)| &key[prefix.len()..]).collect();
        let missing: Vec<_> =
            marked.iter().filter(|epoch| !detailed.contains(epoch.as_str())).cloned().collect();
        if !missing.is_empty() {
            self.fault(format!("{set} has {missing:?} without details"));
        }
        for (key, held) in details {
            let epoch = &key[prefix.len()..];
            let read: Value =
                held.words.first().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            let day = read["LastKnownDay"].as_str().and_then(|day| day.parse::<u64>().ok());
            let is_marked = marked.contains(epoch);
            let fits = read["CurrentEpoch"].as_u64().is_some_and(|current| {
                current.to_string() == epoch && read["BufferEpoch"].as_u64() == Some(current + BUFFER)
            });
            // Of a change that is settled the branch may be gone.
            let day_fits = day.is_some_and(|day| !is_marked || known.contains(&day));
            let lives = match held.expires {
                None => is_marked,
                Some(expires) => !is_marked && expires <= self.rest.to + DETAILS_LIVE + ROUNDING,
            };
            if !fits || !day_fits || !lives {
                self.fault(format!("{key} is {held:?}, marked: {is_marked}"));
            }
            self.count(if is_marked { "changes of day" } else { "settled changes of day" }, 1);
            expected.insert(key.clone());
        }
    }
}
