//! The logs of one block, by its hash, verified: an empty answer where the block's bloom filter leaves room for events
//! is checked with another node, and with the block's receipts.

use alloy_core::primitives::B256;
use domain::chain::MarketEvent;
use retry::table::LOGS_MISSING;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::counters::FaultKind;
use crate::error::ChainError;
use crate::events::{BadLog, TOPICS};
use crate::json_rpc::{Call, Fault};
use crate::pool::{Failure, Want, typed};
use crate::source::{Block, Source};
use crate::wire::{Header, RawLog, Receipt};

impl Source {
    /// A block with its events.
    pub(crate) async fn read_block(&self, header: &Header, deadline: Instant) -> Result<Block, ChainError> {
        let (logs, node) = self.logs_of(header, None, deadline).await?;
        let (events, bad_logs) = self.decode(&logs);
        if logs.is_empty() && self.decoder.may_be_in(header) {
            return self.verify_empty(header, node, deadline).await;
        }
        if !bad_logs.is_empty() && self.pool.has_other(node) {
            return self.verify_bad(header, logs, node, deadline).await;
        }
        Ok(self.block(header, events, bad_logs))
    }

    /// Asked again, of another node where there is one, and of the block's receipts. A bloom filter can be mistaken,
    /// so a block may stay empty; a node that left out what the block has is set aside.
    async fn verify_empty(
        &self,
        header: &Header,
        node: usize,
        deadline: Instant,
    ) -> Result<Block, ChainError> {
        let found = 'search: {
            for attempt in 0..LOGS_MISSING.attempts {
                if attempt > 0 || !self.pool.has_other(node) {
                    let pause = LOGS_MISSING.pause(attempt.saturating_sub(1), retry::random());
                    sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
                }
                let (logs, _) = self.logs_of(header, Some(node), deadline).await?;
                if !logs.is_empty() {
                    break 'search logs;
                }
                if let Some(logs) = self.logs_of_receipts(header, node, deadline).await? {
                    break 'search logs;
                }
            }
            tracing::warn!(
                block = %header.block().number, node = %self.pool.node_name(node),
                "a block is taken as empty: its bloom filter leaves room for events, but neither logs nor receipts have any"
            );
            Vec::new()
        };
        if !found.is_empty() {
            let number = header.block().number;
            let detail = format!("it left out {} logs of block {number}", found.len());
            self.pool.fault(node, &Fault::new(FaultKind::MissingLogs, detail));
        }
        let (events, bad_logs) = self.decode(&found);
        Ok(self.block(header, events, bad_logs))
    }

    /// What can't be read may be the node's fault: where another node has other logs that can be, it is.
    async fn verify_bad(
        &self,
        header: &Header,
        logs: Vec<RawLog>,
        node: usize,
        deadline: Instant,
    ) -> Result<Block, ChainError> {
        let (events, bad_logs) = self.decode(&logs);
        let (other_logs, other) = self.logs_of(header, Some(node), deadline).await?;
        let (other_events, other_bad) = self.decode(&other_logs);
        if other == node || other_logs == logs || other_bad.len() >= bad_logs.len() {
            return Ok(self.block(header, events, bad_logs));
        }
        let detail = format!("{}; another node has that log in order", bad_logs[0]);
        self.pool.fault(node, &Fault::new(FaultKind::Malformed, detail));
        Ok(self.block(header, other_events, other_bad))
    }

    async fn logs_of(
        &self,
        header: &Header,
        other_than: Option<usize>,
        deadline: Instant,
    ) -> Result<(Vec<RawLog>, usize), ChainError> {
        let block = header.block();
        let filter =
            json!({ "blockHash": block.hash, "address": self.decoder.contracts(), "topics": [TOPICS] });
        let want = Want { block: Some(block.number), hash: Some(block.hash), other_than, ..Want::default() };
        let read = |results: &[&RawValue]| {
            let logs = self.typed_logs(results[0])?;
            of_block(&logs, header)?;
            Ok(logs)
        };
        self.pool.ask(&[Call::new("eth_getLogs", json!([filter]))], want, deadline, read).await
    }

    /// Our logs in the receipts of a block; `None` where the nodes give no receipts.
    async fn logs_of_receipts(
        &self,
        header: &Header,
        node: usize,
        deadline: Instant,
    ) -> Result<Option<Vec<RawLog>>, ChainError> {
        let hash = header.block().hash;
        // A range, so that an answer that is too large is an error and not the node's fault.
        let want = Want { hash: Some(hash), other_than: Some(node), range: true, ..Want::default() };
        let contracts = self.decoder.contracts();
        let read = |results: &[&RawValue]| {
            let receipts: Option<Vec<Receipt>> = typed(results[0])?;
            let receipts =
                receipts.ok_or_else(|| Fault::new(FaultKind::Pruned, "it has no receipts of that block"))?;
            let logs = receipts.into_iter().flat_map(|receipt| receipt.logs);
            let ours = |log: &RawLog| {
                contracts.contains(&log.contract()) && log.topics.first().is_some_and(|t| TOPICS.contains(t))
            };
            let logs: Vec<RawLog> = logs.filter(ours).collect();
            of_block(&logs, header)?;
            Ok(logs)
        };
        let call = Call::new("eth_getBlockReceipts", json!([hash]));
        match self.pool.ask(&[call], want, deadline, read).await {
            Ok((logs, _)) => Ok(Some(logs)),
            Err(ChainError::Rejected { .. } | ChainError::RangeTooLarge { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Logs of the contracts that were asked for, and no others.
    pub(crate) fn typed_logs(&self, result: &RawValue) -> Result<Vec<RawLog>, Failure> {
        let logs: Vec<RawLog> = typed(result)?;
        let contracts = self.decoder.contracts();
        if logs.iter().any(|log| log.removed || !contracts.contains(&log.contract())) {
            return Err(Fault::new(FaultKind::Inconsistent, "it gave logs that were not asked for").into());
        }
        let place = |log: &RawLog| (log.block_number, log.log_index);
        if !logs.is_sorted_by(|one, next| place(one) < place(next)) {
            return Err(Fault::new(FaultKind::Inconsistent, "its logs are out of order").into());
        }
        Ok(logs)
    }

    /// Events, and logs that can't be read, which are counted.
    pub(crate) fn decode(&self, logs: &[RawLog]) -> (Vec<MarketEvent>, Vec<BadLog>) {
        let (mut events, mut bad_logs) = (Vec::new(), Vec::new());
        for log in logs {
            match self.decoder.decode(log) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => self.counters().add_ignored_log(),
                Err(bad) => bad_logs.push(bad),
            }
        }
        (events, bad_logs)
    }

    /// The end of reading a block: what can't be read is counted once.
    pub(crate) fn block(&self, header: &Header, events: Vec<MarketEvent>, bad_logs: Vec<BadLog>) -> Block {
        self.note_bad(&bad_logs);
        Block { at: header.block(), events, bad_logs }
    }

    pub(crate) fn note_bad(&self, bad_logs: &[BadLog]) {
        for bad in bad_logs {
            self.counters().add_log_fault(bad.kind);
            tracing::warn!("{bad}");
        }
    }
}

fn of_block(logs: &[RawLog], header: &Header) -> Result<(), Failure> {
    let hash = B256::from(header.block().hash.0);
    let is_of = |log: &RawLog| log.block_hash == hash && log.block_number == header.number;
    if logs.iter().all(is_of) {
        return Ok(());
    }
    Err(Fault::new(FaultKind::Inconsistent, "it gave logs of another block").into())
}
