//! What this crate attempts.

errors::table! {
    /// Every operation of this crate.
    ALL: Operation;
    READ_TIMELINES: "read_timelines", "read the timelines";
    READ_LEDGER: "read_ledger", "read the ledger";
    UPGRADE_LEDGER: "upgrade_ledger", "upgrade the ledger";
    READ_EPOCHS: "read_epochs", "read the epochs";
    READ_NEWEST_EPOCHS: "read_newest_epochs", "read the newest epochs";
    READ_CURRENT_EPOCH: "read_current_epoch", "read the current epoch";
    WRITE_CURRENT_EPOCH: "write_current_epoch", "write the current epoch";
    WRITE_DATASETS: "write_datasets", "write the datasets";
    READ_ORIGINALS_INPUTS: "read_originals_inputs", "read the original's inputs";
    READ_ORIGINALS_EPOCH: "read_originals_epoch", "read the original's current epoch";
    FIND_EPOCHS: "find_epochs", "find epochs by the names of their keys";
    PRUNE_TIMELINE: "prune_timeline", "prune a timeline";
    PRUNE_ACTIVE_EPOCHS: "prune_active_epochs", "prune the active epochs";
    FORGET_SEALED_EPOCHS: "forget_sealed_epochs", "forget sealed epochs";
    INDEX_EVENTS: "index_events", "write events to the state index";
    READ_SUBMISSION_IDS: "read_submission_ids", "read the submissions of an epoch in the state index";
    PRUNE_INDEX: "prune_index", "prune the state index";
    AGE_VALIDATORS: "age_validators", "age the validators of the state index";
    EXAMINE_MARKET: "examine_market", "examine a market";
    EXAMINE_INDEX: "examine_index", "examine a state index";
    READ_DATASETS: "read_datasets", "read the datasets";
    COUNT_ENTRIES: "count_entries", "count new entries";
    COUNT_FUTURE_ENTRIES: "count_future_entries", "count entries in the future";
    EXPORT_LEDGER: "export_ledger", "export the ledger";
    IMPORT_LEDGER: "import_ledger", "import the ledger";
    RESET_LEDGER: "reset_ledger", "reset the ledger";
    REMOVE_DATASETS: "remove_datasets", "remove the datasets";
}
