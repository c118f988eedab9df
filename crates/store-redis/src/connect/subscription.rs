//! A subscription, which has a connection of its own.
//!
//! Redis keeps no events for a subscriber that is away. After a subscription has ended, its holder must subscribe again and
//! then read the keys. Nothing here reconnects by itself.

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

/// The controlling side of a subscription. Dropping it ends the subscription.
pub struct Subscriber {
    connection: MultiplexedConnection,
    subscribed: SubscribedServer,
    server: String,
    timeout: Duration,
}

impl Store {
    /// Subscribes to these channels.
    ///
    /// # Errors
    /// [`StoreError`] if the connection or the subscription fails.
    pub async fn subscribe(&self, channels: Vec<String>) -> Result<(Subscriber, EventStream), StoreError> {
        let server = self.settings.address.clone();
        let (within, operation) = (self.settings.connect_timeout, operations::SUBSCRIBE);
        let (queue, events) = EventQueue::new(self.event_queue, self.dropped_events.clone());
        let (mut connection, subscribed) = self.listen(operation, queue).await?;
        in_time(within, operation, &server, connection.subscribe(channels)).await?;
        Ok((Subscriber { connection, subscribed, server, timeout: self.settings.command_timeout }, events))
    }

    /// Connects to a server that receives every published event, and has the events put into the queue.
    async fn listen(
        &self,
        operation: Operation,
        queue: EventQueue,
    ) -> Result<(MultiplexedConnection, SubscribedServer), StoreError> {
        let object = || self.settings.address.clone();
        // Covers finding the master or a node too, whose connections each have this limit by themselves.
        let connecting = tokio::time::timeout(self.settings.connect_timeout, self.links.listen(queue)).await;
        let within = self.settings.connect_timeout;
        let late = |_| late(operation, object(), within);
        let (connection, node) =
            connecting.map_err(late)?.map_err(|error| error.into_error(operation, object()))?;
        Ok((connection, SubscribedServer { links: self.links.clone(), node }))
    }

    /// Returns and resets the number of dropped events of all subscriptions. A drop is a gap like an interrupted connection. All
    /// drops before an event are counted by the time that event is read.
    #[must_use]
    pub fn take_dropped_events(&self) -> u64 {
        self.dropped_events.swap(0, Relaxed)
    }
}

/// Waits for an answer of the server for at most `within`.
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
    /// Subscribes to `more` channels and unsubscribes from those that are `gone`; the others stay subscribed.
    ///
    /// # Errors
    /// [`StoreError`] on a failure or a timeout; the subscribed channels are unknown then.
    pub async fn change(&mut self, more: Vec<String>, gone: Vec<String>) -> Result<(), StoreError> {
        let (within, operation) = (self.timeout, operations::CHANGE_SUBSCRIPTION);
        // First the new ones: a failure in between then leaves too many channels and not too few.
        if !more.is_empty() {
            in_time(within, operation, &self.server, self.connection.subscribe(more)).await?;
        }
        // UNSUBSCRIBE without a channel unsubscribes from all.
        if !gone.is_empty() {
            in_time(within, operation, &self.server, self.connection.unsubscribe(gone)).await?;
        }
        Ok(())
    }

    /// Pings over the subscription's own connection, which finds a half-open connection: a silent one looks like one without events.
    ///
    /// # Errors
    /// [`StoreError`] without an answer in time, or if the server does not receive every event any more.
    pub async fn ping(&mut self) -> Result<(), StoreError> {
        let operation = operations::PING_SUBSCRIPTION;
        // A node that lost its slots may have left the cluster, and then receives nothing from it, while pings still work.
        if !self.subscribed.receives_all() {
            let detail = "the node has no slots of the cluster any more";
            return Err(StoreError::new(operation, self.server.clone(), ErrorKind::Unavailable, detail));
        }
        let (ping, connection) = (redis::cmd("PING"), &mut self.connection);
        // Allowed on a subscribed connection, since it speaks RESP3.
        let answer = ping.query_async::<Value>(connection);
        in_time(self.timeout, operation, &self.server, answer).await.map(drop)
    }
}

/// The server of a subscription.
struct SubscribedServer {
    links: Arc<Links>,
    /// The node, if Redis is a cluster.
    node: Option<Node>,
}

impl SubscribedServer {
    /// Whether the server still receives every published event, by the last map.
    fn receives_all(&self) -> bool {
        self.node.as_ref().is_none_or(|node| self.links.is_master(node))
    }
}
