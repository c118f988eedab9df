//! What went wrong, by kind, and what was asked. Counters only rise; reading them is cheap.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As a metric's label.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

kinds! {
    /// What a node did wrong.
    FaultKind {
        /// It can't be reached, or cut the connection.
        Unreachable = "unreachable",
        /// It did not answer in time.
        Timeout = "timeout",
        /// It answered with an HTTP error, or an error of its own.
        Server = "server",
        /// It refused the credentials.
        Refused = "refused",
        /// It asked for fewer requests.
        RateLimited = "rate_limited",
        /// Its answer is not JSON, or not of the expected form.
        Malformed = "malformed",
        /// Its answer is larger than allowed.
        Oversized = "oversized",
        /// It follows another chain.
        WrongChain = "wrong_chain",
        /// It is behind the others, and was passed over.
        Lagging = "lagging",
        /// It left out logs that a block has.
        MissingLogs = "missing_logs",
        /// Its answer does not fit what was asked: another block, a broken link, logs that another node lacks.
        Inconsistent = "inconsistent",
        /// It no longer has what was asked for.
        Pruned = "pruned",
    }
}

kinds! {
    /// Why a log of a known contract and event can't be read.
    LogFaultKind {
        /// It has fewer topics than the event's indexed arguments.
        TooFewTopics = "too_few_topics",
        /// It has more topics than that.
        TooManyTopics = "too_many_topics",
        /// Its data end early.
        ShortData = "short_data",
        /// Its data are longer than the event's arguments.
        OversizedData = "oversized_data",
        /// A number is larger than such a number can be.
        OutOfRange = "out_of_range",
        /// A text or an address is no such thing.
        Invalid = "invalid",
    }
}

/// Counts since the start.
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
        /// Requests sent to nodes; a batch is one.
        requests, add_request;
        /// Requests sent again, to the same or to another node.
        retries, add_retry;
        /// How often a node was set aside.
        set_aside, add_set_aside;
        /// Logs of unknown events or of markets that are not configured.
        ignored_logs, add_ignored_log;
        /// Reorganisations seen.
        reorganisations, add_reorganisation;
        /// How often a WebSocket told of a new head.
        wakes, add_wake;
    }

    /// How often nodes did this.
    #[must_use]
    pub fn faults(&self, kind: FaultKind) -> u64 {
        self.faults[kind as usize].load(Ordering::Relaxed)
    }

    /// How many logs could not be read for this reason.
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
