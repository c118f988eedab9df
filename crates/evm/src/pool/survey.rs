//! A look at all nodes: which chain they follow, and how far they are. Runs beside the questions, one at a time.

use std::sync::atomic::Ordering;

use alloy_core::primitives::U64;
use futures_util::future::join_all;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

use super::{Failure, Pool, Want, typed};
use crate::counters::FaultKind;
use crate::error::ChainError;
use crate::json_rpc::{Call, Fault};
use crate::wire::Header;

/// A node's chain is asked again after this.
const VERIFIED_FOR: Duration = Duration::from_secs(60);

impl Pool {
    /// The head, of a node that does not lag; with the node.
    pub(crate) async fn head(&self, deadline: Instant) -> Result<(Header, usize), ChainError> {
        self.survey_when_due();
        loop {
            let want = Want { leading: true, ..Want::default() };
            let (header, index) = self.ask(&[latest()], want, deadline, read_header).await?;
            if !self.note_head(index, header.number.to()) {
                return Ok((header, index));
            }
            // It is passed over from now on, until it has caught up.
            self.fault(index, &Fault::new(FaultKind::Lagging, "it is behind the others"));
        }
    }

    /// Looks at all nodes that are not left alone, unless that was done lately or is being done.
    pub(super) fn survey_when_due(&self) {
        let mut last = self.inner.last_survey.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= self.inner.config.survey_interval);
        if !due || self.inner.surveying.swap(true, Ordering::AcqRel) {
            return;
        }
        *last = Some(Instant::now());
        // It ends by itself: each request has its timeout.
        let pool = self.clone();
        tokio::spawn(async move {
            join_all((0..pool.inner.nodes.len()).map(|index| pool.look_at(index))).await;
            pool.inner.surveying.store(false, Ordering::Release);
        });
    }

    async fn look_at(&self, index: usize) {
        let now = Instant::now();
        let node = &self.inner.nodes[index];
        if node.state().not_before.is_some_and(|until| until > now) {
            return;
        }
        let deadline = now + 2 * self.inner.config.request_timeout;
        let look = async {
            self.verify_chain(index, deadline).await?;
            self.exchange(index, &[latest()], false, deadline, &read_header).await
        };
        match look.await {
            Ok(header) => {
                node.answered(now);
                let lagged = node.state().lagging;
                if self.note_head(index, header.number.to()) && !lagged {
                    self.fault(index, &Fault::new(FaultKind::Lagging, "it is behind the others"));
                    tracing::warn!(node = %node.url, "a node is behind the others, and is not asked until it has caught up");
                }
            }
            Err(Failure::Fault(fault)) => self.fault(index, &fault),
            Err(Failure::End(error)) => {
                self.fault(index, &Fault::new(FaultKind::Server, errors::one_line(&error)));
            }
        }
    }

    /// Asks a node for its chain, unless it said so lately. The first that answers decides where none is configured.
    pub(super) async fn verify_chain(&self, index: usize, deadline: Instant) -> Result<(), Failure> {
        let node = &self.inner.nodes[index];
        if node.state().verified.is_some_and(|at| at.elapsed() < VERIFIED_FOR) {
            return Ok(());
        }
        let call = Call::new("eth_chainId", json!([]));
        let read = |results: &[&serde_json::value::RawValue]| Ok(typed::<U64>(results[0])?.to::<u64>());
        let id = self.exchange(index, &[call], false, deadline, &read).await?;
        let first = self.inner.chain_id.compare_exchange(0, id, Ordering::AcqRel, Ordering::Acquire);
        let wanted = match first {
            Ok(_) => id,
            Err(_) => self.known_chain_id().unwrap_or(id),
        };
        if id != wanted {
            let detail = format!("it follows chain {id} instead of {wanted}");
            return Err(Fault::new(FaultKind::WrongChain, detail).into());
        }
        node.state().verified = Some(Instant::now());
        Ok(())
    }
}

fn latest() -> Call {
    Call::new("eth_getBlockByNumber", json!(["latest", false]))
}

fn read_header(results: &[&serde_json::value::RawValue]) -> Result<Header, Failure> {
    let header: Option<Header> = typed(results[0])?;
    let none = || Fault::new(FaultKind::Inconsistent, "it has no latest block");
    Ok(header.ok_or_else(none)?)
}
