//! Keys that only this program writes, but not with this configuration: under another prefix, or of a market that is not configured.
//! Another tracker works here, or the configuration has changed. Pure, and of bounded size.

use std::collections::BTreeMap;

use store_redis::Writer;

use super::finding::Finding;

/// How many trackers and markets are kept, and how long their names may be. Names come from the database and may be anything.
const MOST: usize = 100;
const LONGEST: usize = 200;
/// How many markets one finding names.
const SHOWN: usize = 5;
/// The beginning of the names of the chain state.
const CHAIN: &str = "tracker:chain:";

/// Whose state a key is part of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    /// `output.prefix`; empty for none.
    prefix: String,
    /// `P:M`; `None` for the chain state.
    market: Option<String>,
}

/// The numbers of keys, by their owners.
#[derive(Default)]
pub(super) struct Others {
    keys: BTreeMap<Owner, u64>,
    /// How many keys of this configuration's state exist.
    own: u64,
    /// How many keys other programs read from a collector, and an example.
    handed_over: (u64, String),
}

impl Others {
    /// Counts a key of the state of this configuration.
    pub(super) fn add_own(&mut self) {
        self.own += 1;
    }

    /// Counts a key that a collector writes for other programs.
    pub(super) fn add_handed_over(&mut self, name: &str) {
        self.handed_over.0 += 1;
        if self.handed_over.1.is_empty() {
            self.handed_over.1 = name.chars().take(LONGEST).collect();
        }
    }

    /// Counts a key that has no place in this configuration, if it is one of a tracker's state.
    pub(super) fn add(&mut self, name: &str) {
        let Some(owner) = owner(name).filter(|_| name.len() <= LONGEST) else { return };
        if self.keys.len() < MOST || self.keys.contains_key(&owner) {
            *self.keys.entry(owner).or_default() += 1;
        }
    }

    /// The findings for a configuration with this prefix and protocol. `collects` says whether its collector runs.
    pub(super) fn findings(&self, prefix: &str, protocol: &str, collects: bool) -> Vec<Finding> {
        let mut by_prefix: BTreeMap<&str, Vec<(&Owner, u64)>> = BTreeMap::new();
        for (owner, keys) in &self.keys {
            by_prefix.entry(&owner.prefix).or_default().push((owner, *keys));
        }
        let of_prefix = |(other, owners): (&str, Vec<(&Owner, u64)>)| {
            let keys: u64 = owners.iter().map(|(_, keys)| keys).sum();
            match other == prefix {
                true => left(&owners, keys, protocol),
                false => self.beside(other, &owners, keys),
            }
        };
        let mut all: Vec<Finding> = by_prefix.into_iter().map(of_prefix).collect();
        all.extend(self.predecessor(collects));
        all
    }

    /// Another tracker, with another prefix.
    fn beside(&self, other: &str, owners: &[(&Owner, u64)], keys: u64) -> Finding {
        let (object, set) = match other {
            "" => ("keys without a prefix".to_owned(), "leave output.prefix empty".to_owned()),
            other => (format!("keys with the prefix {other}:"), format!("set output.prefix to {other}")),
        };
        let own = if self.own == 0 { "; this configuration's prefix has none" } else { "" };
        let problem =
            format!("a tracker with another prefix keeps {keys} keys of {} here{own}", shown(owners));
        let remedy =
            format!("nothing, if another tracker runs beside this one; {set} if they are this tracker's own");
        Finding::note("other_tracker", object, problem, remedy)
    }

    /// Another collector, such as the original, which writes the same keys, but no state of the chain.
    fn predecessor(&self, collects: bool) -> Option<Finding> {
        let (keys, example) = &self.handed_over;
        if !collects || *keys == 0 || self.own > 0 {
            return None;
        }
        let problem = format!(
            "{keys} keys that a collector writes exist, and neither ledger nor chain state: the original collector, or another one, wrote \
             them"
        );
        let remedy = "stop it before this collector starts, since both hand over batches (docs/migration.md); nothing, if it is stopped";
        Some(Finding::note("other_tracker", example, problem, remedy))
    }
}

