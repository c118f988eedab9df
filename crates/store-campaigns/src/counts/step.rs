//! One bounded step: what the triggers appended becomes counts, in one transaction.

use tokio_postgres::types::Type;

use super::statements::{AFTER_A_CRASH, Costs, EXCLUDE, count_executions, count_jobs};
use crate::compute::{cost, step_or_path};
use crate::database::Database;
use crate::error::DatabaseError;
use crate::operations::COUNT_CHANGES;

/// The most appended rows of each table that a step takes.
const MOST_ROWS: i64 = 10_000;
/// The most changed jobs that a step notes.
const MOST_NOTED: i64 = 2_000;
/// The changed jobs that are kept for readers.
pub(super) const MOST_KEPT: i64 = 10_000;

/// What a step has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountStep {
    /// The appended rows that were applied.
    pub rows: u64,
    /// Runs that count no longer, and await a full computation: of jobs or executions that were removed or replaced.
    pub spoilt: u64,
    /// Jobs whose change was noted for readers.
    pub noted: u64,
    /// Changed jobs that were not noted, because there were too many.
    pub unnoted: u64,
    /// Whether the appended changes were lost in a crash of the server: no run counts until it is counted anew.
    pub after_crash: bool,
    /// Whether more may wait.
    pub is_full: bool,
}

impl Database {
    /// Applies what the triggers have appended: each change once, whatever fails. Call it again while it is full.
    ///
    /// # Errors
    /// When the migration is missing, or the database refuses or does not answer; then nothing was applied. `Slow` where another
    /// replica counts in the same moment.
    pub async fn count_changes(&self) -> Result<CountStep, DatabaseError> {
        let settings = self.settings();
        let ((tip, tip_kind), (fee, fee_kind)) =
            (cost("$2", &settings.tip_path), cost("$3", &settings.fee_path));
        let (jobs, executions) = (count_jobs(), count_executions(Costs { tip: &tip, fee: &fee }));
        let row = async |transaction: &deadpool_postgres::Transaction<'_>| {
            // The one before may have committed while this one waited: the snapshot must come after it.
            transaction
                .batch_execute(&format!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; {EXCLUDE}"))
                .await?;
            let crash = transaction.query_typed(AFTER_A_CRASH, &[]).await?;
            let jobs = transaction
                .query_typed(&jobs, &[(&MOST_ROWS, Type::INT8), (&MOST_NOTED, Type::INT8)])
                .await?;
            let executions = transaction
                .query_typed(
                    &executions,
                    &[
                        (&MOST_ROWS, Type::INT8),
                        (step_or_path(&settings.tip_path), tip_kind),
                        (step_or_path(&settings.fee_path), fee_kind),
                    ],
                )
                .await?;
            let forget = "DELETE FROM state_tracker.changed_jobs \
                          WHERE place <= (SELECT max(place) FROM state_tracker.changed_jobs) - $1";
            transaction.query_typed(forget, &[(&MOST_KEPT, Type::INT8)]).await?;
            Ok((crash, jobs, executions))
        };
        let (crash, jobs, executions) = self.transaction(COUNT_CHANGES, row).await?;
        let number = |rows: &[tokio_postgres::Row], index: usize| {
            rows.first().and_then(|row| u64::try_from(row.get::<_, i64>(index)).ok()).unwrap_or(0)
        };
        let (of_jobs, of_executions) = (number(&jobs, 0), number(&executions, 0));
        Ok(CountStep {
            rows: of_jobs + of_executions,
            spoilt: number(&jobs, 1) + number(&executions, 1),
            noted: number(&jobs, 3),
            unnoted: number(&jobs, 2).saturating_sub(number(&jobs, 3)),
            after_crash: crash.first().is_some_and(|row| row.get(0)),
            is_full: of_jobs.max(of_executions) >= MOST_ROWS as u64,
        })
    }
}
