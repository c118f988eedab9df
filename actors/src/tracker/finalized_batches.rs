//! The finalized batches: moves submissions to `finalized` in the state index, once the chain has finalised the batches of their epoch.
//!
//! It reads what the collector has stored of the epoch and the ids in the index, and sends events to the indexer. Promises:
//! - a message is acknowledged when its events are on their way to the indexer: a crash in between repeats them, which changes nothing;
//! - an outage of Redis is no crash and is charged to no message;
//! - nothing is guessed: the chain names a batch by its content id alone, so its submissions are final once all batches of the epoch
//!   are. An epoch whose submissions have expired meanwhile is left as it is, and reported.

use std::collections::BTreeSet;

use domain::{
    EpochId,
    collector::Submission,
    tracker::index::{IndexEvent, SubmissionParts, SubmissionState},
};
use retry::{Attempts, table::FINALIZED_BATCHES};
use store_collector::{ChainKeys, FinalizedEpoch, finalized_epoch, operations::READ_FINALIZED};
use store_redis::StoreError;
use store_tracker::Index;
use supervision::{Actor, Context, Failure, Inbox};

use super::{
    listener::{EVENTS_A_MESSAGE, IndexEdge},
    points,
    services::TrackerServices,
};
use crate::env::messages::BatchFinalized;

/// The ids of the index that are read at once.
const SLICE: usize = 1_000;

/// The actor.
pub struct FinalizedBatches {
    tracker: TrackerServices,
    keys: ChainKeys,
    edge: IndexEdge,
}

impl FinalizedBatches {
    /// An actor that reads the collector's keys and sends by this edge.
    #[must_use]
    pub fn new(tracker: TrackerServices, keys: ChainKeys, edge: IndexEdge) -> Self {
        Self { tracker, keys, edge }
    }

    /// Sends the events of one epoch.
    async fn one(
        &self,
        cx: &Context,
        BatchFinalized { market, epoch }: BatchFinalized,
    ) -> Result<(), StoreError> {
        let services = &self.tracker.services;
        let name = market.to_string();
        let Some(index) = self.edge.indexes().of_market(&name) else { return Ok(()) };
        let mut session = services.store.session(READ_FINALIZED).await?;
        let submissions = match finalized_epoch(&mut session, &self.keys, &market, epoch).await? {
            FinalizedEpoch::Whole(submissions, faults) => {
                services.note_unwritten(READ_FINALIZED, &faults);
                submissions
            }
            // The last batch brings the next message.
            FinalizedEpoch::Partly { .. } => return Ok(()),
            FinalizedEpoch::Unknown => {
                // One line for all epochs: each may have one.
                let condition = format!(
                    "the finalised submissions of epoch {epoch} are not known (any more); the state index keeps their states"
                );
                services.warn(READ_FINALIZED, &format!("market {name}"), &condition);
                return Ok(());
            }
        };
        let batched: BTreeSet<(&str, u64)> = submissions
            .iter()
            .filter_map(|key| Submission::parse(key, &market.lower(), epoch).ok())
            .map(|submission| (submission.project, submission.slot))
            .collect();
        let Ok(id) = EpochId::parse(&epoch.to_string()) else { return Ok(()) };
        let reader = Index::new(index.clone(), 0);
        let mut cursor = 0;
        loop {
            let (ids, next, faults) = reader.submissions_of(&mut session, &id, cursor, SLICE).await?;
            services.note_unwritten(READ_FINALIZED, &faults);
            let events: Vec<IndexEvent> =
                ids.into_iter().filter(|id| is_in(id, &batched)).map(finalized).collect();
            for events in events.chunks(EVENTS_A_MESSAGE) {
                self.edge.send(&index, cx.clock().unix().as_secs(), events.to_vec());
            }
            cx.progress();
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }
}

/// Whether the id of a submission names a project and a slot of these.
fn is_in(id: &str, batched: &BTreeSet<(&str, u64)>) -> bool {
    let Some(SubmissionParts { project, slot: Some(slot), .. }) = SubmissionParts::of(id) else {
        return false;
    };
    slot.parse().is_ok_and(|slot| batched.contains(&(project, slot)))
}

fn finalized(id: String) -> IndexEvent {
    IndexEvent::Submission { id, to: SubmissionState::Finalized }
}

impl Actor for FinalizedBatches {
    type Message = BatchFinalized;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<BatchFinalized>) -> Result<(), Failure> {
        let mut attempts = Attempts::new(FINALIZED_BATCHES);
        while let Some(message) = inbox.recv().await {
            points::FINALIZED_BATCHES_BEFORE_READ.pass().await?;
            let sent = tokio::select! {
                biased;
                // The message comes again after a restart of the actor; with the end of the process it is lost for the index.
                () = cx.stopped() => return Ok(()),
                sent = self.one(cx, *message) => sent,
            };
            points::FINALIZED_BATCHES_AFTER_SEND.pass().await?;
            match sent {
                Ok(()) => {
                    attempts.succeeded();
                    message.ack();
                }
                Err(error) => {
                    self.tracker.services.report(&error);
                    message.nack();
                    cx.pause(cx.clock().sleep(attempts.failed())).await;
                }
            }
        }
        Ok(())
    }
}
