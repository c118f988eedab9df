//! Jobs that have changed, for the events of single jobs.

use domain::campaigns::{CampaignId, JobId, JobStatus, RunId, Timestamp};
use serde_json::Value;
use tokio_postgres::types::Type;

use super::step::MOST_KEPT;
use crate::database::Database;
use crate::error::DatabaseError;
use crate::operations::READ_CHANGES;
use crate::statement::{READ_US, millis};

/// The most changed jobs of one call.
const MOST_JOBS: i64 = 1_000;
/// The longest error and the longest texts of a job that are read: in bytes of its text, in characters.
const LONGEST_ERROR: usize = 8_192;
const LONGEST_NAME: usize = 100;

/// A job whose status has changed, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedJob {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: RunId,
    /// Its campaign.
    pub campaign: CampaignId,
    /// Its status.
    pub status: JobStatus,
    /// Its queue.
    pub queue: String,
    /// Its type.
    pub kind: String,
    /// How often it was tried.
    pub attempts: i32,
    /// Its error, unless that is too long.
    pub error: Option<Value>,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// When this was read, by the database's clock in Unix microseconds.
    pub read_us: u64,
}

/// Changed jobs since a place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChangedJobs {
    /// The jobs, in the order in which their changes were applied. One that changed twice may be there twice.
    pub jobs: Vec<ChangedJob>,
    /// Where the next call continues.
    pub next: i64,
    /// Whether more may be there at once.
    pub has_more: bool,
    /// Whether changes after the place may have been forgotten already.
    pub is_truncated: bool,
    /// Jobs that are gone or can't be read.
    pub unreadable: u64,
}

impl Database {
    /// The jobs that changed since this place, which a former call returned. Without a place there are none: only the place to
    /// begin at.
    ///
    /// # Errors
    /// When the migration is missing, or the database refuses or does not answer.
    pub async fn changed_jobs(&self, after: Option<i64>) -> Result<ChangedJobs, DatabaseError> {
        let Some(after) = after else {
            let statement = "SELECT coalesce(max(place), 0) FROM state_tracker.changed_jobs";
            let rows = self.read(READ_CHANGES, statement, &[]).await?;
            let next = rows.first().map_or(0, |row| row.get(0));
            return Ok(ChangedJobs { next, ..ChangedJobs::default() });
        };
        let statement = format!(
            "SELECT c.place, j.id, r.id, r.campaign_id, j.status::text, left(coalesce(j.queue, ''), {LONGEST_NAME}), \
               left(coalesce(j.type, ''), {LONGEST_NAME}), coalesce(j.attempts, 0)::integer, \
               CASE WHEN octet_length(j.error::text) <= {LONGEST_ERROR} THEN j.error END, {updated}, \
               newest.place, {READ_US} \
             FROM (SELECT coalesce(max(place), 0) AS place FROM state_tracker.changed_jobs) AS newest \
             LEFT JOIN (SELECT * FROM state_tracker.changed_jobs WHERE place > $1 ORDER BY place LIMIT $2) AS c ON true \
             LEFT JOIN jobs j ON j.id = c.job LEFT JOIN campaign_runs r ON r.id = j.run_id ORDER BY c.place",
            updated = millis("j.updated_at"),
        );
        let parameters: [crate::database::Parameter<'_>; 2] =
            [(&after, Type::INT8), (&MOST_JOBS, Type::INT8)];
        let rows = self.read(READ_CHANGES, &statement, &parameters).await?;
        let newest: i64 = rows.first().map_or(after, |row| row.get(10));
        let places: Vec<i64> = rows.iter().filter_map(|row| row.get(0)).collect();
        let jobs: Vec<ChangedJob> = rows.iter().filter_map(read_job).collect();
        // The places begin anew where the migration was undone and run again: then all of them are before the one that is known.
        let is_new = newest < after;
        Ok(ChangedJobs {
            next: if is_new { newest } else { places.last().copied().unwrap_or(after) },
            has_more: places.len() as i64 == MOST_JOBS,
            // Judged by what is forgotten, since a sequence skips numbers: by transactions that were rolled back, in a crash.
            is_truncated: is_new || after < newest.saturating_sub(MOST_KEPT),
            unreadable: (places.len() - jobs.len()) as u64,
            jobs,
        })
    }
}

fn read_job(row: &tokio_postgres::Row) -> Option<ChangedJob> {
    let status = row.get::<_, Option<&str>>(4).and_then(JobStatus::parse)?;
    Some(ChangedJob {
        job: JobId(row.get::<_, Option<_>>(1)?),
        run: RunId(row.get::<_, Option<_>>(2)?),
        campaign: CampaignId(row.get::<_, Option<_>>(3)?),
        status,
        queue: row.get(5),
        kind: row.get(6),
        attempts: row.get(7),
        error: row.get(8),
        updated_at: Timestamp(row.get::<_, Option<i64>>(9).unwrap_or(0)),
        read_us: u64::try_from(row.get::<_, i64>(11)).unwrap_or(0),
    })
}
