//! All figures of a run in one statement, whatever its size: the database counts, and one row comes back.
//!
//! The statement reads the run's jobs once by the index on `jobs(run_id, …)` and joins their executions by the index on
//! `executions(job_id, …)`. Latencies are grouped by their value first: the percentiles then come from a few thousand groups
//! instead of a sort of all executions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domain::campaigns::{
    CampaignId, LONGEST_LATENCY_MS, LONGEST_QUEUE_NAME, Latencies, MOST_COST_DIGITS, MOST_QUEUES,
    MOST_TOTAL_LAMPORTS, Metrics, QueueTally, RunId, RunStatus, Tally, Unreadable,
};
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::database::{Access, Database, Parameter};
use crate::error::{DatabaseError, DatabaseErrorKind};
use crate::operations::COMPUTE_METRICS;
use crate::rows::uuids;

/// Settings of the transaction: a hash join of a large run would be written to disk in many parts with the default of 4 MB, and
/// compiling the statement takes longer than it saves.
pub(crate) const PLANNING: &str = "SET LOCAL work_mem = '64MB'; SET LOCAL jit = off";

/// The most runs that one statement counts, and the most jobs that each of them may have.
const MOST_SMALL_RUNS: usize = 100;
const MOST_SMALL_JOBS: usize = 2_000;

/// What was counted in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Computed {
    /// The run.
    pub run: RunId,
    /// Its campaign.
    pub campaign: CampaignId,
    /// Its status in the same moment.
    pub status: RunStatus,
    /// What was counted.
    pub tally: Tally,
    /// The figures.
    pub metrics: Metrics,
    /// How long it took. Nine times as long passes before the run is counted again.
    pub took: Duration,
}

impl Database {
    /// Counts a run; none where the run is gone.
    ///
    /// # Errors
    /// When the database refuses or does not answer within the limit of computations.
    pub async fn compute(&self, run: RunId) -> Result<Option<Computed>, DatabaseError> {
        let settings = self.settings();
        let begin = format!("{}; {PLANNING}", self.begin(Access::Read, settings.compute_timeout));
        let ((tip, tip_kind), (fee, fee_kind)) =
            (cost("$2", &settings.tip_path), cost("$3", &settings.fee_path));
        let statement = compute_statement(&tip, &fee);
        let parameters: [Parameter<'_>; 3] = [
            (&run.0, Type::UUID),
            (step_or_path(&settings.tip_path), tip_kind),
            (step_or_path(&settings.fee_path), fee_kind),
        ];
        let started = Instant::now();
        let rows =
            self.single(COMPUTE_METRICS, &begin, settings.compute_timeout, &statement, &parameters).await?;
        let took = started.elapsed();
        let Some(row) = rows.first() else { return Ok(None) };
        let computed = read_computed(row, took).ok_or_else(|| {
            self.error(
                COMPUTE_METRICS,
                DatabaseErrorKind::BadData,
                format!("the status of run {run} is none"),
            )
        })?;
        Ok(Some(computed))
    }

    /// Counts those of these runs that are small, at most 100, in one statement: to plan it takes as long as to count such a run.
    /// Runs that are missing in the answer have too many jobs, are gone or can't be read: [`Database::compute`] says which.
    ///
    /// # Errors
    /// When the database refuses or does not answer within the limit of statements.
    pub async fn compute_small(&self, runs: &[RunId]) -> Result<Vec<Computed>, DatabaseError> {
        let settings = self.settings();
        let begin = format!("{}; {PLANNING}", self.begin(Access::Read, settings.statement_timeout));
        let ((tip, tip_kind), (fee, fee_kind)) =
            (cost("$2", &settings.tip_path), cost("$3", &settings.fee_path));
        let statement = small_statement(&tip, &fee);
        let runs = uuids(&runs[..runs.len().min(MOST_SMALL_RUNS)], |run| run.0);
        let parameters: [Parameter<'_>; 3] = [
            (&runs, Type::UUID_ARRAY),
            (step_or_path(&settings.tip_path), tip_kind),
            (step_or_path(&settings.fee_path), fee_kind),
        ];
        let started = Instant::now();
        let limit = settings.statement_timeout;
        let rows = self.single(COMPUTE_METRICS, &begin, limit, &statement, &parameters).await?;
        // Each has its share: together they pause for as long as if they had been counted one by one.
        let took = started.elapsed() / u32::try_from(rows.len().max(1)).unwrap_or(1);
        Ok(rows.iter().filter_map(|row| read_computed(row, took)).collect())
    }

