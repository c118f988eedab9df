//! The cleaner: removes markers of epochs that are over, and submissions of epochs long past, of the followed markets.
//!
//! Touches those keys in Redis alone. It works in slices with a pause between them, so that no other client of Redis waits
//! for it, and may be stopped or crash between any two: the next round begins anew.

use std::time::Duration;

use retry::table::CLEANER;
use store_collector::operations::CLEAN_UP;
use store_redis::StoreError;
use supervision::{Actor, Context, Failure, NoMessage};

use super::{FollowServices, points::CLEANER_POINTS};
use crate::env::periodic::keep_making;

/// How many keys are looked at in one step.
const SLICE: usize = 500;
/// The pause after each step.
const PAUSE: Duration = Duration::from_millis(2);

/// The actor.
pub struct Cleaner {
    chain: FollowServices,
}

impl Cleaner {
    /// A cleaner of the followed markets.
    #[must_use]
    pub fn new(chain: FollowServices) -> Self {
        Self { chain }
    }

    /// One round over all keys, once the nodes have told which chain it is.
    async fn round(&self, cx: &Context<NoMessage>) -> Result<(), StoreError> {
        let Some(store) = self.chain.of_chain() else { return Ok(()) };
        let mut session = self.chain.services.store.session(CLEAN_UP).await?;
        let (mut cursor, mut markers, mut submissions) = (0, 0, 0);
        loop {
            let cleaned = store.clean(&mut session, cursor, SLICE).await?;
            self.chain.services.note_unwritten(CLEAN_UP, &cleaned.faults);
            self.chain.progress.with(|state| {
                state.cleaned.markers += cleaned.markers;
                state.cleaned.submissions += cleaned.submissions;
            });
            markers += cleaned.markers;
            submissions += cleaned.submissions;
            cursor = cleaned.cursor;
            if cursor == 0 {
                tracing::info!(markers, submissions, "removed the markers and submissions of past epochs");
                return Ok(());
            }
            cx.clock().sleep(PAUSE).await;
            cx.progress();
        }
    }
}

impl Actor for Cleaner {
    type Message = NoMessage;

    async fn run(&mut self, cx: &mut Context<NoMessage>) -> Result<(), Failure> {
        let (services, every) = (&self.chain.services, self.chain.settings.clean_every);
        keep_making(cx, services, every, CLEANER, &CLEANER_POINTS, || self.round(cx)).await
    }
}
