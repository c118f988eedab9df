//! Counts a run anew, beside the writers, and makes its incremental counts those of the same moment.
//!
//! 1. A mark: from now on each step holds the run's changes apart as well.
//! 2. The full computation in one snapshot, which takes as long as it takes and excludes nobody.
//! 3. Once everything that the snapshot saw has been taken from the appended changes, the result plus the held changes that the
//!    snapshot did not see are the run's counts. They replace those that were there; a difference between both is a drift: changes
//!    that no trigger saw.
//!
//! A crash in between leaves a mark that the next recount replaces.

use std::time::{Duration, Instant};

use domain::campaigns::{CampaignId, RunId, RunStatus, Tally};
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::figures::{ExecutionFigures, JobGroup, tally_of};
use super::statements::{AFTER_A_CRASH, ALL_JOBS, Costs, EXCLUDE, all_executions, held_executions};
use crate::compute::{PLANNING, cost, step_or_path};
use crate::database::{Database, Parameter};
use crate::error::{DatabaseError, DatabaseErrorKind};
use crate::operations::RECOUNT_RUN;

/// The most groups of queue and status that a run may have to be counted by changes.
const MOST_GROUPS: i64 = 20_000;
/// How often the end waits for a step that takes what the snapshot saw.
const MOST_STEPS: usize = 500;

/// A run that was counted anew.
#[derive(Clone, Debug, PartialEq)]
pub struct Recounted {
    /// The run.
    pub run: RunId,
    /// Its campaign.
    pub campaign: CampaignId,
    /// Its status in the moment of the snapshot.
    pub status: RunStatus,
    /// What was counted; percentiles are within one per cent.
    pub tally: Tally,
    /// How long the computation took. Nine times as long passes before the run is counted anew again.
    pub took: Duration,
    /// Whether changes are counted from now on.
    pub outcome: RecountOutcome,
}

/// What became of the incremental counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecountOutcome {
    /// The run counts. `drift`: groups of jobs, and sums of executions, in which the former counts differed; none where the run
    /// did not count before.
    Counts {
        /// The groups and sums that were mended.
        drift: Option<u64>,
    },
    /// Another recount of the run began, or rows were removed meanwhile: the run does not count.
    Overtaken,
    /// The appended changes could not be taken in time: the run does not count by this recount.
    Behind,
    /// The run has too many queues.
    TooManyQueues,
}

/// What the snapshot saw.
struct Base {
    campaign: CampaignId,
    status: RunStatus,
    snapshot: String,
    jobs: Vec<JobGroup>,
    executions: ExecutionFigures,
}

