//! The keys of the state index: as the original names them, or with `P:M:` before them.

use std::fmt::Display;

use domain::{EpochId, tracker::index::IndexSet};
use serde::{Deserialize, Serialize};
use store_redis::{
    Age, Family,
    KeyType::{self, Hash, Set, Zset},
    Removal, Retention,
    Ttl::{self, Forbidden, Required},
    Writer,
};

use super::{MarketKeys, Output, inputs::EPOCH_VALIDATORS};

const fn index(name: &'static str, kind: KeyType, ttl: Ttl, sentence: &'static str) -> Family {
    let (writer, reader) = (Writer::Outputs, "readers, indexer");
    let removal = Removal::Actor { name: "pruner", age: Some(Age::Configured(Retention::Index)) };
    Family { name, kind, ttl, writer, reader, removal, sentence }
}

domain::table! {
    /// The state index of a market that has one. Keys of one entity expire after twice the retention of the index.
    pub(crate) INDEX: Family;
    SUBMISSIONS_BY_TIME = index("metrics:submissions:by_time", Zset, Forbidden,
        "Submissions by the time of their first event.");
    EPOCHS_BY_TIME = index("metrics:epochs:by_time", Zset, Forbidden,
        "Epochs by the time of their first event.");
    FINALIZATIONS_BY_TIME = index("metrics:finalizations:by_time", Zset, Forbidden,
        "Finalized submissions by their time.");
    EPOCH_SUBMISSIONS = index("epoch:*:submissions", Set, Required, "The submissions of an epoch.");
    VALIDATOR_EPOCHS = index("validator:*:epochs", Set, Required, "The epochs of a validator.");
    VALIDATOR_BATCHES = index("validator:*:batches", Set, Required,
        "The epochs that a validator made a batch of.");
    VALIDATOR_STATS = index("validator:*:stats", Hash, Required, "Counts of a validator.");
    PROJECT_SUBMISSIONS = index("project:*:submissions", Set, Required, "The submissions of a project.");
    SNAPSHOTTER_SUBMISSIONS = index("snapshotter:*:submissions", Set, Required,
        "The submissions of a slot id.");
    STATE_EPOCH = index("state:epoch:*", Hash, Required, "The state of an epoch and its times.");
    STATE_SUBMISSION = index("state:submission:*", Hash, Required,
        "The state of a submission and its times.");
    STATE_VALIDATOR = index("state:validator:*", Hash, Required, "The state of a validator and its times.");
    LAST_SEEN = index("validators:last_seen", Hash, Forbidden, "When each validator was last seen.");
    PEER_MAPPING = index("validators:peer_mapping", Hash, Forbidden,
        "The validators whose id is a peer id, each as its own peer; no event names a validator and its peer.");
    PENDING_EPOCHS = index("pending:epochs", Set, Forbidden, "Epochs in the state pending.");
    ACTIVE_EPOCHS = index("active:epochs", Set, Forbidden,
        "Epochs in the states processing, finalizing, aggregating.");
    COMPLETED_EPOCHS = index("completed:epochs", Set, Forbidden, "Epochs in the state completed.");
    ACTIVE_SUBMISSIONS = index("active:submissions", Set, Forbidden,
        "Submissions in the states received, validating, validated.");
    REJECTED_SUBMISSIONS = index("rejected:submissions", Set, Forbidden,
        "Submissions in the state rejected.");
    FINALIZED_SUBMISSIONS = index("finalized:submissions", Set, Forbidden,
        "Submissions in the state finalized.");
    ONLINE_VALIDATORS = index("online:validators", Set, Forbidden,
        "Validators that sent a batch in the last hour; producers send no other sign of a validator.");
    ACTIVE_VALIDATORS = index("active:validators", Set, Forbidden, "Validators in the state active.");
    OFFLINE_VALIDATORS = index("offline:validators", Set, Forbidden, "Validators in the state offline.");
}

/// The keys that the original's description promises and that have no source, each with the reason.
pub const NOT_WRITTEN: &[(&str, &str)] =
    &[("validators:by_stake", "No event and no key of the producers names a validator's stake.")];

/// The keys of one index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IndexKeys {
    /// The prefix of each key, without the colon behind it; empty for none.
    space: String,
    /// Whether it is the index of one market under its name.
    namespaced: bool,
}

