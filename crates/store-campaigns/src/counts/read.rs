//! What was counted of a run, in one small statement.

use std::time::Duration;

use domain::campaigns::{CampaignId, MOST_TOTAL_LAMPORTS, RunId, RunStatus, Tally};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::figures::{ExecutionFigures, JobGroup, tally_of};
use crate::database::Database;
use crate::error::DatabaseError;
use crate::operations::READ_COUNTS;
use crate::rows::uuids;
use crate::statement::{NOW_MS, millis};

/// The most runs of one call.
const MOST_RUNS: usize = 100;
/// The most groups and bins of a run that are read.
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
    /// How long ago the last full computation was, by the database's clock.
    pub age: Duration,
}

impl Database {
    /// The counts of a run, as of the last [`Database::count_changes`]; none where the run is gone, or does not count: then
    /// [`Database::recount`] computes it.
    ///
    /// # Errors
    /// When the migration is missing, or the database refuses or does not answer.
    pub async fn counted(&self, run: RunId) -> Result<Option<Counted>, DatabaseError> {
        Ok(self.counted_runs(&[run]).await?.pop())
    }

    /// The counts of several runs, at most 100; those that are gone or do not count are left out.
    ///
    /// # Errors
    /// When the migration is missing, or the database refuses or does not answer.
    pub async fn counted_runs(&self, runs: &[RunId]) -> Result<Vec<Counted>, DatabaseError> {
        let statement = format!(
            "SELECT c.campaign_id, c.status::text, coalesce({NOW_MS} - {counted_at}, 9223372036854775807), \
               r.executions, r.latencies, r.latency_sum, r.latency_min, r.latency_max, \
               least(r.tips, {MOST_TOTAL_LAMPORTS})::bigint, least(r.fees, {MOST_TOTAL_LAMPORTS})::bigint, \
               r.odd_latencies, r.odd_costs, g.queues, g.statuses, g.jobs, b.bins, b.numbers, r.run \
             FROM state_tracker.run_counts r JOIN campaign_runs c ON c.id = r.run, \
               LATERAL (SELECT array_agg(queue) AS queues, array_agg(status) AS statuses, array_agg(jobs) AS jobs FROM \
                 (SELECT * FROM state_tracker.job_counts j WHERE j.run = r.run AND jobs <> 0 LIMIT {MOST_READ}) AS part) AS g, \
               LATERAL (SELECT array_agg(bin ORDER BY bin) AS bins, array_agg(executions ORDER BY bin) AS numbers FROM \
                 (SELECT * FROM state_tracker.latency_bins l WHERE l.run = r.run LIMIT {MOST_READ}) AS part) AS b \
             WHERE r.run = ANY ($1) AND r.is_counted",
            counted_at = millis("r.counted_at"),
        );
        let runs = uuids(&runs[..runs.len().min(MOST_RUNS)], |run| run.0);
        let rows = self.read(READ_COUNTS, &statement, &[(&runs, Type::UUID_ARRAY)]).await?;
        Ok(rows.iter().filter_map(read_counted).collect())
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

/// The counts of a row; none where they can't be used: a full computation finds out why.
fn read_counted(row: &Row) -> Option<Counted> {
    let status = row.get::<_, Option<&str>>(1).and_then(RunStatus::parse)?;
    let texts = |index: usize| row.get::<_, Option<Vec<String>>>(index).unwrap_or_default();
    let numbers = |index: usize| row.get::<_, Option<Vec<i64>>>(index).unwrap_or_default();
    let groups = texts(12).into_iter().zip(texts(13)).zip(numbers(14));
    let groups: Vec<JobGroup> =
        groups.map(|((queue, status), jobs)| JobGroup { queue, status, jobs }).collect();
    if groups.len() >= MOST_READ {
        // Queues kept coming since the run was counted anew.
        return None;
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
    // A moment that lies ahead, such as of a server that was before this one, has no age.
    let age = Duration::from_millis(u64::try_from(row.get::<_, i64>(2)).unwrap_or(0));
    // A count below zero is a drift that the next recount mends.
    let tally = tally_of(&groups, &figures)?;
    let (run, campaign) = (RunId(row.get(17)), CampaignId(row.get(0)));
    Some(Counted { run, campaign, status, tally, age })
}
