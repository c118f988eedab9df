//! The history's actor: writes what waits every second, and keeps the file small.
//!
//! It touches the file, in threads that may wait. Promises: one writer; what could not be written is written later, as long as
//! memory has a place for it; a crash loses what was in hand at most, which is one interval.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use retry::{Attempts, table::PEER_HISTORY};
use store_peers::{Batch, History, HistoryError, Removed, Step};
use supervision::{Clock, Context, Failure, Worker};

use super::{pending::Gathered, points, shared::Peers};
use crate::env::blocking::blocking;

/// The most steps of maintenance between two batches. They end earlier once the next batch is due, since samples wait in memory meanwhile.
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

    /// Writes what waits, and maintains the file until the next batch is due; returns the file, and the pause where it failed.
    async fn round(
        &self,
        cx: &Context,
        history: History,
        next: Instant,
        attempts: &mut Attempts,
    ) -> Result<(History, Option<Duration>), Failure> {
        let shared = &self.peers.0;
        let gathered = shared.pending.take();
        points::HISTORY_BEFORE_WRITE.pass().await?;
        let clock = cx.clock().clone();
        let round = cx.idle(blocking(move || write(history, gathered, &clock, next))).await?;
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

fn write(history: History, gathered: Gathered, clock: &Clock, next: Instant) -> Round {
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
    history_steps(&mut round, clock, next);
    round
}

/// At least one step, so that a disk that is slow with batches does not put them off for ever.
fn history_steps(round: &mut Round, clock: &Clock, next: Instant) {
    for number in 0..MOST_STEPS {
        if number > 0 && clock.now() >= next {
            return;
        }
        match round.history.step(clock.unix().as_secs() as i64) {
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
            let next = cx.clock().now() + self.peers.0.settings.flush_every;
            let pause;
            (history, pause) = self.round(cx, history, next, &mut attempts).await?;
            cx.progress();
            if is_last {
                return Ok(());
            }
            let until = pause.map_or(next, |pause| cx.clock().now() + pause);
            cx.pause(cx.clock().sleep_until(until)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use store_peers::{Limits, Sample, Subject};

    use super::*;

    #[test]
    fn maintenance_ends_once_the_next_batch_is_due_and_goes_on_after_it() {
        let folder = tempfile::tempdir().expect("a folder");
        // A step for each miner.
        let limits = Limits { tail_age: Duration::ZERO, step_rows: 1, ..Limits::default() };
        let history = History::open(&folder.path().join("peers.db"), limits).expect("a file");
        let clock = Clock::manual(Duration::from_secs(1_700_000_100));
        let sample = |id| Sample {
            timestamp: 1_700_000_000,
            subject: Subject::Miner { source: "north".into(), downstream_id: Some(id), name: "rig".into() },
            seconds: 1.0,
            work: Some(1.0),
            declared_hs: None,
        };
        let gathered = Gathered { samples: (0..5).map(sample).collect(), ..Gathered::default() };
        let round = write(history, gathered, &clock, clock.now());
        assert_eq!(round.written, (5, 0));
        let mut history = round.history;
        let now = clock.unix().as_secs() as i64;
        assert!(matches!(history.step(now), Ok(Step::Compacted(_))), "one step was made, and no more");
        let later = clock.now() + Duration::from_secs(1);
        let mut history = write(history, Gathered::default(), &clock, later).history;
        assert!(!matches!(history.step(now), Ok(Step::Compacted(_))), "there is time for all of them");
    }
}