    /// The statement of [`Database::compute`] for `psql`, with its parameters in place: benchmarks and documents use it.
    #[must_use]
    pub fn compute_statement_for(&self, run: RunId) -> String {
        let quoted = |text: &String| format!("'{}'", text.replace('\'', "''"));
        let literal = |path: &[String]| match path {
            [step] => quoted(step),
            path => format!("ARRAY[{}]::text[]", path.iter().map(quoted).collect::<Vec<_>>().join(", ")),
        };
        let settings = self.settings();
        let (tip, fee) = (literal(&settings.tip_path), literal(&settings.fee_path));
        compute_statement(&cost(&tip, &settings.tip_path).0, &cost(&fee, &settings.fee_path).0)
            .replace("$1", &format!("'{run}'::uuid"))
    }
}

/// The parameter for a path.
pub(crate) fn step_or_path(path: &Vec<String>) -> &(dyn ToSql + Sync) {
    match path.as_slice() {
        [step] => step,
        _ => path,
    }
}

/// A cost within `executions.result`, as text. A path of one step has an operator that takes half the time of the general one.
pub(crate) fn cost(parameter: &str, path: &[String]) -> (String, Type) {
    let (operator, kind) = if path.len() == 1 { ("->>", Type::TEXT) } else { ("#>>", Type::TEXT_ARRAY) };
    (format!("e.result {operator} {parameter}"), kind)
}

/// A cost of the text `cost`, NULL where it is none: digits alone, whether the JSON has a number or a text, as programs write what
/// JavaScript can't hold. This is the cheapest test; it takes most of the time of a large run.
pub(crate) fn readable(cost: &str) -> String {
    format!(
        "CASE WHEN octet_length({cost}) BETWEEN 1 AND {MOST_COST_DIGITS} AND ltrim({cost}, \
        '0123456789') = '' \
         THEN {cost}::bigint END"
    )
}

fn compute_statement(tip: &str, fee: &str) -> String {
    // A LEFT JOIN LATERAL on true changes no row, and has each expression evaluated once, where a plain subquery would be merged and
    // its expressions evaluated at each use. `OFFSET 0` would do the same, but not in parallel.
    let of_run = "j.run_id = $1 AND (j.queue, j.type) IS DISTINCT FROM ('status', 'aggregate-status')";
    let unlisted = |count: &str| format!("coalesce(sum({count}) FILTER (WHERE counts AND NOT listed), 0)");
    let others = ["succeeded", "failed", "queued", "running", "cancelled"].map(unlisted).join(", ");
    let statuses = "'queued', 'processing', 'running', 'succeeded', 'failed', 'cancelled'";
    format!(
        "WITH names AS (\
           SELECT coalesce(j.queue, '') AS queue, char_length(coalesce(j.queue, '')) <= \
           {LONGEST_QUEUE_NAME} AS fits, \
             count(*) FILTER (WHERE j.status = 'succeeded') AS succeeded, \
             count(*) FILTER (WHERE j.status = 'failed') AS failed, \
             count(*) FILTER (WHERE j.status = 'queued') AS queued, \
             count(*) FILTER (WHERE j.status IN ('processing', 'running')) AS running, \
             count(*) FILTER (WHERE j.status = 'cancelled') AS cancelled, \
             count(*) FILTER (WHERE j.status IS NULL OR j.status NOT IN ({statuses})) AS odd, count(*) \
             AS total \
           FROM jobs j WHERE {of_run} GROUP BY 1, 2), \
         places AS (\
           SELECT *, fits AND total > odd AS counts, \
             row_number() OVER (ORDER BY fits AND total > odd DESC, total - odd DESC, queue) <= \
             {MOST_QUEUES} AS listed \
           FROM names), \
         queues AS (\
           SELECT jsonb_agg(jsonb_build_array(queue, succeeded, failed, queued, running, cancelled)) \
               FILTER (WHERE counts AND listed) AS listed, \
             jsonb_build_array({others}) AS others, \
             coalesce(sum(CASE WHEN fits THEN odd ELSE total END), 0)::bigint AS odd FROM places), \
         latencies AS (\
           SELECT e.latency_ms::bigint AS ms, e.latency_ms BETWEEN 0 AND {LONGEST_LATENCY_MS} AS fits, \
           count(*) AS n, \
             sum(number.tip) AS tips, sum(number.fee) AS fees, \
             count(text.tip) - count(number.tip) + count(text.fee) - count(number.fee) AS odd_costs \
           FROM jobs j JOIN executions e ON e.job_id = j.id \
             LEFT JOIN LATERAL (SELECT {tip} AS tip, {fee} AS fee) text ON true \
             LEFT JOIN LATERAL (SELECT {tip_number} AS tip, {fee_number} AS fee) number ON true \
           WHERE {of_run} GROUP BY e.latency_ms), \
         ranks AS (\
           SELECT *, sum(n) FILTER (WHERE fits) OVER (ORDER BY ms) AS place, sum(n) FILTER (WHERE fits) \
           OVER () AS whole \
           FROM latencies), \
         figures AS (\
           SELECT coalesce(sum(n), 0)::bigint AS n, coalesce(sum(n) FILTER (WHERE fits IS NOT TRUE), \
           0)::bigint AS odd, \
             coalesce(sum(n) FILTER (WHERE fits), 0)::bigint AS fits, \
             coalesce(sum(n * ms) FILTER (WHERE fits), 0)::bigint AS sum, \
             min(ms) FILTER (WHERE fits) AS lowest, max(ms) FILTER (WHERE fits) AS highest, \
             min(ms) FILTER (WHERE fits AND place >= ceil(whole * 0.95)) AS p95, \
             min(ms) FILTER (WHERE fits AND place >= ceil(whole * 0.99)) AS p99, \
             least(coalesce(sum(tips), 0), {MOST_TOTAL_LAMPORTS})::bigint AS tips, \
             least(coalesce(sum(fees), 0), {MOST_TOTAL_LAMPORTS})::bigint AS fees, \
             coalesce(sum(odd_costs), 0)::bigint AS odd_costs FROM ranks) \
         SELECT r.campaign_id, r.status::text AS status, q.listed, q.others, q.odd AS odd_jobs, e.n, e.odd, \
           e.fits, e.sum, e.lowest, e.highest, e.p95, e.p99, e.tips, e.fees, e.odd_costs, r.id \
         FROM campaign_runs r CROSS JOIN queues q CROSS JOIN figures e WHERE r.id = $1",
        tip_number = readable("text.tip"),
        fee_number = readable("text.fee"),
    )
}