impl Database {
    /// Counts a run anew; none where the run is gone.
    ///
    /// # Errors
    /// When the migration is missing, or the database refuses or does not answer.
    pub async fn recount(&self, run: RunId) -> Result<Option<Recounted>, DatabaseError> {
        let token = Uuid::from_u128(
            u128::from(retry::random().to_bits()) << 64 | u128::from(retry::random().to_bits()),
        );
        let marked = async |transaction: &deadpool_postgres::Transaction<'_>| {
            transaction.batch_execute(EXCLUDE).await?;
            transaction.query_typed(AFTER_A_CRASH, &[]).await?;
            transaction.query_typed(MARK, &[(&run.0, Type::UUID), (&token, Type::UUID)]).await
        };
        if self.transaction(RECOUNT_RUN, marked).await?.is_empty() {
            return Ok(None);
        }
        let started = Instant::now();
        let Some(base) = self.base(run).await? else { return Ok(None) };
        let took = started.elapsed();
        let tally = tally_of(&base.jobs, &base.executions).ok_or_else(|| {
            self.error(RECOUNT_RUN, DatabaseErrorKind::BadData, format!("a count of run {run} is below zero"))
        })?;
        let outcome = self.settle(run, token, &base).await?;
        Ok(Some(Recounted { run, campaign: base.campaign, status: base.status, tally, took, outcome }))
    }

    /// The full computation, in one snapshot.
    async fn base(&self, run: RunId) -> Result<Option<Base>, DatabaseError> {
        let settings = self.settings();
        let limit = settings.compute_timeout;
        let mut connection = self.connection(RECOUNT_RUN).await?;
        let begin = format!(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; {}; {PLANNING}",
            self.limits(limit)
        );
        let most = MOST_GROUPS + 1;
        let ((tip, tip_kind), (fee, fee_kind)) =
            (cost("$2", &settings.tip_path), cost("$3", &settings.fee_path));
        let all = async {
            // It rolls back when it is dropped.
            let transaction = connection.transaction().await?;
            transaction.batch_execute(&begin).await?;
            let head = transaction.query_typed(HEAD, &[(&run.0, Type::UUID)]).await?;
            let jobs =
                transaction.query_typed(ALL_JOBS, &[(&run.0, Type::UUID), (&most, Type::INT8)]).await?;
            let executions = transaction
                .query_typed(
                    &all_executions(Costs { tip: &tip, fee: &fee }),
                    &[
                        (&run.0, Type::UUID),
                        (step_or_path(&settings.tip_path), tip_kind),
                        (step_or_path(&settings.fee_path), fee_kind),
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok::<_, Error>((head, jobs, executions))
        };
        let answer = tokio::time::timeout(limit * 2, all).await;
        let (head, jobs, executions) = match answer {
            Ok(read) => read.map_err(|error| DatabaseError::postgres(RECOUNT_RUN, self.object(), error))?,
            Err(_) => {
                drop(deadpool_postgres::Object::take(connection));
                return Err(DatabaseError::no_answer(RECOUNT_RUN, self.object(), limit * 2));
            }
        };
        let Some(head) = head.first() else { return Ok(None) };
        let status = head.get::<_, Option<&str>>(1).and_then(RunStatus::parse).ok_or_else(|| {
            self.error(RECOUNT_RUN, DatabaseErrorKind::BadData, format!("the status of run {run} is none"))
        })?;
        Ok(Some(Base {
            campaign: CampaignId(head.get(0)),
            status,
            snapshot: head.get(2),
            jobs: jobs.iter().map(read_group).collect(),
            executions: read_figures(&executions),
        }))
    }

    /// Makes the counts those of the base and the changes since.
    async fn settle(&self, run: RunId, token: Uuid, base: &Base) -> Result<RecountOutcome, DatabaseError> {
        if base.jobs.len() > MOST_GROUPS as usize {
            return Ok(RecountOutcome::TooManyQueues);
        }
        for _ in 0..MOST_STEPS {
            let settled = async |transaction: &deadpool_postgres::Transaction<'_>| {
                self.settle_within(transaction, run, token, base).await
            };
            if let Some(outcome) = self.transaction(RECOUNT_RUN, settled).await? {
                return Ok(outcome);
            }
            self.count_changes().await?;
        }
        Ok(RecountOutcome::Behind)
    }

    /// None where appended changes that the snapshot saw are still to be taken.
    async fn settle_within(
        &self,
        transaction: &deadpool_postgres::Transaction<'_>,
        run: RunId,
        token: Uuid,
        base: &Base,
    ) -> Result<Option<RecountOutcome>, Error> {
        transaction.batch_execute(EXCLUDE).await?;
        // A crash since the mark has lost changes that were to be held.
        transaction.query_typed(AFTER_A_CRASH, &[]).await?;
        let id: Parameter<'_> = (&run.0, Type::UUID);
        let look = transaction
            .query_typed(LOOK, &[id.clone(), (&token, Type::UUID), (&base.snapshot, Type::TEXT)])
            .await?;
        let Some(look) = look.first().filter(|row| row.get(0)) else {
            return Ok(Some(RecountOutcome::Overtaken));
        };
        if look.get(1) {
            return Ok(None);
        }
        let was_counted: bool = look.get(2);
        let settings = self.settings();
        let ((tip, tip_kind), (fee, fee_kind)) =
            (cost("$2", &settings.tip_path), cost("$3", &settings.fee_path));
        let held = transaction
            .query_typed(
                &held_executions(Costs { tip: &tip, fee: &fee }),
                &[
                    id.clone(),
                    (step_or_path(&settings.tip_path), tip_kind),
                    (step_or_path(&settings.fee_path), fee_kind),
                    (&base.snapshot, Type::TEXT),
                ],
            )
            .await?;
        let figures = base.executions.clone().plus(&read_figures(&held));
        let drift = replace(transaction, run, base, &figures).await?;
        Ok(Some(RecountOutcome::Counts { drift: was_counted.then_some(drift) }))
    }
}

