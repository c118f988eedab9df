//! Reads old blocks, many at once: their events by ranges of logs, in sizes that the node answers, with or without the headers
//! of all blocks. Parts come in order; the first block of a part is the child of the given one, or no part is returned.

mod queries;

use std::collections::BTreeMap;

use domain::chain::{BlockRef, Hash, MarketEvent};
use futures_util::future::try_join;
use tokio::time::Instant;

use self::queries::Logs;
use crate::error::ChainError;
use crate::events::BadLog;
use crate::pool::Measure;
use crate::source::{Block, Source};
use crate::wire::{Header, RawLog};

/// The limit of blocks in one part with headers, which are held in memory together.
const MOST_BLOCKS: u64 = 500;
/// The limit of requests for the headers of one part: with a node that takes no batches, a longer part would not be read before
/// its deadline.
const MOST_REQUESTS: u64 = 20;
/// A part, and what links it to its neighbours.
pub(crate) struct Linked<P> {
    pub(crate) parent: Hash,
    pub(crate) last: BlockRef,
    pub(crate) part: P,
}

/// Reads a range of blocks, part by part.
#[derive(Debug)]
pub struct Range {
    pub(crate) source: Source,
    pub(crate) to: u64,
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
        let part = self.source.events_from(after.number + 1, self.to, deadline).await?;
        // Links within the part are unknown without headers. The hash of the last block is known, and the next part must continue it.
        Ok(if part.parent == after.hash { Step::Part(part.part) } else { Step::Mismatch })
    }

    /// Reads the blocks after `after`, each with its header and its events, verified like those of [`Source::next`].
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline.
    pub async fn blocks(&self, after: &BlockRef, deadline: Instant) -> Result<Step<Vec<Block>>, ChainError> {
        if after.number >= self.to {
            return Ok(Step::Done);
        }
        let (from, parent) = (after.number + 1, Some(after.hash));
        let to = self.source.blocks_end(from, self.to);
        let part = self.source.blocks_from(from, to, parent, deadline).await?;
        Ok(part.map_or(Step::Mismatch, |part| Step::Part(part.part)))
    }
}

impl Source {
    /// The last block of the part with headers that is read at once.
    pub(crate) fn blocks_end(&self, from: u64, to: u64) -> u64 {
        let most = MOST_REQUESTS.saturating_mul(self.pool.likely_size(Measure::Calls(MOST_BLOCKS)));
        to.min(from + MOST_BLOCKS.min(most) - 1)
    }

    /// The events of the first blocks of a range.
    pub(crate) async fn events_from(
        &self,
        from: u64,
        to: u64,
        deadline: Instant,
    ) -> Result<Linked<EventsPart>, ChainError> {
        let Logs { logs, first, last } = self.logs_between(from, to, deadline).await?;
        let (parent, last) = (first.block().parent, last.block());
        let blocks = self.logged_blocks(&logs);
        Ok(Linked { parent, last, part: EventsPart { from, last, blocks } })
    }

    /// The first blocks of a range. `None` if they do not follow `parent`, or if their headers do not chain.
    pub(crate) async fn blocks_from(
        &self,
        from: u64,
        to: u64,
        parent: Option<Hash>,
        deadline: Instant,
    ) -> Result<Option<Linked<Vec<Block>>>, ChainError> {
        // The node decides about the end of the logs. Asking for the headers up to the end that it decided last saves a round trip.
        let likely = self.likely_end(from, to);
        let logs = self.logs_between(from, to, deadline);
        let headers = self.headers(from, likely, deadline);
        // Both at once: neither depends on the other, and `assemble` compares their hashes.
        let (Logs { logs, last, .. }, mut headers) = try_join(logs, headers).await?;
        headers.retain(|header| header.number <= last.number);
        let Some(first) = headers.first().map(Header::block) else { return Ok(None) };
        if parent.is_some_and(|parent| parent != first.parent) {
            return Ok(None);
        }
        let part = self.assemble(&headers, &logs, deadline).await?;
        Ok(part.last().map(|last| last.at).map(|last| Linked { parent: first.parent, last, part }))
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
