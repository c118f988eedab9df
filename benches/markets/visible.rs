//! From an event to the dataset that shows it: the current epoch of its market.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, error::TryRecvError};

use crate::wire::Tally;

/// How exactly the time is known.
const POLL: Duration = Duration::from_millis(10);
/// After this time an event is given up, and has this time.
const LOST: Duration = Duration::from_secs(60);
/// With more events that wait, the polls are further apart, so that they cost no more.
const MANY: u32 = 20;

/// What the current epoch must show: this epoch with so many submissions, or more.
pub(crate) struct Expected {
    pub(crate) key: String,
    pub(crate) epoch: u64,
    pub(crate) submissions: u64,
    /// Before it was written.
    pub(crate) at: Instant,
}

/// An event that became visible.
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) took: Duration,
}

impl Expected {
    fn is_shown(&self, text: Option<&str>) -> bool {
        let Some(dataset) = text.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
            return false;
        };
        let epoch = dataset["epoch_id"].as_str().and_then(|id| id.parse::<u64>().ok()).unwrap_or(0);
        let submissions = dataset["submissions_received"].as_u64().unwrap_or(0);
        (epoch, submissions) >= (self.epoch, self.submissions)
    }
}

/// Watches the events until none comes any more.
pub(crate) async fn watch(
    mut redis: MultiplexedConnection,
    mut events: UnboundedReceiver<Expected>,
    tally: Tally,
) -> Vec<Seen> {
    let (mut waiting, mut seen, mut is_over) = (Vec::<Expected>::new(), Vec::new(), false);
    while !(is_over && waiting.is_empty()) {
        loop {
            match events.try_recv() {
                Ok(event) => waiting.push(event),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    is_over = true;
                    break;
                }
            }
        }
        if !waiting.is_empty() {
            let mut pipe = redis::pipe();
            for event in &waiting {
                pipe.get(&event.key);
            }
            let texts: Vec<Option<String>> = pipe.query_async(&mut redis).await.expect("read");
            tally.add("get", waiting.len());
            let mut texts = texts.iter();
            waiting.retain(|event| {
                let is_shown = event.is_shown(texts.next().and_then(|text| text.as_deref()));
                let is_lost = event.at.elapsed() > LOST;
                if is_shown || is_lost {
                    let took = if is_shown { event.at.elapsed() } else { LOST };
                    seen.push(Seen { at: event.at, took });
                }
                !is_shown && !is_lost
            });
        }
        tokio::time::sleep(POLL * (1 + waiting.len() as u32 / MANY)).await;
    }
    seen
}