/// Puts the counts in the place of those that were there. Returns in how many groups and sums these differed.
async fn replace(
    transaction: &deadpool_postgres::Transaction<'_>,
    run: RunId,
    base: &Base,
    figures: &ExecutionFigures,
) -> Result<u64, Error> {
    let id: Parameter<'_> = (&run.0, Type::UUID);
    let queues: Vec<&str> = base.jobs.iter().map(|group| group.queue.as_str()).collect();
    let statuses: Vec<&str> = base.jobs.iter().map(|group| group.status.as_str()).collect();
    let jobs: Vec<i64> = base.jobs.iter().map(|group| group.jobs).collect();
    let base_jobs: [Parameter<'_>; 5] = [
        id.clone(),
        (&queues, Type::TEXT_ARRAY),
        (&statuses, Type::TEXT_ARRAY),
        (&jobs, Type::INT8_ARRAY),
        (&base.snapshot, Type::TEXT),
    ];
    let drift_of_jobs = transaction.query_typed(&drift_of_jobs(), &base_jobs).await?;
    let sums = figures.sums();
    let drift_of_executions =
        transaction.query_typed(DRIFT_OF_EXECUTIONS, &[id.clone(), (&sums, Type::INT8_ARRAY)]).await?;
    transaction.query_typed(FORGET_JOBS, std::slice::from_ref(&id)).await?;
    transaction.query_typed(FORGET_BINS, std::slice::from_ref(&id)).await?;
    transaction.query_typed(&put_jobs(), &base_jobs).await?;
    let (bins, numbers): (Vec<i32>, Vec<i64>) = figures.bins.iter().copied().unzip();
    transaction
        .query_typed(PUT_BINS, &[id.clone(), (&bins, Type::INT4_ARRAY), (&numbers, Type::INT8_ARRAY)])
        .await?;
    transaction
        .query_typed(
            PUT_SUMS,
            &[id.clone(), (&sums, Type::INT8_ARRAY), (&figures.min, Type::INT8), (&figures.max, Type::INT8)],
        )
        .await?;
    let number =
        |rows: &[Row]| rows.first().and_then(|row| u64::try_from(row.get::<_, i64>(0)).ok()).unwrap_or(0);
    Ok(number(&drift_of_jobs) + number(&drift_of_executions))
}

/// `$1` the run, `$2` the token. No row where the run is gone.
const MARK: &str = "WITH jobs AS (DELETE FROM state_tracker.held_jobs WHERE run = $1), \
     executions AS (DELETE FROM state_tracker.held_executions WHERE run = $1) \
     INSERT INTO state_tracker.run_counts AS c (run, recount, recount_since) \
     SELECT id, $2, now() FROM campaign_runs WHERE id = $1 \
     ON CONFLICT (run) DO UPDATE SET recount = excluded.recount, recount_since = excluded.recount_since RETURNING true";

/// The run, and the snapshot of this and all later statements of the transaction.
const HEAD: &str =
    "SELECT campaign_id, status::text, pg_current_snapshot()::text FROM campaign_runs WHERE id = $1";

