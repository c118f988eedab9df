//! A polled source's worker: asks its application again and again, and sends each picture to the state.
//!
//! It touches the HTTP port of its application. Promises: one poll is one picture; a poll that fails leaves the picture before, which
//! grows stale, and is empty once an interval has passed without another one; failures are counted by reason, and logged at most once a
//! minute; neither counts nor log name the URL.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use peer_snapshots::polled::Polled;
use retry::{Attempts, table::PEER_POLL};
use sri_client::{PollError, SriClient};
use supervision::{Address, Context, Failure, Worker};

use super::{content::Told, open::OpenConnection, points, shared::Peers, state::Arrived};
use crate::operations::POLL_PEERS;

/// How long all requests of a poll may take together.
const POLL_WITHIN: Duration = Duration::from_secs(30);

/// An application that is polled.
#[derive(Debug)]
pub struct PolledSource {
    /// The name of the source.
    pub name: Arc<str>,
    /// The time from the beginning of a poll to that of the next one.
    pub interval: Duration,
    /// How it is asked.
    pub client: SriClient,
}

/// The worker.
pub struct PeerPoll {
    peers: Peers,
    state: Address<Arrived>,
    source: Arc<PolledSource>,
}

impl PeerPoll {
    /// A worker that polls this source.
    #[must_use]
    pub fn new(peers: Peers, state: Address<Arrived>, source: Arc<PolledSource>) -> Self {
        Self { peers, state, source }
    }

    /// Sends the picture to the state. The source counts as connected from the first one until a poll fails.
    async fn send(&self, polled: Polled, at: f64, open: &mut Option<OpenConnection>) -> Result<(), Failure> {
        let shared = &self.peers.0;
        shared.counts.polled(None);
        if polled.is_uncertain {
            shared.counts.uncertain.fetch_add(1, Relaxed);
            let text = "its lists changed each time that they were read, or are too long: the picture may lack somebody";
            shared.services.warn(POLL_PEERS, &self.source.name, text);
        }
        points::POLL_BEFORE_SWAP.pass().await?;
        let open = open.get_or_insert_with(|| shared.open.poll(self.source.name.clone()));
        let arrived = Arrived {
            source: self.source.name.clone(),
            connection: open.number,
            told: Told::Poll { polled: Arc::new(polled), at },
        };
        // The edge waits. It is refused only while the state is stopped.
        drop(self.state.send(arrived).await);
        Ok(())
    }
}

impl Worker for PeerPoll {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let clock = cx.clock();
        let mut attempts = Attempts::new(PEER_POLL);
        let mut open = None;
        while !cx.is_stopping() {
            let (began, at) = (clock.now(), clock.unix().as_secs_f64());
            let poll = clock.timeout(POLL_WITHIN, self.source.client.poll());
            let Some(answered) = cx.idle(cx.stop_token().run_until_cancelled(poll)).await else { break };
            let next = match answered.unwrap_or(Err(PollError::TooLong { within: POLL_WITHIN })) {
                Ok(polled) => {
                    attempts.succeeded();
                    self.send(polled, at, &mut open).await?;
                    // At its beat, unless the poll took longer than that.
                    (began + self.source.interval).max(clock.now())
                }
                Err(error) => {
                    // From now on the source has ended, unless it comes back within an interval.
                    open = None;
                    let shared = &self.peers.0;
                    shared.counts.polled(Some(error.fault()));
                    shared.services.warn(POLL_PEERS, &self.source.name, &error.to_string());
                    // Sooner than the beat at first: one failure alone empties no list.
                    clock.now() + attempts.failed().min(self.source.interval)
                }
            };
            cx.progress();
            cx.pause(clock.sleep_until(next)).await;
        }
        Ok(())
    }
}
