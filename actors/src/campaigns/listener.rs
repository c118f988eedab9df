//! The listener's actor: hears of changed runs from the database itself, where the migration was run, and makes the monitor read them.
//!
//! It touches the database. Promise: while it does not hear, the monitor polls; once it hears again, the monitor reads all runs.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use retry::{Attempts, table::CAMPAIGN_MONITOR};
use store_campaigns::{Heard, Listener, operations::LISTEN};
use supervision::{Context, Failure, Worker};

use super::shared::Campaigns;

/// How often it is looked whether the migration is there.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How often it is looked whether the listener hears.
const JUDGE_EVERY: Duration = Duration::from_secs(1);

/// The actor.
pub struct RunListener(Campaigns);

impl RunListener {
    /// The listener of these campaigns.
    #[must_use]
    pub fn new(campaigns: Campaigns) -> Self {
        Self(campaigns)
    }

    /// Listens until it is time to look at the migration again.
    async fn listen(&self, cx: &Context, listener: &mut Listener) {
        let shared = &self.0.0;
        let (clock, state) = (cx.clock(), listener.state());
        let until = clock.now() + LOOK_EVERY;
        while !cx.is_stopping() && clock.now() < until {
            let stop = cx.stop_token();
            // Boxed, here and below: the futures of connections are large.
            let heard = Box::pin(listener.next());
            let next = stop.run_until_cancelled(clock.timeout(JUDGE_EVERY, heard));
            match cx.idle(next).await {
                Some(Some(Heard::Run(run))) => shared.heard.run(run),
                Some(Some(Heard::Connected)) => shared.heard.all(),
                Some(None) | None => {}
            }
            let now = state.borrow().clone();
            let hears = now.hears(tokio::time::Instant::now());
            if shared.counts.is_listening.swap(hears, Relaxed) != hears {
                // It looks seldom while it hears, and often while it does not.
                shared.heard.all();
                tracing::info!(hears, "campaign listener: whether changes are heard of has changed");
            }
            if let Some(reason) = now.reason.filter(|_| !hears) {
                shared.services.warn(LISTEN, shared.database.object(), &reason);
            }
            shared.look.notify_one();
            cx.progress();
        }
    }
}

impl Worker for RunListener {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let shared = &self.0.0;
        let mut listener = Listener::new(shared.database.clone());
        let mut attempts = Attempts::new(CAMPAIGN_MONITOR);
        while !cx.is_stopping() {
            let pause = match cx.idle(shared.database.migration()).await {
                Ok(state) if state.notifies() => {
                    attempts.succeeded();
                    Box::pin(self.listen(cx, &mut listener)).await;
                    continue;
                }
                Ok(_) => LOOK_EVERY,
                Err(error) => {
                    shared.services.report(&error);
                    attempts.failed()
                }
            };
            shared.counts.is_listening.store(false, Relaxed);
            cx.pause(cx.clock().sleep(pause)).await;
        }
        shared.counts.is_listening.store(false, Relaxed);
        Ok(())
    }
}
