//! The size of the requests to one node: the blocks of a query for logs, or the calls of a batch. It is halved when the node
//! refuses it, and then grows slowly. Pure.

/// The size of the next request. It belongs to a node, since limits differ from node to node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestSize {
    size: u64,
    max: u64,
    /// The smallest size that was refused lately; sizes above it are tried only after `patience` answers.
    ceiling: Option<u64>,
    /// Answers before a refused size is tried again: more each time that it is refused again.
    patience: u32,
    /// The largest size that was answered since a smaller one was refused.
    fit: u64,
    fitting: u32,
    /// Requests in a row that were not answered in time.
    late: u32,
    /// Failures in a row whose cause may be the size.
    doubtful: u32,
}

/// A refused size is tried again after this many answered requests, and at last after the second number: the density of logs
/// changes along the chain, but a fixed limit would cost every thirtieth request.
const PATIENCE: u32 = 32;
const LONGEST_PATIENCE: u32 = 2_048;
/// After this many doubtful failures in a row the size is assumed to be the cause.
const DOUBTFUL: u32 = 3;

impl RequestSize {
    /// Starts with the largest size, which most nodes answer.
    pub(crate) fn new(max: u64) -> Self {
        let max = max.max(1);
        Self { size: max, max, ceiling: None, patience: PATIENCE, fit: 0, fitting: 0, late: 0, doubtful: 0 }
    }

    /// The size of the next request, which is at least 1.
    pub(crate) fn get(&self) -> u64 {
        self.size
    }

    /// Whether the size was answered and is the largest that is tried for now, so that the next requests have it too.
    pub(crate) fn is_settled(&self) -> bool {
        self.fit >= self.size && self.size >= self.allowed()
    }

    /// The largest size that is tried for now.
    fn allowed(&self) -> u64 {
        // Within a thirty-second of the limit the search stops: larger requests would gain less than the refusals cost.
        let half_way =
            |ceiling: u64| self.fit + (ceiling.saturating_sub(self.fit) / 2).saturating_sub(self.fit / 32);
        self.ceiling.map_or(self.max, half_way).clamp(1, self.max)
    }

    /// Notes that a request of `size` was refused. The next size is the one that the node suggests, the largest that was
    /// answered, or half.
    pub(crate) fn too_large(&mut self, size: u64, suggested: Option<u64>) {
        // A size that was once answered is refused now: older answers say nothing any more.
        if self.fit >= size {
            (self.fit, self.patience) = (0, PATIENCE);
        } else if self.ceiling.is_none() && self.fit > 0 {
            self.patience = (self.patience * 4).min(LONGEST_PATIENCE);
        }
        let next = suggested.unwrap_or((size / 2).max(self.fit));
        // Below the refused size, whatever a node suggests: otherwise the same request would be repeated for ever.
        let next = next.clamp(1, size.saturating_sub(1).max(1));
        // Not raised by the refusal of an older, larger request.
        self.ceiling = Some(self.ceiling.map_or(size, |ceiling| ceiling.min(size)));
        // Requests run at the same time: a refusal of an older, larger request must not raise the size again.
        self.size = next.min(self.size);
        self.fitting = 0;
        self.doubtful = 0;
    }

    /// Notes that a request of `size` was not answered in time. Returns whether it is the first one in a row: only the size is
    /// doubted then, and not the node.
    pub(crate) fn too_slow(&mut self, size: u64) -> bool {
        // It was sent before the one whose lateness made the requests smaller, and says nothing new.
        if size > self.size {
            return true;
        }
        self.too_large(size, None);
        self.late = self.late.saturating_add(1);
        self.late == 1
    }

    /// Notes a failure whose cause may be the size.
    pub(crate) fn doubt(&mut self, size: u64) {
        // It was sent before the others made the requests smaller.
        if size > self.size {
            return;
        }
        self.doubtful += 1;
        if self.doubtful >= DOUBTFUL {
            self.too_large(size, None);
        }
    }

