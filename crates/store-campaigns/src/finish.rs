//! The ends of turns: summaries and rows in one statement, which has an effect on a turn only while its claim is held.
//!
//! Several turns may end in one statement. It waits for no lock that another transaction holds: it leaves such a turn out, which then
//! ends by itself. So a statement that holds the locks of several rows never waits, and is part of no deadlock with the users.

use std::collections::BTreeMap;

use domain::campaigns::{JobId, Summary, Timestamp};
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::claim::Claim;
use crate::compute::Computed;
use crate::database::{Database, Parameter};
use crate::error::{DatabaseError, DatabaseErrorKind};
use crate::history::History;
use crate::operations::FINISH_JOB;
use crate::statement::{NOW_MS, iso, number, object};

/// The most turns that one statement ends.
const MOST_TURNS: usize = 100;

/// How a turn ended.
#[derive(Debug)]
pub struct Finished {
    /// Whether the claim was still held. If not, nothing was written: another worker has taken the turn over.
    pub is_held: bool,
    /// What became of the summary.
    pub summary: SummaryWrite,
    /// Why the history lacks it, where it does.
    pub unkept: Option<DatabaseError>,
}

/// What a statement does about rows that another transaction has locked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locked {
    /// It waits for them.
    Wait,
    /// It leaves their turns out.
    LeaveOut,
}

/// What became of a summary.
#[derive(Debug)]
pub enum SummaryWrite {
    /// It was written.
    Written {
        /// Its version, rising within the run.
        version: i64,
        /// When it was written.
        updated_at: Timestamp,
    },
    /// The figures are those of the summary that is there.
    Unchanged,
    /// The summary that is there is the last one of a run that has left `running`.
    AlreadyFinal,
    /// There was none to write: the run is gone, or the claim was lost.
    Nothing,
    /// The database refused it. The turn has ended all the same, and the next one writes it.
    Failed(DatabaseError),
}

impl Database {
    /// Ends a turn, and writes the summary if the figures changed. A summary that the database refuses does not fail the turn, and
    /// neither does a history that can't be written.
    ///
    /// # Errors
    /// When the database is away, or refuses to change the job row; then the lease ends and the turn is taken over.
    pub async fn finish(
        &self,
        claim: &Claim,
        computed: Option<&Computed>,
        history: History,
    ) -> Result<Finished, DatabaseError> {
        let Some(computed) = computed else { return self.end_turn(claim, 0, SummaryWrite::Nothing).await };
        let turns = [(claim, computed)];
        let mut ended = self.end(&turns, Locked::Wait, history).await;
        let mut unkept = None;
        if history == History::Kept && ended.as_ref().is_err_and(is_of_this_statement) {
            // The history may be what is in the way: without it.
            unkept = ended.err();
            ended = self.end(&turns, Locked::Wait, History::Absent).await;
        }
        match ended {
            Ok(mut rows) => match rows.remove(&claim.job) {
                Some(finished) => Ok(Finished { unkept, ..finished }),
                None => Ok(Finished { is_held: false, summary: SummaryWrite::Nothing, unkept: None }),
            },
            // The summary's row is locked, or may not be written.
            Err(error) if is_of_this_statement(&error) => {
                self.end_turn(claim, millis_of(computed), SummaryWrite::Failed(error)).await
            }
            Err(error) => Err(error),
        }
    }

    /// Ends several turns in one statement, each as [`Database::finish`] does: at most 100, of different runs. A turn that is missing
    /// in the answer has not ended, since its row or its run is locked or its claim was lost: [`Database::finish`] says which.
    ///
    /// # Errors
    /// When the database is away, or refuses one of the writes; then no turn has ended.
    pub async fn finish_several(
        &self,
        turns: &[(&Claim, &Computed)],
        history: History,
    ) -> Result<BTreeMap<JobId, Finished>, DatabaseError> {
        self.end(&turns[..turns.len().min(MOST_TURNS)], Locked::LeaveOut, history).await
    }

    async fn end(
        &self,
        turns: &[(&Claim, &Computed)],
        locked: Locked,
        history: History,
    ) -> Result<BTreeMap<JobId, Finished>, DatabaseError> {
        let jobs: Vec<Uuid> = turns.iter().map(|(claim, _)| claim.job.0).collect();
        let tokens: Vec<String> = turns.iter().map(|(claim, _)| claim.token.to_string()).collect();
        let took: Vec<i64> = turns.iter().map(|(_, computed)| millis_of(computed)).collect();
        let content = |computed: &Computed| Summary::content(&computed.metrics, computed.status.has_left());
        let contents: Vec<Value> = turns.iter().map(|(_, computed)| content(computed)).collect();
        let parameters: [Parameter<'_>; 4] = [
            (&jobs, Type::UUID_ARRAY),
            (&tokens, Type::TEXT_ARRAY),
            (&took, Type::INT8_ARRAY),
            (&contents, Type::JSONB_ARRAY),
        ];
        let rows = self.write(FINISH_JOB, &finish_statement(locked, history), &parameters).await?;
        Ok(rows.iter().map(|row| (JobId(row.get(0)), self.read_finished(row))).collect())
    }

