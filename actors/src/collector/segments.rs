//! Segments: consecutive blocks far behind the head. Those after the present one are read while it is written.
//!
//! It queries nodes and writes nothing.

use std::time::{Duration, Instant};

use domain::{
    chain::BlockRef,
    collector::{EventsOnly, Segment},
};
use errors::rounded;
use evm::{Ahead, Block, ChainError, EventsPart, Source, Step};
use supervision::Clock;
use tokio::time::Instant as Deadline;

use super::{FAR_BEHIND, Progress};

/// The shortest time between two log lines about the backfill.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// A node that answers for at most this many blocks at once makes a backfill slow.
const NARROW: u64 = 10;
/// The number of queries in a row after which a small range is the node's limit. After a late answer or one with very many
/// logs it grows again.
const NARROW_FOR: u64 = 5;

/// The reader of segments.
pub(super) struct SegmentReader {
    source: Source,
    /// The queries in a row, at the least, in which a node answered for few blocks at once.
    narrow: u64,
    /// The last block to read.
    to: u64,
    ahead: Parts,
    pace: Pace,
}

/// What is read ahead.
enum Parts {
    /// The events alone, since the hashes of the blocks would have expired.
    Events(Ahead<EventsPart>),
    /// The blocks with their events.
    Blocks(Ahead<Vec<Block>>),
}

/// One segment.
pub(super) struct Part {
    /// Its blocks (the last one only, when they are read by their events alone) and their events.
    pub(super) segment: Segment,
    /// The number of logs that can't be read as events.
    pub(super) bad_logs: usize,
}

impl SegmentReader {
    /// A reader up to this block, by the events alone or with the blocks. Each segment is read within this time.
    pub(super) fn new(source: &Source, to: u64, by_events: bool, within: Duration, clock: &Clock) -> Self {
        let range = source.range(to);
        let ahead = match by_events {
            true => Parts::Events(range.events_ahead(within)),
            false => Parts::Blocks(range.blocks_ahead(within)),
        };
        Self { source: source.clone(), narrow: 0, to, ahead, pace: Pace::new(clock) }
    }

    /// The last block to read.
    pub(super) fn to(&self) -> u64 {
        self.to
    }

    /// The segment that follows this block; `None` when the next block has to be read singly. Those after it are read meanwhile.
    pub(super) async fn after(
        &mut self,
        after: &BlockRef,
        deadline: Deadline,
    ) -> Result<Option<Part>, ChainError> {
        let (blocks, events_only, logged): (Vec<_>, _, Vec<_>) = match &mut self.ahead {
            Parts::Events(ahead) => {
                let Step::Part(part) = ahead.next(after, deadline).await? else { return Ok(None) };
                let events_only = EventsOnly { first: part.from, parent: after.hash };
                let blocks = part.blocks.into_iter();
                let logged = blocks.map(|block| (block.number, block.events, block.bad_logs)).collect();
                // Only the last header is read: the checkpoint needs its hash, and no window needs the hashes before it.
                (vec![part.last], Some(events_only), logged)
            }
            Parts::Blocks(ahead) => {
                let Step::Part(part) = ahead.next(after, deadline).await? else { return Ok(None) };
                let blocks = part.iter().map(|block| block.at).collect();
                let logged = part.into_iter().map(|block| (block.at.number, block.events, block.bad_logs));
                (blocks, None, logged.collect())
            }
        };
        let bad_logs = logged.iter().map(|(_, _, bad)| bad.len()).sum();
        let events = logged
            .into_iter()
            .flat_map(|(number, events, _)| events.into_iter().map(move |event| (number, event)))
            .collect();
        Ok(Some(Part { segment: Segment { blocks, events_only, events, ..Segment::default() }, bad_logs }))
    }

    /// Records that this many blocks up to `last` were accepted.
    pub(super) fn accepted(&mut self, many: u64, last: u64, progress: &Progress) {
        let speed = self.pace.accepted(many);
        progress.with(|state| state.speed = speed);
        self.hint(many, progress);
        if self.pace.should_log() {
            let state = progress.now();
            let (blocks_per_second, left) = (speed as u64, state.remaining());
            let time_left = state.estimate().map_or("unknown".to_owned(), |left| rounded(left).to_string());
            tracing::info!(block = last, left, blocks_per_second, time_left, "the backfill reads old blocks");
        }
    }

