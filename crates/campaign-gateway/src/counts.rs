//! What happened so far, for metrics.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Counts what happened. It only grows.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: Arc<socket_io::Counts>,
    pub(crate) connects: AtomicU64,
    pub(crate) connects_refused: AtomicU64,
    pub(crate) connects_limited: AtomicU64,
    pub(crate) joins: AtomicU64,
    pub(crate) joins_refused: AtomicU64,
    pub(crate) requests_limited: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) replaced: AtomicU64,
    pub(crate) replayed: AtomicU64,
    pub(crate) recovered: AtomicU64,
    pub(crate) not_recovered: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) source_errors: AtomicU64,
}

/// What happened so far, and what there is at the moment.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Of the connections below: how many began and ended, and why.
    pub connections: Arc<socket_io::Counts>,
    /// The connections at the moment.
    pub clients: u64,
    /// The rooms with clients at the moment.
    pub rooms: u64,
    /// The users with clients at the moment.
    pub users: u64,
    /// The position in the log up to which events were sent.
    pub position: u64,
    /// Clients that were let in.
    pub connects: u64,
    /// Clients whose token was refused.
    pub connects_refused: u64,
    /// Clients that were refused because their user has, or opens, too many connections.
    pub connects_limited: u64,
    /// Joins that succeeded.
    pub joins: u64,
    /// Joins that were refused or failed.
    pub joins_refused: u64,
    /// Requests that were refused because their user sends too many.
    pub requests_limited: u64,
    /// Events of the log that were sent to rooms, or had nobody to be sent to.
    pub events: u64,
    /// Messages of events to clients.
    pub sent: u64,
    /// Waiting statuses that newer ones replaced, since the client is slow.
    pub replaced: u64,
    /// Events that clients got after they came back.
    pub replayed: u64,
    /// Clients that found their rooms again.
    pub recovered: u64,
    /// Clients that came back and did not find them.
    pub not_recovered: u64,
    /// Tokens that expired during a connection.
    pub expired: u64,
    /// Questions to the log or to the campaigns that failed.
    pub source_errors: u64,
}

pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

pub(crate) fn add(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

impl Counters {
    /// The counts, without what there is at the moment.
    pub(crate) fn snapshot(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connections: self.connections.clone(),
            clients: 0,
            rooms: 0,
            users: 0,
            position: 0,
            connects: get(&self.connects),
            connects_refused: get(&self.connects_refused),
            connects_limited: get(&self.connects_limited),
            joins: get(&self.joins),
            joins_refused: get(&self.joins_refused),
            requests_limited: get(&self.requests_limited),
            events: get(&self.events),
            sent: get(&self.sent),
            replaced: get(&self.replaced),
            replayed: get(&self.replayed),
            recovered: get(&self.recovered),
            not_recovered: get(&self.not_recovered),
            expired: get(&self.expired),
            source_errors: get(&self.source_errors),
        }
    }
}
