//! Claims of queued turns under a lease, and the state of the queue.

use std::time::Duration;

use domain::campaigns::{CampaignId, JobId, RunId};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::database::Database;
use crate::error::DatabaseError;
use crate::operations::{CLAIM_JOBS, FINISH_JOB, PRUNE_JOBS, READ_JOBS};
use crate::statement::{IS_OURS, NOW_MS, iso, millis, number, object};

/// The most turns that one call claims.
const MOST_CLAIMS: usize = 100;
/// The most rows that one call prunes.
const MOST_PRUNED: i64 = 10_000;

/// A turn that is ours until its lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The row.
    pub job: JobId,
    /// The run to count.
    pub run: RunId,
    /// Its campaign.
    pub campaign: CampaignId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Whether the run had left `running` when it was claimed: its summary will be the last one.
    pub is_last: bool,
    /// What proves that the claim is still held.
    pub(crate) token: Uuid,
}

/// What a look for turns found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// The turns.
    pub claims: Vec<Claim>,
    /// Rows whose every attempt ended without a word, such as in a crash: they are dead letters now.
    pub exhausted: Vec<JobId>,
}

/// The state of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Turns that wait.
    pub queued: u64,
    /// Turns in work.
    pub processing: u64,
    /// Dead letters.
    pub dead: u64,
    /// How long the oldest waiting turn has waited.
    pub oldest: Duration,
}