    /// Notes that a request of `size` was answered. The next size is an eighth larger, at most half-way to a refused size.
    pub(crate) fn fitted(&mut self, size: u64) {
        (self.late, self.doubtful) = (0, 0);
        // A smaller request, such as the rest of a range, says nothing about larger ones.
        if size < self.size {
            return;
        }
        if self.ceiling.is_none() && size > self.fit {
            self.patience = PATIENCE;
        }
        self.fit = self.fit.max(size);
        self.fitting += 1;
        if self.fitting >= self.patience {
            self.ceiling = None;
            self.fitting = 0;
        }
        // Plus one, since an eighth of a small size is 0.
        self.size = (self.size + self.size / 8 + 1).min(self.allowed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `total` blocks from a node that answers for at most `limit` at once. Returns the requested sizes, and how many failed.
    fn read(size: &mut RequestSize, total: u64, limit: u64) -> (Vec<u64>, usize) {
        let (mut next, mut sizes, mut failed) = (0, Vec::new(), 0);
        while next < total {
            let blocks = size.get().min(total - next);
            sizes.push(blocks);
            if blocks > limit {
                size.too_large(blocks, None);
                failed += 1;
            } else {
                size.fitted(blocks);
                next += blocks;
            }
        }
        (sizes, failed)
    }

    #[test]
    fn a_range_is_read_in_as_few_queries_as_allowed() {
        let (sizes, failed) = read(&mut RequestSize::new(2_000), 5_000, u64::MAX);
        assert_eq!((sizes, failed), (vec![2_000, 2_000, 1_000], 0));
    }

    #[test]
    fn a_nodes_limit_is_found_by_halving_and_seldom_hit_again() {
        let (sizes, failed) = read(&mut RequestSize::new(2_000), 100_000, 300);
        assert_eq!(sizes[..4], [2_000, 1_000, 500, 250]);
        let fitting = sizes.len() - failed;
        // The ideal number is 334.
        assert!(fitting <= 450, "{fitting} queries fitted");
        assert!(failed * 10 <= fitting, "{failed} of {} queries were too large", sizes.len());
    }

    #[test]
    fn a_limit_that_was_lifted_is_noticed() {
        let mut size = RequestSize::new(2_000);
        read(&mut size, 2_000, 10);
        read(&mut size, 60_000, u64::MAX);
        assert_eq!(size.get(), 2_000);
    }

    #[test]
    fn a_size_is_at_least_one() {
        for max in [0, 1] {
            let mut size = RequestSize::new(max);
            size.too_large(1, None);
            assert_eq!(size.get(), 1);
            size.fitted(1);
            assert_eq!(size.get(), 1);
        }
    }

    #[test]
    fn a_suggested_size_is_used_if_it_is_smaller() {
        for (suggested, next) in [(50, 50), (0, 1), (100, 99), (u64::MAX, 99)] {
            let mut size = RequestSize::new(100);
            size.too_large(100, Some(suggested));
            assert_eq!(size.get(), next, "{suggested}");
        }
    }

    #[test]
    fn a_late_answer_halves_and_only_the_second_in_a_row_is_the_nodes_fault() {
        let mut size = RequestSize::new(100);
        assert!(size.too_slow(100));
        assert!(!size.too_slow(50));
        assert_eq!(size.get(), 25);
        size.fitted(25);
        assert!(size.too_slow(26));
    }

    #[test]
    fn every_third_doubtful_failure_in_a_row_halves() {
        let mut size = RequestSize::new(100);
        let sizes = [(); 6].map(|()| {
            size.doubt(size.get());
            size.get()
        });
        assert_eq!(sizes, [100, 100, 50, 50, 50, 25]);
        size.doubt(25);
        size.doubt(25);
        size.fitted(25);
        size.doubt(26);
        assert!(size.get() > 25, "an answer between ends the row");
    }

    #[test]
    fn a_fixed_limit_is_met_more_and_more_seldom() {
        let (sizes, failed) = read(&mut RequestSize::new(2_000), 100_000, 10);
        // The search, and then a trial after 32 answers, after 128, 512, and each 2,048.
        assert!(failed <= 24, "{failed} of {} queries were too large", sizes.len());
        assert!(sizes.len() - failed <= 10_030, "{}", sizes.len() - failed);
    }

    #[test]
    fn requests_that_fail_together_halve_once() {
        let failures: [fn(&mut RequestSize); 3] = [
            |size| size.too_large(100, None),
            |size| size.doubt(100),
            |size| {
                size.too_slow(100);
            },
        ];
        for fail in failures {
            let mut size = RequestSize::new(100);
            (0..6).for_each(|_| fail(&mut size));
            assert_eq!(size.get(), 50);
            // Nor do they raise the limit that a smaller request has found.
            size.too_large(50, None);
            fail(&mut size);
            assert_eq!((size.get(), size.ceiling), (25, Some(50)));
        }
        let mut size = RequestSize::new(100);
        assert!([100, 100, 100].map(|sent| size.too_slow(sent)).iter().all(|first| *first));
    }

    #[test]
    fn a_size_is_settled_once_no_larger_one_is_tried() {
        let mut size = RequestSize::new(100);
        assert!(!size.is_settled(), "nothing was answered yet");
        size.fitted(100);
        assert!(size.is_settled());
        size.too_large(100, None);
        assert!(!size.is_settled());
        read(&mut size, 300, 10);
        assert!(size.is_settled(), "{size:?}");
    }
}
