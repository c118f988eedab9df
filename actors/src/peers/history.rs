//! The history's actor: writes what waits every second, and keeps the file small.
//!
//! It touches the file, in threads that may wait. Promises: one writer; what could not be written is written later, as long as
//! memory has a place for it; a crash loses what was in hand at most, which is one interval.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use retry::{Attempts, table::PEER_HISTORY};
use store_peers::{Batch, History, HistoryError, Removed, Step};
use supervision::{Context, Failure, Worker};

use super::{pending::Gathered, points, shared::Peers};
use crate::env::blocking::blocking;

/// The most steps of maintenance between two batches.
const MOST_STEPS: usize = 20;

/// The actor.
pub struct HistoryWriter {
    peers: Peers,
}

/// What came of one round.
struct Round {
    history: History,
    /// What was not written, with why.
    failed: Option<(Gathered, HistoryError)>,
    /// How many samples were written, and how many the file refused.
    written: (u64, u64),
    evicted: Vec<Removed>,
}

impl HistoryWriter {
    /// The writer of these peers' file.
    #[must_use]
    pub fn new(peers: Peers) -> Self {
        Self { peers }
    }

    /// Opens the file; repeats that until it can be opened or the actor is stopped.
    async fn open(&self, cx: &Context) -> Result<Option<History>, Failure> {
        let shared = &self.peers.0;
        let mut attempts = Attempts::new(PEER_HISTORY);
        while !cx.is_stopping() {
            let (path, limits) = (shared.settings.history.clone(), shared.settings.limits.clone());
            match cx.idle(blocking(move || History::open(&path, limits))).await? {
                Ok(history) => return Ok(Some(history)),
                Err(error) => shared.services.report(&error),
            }
            cx.pause(cx.clock().sleep(attempts.failed())).await;
        }
        Ok(None)
    }

    /// Writes what waits; returns the file, and the pause where it failed.
    async fn round(
        &self,
        cx: &Context,
        history: History,
        attempts: &mut Attempts,
    ) -> Result<(History, Option<Duration>), Failure> {
        let shared = &self.peers.0;
        let gathered = shared.pending.take();
        points::HISTORY_BEFORE_WRITE.pass().await?;
        let now = cx.clock().unix().as_secs() as i64;
        let round = cx.idle(blocking(move || write(history, gathered, now))).await?;
        points::HISTORY_AFTER_WRITE.pass().await?;
        shared.counts.written.fetch_add(round.written.0, Relaxed);
        shared.counts.dropped.fetch_add(round.written.1, Relaxed);
        for Removed { part, rows, before } in &round.evicted {
            tracing::warn!(
                ?part,
                rows,
                before,
                "the history of peers has reached its limit of bytes: its oldest rows were removed"
            );
        }
        let Some((unwritten, error)) = round.failed else {
            shared.pending.written();
            attempts.succeeded();
            return Ok((round.history, None));
        };
        shared.services.report(&error);
        let dropped = shared.pending.put_back(unwritten);
        shared.counts.dropped.fetch_add(dropped as u64, Relaxed);
        Ok((round.history, Some(attempts.failed())))
    }
}

fn write(history: History, gathered: Gathered, now: i64) -> Round {
    let batch = Batch { samples: &gathered.samples, quotes: &gathered.quotes, balances: &gathered.balances };
    let mut round = Round { failed: None, written: (0, 0), evicted: Vec::new(), history };
    if !gathered.is_empty() {
        match round.history.write(&batch) {
            Ok(written) => round.written = (written.samples, written.refused.values().sum()),
            Err(error) => {
                round.failed = Some((gathered, error));
                return round;
            }
        }
    }
    history_steps(&mut round, now);
    round
}

fn history_steps(round: &mut Round, now: i64) {
    for _ in 0..MOST_STEPS {
        match round.history.step(now) {
            Ok(Step::Idle) => return,
            Ok(Step::Evicted(removed)) => round.evicted.push(removed),
            Ok(_) => {}
            Err(error) => {
                round.failed = Some((Gathered::default(), error));
                return;
            }
        }
    }
}

impl Worker for HistoryWriter {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let Some(mut history) = self.open(cx).await? else { return Ok(()) };
        let mut attempts = Attempts::new(PEER_HISTORY);
        loop {
            // The last round comes after the stop: connections and state have ended by then.
            let is_last = cx.is_stopping();
            let pause;
            (history, pause) = self.round(cx, history, &mut attempts).await?;
            cx.progress();
            if is_last {
                return Ok(());
            }
            let pause = pause.unwrap_or(self.peers.0.settings.flush_every);
            cx.pause(cx.clock().sleep(pause)).await;
        }
    }
}
