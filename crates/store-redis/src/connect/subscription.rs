//! A subscription: one connection of its own, with a beginning and an end.
//!
//! A subscription that ended has missed what was published since: its holder must read the keys again after it has
//! subscribed anew. Nothing here reconnects by itself.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use errors::{Operation, rounded};
use redis::{RedisResult, Value, aio::MultiplexedConnection};

use super::{Store, links::Links, slots::Node};
use crate::{
    error::{ErrorKind, StoreError},
    events::{EventQueue, EventStream},
    operations,
};

/// The asking side of a subscription.
pub struct Subscriber {
    connection: MultiplexedConnection,
    heard: Heard,
    server: String,
    timeout: Duration,
}

impl Store {
    /// Subscribes to these channels.
    ///
    /// # Errors
    /// [`StoreError`] when the connection or a subscription fails.
    pub async fn subscribe(&self, channels: Vec<String>) -> Result<(Subscriber, EventStream), StoreError> {
        let server = self.settings.shown.clone();
        let (within, operation) = (self.settings.connect_timeout, operations::SUBSCRIBE);
        let (queue, events) = EventQueue::new(self.event_queue, self.dropped_events.clone());
        let (mut connection, heard) = self.listen(operation, queue).await?;
        in_time(within, operation, &server, connection.subscribe(channels)).await?;
        Ok((Subscriber { connection, heard, server, timeout: self.settings.command_timeout }, events))
    }

    /// A connection for subscriptions, to a server that hears everything that is published; what comes goes into the queue.
    async fn listen(
        &self,
        operation: Operation,
        queue: EventQueue,
    ) -> Result<(MultiplexedConnection, Heard), StoreError> {
        let object = || self.settings.shown.clone();
        let connecting = tokio::time::timeout(self.settings.connect_timeout, self.links.listen(queue)).await;
        let within = self.settings.connect_timeout;
        let late = |_| late(operation, object(), within);
        let (connection, node) =
            connecting.map_err(late)?.map_err(|trouble| trouble.into_error(operation, object()))?;
        Ok((connection, Heard { links: self.links.clone(), node }))
    }

    /// How many events were dropped since this was last asked, over all subscriptions, for want of a reader that keeps
    /// up. Each was missed, as if the connection had been interrupted. Who has read the last event that waits learns of
    /// all that were dropped before.
    #[must_use]
    pub fn take_dropped_events(&self) -> u64 {
        self.dropped_events.swap(0, Relaxed)
    }
}

/// Waits for an answer of the server, but no longer than this.
async fn in_time<T>(
    within: Duration,
    operation: Operation,
    server: &str,
    answer: impl Future<Output = RedisResult<T>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(within, answer).await {
        Ok(answer) => answer.map_err(|error| StoreError::redis(operation, server, &error)),
        Err(_) => Err(late(operation, server, within)),
    }
}

fn late(operation: Operation, server: impl Into<String>, within: Duration) -> StoreError {
    let detail = format!("no answer within {}", rounded(within));
    StoreError::new(operation, server, ErrorKind::Timeout, detail)
}

impl Subscriber {
    /// Subscribes to `more` channels, and no longer to those that are `gone`; the others stay as they are.
    ///
    /// # Errors
    /// [`StoreError`] when that fails or takes too long: then it is not known what is subscribed.
    pub async fn change(&mut self, more: Vec<String>, gone: Vec<String>) -> Result<(), StoreError> {
        let (within, operation) = (self.timeout, operations::CHANGE_SUBSCRIPTION);
        if !more.is_empty() {
            in_time(within, operation, &self.server, self.connection.subscribe(more)).await?;
        }
        // Without a channel it would mean all.
        if !gone.is_empty() {
            in_time(within, operation, &self.server, self.connection.unsubscribe(gone)).await?;
        }
        Ok(())
    }

    /// Asks for a sign of life over the subscription's own connection, so that a half-open one is noticed.
    ///
    /// # Errors
    /// [`StoreError`] when none comes in time, or when the server is one that does not hear everything any more.
    pub async fn ping(&mut self) -> Result<(), StoreError> {
        let operation = operations::PING_SUBSCRIPTION;
        if !self.heard.hears_all() {
            let detail = "the node has no slots of the cluster any more";
            return Err(StoreError::new(operation, self.server.clone(), ErrorKind::Unavailable, detail));
        }
        let (ping, connection) = (redis::cmd("PING"), &mut self.connection);
        let answer = ping.query_async::<Value>(connection);
        in_time(self.timeout, operation, &self.server, answer).await.map(drop)
    }
}

/// The server that a subscription listens to.
struct Heard {
    links: Arc<Links>,
    /// The node of a cluster.
    node: Option<Node>,
}

impl Heard {
    /// Whether what is published still comes to this server, as far as is known.
    fn hears_all(&self) -> bool {
        self.node.as_ref().is_none_or(|node| self.links.is_master(node))
    }
}
