//! How many blocks one query for logs covers: halved when that was too much, then grown slowly. Pure.

use std::ops::RangeInclusive;

/// The size of the next query, in blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    size: u64,
    max: u64,
    /// The smallest size that lately was too much; growing past it needs patience.
    ceiling: Option<u64>,
    /// The largest size that fitted since something smaller was too much.
    fit: u64,
    fitting: u32,
}

/// A size that was too much is tried again after so many that fitted.
const PATIENCE: u32 = 32;

impl Chunk {
    /// Begins with the most, since most nodes allow it.
    pub(crate) fn new(max: u64) -> Self {
        let max = max.max(1);
        Self { size: max, max, ceiling: None, fit: 0, fitting: 0 }
    }

    /// The next query from `next` on, up to `to`.
    pub(crate) fn range(&self, next: u64, to: u64) -> RangeInclusive<u64> {
        next..=to.min(next.saturating_add(self.size - 1))
    }

    /// A query of `blocks` was too much: back to what fitted, or to half.
    pub(crate) fn too_large(&mut self, blocks: u64) {
        if self.fit >= blocks {
            self.fit = 0;
        }
        self.ceiling = Some(blocks);
        self.size = (blocks / 2).max(self.fit).max(1);
        self.fitting = 0;
    }

    /// A query of `blocks` fitted: an eighth more next time, at most half-way to what was too much.
    pub(crate) fn fitted(&mut self, blocks: u64) {
        self.fit = self.fit.max(blocks);
        self.fitting += 1;
        if self.fitting >= PATIENCE {
            self.ceiling = None;
            self.fitting = 0;
        }
        // Close enough to the limit, the rest is not worth the failures.
        let half_way =
            |ceiling: u64| self.fit + (ceiling.saturating_sub(self.fit) / 2).saturating_sub(self.fit / 32);
        let allowed = self.ceiling.map_or(self.max, half_way).clamp(1, self.max);
        self.size = (self.size + self.size / 8 + 1).min(allowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `total` blocks from a node that gives at most `limit` at once; sizes asked, and those that failed.
    fn read(chunk: &mut Chunk, total: u64, limit: u64) -> (Vec<u64>, usize) {
        let (mut next, mut sizes, mut failed) = (0, Vec::new(), 0);
        while next < total {
            let range = chunk.range(next, total - 1);
            let blocks = range.end() - range.start() + 1;
            sizes.push(blocks);
            if blocks > limit {
                chunk.too_large(blocks);
                failed += 1;
            } else {
                chunk.fitted(blocks);
                next = range.end() + 1;
            }
        }
        (sizes, failed)
    }

    #[test]
    fn a_range_is_asked_for_in_as_few_pieces_as_allowed() {
        let (sizes, failed) = read(&mut Chunk::new(2_000), 5_000, u64::MAX);
        assert_eq!((sizes, failed), (vec![2_000, 2_000, 1_000], 0));
    }

    #[test]
    fn a_limit_is_found_by_halving_and_then_seldom_touched() {
        let (sizes, failed) = read(&mut Chunk::new(2_000), 100_000, 300);
        assert_eq!(sizes[..4], [2_000, 1_000, 500, 250]);
        let fitting = sizes.len() - failed;
        // Ideal would be 334 queries.
        assert!(fitting <= 450, "{fitting} queries fitted");
        assert!(failed * 10 <= fitting, "{failed} of {} queries were too large", sizes.len());
    }

    #[test]
    fn a_limit_that_is_gone_is_noticed() {
        let mut chunk = Chunk::new(2_000);
        read(&mut chunk, 2_000, 10);
        read(&mut chunk, 60_000, u64::MAX);
        assert_eq!(chunk.range(0, u64::MAX), 0..=1_999);
    }

    #[test]
    fn one_block_is_the_least() {
        let mut chunk = Chunk::new(1);
        chunk.too_large(1);
        assert_eq!(chunk.range(7, 100), 7..=7);
        chunk.fitted(1);
        assert_eq!(chunk.range(7, 100), 7..=7);
        assert_eq!(Chunk::new(0).range(u64::MAX, u64::MAX), u64::MAX..=u64::MAX);
    }
}
