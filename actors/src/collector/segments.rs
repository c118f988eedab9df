//! Blocks far behind the head, in large parts, each read while the one before it is written.
//!
//! Asks the chain's nodes, writes nothing. A part that was read ahead counts only for the block that it stands on: where
//! something else was accepted meanwhile, it is read anew.

use std::time::{Duration, Instant};

use domain::{
    chain::BlockRef,
    collector::{Old, Stretch},
};
use errors::rounded;
use evm::{ChainError, Source, Step, range::Range};
use supervision::Clock;
use tokio::time::Instant as Deadline;

use super::{FAR_BEHIND, Progress};

/// Between two lines of the log.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Reads old blocks.
pub(super) struct OldBlocks {
    /// The last block to read.
    to: u64,
    /// Only events are read: the hashes would have expired.
    by_events: bool,
    range: Range,
    /// The next part, and the block that it stands on.
    ahead: Option<(BlockRef, Part)>,
    pace: Pace,
}

/// Some consecutive blocks.
pub(super) struct Part {
    /// Those blocks, or the last one where they are old enough for that, and their events.
    pub(super) stretch: Stretch,
    /// Logs that can't be read as events.
    pub(super) bad_logs: usize,
}

impl Part {
    pub(super) fn last(&self) -> Option<BlockRef> {
        self.stretch.blocks.last().copied()
    }
}

impl OldBlocks {
    pub(super) fn new(source: &Source, to: u64, by_events: bool, clock: &Clock) -> Self {
        Self { to, by_events, range: source.range(to), ahead: None, pace: Pace::new(clock) }
    }

    /// The last block to read.
    pub(super) fn to(&self) -> u64 {
        self.to
    }

    /// The part that stands on this block; `None` where the next block has to be asked for by itself.
    pub(super) async fn after(
        &mut self,
        checkpoint: &BlockRef,
        deadline: Deadline,
    ) -> Result<Option<Part>, ChainError> {
        match self.ahead.take() {
            Some((after, part)) if after == *checkpoint => Ok(Some(part)),
            _ => self.read(checkpoint, deadline).await,
        }
    }

    /// Reads the part after this block, which will be accepted soon. What goes wrong here is met again when it is asked
    /// for.
    pub(super) async fn read_ahead(&mut self, after: &BlockRef, deadline: Deadline) {
        if let Ok(Some(part)) = self.read(after, deadline).await {
            self.ahead = Some((*after, part));
        }
    }

    async fn read(&mut self, after: &BlockRef, deadline: Deadline) -> Result<Option<Part>, ChainError> {
        let (blocks, old, logged): (Vec<_>, _, Vec<_>) = if self.by_events {
            let Step::Part(part) = self.range.events(after, deadline).await? else { return Ok(None) };
            let old = Old { first: part.from, parent: after.hash };
            let logged = part.blocks.into_iter().map(|block| (block.number, block.events, block.bad_logs));
            (vec![part.last], Some(old), logged.collect())
        } else {
            let Step::Part(part) = self.range.blocks(after, deadline).await? else { return Ok(None) };
            let blocks = part.iter().map(|block| block.at).collect();
            let logged = part.into_iter().map(|block| (block.at.number, block.events, block.bad_logs));
            (blocks, None, logged.collect())
        };
        let bad_logs = logged.iter().map(|(_, _, bad)| bad.len()).sum();
        let events = logged
            .into_iter()
            .flat_map(|(number, events, _)| events.into_iter().map(move |event| (number, event)))
            .collect();
        Ok(Some(Part { stretch: Stretch { blocks, old, events, head_time: 0 }, bad_logs }))
    }

    /// So many blocks were accepted up to this one.
    pub(super) fn accepted(&mut self, many: u64, last: u64, progress: &Progress) {
        let speed = self.pace.accepted(many);
        progress.with(|state| state.speed = speed);
        if self.pace.should_log() {
            let state = progress.now();
            let (blocks_per_second, left) = (speed as u64, state.remaining());
            let time_left = state.estimate().map_or("unknown".to_owned(), |left| rounded(left).to_string());
            tracing::info!(block = last, left, blocks_per_second, time_left, "old blocks are being read");
        }
    }
}

