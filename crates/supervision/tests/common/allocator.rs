//! An allocator that counts what is alive, for tests that are alone in their process.
#![allow(unsafe_code, reason = "an allocator that counts is unsafe by its trait")]
#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls go to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bytes that are alive now.
pub(crate) fn live() -> usize {
    LIVE.load(Relaxed)
}

/// The most bytes that were alive during `work`, beyond those that were before.
pub(crate) async fn growth(work: impl Future<Output = ()>) -> usize {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    work.await;
    PEAK.load(Relaxed) - before
}
