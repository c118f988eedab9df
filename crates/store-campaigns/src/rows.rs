//! What is read of runs, and how a row becomes it. A row that can't be read is counted and left out.

use domain::campaigns::{CampaignId, CampaignParams, RunId, RunStatus, Summary, Timestamp};
use serde_json::{Value, json};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::statement::{READ_US, millis};

/// The longest summary that is read, in bytes of its text. Ours have 500 bytes to some kilobytes.
const LONGEST_SUMMARY: usize = 256 * 1024;
/// The longest parameter of a campaign that is read, in characters.
const LONGEST_PARAMETER: usize = 40;

/// Rows of one page.
#[derive(Clone, Debug)]
pub struct Page<T, C> {
    /// The rows.
    pub rows: Vec<T>,
    /// Where the next page starts; none after the last one.
    pub next: Option<C>,
    /// Rows that could not be read.
    pub unreadable: u64,
}

/// A running run of an active campaign, or an ended one that awaits its last summary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActiveRun {
    /// The run.
    pub run: RunId,
    /// Its campaign.
    pub campaign: CampaignId,
    /// The run's status.
    pub status: RunStatus,
    /// The campaign's own settings.
    pub params: CampaignParams,
}

/// A run with its summary.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// Its campaign.
    pub campaign: CampaignId,
    /// Its status.
    pub status: RunStatus,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its summary; none where there is none, or no object.
    pub summary: Option<Summary>,
    /// What differs when the summary differs, also one that another program wrote.
    pub fingerprint: String,
    /// The success rate below which clients get an alert, where the campaign has its own.
    pub alert_threshold: Option<f64>,
    /// When it was read, by the database's clock in Unix microseconds: services whose clocks differ agree on which state is newer.
    pub read_us: u64,
}

/// What a reader knows of a run, to find out whether it has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The run.
    pub run: RunId,
    /// Its status.
    pub status: RunStatus,
    /// The fingerprint of its summary.
    pub fingerprint: String,
}

impl RunRow {
    /// What is compared at the next look.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen { run: self.run, status: self.status, fingerprint: self.fingerprint.clone() }
    }
}

/// The expression of a summary's fingerprint.
pub(crate) const FINGERPRINT: &str = "coalesce(md5(r.summary::text), '')";

/// The columns of [`read_run`]: of `campaign_runs r` and `campaigns c`.
pub(crate) fn run_columns() -> String {
    format!(
        "r.id, r.campaign_id, r.status::text, {}, {}, \
         CASE WHEN octet_length(r.summary::text) <= {LONGEST_SUMMARY} THEN r.summary END, {FINGERPRINT}, \
         left(c.params ->> 'alert_threshold', {LONGEST_PARAMETER}), {READ_US}",
        millis("r.started_at"),
        millis("r.ended_at"),
    )
}

/// A run of a row with [`run_columns`]; none where its status is no status.
pub(crate) fn read_run(row: &Row) -> Option<RunRow> {
    let summary: Option<Value> = row.get(5);
    Some(RunRow {
        run: RunId(row.get(0)),
        campaign: CampaignId(row.get(1)),
        status: RunStatus::parse(row.get::<_, Option<&str>>(2)?)?,
        started_at: Timestamp(row.get::<_, Option<i64>>(3).unwrap_or(0)),
        ended_at: row.get::<_, Option<i64>>(4).map(Timestamp),
        summary: summary.as_ref().and_then(Summary::read),
        fingerprint: row.get(6),
        alert_threshold: read_params(None, row.get(7)).alert_threshold,
        read_us: u64::try_from(row.get::<_, i64>(8)).unwrap_or(0),
    })
}

/// The columns of [`read_active`]: of `campaign_runs r` and `campaigns c`.
pub(crate) fn active_columns() -> String {
    format!(
        "r.id, r.campaign_id, r.status::text, left(c.params ->> 'status_interval_seconds', \
        {LONGEST_PARAMETER}), \
         left(c.params ->> 'alert_threshold', {LONGEST_PARAMETER})"
    )
}

/// A run of a row with [`active_columns`].
pub(crate) fn read_active(row: &Row) -> Option<ActiveRun> {
    Some(ActiveRun {
        run: RunId(row.get(0)),
        campaign: CampaignId(row.get(1)),
        status: RunStatus::parse(row.get::<_, Option<&str>>(2)?)?,
        params: read_params(row.get(3), row.get(4)),
    })
}

fn read_params(interval: Option<&str>, threshold: Option<&str>) -> CampaignParams {
    CampaignParams::read(&json!({"status_interval_seconds": interval, "alert_threshold": threshold}))
}

/// The ids for a parameter.
pub(crate) fn uuids<T>(ids: &[T], of: impl Fn(&T) -> Uuid) -> Vec<Uuid> {
    ids.iter().map(of).collect()
}
