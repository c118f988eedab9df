//! Every key of Redis that the collector touches: the table of families, and their keys. Those of others have dots, ours
//! have colons and `tracker`.

#[cfg(test)]
mod tests;

use domain::chain::ContractAddress;

use store_redis::{
    Age, Family, FamilyTable,
    KeyType::{self, Hash, List, Set, Stream, String as Text},
    PROBE_ARGUMENT,
    Removal::{self, Actor, Bounded, Expiry, OtherPrograms},
    Retention,
    Ttl::{self, Fixed, Forbidden, Optional},
    Writer, escape_pattern,
};

/// How long the hash of a block can be asked for, in seconds.
pub const BLOCK_HASH_TTL: u64 = 30 * 60;
/// How long the details of an epoch are kept once its batches are handed over, in seconds.
pub(crate) const DETAILS_TTL: u64 = 30 * 60;
/// How long the number of an epoch's batches is kept, in seconds.
pub(crate) const COUNT_TTL: u64 = 24 * 60 * 60;
/// How long a batch can be asked for, in seconds.
pub(crate) const BATCH_TTL: u64 = 5 * 60;
/// How long it is remembered that a day had no eligible node, in seconds.
pub(crate) const ZERO_TTL: u64 = 24 * 60 * 60;
/// The most delivered calls of a market that are kept, so that they can be sent again.
pub(crate) const MOST_SENT: usize = 1_000;
/// The most calls of a market that are kept among the dead ones, and among those that are sent again.
pub(crate) const MOST_ASIDE: usize = 10_000;
/// The most actions on the outbox that its audit log keeps.
pub(crate) const MOST_AUDITED: usize = 10_000;
/// Submissions of an epoch are kept until the market's current epoch is more than this many ahead.
pub(crate) const EPOCHS_KEPT: u64 = 10;

const fn output(
    name: &'static str,
    kind: KeyType,
    ttl: Ttl,
    reader: &'static str,
    removal: Removal,
    sentence: &'static str,
) -> Family {
    Family { name, kind, ttl, writer: Writer::Outputs, reader, removal, sentence }
}

const fn state(name: &'static str, kind: KeyType, removal: Removal, sentence: &'static str) -> Family {
    let (ttl, writer, reader) = (Forbidden, Writer::State, "block fetcher, batch preparer");
    Family { name, kind, ttl, writer, reader, removal, sentence }
}

const fn outbox(name: &'static str, kind: KeyType, removal: Removal, sentence: &'static str) -> Family {
    Family { reader: "relayer", ..state(name, kind, removal, sentence) }
}

/// What other programs write and the read API shows.
const fn shown(name: &'static str, kind: KeyType, sentence: &'static str) -> Family {
    let (ttl, writer) = (Optional, Writer::Producers);
    Family { name, kind, ttl, writer, reader: "read API", removal: OtherPrograms, sentence }
}

/// What the finalizers count, for rewards and the read API.
const fn counted(name: &'static str, kind: KeyType, sentence: &'static str) -> Family {
    Family { reader: "rewards, read API", ..shown(name, kind, sentence) }
}

const FINALIZERS: &str = "finalizers";
const READERS: &str = "other programs";

