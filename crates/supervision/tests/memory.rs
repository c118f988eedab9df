//! The process does not grow, however slow a receiver is: measured at the allocator, alone in its process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "common/allocator.rs"]
mod allocator;
mod common;

use std::sync::Arc;

use allocator::growth;
use common::{HOUR, MINUTE, MS, all_run, attempts, eventually, policy, start};
use serde::{Deserialize, Serialize};
use supervision::{Actor, Child, Clock, Context, Failure, Inbox, Limits, Mailbox, Message, Overflow};
use tokio::sync::Semaphore;

/// 4 KiB, and of one kind, so that an edge may merge it.
#[derive(Clone, Serialize, Deserialize)]
struct Heavy(Vec<u8>);

impl Message for Heavy {
    fn weight(&self) -> usize {
        size_of_val(self) + self.0.capacity()
    }

    fn merge(&mut self, newer: Self) -> Result<(), Self> {
        *self = newer;
        Ok(())
    }
}

const HEAVY: usize = 4 << 10;
const MESSAGES: u64 = 20_000;

fn heavy() -> Heavy {
    Heavy(vec![7; HEAVY])
}

/// Fails over every hundredth message, dead-letters every tenth, and handles only as many as it has permits for. (It does
/// not panic: the first backtrace of a process reads its debug information into memory, once.)
struct Slow(Arc<Semaphore>);

impl Actor for Slow {
    type Message = Heavy;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Heavy>) -> Result<(), Failure> {
        while let Some(lease) = inbox.recv().await {
            self.0.acquire().await?.forget();
            match lease.sequence() {
                sequence if sequence.is_multiple_of(100) => return Err("a hundredth message".into()),
                sequence if sequence.is_multiple_of(10) => lease.dead_letter("a tenth message"),
                _ => lease.ack(),
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_receiver_does_not_make_the_process_grow() {
    // 1 attempt; 10,000 restarts an hour; 0.1 ms before each. 80 MB are sent through 32 messages of room.
    let limits = Limits { capacity: 32, bytes: 1 << 20, batch: 8, dead_letters: 16, ..attempts(1) };
    let clock = Clock::system();
    for overflow in [Overflow::Wait, Overflow::CoalesceOrWait, Overflow::DropOldest] {
        let mailbox = Mailbox::new("slow", limits, &clock);
        let (address, view) = (mailbox.address("test", overflow), mailbox.view());
        let allowed = Arc::new(Semaphore::new(0));
        let slow = Child::actor(mailbox, {
            let allowed = allowed.clone();
            move || Slow(allowed.clone())
        });
        let tree = start(&clock, vec![slow.policy(policy((10_000, HOUR), (MS / 10, MS / 10)))]).await;
        all_run(&tree).await;
        let mut most_waiting = 0;
        let grown = growth(async {
            let sending = tokio::spawn(async move {
                for _ in 0..MESSAGES {
                    address.send(heavy()).await.expect("accepted");
                }
            });
            eventually("the sender is far ahead, or waits", || {
                view.stats().senders_waiting == 1 || view.stats().accepted > 10_000
            })
            .await;
            // From now on the receiver handles a few messages at a time.
            eventually("all are sent", || {
                most_waiting = most_waiting.max(view.stats().waiting);
                allowed.add_permits(100);
                sending.is_finished()
            })
            .await;
            sending.await.expect("the sender does not fail");
        })
        .await;
        let stats = view.stats();
        assert_eq!(stats.accepted, MESSAGES);
        assert!(stats.is_conserved(), "{stats:?}");
        assert!(stats.high_water <= 32 && most_waiting <= 32 + 8, "{stats:?}");
        match overflow {
            Overflow::Wait => assert!(stats.waits > 0 && stats.coalesced + stats.dropped == 0, "{stats:?}"),
            Overflow::CoalesceOrWait => {
                assert!(stats.coalesced > 0 && stats.waits + stats.dropped == 0, "{stats:?}")
            }
            Overflow::Coalesce => unreachable!("it is not among them"),
            Overflow::DropOldest => {
                assert!(stats.dropped > 0 && stats.waits + stats.coalesced == 0, "{stats:?}")
            }
        }
        // Those that wait, are in flight, are dead letters, and what the sender holds: 60 messages. The rest are timers of restarts.
        let messages = (32 + 8 + 16 + 4) * (HEAVY + 64);
        println!("{overflow:?}: grew by {grown} bytes, of which {messages} may be messages");
        assert!(grown < messages + (1 << 20), "{overflow:?} grew by {grown} bytes");
        allowed.add_permits(1_000_000);
        tree.stop(MINUTE).await;
    }
}
