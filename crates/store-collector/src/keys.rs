//! The names of the keys of the chain's side. Those of others have dots, ours have colons and `tracker`.

use domain::chain::ContractAddress;
use store_redis::{NOBODY, literal};

/// Where finalizers take batches.
pub(super) const FINALIZER_QUEUE: &str = "finalizerQueue";
/// Where attestors take submitted batches.
pub(super) const ATTESTOR_QUEUE: &str = "attestorQueue";
/// What stands before the names of sets of submissions.
pub(super) const SUBMITTED: &str = "SnapshotCollector.";

/// The keys under one prefix.
#[derive(Clone, Debug)]
pub struct ChainKeys {
    before: String,
}

impl ChainKeys {
    /// The keys behind a prefix, empty for none. What others write has none in any case.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { before: if prefix.is_empty() { String::new() } else { format!("{prefix}:") } }
    }

    /// Whether they have a prefix: then nothing that others write is changed.
    pub(super) fn is_shadow(&self) -> bool {
        !self.before.is_empty()
    }

    /// The pattern by which an access list names keys of this name, in which a `*` is any id: everything under the
    /// prefix, where there is one.
    pub(super) fn pattern(&self, name: &str) -> String {
        if self.is_shadow() { format!("{}*", literal(&self.before)) } else { name.to_owned() }
    }

    /// A key of this name that nobody uses, where the name has a `*`.
    pub(super) fn probe(&self, name: &str) -> String {
        self.output(&name.replace('*', NOBODY))
    }

    fn own(&self, rest: &str) -> String {
        format!("{}tracker:chain:{rest}", self.before)
    }

    fn output(&self, rest: &str) -> String {
        format!("{}{rest}", self.before)
    }

    /// Which chain and which contract are followed here.
    pub(super) fn identity(&self) -> String {
        self.own("identity")
    }

    /// The last accepted block.
    pub(super) fn checkpoint(&self) -> String {
        self.own("checkpoint")
    }

    /// What was before the last accepted blocks: a hash by their numbers.
    pub(super) fn deeds(&self) -> String {
        self.own("deeds")
    }

    /// Hand-overs of dropped blocks.
    pub(super) fn kept(&self) -> String {
        self.own("kept")
    }

    /// The markets that were followed up to the checkpoint.
    pub(super) fn followed(&self) -> String {
        self.own("followed")
    }

    /// A market's windows: a hash by their epochs.
    pub(super) fn windows(&self, market: &ContractAddress) -> String {
        self.own(&format!("{}:windows", market.lower()))
    }

    /// What else is known of a market: a hash of `done`, `current` and `day`.
    pub(super) fn market(&self, market: &ContractAddress) -> String {
        self.own(&format!("{}:market", market.lower()))
    }

    pub(super) fn block_hash(&self, number: u64) -> String {
        self.output(&format!("BlockHashByNumberKey.{number}"))
    }

    pub(super) fn current_epoch(&self, market: &ContractAddress) -> String {
        self.output(&format!("{}.CurrentEpochID", market.lower()))
    }

    pub(super) fn marked(&self, market: &ContractAddress) -> String {
        self.output(&format!("EpochMarkerSetKey.{}", market.lower()))
    }

    pub(super) fn details(&self, market: &ContractAddress, epoch: u64) -> String {
        self.output(&format!("EpochMarkerDetailsKey.{}.{epoch}", market.lower()))
    }

    pub(super) fn batch_count(&self, market: &ContractAddress, epoch: u64) -> String {
        self.output(&format!("BatchCountKey.{}.{epoch}", market.lower()))
    }

    pub(super) fn batch(&self, market: &ContractAddress, epoch: u64, number: usize) -> String {
        self.output(&format!("BatchSubmissionsKey.{}.{epoch}.{number}", market.lower()))
    }

    pub(super) fn slot(&self, market: &ContractAddress, day: u64, slot: u64) -> String {
        self.output(&format!("SlotSubmissionsKey.{}.{day}.{slot}", market.lower()))
    }

    pub(super) fn finalizer_queue(&self) -> String {
        self.output(FINALIZER_QUEUE)
    }

    pub(super) fn attestor_queue(&self) -> String {
        self.output(ATTESTOR_QUEUE)
    }

    /// What was submitted for an epoch at a block; the collectors write it.
    pub(super) fn submitted(market: &ContractAddress, epoch: u64, hash: &str) -> String {
        format!("{SUBMITTED}{}.{epoch}.{hash}", market.lower())
    }

    /// The market, in lower case, and the epoch for which something was submitted under this key.
    pub(super) fn read_submitted(key: &str) -> Option<(&str, u64)> {
        let mut parts = key.strip_prefix(SUBMITTED)?.split('.');
        let (market, epoch, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let is_number = !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit());
        let epoch = epoch.parse().ok().filter(|_| is_number && !hash.is_empty() && parts.next().is_none())?;
        Some((market, epoch))
    }

    pub(super) fn submission_limits(&self) -> String {
        self.output("SubmissionLimitTable")
    }

    pub(super) fn day_sizes(&self) -> String {
        self.output("DaySizeTableKey")
    }

    pub(super) fn quotas(&self) -> String {
        self.output("DailySnapshotQuotaTableKey")
    }

    pub(super) fn nodes(&self) -> String {
        self.output("TotalNodesCount")
    }

    /// The market as the configuration spells it.
    pub(super) fn epochs_in_a_day(&self, market_as_configured: &str) -> String {
        self.output(&format!("ProtocolState.{market_as_configured}.EpochsInADay"))
    }
}
