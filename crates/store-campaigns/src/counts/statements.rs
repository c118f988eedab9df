//! The statements of the incremental counts. No I/O.

use domain::campaigns::{LONGEST_LATENCY_MS, MOST_TOTAL_LAMPORTS};

use super::sketch::bin_of;
use crate::compute::readable;

/// Excludes every other step and the end of a recount. Taken before the first query of a transaction, so that its snapshot
/// comes after the commit of the one before. Nothing of the users asks for this table.
pub(super) const EXCLUDE: &str = "LOCK TABLE state_tracker.intact IN SHARE ROW EXCLUSIVE MODE";

/// After a crash of the server the appended changes are gone, and so is the row of this table: nothing counts any more. Returns
/// whether that happened.
pub(super) const AFTER_A_CRASH: &str = "WITH crash AS (SELECT WHERE NOT EXISTS (SELECT FROM state_tracker.intact)), \
     noted AS (INSERT INTO state_tracker.intact SELECT now() FROM crash RETURNING 1), \
     runs AS (UPDATE state_tracker.run_counts SET is_counted = false, recount = NULL FROM crash RETURNING 1), \
     jobs AS (DELETE FROM state_tracker.held_jobs USING crash), \
     executions AS (DELETE FROM state_tracker.held_executions USING crash) \
     SELECT EXISTS (SELECT FROM crash)";

/// Which jobs count: all but our own.
pub(super) const OF_USERS: &str = "(j.queue, j.type) IS DISTINCT FROM ('status', 'aggregate-status')";

/// The first `$1` appended rows of a table.
fn first(table: &str) -> String {
    format!(
        "DELETE FROM state_tracker.{table} \
         WHERE ctid = ANY (ARRAY(SELECT ctid FROM state_tracker.{table} LIMIT $1)) RETURNING *"
    )
}

/// Applies appended changes of jobs: each once, in one statement. `$2` is the most changed jobs that are noted.
///
/// A job that was deleted, or has moved to another run, took executions with it that can't be found any more: its runs count no
/// longer, until they are counted anew. The two rows of an update may be in two steps: then the job is noted in any case.
pub(super) fn count_jobs() -> String {
    format!(
        "WITH taken AS MATERIALIZED ({first}), \
         users AS MATERIALIZED (SELECT xid, kind, job, run, left(coalesce(queue, ''), 101) AS queue, \
           CASE WHEN octet_length(status) > 20 THEN '?' ELSE coalesce(status, '') END AS status, \
           CASE WHEN kind IN ('i', 'n') THEN 1 ELSE -1 END AS jobs \
           FROM taken WHERE kind IN ('i', 'n', 'o', 'd') AND (queue, type) IS DISTINCT FROM ('status', 'aggregate-status')), \
         deltas AS MATERIALIZED (SELECT u.run, u.xid, u.queue, u.status, sum(u.jobs) AS jobs, r.is_counted, r.recount \
           FROM users u JOIN state_tracker.run_counts r ON r.run = u.run \
           GROUP BY u.run, u.xid, u.queue, u.status, r.is_counted, r.recount HAVING sum(u.jobs) <> 0), \
         spoilt AS MATERIALIZED (SELECT run FROM users WHERE kind = 'd' UNION SELECT run FROM taken WHERE kind = 'm' \
           UNION SELECT run FROM state_tracker.run_counts WHERE EXISTS (SELECT FROM taken WHERE kind = 't')), \
         sums AS (SELECT run, queue, status, sum(jobs)::bigint AS jobs FROM deltas WHERE is_counted \
           GROUP BY 1, 2, 3 HAVING sum(jobs) <> 0), \
         applied AS (INSERT INTO state_tracker.job_counts AS c (run, queue, status, jobs) SELECT * FROM sums \
           ON CONFLICT (run, queue, status) DO UPDATE SET jobs = c.jobs + excluded.jobs), \
         held AS (INSERT INTO state_tracker.held_jobs (run, xid, queue, status, jobs) \
           SELECT run, xid, queue, status, jobs FROM deltas WHERE recount IS NOT NULL), \
         marked AS (UPDATE state_tracker.run_counts r SET is_counted = false, recount = NULL FROM spoilt \
           WHERE r.run = spoilt.run AND (r.is_counted OR r.recount IS NOT NULL) RETURNING 1), \
         changed AS (SELECT job, run FROM users WHERE kind IN ('i', 'n', 'o') GROUP BY job, run, xid \
           HAVING sum(jobs) <> 0 OR min(status) <> max(status)), \
         noticed AS MATERIALIZED (SELECT DISTINCT job, run FROM changed), \
         noted AS (INSERT INTO state_tracker.changed_jobs (job, run) SELECT job, run FROM noticed LIMIT $2 RETURNING 1) \
         SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM marked), (SELECT count(*) FROM noticed), \
           (SELECT count(*) FROM noted)",
        first = first("job_changes"),
    )
}

/// The expressions of tip and fee, of `executions e`, as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs<'a> {
    pub tip: &'a str,
    pub fee: &'a str,
}

/// The columns of an execution that figures are made of, and what is to be joined for them.
const COLUMNS: &str = "latency.ms, number.tip, number.fee, \
     (text.tip IS NOT NULL AND number.tip IS NULL)::integer + (text.fee IS NOT NULL AND number.fee IS NULL)::integer AS odd_costs";

