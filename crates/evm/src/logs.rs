//! Reads the logs of one block by its hash, and verifies them: an empty answer for a block whose bloom filter allows events
//! is checked with another node, and with the block's receipts.

use alloy_core::primitives::B256;
use domain::chain::MarketEvent;
use retry::table::LOGS_MISSING;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::counters::FaultKind;
use crate::error::ChainError;
use crate::events::{BadLog, is_read, topics_of_events};
use crate::fault::Fault;
use crate::json_rpc::Call;
use crate::pool::{Failure, NodeRequirements, typed};
use crate::refusal::About;
use crate::source::{Block, Source};
use crate::wire::{Header, RawLog, Receipt};

impl Source {
    /// Reads a block's events.
    pub(crate) async fn read_block(&self, header: &Header, deadline: Instant) -> Result<Block, ChainError> {
        let (logs, node) = self.logs_of(header, None, deadline).await?;
        let (events, bad_logs) = self.decode(&logs);
        if logs.is_empty() && self.decoder.may_have_events_in(header) {
            return self.verify_empty(header, node, deadline).await;
        }
        // A single node can't be checked, and a bad log must not stop the chain.
        if !bad_logs.is_empty() && self.pool.has_other_usable(node) {
            return self.verify_bad(header, logs, node, deadline).await;
        }
        Ok(self.block(header, events, bad_logs))
    }

    /// Reads the logs again, from another node if there is one, and from the block's receipts. A bloom filter has false positives,
    /// so the block may turn out empty; a node that left out existing logs is set aside.
    async fn verify_empty(
        &self,
        header: &Header,
        node: usize,
        deadline: Instant,
    ) -> Result<Block, ChainError> {
        // A filter that allows nearly everything is no reason to search on: each block would cost a second.
        let attempts = if header.has_telling_bloom() { LOGS_MISSING.attempts } else { 1 };
        let found = 'search: {
            for attempt in 0..attempts {
                // A node that is asked again gets time first: it may have its logs a moment after the block.
                if attempt > 0 || (!self.pool.has_other_usable(node) && header.has_telling_bloom()) {
                    let pause = LOGS_MISSING.pause(attempt.saturating_sub(1), retry::random());
                    // Not past the deadline: the request below then reports it.
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
            // A false positive of the filter must not stop the chain, so the search ends.
            if header.has_telling_bloom()
                && let Some(suppressed) = self.lines.doubtful_blocks.should_log()
            {
                tracing::warn!(
                    block = %header.block().number, node = %self.pool.node_name(node),
                    suppressed = Some(suppressed).filter(|&lines| lines > 0),
                    "a block is accepted as empty: its bloom filter allows events, but neither logs nor receipts have any"
                );
            }
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

    /// Compares bad logs with those of another node. If the other node has different logs and fewer bad ones, the first node is at
    /// fault.
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
        // Equal logs on both nodes mean that the contract emitted them so.
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
        except: Option<usize>,
        deadline: Instant,
    ) -> Result<(Vec<RawLog>, usize), ChainError> {
        let block = header.block();
        let filter = json!({ "blockHash": block.hash, "address": self.decoder.contracts(), "topics": [topics_of_events()] });
        // By hash and not by number: a query by number may answer for a block of another branch.
        let want = NodeRequirements {
            block: Some(block.number),
            hash: Some(block.hash),
            except,
            ..NodeRequirements::default()
        };
        let read = |results: &[&RawValue]| {
            let logs = self.typed_logs(results[0])?;
            of_block(&logs, header)?;
            Ok(logs)
        };
        self.pool.ask(&[Call::new("eth_getLogs", json!([filter]))], want, deadline, read).await
    }

    /// The logs of our contracts and events in the receipts of a block; `None` if the nodes don't serve receipts.
    async fn logs_of_receipts(
        &self,
        header: &Header,
        node: usize,
        deadline: Instant,
    ) -> Result<Option<Vec<RawLog>>, ChainError> {
        let hash = header.block().hash;
        let want = NodeRequirements {
            hash: Some(hash),
            except: Some(node),
            about: About::Receipts,
            ..NodeRequirements::default()
        };
        let contracts = self.decoder.contracts();
        let read = |results: &[&RawValue]| {
            // `null` for a block that the node does not have.
            let receipts: Option<Vec<Receipt>> = typed(results[0])?;
            let receipts =
                receipts.ok_or_else(|| Fault::new(FaultKind::Pruned, "it has no receipts of that block"))?;
            let logs = receipts.into_iter().flat_map(|receipt| receipt.logs);
            let ours =
                |log: &RawLog| contracts.contains(&log.contract()) && log.topics.first().is_some_and(is_read);
            let logs: Vec<RawLog> = logs.filter(ours).collect();
            of_block(&logs, header)?;
            Ok(logs)
        };
        let call = Call::new("eth_getBlockReceipts", json!([hash]));
        match self.pool.ask(&[call], want, deadline, read).await {
            Ok((logs, _)) => Ok(Some(logs)),
            // `eth_getBlockReceipts` is no part of the older interface, and some providers refuse it.
            Err(ChainError::Rejected { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Parses logs, and checks that they are of the requested contracts and in order.
    pub(crate) fn typed_logs(&self, result: &RawValue) -> Result<Vec<RawLog>, Failure> {
        let logs: Vec<RawLog> = typed(result)?;
        let contracts = self.decoder.contracts();
        if logs.iter().any(|log| log.removed || !contracts.contains(&log.contract())) {
            return Err(Fault::new(FaultKind::Inconsistent, "it gave logs that were not asked for").into());
        }
        // Strictly ascending, which also excludes duplicates.
        let place = |log: &RawLog| (log.block_number, log.log_index);
        if !logs.is_sorted_by(|one, next| place(one) < place(next)) {
            return Err(Fault::new(FaultKind::Inconsistent, "its logs are out of order").into());
        }
        Ok(logs)
    }

    /// Decodes logs to events and bad logs. Only ignored logs are counted here, since callers may decode one block twice.
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

    /// Completes a block, and counts its bad logs: here, once a block, and not at each decoding.
    pub(crate) fn block(&self, header: &Header, events: Vec<MarketEvent>, bad_logs: Vec<BadLog>) -> Block {
        self.report_bad_logs(&bad_logs);
        Block { at: header.block(), events, bad_logs }
    }

    pub(crate) fn report_bad_logs(&self, bad_logs: &[BadLog]) {
        for bad in bad_logs {
            self.counters().add_log_fault(bad.kind);
            // Everybody can make a contract emit logs, and each would be a line.
            if let Some(suppressed) = self.lines.bad_logs.should_log() {
                tracing::warn!(suppressed = Some(suppressed).filter(|&lines| lines > 0), "{bad}");
            }
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
