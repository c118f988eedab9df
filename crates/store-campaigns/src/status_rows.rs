//! The bookkeeping within a status job's payload, read as what planning needs.
//!
//! | field | meaning |
//! |---|---|
//! | `campaignId`, `runId` | as the contract says |
//! | `plannedAt` | when the turn was planned, in Unix milliseconds of the database |
//! | `claim`, `until` | who works at it, and until when the claim is held |
//! | `notBefore` | when it may be tried again |
//! | `overAt`, `tookMs` | when the turn was over, and how long the computation took |

use domain::campaigns::{JobId, JobStatus, RowState, RunId, StatusRow};
use tokio_postgres::Row;

use crate::statement::{millis, number};

/// The columns of [`read_status_row`], of `jobs j`.
pub(crate) fn status_row_columns() -> String {
    format!(
        "j.id, j.run_id, j.status::text, coalesce({}, {}, 0), coalesce({}, {}, 0), coalesce({}, 0)",
        number("j.payload", "plannedAt"),
        millis("j.created_at"),
        number("j.payload", "overAt"),
        millis("j.updated_at"),
        number("j.payload", "tookMs"),
    )
}

/// A row with [`status_row_columns`].
pub(crate) fn read_status_row(row: &Row) -> StatusRow {
    let status = row.get::<_, Option<&str>>(2).and_then(JobStatus::parse);
    let unsigned = |index: usize| u64::try_from(row.get::<_, i64>(index)).unwrap_or(0);
    StatusRow {
        id: JobId(row.get(0)),
        run: RunId(row.get(1)),
        state: match status {
            Some(JobStatus::Failed) => RowState::Dead,
            Some(status) if status.is_over() => RowState::Done,
            // One with a status that is none is left alone, as one in work is.
            _ => RowState::Open,
        },
        planned_ms: unsigned(3),
        over_ms: unsigned(4),
        took_ms: unsigned(5),
    }
}
