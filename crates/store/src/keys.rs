//! Every key of Redis that the tracker touches, in one place.
//!
//! `P` is the protocol-state contract, `M` the data market. Inputs are looked for in checksum form first, then
//! as configured; outputs are written in checksum form. The tracker's own keys share one hash slot.

use domain::{Address, EpochId};

/// The channel on which producers tell of changes, of all markets.
pub const EVENTS: &str = "state:change";

/// The keys of one market.
#[derive(Clone, Debug)]
pub struct MarketKeys {
    market: Address,
    output: String,
    inputs: Vec<String>,
    /// The second namespace, under which newer producers write priorities and what became of them on the chain.
    priority: Option<String>,
    ledger: String,
}

impl MarketKeys {
    /// The keys of `market` under `protocol`.
    #[must_use]
    pub fn new(protocol: &Address, market: &Address) -> Self {
        let output = format!("{}:{}", protocol.checksummed(), market.checksummed());
        let mut inputs = vec![output.clone()];
        let configured = format!("{}:{}", protocol.configured(), market.configured());
        if configured != output {
            inputs.push(configured);
        }
        Self {
            market: market.clone(),
            ledger: format!("{{{output}}}:tracker"),
            output,
            inputs,
            priority: None,
        }
    }

    /// The same market with a second namespace for priorities.
    #[must_use]
    pub fn with_priority(self, protocol: &Address, market: &Address) -> Self {
        Self { priority: Some(format!("{}:{}", protocol.checksummed(), market.checksummed())), ..self }
    }

    /// The market.
    #[must_use]
    pub fn market(&self) -> &Address {
        &self.market
    }

    /// The spellings of `P:M` under which producers may write, the preferred one first.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = InputKeys<'_>> {
        self.inputs.iter().map(|prefix| InputKeys(prefix))
    }

    /// The namespaces in which priorities are looked for, the second namespace first.
    pub(crate) fn priorities(&self) -> impl Iterator<Item = InputKeys<'_>> {
        self.priority.iter().chain(&self.inputs).map(|prefix| InputKeys(prefix))
    }

    /// The second namespace alone.
    pub(crate) fn priority(&self) -> Option<InputKeys<'_>> {
        self.priority.as_deref().map(InputKeys)
    }

    /// `P:M:state:change`: events of this market alone.
    pub fn events(&self) -> impl Iterator<Item = String> + '_ {
        self.inputs.iter().map(|prefix| format!("{prefix}:{EVENTS}"))
    }

    /// `P:M:dashboard:summary`, string.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{}:dashboard:summary", self.output)
    }

    /// `P:M:stats:current`, hash.
    #[must_use]
    pub fn stats(&self) -> String {
        format!("{}:stats:current", self.output)
    }

    /// `P:M:metrics:current_epoch`, string.
    #[must_use]
    pub fn current_epoch(&self) -> String {
        format!("{}:metrics:current_epoch", self.output)
    }

    /// `P:M:metrics:participation`, string.
    #[must_use]
    pub fn participation(&self) -> String {
        format!("{}:metrics:participation", self.output)
    }

    /// `P:M:stats:hourly:T`, string.
    #[must_use]
    pub fn hourly(&self, start: u64) -> String {
        format!("{}:stats:hourly:{start}", self.output)
    }

    /// `P:M:stats:daily`, string.
    #[must_use]
    pub fn daily(&self) -> String {
        format!("{}:stats:daily", self.output)
    }

    /// `P:M:epochs:gaps`, zset.
    #[must_use]
    pub fn gaps(&self) -> String {
        format!("{}:epochs:gaps", self.output)
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

/// The keys that producers write, under one spelling of `P:M`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputKeys<'a>(&'a str);

impl InputKeys<'_> {
    pub(crate) fn queue(self) -> String {
        format!("{}:submissionQueue", self.0)
    }

    pub(crate) fn active(self) -> String {
        format!("{}:epochs:active", self.0)
    }

    pub(crate) fn epochs_timeline(self) -> String {
        format!("{}:metrics:epochs:timeline", self.0)
    }

    pub(crate) fn batches_timeline(self) -> String {
        format!("{}:metrics:batches:timeline", self.0)
    }

    pub(crate) fn info(self, epoch: &EpochId) -> String {
        format!("{}:metrics:epoch:{epoch}:info", self.0)
    }

    pub(crate) fn state(self, epoch: &EpochId) -> String {
        format!("{}:epoch:{epoch}:state", self.0)
    }

    pub(crate) fn validators(self, epoch: &EpochId) -> String {
        format!("{}:epoch:{epoch}:validators", self.0)
    }

    /// How the validators of several epochs are named in a report.
    pub(crate) fn validators_of_any(self) -> String {
        format!("{}:epoch:*:validators", self.0)
    }

    pub(crate) fn submission_ids(self, epoch: &EpochId) -> String {
        format!("{}:epoch:{epoch}:submissions:ids", self.0)
    }

    pub(crate) fn processed(self, epoch: &EpochId) -> String {
        format!("{}:epoch:{epoch}:processed", self.0)
    }

    pub(crate) fn local_batch(self, epoch: &EpochId) -> String {
        format!("{}:metrics:batch:local:{epoch}", self.0)
    }

    pub(crate) fn aggregated_batch(self, epoch: &EpochId) -> String {
        format!("{}:metrics:batch:aggregated:{epoch}", self.0)
    }

    /// The timelines that grow for ever unless they are pruned.
    pub(crate) fn timelines(self, validator: &str) -> [String; 6] {
        let metrics = |name: &str| format!("{}:metrics:{name}:timeline", self.0);
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
        format!("{}:metrics:validator:{validator}:batches", self.0)
    }

    pub(crate) fn vpa_stats(self) -> String {
        format!("{}:vpa:stats", self.0)
    }

    pub(crate) fn vpa_assignments(self) -> String {
        format!("{}:vpa:priority:timeline", self.0)
    }

    pub(crate) fn vpa_submissions(self) -> String {
        format!("{}:vpa:submission:timeline", self.0)
    }

    pub(crate) fn batch_validators(self, epoch: &EpochId) -> String {
        format!("{}:metrics:batch:{epoch}:validators", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_looked_for_in_both_spellings_and_outputs_are_in_checksum_form() {
        let lower = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed";
        let checksum = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        let keys = MarketKeys::new(&Address::new("P"), &Address::new(lower));
        let queues: Vec<_> = keys.inputs().map(InputKeys::queue).collect();
        assert_eq!(queues, [format!("P:{checksum}:submissionQueue"), format!("P:{lower}:submissionQueue")]);
        assert_eq!(keys.summary(), format!("P:{checksum}:dashboard:summary"));
        assert_eq!(keys.open(), format!("{{P:{checksum}}}:tracker:open"));
        let named = MarketKeys::new(&Address::new("P"), &Address::new("market"));
        assert_eq!(named.inputs().count(), 1);
    }
}
