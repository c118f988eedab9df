//! Whose turn it is: the 80 % rule, entries of campaigns that are no longer active, the pause after a full computation.

use std::collections::{BTreeMap, BTreeSet};

use super::id::CampaignId;

/// A full computation is followed by a pause of at least so many times its length, so that it takes a tenth of the time.
pub const PAUSE_FACTOR: u64 = 9;

/// The pause after a full computation of a run.
#[must_use]
pub const fn pause_after(took_ms: u64) -> u64 {
    took_ms.saturating_mul(PAUSE_FACTOR)
}

/// Whether enough of an interval has passed since a turn: 80 %, so that a round that is a little early does not skip a turn.
pub(super) const fn is_due(since_ms: u64, interval_ms: u64) -> bool {
    since_ms.saturating_mul(10) >= interval_ms.saturating_mul(8)
}

/// An active campaign with a running run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The campaign.
    pub campaign: CampaignId,
    /// Its own interval, or the service's.
    pub interval_ms: u64,
}

/// When each active campaign had its turn. It holds no more entries than there were active campaigns in the last round.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    entries: BTreeMap<CampaignId, Entry>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    last_ms: Option<u64>,
    not_before_ms: u64,
}

impl Schedule {
    /// The campaigns whose turn it is at `now_ms`, of all active ones. Their turn is noted; entries of other campaigns are dropped.
    pub fn round(&mut self, now_ms: u64, active: &[Candidate]) -> Vec<CampaignId> {
        let known: BTreeSet<CampaignId> = active.iter().map(|candidate| candidate.campaign).collect();
        self.entries.retain(|campaign, _| known.contains(campaign));
        let mut due = Vec::new();
        for candidate in active {
            let entry = self.entries.entry(candidate.campaign).or_default();
            let is_due =
                entry.last_ms.is_none_or(|last| is_due(now_ms.saturating_sub(last), candidate.interval_ms));
            if is_due && now_ms >= entry.not_before_ms {
                entry.last_ms = Some(now_ms);
                due.push(candidate.campaign);
            }
        }
        due
    }

    /// The turn of this campaign could not be taken: it is due again in the next round.
    pub fn failed(&mut self, campaign: CampaignId) {
        if let Some(entry) = self.entries.get_mut(&campaign) {
            entry.last_ms = None;
        }
    }

    /// A full computation of a run of this campaign ended at `now_ms` after `took_ms`.
    pub fn computed(&mut self, campaign: CampaignId, now_ms: u64, took_ms: u64) {
        if let Some(entry) = self.entries.get_mut(&campaign) {
            entry.not_before_ms = entry.not_before_ms.max(now_ms.saturating_add(pause_after(took_ms)));
        }
    }

    /// How many campaigns have an entry.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no campaign has an entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
