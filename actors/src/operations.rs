//! The operations and failure kinds that only the actors have, and the joined tables of all crates.

use errors::{Kind, Operation};
use store_campaigns::DatabaseErrorKind;
use store_peers::HistoryErrorKind;
use store_redis::ErrorKind;

errors::table! {
    /// Every operation of the actors themselves.
    OWN: Operation;
    READ_INPUT: "read_input", "read an input";
    KEEP_LEDGER: "keep_ledger", "keep the ledger";
    FOLLOW_CHAIN: "follow_chain", "follow the chain";
    READ_EVENTS: "read_events", "read the events of blocks";
    QUERY_CONTRACTS: "query_contracts", "query the contracts";
    PREPARE_BATCHES: "prepare_batches", "prepare the batches";
    TELL_REWARDS: "tell_rewards", "tell of rewards";
    CALL_RELAYER: "call_relayer", "call the relayer";
    SEND_ALERT: "send_alert", "send an alert";
    READ_PEERS: "read_peers", "read the lines of a peer";
    POLL_PEERS: "poll_peers", "ask an application for its peers";
}

errors::table! {
    /// Every kind of failure that only actors know.
    OWN_KINDS: Kind;
    LOST: "lost", "Redis has lost a part of a ledger, or all of it; totals count what is left";
    NODE: "node", "No node of the chain gave a valid answer in time, or a contract refused the call";
    REORGANISED: "reorganised", "A block does not follow the last accepted one; the blocks are read again";
    TOO_DEEP: "too_deep", "A reorganisation is deeper than the undo log";
    AHEAD: "ahead", "The first block to follow does not exist yet";
    RELAYER: "relayer", "The relayer did not accept a call";
    WEBHOOK_FAILED: "webhook", "The receiver of the alerts did not accept one";
    VIEW: "view", "A contract gave no usable value";
    INJECTED: "injected", "An armed failure point raised this error";
}

/// Every operation of this workspace.
pub fn all() -> impl Iterator<Item = Operation> {
    let tables = [
        store_redis::operations::ALL,
        store_tracker::operations::ALL,
        store_collector::operations::ALL,
        store_campaign_log::operations::ALL,
        store_campaigns::operations::ALL,
        store_peers::operations::ALL,
        OWN,
    ];
    tables.into_iter().flatten().copied()
}

/// Every kind of failure of this workspace.
pub fn kinds() -> impl Iterator<Item = Kind> {
    let of_history = HistoryErrorKind::ALL.iter().map(|kind| kind.row());
    let of_database = DatabaseErrorKind::ALL.iter().map(|kind| kind.row());
    let of_redis = ErrorKind::ALL.iter().map(|kind| kind.row());
    of_redis.chain(of_history).chain(of_database).chain(OWN_KINDS.iter().copied())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn labels_and_sentences_are_unique_in_all_tables() {
        for labels in [
            all().map(|row| row.label).collect::<Vec<_>>(),
            all().map(|row| row.sentence).collect(),
            kinds().map(|row| row.label).collect(),
        ] {
            assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), labels.len(), "{labels:?}");
        }
        for label in all().map(|row| row.label).chain(kinds().map(|row| row.label)) {
            assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{label}");
        }
    }
}
