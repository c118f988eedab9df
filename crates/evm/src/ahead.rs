//! Reads parts of a range ahead of the caller, in tasks that end with the value that started them. Parts come in order, each as the
//! child of the one before. At most [`MOST_PARTS`] are read or kept at a time.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use domain::chain::BlockRef;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::error::ChainError;
use crate::range::{EventsPart, Linked, Range, Step};
use crate::source::{Block, Source};

/// The limit of parts that are read or kept, but for the one that the caller has.
pub const MOST_PARTS: usize = 3;

/// Reads the parts of a range before they are asked for, so that nodes answer while the caller writes. One task reads one part;
/// several run at the same time as long as parts come whole.
pub struct Ahead<P> {
    source: Source,
    to: u64,
    /// The time for one part.
    time: Duration,
    way: Way<P>,
    /// The parts that are being read or were read, in order.
    parts: VecDeque<Reading<P>>,
    /// The last block of the part that was handed over: the next part belongs behind it.
    last: Option<BlockRef>,
    /// The limit of parts for now.
    most: usize,
}

/// How parts of one kind are read.
struct Way<P> {
    /// The end of the part of blocks of a range that is read at once.
    end: fn(&Source, u64, u64) -> u64,
    read: fn(Source, u64, u64, Instant) -> Answer<P>,
}

/// `None` for blocks that do not chain.
type Answer<P> = BoxFuture<'static, Result<Option<Linked<P>>, ChainError>>;

/// One part that is being read.
struct Reading<P> {
    to: u64,
    task: JoinHandle<Result<Option<Linked<P>>, ChainError>>,
}

impl<P> Drop for Reading<P> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<P> fmt::Debug for Ahead<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = self.parts.iter().map(|part| part.to).collect::<Vec<u64>>();
        write!(f, "Ahead(to {}, after {:?}, up to {ends:?})", self.to, self.last)
    }
}

impl Range {
    /// Reads the events of the range ahead, as [`Range::events`] does, with this time for each part.
    #[must_use]
    pub fn events_ahead(self, time: Duration) -> Ahead<EventsPart> {
        let read = |source: Source, from, to, deadline| -> Answer<EventsPart> {
            Box::pin(async move { source.events_from(from, to, deadline).await.map(Some) })
        };
        Ahead::new(self, time, Way { end: Source::likely_end, read })
    }

    /// Reads the blocks of the range ahead, as [`Range::blocks`] does, with this time for each part.
    #[must_use]
    pub fn blocks_ahead(self, time: Duration) -> Ahead<Vec<Block>> {
        let read = |source: Source, from, to, deadline| -> Answer<Vec<Block>> {
            Box::pin(async move { source.blocks_from(from, to, None, deadline).await })
        };
        Ahead::new(self, time, Way { end: Source::blocks_end, read })
    }
}

impl<P: Send + 'static> Ahead<P> {
    fn new(range: Range, time: Duration, way: Way<P>) -> Self {
        let Range { source, to } = range;
        Self { source, to, time, way, parts: VecDeque::new(), last: None, most: 1 }
    }

    /// The part behind `after`, which may have been read already. Parts that were read for another block, by its number or its
    /// hash, are thrown away. Dropping the future loses no part.
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline, and when a part was not read in its time. After an error the next call reads anew.
    pub async fn next(&mut self, after: &BlockRef, deadline: Instant) -> Result<Step<P>, ChainError> {
        if self.last.is_none_or(|last| (last.number, last.hash) != (after.number, after.hash)) {
            self.parts.clear();
            self.last = Some(*after);
        }
        self.fill(after.number);
        let Some(part) = self.parts.front_mut() else { return Ok(Step::Done) };
        let started = Instant::now();
        let Ok(read) = timeout_at(deadline, &mut part.task).await else {
            // The part has its own time, and may be ready for the next call.
            return Err(late(after, started));
        };
        let to = part.to;
        self.parts.pop_front();
        let read = match read {
            Ok(read) => read,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            // The runtime ends.
            Err(_) => Err(late(after, started)),
        };
        let part = match read {
            Ok(Some(part)) if part.parent == after.hash => part,
            unusable => {
                self.parts.clear();
                self.most = 1;
                return unusable.map(|_| Step::Mismatch);
            }
        };
        self.last = Some(part.last);
        if part.last.number < to {
            // The node takes less than expected, so one part at a time finds out how much.
            self.most = 1;
            self.parts.push_front(self.start(part.last.number + 1, to));
        } else {
            self.most = MOST_PARTS.min(self.most + 1);
        }
        self.fill(part.last.number);
        Ok(Step::Part(part.part))
    }

    /// Starts to read the parts behind the block of this height, as many as allowed.
    fn fill(&mut self, after: u64) {
        while self.parts.len() < self.most {
            let from = self.parts.back().map_or(after, |part| part.to) + 1;
            if from > self.to {
                return;
            }
            let to = (self.way.end)(&self.source, from, self.to);
            self.parts.push_back(self.start(from, to));
        }
    }

    fn start(&self, from: u64, to: u64) -> Reading<P> {
        let answer = (self.way.read)(self.source.clone(), from, to, Instant::now() + self.time);
        Reading { to, task: tokio::spawn(answer) }
    }
}

fn late(after: &BlockRef, started: Instant) -> ChainError {
    ChainError::NoAnswer {
        method: "eth_getLogs",
        block: Some(after.number + 1),
        waited: started.elapsed(),
        attempts: 1,
        last: None,
    }
}
