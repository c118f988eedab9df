//! The keys of a ledger one by one: what an export reads, an import replaces and a reset deletes.
//!
//! **Invariant:** names are computed and never matched by a pattern, since a market's name may contain `*`, `?` and `[`.

use domain::tracker::HOUR;
use store_redis::{Family, KeyType};

use super::{
    MarketKeys,
    ledger::{HOUR_VALIDATORS, HOURS_KEPT, LEDGER, STAGED_HASH, STAGED_SET, STAGED_ZSET},
};

/// The space of every name in the tables of the ledger.
const SPACE: &str = "tracker:";

/// The hours, by their starts, of which there may be keys at `now`, in Unix seconds: a key is written for an hour of the last
/// [`HOURS_KEPT`], and lives no longer than that after its last write. Clocks may differ by an hour.
pub(crate) fn hours_with_keys(now: u64) -> impl Iterator<Item = u64> {
    let last = now - now % HOUR + HOUR;
    (0..2 * HOURS_KEPT / HOUR + 4).map(move |back| last.saturating_sub(back * HOUR))
}

/// A part of a ledger, which has one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LedgerPart {
    family: &'static Family,
    /// The start of its hour, of a part with the validators of one.
    hour: Option<u64>,
}

impl LedgerPart {
    /// The parts without an id.
    fn whole() -> impl Iterator<Item = Self> {
        LEDGER.iter().filter(|family| family.ids() == 0).map(Self::of_family)
    }

    /// The part of a family without an id.
    pub(crate) fn of_family(family: &'static Family) -> Self {
        Self { family, hour: None }
    }

    fn of_hour(hour: u64) -> Self {
        Self { family: &HOUR_VALIDATORS, hour: Some(hour) }
    }

    /// Every part that a ledger may have at `now`, in Unix seconds.
    pub(crate) fn all(now: u64) -> impl Iterator<Item = Self> {
        Self::whole().chain(hours_with_keys(now).map(Self::of_hour))
    }

    /// The part with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let of_hour = || {
            let (_, hour) = name.rsplit_once(':')?;
            let hour = hour.parse().ok().filter(|hour: &u64| hour.is_multiple_of(HOUR))?;
            // Compared as a whole: a number may be written in several ways.
            Some(Self::of_hour(hour)).filter(|part| part.name() == name)
        };
        Self::whole().find(|part| part.name() == name).or_else(of_hour)
    }

    /// Its name: `sealed`, `validators:HOUR`.
    pub(crate) fn name(&self) -> String {
        let key = self.key("");
        key.strip_prefix(SPACE).unwrap_or(&key).to_owned()
    }

    pub(crate) fn family(&self) -> &'static Family {
        self.family
    }

    /// The command that counts its elements.
    pub(crate) fn count_command(&self) -> &'static str {
        match self.family.kind {
            KeyType::Hash => "HLEN",
            KeyType::Zset => "ZCARD",
            _ => "SCARD",
        }
    }

    fn key(&self, space: &str) -> String {
        match &self.hour {
            Some(hour) => self.family.key(space, &[hour]),
            None => self.family.key(space, &[]),
        }
    }
}

impl MarketKeys {
    /// `P:M` in checksum form, without a prefix: what the archive of a ledger calls its market.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inputs[0]
    }

    /// The key of a part of the ledger.
    pub(crate) fn of_part(&self, part: &LedgerPart) -> String {
        part.key(&self.ledger)
    }

    /// The key under which an import with this id writes a part before it takes effect.
    pub(crate) fn staged(&self, part: &LedgerPart, id: &str) -> String {
        let family = match part.family.kind {
            KeyType::Hash => &STAGED_HASH,
            KeyType::Zset => &STAGED_ZSET,
            _ => &STAGED_SET,
        };
        family.key(&self.ledger, &[&format!("{id}:{}", part.name())])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::Address;

    use super::*;

    const NOW: u64 = 1_795_341_600 + 600;

    #[test]
    fn the_parts_are_all_keys_of_the_ledger_and_all_hours_that_may_have_a_key() {
        let keys = MarketKeys::new(&Address::new("P"), &Address::new("M*[a]"));
        let all: Vec<String> = LedgerPart::all(NOW).map(|part| keys.of_part(&part)).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(keys.of_ledger().iter().all(|key| all.contains(key)), "{all:?}");
        // Written at the latest moment for the oldest hour, it has expired before the last one that is not listed.
        let (oldest, latest) = (NOW - NOW % HOUR - 2 * HOURS_KEPT, NOW - NOW % HOUR + HOUR);
        for hour in [oldest - HOUR, oldest, NOW - NOW % HOUR, latest] {
            assert!(all.contains(&format!("{{P:M*[a]}}:tracker:validators:{hour}")), "{hour}");
        }
        assert_eq!(all.len(), keys.of_ledger().len() + 104);
    }

    #[test]
    fn a_part_is_found_by_its_name_and_by_no_other_text() {
        for part in LedgerPart::all(NOW) {
            assert_eq!(LedgerPart::named(&part.name()), Some(part));
        }
        for name in ["", "tracker:open", "opens", "validators:", "validators:*", "validators:+3600"] {
            assert_eq!(LedgerPart::named(name), None, "{name}");
        }
        for name in ["validators:3601", "validators:03600", "import:hash:*", "x:validators:3600"] {
            assert_eq!(LedgerPart::named(name), None, "{name}");
        }
    }
}
