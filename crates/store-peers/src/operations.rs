//! What this crate attempts.

errors::table! {
    /// Every operation of this crate.
    ALL: Operation;
    OPEN_HISTORY: "open_history", "open the history of peers";
    WRITE_HISTORY: "write_history", "write the history of peers";
    COMPACT_HISTORY: "compact_history", "compact the history of peers";
    RETIRE_HISTORY: "retire_history", "remove old history of peers";
    SHRINK_HISTORY: "shrink_history", "shrink the history of peers";
    READ_HISTORY: "read_history", "read the history of peers";
    CHECK_HISTORY: "check_history", "check the history of peers";
    IMPORT_HISTORY: "import_history", "import a history of peers";
}
