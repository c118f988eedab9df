//! Every key of Redis that the tracker touches, in one place.
//!
//! `P` is the protocol-state contract, `M` the data market. Inputs are looked for in checksum form first, then
//! as configured; outputs are written as [`Output`] says. The tracker's own keys share one hash slot.

mod index;
#[cfg(test)]
mod tests;

use domain::{Address, EpochId};
use serde::{Deserialize, Serialize};

pub use index::IndexKeys;

/// The channel on which producers tell of changes, of all markets.
pub const EVENTS: &str = "state:change";

/// The channels on which events of these markets may be heard: the common one, and those of each market.
#[must_use]
pub fn channels(markets: &[MarketKeys]) -> Vec<String> {
    std::iter::once(EVENTS.to_owned()).chain(markets.iter().flat_map(MarketKeys::events)).collect()
}

/// Where outputs are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Stands before every key that is written, with a colon between; empty for nothing. With a prefix the tracker
    /// is a shadow: it changes no key of the producers.
    pub prefix: String,
    /// How addresses are spelled.
    pub spelling: Spelling,
}

impl Output {
    /// What stands before each key, with its colon.
    fn before(&self) -> String {
        if self.prefix.is_empty() { String::new() } else { format!("{}:", self.prefix) }
    }
}

/// How addresses are spelled in the keys of outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Spelling {
    /// In EIP-55 checksum form.
    #[default]
    Checksum,
    /// As they were configured.
    Configured,
    /// Both, where they differ.
    Both,
}

/// The keys of one market.
#[derive(Clone, Debug)]
pub struct MarketKeys {
    market: Address,
    /// In checksum form, as configured, then mixed forms.
    inputs: Vec<String>,
    /// The second namespace, under which newer producers write priorities and what became of them on the chain.
    second: Vec<String>,
    outputs: Vec<String>,
    ledger: String,
    shadow: bool,
}

/// `P:M` in checksum form and, where that is another, as configured.
fn spellings(protocol: &Address, market: &Address) -> Vec<String> {
    let mut all = vec![
        format!("{}:{}", protocol.checksummed(), market.checksummed()),
        format!("{}:{}", protocol.configured(), market.configured()),
    ];
    all.dedup();
    all
}

/// One address in checksum form and the other as configured, where both are configured in another form: a producer
/// may have the protocol from its configuration and the market from an event of the chain.
fn mixed(protocol: &Address, market: &Address) -> Vec<String> {
    let differs = |address: &Address| address.checksummed() != address.configured();
    if !differs(protocol) || !differs(market) {
        return Vec::new();
    }
    vec![
        format!("{}:{}", protocol.configured(), market.checksummed()),
        format!("{}:{}", protocol.checksummed(), market.configured()),
    ]
}

impl MarketKeys {
    /// The keys of `market` under `protocol`, outputs in checksum form.
    #[must_use]
    pub fn new(protocol: &Address, market: &Address) -> Self {
        let inputs = [spellings(protocol, market), mixed(protocol, market)].concat();
        let keys = Self {
            market: market.clone(),
            inputs,
            second: Vec::new(),
            outputs: Vec::new(),
            ledger: String::new(),
            shadow: false,
        };
        keys.with_output(&Output::default())
    }

    /// The same market with a second namespace for priorities, in both its spellings; its own is none.
    #[must_use]
    pub fn with_priority(self, protocol: &Address, market: &Address) -> Self {
        let mut second = spellings(protocol, market);
        second.retain(|prefix| !self.inputs.contains(prefix));
        Self { second, ..self }
    }

    /// The same market with its outputs elsewhere.
    #[must_use]
    pub fn with_output(self, output: &Output) -> Self {
        // The first spelling is the checksum form, the second, if there is one, that of the configuration.
        let pure = &self.inputs[..self.inputs.len().min(2)];
        let names = match output.spelling {
            Spelling::Checksum => &pure[..1],
            Spelling::Configured => &pure[pure.len() - 1..],
            Spelling::Both => pure,
        };
        let (shadow, before) = (!output.prefix.is_empty(), output.before());
        let outputs = names.iter().map(|name| format!("{before}{name}")).collect();
        // One ledger, however its market is spelled.
        let ledger = format!("{before}{{{}}}:tracker", self.inputs[0]);
        Self { outputs, ledger, shadow, ..self }
    }

    /// Whether the outputs have a prefix: then no key of the producers is changed.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// The prefix of everything that is written, with its colon; empty for none.
    pub(crate) fn prefix(&self) -> &str {
        let own = format!("{{{}}}:tracker", self.inputs[0]);
        self.ledger.strip_suffix(&own).unwrap_or_default()
    }

    /// The market.
    #[must_use]
    pub fn market(&self) -> &Address {
        &self.market
    }

