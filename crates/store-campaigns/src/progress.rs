//! Whether runs are counted, as the rows tell it: for operators who look why no status arrives.

use std::time::Duration;

use tokio_postgres::types::Type;

use crate::database::Database;
use crate::error::DatabaseError;
use crate::operations::READ_JOBS;
use crate::statement::{IS_OURS, NOW_MS, millis, number};

/// The most runs that are counted here.
const MOST_RUNS: u32 = 100_000;

/// What the rows tell of the work on runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Running runs of active campaigns: those to count. 100,000 at most.
    pub to_count: u64,
    /// Those of them that have no summary, although they began before the time that was asked for.
    pub without_summary: u64,
    /// How long ago a status job ended; none where none ever did, or its row was pruned.
    pub last_job: Option<Duration>,
    /// The longest computation of the status jobs that are kept.
    pub longest: Option<Duration>,
}

impl Database {
    /// What the rows tell; a run without a summary is told once it has run for `patience`.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn progress(&self, patience: Duration) -> Result<Progress, DatabaseError> {
        let statement = format!(
            "WITH runs AS (SELECT r.summary IS NULL AND r.started_at < now() - $1 * interval '1 second' AS lacks \
               FROM campaign_runs r JOIN campaigns c ON c.id = r.campaign_id \
               WHERE r.status = 'running' AND c.status = 'active' LIMIT {MOST_RUNS}), \
             ours AS (SELECT max({}) FILTER (WHERE status IN ('succeeded', 'failed')) AS last, max({}) AS longest \
               FROM jobs WHERE {IS_OURS}) \
             SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM runs WHERE lacks), \
               {NOW_MS} - last, longest FROM ours",
            millis("updated_at"),
            number("payload", "tookMs")
        );
        let patience = patience.as_secs_f64();
        let rows = self.read(READ_JOBS, &statement, &[(&patience, Type::FLOAT8)]).await?;
        let Some(row) = rows.first() else { return Ok(Progress::default()) };
        let count = |index: usize| u64::try_from(row.get::<_, i64>(index)).unwrap_or(0);
        let time = |index: usize| {
            let millis = row.get::<_, Option<i64>>(index)?;
            // Below 0 where the row's writer had a clock of its own.
            Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
        };
        Ok(Progress { to_count: count(0), without_summary: count(1), last_job: time(2), longest: time(3) })
    }
}
