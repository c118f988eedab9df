//! Which row of the users' `jobs` takes a run's turn.
//!
//! A campaign has few rows of its own that are used again and again: a row a turn would be millions a day. Their ids follow from
//! the campaign's id, so that a row is found by its primary key, and so that two schedulers that make one at the same time make the
//! same one. A row that is a dead letter stays until it is replayed, dropped, or one of too many.

use std::collections::BTreeSet;

use sha3::{Digest, Sha3_256};
use uuid::Uuid;

use super::id::{CampaignId, JobId, RunId};
use super::schedule::{is_due, pause_after};

/// The most dead letters that a campaign keeps in its rows; the next one takes the place of the oldest.
pub const MOST_DEAD: usize = 8;

/// The id of a campaign's row, by its number.
#[must_use]
pub fn row_id(campaign: CampaignId, number: usize) -> JobId {
    let mut hash = Sha3_256::new();
    hash.update(b"state-tracker: status row");
    hash.update(campaign.0.as_bytes());
    hash.update((number as u64).to_be_bytes());
    let hash = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    // Version 8, a UUID of one's own making, and the variant of RFC 9562.
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    JobId(Uuid::from_bytes(bytes))
}

/// All ids that rows of a campaign may have, while so many of its runs take turns.
pub fn rows_of(campaign: CampaignId, runs: usize) -> impl Iterator<Item = JobId> {
    (0..runs.saturating_add(MOST_DEAD)).map(move |number| row_id(campaign, number))
}

/// A run that shall take a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunWanted {
    /// The run.
    pub run: RunId,
    /// Its campaign's interval; 0 for a last summary, which waits for nothing but the pause.
    pub interval_ms: u64,
}

/// What a row is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    /// It is queued or in work.
    Open,
    /// It is done.
    Done,
    /// It failed for good: a dead letter.
    Dead,
}

/// A row that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRow {
    /// Its id.
    pub id: JobId,
    /// The run whose turn it took last.
    pub run: RunId,
    /// What it is at.
    pub state: RowState,
    /// When that turn was planned.
    pub planned_ms: u64,
    /// When that turn was over.
    pub over_ms: u64,
    /// How long the computation took.
    pub took_ms: u64,
}

/// A row that takes a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The row, which may not exist yet.
    pub row: JobId,
    /// The run.
    pub run: RunId,
    /// Whether a dead letter is overwritten.
    pub evicts: bool,
}

/// The turns of a campaign's runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The turns to take.
    pub turns: Vec<Turn>,
    /// Runs whose turn is open already.
    pub open: usize,
    /// Runs that had a turn lately, or pause after a long computation.
    pub recent: usize,
    /// Runs for which no row was free.
    pub crowded: usize,
}

/// Plans the turns of a campaign's runs at `now_ms`. `rows` are those of [`rows_of`] that exist.
#[must_use]
pub fn plan_rows(campaign: CampaignId, runs: &[RunWanted], rows: &[StatusRow], now_ms: u64) -> Plan {
    let mut plan = Plan::default();
    let wanted: BTreeSet<RunId> = runs.iter().map(|wanted| wanted.run).collect();
    let mut used: BTreeSet<JobId> = BTreeSet::new();
    let mut planned: BTreeSet<RunId> = BTreeSet::new();
    for wanted_run in runs {
        // A run that is named twice takes one turn.
        if !planned.insert(wanted_run.run) {
            continue;
        }
        let own = || rows.iter().filter(|row| row.run == wanted_run.run);
        if own().any(|row| row.state == RowState::Open) {
            plan.open += 1;
        } else if own().any(|row| is_recent(row, wanted_run.interval_ms, now_ms)) {
            plan.recent += 1;
        } else if let Some((row, evicts)) = free_row(campaign, wanted_run.run, &wanted, rows, &used) {
            used.insert(row);
            plan.turns.push(Turn { row, run: wanted_run.run, evicts });
        } else {
            plan.crowded += 1;
        }
    }
    plan
}

fn is_recent(row: &StatusRow, interval_ms: u64, now_ms: u64) -> bool {
    let had_its_turn = !is_due(now_ms.saturating_sub(row.planned_ms), interval_ms);
    had_its_turn || now_ms < row.over_ms.saturating_add(pause_after(row.took_ms))
}

/// The row that a run takes, and whether that is a dead letter: its own last one, one of a run that takes no more turns, a new
/// one, the oldest dead letter.
fn free_row(
    campaign: CampaignId,
    run: RunId,
    wanted: &BTreeSet<RunId>,
    rows: &[StatusRow],
    used: &BTreeSet<JobId>,
) -> Option<(JobId, bool)> {
    let free = || rows.iter().filter(|row| !used.contains(&row.id));
    let done = || free().filter(|row| row.state == RowState::Done);
    let own = done().find(|row| row.run == run);
    if let Some(row) = own.or_else(|| done().find(|row| !wanted.contains(&row.run))) {
        return Some((row.id, false));
    }
    let exists = |id: &JobId| rows.iter().any(|row| row.id == *id) || used.contains(id);
    if let Some(new) = rows_of(campaign, wanted.len()).find(|id| !exists(id)) {
        return Some((new, false));
    }
    let dead = free().filter(|row| row.state == RowState::Dead).min_by_key(|row| (row.over_ms, row.id));
    dead.map(|row| (row.id, true))
}