impl IndexKeys {
    /// The index without a market in its names.
    #[must_use]
    pub fn plain(output: &Output) -> Self {
        Self { space: output.prefix.clone(), namespaced: false }
    }

    /// The index of a market, under the first spelling of its outputs.
    #[must_use]
    pub fn of_market(keys: &MarketKeys) -> Self {
        Self { space: keys.outputs[0].clone(), namespaced: true }
    }

    /// Its name in reports: the prefix of its keys.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.space.is_empty() { "without a market" } else { &self.space }
    }

    /// Everything before the name of a key, without a colon; empty for nothing.
    pub(crate) fn space(&self) -> &str {
        &self.space
    }

    /// Whether it is the index of one market under its name.
    pub(crate) fn is_namespaced(&self) -> bool {
        self.namespaced
    }

    fn key(&self, family: &Family) -> String {
        family.key(&self.space, &[])
    }

    fn of(&self, family: &Family, id: &dyn Display) -> String {
        family.key(&self.space, &[id])
    }

    pub(crate) fn submissions_by_time(&self) -> String {
        self.key(&SUBMISSIONS_BY_TIME)
    }

    pub(crate) fn epochs_by_time(&self) -> String {
        self.key(&EPOCHS_BY_TIME)
    }

    /// `metrics:finalizations:by_time`, zset.
    #[must_use]
    pub fn finalizations_by_time(&self) -> String {
        self.key(&FINALIZATIONS_BY_TIME)
    }

    pub(crate) fn epoch_submissions(&self, epoch: &EpochId) -> String {
        self.of(&EPOCH_SUBMISSIONS, epoch)
    }

    /// `epoch:E:validators`. With `P:M:` before it, that is a key of the producers, which the index does not touch.
    pub(crate) fn epoch_validators(&self, epoch: &EpochId) -> Option<String> {
        (!self.namespaced).then(|| self.of(&EPOCH_VALIDATORS, epoch))
    }

    pub(crate) fn validator_epochs(&self, validator: &str) -> String {
        self.of(&VALIDATOR_EPOCHS, &validator)
    }

    pub(crate) fn validator_batches(&self, validator: &str) -> String {
        self.of(&VALIDATOR_BATCHES, &validator)
    }

    pub(crate) fn validator_stats(&self, validator: &str) -> String {
        self.of(&VALIDATOR_STATS, &validator)
    }

    pub(crate) fn project_submissions(&self, project: &str) -> String {
        self.of(&PROJECT_SUBMISSIONS, &project)
    }

    pub(crate) fn snapshotter_submissions(&self, slot: &str) -> String {
        self.of(&SNAPSHOTTER_SUBMISSIONS, &slot)
    }

    pub(crate) fn epoch(&self, epoch: &EpochId) -> String {
        self.of(&STATE_EPOCH, epoch)
    }

    pub(crate) fn submission(&self, id: &str) -> String {
        self.of(&STATE_SUBMISSION, &id)
    }

    pub(crate) fn validator(&self, validator: &str) -> String {
        self.of(&STATE_VALIDATOR, &validator)
    }

    pub(crate) fn last_seen(&self) -> String {
        self.key(&LAST_SEEN)
    }

    pub(crate) fn peer_mapping(&self) -> String {
        self.key(&PEER_MAPPING)
    }

    /// A set that states put entities into.
    pub(crate) fn set(&self, set: IndexSet) -> String {
        self.key(match set {
            IndexSet::PendingEpochs => &PENDING_EPOCHS,
            IndexSet::ActiveEpochs => &ACTIVE_EPOCHS,
            IndexSet::CompletedEpochs => &COMPLETED_EPOCHS,
            IndexSet::ActiveSubmissions => &ACTIVE_SUBMISSIONS,
            IndexSet::RejectedSubmissions => &REJECTED_SUBMISSIONS,
            IndexSet::FinalizedSubmissions => &FINALIZED_SUBMISSIONS,
            IndexSet::OnlineValidators => &ONLINE_VALIDATORS,
            IndexSet::ActiveValidators => &ACTIVE_VALIDATORS,
            IndexSet::OfflineValidators => &OFFLINE_VALIDATORS,
        })
    }
}
