//! The writing of what the nodes' answers change of the chain state.

use domain::chain::ContractAddress;
use domain::collector::{ChainState, FinalizedBatch, Note, Rules, Transition};
use store_collector::{Outcome, Snapshot, operations::MOVE_CHECKPOINT};

use super::{BlockFetcher, Open};
use crate::{
    collector::{MarketEdge, notifier::Notice, points, step_error::Cause},
    env::messages::{BatchFinalized, Wake},
};

/// How often a change is computed anew from a state that others changed meanwhile.
const ATTEMPTS: usize = 20;

impl BlockFetcher {
    /// Writes a change of the state that was read, which is computed from it and the time of Redis in Unix seconds. Returns whether it
    /// was written; if not, another tracker was ahead.
    ///
    /// Hand-overs change the state too, and may follow each other faster than nodes answer. So the change is computed anew, from the
    /// same answers, as long as no other tracker has accepted or dropped blocks or added markets; meanwhile our preparers wait.
    pub(super) async fn write(
        &mut self,
        open: &mut Open,
        mut change: impl FnMut(ChainState, u64, &Rules) -> Result<Transition, Cause>,
    ) -> Result<bool, Cause> {
        let told = |state: &ChainState| (state.checkpoint, state.newcomers().collect::<Vec<_>>());
        let before = told(&open.state);
        let (hand_overs, mut turn) = (self.chain.hand_overs.clone(), None);
        for _ in 0..ATTEMPTS {
            let after = change(std::mem::take(&mut open.state), open.now, &self.rules)?;
            // Most polls of an idle chain change nothing.
            if after.effects.is_empty() || self.commit(open, after).await? {
                return Ok(true);
            }
            if turn.is_none() {
                turn = Some(hand_overs.write().await);
            }
            let Snapshot { state, basis, now } = open.session.load().await?;
            (open.state, open.basis, open.now) = (state, basis, now);
            if told(&open.state) != before {
                break;
            }
        }
        Ok(false)
    }

    /// Writes a transition of the state that was read. Returns whether it was written; if not, another tracker was ahead.
    async fn commit(&mut self, open: &mut Open, after: Transition) -> Result<bool, Cause> {
        points::FETCHER_BEFORE_WRITE.pass().await?;
        let outcome = open.session.commit(&open.basis, &after).await?;
        points::FETCHER_AFTER_WRITE.pass().await?;
        let Outcome::Done { faults } = outcome else {
            // Another fetcher, or a preparer that ended an epoch meanwhile. The next step reads the state again.
            self.chain.progress.with(|state| state.conflicts += 1);
            tracing::debug!("another tracker was ahead; the state is read again");
            return Ok(false);
        };
        self.chain.services.note_unwritten(MOVE_CHECKPOINT, &faults);
        self.chain.progress.followed(&after.state, self.chain.store.markets());
        drop(self.seen.update(self.chain.store.markets(), &after.state));
        // Only after the write: an actor that is woken earlier would find nothing.
        self.tell(after.notes);
        points::FETCHER_AFTER_CHECKPOINT.pass().await?;
        Ok(true)
    }

    /// Wakes batch preparers and epoch trackers, and sends notices.
    fn tell(&self, notes: Vec<Note>) {
        for note in notes {
            match &note {
                Note::Closed { market, .. } => self.wake(&self.preparers, market),
                Note::Released { market, .. } | Note::Measured { market, .. } => {
                    self.wake(&self.epoch_trackers, market);
                }
                Note::Finalized { batch: FinalizedBatch { market, epoch, .. }, .. } => {
                    let message = BatchFinalized { market: *market, epoch: *epoch };
                    // The edge drops the oldest message: the index is best effort.
                    let _ = self.finalized.as_ref().map(|edge| edge.try_send(message));
                }
                // Counted here and not by a preparer, which never sees an epoch that had expired before its release was read.
                Note::Expired { market, .. } => {
                    self.chain.progress.with(|all| all.prepared.entry(*market).or_default().expired += 1);
                }
                _ => {}
            }
            let notice = Notice::of(&note);
            self.chain.progress.with(|state| *state.notes.entry(notice.kind.clone()).or_default() += 1);
            let _ = self.chain.notifier.try_send(notice);
        }
    }

    pub(super) fn wake(&self, edges: &[MarketEdge], market: &ContractAddress) {
        for edge in edges.iter().filter(|edge| edge.market == *market) {
            // A refusal needs no handling: the actor is stopped, or messages that wake it already wait.
            drop(edge.actor.try_send(Wake::default()));
        }
    }
}
