//! Plans the turns of runs as job rows.
//!
//! One transaction under an advisory lock that ends with it: of several schedulers one plans at a time, and the next one sees the
//! first one's rows. The rule is `domain::campaigns::plan_rows`.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Transaction;
use domain::campaigns::{CampaignId, JobId, Plan, RunId, RunWanted, StatusRow, Turn, plan_rows, rows_of};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::database::Database;
use crate::error::DatabaseError;
use crate::operations::ENQUEUE_JOBS;
use crate::settings::JobRows;
use crate::statement::{IS_OURS, NOW_MS, millis, number};
use crate::status_rows::{read_status_row, status_row_columns};

/// The most turns that one call plans.
const MOST_TURNS: usize = 1000;
/// The advisory lock of schedulers: `status` in ASCII.
const LOCK: i64 = 0x7374_6174_7573;
/// How far back [`JobRows::Each`] looks for an open row of a run, in milliseconds: longer than leases and retries together. It looks
/// back further by the longest computation and its pause, ten times `compute_timeout`.
const OPEN_WITHIN_MS: i64 = 600_000;

/// A run that shall take a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnWanted {
    /// Its campaign.
    pub campaign: CampaignId,
    /// The run.
    pub run: RunId,
    /// Its interval; 0 for a last summary, which waits for no interval.
    pub interval_ms: u64,
}

/// What became of the turns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enqueued {
    /// The rows that were queued, with their runs.
    pub queued: Vec<(JobId, RunId)>,
    /// Runs whose turn was open already.
    pub open: usize,
    /// Runs that had a turn lately, by whichever replica, or that pause after a long computation.
    pub recent: usize,
    /// Runs for which no row was free.
    pub crowded: usize,
    /// Dead letters that were overwritten.
    pub evicted: usize,
    /// Another scheduler was planning: nothing was looked at.
    pub is_elsewhere: bool,
}

impl Database {
    /// Plans the turns of these runs: at most 1,000, and all running runs of a campaign in the same call.
    ///
    /// # Errors
    /// When the database refuses or does not answer; then no turn is planned.
    pub async fn enqueue(&self, turns: &[TurnWanted]) -> Result<Enqueued, DatabaseError> {
        let turns = &turns[..turns.len().min(MOST_TURNS)];
        if turns.is_empty() {
            return Ok(Enqueued::default());
        }
        let each = self.settings().job_rows == JobRows::Each;
        self.transaction(ENQUEUE_JOBS, async |transaction| {
            let statement = format!("SELECT pg_try_advisory_xact_lock({LOCK}), {NOW_MS}");
            let lock = transaction.query_typed_one(&statement, &[]).await?;
            if !lock.get::<_, bool>(0) {
                return Ok(Enqueued { is_elsewhere: true, ..Enqueued::default() });
            }
            if each {
                let longest = i64::try_from(self.settings().compute_timeout.as_millis()).unwrap_or(i64::MAX);
                each_turn(transaction, turns, OPEN_WITHIN_MS.saturating_add(longest.saturating_mul(10))).await
            } else {
                once(transaction, turns, lock.get(1)).await
            }
        })
        .await
    }
}

/// Rows that are used again and again.
async fn once(
    transaction: &Transaction<'_>,
    turns: &[TurnWanted],
    now_ms: i64,
) -> Result<Enqueued, tokio_postgres::Error> {
    let mut campaigns: BTreeMap<CampaignId, Vec<RunWanted>> = BTreeMap::new();
    for turn in turns {
        let wanted = RunWanted { run: turn.run, interval_ms: turn.interval_ms };
        campaigns.entry(turn.campaign).or_default().push(wanted);
    }
    let ids: Vec<Uuid> =
        campaigns.iter().flat_map(|(campaign, runs)| rows_of(*campaign, runs.len())).map(|id| id.0).collect();
    // Row by row by the primary key, which OFFSET 0 keeps so: for a thousand ids PostgreSQL would rather read all jobs of the users.
    let statement = format!(
        "SELECT {} FROM unnest($1::uuid[]) AS wanted (id) \
         CROSS JOIN LATERAL (SELECT * FROM jobs WHERE id = wanted.id OFFSET 0) j",
        status_row_columns()
    );
    let found = transaction.query_typed(&statement, &[(&ids, Type::UUID_ARRAY)]).await?;
    let found: BTreeMap<JobId, StatusRow> =
        found.iter().map(read_status_row).map(|row| (row.id, row)).collect();

    let mut all = Enqueued::default();
    let mut planned: Vec<(CampaignId, Turn)> = Vec::new();
    for (campaign, runs) in &campaigns {
        let rows: Vec<StatusRow> =
            rows_of(*campaign, runs.len()).filter_map(|id| found.get(&id).copied()).collect();
        let Plan { turns, open, recent, crowded } =
            plan_rows(*campaign, runs, &rows, u64::try_from(now_ms).unwrap_or(0));
        all.open += open;
        all.recent += recent;
        all.crowded += crowded;
        planned.extend(turns.into_iter().map(|turn| (*campaign, turn)));
    }
    write_turns(transaction, &planned, now_ms, all).await
}