/// The same for the small ones of several runs. It is executed for one run after another, as for one alone: joined for all of them, it
/// would be planned with a scan of all executions.
fn small_statement(tip: &str, fee: &str) -> String {
    format!(
        "SELECT one.* FROM (SELECT w.run FROM unnest($1::uuid[]) AS w (run) \
           WHERE (SELECT count(*) FROM (SELECT FROM jobs j WHERE j.run_id = w.run LIMIT {MOST_SMALL_JOBS} + 1) AS part) \
             <= {MOST_SMALL_JOBS} OFFSET 0) AS wanted \
         CROSS JOIN LATERAL ({}) AS one",
        compute_statement(tip, fee).replace("$1", "wanted.run")
    )
}

/// A row of the statement; none where the run's status is none.
fn read_computed(row: &Row, took: Duration) -> Option<Computed> {
    let status = row.get::<_, Option<&str>>(1).and_then(RunStatus::parse)?;
    let tally = read_tally(row);
    let metrics = Metrics::of(&tally);
    Some(Computed { run: RunId(row.get(16)), campaign: CampaignId(row.get(0)), status, tally, metrics, took })
}

fn read_tally(row: &Row) -> Tally {
    let count = |index: usize| u64::try_from(row.get::<_, Option<i64>>(index).unwrap_or(0)).unwrap_or(0);
    let queues: Option<Value> = row.get(2);
    let others: Option<Value> = row.get(3);
    let listed = queues.as_ref().and_then(Value::as_array).into_iter().flatten();
    let queues: BTreeMap<String, QueueTally> = listed
        .filter_map(|queue| {
            let fields = queue.as_array()?;
            Some((fields.first()?.as_str()?.to_owned(), read_queue(fields.get(1..)?)))
        })
        .collect();
    Tally {
        queues,
        others: others
            .as_ref()
            .and_then(Value::as_array)
            .map_or_else(QueueTally::default, |all| read_queue(all)),
        executions: count(5),
        latencies: Latencies {
            count: count(7),
            sum_ms: count(8),
            min_ms: count(9),
            max_ms: count(10),
            p95_ms: count(11),
            p99_ms: count(12),
        },
        tip_lamports: count(13),
        fee_lamports: count(14),
        unreadable: Unreadable { jobs: count(4), latencies: count(6), costs: count(15) },
    }
}

fn read_queue(fields: &[Value]) -> QueueTally {
    let count = |index: usize| fields.get(index).and_then(Value::as_u64).unwrap_or(0);
    QueueTally {
        succeeded: count(0),
        failed: count(1),
        queued: count(2),
        running: count(3),
        cancelled: count(4),
    }
}
