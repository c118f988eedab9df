//! The keys that producers write: their families, and their names under one spelling of `P:M`.

use std::fmt::Display;

use domain::EpochId;
use store_redis::{
    Age, Family,
    KeyType::{self, Hash, List, Set, String as Text, Zset},
    Removal::{self, Expiry, OtherPrograms, Pruned},
    Retention,
    Ttl::{self, Optional, Required},
    Writer,
};

/// The pruner removes sealed epochs, where that is configured.
const ACTIVE_PRUNED: Removal =
    Removal::Actor { name: "pruner", age: Some(Age::Configured(Retention::Active)) };
/// Timelines are pruned after this setting.
const TIMELINES: Removal = Pruned(Age::Configured(Retention::Timelines));
/// The same for those of priorities.
const PRIORITY_TIMELINES: Removal = Pruned(Age::Configured(Retention::Priorities));

const AGGREGATOR: &str = "aggregator";
const BOTH: &str = "aggregator, epoch tracker";
const PRUNER: &str = "pruner";

const fn input(
    name: &'static str,
    kind: KeyType,
    ttl: Ttl,
    reader: &'static str,
    removal: Removal,
    sentence: &'static str,
) -> Family {
    Family { name, kind, ttl, writer: Writer::Producers, reader, removal, sentence }
}

domain::table! {
    /// What producers write behind `P:M:`.
    pub(crate) INPUTS: Family;
    QUEUE = input("submissionQueue", List, Optional, AGGREGATOR, OtherPrograms,
        "The submissions that wait for the dequeuer.");
    pub(crate) ACTIVE = input("epochs:active", Set, Required, AGGREGATOR, ACTIVE_PRUNED,
        "The ids of epochs that were opened; producers never remove one.");
    pub(crate) EPOCH_VALIDATORS = input("epoch:*:validators", Set, Required, AGGREGATOR, Expiry,
        "The remote validators that sent a batch of an epoch.");
    SUBMISSION_IDS = input("epoch:*:submissions:ids", Zset, Required, BOTH, Expiry,
        "The processed submissions of an epoch, by their times.");
    PROCESSED = input("epoch:*:processed", Set, Required, BOTH, Expiry,
        "The processed submissions of an epoch, from older dequeuers.");
    pub(crate) EPOCH_STATE = input("epoch:*:state", Hash, Required, BOTH, Expiry,
        "The state of an epoch; the aggregator updates its field `submissions_count`.");
    EPOCH_INFO = input("metrics:epoch:*:info", Hash, Required, BOTH, Expiry,
        "Start, end and status of an epoch's window.");
    EPOCHS_TIMELINE = input("metrics:epochs:timeline", Zset, Optional, BOTH, TIMELINES,
        "When epochs were opened and closed.");
    BATCHES_TIMELINE = input("metrics:batches:timeline", Zset, Optional, AGGREGATOR, TIMELINES,
        "When local and aggregated batches were made.");
    SUBMISSIONS_TIMELINE = input("metrics:submissions:timeline", Zset, Optional, PRUNER, TIMELINES,
        "When submissions were received, several members each; only `compat = \"go\"` counts them.");
    VALIDATIONS_TIMELINE = input("metrics:validations:timeline", Zset, Optional, "aggregator, pruner", TIMELINES,
        "When submissions were validated; read for epochs whose submissions expired while no tracker ran.");
    PARTS_TIMELINE = input("metrics:parts:timeline", Zset, Optional, PRUNER, TIMELINES,
        "When parts of local batches were made.");
    VALIDATOR_BATCHES = input("metrics:validator:*:batches", Zset, Optional, AGGREGATOR, TIMELINES,
        "The epochs of which a validator made a local batch; only those of the own validator are read.");
    LOCAL_BATCH = input("metrics:batch:local:*", Text, Required, BOTH, Expiry,
        "Metadata of an epoch's local batch; its existence says that level 1 is done.");
    AGGREGATED_BATCH = input("metrics:batch:aggregated:*", Text, Required, BOTH, Expiry,
        "Metadata of an epoch's aggregated batch; its existence says that level 2 is done.");
    BATCH_VALIDATORS = input("metrics:batch:*:validators", Text, Required, AGGREGATOR, Expiry,
        "The validators in an epoch's aggregated batch, as a JSON array.");
    SUBMISSION_METADATA = input("metrics:submissions:metadata:*", Text, Optional, "none", OtherPrograms,
        "Metadata of a submission.");
}

domain::table! {
    /// What producers write about priorities, behind `P:M:` or behind the second namespace of a market.
    pub(crate) PRIORITIES: Family;
    pub(crate) VPA_STATS = input("vpa:stats", Hash, Optional, AGGREGATOR, Expiry,
        "Counts of priorities and of the submissions made with them; the aggregator renews its TTL of 7 days.");
    VPA_ASSIGNMENTS = input("vpa:priority:timeline", Zset, Optional, AGGREGATOR, PRIORITY_TIMELINES,
        "When priorities were assigned.");
    VPA_SUBMISSIONS = input("vpa:submission:timeline", Zset, Optional, AGGREGATOR, PRIORITY_TIMELINES,
        "When batches were submitted with a priority.");
}

