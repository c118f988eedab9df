//! The remedies of faulty keys, by family. Pure.
//!
//! **Invariant:** no remedy changes, renames or deletes a producers' key. The fault is in the producer, and the key may hold the
//! only copy of its data. A key of this program that has another type was written by somebody else: its content is kept under
//! another name.

use store_redis::{Family, Ttl, Writer};

use crate::key_families;

/// Which program writes a producers' key, and with which TTL: the columns of docs/producers.md.
const PRODUCERS: [(&str, &str, &str); 31] = [
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
    ("metrics:submissions:metadata:*", "gateway", "24 h"),
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
    ("EligibleSlotSubmissionsKey.*.*.*", "finalizer", "none"),
    ("EligibleNodeByDayKey.*.*", "finalizer", "none"),
    ("EligibleSlotSubmissionByEpochKey.*.*.*", "finalizer", "none"),
    ("DiscardedSubmissionKey.*.*.*", "finalizer", "none"),
    ("DiscardedSubmissionKey.*.*", "finalizer", "none"),
    ("EpochSubmissionsKey.*.*", "dequeuer", "30 min"),
    ("ActiveSnapshottersForEpoch.*.*", "dequeuer", "none"),
    ("LastSimulatedSubmissionKey.*.*", "dequeuer", "none"),
    ("LastSnapshotSubmissionKey.*.*", "dequeuer", "none"),
    ("snapshotter:*:*:node_version", "dequeuer", "none"),
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

/// How a key is put aside. Not under a longer name, which would be one of the same family; no name has this beginning.
const ASIDE: &str = "RENAME it to aside:NAME, which keeps its content";

/// The remedy for a key whose type is not that of its family. It names who writes the key, and the right type.
pub(crate) fn wrong_type(family: &Family, is_of_collector: bool) -> String {
    let right = family.kind.as_str();
    let own = |part: &str| {
        format!(
            "this key is written by state-tracker's {part}, and it must be a {right}: stop the program that wrote this one"
        )
    };
    match (family.writer, is_of_collector) {
        (Writer::Producers, _) => format!(
            "{}, and it must be a {right}. Leave the key where it is: neither rename nor delete it, since it may hold the only copy",
            fix_the_producer(family)
        ),
        (Writer::Outputs, false) if is_dataset(family) => {
            format!("{}, then {ASIDE}; the tracker computes the dataset again", own("tracker"))
        }
        // The state index is kept from events, and nothing computes it again.
        (Writer::Outputs, false) => {
            format!(
                "{}, then {ASIDE}; the indexer writes it with the next event, and earlier ones are missing",
                own("indexer")
            )
        }
        // Finalizers may not have read the batches in it yet.
        (Writer::Outputs, true) => format!(
            "{}, then {ASIDE}; the collector writes it with its next block, and what other programs have not read stays in the renamed key",
            own("collector, or the original's")
        ),
        (Writer::State, _) if key_families::is_of_campaigns(family) => format!(
            "{}, and let it expire, or put the key aside; the gateway writes it again, and clients that were away are told that \
             events are missing",
            own("campaign gateway")
        ),
        (Writer::State, false) => format!(
            "{}, then restore the market's ledger from a backup or reset it (docs/operations.md, \"The ledger\"): a reset counts again \
             what the timelines of the last 24 hours prove",
            own("tracker")
        ),
        // From one backup: checkpoint, windows and undo log are written together and must be of one moment.
        (Writer::State, true) => {
            format!("{}, then restore all keys tracker:chain:* from one backup", own("collector"))
        }
    }
}

/// The remedy for a key that must expire and has no TTL.
pub(crate) fn no_ttl(family: &Family) -> String {
    match (family.writer, producer(family), family.ttl) {
        (Writer::Producers, Some((_, program, ttl)), _) => format!(
            "fix the producer: {program} must set a TTL of {ttl}. A restore that drops TTLs does this too"
        ),
        (Writer::Producers, None, _) => fix_the_producer(family),
        // Not deleted: its existence may say that batches are handed over, or it is a batch that nobody has read.
        (_, _, Ttl::Fixed(seconds)) => format!(
            "start state-tracker, which sets the TTL with its next write of this key; one that it writes no more needs EXPIRE with the \
             {seconds} s that it would have set. A restore that drops TTLs does this"
        ),
        (Writer::Outputs, ..) if is_dataset(family) => {
            "start state-tracker: it sets the TTL with its next write. If no tracker is to run, the dataset may be deleted: a tracker \
             computes it again"
                .to_owned()
        }
        _ => "start state-tracker: it sets the TTL with its next write. A restore that drops TTLs does this".to_owned(),
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
                    let is_id =
                        |part: &&str| matches!(*part, "E" | "V" | "m" | "HASH" | "N" | "DAY" | "SLOT");
                    let parts = key.split(separator).map(|part| if is_id(&part) { "0" } else { part });
                    parts.collect::<Vec<_>>().join(&separator.to_string())
                };
                let family = match key.strip_prefix("P:M:") {
                    Some(rest) => store_tracker::family_of(&with_ids(rest, ':')),
                    None => {
                        store_collector::family_of(&with_ids(key, if key.contains('.') { '.' } else { ':' }))
                    }
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
    fn every_remedy_names_writer_and_type_and_none_deletes_what_somebody_else_wrote() {
        let of_tracker = store_tracker::key_families().into_iter().map(|table| (table, false));
        let of_collector = store_collector::key_families().into_iter().map(|table| (table, true));
        let mut checked = 0;
        for (table, is_of_collector) in of_tracker.chain(of_collector) {
            for family in table.rows {
                let (name, remedy) = (family.name, wrong_type(family, is_of_collector));
                assert!(remedy.contains("this key is written by "), "{name}: {remedy}");
                assert!(remedy.contains(&format!("must be a {}", family.kind.as_str())), "{name}: {remedy}");
                assert_eq!(remedy.contains(ASIDE), family.writer == Writer::Outputs, "{name}: {remedy}");
                for remedy in [remedy, no_ttl(family), malformed(Some(family))] {
                    for loss in ["UNLINK", "DEL ", "delete the key", "delete it"] {
                        assert!(
                            !remedy.contains(loss) || remedy.contains("neither rename nor delete it"),
                            "{name}: {remedy}"
                        );
                    }
                }
                checked += 1;
            }
        }
        assert!(checked > 60, "only {checked} families");
    }

    #[test]
    fn a_key_that_says_that_batches_are_handed_over_is_never_to_be_deleted() {
        for key in ["BatchCountKey.0xab.7", "BatchSubmissionsKey.0xab.7.0", "BlockHashByNumberKey.7"] {
            let family = store_collector::family_of(key).expect("a family");
            let remedy = no_ttl(family);
            assert!(!remedy.contains("delete") && remedy.contains("EXPIRE"), "{key}: {remedy}");
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