/// Each is evaluated once, as in the full computation.
fn joins(costs: Costs<'_>) -> String {
    let Costs { tip, fee } = costs;
    format!(
        "LEFT JOIN LATERAL (SELECT CASE WHEN e.latency_ms BETWEEN 0 AND {LONGEST_LATENCY_MS} \
           THEN e.latency_ms::bigint END AS ms) latency ON true \
         LEFT JOIN LATERAL (SELECT {tip} AS tip, {fee} AS fee) text ON true \
         LEFT JOIN LATERAL (SELECT {tip_number} AS tip, {fee_number} AS fee) number ON true",
        tip_number = readable("text.tip"),
        fee_number = readable("text.fee"),
    )
}

/// The sums over `execution_columns`, which add up.
const SUMS: &str = "count(*) AS executions, count(ms) AS latencies, coalesce(sum(ms), 0)::bigint AS total, min(ms) AS least, \
     max(ms) AS most, coalesce(sum(tip), 0) AS tips, coalesce(sum(fee), 0) AS fees, count(*) - count(ms) AS odd_latencies, \
     coalesce(sum(odd_costs), 0)::bigint AS odd_costs";

/// Applies appended changes of executions.
pub(super) fn count_executions(costs: Costs<'_>) -> String {
    format!(
        "WITH taken AS MATERIALIZED ({first}), \
         added AS MATERIALIZED (SELECT j.run_id AS run, t.xid, e.id AS execution, r.is_counted, r.recount, {COLUMNS} \
           FROM taken t JOIN executions e ON e.id = t.id \
           JOIN jobs j ON j.id = e.job_id JOIN state_tracker.run_counts r ON r.run = j.run_id {joins} \
           WHERE t.kind = 'i' AND {OF_USERS}), \
         spoilt AS MATERIALIZED (\
           SELECT DISTINCT j.run_id AS run FROM taken t JOIN jobs j ON j.id = t.id \
             WHERE t.kind = 'j' AND {OF_USERS} \
           UNION SELECT run FROM state_tracker.run_counts WHERE EXISTS (SELECT FROM taken WHERE kind = 't')), \
         sums AS (SELECT run, {SUMS} FROM added WHERE is_counted GROUP BY run), \
         bins AS (INSERT INTO state_tracker.latency_bins AS b (run, bin, executions) \
           SELECT run, {bin} AS bin, count(*) FROM added WHERE is_counted AND ms IS NOT NULL GROUP BY 1, 2 \
           ON CONFLICT (run, bin) DO UPDATE SET executions = b.executions + excluded.executions), \
         held AS (INSERT INTO state_tracker.held_executions (run, xid, execution) \
           SELECT run, xid, execution FROM added WHERE recount IS NOT NULL), \
         marked AS (UPDATE state_tracker.run_counts r SET \
             is_counted = r.is_counted AND NOT c.is_spoilt, recount = CASE WHEN c.is_spoilt THEN NULL ELSE r.recount END, \
             executions = r.executions + coalesce(c.executions, 0), latencies = r.latencies + coalesce(c.latencies, 0), \
             latency_sum = r.latency_sum + coalesce(c.total, 0), latency_min = least(r.latency_min, c.least), \
             latency_max = greatest(r.latency_max, c.most), tips = r.tips + coalesce(c.tips, 0), \
             fees = r.fees + coalesce(c.fees, 0), odd_latencies = r.odd_latencies + coalesce(c.odd_latencies, 0), \
             odd_costs = r.odd_costs + coalesce(c.odd_costs, 0) \
           FROM (SELECT coalesce(sums.run, spoilt.run) AS changed, spoilt.run IS NOT NULL AS is_spoilt, sums.* \
             FROM sums FULL JOIN spoilt ON spoilt.run = sums.run) AS c WHERE r.run = c.changed RETURNING c.is_spoilt) \
         SELECT (SELECT count(*) FROM taken), (SELECT count(*) FILTER (WHERE is_spoilt) FROM marked)",
        first = first("execution_changes"),
        joins = joins(costs),
        bin = bin_of("ms"),
    )
}

/// The jobs of the run `$1` by queue and status; at most `$2` groups.
pub(super) const ALL_JOBS: &str = "SELECT left(coalesce(j.queue, ''), 101), \
       CASE WHEN octet_length(j.status::text) > 20 THEN '?' ELSE coalesce(j.status::text, '') END, count(*) \
     FROM jobs j WHERE j.run_id = $1 AND (j.queue, j.type) IS DISTINCT FROM ('status', 'aggregate-status') \
     GROUP BY 1, 2 LIMIT $2";

/// The executions of the run `$1` by bin, with their sums.
pub(super) fn all_executions(costs: Costs<'_>) -> String {
    summed(&format!(
        "SELECT {COLUMNS} FROM jobs j JOIN executions e ON e.job_id = j.id {} WHERE j.run_id = $1 AND {OF_USERS}",
        joins(costs)
    ))
}

/// The same of the executions that were held for the run `$1` and are not in the snapshot `$4`.
pub(super) fn held_executions(costs: Costs<'_>) -> String {
    summed(&format!(
        "SELECT {COLUMNS} FROM state_tracker.held_executions h JOIN executions e ON e.id = h.execution {} \
         WHERE h.run = $1 AND NOT pg_visible_in_snapshot(h.xid, $4::text::pg_snapshot)",
        joins(costs)
    ))
}

fn summed(executions: &str) -> String {
    format!(
        "SELECT bin, executions, latencies, total, least, most, least(tips, {MOST_TOTAL_LAMPORTS})::bigint, \
           least(fees, {MOST_TOTAL_LAMPORTS})::bigint, odd_latencies, odd_costs \
         FROM (SELECT bin, {SUMS} FROM (SELECT {} AS bin, every.* FROM ({executions}) AS every) AS binned GROUP BY bin) AS g \
         ORDER BY bin",
        bin_of("ms"),
    )
}