async fn write_turns(
    transaction: &Transaction<'_>,
    planned: &[(CampaignId, Turn)],
    now_ms: i64,
    mut all: Enqueued,
) -> Result<Enqueued, tokio_postgres::Error> {
    if planned.is_empty() {
        return Ok(all);
    }
    let column = |of: fn(&(CampaignId, Turn)) -> Uuid| planned.iter().map(of).collect::<Vec<Uuid>>();
    let (rows, runs, campaigns) =
        (column(|(_, turn)| turn.row.0), column(|(_, turn)| turn.run.0), column(|(campaign, _)| campaign.0));
    // A run that was deleted meanwhile has no row to refer to: it is left out, where it would fail all others.
    let statement = "INSERT INTO jobs AS j (id, run_id, queue, type, payload, status, attempts) \
         SELECT t.id, t.run, 'status', 'aggregate-status', \
           jsonb_build_object('campaignId', t.campaign, 'runId', t.run, 'plannedAt', $4::bigint), \
           'queued', 0 \
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS t (id, run, campaign) \
         JOIN campaign_runs r ON r.id = t.run \
         ON CONFLICT (id) DO UPDATE SET run_id = excluded.run_id, payload = excluded.payload, status = \
         'queued', \
           attempts = 0, error = NULL, created_at = now(), updated_at = now() \
         WHERE j.status NOT IN ('queued', 'processing') \
         RETURNING j.id, j.run_id";
    let written = transaction
        .query_typed(
            statement,
            &[
                (&rows, Type::UUID_ARRAY),
                (&runs, Type::UUID_ARRAY),
                (&campaigns, Type::UUID_ARRAY),
                (&now_ms, Type::INT8),
            ],
        )
        .await?;
    all.queued = written.iter().map(|row| (JobId(row.get(0)), RunId(row.get(1)))).collect();
    let queued: BTreeSet<JobId> = all.queued.iter().map(|(job, _)| *job).collect();
    all.evicted = planned.iter().filter(|(_, turn)| turn.evicts && queued.contains(&turn.row)).count();
    Ok(all)
}

/// A row for each turn, in one statement.
async fn each_turn(
    transaction: &Transaction<'_>,
    turns: &[TurnWanted],
    looked_back_ms: i64,
) -> Result<Enqueued, tokio_postgres::Error> {
    // A run's newest rows are at the begin of one index, which also bounds how far it is walked.
    let statement = format!(
        "WITH moment AS MATERIALIZED (SELECT {NOW_MS} AS ms), \
         wanted AS MATERIALIZED (SELECT DISTINCT ON (run) run, campaign, spacing \
           FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS t (run, campaign, spacing)), \
         judged AS MATERIALIZED (SELECT w.run, w.campaign, \
           coalesce(bool_or(o.status IN ('queued', 'processing')), false) AS is_open, \
           coalesce(bool_or(o.planned + w.spacing > m.ms OR o.over + 9 * o.took > m.ms), false) AS \
           is_recent \
           FROM wanted w CROSS JOIN moment m \
           LEFT JOIN LATERAL (SELECT j.status::text AS status, coalesce({planned}, {created}, 0) AS \
           planned, \
             coalesce({over}, 0) AS over, coalesce({took}, 0) AS took FROM jobs j WHERE j.run_id = w.run \
             AND j.created_at > now() - greatest(w.spacing, {looked_back_ms}) * interval '1 millisecond' \
             AND j.{IS_OURS}) o ON true GROUP BY w.run, w.campaign), \
         queued AS (INSERT INTO jobs (run_id, queue, type, payload, status, attempts) \
           SELECT g.run, 'status', 'aggregate-status', \
             jsonb_build_object('campaignId', g.campaign, 'runId', g.run, 'plannedAt', m.ms), 'queued', 0 \
           FROM judged g JOIN campaign_runs r ON r.id = g.run CROSS JOIN moment m \
           WHERE NOT g.is_open AND NOT g.is_recent RETURNING id, run_id) \
         SELECT q.id, g.run, g.is_open, g.is_recent FROM judged g LEFT JOIN queued q ON q.run_id = g.run",
        planned = number("j.payload", "plannedAt"),
        created = millis("j.created_at"),
        over = number("j.payload", "overAt"),
        took = number("j.payload", "tookMs"),
    );
    let runs: Vec<Uuid> = turns.iter().map(|turn| turn.run.0).collect();
    let campaigns: Vec<Uuid> = turns.iter().map(|turn| turn.campaign.0).collect();
    // 80 % of an interval, as `Schedule` has it.
    let spacings: Vec<i64> = turns
        .iter()
        .map(|turn| i64::try_from(turn.interval_ms / 10 * 8).unwrap_or(i64::MAX / 1000))
        .collect();
    let rows = transaction
        .query_typed(
            &statement,
            &[(&runs, Type::UUID_ARRAY), (&campaigns, Type::UUID_ARRAY), (&spacings, Type::INT8_ARRAY)],
        )
        .await?;
    let mut all = Enqueued::default();
    for row in &rows {
        match row.get::<_, Option<Uuid>>(0) {
            Some(job) => all.queued.push((JobId(job), RunId(row.get(1)))),
            None if row.get(2) => all.open += 1,
            None if row.get(3) => all.recent += 1,
            None => {}
        }
    }
    Ok(all)
}
