//! Summaries as they were, for trends. They need the migration.

use std::time::Duration;

use domain::campaigns::{CampaignId, RunId, Summary, Timestamp};
use serde_json::Value;
use tokio_postgres::types::Type;

use crate::database::{Database, Parameter};
use crate::error::DatabaseError;
use crate::operations::KEEP_SUMMARY;
use crate::statement::{millis, number};

/// The most summaries of one page, and that one call removes.
const MOST_ROWS: i64 = 1_000;
const MOST_REMOVED: i64 = 10_000;
/// The longest summary that is kept, in bytes of its text.
const LONGEST_SUMMARY: usize = 256 * 1024;

/// A summary as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptSummary {
    /// The run.
    pub run: RunId,
    /// Its version, rising within the run.
    pub version: i64,
    /// When it was kept.
    pub written_at: Timestamp,
    /// The summary; none where another program has written something that can't be read.
    pub summary: Option<Summary>,
}

/// Summaries of a campaign in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SummaryPage {
    /// The summaries.
    pub summaries: Vec<KeptSummary>,
    /// Where the next page begins; none after the last one.
    pub next: Option<(Timestamp, RunId, i64)>,
}

impl Database {
    /// Keeps the summary that this run has now, if that version is not kept yet. Returns whether it was kept.
    ///
    /// # Errors
    /// When the migration is missing, or the database refuses or does not answer.
    pub async fn keep_summary(&self, run: RunId) -> Result<bool, DatabaseError> {
        let statement = format!(
            "INSERT INTO state_tracker.summaries (run, version, campaign, written_at, content) \
             SELECT r.id, {version}, r.campaign_id, clock_timestamp(), r.summary FROM campaign_runs r \
             WHERE r.id = $1 AND {version} IS NOT NULL AND octet_length(r.summary::text) <= {LONGEST_SUMMARY} \
             ON CONFLICT DO NOTHING RETURNING true",
            version = number("r.summary", Summary::VERSION),
        );
        Ok(!self.write(KEEP_SUMMARY, &statement, &[(&run.0, Type::UUID)]).await?.is_empty())
    }

    /// The summaries of a campaign's runs between two times, both included. `after` is the end of the page before.
    ///
    /// # Errors
    /// When the migration is missing, or the database refuses or does not answer.
    pub async fn summaries(
        &self,
        campaign: CampaignId,
        from: Timestamp,
        to: Timestamp,
        after: Option<(Timestamp, RunId, i64)>,
    ) -> Result<SummaryPage, DatabaseError> {
        let (at, run, version) =
            after.map_or((None, None, None), |(at, run, version)| (Some(at.0), Some(run.0), Some(version)));
        let moment =
            |parameter: &str| format!("(to_timestamp(0) + {parameter}::bigint * interval '1 millisecond')");
        let statement = format!(
            "SELECT run, version, {written}, content FROM state_tracker.summaries \
             WHERE campaign = $1 AND written_at BETWEEN {from} AND {to} \
               AND ($4::bigint IS NULL OR (date_trunc('milliseconds', written_at), run, version) > ({at}, $5, $6)) \
             ORDER BY date_trunc('milliseconds', written_at), run, version LIMIT $7",
            written = millis("date_trunc('milliseconds', written_at)"),
            from = moment("$2"),
            to = moment("($3 + 1)"),
            at = moment("$4"),
        );
        let parameters: [Parameter<'_>; 7] = [
            (&campaign.0, Type::UUID),
            (&from.0, Type::INT8),
            (&to.0, Type::INT8),
            (&at, Type::INT8),
            (&run, Type::UUID),
            (&version, Type::INT8),
            (&MOST_ROWS, Type::INT8),
        ];
        let rows = self.read(KEEP_SUMMARY, &statement, &parameters).await?;
        let read = |row: &tokio_postgres::Row| KeptSummary {
            run: RunId(row.get(0)),
            version: row.get(1),
            written_at: Timestamp(row.get::<_, Option<i64>>(2).unwrap_or(0)),
            summary: Summary::read(&row.get::<_, Value>(3)),
        };
        let summaries: Vec<KeptSummary> = rows.iter().map(read).collect();
        let is_full = rows.len() as i64 == MOST_ROWS;
        let next = summaries.last().filter(|_| is_full).map(|last| (last.written_at, last.run, last.version));
        Ok(SummaryPage { summaries, next })
    }

    /// Removes summaries that are older than this: at most 10,000 at once. Returns how many.
    ///
    /// # Errors
    /// When the migration is missing, or the database refuses or does not answer.
    pub async fn prune_summaries(&self, retention: Duration) -> Result<u64, DatabaseError> {
        let statement = "WITH removed AS (DELETE FROM state_tracker.summaries WHERE ctid = ANY (ARRAY(\
               SELECT ctid FROM state_tracker.summaries WHERE written_at < now() - $1 * interval '1 second' LIMIT $2)) \
             RETURNING 1) SELECT count(*) FROM removed";
        let parameters: [Parameter<'_>; 2] =
            [(&retention.as_secs_f64(), Type::FLOAT8), (&MOST_REMOVED, Type::INT8)];
        let rows = self.write(KEEP_SUMMARY, statement, &parameters).await?;
        Ok(rows.first().and_then(|row| u64::try_from(row.get::<_, i64>(0)).ok()).unwrap_or(0))
    }
}