    /// The spellings of `P:M` under which producers may write, the preferred one first.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = InputKeys<'_>> {
        self.inputs.iter().map(|prefix| InputKeys::new(prefix))
    }

    /// The preferred spelling alone.
    pub(crate) fn preferred(&self) -> InputKeys<'_> {
        InputKeys::new(&self.inputs[0])
    }

    /// The namespaces in which priorities are looked for, the second namespace first.
    pub(crate) fn priorities(&self) -> impl Iterator<Item = InputKeys<'_>> {
        self.second.iter().chain(&self.inputs).map(|prefix| InputKeys::new(prefix))
    }

    /// The second namespace alone, the preferred spelling first.
    pub(crate) fn second(&self) -> impl Iterator<Item = InputKeys<'_>> {
        self.second.iter().map(|prefix| InputKeys::new(prefix))
    }

    /// Where outputs are written, at least one; the first is what the tracker itself reads back.
    pub fn outputs(&self) -> impl Iterator<Item = OutputKeys<'_>> {
        self.outputs.iter().map(|prefix| OutputKeys(prefix))
    }

    /// The summary that the tracker itself reads back: that of the first output.
    pub(crate) fn shown(&self) -> String {
        OutputKeys(&self.outputs[0]).summary()
    }

    /// `P:M:state:change`: events of this market alone.
    pub fn events(&self) -> impl Iterator<Item = String> + '_ {
        self.inputs.iter().map(|prefix| format!("{prefix}:{EVENTS}"))
    }

    /// A key of the ledger that nobody uses.
    pub(crate) fn unused(&self) -> String {
        format!("{}:unused", self.ledger)
    }

    /// The keys of the ledger but those of single hours, in the order in which its script takes them.
    pub(crate) fn of_ledger(&self) -> [String; 7] {
        [Self::open, Self::sealed, Self::sums, Self::meta, Self::opened, Self::aggregated, Self::included]
            .map(|key| key(self))
    }

    /// `{P:M}:tracker:open`, hash: epoch → entry, of the unsealed epochs.
    pub(crate) fn open(&self) -> String {
        format!("{}:open", self.ledger)
    }

    /// `{P:M}:tracker:sealed`, hash: epoch → entry as it was sealed.
    pub(crate) fn sealed(&self) -> String {
        format!("{}:sealed", self.ledger)
    }

    /// `{P:M}:tracker:sums`, hash: the sealed sums of all time.
    pub(crate) fn sums(&self) -> String {
        format!("{}:sums", self.ledger)
    }

    /// `{P:M}:tracker:opened`, zset: sealed epochs by the time of their opening.
    pub(crate) fn opened(&self) -> String {
        format!("{}:opened", self.ledger)
    }

    /// `{P:M}:tracker:aggregated`, zset: sealed epochs by the time of their aggregated batch.
    pub(crate) fn aggregated(&self) -> String {
        format!("{}:aggregated", self.ledger)
    }

    /// `{P:M}:tracker:included`, zset: those of them whose aggregated batch names this validator.
    pub(crate) fn included(&self) -> String {
        format!("{}:included", self.ledger)
    }

    /// `{P:M}:tracker:validators`, before `:HOUR`.
    pub(crate) fn validators_prefix(&self) -> String {
        format!("{}:validators", self.ledger)
    }

    /// `{P:M}:tracker:validators:HOUR`, set: the validators in the aggregated batches of an hour's sealed epochs.
    pub(crate) fn hour_validators(&self, hour: u64) -> String {
        format!("{}:{hour}", self.validators_prefix())
    }

    /// `{P:M}:tracker:meta`, hash: schema version, birth, measurement window, marks of the last pass.
    pub(crate) fn meta(&self) -> String {
        format!("{}:meta", self.ledger)
    }
}

/// The keys that readers read, under one spelling of `P:M` with its prefix.
#[derive(Clone, Copy, Debug)]
pub struct OutputKeys<'a>(&'a str);

