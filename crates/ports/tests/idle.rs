//! What a connection that is silent costs. The allocator counts, so this test is alone in its program.
#![allow(unsafe_code, reason = "an allocator that counts is unsafe by its trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::{Context, Waker},
};

use ports::read_some;
use tokio::io::{AsyncWriteExt as _, duplex};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls go to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
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

const MOST: usize = 64 << 10;
const CONNECTIONS: usize = 1_000;

#[tokio::test]
async fn a_thousand_silent_connections_hold_no_buffer_and_lose_no_byte() {
    let (mut senders, mut receivers): (Vec<_>, Vec<_>) = (0..CONNECTIONS).map(|_| duplex(256)).unzip();
    // Each has been read once.
    for (sender, receiver) in senders.iter_mut().zip(&mut receivers) {
        sender.write_all(b"first").await.expect("written");
        assert_eq!(read_some(receiver, MOST).await.expect("read"), b"first");
    }
    let before = LIVE.load(Relaxed);
    let mut reads: Vec<Pin<Box<dyn Future<Output = _>>>> = Vec::new();
    for receiver in &mut receivers {
        reads.push(Box::pin(read_some(receiver, MOST)));
    }
    let mut cx = Context::from_waker(Waker::noop());
    assert!(reads.iter_mut().all(|read| read.as_mut().poll(&mut cx).is_pending()));
    let held = LIVE.load(Relaxed) - before;
    assert!(held < CONNECTIONS << 10, "{held} bytes for {CONNECTIONS} connections that wait");
    for sender in &mut senders {
        sender.write_all(b"second").await.expect("written");
    }
    for read in reads {
        assert_eq!(read.await.expect("read"), b"second");
    }
    drop(senders);
    assert_eq!(read_some(&mut receivers[0], MOST).await.expect("read"), b"", "the end");
}
