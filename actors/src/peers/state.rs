//! The state of the peers: takes the pictures of all senders and polls, swaps them in for readers, and measures.
//!
//! It touches memory, and reads the file of the history once for each source that it begins to measure. Promises: it is the only one
//! that changes pictures; readers see each as a whole and never wait; the end of a connection is never missed, since it looks which
//! ones are open instead of being told; a crash loses what the picture in hand would have added to the history at most; no time is
//! measured twice, whatever is started again.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use domain::peers::{Arrival, LONGEST_WINDOW, Now, Origin, PictureKind, WindowMeter};
use peer_snapshots::{Message, polled::Polled};
use serde::{Serialize, Serializer};
use store_peers::{HistoryError, HistoryReader, Quote, Sample, Subject};
use supervision::{Actor, Context, Failure, Inbox};

use super::{
    content::{Content, Told, picture_kind},
    counts::LineFault,
    measuring::{measure, measure_poll, own_time},
    pending::Gathered,
    points,
    shared::Peers,
};
use crate::env::{blocking::blocking, lock::lock};

/// How often it looks at the open connections.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the total of all sources is added to the history, in seconds.
const TOTAL_EVERY: f64 = 5.0;

/// A message of a sender, or what a poll told.
#[derive(Debug, Serialize)]
pub struct Arrived {
    /// The name of its source.
    #[serde(serialize_with = "text")]
    pub source: Arc<str>,
    /// The number of its connection.
    pub connection: u64,
    /// What it says. A dead letter shows its kind alone: names of miners are nobody's business.
    #[serde(serialize_with = "kind")]
    pub told: Told,
}

fn text<S: Serializer>(text: &str, output: S) -> Result<S::Ok, S::Error> {
    output.serialize_str(text)
}

fn kind<S: Serializer>(told: &Told, output: S) -> Result<S::Ok, S::Error> {
    output.serialize_str(told.label())
}

impl supervision::Message for Arrived {
    fn weight(&self) -> usize {
        /// The bytes of an entry with its texts, about.
        const ENTRY: usize = 256;
        size_of::<Self>() + size_of::<Message>() + self.told.entries() * ENTRY
    }
}

/// The actor.
pub struct PeerState {
    peers: Peers,
    /// The connections that were open at the last look: those that are not among them have begun since.
    open: BTreeMap<u64, Arc<str>>,
    /// When the total of all sources was added, in seconds of the steady clock.
    totalled: f64,
}

impl PeerState {
    /// The state of these peers.
    #[must_use]
    pub fn new(peers: Peers) -> Self {
        let (open, totalled) = (peers.0.open.all(), peers.now().steady);
        Self { peers, open, totalled }
    }

    async fn take(&mut self, cx: &Context, arrived: &Arrived) -> Result<(), Failure> {
        match &arrived.told {
            Told::Message(message) => self.take_message(cx, arrived, message).await,
            Told::Poll { polled, at } => self.take_poll(arrived, polled, *at).await,
        }
    }

    async fn take_message(
        &self,
        cx: &Context,
        arrived: &Arrived,
        message: &Arc<Message>,
    ) -> Result<(), Failure> {
        let (shared, now) = (&self.peers.0, self.peers.now());
        let timestamp = message.timestamp().unwrap_or_default();
        if let Message::Quote(quote) = &**message {
            let at = own_time(timestamp, now);
            let quote = Quote {
                timestamp: at,
                source: arrived.source.clone(),
                downstream_id: quote.downstream_id,
                amount: quote.amount,
            };
            self.keep(Gathered { quotes: vec![quote], ..Gathered::default() });
            return Ok(());
        }
        let Some(kind) = picture_kind(message) else { return Ok(()) };
        points::STATE_BEFORE_SWAP.pass().await?;
        if !self.swap(arrived, kind, timestamp, Content::Pushed(message.clone()), now) {
            return Ok(());
        }
        points::STATE_AFTER_SWAP.pass().await?;
        if matches!(kind, PictureKind::ProxyMetrics | PictureKind::PoolMetrics) {
            self.prepare(cx, &arrived.source, kind, now).await?;
        }
        let gathered = measure(&mut lock(&shared.meters), &arrived.source, message, now);
        self.keep(gathered);
        Ok(())
    }

    /// Measures first: what was measured of each client is a part of the picture.
    async fn take_poll(&self, arrived: &Arrived, polled: &Arc<Polled>, at: f64) -> Result<(), Failure> {
        let (shared, now) = (&self.peers.0, self.peers.now());
        points::STATE_BEFORE_SWAP.pass().await?;
        let (gathered, rates) = measure_poll(&mut lock(&shared.meters), &arrived.source, polled, at, now);
        let pictures = shared.pictures.load();
        let before = pictures.newest(PictureKind::Polled, Some(&arrived.source), now);
        // By our clock, which may have leapt back since.
        let timestamp = before.map_or(0, |before| before.timestamp).max(now.unix as u64);
        let content = Content::Polled { told: polled.clone(), rates };
        if !self.swap(arrived, PictureKind::Polled, timestamp, content, now) {
            return Ok(());
        }
        points::STATE_AFTER_SWAP.pass().await?;
        self.keep(gathered);
        Ok(())
    }

