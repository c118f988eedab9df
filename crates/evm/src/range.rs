//! Old blocks, many at once: their events by ranges of logs, in chunks that fit the node, with or without the headers
//! of all blocks. Parts come in order; each stands on the block given, or nothing is handed over.

use std::collections::BTreeMap;

use alloy_core::primitives::B256;
use domain::chain::{BlockRef, Hash, MarketEvent};
use futures_util::future::try_join;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::chunk::Chunk;
use crate::counters::FaultKind;
use crate::error::ChainError;
use crate::events::{BadLog, TOPICS};
use crate::json_rpc::{Call, Fault};
use crate::pool::{Failure, Want};
use crate::source::{Block, Source, by_number, read_header};
use crate::wire::{Header, RawLog};

/// The logs of a range, and the headers of its ends.
struct Logs {
    logs: Vec<RawLog>,
    first: Header,
    last: Header,
}

/// Headers of all blocks are asked for in pieces of at most this many blocks.
const MOST_BLOCKS: u64 = 500;

/// A range that is being read.
#[derive(Debug)]
pub struct Range {
    source: Source,
    to: u64,
    chunk: Chunk,
}

/// What a range gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// The next part.
    Part(T),
    /// The next block does not stand on the one given: ask for [`Source::next`], which tells of reorganisations.
    Mismatch,
    /// The range is read.
    Done,
}

/// The events of consecutive blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsPart {
    /// The first block covered, the child of the one given.
    pub from: u64,
    /// The last block covered.
    pub last: BlockRef,
    /// The blocks with events or bad logs; all others have none.
    pub blocks: Vec<LoggedBlock>,
}

/// A block of which only its logs are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedBlock {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
    /// The events of configured markets, in the order of their logs.
    pub events: Vec<MarketEvent>,
    /// Logs of such events that can't be read.
    pub bad_logs: Vec<BadLog>,
}

impl Source {
    /// Reads up to block `to`, which should lie some blocks behind the head.
    #[must_use]
    pub fn range(&self, to: u64) -> Range {
        Range { source: self.clone(), to, chunk: Chunk::new(self.pool.config().max_chunk) }
    }
}

impl Range {
    /// The events after `after`, in as large a part as the nodes give. Without the headers of all blocks an empty
    /// answer can be verified by another node only, which is done where there is one.
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
            let end = *self.chunk.range(from, self.to).end();
            let read = source.logs_between(from, end, deadline).await;
            if let Some(read) = fitting(&mut self.chunk, end - from + 1, read) {
                break read?;
            }
        };
        if first.block().parent != after.hash {
            return Ok(Step::Mismatch);
        }
        let blocks = source.logged_blocks(&logs);
        Ok(Step::Part(EventsPart { from, last: last.block(), blocks }))
    }

    /// The blocks after `after`, each with its header and its events, verified as [`Source::next`] does.
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
            let end = *self.chunk.range(from, to).end();
            let logs = source.logs_between(from, end, deadline);
            let read = try_join(logs, source.headers(from, end, deadline)).await;
            if let Some(read) = fitting(&mut self.chunk, end - from + 1, read) {
                break read?;
            }
        };
        if headers.first().is_none_or(|first| first.block().parent != after.hash) {
            return Ok(Step::Mismatch);
        }
        source.assemble(&headers, &logs, deadline).await.map(Step::Part)
    }
}

/// What came of asking for so many blocks, for the size of the next question; `None` where that was too many.
fn fitting<T>(chunk: &mut Chunk, blocks: u64, read: Result<T, ChainError>) -> Option<Result<T, ChainError>> {
    match &read {
        Err(ChainError::RangeTooLarge { .. }) => {
            chunk.too_large(blocks);
            return None;
        }
        Ok(_) => chunk.fitted(blocks),
        Err(_) => {}
    }
    Some(read)
}

impl Source {
    /// The logs of a range, as two nodes agree on them where there are two.
    async fn logs_between(&self, from: u64, to: u64, deadline: Instant) -> Result<Logs, ChainError> {
        let (mut found, node) = self.logs_in(from, to, None, deadline).await?;
        if !self.pool.has_other(node) {
            return Ok(found);
        }
        let (others, other) = self.logs_in(from, to, Some(node), deadline).await?;
        if other == node || others.logs == found.logs {
            return Ok(found);
        }
        // Who has less left something out, unless a reorganisation came between: the caller's checks tell.
        let mut lacking = other;
        if others.logs.len() > found.logs.len() {
            (found, lacking) = (others, node);
        }
        let detail = format!("it left out logs of the blocks {from} to {to} that another node has");
        self.pool.fault(lacking, &Fault::new(FaultKind::MissingLogs, detail));
        Ok(found)
    }

    /// With the headers of both ends from the same node: a node that is not as far says so only there.
    async fn logs_in(
        &self,
        from: u64,
        to: u64,
        other_than: Option<usize>,
        deadline: Instant,
    ) -> Result<(Logs, usize), ChainError> {
        let filter = json!({
            "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}"),
            "address": self.decoder.contracts(), "topics": [TOPICS],
        });
        let want = Want { block: Some(to), range: from < to, other_than, ..Want::default() };
        let read = |results: &[&RawValue]| {
            let header = |result: &RawValue, number| {
                let lacks = || Fault::new(FaultKind::Pruned, format!("it lacks block {number}"));
                Ok::<Header, Failure>(read_header(result, number)?.ok_or_else(lacks)?)
            };
            let (first, last) = (header(results[1], from)?, header(results[2], to)?);
            let logs = self.typed_logs(results[0])?;
            let within = |log: &RawLog| (from..=to).contains(&log.block_number.to::<u64>());
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
        let mut blocks = Vec::new();
        for logs in logs.chunk_by(|one, next| one.block_number == next.block_number) {
            let (events, bad_logs) = self.decode(logs);
            self.note_bad(&bad_logs);
            if !events.is_empty() || !bad_logs.is_empty() {
                let (number, hash) = (logs[0].block_number.to(), Hash(logs[0].block_hash.0));
                blocks.push(LoggedBlock { number, hash, events, bad_logs });
            }
        }
        blocks
    }

    /// Headers and logs of a range as blocks. A block whose logs are of another hash, can't be read, or are missing
    /// though its bloom filter leaves room for events, is read by itself.
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
                [] => self.decoder.may_be_in(header),
                [log, ..] => log.block_hash != header.hash,
            };
            let decoded = if doubtful { None } else { Some(self.decode(logs)) };
            match decoded {
                Some((events, bad_logs)) if bad_logs.is_empty() => {
                    blocks.push(self.block(header, events, bad_logs));
                }
                _ => match self.read_block(header, deadline).await {
                    Ok(block) => blocks.push(block),
                    // The rest is on a branch that was left meanwhile.
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

/// Whether the logs of the known blocks are of these hashes.
fn agree(logs: &[RawLog], known: &[(u64, B256)]) -> bool {
    logs.iter().all(|log| {
        known.iter().all(|(number, hash)| log.block_number.to::<u64>() != *number || log.block_hash == *hash)
    })
}
