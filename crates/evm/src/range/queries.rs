//! Reads the logs of consecutive blocks: by one query, or by many joined ones from a node that answers for few blocks at once. What
//! one node answered is compared with another one.

use std::collections::BTreeMap;

use alloy_core::primitives::U64;
use futures_util::stream::{FuturesOrdered, StreamExt};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::counters::FaultKind;
use crate::error::ChainError;
use crate::events::topics_of_events;
use crate::fault::Fault;
use crate::json_rpc::Call;
use crate::pool::{Failure, Measure, NodeRequirements};
use crate::source::{Source, by_number, read_header};
use crate::wire::{Header, RawLog};

/// The logs of a range, and the headers of its ends.
pub(super) struct Logs {
    pub(super) logs: Vec<RawLog>,
    pub(super) first: Header,
    pub(super) last: Header,
}

/// The first query of a range, and the ends of all queries that are joined to it.
struct Opening {
    logs: Vec<RawLog>,
    first: Header,
    /// The last block of the first query.
    to: U64,
    /// The last block of all queries.
    end: Header,
    /// The size of the logs' text.
    bytes: usize,
}

/// The limit of queries that verify the logs of one. A node with a lower limit than the other makes parts shorter.
const MOST_PIECES: usize = 8;
/// A node that answers for at most this many blocks at once is asked by joined queries: the headers of their ends would be most of
/// what is asked.
const FEW_BLOCKS: u64 = 100;
/// The limit of queries in one batch. An answer has more logs than headers of the same batch would have.
const MOST_IN_BATCH: u64 = 32;
/// The limit of requests that one node answers at the same time for one range, single ones and batches.
const SINGLES_AT_ONCE: usize = 8;
const BATCHES_AT_ONCE: usize = 2;
/// One in this many parts of the time is left for the end of joined queries.
const LAST_SHARE: u32 = 4;

fn by_range(source: &Source, from: u64, to: u64) -> Call {
    let filter = json!({
        "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}"),
        "address": source.decoder.contracts(), "topics": [topics_of_events()],
    });
    Call::new("eth_getLogs", json!([filter]))
}

impl Source {
    /// The last block of the queries that are joined, of which the first one is for `blocks` blocks.
    fn joined_end(&self, from: u64, to: u64, blocks: u64) -> u64 {
        let queries = if blocks <= FEW_BLOCKS { self.pool.joined_queries(blocks) } else { 1 };
        to.min(from.saturating_add(blocks.saturating_mul(queries)) - 1)
    }

    /// The last block of the part that will probably be read at once, from the node that is asked next.
    pub(crate) fn likely_end(&self, from: u64, to: u64) -> u64 {
        self.joined_end(from, to, self.pool.likely_size(Measure::Blocks(to - from + 1)))
    }

    /// The logs of the first blocks of a range, as many as a node answers at once, compared with another node if there is one.
    pub(super) async fn logs_between(
        &self,
        from: u64,
        to: u64,
        deadline: Instant,
    ) -> Result<Logs, ChainError> {
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
        let end = found.last.number;
        if let Some((block, is_found_stray)) = self.stray_block(&found, &others, node, deadline).await {
            let detail = format!("its logs of block {block} are of another branch than its blocks");
            let stray = if is_found_stray { node } else { other };
            self.pool.fault(stray, &Fault::new(FaultKind::Inconsistent, detail));
            return Ok(if is_found_stray { others } else { found });
        }
        // The node with fewer logs left some out. If a reorganisation came between instead, the caller's comparison of hashes finds
        // it.
        let mut lacking = other;
        if others.logs.len() > found.logs.len() {
            (found, lacking) = (others, node);
        }
        let detail = format!("it left out logs of the blocks {from} to {end} that another node has");
        self.pool.fault(lacking, &Fault::new(FaultKind::MissingLogs, detail));
        Ok(found)
    }