domain::table! {
    /// The families of the collector, by their whole names, but for a prefix. What it writes without a TTL, a predecessor may
    /// have written with one.
    pub(crate) FAMILIES: Family;
    pub(crate) BLOCK_HASH = output("BlockHashByNumberKey.*", Text, Fixed(BLOCK_HASH_TTL), "batch preparer, other programs", Expiry,
        "The hash of an accepted block, by its number.");
    pub(crate) CURRENT_EPOCH = output("*.CurrentEpochID", Text, Optional, READERS, Bounded,
        "The epoch of a market that was released last.");
    pub(crate) MARKED = output("EpochMarkerSetKey.*", Set, Optional, READERS,
        Actor { name: "batch preparer, cleaner", age: None }, "The epochs of a market whose windows are open or due.");
    pub(crate) DETAILS = output("EpochMarkerDetailsKey.*.*", Text, Optional, READERS, Expiry,
        "The first and the last block of an epoch's window; it gets a TTL of 30 min when the epoch is over.");
    pub(crate) BATCH_COUNT = output("BatchCountKey.*.*", Text, Fixed(COUNT_TTL), FINALIZERS, Expiry,
        "The number of batches of an epoch; its existence says that they are handed over.");
    pub(crate) BATCH = output("BatchSubmissionsKey.*.*.*", Text, Fixed(BATCH_TTL), FINALIZERS, Expiry,
        "One batch of an epoch: projects with the keys of their submissions, as JSON.");
    pub(crate) SLOT = output("SlotSubmissionsKey.*.*.*", Text, Optional, READERS, OtherPrograms,
        "The number of submissions of a slot id in a day of a market.");
    pub(crate) FINALIZER_QUEUE = output("finalizerQueue", List, Optional, FINALIZERS, OtherPrograms,
        "The batches that wait for a finalizer, as JSON.");
    pub(crate) ATTESTOR_QUEUE = output("attestorQueue", List, Optional, "attestors", OtherPrograms,
        "The submitted batches that wait for an attestor, where that queue is switched on.");
    pub(crate) SUBMISSION_LIMITS = output("SubmissionLimitTable", Hash, Optional, READERS, Bounded,
        "The length of each market's submission window, in seconds.");
    pub(crate) DAY_SIZES = output("DaySizeTableKey", Hash, Optional, READERS, Bounded,
        "The length of each market's day, in microseconds.");
    pub(crate) QUOTAS = output("DailySnapshotQuotaTableKey", Hash, Optional, READERS, Bounded,
        "The daily quota of snapshots of each market.");
    pub(crate) ZERO_COUNT = output("ZeroCountKey.*.*", Text, Fixed(ZERO_TTL), READERS, Expiry,
        "That a day of a market had no eligible node.");
    pub(crate) ROLLED_OVER = output("DayRolloverEpochMarkerSetKey.*", Set, Optional, READERS,
        Actor { name: "batch preparer", age: None }, "The epochs of a market that were released first in a new day, until the rewards of the day before are due.");
    pub(crate) ROLLOVER_DETAILS = output("DayRolloverEpochMarkerDetailsKey.*.*", Text, Optional, READERS, Expiry,
        "A change of day: the day before, and the epoch from which on its rewards are due; it gets a TTL of 30 min when they are.");
    pub(crate) NODES = output("TotalNodesCount", Text, Optional, READERS, Bounded, "The number of nodes.");
    pub(crate) EPOCHS_IN_A_DAY = output("ProtocolState.*.EpochsInADay", Text, Optional, READERS, Bounded,
        "The number of epochs in a day of a market.");
    pub(crate) SUBMISSIONS = Family {
        writer: Writer::Producers,
        ..output("SnapshotCollector.*.*.*", Set, Optional, "batch preparer",
            Actor { name: "cleaner", age: Some(Age::Epochs(EPOCHS_KEPT)) },
            "The submissions that collectors received for an epoch at a block.")
    };
    pub(crate) CURRENT_DAY = output("CurrentDayKey.*", Text, Optional, READERS, Expiry,
        "The day of a market, until its end.");
    pub(crate) LAST_KNOWN_DAY = output("LastKnownDayKey.*", Text, Optional, READERS, Bounded,
        "The day of a market that was known last.");
    pub(crate) ELIGIBLE_SLOT = counted("EligibleSlotSubmissionsKey.*.*.*", Text,
        "The number of eligible submissions of a slot id in a day of a market.");
    pub(crate) ELIGIBLE_NODES = counted("EligibleNodeByDayKey.*.*", Set,
        "The slot ids that were eligible in a day of a market.");
    pub(crate) ELIGIBLE_OF_EPOCH = shown("EligibleSlotSubmissionByEpochKey.*.*.*", Hash,
        "The number of eligible submissions of each slot id in an epoch.");
    pub(crate) DISCARDED_OF_EPOCH = shown("DiscardedSubmissionKey.*.*.*", Hash,
        "The discarded submissions of an epoch, by projects, as JSON.");
    pub(crate) DISCARDED_OF_DAY = shown("DiscardedSubmissionKey.*.*", Hash,
        "The discarded submissions of a day, by slot ids, as JSON.");
    pub(crate) EPOCH_SUBMISSIONS = shown("EpochSubmissionsKey.*.*", Hash,
        "The submissions of an epoch, by their ids, as JSON.");
    pub(crate) ACTIVE_NODES = shown("ActiveSnapshottersForEpoch.*.*", Set, "The nodes that submitted for an epoch.");
    pub(crate) LAST_SIMULATED = shown("LastSimulatedSubmissionKey.*.*", Text,
        "When the last simulated submission of a slot id came, in Unix seconds.");
    pub(crate) LAST_SNAPSHOT = shown("LastSnapshotSubmissionKey.*.*", Text,
        "When the last submission of a slot id for a released epoch came, in Unix seconds.");
    pub(crate) NODE_VERSION = shown("snapshotter:*:*:node_version", Text, "The version of the node of a slot id.");
    pub(crate) IDENTITY = state("tracker:chain:identity", Text, Bounded,
        "The chain and the contract that are followed.");
    pub(crate) VERSION = state("tracker:chain:version", Text, Bounded,
        "How often the chain state was changed: a change that was computed from another version is refused.");
    pub(crate) CHECKPOINT = state("tracker:chain:checkpoint", Text, Bounded, "The last accepted block.");
    pub(crate) UNDO_LOG = state("tracker:chain:undo", Hash, Actor { name: "block fetcher", age: Some(Age::Configured(Retention::Undo)) },
        "What each of the last accepted blocks has changed, by their numbers.");
    pub(crate) ORPHANED = state("tracker:chain:orphaned", Text, Bounded,
        "Hand-overs whose blocks a reorganisation dropped.");
    pub(crate) FOLLOWED = state("tracker:chain:followed", Text, Bounded,
        "The markets that are followed up to the checkpoint.");
    pub(crate) WINDOWS = state("tracker:chain:*:windows", Hash, Actor { name: "batch preparer", age: None },
        "The windows of a market, by their epochs.");
    pub(crate) MARKET = state("tracker:chain:*:market", Hash, Bounded,
        "Finished epochs, current epoch and days of a market.");
    pub(crate) ROLLOVERS = state("tracker:chain:*:rollovers", Hash, Actor { name: "batch preparer", age: None },
        "The changes of day of a market whose rewards are not due yet, by the epochs that were released first in the new day.");
    pub(crate) REWARD_PLANS = Family {
        reader: "rewards",
        ..state("tracker:chain:*:rewards", Hash, Actor { name: "rewards", age: None },
            "What the relayer is to be told of a market's rewards, until the numbers are read and its calls are in the outbox.")
    };
    pub(crate) MARKET_VERSION = state("tracker:chain:*:version", Text, Bounded,
        "How often the windows or finished epochs of a market were changed: batches that were prepared from another version are refused.");
    pub(crate) FINALIZED = Family {
        ttl: Fixed(COUNT_TTL),
        ..state("tracker:chain:finalized.*.*", Set, Expiry,
            "The hashes of the content ids of an epoch's batches that the chain has finalised.")
    };
    pub(crate) ENDED = state("tracker:chain:*:ended", Hash, Actor { name: "cleaner", age: Some(Age::Epochs(EPOCHS_KEPT)) },
        "The hashes of the blocks at which something was submitted for ended epochs: by them the submissions are found and removed.");
    pub(crate) LANES = outbox("tracker:relayer:lanes", Set, Bounded,
        "The markets of which the relayer was to be told something.");
    pub(crate) WAITING = outbox("tracker:relayer:*:waiting", Stream, Actor { name: "relayer", age: None },
        "The calls that wait for the relayer, in their order: those of the market's lane.");
    pub(crate) SENT = outbox("tracker:relayer:*:sent", Stream, Bounded,
        "The last 1,000 calls that the relayer has accepted; they can be sent again.");
    pub(crate) DEAD = outbox("tracker:relayer:*:dead", Stream, Bounded,
        "Calls that the relayer refused for good, with its answer: the last 10,000.");
    pub(crate) AGAIN = outbox("tracker:relayer:*:again", Stream, Actor { name: "relayer", age: None },
        "Calls that an operator sends again, in their order, whenever the lane is empty.");
    pub(crate) HOLD = outbox("tracker:relayer:*:hold", Hash, Bounded,
        "Why the lane of a market is paused, if it is: by an operator, or because the relayer denies access.");
    pub(crate) AUDIT = outbox("tracker:relayer:audit", Stream, Bounded,
        "The last 10,000 actions of operators on the outbox.");
}

