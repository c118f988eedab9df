//! Summaries as they were, for trends. They need the migration. `Database::finish` keeps a summary in the statement that writes it.

use std::time::Duration;

use domain::campaigns::{CampaignId, RunId, Summary, Timestamp};
use serde_json::Value;
use tokio_postgres::types::Type;

use crate::database::{Database, Parameter};
use crate::error::DatabaseError;
use crate::operations::{PRUNE_HISTORY, READ_HISTORY};
use crate::statement::millis;

/// The most summaries of one page.
const MOST_ROWS: usize = 1_000;
/// The most summaries that one call removes.
const MOST_REMOVED: i64 = 10_000;
/// The longest summary that is kept, in bytes of its text.
const LONGEST_SUMMARY: usize = 256 * 1024;
/// The most bytes of one page, as text: sixteen of the longest summaries, or thousands of usual ones.
const MOST_BYTES: usize = 16 * LONGEST_SUMMARY;

/// Whether summaries are kept for trends as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// They are.
    Kept,
    /// They are not: the migration is missing.
    Absent,
}

impl History {
    /// The part of a statement that keeps what its part `written` has written. A version that is there already stays.
    pub(crate) fn part(self) -> String {
        match self {
            Self::Kept => format!(
                ", kept AS (INSERT INTO state_tracker.summaries (run, version, campaign, written_at, content) \
                   SELECT run, version, campaign, clock_timestamp(), summary FROM written \
                   WHERE octet_length(summary::text) <= {LONGEST_SUMMARY} ON CONFLICT DO NOTHING)"
            ),
            Self::Absent => String::new(),
        }
    }
}

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
    pub next: Option<HistoryPlace>,
}

/// A place in the order of a campaign's summaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryPlace {
    /// When the summary was kept.
    pub at: Timestamp,
    /// Its run.
    pub run: RunId,
    /// Its version.
    pub version: i64,
}

impl KeptSummary {
    /// Its place.
    #[must_use]
    pub fn place(&self) -> HistoryPlace {
        HistoryPlace { at: self.written_at, run: self.run, version: self.version }
    }
}

impl Database {
    /// The summaries of a campaign's runs between two times, both included: at most `limit`, and fewer where they are large. `after` is
    /// the end of the page before.
    ///
    /// # Errors
    /// When the migration is missing, or the database refuses or does not answer.
    pub async fn summaries(
        &self,
        campaign: CampaignId,
        between: (Timestamp, Timestamp),
        after: Option<HistoryPlace>,
        limit: usize,
    ) -> Result<SummaryPage, DatabaseError> {
        let (from, to) = between;
        let (at, run, version) = after
            .map_or((None, None, None), |place| (Some(place.at.0), Some(place.run.0), Some(place.version)));
        let limit = i64::try_from(limit.clamp(1, MOST_ROWS)).unwrap_or(1);
        let moment =
            |parameter: &str| format!("(to_timestamp(0) + {parameter}::bigint * interval '1 millisecond')");
        let order = "date_trunc('milliseconds', written_at), run, version";
        let statement = format!(
            "SELECT run, version, {written}, content, (SELECT count(*) FROM part) FROM (SELECT *, \
               sum(octet_length(content::text)) OVER (ORDER BY {order}) - octet_length(content::text) AS before FROM part) AS sized \
             WHERE before < {MOST_BYTES} ORDER BY {order}",
            written = millis("date_trunc('milliseconds', written_at)"),
        );
        let part = format!(
            "WITH part AS MATERIALIZED (SELECT run, version, written_at, content FROM state_tracker.summaries \
             WHERE campaign = $1 AND written_at >= {from} AND written_at < {to} \
               AND ($4::bigint IS NULL OR (date_trunc('milliseconds', written_at), run, version) > ({at}, $5, $6)) \
             ORDER BY {order} LIMIT $7) ",
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
            (&limit, Type::INT8),
        ];
        let rows = self.read(READ_HISTORY, &(part + &statement), &parameters).await?;
        let read = |row: &tokio_postgres::Row| KeptSummary {
            run: RunId(row.get(0)),
            version: row.get(1),
            written_at: Timestamp(row.get::<_, Option<i64>>(2).unwrap_or(0)),
            summary: Summary::read(&row.get::<_, Value>(3)),
        };
        let summaries: Vec<KeptSummary> = rows.iter().map(read).collect();
        let found = rows.first().map_or(0, |row| row.get::<_, i64>(4));
        let is_cut = found == limit || found > rows.len() as i64;
        let next = summaries.last().filter(|_| is_cut).map(KeptSummary::place);
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
        let rows = self.write(PRUNE_HISTORY, statement, &parameters).await?;
        Ok(rows.first().and_then(|row| u64::try_from(row.get::<_, i64>(0)).ok()).unwrap_or(0))
    }
}
