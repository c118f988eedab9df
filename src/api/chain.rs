//! Asks the contract for eligible counts that Redis lacks, through the nodes of the collector. The clients of the read API must not use
//! up what the collector may ask of its nodes: few questions are asked at a time, and for a short time only.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use domain::chain::ContractAddress;
use evm::{Moment, Source};
use futures_util::future::join_all;
use store_collector::DayCounts;
use tokio::{sync::Semaphore, time::Instant};

/// How many questions are asked at a time, for all clients together.
const AT_ONCE: usize = 4;
/// How long the questions of one request may take.
const WITHIN: Duration = Duration::from_secs(3);

/// The nodes that the collector asks; none while it does not run. Clones share them.
#[derive(Clone)]
pub struct NodePool {
    source: Arc<RwLock<Option<Source>>>,
    questions: Arc<Semaphore>,
}

impl Default for NodePool {
    fn default() -> Self {
        Self { source: Arc::default(), questions: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl NodePool {
    /// Replaces the nodes, as a reload of the collector does.
    pub(crate) fn set(&self, source: Source) {
        *self.source.write().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    /// Asks for the eligible counts that are missing. Those that no node gives in time stay missing.
    pub(super) async fn complete(&self, market: ContractAddress, slot: u64, counts: &mut [DayCounts]) {
        let source = self.source.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(source) = source else { return };
        let deadline = Instant::now() + WITHIN;
        let missing = counts.iter_mut().filter(|count| count.eligible.is_none());
        let asked = missing.map(|count| {
            let source = &source;
            async move {
                // At the deadline those that still wait are given up.
                let permit = tokio::time::timeout_at(deadline, self.questions.acquire()).await;
                let Ok(Ok(_permit)) = permit else { return };
                let views = source.views(Moment::Latest, deadline);
                count.eligible = views.slot_submission_count(market, slot, count.day).await.ok();
            }
        });
        join_all(asked).await;
    }
}
