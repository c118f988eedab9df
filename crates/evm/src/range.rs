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
use crate::fault::Fault;
use crate::json_rpc::Call;
use crate::pool::{Failure, Measure, NodeRequirements};
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
/// The limit of requests for the headers of one part: with a node that takes no batches, a longer part would not be read before
/// its deadline.
const MOST_REQUESTS: u64 = 20;
/// The limit of queries that verify the logs of one. A node with a lower limit than the other makes parts shorter.
const MOST_PIECES: usize = 8;

/// Reads a range of blocks, part by part.
#[derive(Debug)]
pub struct Range {
    source: Source,
    to: u64,
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
    /// The events, in the order of their logs.
    pub events: Vec<MarketEvent>,
    /// Logs that can't be decoded.
    pub bad_logs: Vec<BadLog>,
}

impl Source {
    /// A range up to block `to`, which should lie some blocks behind the head, where reorganisations are rare.
    #[must_use]
    pub fn range(&self, to: u64) -> Range {
        Range { source: self.clone(), to }
    }
}

impl Range {
    /// Reads the events after `after`, in as large a part as the nodes answer. Without the headers of all blocks (and their bloom
    /// filters) only another node can verify an empty answer, and does if there is one.
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline.
    pub async fn events(&self, after: &BlockRef, deadline: Instant) -> Result<Step<EventsPart>, ChainError> {
        if after.number >= self.to {
            return Ok(Step::Done);
        }
        let (source, from) = (&self.source, after.number + 1);
        let Logs { logs, first, last } = source.logs_between(from, self.to, deadline).await?;
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
    pub async fn blocks(&self, after: &BlockRef, deadline: Instant) -> Result<Step<Vec<Block>>, ChainError> {
        if after.number >= self.to {
            return Ok(Step::Done);
        }
        let (source, from) = (&self.source, after.number + 1);
        let most = MOST_REQUESTS.saturating_mul(source.pool.likely_size(Measure::Calls(MOST_BLOCKS)));
        let to = self.to.min(after.number + MOST_BLOCKS.min(most));
        // The node decides about the end of the logs. Asking for the headers up to the end that it decided last saves a round trip.
        let likely = source.pool.likely_size(Measure::Blocks(to - after.number));
        let logs = source.logs_between(from, to, deadline);
        let headers = source.headers(from, after.number + likely, deadline);
        // Both at once: neither depends on the other, and `assemble` compares their hashes.
        let (Logs { logs, last, .. }, mut headers) = try_join(logs, headers).await?;
        headers.retain(|header| header.number <= last.number);
        if headers.first().is_none_or(|first| first.block().parent != after.hash) {
            return Ok(Step::Mismatch);
        }
        source.assemble(&headers, &logs, deadline).await.map(Step::Part)
    }
}

impl Source {
    /// The logs of the first blocks of a range, as many as a node answers at once, compared with another node if there is one.
    async fn logs_between(&self, from: u64, to: u64, deadline: Instant) -> Result<Logs, ChainError> {
        let (mut found, node) = self.logs_in(from, to, None, deadline).await?;
        let other = match self.pool.has_other_usable(node) {
            true => self.logs_of_another(from, &found, node, deadline).await?,
            false => None,
        };
        let Some((others, other)) = other else { return Ok(found) };
        if others.last.number < found.last.number {
            found.logs.retain(|log| log.block_number <= others.last.number);
            found.last = others.last.clone();
        }
        if others.logs == found.logs {
            return Ok(found);
        }
        // The node with fewer logs left some out. If a reorganisation came between instead, the caller's comparison of hashes finds
        // it.
        let mut lacking = other;
        if others.logs.len() > found.logs.len() {
            (found, lacking) = (others, node);
        }
        let end = found.last.number;
        let detail = format!("it left out logs of the blocks {from} to {end} that another node has");
        self.pool.fault(lacking, &Fault::new(FaultKind::MissingLogs, detail));
        Ok(found)
    }

    /// The logs of the same blocks from another node than `node`, or of the first of them; `None` if no other node answers.
    async fn logs_of_another(
        &self,
        from: u64,
        found: &Logs,
        node: usize,
        deadline: Instant,
    ) -> Result<Option<(Logs, usize)>, ChainError> {
        // Not the caller's whole time: without an answer of another node, the first one stands.
        let soon = deadline.min(Instant::now() + 2 * self.pool.config().request_timeout);
        let (mut next, to) = (from, found.last.number.to::<u64>());
        let mut all: Option<(Logs, usize)> = None;
        for _ in 0..MOST_PIECES {
            let (piece, other) = match self.logs_in(next, to, Some(node), soon).await {
                Ok(piece) => piece,
                Err(ChainError::NoAnswer { .. }) => break,
                Err(error) => return Err(error),
            };
            next = piece.last.number.to::<u64>() + 1;
            match &mut all {
                // The node itself, since no other one answers: that verifies nothing.
                _ if other == node => break,
                Some((_, first)) if *first != other => break,
                Some((logs, _)) => {
                    logs.logs.extend(piece.logs);
                    logs.last = piece.last;
                }
                None => all = Some((piece, other)),
            }
            if next > to {
                break;
            }
        }
        Ok(all)
    }

    /// Reads the logs of the first blocks of a range, as many as the node answers at once, and the headers of both ends in the same
    /// batch: a node that has not reached the end answers a query for logs with those that it has, and without an error.
    async fn logs_in(
        &self,
        from: u64,
        to: u64,
        except: Option<usize>,
        deadline: Instant,
    ) -> Result<(Logs, usize), ChainError> {
        let measure = Measure::Blocks(to - from + 1);
        let calls = |size| {
            let end = from + size - 1;
            let filter = json!({
                "fromBlock": format!("{from:#x}"), "toBlock": format!("{end:#x}"),
                "address": self.decoder.contracts(), "topics": [topics_of_events()],
            });
            // The headers first: a node that takes no batches answers one call after the other, and has reached the end by then.
            vec![by_number(from), by_number(end), Call::new("eth_getLogs", json!([filter]))]
        };
        let read = |size, results: &[&RawValue]| {
            let end = from + size - 1;
            let header = |result: &RawValue, number| {
                let lacks = || Fault::new(FaultKind::Pruned, format!("it lacks block {number}"));
                Ok::<Header, Failure>(read_header(result, number)?.ok_or_else(lacks)?)
            };
            let (first, last) = (header(results[0], from)?, header(results[1], end)?);
            let logs = self.typed_logs(results[2])?;
            let within = |log: &RawLog| (from..=end).contains(&log.block_number.to::<u64>());
            // A load balancer may answer the parts of a batch from different servers; the hashes show it.
            let known = [&first, &last].map(|header| (header.number.to::<u64>(), header.hash));
            if !logs.iter().all(within) || !one_hash_a_block(&logs) || !agree(&logs, &known) {
                let detail = "its logs do not fit its blocks";
                return Err(Fault::new(FaultKind::Inconsistent, detail).into());
            }
            Ok(Logs { logs, first, last })
        };
        // The end that the node decides is not known yet, and a lagging node may have it although it lacks the end of the range.
        let block = Some(to.min(from.saturating_add(self.pool.config().max_log_range)));
        let want = NodeRequirements { block, measure, except, ..NodeRequirements::default() };
        self.pool.ask_sized(want, deadline, calls, read).await
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
                // Without a bloom filter that tells something, an empty answer is as good as that of a range without headers.
                [] => header.has_telling_bloom() && self.decoder.may_have_events_in(header),
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
