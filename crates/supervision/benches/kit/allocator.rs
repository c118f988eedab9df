//! The system's allocator, with a count of the bytes that are alive. It counts only while a section asks for that: two
//! threads that write one counter at each allocation would slow down what allocates for each message.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed},
    time::Duration,
};

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALIVE: AtomicIsize = AtomicIsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn add(bytes: usize) {
    if COUNTS.load(Relaxed) {
        ALIVE.fetch_add(bytes.cast_signed(), Relaxed);
    }
}

fn remove(bytes: usize) {
    if COUNTS.load(Relaxed) {
        ALIVE.fetch_sub(bytes.cast_signed(), Relaxed);
    }
}

// SAFETY: all calls go to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        remove(layout.size());
        add(size);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        remove(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Counts from now on. Only differences of [`alive`] have a meaning.
pub(crate) fn count() {
    COUNTS.store(true, Relaxed);
}

pub(crate) fn stop_counting() {
    COUNTS.store(false, Relaxed);
}

/// The bytes that are alive, once they no longer change.
pub(crate) async fn alive() -> isize {
    let mut before = None;
    loop {
        let now = ALIVE.load(Relaxed);
        if before.replace(now) == Some(now) {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
