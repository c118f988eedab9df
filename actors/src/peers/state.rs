//! The state of the peers: takes the pictures of all senders, swaps them in for readers, and measures.
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
use peer_snapshots::{Message, MessageKind};
use serde::{Serialize, Serializer};
use store_peers::{HistoryError, HistoryReader, Quote, Sample, Subject};
use supervision::{Actor, Context, Failure, Inbox};

use super::{
    counts::LineFault,
    measuring::{measure, own_time},
    pending::Gathered,
    points,
    shared::Peers,
};
use crate::env::{blocking::blocking, lock::lock};

/// How often it looks at the open connections.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the total of all sources is added to the history, in seconds.
const TOTAL_EVERY: f64 = 5.0;
/// A measured total counts for so long, in seconds.
const RATE_LIVES: f64 = 60.0;

/// A message of a sender.
#[derive(Debug, Serialize)]
pub struct Arrived {
    /// The name of its source.
    #[serde(serialize_with = "text")]
    pub source: Arc<str>,
    /// The number of its connection.
    pub connection: u64,
    /// What it says. A dead letter shows its kind alone: names of miners are nobody's business.
    #[serde(serialize_with = "kind")]
    pub message: Arc<Message>,
}

fn text<S: Serializer>(text: &str, output: S) -> Result<S::Ok, S::Error> {
    output.serialize_str(text)
}

fn kind<S: Serializer>(message: &Arc<Message>, output: S) -> Result<S::Ok, S::Error> {
    output.serialize_str(message.kind().label())
}

impl supervision::Message for Arrived {
    fn weight(&self) -> usize {
        /// The bytes of an entry with its texts, about.
        const ENTRY: usize = 256;
        let entries = match &*self.message {
            Message::Miners(all) => all.miners.len(),
            Message::Connections(all) => all.connections.len(),
            Message::Proxy(all) => all.downstream_miners.len(),
            Message::Pool(all) => all.downstream_proxies.len() + all.services.len(),
            Message::Metrics(all) => all.downstreams.len(),
            Message::Balance(_) | Message::Quote(_) | Message::Heartbeat(_) | Message::Retired(_) => 0,
        };
        size_of::<Self>() + size_of::<Message>() + entries * ENTRY
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
        let (shared, now) = (&self.peers.0, self.peers.now());
        let message = &arrived.message;
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
        let Some(kind) = picture_kind(message.kind()) else { return Ok(()) };
        points::STATE_BEFORE_SWAP.pass().await?;
        let mut pictures = (*shared.pictures.load_full()).clone();
        let from = Origin { source: &arrived.source, connection: arrived.connection };
        match pictures.accept(from, kind, timestamp, message.clone(), now) {
            Ok(arrival) => {
                if arrival == Arrival::Clock {
                    shared.counts.clock.fetch_add(1, Relaxed);
                }
                shared.pictures.store(Arc::new(pictures));
            }
            Err(refused) => {
                shared.counts.fault(LineFault::Picture(refused.label()));
                return Ok(());
            }
        }
        points::STATE_AFTER_SWAP.pass().await?;
        if kind == PictureKind::Metrics {
            self.prepare(cx, &arrived.source, now).await?;
        }
        let gathered = measure(&mut lock(&shared.meters), &arrived.source, message, now);
        self.keep(gathered);
        Ok(())
    }

    /// Makes the meter of a source, if it has none: it begins where the history ends, so that no time is counted twice after a restart.
    async fn prepare(&self, cx: &Context, source: &Arc<str>, now: Now) -> Result<(), Failure> {
        let shared = &self.peers.0;
        if lock(&shared.meters).windows.contains_key(source) {
            return Ok(());
        }
        let (path, subject) = (shared.settings.history.clone(), Subject::Source(source.clone()));
        let until = cx.idle(blocking(move || measured_until(&path, subject, now.unix as i64))).await?;
        let until = until.unwrap_or_else(|error| {
            shared.services.report(&error);
            None
        });
        let meter = WindowMeter::new(source.clone(), until);
        lock(&shared.meters).windows.insert(source.clone(), meter);
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
        let mut pictures = (*shared.pictures.load_full()).clone();
        // The ends first: who connects again within an interval is given one more for its picture.
        pictures.note_ends(|connection| open.contains_key(&connection), now);
        begun.for_each(|(_, source)| pictures.connected(source, now));
        let forgotten = pictures.forget(now);
        // Also where nothing changed: time alone empties lists, and lists are written again only for another state.
        shared.pictures.store(Arc::new(pictures));
        self.open = open;
        let mut meters = lock(&shared.meters);
        for source in forgotten {
            meters.windows.remove(&source);
            meters.declared.remove(&source);
            meters.rates.remove(&source);
        }
        if now.steady - self.totalled < TOTAL_EVERY {
            return;
        }
        self.totalled = now.steady;
        meters.rates.retain(|_, (_, at)| now.steady - *at <= RATE_LIVES);
        // While nothing is measured, nothing is known: a gap, and not 0.
        let total =
            (!meters.rates.is_empty()).then(|| meters.rates.values().map(|(rate, _)| rate).sum::<f64>());
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

/// The kind of the picture of a message; `None` for a message that is none.
fn picture_kind(kind: MessageKind) -> Option<PictureKind> {
    Some(match kind {
        MessageKind::Miners => PictureKind::Miners,
        MessageKind::Connections => PictureKind::Connections,
        MessageKind::Balance => PictureKind::Balance,
        MessageKind::Proxy => PictureKind::ProxyStatus,
        MessageKind::Pool => PictureKind::PoolStatus,
        MessageKind::Heartbeat => PictureKind::Heartbeat,
        MessageKind::Metrics => PictureKind::Metrics,
        MessageKind::Quote | MessageKind::Retired => return None,
    })
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
