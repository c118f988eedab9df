//! The remedies of faulty keys, by family. Pure.
//!
//! **Invariant:** no remedy changes, renames or deletes a producers' key. The fault is in the producer, and the key may hold the
//! only copy of its data.

use store_redis::{Family, Writer};

/// Which program writes a producers' key, and with which TTL: the columns of docs/producers.md.
const PRODUCERS: [(&str, &str, &str); 20] = [
    ("submissionQueue", "gateway", "none"),
    ("epochs:active", "event monitor", "24 h"),
    ("epoch:*:validators", "gateway", "2 h"),
    ("epoch:*:submissions:ids", "dequeuer", "2 h"),
    ("epoch:*:processed", "dequeuer", "1 h"),
    ("epoch:*:state", "event monitor, finalizer, aggregator", "7 days"),
    ("metrics:epoch:*:info", "event monitor", "2 h"),
    ("metrics:epochs:timeline", "event monitor", "none"),
    ("metrics:batches:timeline", "finalizer, aggregator, gateway", "none"),
    ("metrics:submissions:timeline", "gateway", "none"),
    ("metrics:validations:timeline", "dequeuer", "none"),
    ("metrics:parts:timeline", "finalizer", "none"),
    ("metrics:validator:*:batches", "finalizer, gateway", "none"),
    ("metrics:batch:local:*", "finalizer", "24 h"),
    ("metrics:batch:aggregated:*", "aggregator", "24 h"),
    ("metrics:batch:*:validators", "aggregator", "24 h"),
    ("vpa:stats", "priority client", "7 days"),
    ("vpa:priority:timeline", "priority client", "none"),
    ("vpa:submission:timeline", "priority client", "none"),
    ("SnapshotCollector.*.*.*", "collectors", "20 min"),
];

fn producer(family: &Family) -> Option<&'static (&'static str, &'static str, &'static str)> {
    PRODUCERS.iter().find(|(name, ..)| *name == family.name)
}

fn fix_the_producer(family: &Family) -> String {
    match producer(family) {
        Some((_, program, _)) => {
            format!("fix the producer: this key is written by {program} (docs/producers.md)")
        }
        None => "fix the producer that writes it".to_owned(),
    }
}

fn is_dataset(family: &Family) -> bool {
    store_tracker::DATASETS.iter().any(|dataset| dataset.family.name == family.name)
}

/// The remedy for a key whose type is not that of its family.
pub(crate) fn wrong_type(family: &Family, is_of_collector: bool) -> String {
    let right = family.kind.as_str();
    match (family.writer, is_of_collector) {
        (Writer::Producers, _) => format!(
            "{}, and it must be a {right}. Leave the key where it is: neither rename nor delete it, since it may hold the only copy",
            fix_the_producer(family)
        ),
        (Writer::Outputs, false) if is_dataset(family) => {
            // Safe to remove: a dataset is computed from the ledger and the inputs with the next pass.
            "stop the program that wrote it, then UNLINK it: the tracker computes the dataset again".to_owned()
        }
        // The state index is kept from events, and nothing computes it again.
        (Writer::Outputs, false) => format!(
            "stop the program that wrote it, then RENAME it: the indexer writes a {right} with the next event, and earlier ones are missing"
        ),
        (Writer::Outputs, true) => format!(
            // Renamed and not deleted: finalizers may not have read the batches in it yet.
            "stop the program that wrote it, then RENAME it: the collector writes a {right} with its next block"
        ),
        (Writer::State, false) => {
            "stop the program that wrote it, then restore the market's ledger from a backup or reset it (docs/operations.md, \
             \"The ledger\"): a reset counts again what the timelines of the last 24 hours prove"
                .to_owned()
        }
        (Writer::State, true) => {
            // From one backup: checkpoint, windows and undo log are written together and must be of one moment.
            "stop the program that wrote it, then restore all keys tracker:chain:* from one backup".to_owned()
        }
    }
}