/// The last block that is older than `old_after` before the head, where that is far ahead of the checkpoint.
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
    if checkpoint.time >= before {
        return Ok(None);
    }
    while young.saturating_sub(old) > FAR_BEHIND {
        let middle = old + (young - old) / 2;
        match source.block_at(middle, deadline).await? {
            Some(block) if block.time < before => old = middle,
            _ => young = middle,
        }
    }
    Ok(Some(old).filter(|old| *old > checkpoint.number + FAR_BEHIND))
}

/// How fast it goes.
struct Pace {
    clock: Clock,
    /// When the last part was accepted.
    last: Instant,
    /// Blocks a second, over the last parts.
    speed: f64,
    told: Instant,
}

impl Pace {
    /// How much of the speed is that of the last part.
    const WEIGHT: f64 = 0.2;

    fn new(clock: &Clock) -> Self {
        let now = clock.now();
        Self { clock: clock.clone(), last: now, speed: 0.0, told: now }
    }

    /// The speed when so many blocks more are accepted.
    fn accepted(&mut self, blocks: u64) -> f64 {
        let now = self.clock.now();
        let took = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
        if took > 0.0 {
            let speed = blocks as f64 / took;
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
    use domain::chain::{ContractAddress, Hash};
    use evm::{ChainConfig, Contracts};

    use super::*;

    fn block(number: u64, branch: u8) -> BlockRef {
        BlockRef { number, hash: Hash([branch; 32]), parent: Hash([0; 32]), time: number }
    }

    #[tokio::test]
    async fn a_part_that_was_read_ahead_counts_only_for_the_block_that_it_stands_on() {
        let nobody = "http://127.0.0.1:1".parse().expect("a URL");
        let (protocol_state, markets) = (ContractAddress([1; 20]), vec![ContractAddress([2; 20])]);
        let contracts = Contracts { protocol_state, priorities: None, markets };
        let source = Source::new(ChainConfig::new(vec![nobody], contracts)).expect("a source");
        let mut old = OldBlocks::new(&source, 100, true, &Clock::system());
        let part =
            || Part { stretch: Stretch { blocks: vec![block(8, 7)], ..Stretch::default() }, bad_logs: 0 };
        let soon = || Deadline::now() + Duration::from_millis(1);
        old.ahead = Some((block(7, 7), part()));
        let found = old.after(&block(7, 7), soon()).await.expect("it was read").expect("there is one");
        assert_eq!(found.last(), Some(block(8, 7)));
        // The same number on another branch, and another tracker that is ahead.
        for other in [block(7, 8), block(9, 7)] {
            old.ahead = Some((block(7, 7), part()));
            assert!(old.after(&other, soon()).await.is_err(), "it is asked for anew, of nobody");
            assert!(old.ahead.is_none());
        }
    }

    #[test]
    fn the_speed_is_that_of_reading_and_writing_together_and_follows_slowly() {
        let clock = Clock::manual(Duration::ZERO);
        let mut pace = Pace::new(&clock);
        clock.advance(Duration::from_secs(2));
        assert_eq!(pace.accepted(1_000), 500.0);
        clock.advance(Duration::from_secs(1));
        assert_eq!(pace.accepted(1_000), 600.0);
        // Two parts at one moment are no speed.
        assert_eq!(pace.accepted(1_000), 600.0);
    }

    #[test]
    fn the_log_hears_of_it_every_ten_seconds() {
        let clock = Clock::manual(Duration::ZERO);
        let mut pace = Pace::new(&clock);
        clock.advance(Duration::from_secs(9));
        assert!(!pace.should_log());
        clock.advance(Duration::from_secs(1));
        assert!(pace.should_log() && !pace.should_log());
    }
}
