//! Reads old blocks, many at once: their events by ranges of logs, in sizes that the node answers, with or without the headers
//! of all blocks. Parts come in order; the first block of a part is the child of the given one, or no part is returned.

use std::collections::BTreeMap;

use alloy_core::primitives::B256;
use domain::chain::{BlockRef, Hash, MarketEvent};
use futures_util::future::try_join;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::counters::FaultKind;
use crate::error::ChainError;
use crate::events::{BadLog, topics_of_events};
use crate::json_rpc::{Call, Fault};
use crate::log_range::LogRangeSize;
use crate::pool::{Failure, NodeRequirements};
use crate::source::{Block, Source, by_number, read_header};
use crate::wire::{Header, RawLog};

/// The logs of a range, and the headers of its ends.
struct Logs {
    logs: Vec<RawLog>,
    first: Header,
    last: Header,
}

/// The limit of blocks in one part with headers, which are held in memory together.
const MOST_BLOCKS: u64 = 500;

/// Reads a range of blocks, part by part.
#[derive(Debug)]
pub struct Range {
    source: Source,
    to: u64,
    log_range: LogRangeSize,
}

/// The result of one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// The next part.
    Part(T),
    /// The next block is no child of the given one: call [`Source::next`], which finds the reorganisation.
    Mismatch,
    /// The end of the range is reached.
    Done,
}

/// The events of consecutive blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsPart {
    /// The first block, which is the child of the given one.
    pub from: u64,
    /// The last block.
    pub last: BlockRef,
    /// The blocks with events or bad logs; the others have none.
    pub blocks: Vec<LoggedBlock>,
}

/// A block of which only the logs were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedBlock {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
    /// The events of configured markets, in the order of their logs.
    pub events: Vec<MarketEvent>,
    /// Logs of configured markets that can't be decoded.
    pub bad_logs: Vec<BadLog>,
}

impl Source {
    /// A range up to block `to`, which should lie some blocks behind the head, where reorganisations are rare.
    #[must_use]
    pub fn range(&self, to: u64) -> Range {
        Range { source: self.clone(), to, log_range: LogRangeSize::new(self.pool.config().max_log_range) }
    }
}

impl Range {
    /// Reads the events after `after`, in as large a part as the nodes answer. Without the headers of all blocks (and their bloom
    /// filters) only another node can verify an empty answer, and does if there is one.
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline.
    pub async fn events(
        &mut self,
        after: &BlockRef,
        deadline: Instant,
    ) -> Result<Step<EventsPart>, ChainError> {
        if after.number >= self.to {
            return Ok(Step::Done);
        }
        let (source, from) = (&self.source, after.number + 1);
        let Logs { logs, first, last } = loop {
            let end = *self.log_range.range(from, self.to).end();
            let read = source.logs_between(from, end, deadline).await;
            if let Some(read) = fitting(&mut self.log_range, end - from + 1, read) {
                break read?;
            }
        };
        // Links within the part are unknown without headers. The hash of the last block is known, and the next part must continue it.
        if first.block().parent != after.hash {
            return Ok(Step::Mismatch);
        }
        let blocks = source.logged_blocks(&logs);
        Ok(Step::Part(EventsPart { from, last: last.block(), blocks }))
    }

    /// Reads the blocks after `after`, each with its header and its events, verified like those of [`Source::next`].
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline.
    pub async fn blocks(
        &mut self,
        after: &BlockRef,
        deadline: Instant,
    ) -> Result<Step<Vec<Block>>, ChainError> {
        if after.number >= self.to {
            return Ok(Step::Done);
        }
        let (source, from) = (&self.source, after.number + 1);
        let to = self.to.min(after.number + MOST_BLOCKS);
        let (Logs { logs, .. }, headers) = loop {
            let end = *self.log_range.range(from, to).end();
            let logs = source.logs_between(from, end, deadline);
            // Both at once: neither depends on the other, and `assemble` compares their hashes.
            let read = try_join(logs, source.headers(from, end, deadline)).await;
            if let Some(read) = fitting(&mut self.log_range, end - from + 1, read) {
                break read?;
            }
        };
        if headers.first().is_none_or(|first| first.block().parent != after.hash) {
            return Ok(Step::Mismatch);
        }
        source.assemble(&headers, &logs, deadline).await.map(Step::Part)
    }
}

/// Adapts the size of the next query to a result; `None` if the query must be repeated with fewer blocks.
fn fitting<T>(
    log_range: &mut LogRangeSize,
    blocks: u64,
    read: Result<T, ChainError>,
) -> Option<Result<T, ChainError>> {
    match &read {
        Err(ChainError::RangeTooLarge { .. }) => {
            log_range.too_large(blocks);
            return None;
        }
        Ok(_) => log_range.fitted(blocks),
        // Other errors say nothing about the size.
        Err(_) => {}
    }
    Some(read)
}

