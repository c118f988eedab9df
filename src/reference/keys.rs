//! The page of key families.

use store_redis::{Age, Family, Removal, Retention, Ttl, Writer};
use store_tracker::NOT_WRITTEN;

use super::markdown::{code, head, table};
use crate::key_families;

pub(super) fn page() -> String {
    let mut page = head("Keys of Redis", "the tables of key families (src/key_families.rs joins them)");
    page += "`P` is the protocol-state contract, `M` the data market, and a `*` stands for an id. With `output.prefix`, the \
             prefix and a colon stand before every key that state-tracker writes. `doctor` reports keys of another type, keys \
             without a required TTL, and keys with a TTL that must have none.\n";
    for family_table in key_families::tables() {
        page += &format!("\n## {}\n\n", family_table.title);
        let columns = ["key", "type", "TTL", "written by", "read by", "removed by", "content"];
        page += &table(columns, family_table.rows.iter().map(|family| row(family_table.space, family)));
    }
    page += "\n## Not written\n\nThe original's description names these keys of the state index too.\n\n";
    page +=
        &table(["key", "reason"], NOT_WRITTEN.iter().map(|(key, reason)| [code(key), (*reason).to_owned()]));
    page
}

fn row(space: &str, family: &Family) -> [String; 7] {
    let writer = match family.writer {
        Writer::Producers => "other programs",
        Writer::Outputs | Writer::State => "state-tracker",
    };
    [
        code(&format!("{space}{}", family.name)),
        family.kind.as_str().to_owned(),
        ttl(family.ttl),
        writer.to_owned(),
        family.reader.to_owned(),
        removal(family.removal),
        family.sentence.to_owned(),
    ]
}

pub(super) fn ttl(ttl: Ttl) -> String {
    match ttl {
        Ttl::Required => "required".to_owned(),
        Ttl::Fixed(seconds) => duration(seconds),
        Ttl::Intervals { times, least } => format!("{times} intervals, at least {}", duration(least)),
        Ttl::Optional => "optional".to_owned(),
        Ttl::Forbidden => "none".to_owned(),
    }
}

fn removal(removal: Removal) -> String {
    match removal {
        Removal::Expiry => "expiry".to_owned(),
        Removal::Pruned(age) => format!("pruner, {}", older(age)),
        Removal::Actor { name, age: Some(age) } => format!("{name}, {}", older(age)),
        Removal::Actor { name, age: None } => name.to_owned(),
        Removal::OtherPrograms => "other programs".to_owned(),
        // Their number and size do not grow with time.
        Removal::Bounded => "nothing: bounded".to_owned(),
    }
}

fn older(age: Age) -> String {
    match age {
        Age::Configured(retention) => code(setting(retention)),
        Age::Seconds(seconds) => format!("after {}", duration(seconds)),
        Age::Epochs(epochs) => format!("{epochs} epochs behind the current one"),
    }
}

/// The setting of a retention.
fn setting(retention: Retention) -> &'static str {
    match retention {
        Retention::Timelines => "retention.timelines",
        Retention::Priorities => "retention.priorities",
        Retention::Ledger => "retention.ledger",
        Retention::Active => "retention.active",
        Retention::Index => "retention.index",
        Retention::Undo => "collector.max_reorg_depth",
    }
}

/// A number of seconds in the largest unit that fits.
fn duration(seconds: u64) -> String {
    match seconds {
        _ if seconds.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) && seconds > 60 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn durations_are_short() {
        let all = [60, 90, 300, 3_600, 176_400].map(duration);
        assert_eq!(all, ["60 s", "90 s", "5 min", "1 h", "49 h"]);
    }

    #[test]
    fn a_key_that_is_not_written_has_no_family_and_a_reason() {
        for (key, reason) in NOT_WRITTEN {
            assert!(store_tracker::family_of(key).is_none() && reason.ends_with('.'), "{key}: {reason}");
            assert!(page().contains(key), "{key}");
        }
    }

    #[test]
    fn each_family_has_one_row_with_a_sentence_and_names_existing_settings() {
        let is_setting = |name: &str| crate::config::schema::find(name).is_some();
        let mut seen = BTreeSet::new();
        for family_table in key_families::tables() {
            for family in family_table.rows {
                assert!(seen.insert((family_table.space, family.name)), "{} stands twice", family.name);
                assert!(family.sentence.ends_with('.'), "{}: {}", family.name, family.sentence);
                let removal = removal(family.removal);
                let named = removal.split('`').nth(1);
                assert!(named.is_none_or(is_setting), "{}: {removal}", family.name);
                // A family without a TTL must name what removes its keys, or it grows for ever.
                let expires = family.removal == Removal::Expiry;
                assert!(!expires || family.ttl != Ttl::Forbidden, "{} can't expire", family.name);
            }
        }
    }
}