/// The remedy for a key that must expire and has no TTL.
pub(crate) fn no_ttl(family: &Family) -> String {
    match (family.writer, producer(family)) {
        (Writer::Producers, Some((_, program, ttl))) => format!(
            "fix the producer: {program} must set a TTL of {ttl}. A restore that drops TTLs does this too"
        ),
        (Writer::Producers, None) => fix_the_producer(family),
        _ => {
            "start state-tracker: it sets the TTL with its next write. If no tracker is to run, delete the key"
                .to_owned()
        }
    }
}

/// The remedy for a key with unreadable content.
pub(crate) fn malformed(family: Option<&Family>) -> String {
    match family {
        Some(family) if family.writer == Writer::Producers => fix_the_producer(family),
        _ => "find out which program wrote it, and stop that program".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DOCS: &str = include_str!("../../docs/producers.md");

    /// The families of the tables in docs/producers.md, each with its type, TTL and programs.
    fn documented() -> Vec<(&'static Family, String, String, String)> {
        let rows = DOCS.lines().filter_map(|line| line.strip_prefix("| `"));
        let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
        cells
            .filter(|cells| cells.len() == 6)
            .filter_map(|cells| {
                let key = cells[0].trim_end_matches('`');
                let with_ids = |key: &str, separator: char| {
                    let is_id = |part: &&str| matches!(*part, "E" | "V" | "m" | "HASH" | "N");
                    let parts = key.split(separator).map(|part| if is_id(&part) { "0" } else { part });
                    parts.collect::<Vec<_>>().join(&separator.to_string())
                };
                let family = match key.strip_prefix("P:M:") {
                    Some(rest) => store_tracker::family_of(&with_ids(rest, ':')),
                    None => store_collector::family_of(&with_ids(key, '.')),
                };
                let family = family.unwrap_or_else(|| panic!("{key} has no family"));
                let programs = cells[4].split(';').next().unwrap_or_default();
                // "finalizer (its own V), gateway (remote V)"
                let programs = programs.split(", ").map(|one| one.split(" (").next().unwrap_or(one));
                let programs = programs.collect::<Vec<_>>().join(", ");
                let is_producers = family.writer == Writer::Producers;
                is_producers.then(|| (family, cells[1].to_owned(), cells[2].to_owned(), programs))
            })
            .collect()
    }

    #[test]
    fn types_ttls_and_programs_are_those_of_the_documentation() {
        let documented = documented();
        for (family, kind, ttl, programs) in &documented {
            assert_eq!(family.kind.as_str(), kind, "{}", family.name);
            let known = producer(family).map(|(_, programs, ttl)| (*programs, *ttl));
            assert_eq!(known, Some((programs.as_str(), ttl.as_str())), "{}", family.name);
        }
        let names: BTreeSet<_> = documented.iter().map(|(family, ..)| family.name).collect();
        assert_eq!(names, PRODUCERS.iter().map(|(name, ..)| *name).collect());
    }

    #[test]
    fn only_a_dataset_is_removed_and_a_key_of_the_index_is_kept_under_another_name() {
        let remedy = |rest: &str| wrong_type(store_tracker::family_of(rest).expect("a family"), false);
        assert!(remedy("stats:hourly:7").contains("UNLINK"), "{}", remedy("stats:hourly:7"));
        for rest in ["active:epochs", "metrics:epochs:by_time", "validator:a:b:stats"] {
            let remedy = remedy(rest);
            assert!(remedy.contains("RENAME") && !remedy.contains("UNLINK"), "{rest}: {remedy}");
        }
    }

    #[test]
    fn no_remedy_for_a_producers_key_loses_data() {
        for (family, ..) in documented() {
            for remedy in [wrong_type(family, false), no_ttl(family), malformed(Some(family))] {
                assert!(remedy.starts_with("fix the producer"), "{remedy}");
                for loss in ["UNLINK", "DEL ", "EXPIRE", "ZREM", "RENAME", "delete or"] {
                    assert!(!remedy.contains(loss), "{}: {remedy}", family.name);
                }
            }
            let (_, program, _) = producer(family).expect("a producer");
            assert!(wrong_type(family, false).contains(&format!("by {program}")));
        }
    }
}
