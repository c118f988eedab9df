//! The counter's actor: applies what the migration's triggers have appended, so that runs are counted by their changes; removes what is
//! too old of the history.
//!
//! It touches the database, and only our own schema of it. Promise: where the migration is missing or another service counts, it waits; the
//! workers compute runs in full where there are no counts.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use retry::{Attempts, table::STATUS_WORKER};
use store_campaigns::{DatabaseError, DatabaseErrorKind};
use supervision::{Context, Failure, Worker};

use super::shared::Campaigns;

/// The pause between two steps that leave nothing.
const STEP_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked whether the migration is there, and counts of runs that are gone and old summaries are removed.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// The most parts of 10,000 summaries that are removed at once. A thousand campaigns make half of one in a minute.
const MOST_PARTS: usize = 20;

/// The actor.
pub struct Counter(Campaigns);

impl Counter {
    /// The counter of these campaigns.
    #[must_use]
    pub fn new(campaigns: Campaigns) -> Self {
        Self(campaigns)
    }

    /// Removes summaries of the history that are too old.
    async fn prune(&self, cx: &Context) {
        let shared = &self.0.0;
        for _ in 0..MOST_PARTS {
            match cx.idle(shared.database.prune_summaries(shared.settings.history_retention)).await {
                Ok(0) => return,
                Ok(_) => cx.progress(),
                // It is tried again a minute later; runs are counted all the same.
                Err(error) => return shared.services.report(&error),
            }
        }
    }

    /// Counts until it is time to look at the migration again.
    async fn count(&self, cx: &Context) -> Result<(), DatabaseError> {
        let database = &self.0.0.database;
        let until = cx.clock().now() + LOOK_EVERY;
        while !cx.is_stopping() && cx.clock().now() < until {
            let is_full = match cx.idle(Box::pin(database.count_changes())).await {
                Ok(step) => {
                    if step.after_crash {
                        tracing::warn!(
                            "campaign counter: the server lost appended changes in a crash; runs are counted anew"
                        );
                    }
                    step.is_full
                }
                // Another service counts, or writers are in the way.
                Err(error) if error.kind == DatabaseErrorKind::Slow => false,
                Err(error) => return Err(error),
            };
            cx.progress();
            if !is_full {
                cx.pause(cx.clock().sleep(STEP_EVERY)).await;
            }
        }
        cx.idle(Box::pin(database.forget_counts())).await.map(drop)
    }
}

impl Worker for Counter {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let shared = &self.0.0;
        let mut attempts = Attempts::new(STATUS_WORKER);
        while !cx.is_stopping() {
            let state = cx.idle(shared.database.migration()).await;
            if let Ok(state) = &state {
                shared.counts.keeps_history.store(state.keeps_summaries(), Relaxed);
                if state.keeps_summaries() {
                    self.prune(cx).await;
                }
            }
            let counted = match state {
                Ok(state) if state.counts() => {
                    shared.counts.is_counting.store(true, Relaxed);
                    let stop = cx.stop_token();
                    stop.run_until_cancelled(Box::pin(self.count(cx))).await.unwrap_or(Ok(()))
                }
                Ok(_) => {
                    shared.counts.is_counting.store(false, Relaxed);
                    cx.pause(cx.clock().sleep(LOOK_EVERY)).await;
                    Ok(())
                }
                Err(error) => Err(error),
            };
            match counted {
                Ok(()) => attempts.succeeded(),
                Err(error) => {
                    shared.services.report(&error);
                    cx.pause(cx.clock().sleep(attempts.failed())).await;
                }
            }
        }
        shared.counts.is_counting.store(false, Relaxed);
        Ok(())
    }
}
