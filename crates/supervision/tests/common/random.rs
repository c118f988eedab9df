//! Random choices that follow from a seed, so that a failure can be repeated.
#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::time::{SystemTime, UNIX_EPOCH};

/// The generator SplitMix64: small, and good enough to choose.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From `SUPERVISION_SEED`, else from the wall clock. The seed is printed.
    pub(crate) fn seeded() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = std::env::var("SUPERVISION_SEED")
            .ok()
            .map_or(now.as_nanos() as u64, |seed| seed.parse().expect("SUPERVISION_SEED is a number"));
        println!("to repeat this: SUPERVISION_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high + 1 - low)
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}