    /// Reports once that a node allows so few blocks a query that the backfill is slow.
    fn hint(&mut self, many: u64, progress: &Progress) {
        if progress.with(|state| state.is_narrow_reported) {
            return;
        }
        let usable = self.source.status().into_iter().filter(|node| node.set_aside_for.is_zero());
        let ranges = usable.filter_map(|node| Some((node.log_range?, node.node)));
        let narrow = ranges.min_by_key(|(blocks, _)| *blocks).filter(|(blocks, _)| *blocks <= NARROW);
        let Some((blocks, node)) = narrow else {
            self.narrow = 0;
            return;
        };
        // A segment may have been read by many queries.
        self.narrow = self.narrow.saturating_add(many.div_ceil(NARROW));
        if self.narrow < NARROW_FOR {
            return;
        }
        progress.with(|state| state.is_narrow_reported = true);
        let left = progress.now().remaining();
        tracing::warn!(
            %node, blocks, left,
            "a node answers a query for logs of a few blocks only, so the backfill may not catch up with the chain; \
             use a node or a plan that allows larger ranges, at least until the backfill is done"
        );
    }
}

/// The last block that is older than `old_after` before the head, by binary search; `None` unless it is far ahead of the
/// checkpoint.
///
/// # Errors
/// [`ChainError::NoAnswer`] at the deadline.
pub(super) async fn boundary(
    source: &Source,
    checkpoint: BlockRef,
    head: BlockRef,
    old_after: Duration,
    deadline: Deadline,
) -> Result<Option<u64>, ChainError> {
    let before = head.time.saturating_sub(old_after.as_secs());
    let (mut old, mut young) = (checkpoint.number, head.number);
    // No request without old blocks, which is the usual case.
    if checkpoint.time >= before {
        return Ok(None);
    }
    // Exact to `FAR_BEHIND` blocks is enough: an old block that is read in full has the same effects.
    while young.saturating_sub(old) > FAR_BEHIND {
        let middle = old + (young - old) / 2;
        match source.block_at(middle, deadline).await? {
            // A block that a lagging node does not have counts as young: it is read in full then, which is never wrong.
            Some(block) if block.time < before => old = middle,
            _ => young = middle,
        }
    }
    // A boundary nearby is not worth a change of the way to read.
    Ok(Some(old).filter(|old| *old > checkpoint.number + FAR_BEHIND))
}

/// The speed of the backfill.
struct Pace {
    clock: Clock,
    /// When the last segment was accepted.
    last: Instant,
    /// Blocks a second, as a moving average.
    speed: f64,
    told: Instant,
}

impl Pace {
    /// The weight of the last segment in the moving average.
    const WEIGHT: f64 = 0.2;

    fn new(clock: &Clock) -> Self {
        let now = clock.now();
        // `told` is now: a backfill of less than ten seconds needs no line.
        Self { clock: clock.clone(), last: now, speed: 0.0, told: now }
    }

    /// The new speed after this many more blocks were accepted.
    fn accepted(&mut self, blocks: u64) -> f64 {
        let now = self.clock.now();
        let took = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
        // A manual clock may stand still between two segments.
        if took > 0.0 {
            let speed = blocks as f64 / took;
            // The first measurement counts in full: from 0 the average would take many segments to arrive.
            let weight = if self.speed > 0.0 { Self::WEIGHT } else { 1.0 };
            self.speed += weight * (speed - self.speed);
        }
        self.speed
    }

    fn should_log(&mut self) -> bool {
        let now = self.clock.now();
        let is_due = now.saturating_duration_since(self.told) >= TOLD_EVERY;
        if is_due {
            self.told = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_a_moving_average_of_reading_and_writing_together() {
        let clock = Clock::manual(Duration::ZERO);
        let mut pace = Pace::new(&clock);
        clock.advance(Duration::from_secs(2));
        assert_eq!(pace.accepted(1_000), 500.0);
        clock.advance(Duration::from_secs(1));
        assert_eq!(pace.accepted(1_000), 600.0);
        // Two segments at one moment give no speed.
        assert_eq!(pace.accepted(1_000), 600.0);
    }

    #[test]
    fn the_backfill_is_logged_every_ten_seconds() {
        let clock = Clock::manual(Duration::ZERO);
        let mut pace = Pace::new(&clock);
        clock.advance(Duration::from_secs(9));
        assert!(!pace.should_log());
        clock.advance(Duration::from_secs(1));
        assert!(pace.should_log() && !pace.should_log());
    }
}