/// Whether the mark is still ours; whether appended changes that the snapshot `$3` saw are left; whether the run counts.
const LOOK: &str = "SELECT r.recount IS NOT DISTINCT FROM $2, \
     EXISTS (SELECT FROM state_tracker.job_changes WHERE pg_visible_in_snapshot(xid, $3::text::pg_snapshot)) \
       OR EXISTS (SELECT FROM state_tracker.execution_changes WHERE pg_visible_in_snapshot(xid, $3::text::pg_snapshot)), \
     r.is_counted FROM state_tracker.run_counts r WHERE r.run = $1";

/// The base `$2`, `$3`, `$4` plus the held changes of the run `$1` that the snapshot `$5` did not see.
const NEW_JOBS: &str = "new AS (SELECT queue, status, sum(jobs)::bigint AS jobs FROM (\
       SELECT * FROM unnest($2::text[], $3::text[], $4::bigint[]) AS base (queue, status, jobs) \
       UNION ALL SELECT queue, status, jobs FROM state_tracker.held_jobs \
         WHERE run = $1 AND NOT pg_visible_in_snapshot(xid, $5::text::pg_snapshot)) AS every \
     GROUP BY 1, 2 HAVING sum(jobs) <> 0)";

const DRIFT_OF_EXECUTIONS: &str = "SELECT count(*) FROM state_tracker.run_counts r, \
     unnest(ARRAY[r.executions, r.latencies, r.latency_sum, r.odd_latencies, r.odd_costs], $2::bigint[]) AS u (old, new) \
     WHERE r.run = $1 AND u.old IS NOT NULL AND u.old <> u.new";
const FORGET_JOBS: &str = "DELETE FROM state_tracker.job_counts WHERE run = $1";
const FORGET_BINS: &str = "DELETE FROM state_tracker.latency_bins WHERE run = $1";
const PUT_BINS: &str = "INSERT INTO state_tracker.latency_bins (run, bin, executions) \
     SELECT $1, bin, executions FROM unnest($2::integer[], $3::bigint[]) AS u (bin, executions)";
const PUT_SUMS: &str = "WITH jobs AS (DELETE FROM state_tracker.held_jobs WHERE run = $1), \
     executions AS (DELETE FROM state_tracker.held_executions WHERE run = $1) \
     UPDATE state_tracker.run_counts SET is_counted = true, recount = NULL, recount_since = NULL, counted_at = now(), \
       executions = ($2::bigint[])[1], latencies = ($2::bigint[])[2], latency_sum = ($2::bigint[])[3], \
       odd_latencies = ($2::bigint[])[4], odd_costs = ($2::bigint[])[5], tips = ($2::bigint[])[6], \
       fees = ($2::bigint[])[7], latency_min = $3, latency_max = $4 WHERE run = $1";

fn drift_of_jobs() -> String {
    format!(
        "WITH {NEW_JOBS}, old AS (SELECT queue, status, jobs FROM state_tracker.job_counts WHERE run = $1 AND jobs <> 0) \
         SELECT count(*) FROM new FULL JOIN old USING (queue, status) WHERE new.jobs IS DISTINCT FROM old.jobs"
    )
}

fn put_jobs() -> String {
    format!(
        "WITH {NEW_JOBS} INSERT INTO state_tracker.job_counts (run, queue, status, jobs) SELECT $1, queue, status, jobs FROM new"
    )
}

fn read_group(row: &Row) -> JobGroup {
    JobGroup { queue: row.get(0), status: row.get(1), jobs: row.get(2) }
}

fn read_figures(rows: &[Row]) -> ExecutionFigures {
    let mut figures = ExecutionFigures::default();
    for row in rows {
        figures = figures.plus(&ExecutionFigures {
            executions: row.get(1),
            latencies: row.get(2),
            sum: row.get(3),
            min: row.get(4),
            max: row.get(5),
            tips: row.get(6),
            fees: row.get(7),
            odd_latencies: row.get(8),
            odd_costs: row.get(9),
            bins: row.get::<_, Option<i32>>(0).map(|bin| (bin, row.get(2))).into_iter().collect(),
        });
    }
    figures
}