    /// The first block for which two nodes gave logs of different hashes, and whether those of `found` are the wrong ones: a balancer may
    /// have a server on another branch. `None` without such a block, or if its header is of neither hash.
    async fn stray_block(
        &self,
        found: &Logs,
        others: &Logs,
        node: usize,
        deadline: Instant,
    ) -> Option<(u64, bool)> {
        let hashes: BTreeMap<_, _> =
            others.logs.iter().map(|log| (log.block_number, log.block_hash)).collect();
        let differs =
            |log: &&RawLog| hashes.get(&log.block_number).is_some_and(|hash| *hash != log.block_hash);
        let log = found.logs.iter().find(differs)?;
        let number: u64 = log.block_number.to();
        let header = self.header_at(number, Some(node), deadline).await.ok()??.0;
        let is_of = |logs: &[RawLog]| {
            logs.iter().any(|log| log.block_number == header.number && log.block_hash == header.hash)
        };
        match (is_of(&found.logs), is_of(&others.logs)) {
            (true, false) => Some((number, false)),
            (false, true) => Some((number, true)),
            _ => None,
        }
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

    /// Reads the logs of the first blocks of a range from one node, as many as it answers at once or by joined queries.
    async fn logs_in(
        &self,
        from: u64,
        to: u64,
        except: Option<usize>,
        deadline: Instant,
    ) -> Result<(Logs, usize), ChainError> {
        let measure = Measure::Blocks(to - from + 1);
        // The end that the node decides is not known yet, and a lagging node may have it although it lacks the end of the range.
        let block = Some(to.min(from.saturating_add(self.pool.config().max_log_range)));
        let want = NodeRequirements { block, measure, except, ..NodeRequirements::default() };
        let calls = |size| self.opening_calls(from, from + size - 1, self.joined_end(from, to, size));
        let read = |size, results: &[&RawValue]| {
            let (last, end) = (from + size - 1, self.joined_end(from, to, size));
            match self.read_opening(results, from, last, end)? {
                None if end == last => Err(lacks(end).into()),
                opening => Ok((size, opening)),
            }
        };
        let ((blocks, opening), node) = self.pool.ask_sized(want, deadline, calls, read).await?;
        match opening {
            Some(opening) if opening.end.number == opening.to => return Ok((opening.into_logs(), node)),
            Some(opening) => {
                let (queries, logs) = self.joined(opening, blocks, node, deadline).await;
                self.pool.note_joined(node, queries, logs.is_some());
                if let Some(logs) = logs {
                    return Ok((logs, node));
                }
            }
            None => {}
        }
        // The node has not reached the end of joined queries, or changed its branch between them.
        let calls = |size| self.opening_calls(from, from + size - 1, from + size - 1);
        let read = |size, results: &[&RawValue]| {
            let last = from + size - 1;
            let opening = self.read_opening(results, from, last, last)?;
            Ok(opening.ok_or_else(|| lacks(last))?.into_logs())
        };
        self.pool.ask_sized(want, deadline, calls, read).await
    }

    /// The first query, and the headers of both ends in the same batch: a node that has not reached the end answers a query for logs
    /// with those that it has, and without an error.
    fn opening_calls(&self, from: u64, to: u64, end: u64) -> Vec<Call> {
        // The headers first: a node that takes no batches answers one call after the other, and has reached the end by then.
        vec![by_number(from), by_number(end), by_range(self, from, to)]
    }

    /// `None` if the node lacks the end.
    fn read_opening(
        &self,
        results: &[&RawValue],
        from: u64,
        to: u64,
        end: u64,
    ) -> Result<Option<Opening>, Failure> {
        let first = read_header(results[0], from)?.ok_or_else(|| lacks(from))?;
        let Some(end) = read_header(results[1], end)? else { return Ok(None) };
        let logs = self.logs_of_query(results[2], from, to)?;
        // A load balancer may answer the parts of a batch from different servers; the hashes show it.
        check(&logs, [&first, &end])?;
        let bytes = results[2].get().len();
        Ok(Some(Opening { logs, first, to: U64::from(to), end, bytes }))
    }

    /// Extends the logs of a first query by those of the next ones, as far as the same node answers them in time. The block that
    /// all of them lead to is read again at last: with the same hash, the blocks before it were the same all the time, and so no two
    /// queries were answered for different branches. `None` if that can't be shown. Also returns the number of queries that were answered.
    async fn joined(
        &self,
        opening: Opening,
        blocks: u64,
        node: usize,
        deadline: Instant,
    ) -> (u64, Option<Logs>) {
        let (reached, rest) = self.pieces(&opening, blocks, node, deadline).await;
        let first: u64 = opening.first.number.to();
        ((reached + 1 - first).div_ceil(blocks), self.closed(opening, reached, rest, node, deadline).await)
    }

    /// The joined logs up to the block `reached`, after the ends were read again.
    async fn closed(
        &self,
        opening: Opening,
        reached: u64,
        rest: Vec<RawLog>,
        node: usize,
        deadline: Instant,
    ) -> Option<Logs> {
        let (first, end) = (&opening.first, &opening.end);
        let number: u64 = end.number.to();
        let mut calls = vec![by_number(number)];
        if reached < number {
            calls.push(by_number(reached));
        }
        let read = |results: &[&RawValue]| {
            let end = read_header(results[0], number)?;
            let last = results.get(1).map(|result| read_header(result, reached)).transpose()?;
            Ok((last.unwrap_or_else(|| end.clone()), end))
        };
        // Only this node: another one says nothing about the branch that it answered for.
        let want = NodeRequirements { block: Some(number), only: Some(node), ..NodeRequirements::default() };
        let closing = self.pool.ask(&calls, want, deadline, read).await;
        let Ok(((Some(last), Some(same)), _)) = closing else { return None };
        if same.hash != end.hash {
            return None;
        }
        let logs = [opening.logs.as_slice(), &rest].concat();
        if let Err(fault) = check(&logs, [first, &last]) {
            self.pool.fault(node, &fault);
            return None;
        }
        Some(Logs { logs, first: first.clone(), last })
    }

    /// The logs behind those of a first query, and the last block of which they are. Several requests run at the same time.
    async fn pieces(
        &self,
        opening: &Opening,
        blocks: u64,
        node: usize,
        deadline: Instant,
    ) -> (u64, Vec<RawLog>) {
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now);
        // What a slow node has answered by then counts, and there is time for the end.
        let (soon, deadline) =
            (now + (left / 2).min(self.pool.config().request_timeout), deadline - left / LAST_SHARE);
        let in_batch = self.pool.batch_of(node).min(MOST_IN_BATCH);
        let most = if in_batch > 1 { BATCHES_AT_ONCE } else { SINGLES_AT_ONCE };
        let end: u64 = opening.end.number.to();
        let (mut reached, mut found) = (opening.to.to::<u64>(), Vec::new());
        let (mut next, mut running) = (reached + 1, FuturesOrdered::new());
        // Dense logs make a short part, or many answers would be held together.
        let (mut bytes, most_bytes) = (opening.bytes, self.pool.config().max_answer / 2);
        loop {
            while next <= end && running.len() < most && bytes < most_bytes && Instant::now() < soon {
                let to = end.min(next + blocks * in_batch - 1);
                let piece = self.piece(next, to, blocks, node, deadline);
                running.push_back(async move { (to, piece.await) });
                next = to + 1;
            }
            let Some((to, Ok((size, logs)))) = running.next().await else { break };
            found.extend(logs);
            (reached, bytes) = (to, bytes + size);
        }
        (reached, found)
    }

