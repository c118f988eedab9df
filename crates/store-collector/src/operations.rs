//! What this crate attempts.

errors::table! {
    /// Every operation of this crate.
    ALL: Operation;
    READ_CHECKPOINT: "read_checkpoint", "read the checkpoint";
    MOVE_CHECKPOINT: "move_checkpoint", "move the checkpoint";
    REMOVE_MARKET: "remove_market", "remove a market from the chain state";
    READ_WINDOWS: "read_windows", "read the submission windows";
    FIND_CLOSED_WINDOWS: "find_closed_windows", "find closed submission windows";
    READ_SUBMISSIONS: "read_submissions", "read the submissions";
    DELIVER_BATCHES: "deliver_batches", "deliver the batches";
    END_EPOCH: "end_epoch", "end an epoch without batches";
    COUNT_SUBMISSIONS: "count_submissions", "count the submissions of slots";
    READ_PREDECESSOR: "read_predecessor", "read the markers of another collector";
    READ_BLOCK_HASHES: "read_block_hashes", "read the hashes of blocks";
    WRITE_CONTRACT_VALUES: "write_contract_values", "write the values of contracts";
    READ_FINALIZED: "read_finalized", "read which batches the chain has finalised";
    FIND_REWARDS: "find_rewards", "find rewards that are due";
    READ_REWARDS: "read_rewards", "read the numbers for rewards";
    PLAN_REWARDS: "plan_rewards", "plan rewards";
    FREEZE_REWARDS: "freeze_rewards", "put the calls about rewards into the outbox";
    MIGRATE_MARKET: "migrate_market", "migrate a market";
    READ_OUTBOX: "read_outbox", "read the outbox";
    CHANGE_OUTBOX: "change_outbox", "change the outbox";
    READ_API: "read_api", "read for the read API";
    CLEAN_UP: "clean_up", "clean up markers and submissions";
}