/// Markets that this prefix has state of, and the configuration does not name.
fn left(owners: &[(&Owner, u64)], keys: u64, protocol: &str) -> Finding {
    let problem =
        format!("a tracker keeps {keys} keys of {}, which this configuration does not name", shown(owners));
    let is_ours = |owner: &&Owner| {
        let space = owner.market.as_deref().and_then(|market| market.split_once(':'));
        space.is_some_and(|(other, _)| other.eq_ignore_ascii_case(protocol))
    };
    let remove = match owners
        .iter()
        .map(|(owner, _)| *owner)
        .find(is_ours)
        .and_then(|owner| owner.market.as_deref())
    {
        Some(space) => {
            let market = space.split_once(':').map_or(space, |(_, market)| market);
            format!("; if no tracker serves it any more, `state-tracker ledger remove {market}`")
        }
        None => String::new(),
    };
    let remedy = format!("nothing, if another tracker serves them{remove}");
    Finding::note("other_tracker", "state of other markets", problem, remedy)
}

fn shown(owners: &[(&Owner, u64)]) -> String {
    let name =
        |(owner, _): &(&Owner, u64)| owner.market.clone().unwrap_or_else(|| "the chain state".to_owned());
    let names: Vec<String> = owners.iter().take(SHOWN).map(name).collect();
    match owners.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// The owner of a key of state; `None` for any other key.
fn owner(name: &str) -> Option<Owner> {
    // The prefix has its colon.
    let prefix = |before: &str| match before {
        "" => Some(String::new()),
        before => before.strip_suffix(':').map(str::to_owned),
    };
    if let Some((before, (space, rest))) =
        name.split_once('{').and_then(|(before, behind)| Some((before, behind.split_once("}:")?)))
    {
        store_tracker::family_of(rest).filter(|family| family.writer == Writer::State)?;
        space.split_once(':')?;
        return Some(Owner { prefix: prefix(before)?, market: Some(space.to_owned()) });
    }
    let at = name.find(CHAIN)?;
    store_collector::family_of(&name[at..]).filter(|family| family.writer == Writer::State)?;
    Some(Owner { prefix: prefix(&name[..at])?, market: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str], prefix: &str) -> Vec<(String, String, String)> {
        let mut others = Others::default();
        names.iter().for_each(|name| others.add(name));
        let all = others.findings(prefix, "P", true).into_iter();
        all.map(|finding| (finding.object, finding.problem, finding.remedy)).collect()
    }

    #[test]
    fn state_under_another_prefix_is_that_of_another_tracker() {
        let all = found(&["s:t:{P:M}:tracker:meta", "s:t:{P:M}:tracker:open", "s:t:tracker:chain:undo"], "");
        let [(object, problem, remedy)] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(object, "keys with the prefix s:t:");
        assert!(
            problem.contains("3 keys of the chain state, P:M here; this configuration's prefix has none"),
            "{problem}"
        );
        assert!(remedy.contains("set output.prefix to s:t"), "{remedy}");
        let all = found(&["{P:M}:tracker:meta"], "s");
        assert!(
            all[0].0 == "keys without a prefix" && all[0].2.contains("leave output.prefix empty"),
            "{all:?}"
        );
    }

    #[test]
    fn state_of_a_market_that_is_not_configured_is_not_to_be_removed_while_another_tracker_serves_it() {
        let all = found(&["{P:M}:tracker:meta"], "");
        assert!(all[0].1.contains("1 keys of P:M, which"), "{all:?}");
        assert_eq!(
            all[0].2,
            "nothing, if another tracker serves them; if no tracker serves it any more, `state-tracker ledger remove M`"
        );
        let all = found(&["{Q:M}:tracker:meta"], "");
        assert!(!all[0].2.contains("ledger remove"), "it is of another protocol: {all:?}");
    }

    #[test]
    fn keys_of_other_programs_are_nobodys_state() {
        for name in [
            "",
            "{",
            "{}:tracker:meta",
            "{P:M}:other",
            "P:M:tracker",
            "xtracker:chain:undo",
            "tracker:chain:else",
        ] {
            assert_eq!(owner(name), None, "{name}");
        }
    }

    #[test]
    fn what_a_collector_wrote_without_any_state_is_of_another_collector() {
        let mut others = Others::default();
        others.add_handed_over("BatchCountKey.0xab.7");
        assert_eq!(others.findings("", "P", false), []);
        let all = others.findings("", "P", true);
        assert!(
            all[0].problem.contains("original collector") && all[0].object == "BatchCountKey.0xab.7",
            "{all:?}"
        );
        others.add_own();
        assert_eq!(others.findings("", "P", true), []);
    }

    #[test]
    fn any_number_of_trackers_takes_bounded_room() {
        let mut others = Others::default();
        (0..10_000).for_each(|number| others.add(&format!("{{P:{number}}}:tracker:meta")));
        others.add(&format!("{{P:{}}}:tracker:meta", "x".repeat(1_000)));
        assert_eq!(others.keys.len(), MOST);
    }
}
