//! The sections of the tracker: `[tracker]`, `[intervals]`, `[ledger]`, `[retention]`, `[index]`, and the tables of markets.

use std::time::Duration;

use serde::Deserialize;

use super::super::checks::{ID, NAME, NAME_OR_NONE};
use super::super::setting::{
    DAY, HOUR, Kind, MINUTE, MS, SECOND, Setting, WEEK, YEAR, choice, duration, flag, integer, list, millis,
    section, text,
};

const COMPAT: &[&str] = &["ledger", "go"];

section! {
    /// The markets whose datasets are computed.
    pub struct Tracker in "tracker" {
        /// Address of the protocol-state contract; the `P` of every key.
        protocol: String = text("", NAME)
            .variable("PROTOCOL_STATE_CONTRACT")
            .required("the address of the protocol-state contract"),
        /// Addresses of the data markets; the `M` of every key. As a variable: a comma list (recommended) or a JSON array.
        markets: Vec<String> = list(Kind::Names)
            .variable("DATA_MARKET_ADDRESSES")
            .required("the data market addresses (comma list or JSON array)")
            .reloads(),
        /// Id of this validator, as in keys and batches.
        sequencer_id: String = text("validator1", ID).variable("SEQUENCER_ID"),
        /// What the datasets are computed from: `ledger` is the epoch ledger, `go` gives the numbers of the original in Go,
        /// faults included.
        compat: Compat = choice("ledger", COMPAT).reloads(),
        /// Protocol of a second namespace, under which newer producers write priorities (`vpa:*`) and on-chain states; empty
        /// for none. A half of the namespace that is left empty is the market's own.
        priority_protocol: String = text("", NAME_OR_NONE).reloads(),
        /// Market of the second namespace; empty for none. With several markets, set it in the table of each.
        priority_market: String = text("", NAME_OR_NONE).reloads(),
    }
}

section! {
    /// How often each dataset is computed.
    pub struct Intervals in "intervals" {
        /// Time between two computations of a market's summary and participation.
        summary: Duration = duration("30s", millis(100)..=DAY),
        /// Time between two computations of the statistics of the running hour and the one before.
        hourly: Duration = duration("5m", SECOND..=DAY),
        /// Time between two computations of the statistics of the last 24 hours.
        daily: Duration = duration("1h", SECOND..=DAY),
        /// Time between two runs of the pruner, which removes what is older than its retention. It does not run at start.
        prune: Duration = duration("1h", millis(100)..=DAY),
        /// Time between two searches for epochs that only the names of their keys tell of (`epoch:E:state` and the like), in neither
        /// timelines nor `epochs:active`. A search scans all keys of Redis, slowly; `0s` makes none.
        find: Duration = duration("1m", Duration::ZERO..=DAY),
        /// Time between two computations of the current epoch that no event caused.
        current_epoch: Duration = duration("30s", millis(100)..=DAY),
        /// Shortest time between two computations of the current epoch that events cause. The first event causes one at once, and
        /// all events in between cause one.
        wake_debounce: Duration = duration("250ms", MS..=MINUTE).at_most("intervals.current_epoch"),
    }
}

section! {
    /// The epoch ledger, from which all totals are computed.
    pub struct Ledger in "ledger" {
        /// Time after its window closed at which an epoch without both batches is sealed.
        seal_delay: Duration = duration("60m", SECOND..=DAY).formerly("seal_after"),
        /// Period over which the rates are measured; the next one starts when it ends.
        measurement_window: Duration = duration("24h", SECOND..=WEEK),
    }
}

section! {
    /// How long the pruner keeps old entries.
    pub struct Retention in "retention" {
        /// How long the producers' timelines of epochs, batches, submissions and validations are kept.
        // At least a day: the statistics of the last 24 hours are computed from the timelines.
        timelines: Duration = duration("24h", DAY..=YEAR),
        /// How long the timelines of priorities are kept.
        priorities: Duration = duration("7days", DAY..=YEAR),
        /// How long the ledger keeps the entry of a sealed epoch; its numbers stay in the totals. It must be longer than
        /// producers keep the state of an epoch (7 days).
        ledger: Duration = duration("8days", WEEK..=YEAR),
        /// How long `epochs:active` keeps an epoch after it was sealed and last changed, such as `8days`; `0s` keeps it for ever, as
        /// producers do. A shadow removes nothing. With `compat = "go"` the datasets count the members of this set.
        active: Duration = duration("0s", Duration::ZERO..=YEAR).at_most("retention.ledger"),
        /// How long the state index keeps an epoch or a submission after its first event, and a validator after its last.
        index: Duration = duration("7days", HOUR..=YEAR),
    }
}

section! {
    /// The state index: `state:epoch:E`, `epoch:E:submissions`, `active:epochs` and the like. The original documented it and
    /// never wrote it.
    pub struct Index in "index" {
        /// Whether the state index is kept from events.
        enabled: bool = flag(false),
        /// Whether each market has an index of its own, with `P:M:` before its keys; must be true with several markets. Events
        /// on the common channel name no market: with several markets only those of `P:M:state:change` are indexed.
        namespaced: bool = flag(false),
        /// How many epochs an index holds. A full index refuses new epochs until old ones are removed; refused events are counted.
        max_epochs: u64 = integer(6_000, "a number of epochs", 1..=1_000_000),
        /// How many submissions an index holds; likewise.
        max_submissions: u64 = integer(50_000, "a number of submissions", 1..=10_000_000),
        /// How many validators an index holds; likewise.
        max_validators: u64 = integer(500, "a number of validators", 1..=100_000),
    }
}

/// The keys of a market's table.
pub(crate) static MARKET: &[Setting] = &[
    // The defaults here are never used: a key that a table lacks has the value of [tracker].
    choice("", COMPAT).at("compat", &["What the market's datasets are computed from"]).reloads(),
    text("", NAME).at("priority.protocol", &["Protocol of the market's second namespace"]).reloads(),
    text("", NAME).at("priority.market", &["Market of the market's second namespace"]).reloads(),
];

/// What the datasets of a market are computed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// The epoch ledger: totals of what producers wrote, through restarts.
    #[default]
    Ledger,
    /// The same keys that the original in Go reads, with its faults.
    Go,
}

/// The settings in effect for one market.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarketSettings {
    /// What its datasets are computed from.
    pub compat: Compat,
    /// The second namespace, under which newer producers write priorities and their outcomes.
    pub priority: Option<Priority>,
}

/// A second namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priority {
    /// The protocol-state contract, as configured.
    pub protocol: String,
    /// The data market, as configured.
    pub market: String,
}
