//! The cleaner: removes the markers of finished epochs and the submissions of old ones, for the followed markets.
//!
//! It touches only those keys in Redis. It works in slices with pauses, so that no other client of Redis waits for it. It can
//! stop or crash between any two slices: the next run removes the rest.

use std::time::Duration;

use retry::table::CLEANER;
use store_collector::operations::CLEAN_UP;
use store_redis::StoreError;
use supervision::{Context, Failure, Worker};

use super::{CollectorServices, points::CLEANER_POINTS};
use crate::env::periodic::run_periodically;

/// The number of markets that one step cleans up.
const SLICE: usize = 50;
/// The pause after each step, in which Redis serves other clients.
const PAUSE: Duration = Duration::from_millis(2);

/// The actor.
pub struct Cleaner {
    chain: CollectorServices,
}

impl Cleaner {
    /// A cleaner of the followed markets.
    #[must_use]
    pub fn new(chain: CollectorServices) -> Self {
        Self { chain }
    }

    /// One run over all markets. It does nothing before a node has reported the chain id, which is part of the keys' names.
    async fn run_once(&self, cx: &Context) -> Result<(), StoreError> {
        let Some(store) = self.chain.chain_store() else { return Ok(()) };
        let mut session = self.chain.services.store.session(CLEAN_UP).await?;
        let (mut markers, mut submissions) = (0, 0);
        for markets in store.markets().chunks(SLICE) {
            let cleaned = store.clean(&mut session, markets).await?;
            self.chain.services.note_unwritten(CLEAN_UP, &cleaned.faults);
            // After each slice: a run that is cancelled has removed these all the same.
            self.chain.progress.with(|state| {
                state.cleaned.markers += cleaned.markers;
                state.cleaned.submissions += cleaned.submissions;
            });
            markers += cleaned.markers;
            submissions += cleaned.submissions;
            cx.clock().sleep(PAUSE).await;
            cx.progress();
        }
        tracing::info!(markers, submissions, "removed the markers and submissions of past epochs");
        Ok(())
    }
}

impl Worker for Cleaner {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let (services, every) = (&self.chain.services, self.chain.settings.clean_every);
        // Not at the start: a crash loop would repeat it with every restart.
        run_periodically(cx, services, [every; 2], CLEANER, &CLEANER_POINTS, || self.run_once(cx)).await
    }
}
