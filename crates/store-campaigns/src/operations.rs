//! What this crate attempts.

errors::table! {
    /// Every operation of this crate.
    ALL: Operation;
    CONNECT_DATABASE: "connect_database", "connect to the database of campaigns";
    FIND_RUNS: "find_runs", "find the runs to count";
    READ_RUNS: "read_runs", "read the runs of campaigns";
    FIND_OWNER: "find_owner", "find the owner of a campaign";
    ENQUEUE_JOBS: "enqueue_status_jobs", "enqueue status jobs";
    CLAIM_JOBS: "claim_status_jobs", "claim status jobs";
    COMPUTE_METRICS: "compute_metrics", "compute the figures of a run";
    FINISH_JOB: "finish_status_job", "finish a status job";
    FAIL_JOB: "fail_status_job", "note that a status job failed";
    PRUNE_JOBS: "prune_status_jobs", "prune finished status jobs";
    READ_JOBS: "read_status_jobs", "read the status jobs";
    CHANGE_DEAD_LETTER: "change_dead_letter", "replay or drop a dead letter";
    INSPECT_MIGRATION: "inspect_migration", "inspect the migration of the database";
    MIGRATE_DATABASE: "migrate_database", "migrate the database of campaigns";
    UNDO_MIGRATION: "undo_migration", "undo the migration of the database";
    LISTEN: "listen_to_database", "listen to the database of campaigns";
    COUNT_CHANGES: "count_changes", "count the changes of jobs";
    RECOUNT_RUN: "recount_run", "count a run anew";
    READ_COUNTS: "read_counts", "read the counts of a run";
    READ_CHANGES: "read_job_changes", "read the changes of jobs";
    READ_HISTORY: "read_summary_history", "read the history of summaries";
    PRUNE_HISTORY: "prune_summary_history", "prune the history of summaries";
    INSPECT_DATABASE: "inspect_database", "inspect the database of campaigns";
}
