//! Members that come and go leave nothing behind. A test alone in its process, whose memory it counts at the allocator.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "common/allocator.rs"]
mod allocator;
mod common;

use std::sync::Arc;

use allocator::live;
use common::{HOUR, Job, MS, all_run, attempts, each, eventually, policy, soon, start};
use supervision::{Child, Clock, Mailbox, Tree};
use tokio::runtime::Handle;

fn paths(tree: &Tree) -> Vec<String> {
    tree.health().into_iter().map(|actor| actor.path).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_members_in_and_out_leave_nothing_behind() {
    let quick = policy((1_000, HOUR), (MS, MS));
    let tree = start(&Clock::system(), vec![Child::supervisor("markets", Vec::new()).policy(quick)]).await;
    all_run(&tree).await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    // One more comes with the first member: the timers of its supervisor.
    let at_rest = tasks();
    let actors: Arc<()> = Arc::default();
    let round = async |number: usize| {
        let mailbox: Mailbox<Job> = Mailbox::new("worker", attempts(2), &Clock::system());
        let actors = actors.clone();
        let worker = each(mailbox, move |lease| {
            let _counted = &actors;
            lease.ack();
            Ok(())
        });
        tree.add_child("markets", Child::supervisor(number.to_string(), vec![worker])).expect("added");
        soon("it is removed", tree.remove_child(&format!("markets/{number}"))).await.expect("removed");
    };
    for number in 0..100 {
        round(number).await;
    }
    eventually("the tasks of removed members have ended", || tasks() <= at_rest + 1).await;
    let known = paths(&tree);
    let before = live();
    for number in 0..10_000 {
        round(number).await;
    }
    assert_eq!(paths(&tree), known);
    // The watch forgets removed members from time to time, however few exist.
    assert!(tree.watched() <= 64, "the watch knows {} actors", tree.watched());
    eventually("no actor is kept", || Arc::strong_count(&actors) == 1).await;
    eventually("no task is left", || tasks() <= at_rest + 1).await;
    // 100 bytes for each member would be 1 MB.
    eventually("no memory is kept", || live() < before + (256 << 10)).await;
    assert_eq!(tree.stop(10 * common::SECOND).await.left_behind, 0);
}
