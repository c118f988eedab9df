//! What a client got of the campaigns, and what it must never get. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

/// The findings that are kept: one fault repeats.
const MOST_FINDINGS: usize = 20;

/// The newest status of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::demo) struct SeenStatus {
    pub(in crate::demo) event: u64,
    pub(in crate::demo) campaign: String,
    pub(in crate::demo) status: String,
    pub(in crate::demo) metrics: Value,
}

/// What came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::demo) struct SeenCampaigns {
    /// By the ids of runs.
    pub(in crate::demo) runs: BTreeMap<String, SeenStatus>,
    /// How many events came, by their names.
    pub(in crate::demo) events: BTreeMap<String, u64>,
    /// How often the client has connected.
    pub(in crate::demo) connections: u64,
    /// How often a campaign of somebody else was refused.
    pub(in crate::demo) refused: u64,
    pub(in crate::demo) findings: Vec<String>,
    /// Runs whose latest status may come once more, since the client has just joined.
    pub(in crate::demo) fresh: BTreeSet<String>,
}

/// The same, of the client and of those that look. A clone is the same.
#[derive(Clone, Default)]
pub(super) struct SharedSeen(Arc<Mutex<SeenCampaigns>>);

impl SharedSeen {
    /// Changes it.
    pub(super) fn change(&self, change: impl FnOnce(&mut SeenCampaigns)) {
        // Each change is whole, whatever a panic elsewhere has left.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// As it is now.
    pub(super) fn get(&self) -> SeenCampaigns {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SeenCampaigns {
    /// The client has connected, and joins its rooms: it gets the latest status of each run, perhaps again.
    pub(super) fn connected(&mut self) {
        self.connections += 1;
        self.fresh = self.runs.keys().cloned().collect();
    }

    /// The answer to a request to join.
    pub(super) fn joined(&mut self, is_own: bool, answer: &Value) {
        match (is_own, answer["success"] == true) {
            (false, true) => self.find("the client joined a campaign of somebody else".to_owned()),
            (false, false) => self.refused += 1,
            // Without its database the gateway can't tell who owns a campaign; the client tries again.
            (true, _) => {}
        }
    }

    /// An event came.
    pub(super) fn take(&mut self, name: &str, payload: Value) {
        *self.events.entry(name.to_owned()).or_default() += 1;
        if name != "campaign:status" {
            return;
        }
        let text = |field: &str| payload[field].as_str().unwrap_or_default().to_owned();
        let (run, event) = (text("runId"), payload["eventId"].as_u64().unwrap_or_default());
        let last = self.runs.get(&run).map_or(0, |seen| seen.event);
        let may_repeat = self.fresh.remove(&run);
        if event < last || event == last && !may_repeat {
            self.find(format!("the status {event} of run {run} came after {last}"));
        }
        let status = SeenStatus {
            event,
            campaign: text("campaignId"),
            status: text("status"),
            metrics: payload["metrics"].clone(),
        };
        self.runs.insert(run, status);
    }

    /// How many events of this name came.
    pub(in crate::demo) fn count(&self, name: &str) -> u64 {
        self.events.get(name).copied().unwrap_or_default()
    }

    fn find(&mut self, finding: String) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(event: u64) -> Value {
        json!({ "eventId": event, "runId": "r", "campaignId": "c", "status": "running", "metrics": {} })
    }

    #[test]
    fn a_status_twice_or_out_of_order_is_found_and_once_more_after_a_join_is_none() {
        let mut seen = SeenCampaigns::default();
        seen.connected();
        seen.take("campaign:status", status(3));
        seen.take("campaign:status", status(5));
        seen.connected();
        seen.take("campaign:status", status(5));
        assert_eq!((seen.findings.len(), seen.count("campaign:status")), (0, 3));
        seen.take("campaign:status", status(5));
        assert_eq!(seen.findings, ["the status 5 of run r came after 5"]);
        seen.connected();
        seen.take("campaign:status", status(4));
        assert_eq!(seen.findings.len(), 2);
    }

    #[test]
    fn a_campaign_of_somebody_else_that_is_joined_is_found() {
        let mut seen = SeenCampaigns::default();
        seen.joined(true, &json!({ "success": true }));
        seen.joined(false, &json!({ "success": false }));
        assert_eq!((seen.findings.len(), seen.refused), (0, 1));
        seen.joined(false, &json!({ "success": true }));
        assert_eq!(seen.findings.len(), 1);
    }
}