/// Every table of the collector.
#[must_use]
pub fn key_families() -> Vec<FamilyTable> {
    let (own, others): (Vec<_>, Vec<_>) = FAMILIES.iter().partition(|family| family.writer == Writer::State);
    let table = |title, rows| FamilyTable { title, space: "", rows };
    let (outbox, own): (Vec<&Family>, Vec<&Family>) =
        own.into_iter().partition(|family: &&Family| family.name.starts_with("tracker:relayer:"));
    vec![
        table("Keys that the collector shares with other programs", others),
        table("The chain state", own),
        table("The outbox", outbox),
    ]
}

/// The family of a key of the collector, given without its prefix.
#[must_use]
pub fn family_of(key: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.matches(key))
}

/// The name of the keys of one market, as a pattern: a `*` stands for all ids behind it.
pub(crate) fn named(family: &Family, market: &str) -> String {
    family.name.replacen('*', market, 1).replace("*.*", "*")
}

/// The keys under one prefix.
#[derive(Clone, Debug)]
pub struct ChainKeys {
    prefix: String,
}

impl ChainKeys {
    /// The keys behind a prefix, empty for none. What others write has none in any case.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Whether they have a prefix: then nothing that others write is changed.
    pub(super) fn is_shadow(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// The pattern by which an access list names keys of this name, in which a `*` is any id.
    pub(super) fn pattern(&self, name: &str) -> String {
        if self.is_shadow() { format!("{}:{name}", escape_pattern(&self.prefix)) } else { name.to_owned() }
    }

    /// A key of this name that nobody uses, where the name has a `*`.
    pub(super) fn probe(&self, name: &str) -> String {
        let name = name.replace('*', PROBE_ARGUMENT);
        if self.is_shadow() { format!("{}:{name}", self.prefix) } else { name }
    }

    fn of(&self, family: &Family) -> String {
        family.key(&self.prefix, &[])
    }

    pub(crate) fn of_market(&self, family: &Family, market: &ContractAddress) -> String {
        family.key(&self.prefix, &[&market.lower()])
    }

    fn of_epoch(&self, family: &Family, market: &ContractAddress, epoch: u64) -> String {
        family.key(&self.prefix, &[&market.lower(), &epoch])
    }

    pub(super) fn identity(&self) -> String {
        self.of(&IDENTITY)
    }

    pub(super) fn version(&self) -> String {
        self.of(&VERSION)
    }

    pub(super) fn checkpoint(&self) -> String {
        self.of(&CHECKPOINT)
    }

    pub(super) fn undo_log(&self) -> String {
        self.of(&UNDO_LOG)
    }

    pub(super) fn orphaned(&self) -> String {
        self.of(&ORPHANED)
    }

    pub(super) fn followed(&self) -> String {
        self.of(&FOLLOWED)
    }

    pub(super) fn windows(&self, market: &ContractAddress) -> String {
        self.of_market(&WINDOWS, market)
    }

    /// A hash of `done`, `current`, `day`, `since` and `last_day`.
    pub(super) fn market(&self, market: &ContractAddress) -> String {
        self.of_market(&MARKET, market)
    }

    pub(super) fn version_of(&self, market: &ContractAddress) -> String {
        self.of_market(&MARKET_VERSION, market)
    }

    pub(super) fn finalized(&self, market: &ContractAddress, epoch: u64) -> String {
        self.of_epoch(&FINALIZED, market, epoch)
    }

    /// A hash with a list of hashes of blocks for each epoch.
    pub(super) fn ended(&self, market: &ContractAddress) -> String {
        self.of_market(&ENDED, market)
    }

    pub(super) fn lanes(&self) -> String {
        self.of(&LANES)
    }

    /// A hash of `paused` and `denied`.
    pub(super) fn hold(&self, market: &ContractAddress) -> String {
        self.of_market(&HOLD, market)
    }

    pub(super) fn audit(&self) -> String {
        self.of(&AUDIT)
    }

    pub(super) fn block_hash(&self, number: u64) -> String {
        BLOCK_HASH.key(&self.prefix, &[&number])
    }

    pub(super) fn current_epoch(&self, market: &ContractAddress) -> String {
        self.of_market(&CURRENT_EPOCH, market)
    }

    pub(super) fn marked(&self, market: &ContractAddress) -> String {
        self.of_market(&MARKED, market)
    }

    pub(super) fn details(&self, market: &ContractAddress, epoch: u64) -> String {
        self.of_epoch(&DETAILS, market, epoch)
    }

    pub(super) fn zero_count(&self, market: &ContractAddress, day: u64) -> String {
        self.of_epoch(&ZERO_COUNT, market, day)
    }

    pub(super) fn rolled_over(&self, market: &ContractAddress) -> String {
        self.of_market(&ROLLED_OVER, market)
    }

    pub(super) fn rollover_details(&self, market: &ContractAddress, epoch: u64) -> String {
        self.of_epoch(&ROLLOVER_DETAILS, market, epoch)
    }

    /// A hash of changes of day by their epochs.
    pub(super) fn rollovers(&self, market: &ContractAddress) -> String {
        self.of_market(&ROLLOVERS, market)
    }

    /// A hash of plans by their ids.
    pub(super) fn reward_plans(&self, market: &ContractAddress) -> String {
        self.of_market(&REWARD_PLANS, market)
    }

    /// The counter of a slot in a day; the finalizers write it.
    pub(super) fn eligible_slot(market: &ContractAddress, day: u64, slot: u64) -> String {
        ELIGIBLE_SLOT.key("", &[&market.lower(), &day, &slot])
    }

    /// The eligible slots of a day; the finalizers write it.
    pub(super) fn eligible_nodes(market: &ContractAddress, day: u64) -> String {
        ELIGIBLE_NODES.key("", &[&market.lower(), &day])
    }

    pub(super) fn batch_count(&self, market: &ContractAddress, epoch: u64) -> String {
        self.of_epoch(&BATCH_COUNT, market, epoch)
    }

    pub(super) fn batch(&self, market: &ContractAddress, epoch: u64, number: usize) -> String {
        BATCH.key(&self.prefix, &[&market.lower(), &epoch, &number])
    }

    pub(super) fn current_day(&self, market: &ContractAddress) -> String {
        self.of_market(&CURRENT_DAY, market)
    }

    pub(super) fn last_known_day(&self, market: &ContractAddress) -> String {
        self.of_market(&LAST_KNOWN_DAY, market)
    }

    pub(super) fn slot(&self, market: &ContractAddress, day: u64, slot: u64) -> String {
        SLOT.key(&self.prefix, &[&market.lower(), &day, &slot])
    }

    pub(super) fn finalizer_queue(&self) -> String {
        self.of(&FINALIZER_QUEUE)
    }

    pub(super) fn attestor_queue(&self) -> String {
        self.of(&ATTESTOR_QUEUE)
    }

    /// What was submitted for an epoch at a block; the collectors write it.
    pub(super) fn submitted(market: &ContractAddress, epoch: u64, hash: &str) -> String {
        SUBMISSIONS.key("", &[&market.lower(), &epoch, &hash])
    }

    pub(super) fn submission_limits(&self) -> String {
        self.of(&SUBMISSION_LIMITS)
    }

    pub(super) fn day_sizes(&self) -> String {
        self.of(&DAY_SIZES)
    }

    pub(super) fn quotas(&self) -> String {
        self.of(&QUOTAS)
    }

    pub(super) fn nodes(&self) -> String {
        self.of(&NODES)
    }

    /// The market as the configuration spells it.
    pub(super) fn epochs_in_a_day(&self, market_as_configured: &str) -> String {
        EPOCHS_IN_A_DAY.key(&self.prefix, &[&market_as_configured])
    }
}
