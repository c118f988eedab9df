//! A subscription, which has a connection of its own.
//!
//! Redis keeps no events for a subscriber that is away. After a subscription has ended, its holder must subscribe again and
//! then read the keys. Nothing here reconnects by itself.
//!
//! Behind one address the master can change while the old server lives on. So an error of the pool that makes it connect again
//! outdates the subscription, and a lost subscription outdates the pool's connections.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use errors::{Operation, rounded};
use redis::RedisResult;

use super::{Store, links::Links, receiver::Receiver, slots::Node};
use crate::{
    batch::Batch,
    error::StoreError,
    events::{EventQueue, EventStream},
    kind::ErrorKind,
    operations,
};

/// The controlling side of a subscription. Dropping it ends the subscription.
pub struct Subscriber {
    receiver: Receiver,
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
        let (mut receiver, subscribed) = self.listen(operation, queue).await?;
        in_time(within, operation, &server, receiver.subscribe(&channels)).await?;
        Ok((Subscriber { receiver, subscribed, server, timeout: self.settings.command_timeout }, events))
    }

    /// Connects to a server that receives every published event, and has the events put into the queue.
    async fn listen(
        &self,
        operation: Operation,
        queue: EventQueue,
    ) -> Result<(Receiver, SubscribedServer), StoreError> {
        let object = || self.settings.address.clone();
        // Before connecting: an error of the pool meanwhile concerns this connection too.
        let generation = self.links.generation();
        // Covers finding the master or a node too, whose connections each have this limit by themselves.
        let around = self.settings.around_connecting();
        let connecting = tokio::time::timeout(around, self.links.listen(queue)).await;
        let within = self.settings.connect_timeout;
        let late = |_| late(operation, object(), within);
        let (receiver, node) =
            connecting.map_err(late)?.map_err(|error| error.into_error(operation, object()))?;
        Ok((receiver, SubscribedServer { links: self.links.clone(), node, generation }))
    }

    /// Publishes a message by a connection of the pool, as producers do by theirs. In a cluster every node forwards it to the others.
    ///
    /// # Errors
    /// [`StoreError`] if the server does not answer, or refuses.
    pub async fn publish(&self, channel: &str, payload: &str) -> Result<(), StoreError> {
        let operation = operations::PROVE_SUBSCRIPTION;
        let mut session = self.session(operation).await?;
        let mut batch = Batch::new();
        // As a command with a key, though a channel is none: it goes to one node of a cluster, and not to all.
        batch.cmd("PUBLISH", channel).arg(payload);
        for answer in session.run(operation, channel, batch).await? {
            answer.map_err(|error| StoreError::redis(operation, channel, &error))?;
        }
        Ok(())
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
        in_time(within, operation, &self.server, self.receiver.subscribe(&more)).await?;
        in_time(within, operation, &self.server, self.receiver.unsubscribe(&gone)).await
    }

    /// Pings over the subscription's own connection, which finds a half-open connection: a silent one looks like one without events.
    ///
    /// # Errors
    /// [`StoreError`] without an answer in time, or if the server does not receive every event any more.
    pub async fn ping(&mut self) -> Result<(), StoreError> {
        let operation = operations::PING_SUBSCRIPTION;
        if let Some(doubt) = self.subscribed.doubt() {
            return Err(StoreError::new(operation, self.server.clone(), ErrorKind::Unavailable, doubt));
        }
        in_time(self.timeout, operation, &self.server, self.receiver.ping()).await
    }

    /// The error of a subscription that did not receive its own message within this time.
    #[must_use]
    pub fn missed_message(&self, within: Duration) -> StoreError {
        let detail = format!(
            "its own message did not arrive within {}: it is on another server than the one that is written to",
            rounded(within)
        );
        StoreError::new(operations::PROVE_SUBSCRIPTION, self.server.clone(), ErrorKind::Unavailable, detail)
    }

    /// Makes the pool connect again, since this subscription was lost: its server may be the master no more. Connections that were
    /// made after another error are kept.
    pub fn outdate_pool(&self) {
        self.subscribed.links.outdate(self.subscribed.generation);
    }
}

/// The server of a subscription.
struct SubscribedServer {
    links: Arc<Links>,
    /// The node, if Redis is a cluster.
    node: Option<Node>,
    /// The generation of the pool's links when the subscription was made.
    generation: u64,
}

impl SubscribedServer {
    /// Why the server may not receive every published event any more, by the cluster's last map or by an error of the pool.
    fn doubt(&self) -> Option<&'static str> {
        // A node that lost its slots may have left the cluster, and then receives nothing from it, while pings still work.
        if self.node.as_ref().is_some_and(|node| !self.links.is_master(node)) {
            return Some("the node has no slots of the cluster any more");
        }
        // A former master may live on behind the same address, and answer pings.
        let outdated = self.links.is_outdated(self.generation);
        outdated.then_some("another connection met an error, so that another server may be the master now")
    }
}
