//! Upon what effects are written, and what came of it.

use domain::chain::ContractAddress;
use store_redis::Fault;

/// The version of what effects were concluded from: they are written only while it is the present one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// Whether the state was there at all.
    pub(crate) has_identity: bool,
    /// The market, if it was read alone.
    pub(crate) market: Option<ContractAddress>,
    pub(crate) version: Option<String>,
}

impl Basis {
    pub(crate) fn of_chain(has_identity: bool, version: Option<String>) -> Self {
        Self { has_identity, market: None, version }
    }

    pub(crate) fn of_market(has_identity: bool, market: ContractAddress, version: Option<String>) -> Self {
        Self { has_identity, market: Some(market), version }
    }
}

/// What came of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "what was changed by others has to be read again"]
pub enum Outcome {
    /// Everything was written, but for counters that hold no number.
    Done {
        /// Those counters.
        faults: Vec<Fault>,
    },
    /// Nothing was written: somebody else has changed the state since it was read.
    Changed,
    /// Nothing was written: another program, such as a predecessor, has handed these batches over.
    HandedOverElsewhere,
    /// Nothing was written: its time was over.
    Late,
}