    /// The logs of a few queries from this node alone, and the size of their text.
    async fn piece(
        &self,
        from: u64,
        to: u64,
        blocks: u64,
        node: usize,
        deadline: Instant,
    ) -> Result<(usize, Vec<RawLog>), ChainError> {
        let (mut next, mut bytes, mut found) = (from, 0, Vec::new());
        while next <= to {
            let most = self.pool.batch_of(node).min(MOST_IN_BATCH);
            let queries = |size: u64| {
                let starts = (next..=to).step_by(usize::try_from(size).unwrap_or(usize::MAX));
                let queries = starts.map(move |from| (from, to.min(from + size - 1)));
                queries.take(usize::try_from(most).unwrap_or(usize::MAX))
            };
            let calls = |size| queries(size).map(|(from, to)| by_range(self, from, to)).collect();
            let read = |size, results: &[&RawValue]| {
                let mut logs = Vec::new();
                let mut last = next;
                for ((from, to), result) in queries(size).zip(results) {
                    logs.extend(self.logs_of_query(result, from, to)?);
                    last = to;
                }
                Ok((last, results.iter().map(|result| result.get().len()).sum::<usize>(), logs))
            };
            // Never more than the node answered at first: larger sizes are tried by first queries.
            let measure = Measure::Blocks(blocks);
            let want = NodeRequirements {
                block: Some(to),
                measure,
                only: Some(node),
                ..NodeRequirements::default()
            };
            let ((last, size, logs), _) = self.pool.ask_sized(want, deadline, calls, read).await?;
            found.extend(logs);
            (next, bytes) = (last + 1, bytes + size);
        }
        Ok((bytes, found))
    }

    /// The logs in the answer to one query.
    fn logs_of_query(&self, result: &RawValue, from: u64, to: u64) -> Result<Vec<RawLog>, Failure> {
        let logs = self.typed_logs(result)?;
        if logs.iter().all(|log| (from..=to).contains(&log.block_number.to::<u64>())) {
            return Ok(logs);
        }
        Err(does_not_fit().into())
    }
}

impl Opening {
    fn into_logs(self) -> Logs {
        Logs { logs: self.logs, first: self.first, last: self.end }
    }
}

/// Whether each block has one hash, and the known blocks have theirs.
fn check(logs: &[RawLog], known: [&Header; 2]) -> Result<(), Fault> {
    let agrees = |log: &RawLog| {
        known.iter().all(|header| log.block_number != header.number || log.block_hash == header.hash)
    };
    let has_one_hash = |logs: &[RawLog]| logs.iter().all(|log| log.block_hash == logs[0].block_hash);
    let mut blocks = logs.chunk_by(|one, next| one.block_number == next.block_number);
    if blocks.all(has_one_hash) && logs.iter().all(agrees) { Ok(()) } else { Err(does_not_fit()) }
}

fn lacks(block: u64) -> Fault {
    Fault::new(FaultKind::Pruned, format!("it lacks block {block}"))
}

fn does_not_fit() -> Fault {
    Fault::new(FaultKind::Inconsistent, "its logs do not fit its blocks")
}
