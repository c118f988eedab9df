//! The end of a turn: the summary and the row in one statement, which has an effect only while the claim is held.

use domain::campaigns::{Summary, Timestamp};
use tokio_postgres::types::Type;

use crate::claim::Claim;
use crate::compute::Computed;
use crate::database::{Database, Parameter};
use crate::error::{DatabaseError, DatabaseErrorKind};
use crate::operations::FINISH_JOB;
use crate::statement::{NOW_MS, iso, number, object};

/// How a turn ended.
#[derive(Debug)]
pub struct Finished {
    /// Whether the claim was still held. If not, nothing was written: another worker has taken the turn over.
    pub is_held: bool,
    /// What became of the summary.
    pub summary: SummaryWrite,
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
    /// Ends a turn, and writes the summary if the figures changed. A summary that the database refuses does not fail the turn.
    ///
    /// # Errors
    /// When the database is away, or refuses to change the job row; then the lease ends and the turn is taken over.
    pub async fn finish(
        &self,
        claim: &Claim,
        computed: Option<&Computed>,
    ) -> Result<Finished, DatabaseError> {
        let Some(computed) = computed else { return self.end_turn(claim, 0, SummaryWrite::Nothing).await };
        let content = Summary::content(&computed.metrics, computed.status.has_left());
        let took = i64::try_from(computed.took.as_millis()).unwrap_or(i64::MAX / 16);
        let token = claim.token.to_string();
        let parameters: [Parameter<'_>; 4] =
            [(&claim.job.0, Type::UUID), (&token, Type::TEXT), (&took, Type::INT8), (&content, Type::JSONB)];
        let rows = match self.write(FINISH_JOB, &finish_statement(), &parameters).await {
            Ok(rows) => rows,
            Err(error) if error.kind.is_outage() && error.kind != DatabaseErrorKind::Slow => {
                return Err(error);
            }
            // The summary's row is locked, or may not be written.
            Err(error) => return self.end_turn(claim, took, SummaryWrite::Failed(error)).await,
        };
        let Some(row) = rows.first().filter(|row| row.get::<_, bool>(0)) else {
            return Ok(Finished { is_held: false, summary: SummaryWrite::Nothing });
        };
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
                format!("the summary of run {} was not changed", claim.run),
            )),
        };
        Ok(Finished { is_held: true, summary })
    }

    async fn end_turn(
        &self,
        claim: &Claim,
        took: i64,
        summary: SummaryWrite,
    ) -> Result<Finished, DatabaseError> {
        let token = claim.token.to_string();
        let statement = format!("UPDATE jobs SET {} RETURNING true", ended());
        let parameters: [Parameter<'_>; 3] =
            [(&claim.job.0, Type::UUID), (&token, Type::TEXT), (&took, Type::INT8)];
        let rows = self.write(FINISH_JOB, &statement, &parameters).await?;
        Ok(Finished { is_held: !rows.is_empty(), summary })
    }
}

/// The change of the row, where the claim `$2` is held. `$3` is the length of the computation.
fn ended() -> String {
    format!(
        "status = 'succeeded', error = NULL, updated_at = now(), payload = (payload - 'claim' - \
        'until') || \
         jsonb_build_object('overAt', {NOW_MS}, 'tookMs', $3::bigint) \
         WHERE id = $1 AND status = 'processing' AND payload ->> 'claim' = $2"
    )
}

/// Ends the turn and writes the content `$4`. The version is computed from the row as it is under its lock, so that two writers
/// never share one; it follows the clock too, since another program may overwrite the summary and its version.
fn finish_statement() -> String {
    let without_bookkeeping =
        format!("{} - '{}' - '{}'", object("r.summary"), Summary::VERSION, Summary::UPDATED_AT);
    format!(
        "WITH moment AS MATERIALIZED (SELECT {NOW_MS} AS ms, {now} AS iso), \
         held AS (UPDATE jobs SET {ended} RETURNING run_id), \
         written AS (UPDATE campaign_runs r SET summary = $4::jsonb || jsonb_build_object('{version}', \
             greatest(coalesce({old}, 0) + 1, moment.ms), '{updated_at}', moment.iso) \
           FROM held, moment WHERE r.id = held.run_id AND ({without_bookkeeping}) IS DISTINCT FROM \
           $4::jsonb \
             AND NOT {is_final} RETURNING (r.summary ->> '{version}')::bigint AS version, moment.iso AS \
             iso) \
         SELECT EXISTS (SELECT FROM held), (SELECT version FROM written), (SELECT iso FROM written), \
           (SELECT ({without_bookkeeping}) IS NOT DISTINCT FROM $4::jsonb FROM held JOIN campaign_runs r \
             ON r.id = held.run_id), \
           (SELECT {is_final} FROM held JOIN campaign_runs r ON r.id = held.run_id)",
        now = iso("clock_timestamp()"),
        ended = ended(),
        version = Summary::VERSION,
        updated_at = Summary::UPDATED_AT,
        old = number("r.summary", Summary::VERSION),
        is_final = format_args!(
            "(r.status <> 'running' AND coalesce({} -> '{}' = 'true'::jsonb, false))",
            object("r.summary"),
            Summary::FINAL
        ),
    )
}
