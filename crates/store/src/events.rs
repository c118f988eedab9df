//! The subscription to the producers' events: one connection of its own, with a beginning and an end.
//!
//! A subscription that ended has missed what was published since; whoever holds it must look at the keys
//! again after subscribing anew. Nothing here reconnects by itself.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use redis::{
    RedisResult,
    aio::{PubSubSink, PubSubStream},
};

use crate::{
    Store,
    connect::Heard,
    error::{ErrorKind, StoreError},
    keys::{EVENTS, MarketKeys},
};

/// The asking side of a subscription.
pub struct Subscriber {
    sink: PubSubSink,
    heard: Heard,
    server: String,
    timeout: Duration,
}

/// The listening side of a subscription.
pub struct EventStream(PubSubStream);

impl Store {
    /// Subscribes to the events of all markets, and to those of each of `markets`.
    ///
    /// # Errors
    /// [`StoreError`] when the connection or a subscription fails.
    pub async fn subscribe(&self, markets: &[MarketKeys]) -> Result<(Subscriber, EventStream), StoreError> {
        let server = self.settings.shown.clone();
        let (within, operation) = (self.settings.connect_timeout, "subscribe");
        let (connection, heard) = self.pubsub(operation).await?;
        let (mut sink, stream) = connection.split();
        let mut channels = vec![EVENTS.to_owned()];
        channels.extend(markets.iter().flat_map(MarketKeys::events));
        in_time(within, operation, &server, sink.subscribe(channels)).await?;
        Ok((Subscriber { sink, heard, server, timeout: self.settings.command_timeout }, EventStream(stream)))
    }
}

/// Waits for an answer of the server, but no longer than this.
async fn in_time<T>(
    within: Duration,
    operation: &'static str,
    server: &str,
    answer: impl Future<Output = RedisResult<T>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(within, answer).await {
        Ok(answer) => answer.map_err(|error| StoreError::redis(operation, server, &error)),
        Err(_) => Err(StoreError::new(operation, server, ErrorKind::Timeout, "it took too long")),
    }
}

impl Subscriber {
    /// Subscribes to `more` channels, and no longer to those that are `gone`; the others stay as they are.
    ///
    /// # Errors
    /// [`StoreError`] when that fails or takes too long: then it is not known what is subscribed.
    pub async fn change(&mut self, more: Vec<String>, gone: Vec<String>) -> Result<(), StoreError> {
        let (within, operation) = (self.timeout, "change the subscription");
        if !more.is_empty() {
            in_time(within, operation, &self.server, self.sink.subscribe(more)).await?;
        }
        // Without a channel it would mean all.
        if !gone.is_empty() {
            in_time(within, operation, &self.server, self.sink.unsubscribe(gone)).await?;
        }
        Ok(())
    }

    /// Asks for a sign of life over the subscription's own connection, so that a half-open one is noticed.
    ///
    /// # Errors
    /// [`StoreError`] when none comes in time, or when the server is one that does not hear everything any more.
    pub async fn ping(&mut self) -> Result<(), StoreError> {
        let error = |kind, detail: String| {
            StoreError::new("ping the subscription", self.server.clone(), kind, detail)
        };
        if !self.heard.hears_all() {
            return Err(error(
                ErrorKind::Unavailable,
                "the node has no slots of the cluster any more".to_owned(),
            ));
        }
        let answer = tokio::time::timeout(self.timeout, self.sink.ping::<redis::Value>()).await;
        match answer {
            Err(_) => Err(error(ErrorKind::Timeout, format!("no answer within {:?}", self.timeout))),
            Ok(Err(failed)) => Err(StoreError::redis("ping the subscription", self.server.clone(), &failed)),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

impl EventStream {
    /// The next event: its channel and payload. `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<(String, Vec<u8>)> {
        self.0.next().await.map(|message| read(&message))
    }

    /// The next event, when one has arrived already.
    pub fn next_ready(&mut self) -> Option<(String, Vec<u8>)> {
        self.0.next().now_or_never().flatten().map(|message| read(&message))
    }
}

fn read(message: &redis::Msg) -> (String, Vec<u8>) {
    (message.get_channel_name().to_owned(), message.get_payload_bytes().to_vec())
}
