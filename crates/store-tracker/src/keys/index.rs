//! The keys of the state index: as the original names them, or with `P:M:` before them.

use domain::{EpochId, tracker::index::IndexSet};
use serde::{Deserialize, Serialize};

use super::{MarketKeys, Output};

/// The keys of one index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IndexKeys {
    /// What stands before each key, with its colon.
    before: String,
    /// Whether it is the index of one market under its name.
    namespaced: bool,
}

impl IndexKeys {
    /// The index without a market in its names.
    #[must_use]
    pub fn plain(output: &Output) -> Self {
        Self { before: output.before(), namespaced: false }
    }

    /// The index of a market, under the first spelling of its outputs.
    #[must_use]
    pub fn of_market(keys: &MarketKeys) -> Self {
        Self { before: format!("{}:", keys.outputs[0]), namespaced: true }
    }

    /// How it is shown: what stands before its keys.
    #[must_use]
    pub fn name(&self) -> &str {
        self.before.strip_suffix(':').unwrap_or("without a market")
    }

    /// Everything before the name of a key, with its colon; empty for nothing.
    pub(crate) fn before(&self) -> &str {
        &self.before
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.before)
    }

    /// `metrics:submissions:by_time`, zset.
    pub(crate) fn submissions_by_time(&self) -> String {
        self.key("metrics:submissions:by_time")
    }

    /// `metrics:epochs:by_time`, zset.
    pub(crate) fn epochs_by_time(&self) -> String {
        self.key("metrics:epochs:by_time")
    }

    /// `metrics:finalizations:by_time`, zset.
    #[must_use]
    pub fn finalizations_by_time(&self) -> String {
        self.key("metrics:finalizations:by_time")
    }

    /// `epoch:E:submissions`, set.
    pub(crate) fn epoch_submissions(&self, epoch: &EpochId) -> String {
        self.key(&format!("epoch:{epoch}:submissions"))
    }

    /// `epoch:E:validators`, set. With `P:M:` before it, that is a key of the producers, which the index leaves alone.
    pub(crate) fn epoch_validators(&self, epoch: &EpochId) -> Option<String> {
        (!self.namespaced).then(|| self.key(&format!("epoch:{epoch}:validators")))
    }

    /// `validator:V:epochs`, set.
    pub(crate) fn validator_epochs(&self, validator: &str) -> String {
        self.key(&format!("validator:{validator}:epochs"))
    }

    /// `validator:V:batches`, set.
    pub(crate) fn validator_batches(&self, validator: &str) -> String {
        self.key(&format!("validator:{validator}:batches"))
    }

    /// `validator:V:stats`, hash.
    pub(crate) fn validator_stats(&self, validator: &str) -> String {
        self.key(&format!("validator:{validator}:stats"))
    }

    /// `project:ID:submissions`, set.
    pub(crate) fn project_submissions(&self, project: &str) -> String {
        self.key(&format!("project:{project}:submissions"))
    }

    /// `snapshotter:ID:submissions`, set; the id is the slot.
    pub(crate) fn snapshotter_submissions(&self, slot: &str) -> String {
        self.key(&format!("snapshotter:{slot}:submissions"))
    }

    /// `state:epoch:E`, hash.
    pub(crate) fn epoch(&self, epoch: &EpochId) -> String {
        self.key(&format!("state:epoch:{epoch}"))
    }

    /// `state:submission:ID`, hash.
    pub(crate) fn submission(&self, id: &str) -> String {
        self.key(&format!("state:submission:{id}"))
    }

    /// `state:validator:V`, hash.
    pub(crate) fn validator(&self, validator: &str) -> String {
        self.key(&format!("state:validator:{validator}"))
    }

    /// `validators:last_seen`, hash.
    pub(crate) fn last_seen(&self) -> String {
        self.key("validators:last_seen")
    }

    /// `validators:peer_mapping`, hash.
    pub(crate) fn peer_mapping(&self) -> String {
        self.key("validators:peer_mapping")
    }

    /// A set that states put entities into.
    pub(crate) fn set(&self, set: IndexSet) -> String {
        self.key(match set {
            IndexSet::PendingEpochs => "pending:epochs",
            IndexSet::ActiveEpochs => "active:epochs",
            IndexSet::CompletedEpochs => "completed:epochs",
            IndexSet::ActiveSubmissions => "active:submissions",
            IndexSet::RejectedSubmissions => "rejected:submissions",
            IndexSet::FinalizedSubmissions => "finalized:submissions",
            IndexSet::OnlineValidators => "online:validators",
            IndexSet::ActiveValidators => "active:validators",
            IndexSet::OfflineValidators => "offline:validators",
        })
    }
}
