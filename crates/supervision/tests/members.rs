//! Members that come and go leave nothing behind. A test alone in its process, since it reads the memory of that.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

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
    let actors: Arc<()> = Arc::default();
    let round = async |number: usize| {
        let clock = Clock::system();
        let mailbox: Mailbox<Job> = Mailbox::new(format!("markets/{number}/worker"), attempts(2), &clock);
        let actors = actors.clone();
        let worker = each("worker", &mailbox, move |lease| {
            let _counted = &actors;
            lease.settle();
            Ok(())
        });
        tree.add_child("markets", Child::supervisor(number.to_string(), vec![worker])).expect("added");
        soon("it is removed", tree.remove_child(&format!("markets/{number}"))).await.expect("removed");
    };
    for number in 0..100 {
        round(number).await;
    }
    let before = (resident(), paths(&tree), tree.watched());
    for number in 0..10_000 {
        round(number).await;
    }
    assert_eq!(paths(&tree), before.1);
    // The watch forgets removed members when the next one is added, so those of the last round may still be there.
    let watched = tree.watched();
    assert!(watched <= before.2 + 2, "the watch keeps {watched} actors in mind");
    eventually("no actor is kept", || Arc::strong_count(&actors) == 1).await;
    // The tree's own tasks: supervisors and workers that stay, and their timers.
    eventually("no task is left", || tasks() < 30).await;
    let grown = resident().saturating_sub(before.0);
    assert!(grown < 8 << 20, "10,000 members left {grown} bytes behind");
    assert_eq!(tree.stop(10 * common::SECOND).await.left_behind, 0);
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") << 10
}