impl OutputKeys<'_> {
    /// `P:M`, with its prefix.
    pub(crate) fn space(&self) -> &str {
        self.0
    }

    /// A key of this spelling that nobody uses.
    pub(crate) fn unused(self) -> String {
        format!("{}:tracker:unused", self.0)
    }

    /// `P:M:dashboard:summary`, string.
    #[must_use]
    pub fn summary(self) -> String {
        format!("{}:dashboard:summary", self.0)
    }

    /// `P:M:stats:current`, hash.
    #[must_use]
    pub fn stats(self) -> String {
        format!("{}:stats:current", self.0)
    }

    /// `P:M:metrics:current_epoch`, string.
    #[must_use]
    pub fn current_epoch(self) -> String {
        format!("{}:metrics:current_epoch", self.0)
    }

    /// `P:M:metrics:participation`, string.
    #[must_use]
    pub fn participation(self) -> String {
        format!("{}:metrics:participation", self.0)
    }

    /// `P:M:stats:hourly:T`, string.
    #[must_use]
    pub fn hourly(self, start: u64) -> String {
        format!("{}:stats:hourly:{start}", self.0)
    }

    /// `P:M:stats:daily`, string.
    #[must_use]
    pub fn daily(self) -> String {
        format!("{}:stats:daily", self.0)
    }

    /// `P:M:epochs:gaps`, zset.
    #[must_use]
    pub fn gaps(self) -> String {
        format!("{}:epochs:gaps", self.0)
    }
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
    fn new(space: &'a str) -> Self {
        Self { space, id: None }
    }

    /// The same, for keys of the one epoch whose id has this form.
    pub(crate) fn with_id(self, id: &'a str) -> Self {
        Self { id: Some(id), ..self }
    }

    fn id_of<'b>(&'b self, epoch: &'b (impl AsRef<str> + ?Sized)) -> &'b str {
        self.id.unwrap_or_else(|| epoch.as_ref())
    }

    /// `P:M`
    pub(crate) fn space(&self) -> &str {
        self.space
    }

    /// A key of this spelling that nobody uses.
    pub(crate) fn unused(self) -> String {
        format!("{}:tracker:unused", self.space)
    }

    /// Whether a key stands under this spelling.
    pub(crate) fn has(self, key: &str) -> bool {
        key.strip_prefix(self.space).is_some_and(|rest| rest.starts_with(':'))
    }

    pub(crate) fn queue(self) -> String {
        format!("{}:submissionQueue", self.space)
    }

    pub(crate) fn active(self) -> String {
        format!("{}:epochs:active", self.space)
    }

    pub(crate) fn epochs_timeline(self) -> String {
        format!("{}:metrics:epochs:timeline", self.space)
    }

    pub(crate) fn batches_timeline(self) -> String {
        format!("{}:metrics:batches:timeline", self.space)
    }

    pub(crate) fn info(self, epoch: &(impl AsRef<str> + ?Sized)) -> String {
        format!("{}:metrics:epoch:{}:info", self.space, self.id_of(epoch))
    }

    pub(crate) fn state(self, epoch: &EpochId) -> String {
        format!("{}:epoch:{}:state", self.space, self.id_of(epoch))
    }

    pub(crate) fn validators(self, epoch: &(impl AsRef<str> + ?Sized)) -> String {
        format!("{}:epoch:{}:validators", self.space, self.id_of(epoch))
    }

    /// How the validators of several epochs are named in a report.
    pub(crate) fn validators_of_any(self) -> String {
        format!("{}:epoch:*:validators", self.space)
    }

    pub(crate) fn submission_ids(self, epoch: &(impl AsRef<str> + ?Sized)) -> String {
        format!("{}:epoch:{}:submissions:ids", self.space, self.id_of(epoch))
    }

    pub(crate) fn processed(self, epoch: &EpochId) -> String {
        format!("{}:epoch:{}:processed", self.space, self.id_of(epoch))
    }

    pub(crate) fn local_batch(self, epoch: &(impl AsRef<str> + ?Sized)) -> String {
        format!("{}:metrics:batch:local:{}", self.space, self.id_of(epoch))
    }

    pub(crate) fn aggregated_batch(self, epoch: &(impl AsRef<str> + ?Sized)) -> String {
        format!("{}:metrics:batch:aggregated:{}", self.space, self.id_of(epoch))
    }

    /// The timelines that grow for ever unless they are pruned.
    pub(crate) fn timelines(self, validator: &str) -> [String; 6] {
        let metrics = |name: &str| format!("{}:metrics:{name}:timeline", self.space);
        [
            self.epochs_timeline(),
            self.batches_timeline(),
            metrics("submissions"),
            metrics("validations"),
            metrics("parts"),
            self.own_batches(validator),
        ]
    }

    pub(crate) fn own_batches(self, validator: &str) -> String {
        format!("{}:metrics:validator:{validator}:batches", self.space)
    }

    pub(crate) fn vpa_stats(self) -> String {
        format!("{}:vpa:stats", self.space)
    }

    pub(crate) fn vpa_assignments(self) -> String {
        format!("{}:vpa:priority:timeline", self.space)
    }

    pub(crate) fn vpa_submissions(self) -> String {
        format!("{}:vpa:submission:timeline", self.space)
    }

    pub(crate) fn batch_validators(self, epoch: &(impl AsRef<str> + ?Sized)) -> String {
        format!("{}:metrics:batch:{}:validators", self.space, self.id_of(epoch))
    }
}