impl Database {
    /// Claims up to so many turns: queued ones whose time has come, and those whose lease ended because their worker crashed. Two
    /// callers never get the same one.
    ///
    /// # Errors
    /// When the database refuses or does not answer; then nothing is claimed, or the lease ends without us.
    pub async fn claim(&self, limit: usize) -> Result<Claimed, DatabaseError> {
        let statement = claim_statement();
        let limit = i64::try_from(limit.min(MOST_CLAIMS)).unwrap_or(0);
        let lease = i64::try_from(self.settings().lease.as_millis()).unwrap_or(i64::MAX / 4);
        let most = i32::try_from(self.settings().retries.saturating_add(1)).unwrap_or(i32::MAX);
        let parameters: [crate::database::Parameter<'_>; 3] =
            [(&limit, Type::INT8), (&lease, Type::INT8), (&most, Type::INT4)];
        // One after another: a claim that began before another one has committed locks the rows of that one as well, for nothing, and
        // the end of their turns meanwhile leaves them out.
        let _claiming = self.claiming().await;
        let rows = self.write(CLAIM_JOBS, &statement, &parameters).await?;
        let mut claimed = Claimed::default();
        for row in &rows {
            let job = JobId(row.get(0));
            match row.get::<_, Option<Uuid>>(4) {
                Some(token) => claimed.claims.push(Claim {
                    job,
                    run: RunId(row.get(1)),
                    campaign: CampaignId(row.get(2)),
                    attempt: u32::try_from(row.get::<_, i32>(3)).unwrap_or(1),
                    is_last: row.get::<_, Option<bool>>(5).unwrap_or(true),
                    token,
                }),
                None => claimed.exhausted.push(job),
            }
        }
        Ok(claimed)
    }

    /// Holds the claim for another lease, during a long computation. False where it was lost.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn extend(&self, claim: &Claim) -> Result<bool, DatabaseError> {
        let statement = format!(
            "UPDATE jobs SET payload = payload || jsonb_build_object('until', {NOW_MS} + $3::bigint), \
            updated_at = now() \
             WHERE id = $1 AND status = 'processing' AND payload ->> 'claim' = $2 RETURNING true"
        );
        let lease = i64::try_from(self.settings().lease.as_millis()).unwrap_or(i64::MAX / 4);
        let token = claim.token.to_string();
        let parameters: [crate::database::Parameter<'_>; 3] =
            [(&claim.job.0, Type::UUID), (&token, Type::TEXT), (&lease, Type::INT8)];
        Ok(!self.write(FINISH_JOB, &statement, &parameters).await?.is_empty())
    }

    /// Gives a turn back without charging it with an attempt, such as when the service stops. False where the claim was lost.
    ///
    /// # Errors
    /// When the database refuses or does not answer; then the lease ends instead.
    pub async fn release(&self, claim: &Claim) -> Result<bool, DatabaseError> {
        let statement = "UPDATE jobs SET status = 'queued', attempts = greatest(attempts - 1, 0), \
             payload = payload - 'claim' - 'until', updated_at = now() \
             WHERE id = $1 AND status = 'processing' AND payload ->> 'claim' = $2 RETURNING true";
        let token = claim.token.to_string();
        let parameters: [crate::database::Parameter<'_>; 2] =
            [(&claim.job.0, Type::UUID), (&token, Type::TEXT)];
        Ok(!self.write(FINISH_JOB, statement, &parameters).await?.is_empty())
    }

    /// The state of the queue.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn queue(&self) -> Result<Queue, DatabaseError> {
        let statement = format!(
            "SELECT count(*) FILTER (WHERE status = 'queued'), count(*) FILTER (WHERE status = \
            'processing'), \
             count(*) FILTER (WHERE status = 'failed'), \
             coalesce({NOW_MS} - min({}) FILTER (WHERE status = 'queued'), 0) FROM jobs WHERE {IS_OURS}",
            millis("created_at"),
        );
        let rows = self.read(READ_JOBS, &statement, &[]).await?;
        let Some(row) = rows.first() else { return Ok(Queue::default()) };
        let unsigned = |index: usize| u64::try_from(row.get::<_, i64>(index)).unwrap_or(0);
        Ok(Queue {
            queued: unsigned(0),
            processing: unsigned(1),
            dead: unsigned(2),
            oldest: Duration::from_millis(unsigned(3)),
        })
    }

    /// Deletes rows of turns that were over before `retention`, and dead letters older than `dead_retention`: at most 10,000, whose
    /// number is returned.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn prune(&self, retention: Duration, dead_retention: Duration) -> Result<u64, DatabaseError> {
        let statement = format!(
            "WITH old AS (SELECT id FROM jobs WHERE {IS_OURS} AND (\
               (status IN ('succeeded', 'cancelled') AND updated_at < now() - $1 * interval '1 second') \
               OR (status = 'failed' AND updated_at < now() - $2 * interval '1 second')) \
               LIMIT {MOST_PRUNED} FOR UPDATE SKIP LOCKED), \
             deleted AS (DELETE FROM jobs USING old WHERE jobs.id = old.id RETURNING 1) SELECT count(*) FROM deleted"
        );
        let (retention, dead) = (retention.as_secs_f64(), dead_retention.as_secs_f64());
        let parameters: [crate::database::Parameter<'_>; 2] =
            [(&retention, Type::FLOAT8), (&dead, Type::FLOAT8)];
        let rows = self.write(PRUNE_JOBS, &statement, &parameters).await?;
        Ok(rows.first().map_or(0, |row| u64::try_from(row.get::<_, i64>(0)).unwrap_or(0)))
    }
}

/// Takes rows that are due. A row in work whose payload names no end of its lease, as another program writes it, is held for a
/// lease since its last change. Rows whose run is gone, which a table without a foreign key may have, are left out before they are
/// counted: the oldest ones would else take the places of all others for ever. One that has used up its attempts becomes a dead
/// letter at once: it would end the next worker too.
fn claim_statement() -> String {
    let until = format!("coalesce({}, {} + $2::bigint, 0)", number("payload", "until"), millis("updated_at"));
    format!(
        "WITH moment AS MATERIALIZED (SELECT {NOW_MS} AS ms, {now} AS iso), \
         due AS MATERIALIZED (SELECT id FROM jobs, moment WHERE {IS_OURS} AND (\
           (status = 'queued' AND coalesce({not_before}, 0) <= ms) OR (status = 'processing' AND \
           {until} < ms)) \
           AND EXISTS (SELECT FROM campaign_runs r WHERE r.id = jobs.run_id) \
           ORDER BY created_at, id LIMIT $1 FOR UPDATE OF jobs SKIP LOCKED) \
         UPDATE jobs j SET \
           status = CASE WHEN j.attempts >= $3 THEN 'failed' ELSE 'processing' END, \
           attempts = CASE WHEN j.attempts >= $3 THEN j.attempts ELSE greatest(j.attempts, 0) + 1 END, \
           error = CASE WHEN j.attempts >= $3 THEN jsonb_build_object('originalJob', \
           jsonb_build_object('id', j.id, \
             'runId', j.run_id, 'queue', j.queue, 'type', j.type, 'payload', {payload} - 'claim' - \
             'until'), \
             'error', jsonb_build_object('message', 'each attempt ended without a result, as in a \
             crash', 'stack', ''), \
             'attempts', j.attempts, 'failedAt', moment.iso) END, \
           payload = ({payload} - 'claim' - 'until' - 'notBefore') || jsonb_build_object('campaignId', \
           r.campaign_id, \
             'runId', j.run_id) || CASE WHEN j.attempts >= $3 THEN jsonb_build_object('overAt', moment.ms) \
             ELSE jsonb_build_object('claim', gen_random_uuid(), 'until', moment.ms + $2::bigint) END, \
           updated_at = now() \
         FROM due, campaign_runs r, moment WHERE j.id = due.id AND r.id = j.run_id \
         RETURNING j.id, j.run_id, r.campaign_id, j.attempts::int, (j.payload ->> 'claim')::uuid, \
           r.status <> 'running'",
        now = iso("clock_timestamp()"),
        not_before = number("payload", "notBefore"),
        payload = object("j.payload"),
    )
}
