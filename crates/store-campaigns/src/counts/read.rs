//! What was counted of a run, in one small statement.

use domain::campaigns::{CampaignId, MOST_TOTAL_LAMPORTS, RunId, RunStatus, Tally};
use tokio_postgres::types::Type;

use super::figures::{ExecutionFigures, JobGroup, tally_of};
use crate::database::Database;
use crate::error::{DatabaseError, DatabaseErrorKind};
use crate::operations::READ_COUNTS;

/// The most groups and bins that are read.
const MOST_READ: usize = 30_000;

/// The counts of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// The run.
    pub run: RunId,
    /// Its campaign.
    pub campaign: CampaignId,
    /// Its status.
    pub status: RunStatus,
    /// What was counted; percentiles are within one per cent.
    pub tally: Tally,
    /// The Unix milliseconds of the last full computation.
    pub counted_at_ms: i64,
}

impl Database {
    /// The counts of a run, as of the last [`Database::count_changes`]; none where the run is gone, or does not count: then
    /// [`Database::recount`] computes it.
    ///
    /// # Errors
    /// When the migration is missing, or the database refuses or does not answer.
    pub async fn counted(&self, run: RunId) -> Result<Option<Counted>, DatabaseError> {
        let statement = format!(
            "SELECT c.campaign_id, c.status::text, coalesce((extract(epoch FROM r.counted_at) * 1000)::bigint, 0), \
               r.executions, r.latencies, r.latency_sum, r.latency_min, r.latency_max, \
               least(r.tips, {MOST_TOTAL_LAMPORTS})::bigint, least(r.fees, {MOST_TOTAL_LAMPORTS})::bigint, \
               r.odd_latencies, r.odd_costs, g.queues, g.statuses, g.jobs, b.bins, b.numbers \
             FROM state_tracker.run_counts r JOIN campaign_runs c ON c.id = r.run, \
               LATERAL (SELECT array_agg(queue) AS queues, array_agg(status) AS statuses, array_agg(jobs) AS jobs FROM \
                 (SELECT * FROM state_tracker.job_counts WHERE run = $1 AND jobs <> 0 LIMIT {MOST_READ}) AS part) AS g, \
               LATERAL (SELECT array_agg(bin ORDER BY bin) AS bins, array_agg(executions ORDER BY bin) AS numbers FROM \
                 (SELECT * FROM state_tracker.latency_bins WHERE run = $1 LIMIT {MOST_READ}) AS part) AS b \
             WHERE r.run = $1 AND r.is_counted"
        );
        let rows = self.read(READ_COUNTS, &statement, &[(&run.0, Type::UUID)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let status = row.get::<_, Option<&str>>(1).and_then(RunStatus::parse).ok_or_else(|| {
            self.error(READ_COUNTS, DatabaseErrorKind::BadData, format!("the status of run {run} is none"))
        })?;
        let texts = |index: usize| row.get::<_, Option<Vec<String>>>(index).unwrap_or_default();
        let numbers = |index: usize| row.get::<_, Option<Vec<i64>>>(index).unwrap_or_default();
        let groups = texts(12).into_iter().zip(texts(13)).zip(numbers(14));
        let groups: Vec<JobGroup> =
            groups.map(|((queue, status), jobs)| JobGroup { queue, status, jobs }).collect();
        if groups.len() >= MOST_READ {
            // Queues kept coming since the run was counted anew.
            return Ok(None);
        }
        let bins = row.get::<_, Option<Vec<i32>>>(15).unwrap_or_default();
        let figures = ExecutionFigures {
            executions: row.get(3),
            latencies: row.get(4),
            sum: row.get(5),
            min: row.get(6),
            max: row.get(7),
            tips: row.get(8),
            fees: row.get(9),
            odd_latencies: row.get(10),
            odd_costs: row.get(11),
            bins: bins.into_iter().zip(numbers(16)).collect(),
        };
        // A count below zero is a drift that the next recount mends.
        let Some(tally) = tally_of(&groups, &figures) else { return Ok(None) };
        Ok(Some(Counted { run, campaign: CampaignId(row.get(0)), status, tally, counted_at_ms: row.get(2) }))
    }

    /// Forgets the counts of runs that are gone, or have left `running` a day ago: at most 100 at once. Returns how many.
    ///
    /// # Errors
    /// When the migration is missing, or the database refuses or does not answer.
    pub async fn forget_counts(&self) -> Result<u64, DatabaseError> {
        let statement = "WITH old AS MATERIALIZED (SELECT c.run FROM state_tracker.run_counts c \
               LEFT JOIN campaign_runs r ON r.id = c.run \
               WHERE r.id IS NULL OR (r.status <> 'running' AND coalesce(r.ended_at, r.started_at) < now() - interval '1 day' \
                 AND coalesce(c.counted_at, c.recount_since, '-infinity') < now() - interval '1 day') LIMIT 100), \
             jobs AS (DELETE FROM state_tracker.job_counts c USING old WHERE c.run = old.run), \
             bins AS (DELETE FROM state_tracker.latency_bins c USING old WHERE c.run = old.run), \
             held_jobs AS (DELETE FROM state_tracker.held_jobs c USING old WHERE c.run = old.run), \
             held_executions AS (DELETE FROM state_tracker.held_executions c USING old WHERE c.run = old.run), \
             runs AS (DELETE FROM state_tracker.run_counts c USING old WHERE c.run = old.run RETURNING 1) \
             SELECT count(*) FROM runs";
        let rows = self.write(READ_COUNTS, statement, &[]).await?;
        Ok(rows.first().and_then(|row| u64::try_from(row.get::<_, i64>(0)).ok()).unwrap_or(0))
    }
}