impl Source {
    /// The logs of a range, compared between two nodes if there are two.
    async fn logs_between(&self, from: u64, to: u64, deadline: Instant) -> Result<Logs, ChainError> {
        let (mut found, node) = self.logs_in(from, to, None, deadline).await?;
        if !self.pool.has_other_usable(node) {
            return Ok(found);
        }
        let (others, other) = self.logs_in(from, to, Some(node), deadline).await?;
        if other == node || others.logs == found.logs {
            return Ok(found);
        }
        // The node with fewer logs left some out. If a reorganisation came between instead, the caller's comparison of hashes finds
        // it.
        let mut lacking = other;
        if others.logs.len() > found.logs.len() {
            (found, lacking) = (others, node);
        }
        let detail = format!("it left out logs of the blocks {from} to {to} that another node has");
        self.pool.fault(lacking, &Fault::new(FaultKind::MissingLogs, detail));
        Ok(found)
    }

    /// Reads the logs of a range, and the headers of both ends in the same batch: a node that has not reached `to` answers a query
    /// for logs with those that it has, and without an error.
    async fn logs_in(
        &self,
        from: u64,
        to: u64,
        except: Option<usize>,
        deadline: Instant,
    ) -> Result<(Logs, usize), ChainError> {
        let filter = json!({
            "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}"),
            "address": self.decoder.contracts(), "topics": [topics_of_events()],
        });
        let want =
            NodeRequirements { block: Some(to), range: from < to, except, ..NodeRequirements::default() };
        // `range` is false for one block: it can't be divided, so a refusal is the node's fault and another node is asked.
        let read = |results: &[&RawValue]| {
            let header = |result: &RawValue, number| {
                let lacks = || Fault::new(FaultKind::Pruned, format!("it lacks block {number}"));
                Ok::<Header, Failure>(read_header(result, number)?.ok_or_else(lacks)?)
            };
            let (first, last) = (header(results[1], from)?, header(results[2], to)?);
            let logs = self.typed_logs(results[0])?;
            let within = |log: &RawLog| (from..=to).contains(&log.block_number.to::<u64>());
            // A load balancer may answer the parts of a batch from different servers; the hashes show it.
            let known = [&first, &last].map(|header| (header.number.to::<u64>(), header.hash));
            if !logs.iter().all(within) || !one_hash_a_block(&logs) || !agree(&logs, &known) {
                let detail = "its logs do not fit its blocks";
                return Err(Fault::new(FaultKind::Inconsistent, detail).into());
            }
            Ok(Logs { logs, first, last })
        };
        let calls = [Call::new("eth_getLogs", json!([filter])), by_number(from), by_number(to)];
        self.pool.ask(&calls, want, deadline, read).await
    }

    fn logged_blocks(&self, logs: &[RawLog]) -> Vec<LoggedBlock> {
        // `typed_logs` has checked that logs are in order, so those of one block are adjacent.
        let mut blocks = Vec::new();
        for logs in logs.chunk_by(|one, next| one.block_number == next.block_number) {
            let (events, bad_logs) = self.decode(logs);
            self.report_bad_logs(&bad_logs);
            if !events.is_empty() || !bad_logs.is_empty() {
                let (number, hash) = (logs[0].block_number.to(), Hash(logs[0].block_hash.0));
                blocks.push(LoggedBlock { number, hash, events, bad_logs });
            }
        }
        blocks
    }

    /// Joins headers and logs to blocks. A block is read by itself if its logs have another hash, can't be decoded, or are missing
    /// although its bloom filter allows events.
    async fn assemble(
        &self,
        headers: &[Header],
        logs: &[RawLog],
        deadline: Instant,
    ) -> Result<Vec<Block>, ChainError> {
        let by_block: BTreeMap<u64, &[RawLog]> = logs
            .chunk_by(|one, next| one.block_number == next.block_number)
            .map(|logs| (logs[0].block_number.to(), logs))
            .collect();
        let mut blocks = Vec::with_capacity(headers.len());
        for header in headers {
            let logs = by_block.get(&header.number.to()).copied().unwrap_or_default();
            let doubtful = match logs {
                [] => self.decoder.may_have_events_in(header),
                [log, ..] => log.block_hash != header.hash,
            };
            let decoded = if doubtful { None } else { Some(self.decode(logs)) };
            match decoded {
                Some((events, bad_logs)) if bad_logs.is_empty() => {
                    blocks.push(self.block(header, events, bad_logs));
                }
                _ => match self.read_block(header, deadline).await {
                    Ok(block) => blocks.push(block),
                    // The block was dropped meanwhile, and with it the rest of the part; those before it are still good.
                    Err(ChainError::BlockGone { .. }) if !blocks.is_empty() => break,
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(blocks)
    }
}

fn one_hash_a_block(logs: &[RawLog]) -> bool {
    let same = |logs: &[RawLog]| logs.iter().all(|log| log.block_hash == logs[0].block_hash);
    logs.chunk_by(|one, next| one.block_number == next.block_number).all(same)
}

/// Whether the logs of the known blocks have their hashes.
fn agree(logs: &[RawLog], known: &[(u64, B256)]) -> bool {
    logs.iter().all(|log| {
        known.iter().all(|(number, hash)| log.block_number.to::<u64>() != *number || log.block_hash == *hash)
    })
}