/// The families whose names tell of an epoch. Not `epoch:*:validators`, since a state index of the market has keys of this name too.
const OF_EPOCHS: [&Family; 7] = [
    &EPOCH_INFO,
    &EPOCH_STATE,
    &LOCAL_BATCH,
    &AGGREGATED_BATCH,
    &BATCH_VALIDATORS,
    &SUBMISSION_IDS,
    &PROCESSED,
];

/// The text in the place of the epoch id in the name of a key behind `P:M:`; `None` for a key of no epoch. It may be no valid id.
pub(crate) fn epoch_of(name: &str) -> Option<&str> {
    let id_of = |family: &&Family| {
        let (before, behind) = family.name.split_once('*')?;
        name.strip_prefix(before)?.strip_suffix(behind)
    };
    OF_EPOCHS.iter().find_map(id_of).filter(|id| !id.is_empty() && !id.contains(':'))
}

/// The keys that producers write, under one spelling of `P:M`. Where the original reads a key of an epoch, its id may be
/// any text, as it stands in a set or a timeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputKeys<'a> {
    space: &'a str,
    /// The form of the epoch's id, where it is another than the normal one.
    id: Option<&'a str>,
}

impl<'a> InputKeys<'a> {
    pub(super) fn new(space: &'a str) -> Self {
        Self { space, id: None }
    }

    /// The same, for keys of the one epoch whose id has this form.
    pub(crate) fn with_id(self, id: &'a str) -> Self {
        Self { id: Some(id), ..self }
    }

    fn of(self, family: &Family) -> String {
        family.key(self.space, &[])
    }

    fn of_epoch(self, family: &Family, epoch: &(impl AsRef<str> + ?Sized)) -> String {
        family.key(self.space, &[&self.id.unwrap_or_else(|| epoch.as_ref())])
    }

    /// `P:M`
    pub(crate) fn space(&self) -> &str {
        self.space
    }

    /// A key of this spelling that nobody uses.
    pub(crate) fn unused(self) -> String {
        format!("{}:tracker:unused", self.space)
    }

    /// Whether the name of a key begins with this spelling.
    pub(crate) fn has(self, key: &str) -> bool {
        key.strip_prefix(self.space).is_some_and(|rest| rest.starts_with(':'))
    }

    pub(crate) fn queue(self) -> String {
        self.of(&QUEUE)
    }

    pub(crate) fn active(self) -> String {
        self.of(&ACTIVE)
    }

    pub(crate) fn epochs_timeline(self) -> String {
        self.of(&EPOCHS_TIMELINE)
    }

    /// A member of a timeline about an epoch, such as `local:E`.
    pub(crate) fn member(self, what: &str, epoch: &EpochId) -> String {
        format!("{what}:{}", self.id.unwrap_or_else(|| epoch.as_str()))
    }

    pub(crate) fn batches_timeline(self) -> String {
        self.of(&BATCHES_TIMELINE)
    }

    pub(crate) fn validations_timeline(self) -> String {
        self.of(&VALIDATIONS_TIMELINE)
    }

    pub(crate) fn submissions_timeline(self) -> String {
        self.of(&SUBMISSIONS_TIMELINE)
    }

    pub(crate) fn info(self, epoch: &(impl AsRef<str> + ?Sized)) -> String {
        self.of_epoch(&EPOCH_INFO, epoch)
    }

    pub(crate) fn state(self, epoch: &EpochId) -> String {
        self.of_epoch(&EPOCH_STATE, epoch)
    }

    pub(crate) fn validators(self, epoch: &(impl AsRef<str> + ?Sized)) -> String {
        self.of_epoch(&EPOCH_VALIDATORS, epoch)
    }

    pub(crate) fn submission_ids(self, epoch: &(impl AsRef<str> + ?Sized)) -> String {
        self.of_epoch(&SUBMISSION_IDS, epoch)
    }

    pub(crate) fn processed(self, epoch: &EpochId) -> String {
        self.of_epoch(&PROCESSED, epoch)
    }

    pub(crate) fn local_batch(self, epoch: &(impl AsRef<str> + ?Sized)) -> String {
        self.of_epoch(&LOCAL_BATCH, epoch)
    }

    pub(crate) fn aggregated_batch(self, epoch: &(impl AsRef<str> + ?Sized)) -> String {
        self.of_epoch(&AGGREGATED_BATCH, epoch)
    }

    pub(crate) fn batch_validators(self, epoch: &(impl AsRef<str> + ?Sized)) -> String {
        self.of_epoch(&BATCH_VALIDATORS, epoch)
    }

    pub(crate) fn own_batches(self, validator: &str) -> String {
        VALIDATOR_BATCHES.key(self.space, &[&validator])
    }

    pub(crate) fn vpa_stats(self) -> String {
        self.of(&VPA_STATS)
    }

    pub(crate) fn vpa_assignments(self) -> String {
        self.of(&VPA_ASSIGNMENTS)
    }

    pub(crate) fn vpa_submissions(self) -> String {
        self.of(&VPA_SUBMISSIONS)
    }

    /// The keys of those of these families that the pruner takes members from; of those of validators, this one's.
    pub(super) fn pruned(
        self,
        families: &'static [Family],
        validator: &'a str,
    ) -> impl Iterator<Item = (&'static Family, String)> {
        let pruned = families.iter().filter(|family| matches!(family.removal, Pruned(_)));
        pruned.map(move |family| {
            let ids: &[&dyn Display] = if family.ids() == 0 { &[] } else { &[&validator] };
            (family, family.key(self.space, ids))
        })
    }
}
