//! Every key of Redis that the tracker touches: a table of families and its keys in each file.
//!
//! `P` is the protocol-state contract, `M` the data market. Inputs are looked for in checksum form first, then
//! as configured; outputs are written as [`Output`] says. The tracker's own keys share one hash slot.

mod index;
mod inputs;
mod ledger;
mod parts;
#[cfg(test)]
mod tests;

use domain::Address;
use serde::{Deserialize, Serialize};
use store_redis::Family;

use crate::datasets::{Dataset, SUMMARY, key_of};

pub(crate) use index::INDEX;
pub use index::{IndexKeys, NOT_WRITTEN};
pub(crate) use inputs::{
    ACTIVE, EPOCH_STATE, EPOCH_VALIDATORS, INPUTS, InputKeys, PRIORITIES, VPA_STATS, epoch_of,
};
pub(crate) use ledger::{HOURS, HOURS_KEPT, LEDGER, META, OPEN, SEALED, STAGED_KEPT, SUMS};
pub(crate) use parts::{LedgerPart, hours_with_keys};

/// The channel on which producers publish the events of all markets.
pub const EVENTS: &str = "state:change";

/// The channels on which events of these markets are published: the common one, and those of each market.
#[must_use]
pub fn channels(markets: &[MarketKeys]) -> Vec<String> {
    std::iter::once(EVENTS.to_owned()).chain(markets.iter().flat_map(MarketKeys::events)).collect()
}

/// The family of the channels on which trackers receive their own messages, under the prefix of the outputs.
const ECHO: &str = "state-tracker:echo:";

/// The channel on which a tracker receives its own messages; `id` keeps it apart from other trackers.
#[must_use]
pub fn echo_channel(output: &Output, id: &str) -> String {
    format!("{}{ECHO}{id}", output.before())
}

/// Where outputs are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The prefix of every key that is written, without the colon behind it; empty for none. With a prefix the tracker
    /// is a shadow: it changes no key of the producers.
    pub prefix: String,
    /// How addresses are spelled.
    pub spelling: Spelling,
}

impl Output {
    /// The prefix with its colon.
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
    /// The second namespace, under which newer producers write priorities and the on-chain status.
    second: Vec<String>,
    outputs: Vec<String>,
    /// `{P:M}`, with its prefix.
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
        let ledger = format!("{before}{{{}}}", self.inputs[0]);
        Self { outputs, ledger, shadow, ..self }
    }

    /// Whether the outputs have a prefix: then no key of the producers is changed.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// The prefix of everything that is written, without a colon behind it; empty for none.
    pub(crate) fn prefix(&self) -> &str {
        let own = format!(":{{{}}}", self.inputs[0]);
        self.ledger.strip_suffix(&own).unwrap_or_default()
    }

    /// The market.
    #[must_use]
    pub fn market(&self) -> &Address {
        &self.market
    }

    /// The spellings of `P:M` under which producers may write, the preferred one first.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = InputKeys<'_>> + Clone {
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

    /// The timelines of epochs and batches under every spelling, in a fixed order.
    pub(crate) fn timelines(&self) -> impl Iterator<Item = String> {
        self.inputs().flat_map(|input| [input.epochs_timeline(), input.batches_timeline()])
    }

    /// Every spelling of `P:M` that a producer may use, and whether the tracker reads it: those that it reads first, then lower case.
    pub(crate) fn every_spelling(&self) -> Vec<(String, bool)> {
        let mut all: Vec<(String, bool)> = self.inputs.iter().map(|space| (space.clone(), true)).collect();
        let market = self.market.checksummed();
        let protocol = self.inputs[0].strip_suffix(market).unwrap_or_default();
        let [p, m] = [protocol, market].map(str::to_lowercase);
        for space in [format!("{p}{m}"), format!("{p}{market}"), format!("{protocol}{m}")] {
            if !all.iter().any(|(known, _)| *known == space) {
                all.push((space, false));
            }
        }
        all
    }

    /// Where outputs are written, at least one; the first is what the tracker itself reads back.
    pub fn outputs(&self) -> impl Iterator<Item = OutputKeys<'_>> {
        self.outputs.iter().map(|prefix| OutputKeys(prefix))
    }

    /// The key of the summary that the tracker itself reads back: that of the first output.
    pub(crate) fn last_summary(&self) -> String {
        OutputKeys(&self.outputs[0]).dataset(&SUMMARY, None)
    }

    /// Every possible part before the name of a family, without the colon behind it: `P:M` of inputs and outputs in each
    /// spelling, the second namespace, `{P:M}` of the ledger.
    #[must_use]
    pub fn spaces(&self) -> Vec<String> {
        let inputs = self.inputs.iter().chain(&self.second);
        let mut all: Vec<String> = inputs.chain(&self.outputs).chain([&self.ledger]).cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    /// `P:M:state:change`: events of this market alone.
    pub fn events(&self) -> impl Iterator<Item = String> + '_ {
        self.inputs.iter().map(|prefix| format!("{prefix}:{EVENTS}"))
    }

    /// The producers' keys that the pruner takes members from, under every spelling; of those of validators, this one's.
    pub(crate) fn pruned_inputs<'a>(
        &'a self,
        validator: &'a str,
    ) -> impl Iterator<Item = (&'static Family, String)> + 'a {
        let inputs = self.inputs().flat_map(|input| input.pruned(INPUTS, validator));
        inputs.chain(self.priorities().flat_map(|input| input.pruned(PRIORITIES, validator)))
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

    /// The key of a dataset; those of hours have the start of the hour as their id.
    #[must_use]
    pub fn dataset(self, dataset: &Dataset, id: Option<u64>) -> String {
        key_of(dataset, self.0, id)
    }
}
