//! Every retry of the product, with its figures. No other file defines one (`tests/one_table.rs` checks it).

use std::time::Duration;

use crate::policy::{Jitter, RetryPolicy};

/// The number of attempts of a retry without a limit.
pub const UNLIMITED: u32 = u32::MAX;

/// The longest pause that a server can request, by `Retry-After` for example. Without this limit one wrong header would end all
/// retries of that server.
pub const LONGEST_REQUESTED: Duration = s(300);

/// Defines one constant for each row, and a list of all rows.
macro_rules! table {
    ($($name:ident: $first:expr => $longest:expr, $jitter:ident, $attempts:expr; $about:literal)*) => {
        $(
            #[doc = $about]
            pub const $name: RetryPolicy = RetryPolicy {
                name: stringify!($name),
                about: $about,
                first: $first,
                longest: $longest,
                jitter: Jitter::$jitter,
                attempts: $attempts,
            };
        )*

        /// All rows, in the order of the table.
        pub const ALL: &[RetryPolicy] = &[$($name),*];
    };
}

table! {
    // Row: first pause => longest pause, jitter, attempts; what is retried.

    // Nodes of a chain.
    NODE_FAILED: ms(200) => s(5), Quarter, UNLIMITED;
        "A node that can't be reached, is late, or fails is asked again."
    NODE_RATE_LIMITED: s(1) => s(30), None, UNLIMITED;
        "A node that refused a request because there were too many is asked again."
    // Longer than after a failure: another chain or refused credentials seldom pass by themselves.
    NODE_WRONG: s(10) => s(100), None, UNLIMITED;
        "A node that answered wrongly, follows another chain or refuses the credentials is asked again."
    NODE_BEHIND: ms(200) => ms(200), None, UNLIMITED;
        "A node that is behind the block in question is considered again."
    NODES_DISAGREE: ms(200) => ms(200), None, UNLIMITED;
        "A block is asked for again after answers that contradict each other."
    LOGS_MISSING: ms(200) => ms(200), None, 3;
        "The logs of a block are asked for again when there are none though the block's bloom filter matches."

    // The collector.
    BLOCK_FETCHER: s(1) => s(1), None, UNLIMITED;
        "The block fetcher repeats a step that failed because of the nodes or Redis."
    BATCH_PREPARER: s(1) => s(1), None, UNLIMITED;
        "A batch preparer repeats its round; at most the interval between two rounds."
    CONTRACT_VALUES: s(1) => s(60), Double, UNLIMITED;
        "The lengths of submission windows that are not known are asked for again; at most the interval between two rounds."
    CLEANER: s(60) => s(60), None, UNLIMITED;
        "The cleaner repeats a round that failed; at most the interval between two rounds."

    REWARDS: s(1) => s(30), Double, UNLIMITED;
        "The rewards of a market repeat a round that failed because of Redis or the nodes."
    MIGRATION: s(1) => s(10), None, UNLIMITED;
        "The migration of markets at the start is repeated after Redis failed."
    RELAYER: s(1) => s(4), None, UNLIMITED;
        "A call of the relayer is repeated, and a step of its lane that failed because of Redis."
    RELAYER_AWAY: s(4) => s(30), Quarter, UNLIMITED;
        "A call of the relayer is repeated after it has failed for 10 s."

    // The tracker. The actors also limit the first four rows to the configured longest pause between connections to Redis.
    LISTENER: ms(50) => s(60), Double, UNLIMITED;
        "The listener subscribes again after it lost its connection."
    AGGREGATOR: s(1) => s(1), None, UNLIMITED;
        "An aggregator repeats a pass that failed; at most its interval."
    EPOCH_TRACKER: s(1) => s(1), None, UNLIMITED;
        "An epoch tracker repeats a pass that failed; at most its interval."
    INDEXER: s(1) => s(1), None, UNLIMITED;
        "The indexer repeats a commit, or the ageing of validators."
    FINALIZED_BATCHES: s(1) => s(1), None, UNLIMITED;
        "The finalized batches take a message again that failed because of Redis."
    FINDER: s(1) => s(60), Double, UNLIMITED;
        "The finder repeats a round that failed; at most its interval."
    PRUNER: s(60) => s(60), None, UNLIMITED;
        "The pruner repeats a round that failed; at most its interval."

    // Connected peers. At most 5 s with jitter: a receiver that was restarted has the true picture within one interval.
    PEER_SENDER: ms(200) => s(4), Quarter, UNLIMITED;
        "A sender of pictures connects again after it lost its receiver."
    PEER_HISTORY: s(1) => s(30), Double, UNLIMITED;
        "The history of peers is opened, or written, again after that failed."
    PEER_POLL: ms(500) => s(60), None, UNLIMITED;
        "An application that could not be polled is asked again; at most its interval."

    // Campaigns.
    CAMPAIGN_SCHEDULER: s(1) => s(15), Quarter, UNLIMITED;
        "The scheduler of campaigns repeats a round that failed; at most its interval."
    STATUS_WORKER: s(1) => s(30), Quarter, UNLIMITED;
        "A status worker asks for a job row again after the database failed."
    CAMPAIGN_MONITOR: ms(200) => s(15), Quarter, UNLIMITED;
        "The monitor of campaigns reads runs, or appends events, again after that failed; it listens again likewise."
    // The status of campaigns.
    CAMPAIGN_FEED: ms(100) => s(5), Quarter, UNLIMITED;
        "The gateway reads the log of events again after that failed."
    // Its store limits it to the configured number of retries.
    STATUS_JOB: s(2) => s(60), Quarter, UNLIMITED;
        "A status job is tried again after counting its run failed, as often as is configured; then it is a dead letter."
    DATABASE_LOCK: ms(200) => s(5), Double, 60;
        "A step of the database's migration asks again for a lock that a transaction of a user holds."
    DATABASE_LISTENER: ms(100) => s(10), Double, UNLIMITED;
        "The listener to the database connects again after it lost its connection."

    // Alerts.
    WEBHOOK: s(1) => s(60), Quarter, 10;
        "An alert is sent again after its receiver has not accepted it."

    // Redis and the endpoints.
    SLOT_MOVING: ms(5) => ms(200), None, 10;
        "A command is sent again while a cluster moves its slot to another node."
    HTTP_ACCEPT: ms(100) => ms(100), None, UNLIMITED;
        "A connection to our HTTP endpoints is accepted again after the system refused one."

    // Our own output.
    LOG_WRITER: ms(10) => ms(10), None, 100;
        "A line is written again while the standard error of the service is full and does not block."
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_makes_a_hot_loop_or_gives_up_for_good() {
        for RetryPolicy { name, first, longest, attempts, about, .. } in ALL {
            assert!(*first >= ms(1) && first <= longest, "{name}");
            assert!(*longest <= s(300), "{name} is silent for {longest:?}");
            assert!(*attempts > 1, "{name}");
            assert!(about.ends_with('.'), "{name}");
        }
    }
}
