//! Failed turns: another attempt, or a dead letter in the row's `error`. What operators do with dead letters.

use std::time::Duration;

use domain::campaigns::{JobId, RunId, Timestamp};
use retry::table::STATUS_JOB;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::claim::Claim;
use crate::database::{Database, Parameter};
use crate::error::DatabaseError;
use crate::operations::{CHANGE_DEAD_LETTER, FAIL_JOB, READ_JOBS};
use crate::rows::Page;
use crate::statement::{IS_OURS, NOW_MS, iso, millis, object, storable};

/// The longest message that is kept, in characters.
const LONGEST_MESSAGE: usize = 2_000;
/// The longest trace that is kept, in characters.
const LONGEST_STACK: usize = 8_000;
/// The longest dead letter that is read, in bytes.
const LONGEST_LETTER: usize = 64 * 1024;
/// The most dead letters of one page.
const MOST_LETTERS: usize = 1000;

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFailure {
    /// The error in one line.
    pub message: String,
    /// Its causes, one a line.
    pub stack: String,
}

/// What became of a failed turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It is tried again after this pause.
    Retrying {
        /// The pause.
        after: Duration,
    },
    /// That was the last attempt: it is a dead letter.
    Dead,
    /// The claim was lost: another worker has taken the turn over, and nothing was written.
    Lost,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The row.
    pub job: JobId,
    /// The run.
    pub run: RunId,
    /// How often it was attempted.
    pub attempts: u32,
    /// When it failed for good.
    pub failed_at: Timestamp,
    /// `{originalJob, error: {message, stack}, attempts, failedAt}`, as the row has it.
    pub letter: Value,
}

impl Database {
    /// Notes that an attempt failed. After its retries it becomes a dead letter. Failures of the database itself are
    /// not for here: [`Database::release`] gives the turn back.
    ///
    /// # Errors
    /// When the database refuses or does not answer; then the lease ends, and the turn is taken over.
    pub async fn fail(&self, claim: &Claim, failure: &JobFailure) -> Result<Failed, DatabaseError> {
        let again = claim.attempt <= self.settings().retries;
        let after = STATUS_JOB.pause(claim.attempt.saturating_sub(1), retry::random());
        let statement = format!(
            "WITH moment AS MATERIALIZED (SELECT {NOW_MS} AS ms, {now} AS iso) \
             UPDATE jobs j SET status = CASE WHEN $3::boolean THEN 'queued' ELSE 'failed' END, \
             updated_at = now(), \
             error = CASE WHEN $3::boolean THEN '{{}}'::jsonb ELSE jsonb_build_object('originalJob', \
               jsonb_build_object('id', j.id, 'runId', j.run_id, 'queue', j.queue, 'type', j.type, \
               'payload', {payload} - 'claim' - 'until'), 'failedAt', moment.iso) END \
               || jsonb_build_object('error', jsonb_build_object('message', $4::text, 'stack', $5::text), \
               'attempts', j.attempts), \
             payload = ({payload} - 'claim' - 'until') || CASE WHEN $3::boolean \
               THEN jsonb_build_object('notBefore', moment.ms + $6::bigint) \
               ELSE jsonb_build_object('overAt', moment.ms) END \
             FROM moment WHERE j.id = $1 AND j.status = 'processing' AND j.payload ->> 'claim' = $2 \
             RETURNING true",
            now = iso("clock_timestamp()"),
            payload = object("j.payload"),
        );
        let (token, pause) = (claim.token.to_string(), i64::try_from(after.as_millis()).unwrap_or(0));
        let message = storable(&failure.message, LONGEST_MESSAGE);
        let stack = storable(&failure.stack, LONGEST_STACK);
        let parameters: [Parameter<'_>; 6] = [
            (&claim.job.0, Type::UUID),
            (&token, Type::TEXT),
            (&again, Type::BOOL),
            (&message, Type::TEXT),
            (&stack, Type::TEXT),
            (&pause, Type::INT8),
        ];
        let rows = self.write(FAIL_JOB, &statement, &parameters).await?;
        Ok(match rows.is_empty() {
            true => Failed::Lost,
            false if again => Failed::Retrying { after },
            false => Failed::Dead,
        })
    }

    /// Dead letters, in the order of their ids.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn dead_letters(
        &self,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Page<DeadLetter, JobId>, DatabaseError> {
        let limit = limit.clamp(1, MOST_LETTERS);
        let statement = format!(
            "SELECT {} FROM jobs WHERE {IS_OURS} AND status = 'failed' AND id > $1 ORDER BY id LIMIT $2",
            letter_columns()
        );
        let after = after.map_or(Uuid::nil(), |job| job.0);
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters: [Parameter<'_>; 2] = [(&after, Type::UUID), (&most, Type::INT8)];
        let rows = self.read(READ_JOBS, &statement, &parameters).await?;
        let next = (rows.len() == limit).then(|| rows.last().map(|row| JobId(row.get(0)))).flatten();
        Ok(Page { rows: rows.iter().map(read_letter).collect(), next, unreadable: 0 })
    }

    /// One dead letter.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn dead_letter(&self, job: JobId) -> Result<Option<DeadLetter>, DatabaseError> {
        let statement = format!(
            "SELECT {} FROM jobs WHERE {IS_OURS} AND status = 'failed' AND id = $1",
            letter_columns()
        );
        let rows = self.read(READ_JOBS, &statement, &[(&job.0, Type::UUID)]).await?;
        Ok(rows.first().map(read_letter))
    }

    /// Queues a dead letter again, with all its attempts. False where it is none.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn replay_dead_letter(&self, job: JobId) -> Result<bool, DatabaseError> {
        let statement = format!(
            "UPDATE jobs SET status = 'queued', attempts = 0, error = NULL, created_at = now(), \
            updated_at = now(), \
             payload = ({} - 'overAt' - 'notBefore') || jsonb_build_object('plannedAt', {NOW_MS}) \
             WHERE {IS_OURS} AND status = 'failed' AND id = $1 RETURNING true",
            object("payload")
        );
        Ok(!self.write(CHANGE_DEAD_LETTER, &statement, &[(&job.0, Type::UUID)]).await?.is_empty())
    }

    /// Deletes a dead letter. False where it is none.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn drop_dead_letter(&self, job: JobId) -> Result<bool, DatabaseError> {
        let statement =
            format!("DELETE FROM jobs WHERE {IS_OURS} AND status = 'failed' AND id = $1 RETURNING true");
        Ok(!self.write(CHANGE_DEAD_LETTER, &statement, &[(&job.0, Type::UUID)]).await?.is_empty())
    }
}

fn letter_columns() -> String {
    format!(
        "id, run_id, attempts::int, coalesce({}, 0), \
         CASE WHEN octet_length(error::text) <= {LONGEST_LETTER} THEN error END",
        millis("updated_at")
    )
}

fn read_letter(row: &Row) -> DeadLetter {
    DeadLetter {
        job: JobId(row.get(0)),
        run: RunId(row.get(1)),
        attempts: u32::try_from(row.get::<_, Option<i32>>(2).unwrap_or(0)).unwrap_or(0),
        failed_at: Timestamp(row.get(3)),
        letter: row.get::<_, Option<Value>>(4).unwrap_or_default(),
    }
}
