-- The tables and functions of our own schema. Nothing here locks a table of the users.
CREATE SCHEMA IF NOT EXISTS state_tracker;

-- Which steps of the migration were applied.
CREATE TABLE IF NOT EXISTS state_tracker.migration (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Summaries as they were, for trends.
CREATE TABLE IF NOT EXISTS state_tracker.summaries (
    run uuid NOT NULL,
    version bigint NOT NULL,
    campaign uuid NOT NULL,
    written_at timestamptz NOT NULL,
    content jsonb NOT NULL,
    PRIMARY KEY (run, version)
);
CREATE INDEX IF NOT EXISTS summaries_campaign ON state_tracker.summaries (campaign, written_at, run, version);
CREATE INDEX IF NOT EXISTS summaries_age ON state_tracker.summaries (written_at);

-- What the triggers append: one row a row of the users' table. Without an index, a constraint or a default, so that an append
-- waits for nothing and can't be refused. Unlogged: a crash of the server empties them, which the missing row of
-- `state_tracker.intact` shows; then all runs are counted anew. A vacuum must not shorten them, since that takes a lock that
-- appends wait for.
--
-- Kinds of `job_changes`: `i` inserted, `n` and `o` the new and the old row of an update, `d` deleted, `m` a run that a job has left
-- or come to, `t` truncated. Of `execution_changes`: `i` an inserted execution, `j` a job with a changed or deleted one, `t`.
CREATE UNLOGGED TABLE IF NOT EXISTS state_tracker.job_changes (
    xid xid8,
    kind "char",
    job uuid,
    run uuid,
    queue text,
    type text,
    status text
) WITH (vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE UNLOGGED TABLE IF NOT EXISTS state_tracker.execution_changes (
    xid xid8,
    kind "char",
    id uuid
) WITH (vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE UNLOGGED TABLE IF NOT EXISTS state_tracker.intact (since timestamptz NOT NULL);

-- Incremental counts. `is_counted`: the figures are those of the run but for changes not yet applied. `recount`: a full
-- computation is under way, and changes are held for it as well.
CREATE TABLE IF NOT EXISTS state_tracker.run_counts (
    run uuid PRIMARY KEY,
    is_counted boolean NOT NULL DEFAULT false,
    recount uuid,
    recount_since timestamptz,
    counted_at timestamptz,
    executions bigint NOT NULL DEFAULT 0,
    latencies bigint NOT NULL DEFAULT 0,
    latency_sum bigint NOT NULL DEFAULT 0,
    latency_min bigint,
    latency_max bigint,
    tips numeric NOT NULL DEFAULT 0,
    fees numeric NOT NULL DEFAULT 0,
    odd_latencies bigint NOT NULL DEFAULT 0,
    odd_costs bigint NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS state_tracker.job_counts (
    run uuid NOT NULL,
    queue text NOT NULL,
    status text NOT NULL,
    jobs bigint NOT NULL,
    PRIMARY KEY (run, queue, status)
);
-- A sketch of latencies: bin i counts those in (g^(i-1), g^i] with g = 1.005/0.995, so that any value of a bin is within 0.5 % of
-- its middle (DDSketch). Bin -1 counts zeros.
CREATE TABLE IF NOT EXISTS state_tracker.latency_bins (
    run uuid NOT NULL,
    bin integer NOT NULL,
    executions bigint NOT NULL,
    PRIMARY KEY (run, bin)
);
CREATE TABLE IF NOT EXISTS state_tracker.held_jobs (
    run uuid NOT NULL,
    xid xid8 NOT NULL,
    queue text NOT NULL,
    status text NOT NULL,
    jobs bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS held_jobs_run ON state_tracker.held_jobs (run);
CREATE TABLE IF NOT EXISTS state_tracker.held_executions (
    run uuid NOT NULL,
    xid xid8 NOT NULL,
    execution uuid NOT NULL
);
CREATE INDEX IF NOT EXISTS held_executions_run ON state_tracker.held_executions (run);
-- Jobs whose status changed, in the order in which the changes were applied. Bounded: old rows are removed.
CREATE TABLE IF NOT EXISTS state_tracker.changed_jobs (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job uuid NOT NULL,
    run uuid NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT now()
);
