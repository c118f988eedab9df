//! Which runs are counted, what has changed, whose campaign it is.

use std::time::Duration;

use domain::campaigns::{CampaignId, RunId, UserId};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::database::Database;
use crate::error::DatabaseError;
use crate::operations::{FIND_OWNER, FIND_RUNS, READ_RUNS};
use crate::rows::{
    ActiveRun, FINGERPRINT, Page, RunRow, Seen, active_columns, read_active, read_run, run_columns, uuids,
};

/// The most rows that one call returns, whatever it is asked for.
const MOST_ROWS: usize = 1000;
/// The most runs of a campaign that count as its latest.
const MOST_LATEST: i64 = 20;
/// The longest id of a user that is compared.
const LONGEST_USER: usize = 256;

/// What has changed since a look.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Runs whose status or summary differs, as they are now.
    pub changed: Vec<RunRow>,
    /// Runs that are no longer there.
    pub gone: Vec<RunId>,
    /// Rows that could not be read.
    pub unreadable: u64,
}

impl Database {
    /// Running runs of active campaigns, in the order of their campaigns. A page never ends within a campaign, as far as it can
    /// be avoided: a campaign's runs are planned together.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn active_runs(
        &self,
        after: Option<(CampaignId, RunId)>,
        limit: usize,
    ) -> Result<Page<ActiveRun, (CampaignId, RunId)>, DatabaseError> {
        let limit = limit.clamp(1, MOST_ROWS);
        let statement = format!(
            "SELECT {} FROM campaign_runs r JOIN campaigns c ON c.id = r.campaign_id \
             WHERE r.status = 'running' AND c.status = 'active' AND (r.campaign_id, r.id) > ($1, $2) \
             ORDER BY r.campaign_id, r.id LIMIT $3",
            active_columns()
        );
        let (campaign, run) = after.map_or((Uuid::nil(), Uuid::nil()), |(campaign, run)| (campaign.0, run.0));
        let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
            [(&campaign, Type::UUID), (&run, Type::UUID), (&most, Type::INT8)];
        let mut rows = self.read(FIND_RUNS, &statement, &parameters).await?;
        let mut next = None;
        if rows.len() > limit {
            rows.truncate(limit);
            let campaign_of = |row: &tokio_postgres::Row| row.get::<_, Uuid>(1);
            let last = rows.last().map(campaign_of);
            // The last campaign may go on in the next page: it is left to that, unless it fills this one.
            let whole = rows.iter().take_while(|row| Some(campaign_of(row)) != last).count();
            rows.truncate(if whole == 0 { rows.len() } else { whole });
            next = rows.last().map(|row| (CampaignId(row.get(1)), RunId(row.get(0))));
        }
        let found = rows.len();
        let rows: Vec<ActiveRun> = rows.iter().filter_map(read_active).collect();
        let unreadable = (found - rows.len()) as u64;
        Ok(Page { rows, next, unreadable })
    }

    /// Runs that have left `running` within this time and lack a last summary, whatever their campaign's status. It reads every
    /// ended run of that time: for the start, and seldom later. A run that vanishes from [`Database::active_runs`] is known
    /// without it.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn runs_without_last_summary(
        &self,
        ended_within: Duration,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Page<ActiveRun, RunId>, DatabaseError> {
        let limit = limit.clamp(1, MOST_ROWS);
        let statement = format!(
            "SELECT {} FROM campaign_runs r JOIN campaigns c ON c.id = r.campaign_id \
             WHERE r.status IN ('paused', 'stopped', 'completed', 'failed') AND r.id > $1 \
             AND coalesce(r.ended_at, r.started_at) > now() - $2 * interval '1 second' \
             AND (r.summary -> 'final') IS DISTINCT FROM 'true'::jsonb ORDER BY r.id LIMIT $3",
            active_columns()
        );
        let after = after.map_or(Uuid::nil(), |run| run.0);
        let seconds = ended_within.as_secs_f64();
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self
            .read(
                FIND_RUNS,
                &statement,
                &[(&after, Type::UUID), (&seconds, Type::FLOAT8), (&most, Type::INT8)],
            )
            .await?;
        let next = (rows.len() == limit).then(|| rows.last().map(|row| RunId(row.get(0)))).flatten();
        let found = rows.len();
        let rows: Vec<ActiveRun> = rows.iter().filter_map(read_active).collect();
        Ok(Page { unreadable: (found - rows.len()) as u64, rows, next })
    }

    /// These runs as they are now; those that are gone or can't be read are missing. At most 1,000 at once.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn runs(&self, runs: &[RunId]) -> Result<Vec<RunRow>, DatabaseError> {
        let ids = uuids(&runs[..runs.len().min(MOST_ROWS)], |run| run.0);
        let statement = format!(
            "SELECT {} FROM campaign_runs r JOIN campaigns c ON c.id = r.campaign_id WHERE r.id = ANY ($1)",
            run_columns()
        );
        let rows = self.read(READ_RUNS, &statement, &[(&ids, Type::UUID_ARRAY)]).await?;
        Ok(rows.iter().filter_map(read_run).collect())
    }

    /// All running runs, whatever their campaign's status, with what is needed to see a change.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn running(
        &self,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Page<Seen, RunId>, DatabaseError> {
        let limit = limit.clamp(1, MOST_ROWS);
        let statement = format!(
            "SELECT r.id, {FINGERPRINT} FROM campaign_runs r WHERE r.status = 'running' AND r.id > $1 \
             ORDER BY r.id LIMIT $2"
        );
        let after = after.map_or(Uuid::nil(), |run| run.0);
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.read(READ_RUNS, &statement, &[(&after, Type::UUID), (&most, Type::INT8)]).await?;
        let next = (rows.len() == limit).then(|| rows.last().map(|row| RunId(row.get(0)))).flatten();
        let seen = |row: &tokio_postgres::Row| Seen {
            run: RunId(row.get(0)),
            status: domain::campaigns::RunStatus::Running,
            fingerprint: row.get(1),
        };
        Ok(Page { rows: rows.iter().map(seen).collect(), next, unreadable: 0 })
    }

    /// Which of these runs have changed since they were seen, found by their primary keys. At most 1,000 at once.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn changes(&self, seen: &[Seen]) -> Result<Changes, DatabaseError> {
        let seen = &seen[..seen.len().min(MOST_ROWS)];
        let ids = uuids(seen, |seen| seen.run.0);
        let statuses: Vec<&str> = seen.iter().map(|seen| seen.status.as_str()).collect();
        let fingerprints: Vec<&str> = seen.iter().map(|seen| seen.fingerprint.as_str()).collect();
        let statement = format!(
            "SELECT {}, s.id FROM unnest($1::uuid[], $2::text[], $3::text[]) AS s (id, status, \
            fingerprint) \
             LEFT JOIN campaign_runs r ON r.id = s.id LEFT JOIN campaigns c ON c.id = r.campaign_id \
             WHERE r.id IS NULL OR (r.status::text, {FINGERPRINT}) IS DISTINCT FROM (s.status, \
             s.fingerprint)",
            run_columns()
        );
        let rows = self
            .read(
                READ_RUNS,
                &statement,
                &[(&ids, Type::UUID_ARRAY), (&statuses, Type::TEXT_ARRAY), (&fingerprints, Type::TEXT_ARRAY)],
            )
            .await?;
        let mut changes = Changes::default();
        for row in &rows {
            match (row.get::<_, Option<Uuid>>(0), row.get::<_, Option<Uuid>>(1)) {
                (Some(_), Some(_)) => match read_run(row) {
                    Some(run) => changes.changed.push(run),
                    None => changes.unreadable += 1,
                },
                _ => changes.gone.push(RunId(row.get(9))),
            }
        }
        Ok(changes)
    }

    /// The latest runs of these campaigns: each running one, or else the newest. At most 1,000 campaigns at once.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn latest(&self, campaigns: &[CampaignId]) -> Result<Vec<RunRow>, DatabaseError> {
        let ids = uuids(&campaigns[..campaigns.len().min(MOST_ROWS)], |campaign| campaign.0);
        // Each campaign is a walk along one index, which ends after a few runs. A second running run is among the newest.
        let statement = format!(
            "SELECT {} FROM unnest($1::uuid[]) AS wanted (id) JOIN campaigns c ON c.id = wanted.id \
             CROSS JOIN LATERAL (SELECT n.*, row_number() OVER (ORDER BY n.started_at DESC, n.id) AS \
             place FROM \
               (SELECT * FROM campaign_runs WHERE campaign_id = c.id ORDER BY started_at DESC LIMIT \
               {MOST_LATEST}) n) r \
             WHERE r.status = 'running' OR r.place = 1",
            run_columns()
        );
        let rows = self.read(READ_RUNS, &statement, &[(&ids, Type::UUID_ARRAY)]).await?;
        let mut runs: Vec<RunRow> = rows.iter().filter_map(read_run).collect();
        // Where some run, the newest counts only if it runs too.
        let running: std::collections::BTreeSet<CampaignId> =
            runs.iter().filter(|run| !run.status.has_left()).map(|run| run.campaign).collect();
        runs.retain(|run| !run.status.has_left() || !running.contains(&run.campaign));
        Ok(runs)
    }

    /// The user whose campaign it is; none where there is no such campaign.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn owner_of(&self, campaign: CampaignId) -> Result<Option<UserId>, DatabaseError> {
        let statement = format!("SELECT left(user_id::text, {LONGEST_USER}) FROM campaigns WHERE id = $1");
        let rows = self.read(FIND_OWNER, &statement, &[(&campaign.0, Type::UUID)]).await?;
        Ok(rows.first().and_then(|row| row.get::<_, Option<String>>(0)).map(UserId))
    }
}