    fn read_finished(&self, row: &Row) -> Finished {
        let summary = match (row.get::<_, Option<i64>>(1), row.get::<_, Option<bool>>(3), row.get(4)) {
            (Some(version), ..) => {
                let updated_at = row.get::<_, Option<&str>>(2).and_then(Timestamp::parse).unwrap_or_default();
                SummaryWrite::Written { version, updated_at }
            }
            (None, None, _) => SummaryWrite::Nothing,
            (None, Some(true), _) => SummaryWrite::Unchanged,
            (None, Some(false), Some(true)) => SummaryWrite::AlreadyFinal,
            // A policy that lets the role read the run and not change it makes no error of its own.
            (None, Some(false), _) => SummaryWrite::Failed(self.error(
                FINISH_JOB,
                DatabaseErrorKind::Hidden,
                format!("the summary of run {} was not changed", row.get::<_, Uuid>(5)),
            )),
        };
        Finished { is_held: true, summary, unkept: None }
    }

    async fn end_turn(
        &self,
        claim: &Claim,
        took: i64,
        summary: SummaryWrite,
    ) -> Result<Finished, DatabaseError> {
        let token = claim.token.to_string();
        let statement = format!(
            "UPDATE jobs SET {} WHERE id = $1 AND {} RETURNING true",
            ended("payload", "$3::bigint"),
            is_held("jobs", "$2")
        );
        let parameters: [Parameter<'_>; 3] =
            [(&claim.job.0, Type::UUID), (&token, Type::TEXT), (&took, Type::INT8)];
        let rows = self.write(FINISH_JOB, &statement, &parameters).await?;
        Ok(Finished { is_held: !rows.is_empty(), summary, unkept: None })
    }
}

/// Whether an error is one of what the statement does, and not of a database that is away.
fn is_of_this_statement(error: &DatabaseError) -> bool {
    !error.kind.is_outage() || error.kind == DatabaseErrorKind::Slow
}

fn millis_of(computed: &Computed) -> i64 {
    i64::try_from(computed.took.as_millis()).unwrap_or(i64::MAX / 16)
}

/// Whether a claim is held.
fn is_held(job: &str, token: &str) -> String {
    format!("{job}.status = 'processing' AND {job}.payload ->> 'claim' = {token}")
}

/// The change of a row whose turn is over.
fn ended(payload: &str, took: &str) -> String {
    format!(
        "status = 'succeeded', error = NULL, updated_at = now(), payload = ({payload} - 'claim' - 'until') || \
         jsonb_build_object('overAt', {NOW_MS}, 'tookMs', {took})"
    )
}

/// Ends turns: `$1` their jobs, `$2` the claims, `$3` the lengths of the computations, `$4` the contents. The version is computed from
/// the row as it is under its lock, so that two writers never share one; it follows the clock too, since another program may overwrite
/// the summary and its version.
fn finish_statement(locked: Locked, history: History) -> String {
    let without_bookkeeping =
        format!("{} - '{}' - '{}'", object("r.summary"), Summary::VERSION, Summary::UPDATED_AT);
    let (skip, runs, has_run) = match locked {
        Locked::Wait => ("", "", ""),
        Locked::LeaveOut => (
            " SKIP LOCKED",
            "runs AS MATERIALIZED (SELECT r.id FROM campaign_runs r WHERE r.id IN (SELECT run_id FROM mine) \
               FOR NO KEY UPDATE OF r SKIP LOCKED), ",
            " AND mine.run_id IN (SELECT id FROM runs)",
        ),
    };
    format!(
        "WITH moment AS MATERIALIZED (SELECT {NOW_MS} AS ms, {now} AS iso), \
         mine AS MATERIALIZED (SELECT j.id, j.run_id, t.took, t.content FROM jobs j \
           JOIN unnest($1::uuid[], $2::text[], $3::bigint[], $4::jsonb[]) AS t (job, token, took, content) ON t.job = j.id \
           WHERE {is_held} FOR NO KEY UPDATE OF j{skip}), {runs}\
         held AS (UPDATE jobs j SET {ended} FROM mine WHERE j.id = mine.id{has_run} \
           RETURNING j.id, j.run_id, mine.content), \
         written AS (UPDATE campaign_runs r SET summary = held.content || jsonb_build_object('{version}', \
             greatest(coalesce({old}, 0) + 1, moment.ms), '{updated_at}', moment.iso) \
           FROM held, moment WHERE r.id = held.run_id AND ({without_bookkeeping}) IS DISTINCT FROM held.content \
             AND NOT {is_final} \
           RETURNING held.id AS job, r.id AS run, r.campaign_id AS campaign, r.summary, moment.iso, \
             (r.summary ->> '{version}')::bigint AS version){kept} \
         SELECT held.id, written.version, written.iso, \
           CASE WHEN r.id IS NOT NULL THEN ({without_bookkeeping}) IS NOT DISTINCT FROM held.content END, \
           CASE WHEN r.id IS NOT NULL THEN {is_final} END, held.run_id \
         FROM held LEFT JOIN written ON written.job = held.id LEFT JOIN campaign_runs r ON r.id = held.run_id",
        now = iso("clock_timestamp()"),
        is_held = is_held("j", "t.token"),
        ended = ended("j.payload", "mine.took"),
        version = Summary::VERSION,
        updated_at = Summary::UPDATED_AT,
        old = number("r.summary", Summary::VERSION),
        kept = history.part(),
        is_final = format_args!(
            "(r.status <> 'running' AND coalesce({} -> '{}' = 'true'::jsonb, false))",
            object("r.summary"),
            Summary::FINAL
        ),
    )
}