    /// Swaps in a picture for readers; counts it where it is refused.
    fn swap(&self, arrived: &Arrived, kind: PictureKind, timestamp: u64, content: Content, now: Now) -> bool {
        let shared = &self.peers.0;
        let mut pictures = (*shared.pictures.load_full()).clone();
        let from = Origin { source: &arrived.source, connection: arrived.connection };
        match pictures.accept(from, kind, timestamp, content, now) {
            Ok(arrival) => {
                if arrival == Arrival::Clock {
                    shared.counts.clock.fetch_add(1, Relaxed);
                }
                shared.pictures.store(Arc::new(pictures));
                true
            }
            Err(refused) => {
                shared.counts.fault(LineFault::Picture(refused.label()));
                false
            }
        }
    }

    /// Makes the meter of a source, if it has none: it begins where the history ends, so that no time is counted twice after a restart.
    async fn prepare(
        &self,
        cx: &Context,
        source: &Arc<str>,
        kind: PictureKind,
        now: Now,
    ) -> Result<(), Failure> {
        let shared = &self.peers.0;
        let key = (source.clone(), kind);
        if lock(&shared.meters).windows.contains_key(&key) {
            return Ok(());
        }
        let (path, subject) = (shared.settings.history.clone(), Subject::Source(source.clone()));
        let until = cx.idle(blocking(move || measured_until(&path, subject, now.unix as i64))).await?;
        let until = until.unwrap_or_else(|error| {
            shared.services.report(&error);
            None
        });
        let meter = WindowMeter::new(source.clone(), until);
        lock(&shared.meters).windows.insert(key, meter);
        Ok(())
    }

    fn keep(&self, gathered: Gathered) {
        let dropped = self.peers.0.pending.add(gathered);
        self.peers.0.counts.dropped.fetch_add(dropped as u64, Relaxed);
    }

    /// Notes which connections have ended and begun, forgets what is old, and adds the total of all.
    fn look(&mut self) {
        let (shared, now) = (&self.peers.0, self.peers.now());
        let open = shared.open.all();
        let begun = open.iter().filter(|(number, _)| !self.open.contains_key(number));
        let before = shared.pictures.load_full();
        let mut pictures = (*before).clone();
        // The ends first: who connects again within an interval is given one more for its picture.
        pictures.note_ends(|connection| open.contains_key(&connection), now);
        begun.for_each(|(_, source)| pictures.connected(source, now));
        let forgotten = pictures.forget(now);
        // Readers write their lists again for other pictures.
        if !pictures.is_still(&before) {
            shared.pictures.store(Arc::new(pictures));
        }
        self.open = open;
        let mut meters = lock(&shared.meters);
        forgotten.iter().for_each(|source| meters.forget(source));
        if now.steady - self.totalled < TOTAL_EVERY {
            return;
        }
        self.totalled = now.steady;
        let total = meters.total(now);
        drop(meters);
        let sample = |rate: f64| Sample {
            timestamp: now.unix as i64,
            subject: Subject::All,
            seconds: TOTAL_EVERY,
            work: Some(rate * TOTAL_EVERY),
            declared_hs: None,
        };
        self.keep(Gathered { samples: total.map(sample).into_iter().collect(), ..Gathered::default() });
    }
}

impl Actor for PeerState {
    type Message = Arrived;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Arrived>) -> Result<(), Failure> {
        let clock = cx.clock();
        let mut next = clock.now();
        while !cx.is_stopping() {
            tokio::select! {
                biased;
                () = clock.sleep_until(next) => {
                    self.look();
                    next = clock.now() + LOOK_EVERY;
                }
                arrived = inbox.recv() => match arrived {
                    Some(arrived) => {
                        self.take(cx, &arrived).await?;
                        arrived.ack();
                    }
                    None => break,
                },
            }
        }
        Ok(())
    }
}

/// The end of what the history has of a source, in Unix seconds, as far back as a window can reach.
fn measured_until(history: &Path, source: Subject, now: i64) -> Result<Option<u64>, HistoryError> {
    // Before its first batch there is no file.
    if !history.exists() {
        return Ok(None);
    }
    let from = now.saturating_sub(LONGEST_WINDOW as i64);
    let until = HistoryReader::open(history)?.measured_until(source, from, now.saturating_add(1))?;
    Ok(until.and_then(|until| u64::try_from(until).ok()))
}
