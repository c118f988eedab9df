//! Counters of requests and faults, by kind, for metrics. They only rise.

use std::sync::atomic::{AtomicU64, Ordering};

// One row a kind: variant, label and list can't disagree, and the counters below index an array by the variant.
macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The value of a metric's label.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

kinds! {
    /// A kind of fault of a node.
    FaultKind {
        /// It can't be reached, or cut the connection.
        Unreachable = "unreachable",
        /// It did not answer in time.
        Timeout = "timeout",
        /// It answered with an HTTP error, or an error of its own.
        Server = "server",
        /// It refused the credentials.
        Refused = "refused",
        /// It limits the rate of requests.
        RateLimited = "rate_limited",
        /// Its answer is not JSON, or not of the expected form.
        Malformed = "malformed",
        /// Its answer exceeds the limit.
        Oversized = "oversized",
        /// It follows another chain.
        WrongChain = "wrong_chain",
        /// It is behind the others, and was passed over.
        Lagging = "lagging",
        /// It left out logs that a block has.
        MissingLogs = "missing_logs",
        /// Its answer contradicts the request or other answers: another block, a broken link, logs in the wrong order.
        Inconsistent = "inconsistent",
        /// It no longer has the requested block or state.
        Pruned = "pruned",
    }
}

kinds! {
    /// Why a log of a known contract and event can't be decoded.
    LogFaultKind {
        /// It has fewer topics than the event's indexed arguments.
        TooFewTopics = "too_few_topics",
        /// It has more topics than the event's indexed arguments.
        TooManyTopics = "too_many_topics",
        /// Its data end early.
        ShortData = "short_data",
        /// Its data are longer than the event's arguments.
        OversizedData = "oversized_data",
        /// A number exceeds 64 bits.
        OutOfRange = "out_of_range",
        /// A text is not UTF-8, or an address has more than 20 bytes.
        Invalid = "invalid",
    }
}

/// Counts since the start of the process.
#[derive(Debug, Default)]
pub struct Counters {
    faults: [AtomicU64; FaultKind::ALL.len()],
    log_faults: [AtomicU64; LogFaultKind::ALL.len()],
    requests: AtomicU64,
    retries: AtomicU64,
    set_aside: AtomicU64,
    ignored_logs: AtomicU64,
    reorganisations: AtomicU64,
    wakes: AtomicU64,
}

// Relaxed: no other memory access depends on a counter's value.
macro_rules! counts {
    ($($(#[$doc:meta])* $read:ident, $add:ident;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $read(&self) -> u64 {
            self.$read.load(Ordering::Relaxed)
        }

        pub(crate) fn $add(&self) {
            self.$read.fetch_add(1, Ordering::Relaxed);
        }
    )*};
}

impl Counters {
    counts! {
        /// Requests sent to nodes; a batch counts once.
        requests, add_request;
        /// Repeated requests, to the same or to another node.
        retries, add_retry;
        /// How often a node was set aside.
        set_aside, add_set_aside;
        /// Logs of unknown events.
        ignored_logs, add_ignored_log;
        /// Reorganisations found.
        reorganisations, add_reorganisation;
        /// Notifications of new heads by WebSocket.
        wakes, add_wake;
    }

    /// The number of faults of this kind.
    #[must_use]
    pub fn faults(&self, kind: FaultKind) -> u64 {
        self.faults[kind as usize].load(Ordering::Relaxed)
    }

    /// The number of logs that could not be decoded for this reason.
    #[must_use]
    pub fn log_faults(&self, kind: LogFaultKind) -> u64 {
        self.log_faults[kind as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn add_fault(&self, kind: FaultKind) {
        self.faults[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_log_fault(&self, kind: LogFaultKind) {
        self.log_faults[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
}
