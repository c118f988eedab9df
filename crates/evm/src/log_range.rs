//! The number of blocks that one query for logs covers. It is halved when a node refuses it, and then grows slowly. Pure.

use std::ops::RangeInclusive;

/// The size of the next query, in blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRangeSize {
    size: u64,
    max: u64,
    /// The smallest size that was refused lately; sizes above it are tried only after [`PATIENCE`] answers.
    ceiling: Option<u64>,
    /// The largest size that was answered since a smaller one was refused.
    fit: u64,
    fitting: u32,
}

/// A refused size is tried again after this many answered queries: the density of logs changes along the chain.
const PATIENCE: u32 = 32;

impl LogRangeSize {
    /// Starts with the largest size, which most nodes answer.
    pub(crate) fn new(max: u64) -> Self {
        let max = max.max(1);
        Self { size: max, max, ceiling: None, fit: 0, fitting: 0 }
    }

    /// The range of the next query, which starts at `next` and does not pass `to`.
    pub(crate) fn range(&self, next: u64, to: u64) -> RangeInclusive<u64> {
        next..=to.min(next.saturating_add(self.size - 1))
    }

    /// Notes that a query of `blocks` was refused. The next size is the largest that was answered, or half.
    pub(crate) fn too_large(&mut self, blocks: u64) {
        // A size that was once answered is refused now: older answers say nothing any more.
        if self.fit >= blocks {
            self.fit = 0;
        }
        self.ceiling = Some(blocks);
        self.size = (blocks / 2).max(self.fit).max(1);
        self.fitting = 0;
    }

    /// Notes that a query of `blocks` was answered. The next size is an eighth larger, at most half-way to a refused size.
    pub(crate) fn fitted(&mut self, blocks: u64) {
        self.fit = self.fit.max(blocks);
        self.fitting += 1;
        if self.fitting >= PATIENCE {
            self.ceiling = None;
            self.fitting = 0;
        }
        // Within a thirty-second of the limit the search stops: larger queries would gain less than the refusals cost.
        let half_way =
            |ceiling: u64| self.fit + (ceiling.saturating_sub(self.fit) / 2).saturating_sub(self.fit / 32);
        let allowed = self.ceiling.map_or(self.max, half_way).clamp(1, self.max);
        // Plus one, since an eighth of a small size is 0.
        self.size = (self.size + self.size / 8 + 1).min(allowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `total` blocks from a node that answers for at most `limit` at once. Returns the requested sizes, and how many failed.
    fn read(size: &mut LogRangeSize, total: u64, limit: u64) -> (Vec<u64>, usize) {
        let (mut next, mut sizes, mut failed) = (0, Vec::new(), 0);
        while next < total {
            let range = size.range(next, total - 1);
            let blocks = range.end() - range.start() + 1;
            sizes.push(blocks);
            if blocks > limit {
                size.too_large(blocks);
                failed += 1;
            } else {
                size.fitted(blocks);
                next = range.end() + 1;
            }
        }
        (sizes, failed)
    }

    #[test]
    fn a_range_is_read_in_as_few_queries_as_allowed() {
        let (sizes, failed) = read(&mut LogRangeSize::new(2_000), 5_000, u64::MAX);
        assert_eq!((sizes, failed), (vec![2_000, 2_000, 1_000], 0));
    }

    #[test]
    fn a_nodes_limit_is_found_by_halving_and_seldom_hit_again() {
        let (sizes, failed) = read(&mut LogRangeSize::new(2_000), 100_000, 300);
        assert_eq!(sizes[..4], [2_000, 1_000, 500, 250]);
        let fitting = sizes.len() - failed;
        // The ideal number is 334.
        assert!(fitting <= 450, "{fitting} queries fitted");
        assert!(failed * 10 <= fitting, "{failed} of {} queries were too large", sizes.len());
    }

    #[test]
    fn a_limit_that_was_lifted_is_noticed() {
        let mut size = LogRangeSize::new(2_000);
        read(&mut size, 2_000, 10);
        read(&mut size, 60_000, u64::MAX);
        assert_eq!(size.range(0, u64::MAX), 0..=1_999);
    }

    #[test]
    fn a_query_covers_at_least_one_block() {
        let mut size = LogRangeSize::new(1);
        size.too_large(1);
        assert_eq!(size.range(7, 100), 7..=7);
        size.fitted(1);
        assert_eq!(size.range(7, 100), 7..=7);
        assert_eq!(LogRangeSize::new(0).range(u64::MAX, u64::MAX), u64::MAX..=u64::MAX);
    }
}
