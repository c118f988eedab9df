//! No leaks: no task, thread, actor or message is left behind. Alone in its process, whose threads it counts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use common::{HOUR, MINUTE, MS, all_run, attempts, each, eventually, policy, record, start};
use serde::{Deserialize, Serialize};
use supervision::{
    Actor, Child, Clock, Context, Failure, Inbox, Lease, Mailbox, Message, Outcome, Overflow, Policy,
    Shutdown,
    fail::{Fault, When},
};
use tokio::runtime::Handle;

/// A message whose copies can be counted.
#[derive(Serialize, Deserialize)]
struct Counted {
    number: u64,
    #[serde(skip)]
    _alive: Arc<()>,
}

impl Message for Counted {}

struct Keeps {
    _alive: Arc<()>,
}

impl Actor for Keeps {
    type Message = Counted;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Counted>) -> Result<(), Failure> {
        let lease = inbox.recv().await;
        std::future::pending::<()>().await;
        drop(lease);
        Ok(())
    }
}

fn watches() -> usize {
    std::fs::read_dir("/proc/self/task")
        .expect("threads of this process")
        .filter_map(Result::ok)
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok())
        .filter(|name| name.trim_end() == "progress-watch")
        .count()
}

/// A tree with everything that can happen: crashes, dead letters, kills, a supervisor's panic, waiting messages.
async fn a_whole_life(messages: &Arc<()>, actors: &Arc<()>, orderly: bool) {
    // 1 attempt; 1,000 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let quick = policy((1_000, HOUR), (MS, MS));
    let mailboxes = ["worker", "keeps"].map(|name| Mailbox::new(name, attempts(1), &clock));
    let views = mailboxes.each_ref().map(Mailbox::view);
    let addresses = mailboxes.each_ref().map(|mailbox| mailbox.address("test", Overflow::Wait));
    let [worker, keeps] = mailboxes;
    let worker = each(worker, |lease: Lease<'_, Counted>| {
        assert!(!lease.number.is_multiple_of(10), "{} ends in zero", lease.number);
        lease.ack();
        Ok(())
    });
    let keeps = Child::actor(keeps, {
        let actors = actors.clone();
        move || Keeps { _alive: actors.clone() }
    });
    let keeps = keeps.policy(Policy { shutdown: Shutdown::Within(20 * MS), ..quick });
    let group = Child::supervisor("group", vec![worker.policy(quick), keeps]).policy(quick);
    let tree = start(&clock, vec![group]).await;
    all_run(&tree).await;
    eventually("the watch has its thread", || watches() == 1).await;
    for address in &addresses {
        for number in 0..100 {
            let message = Counted { number, _alive: messages.clone() };
            address.try_send(message).map_err(|_| "no room").expect("room");
        }
    }
    eventually("the worker is through", || views[0].stats().handled == 90).await;
    eventually("the other has one in flight", || views[1].stats().in_flight > 0).await;
    // Ten dead letters, and a hundred messages that wait or are in flight.
    assert_eq!(Arc::strong_count(messages), 1 + 10 + 100);
    tree.failure_points().arm("supervisor::after_exit", "group", Fault::Panic, When::Nth(1));
    assert!(tree.kill("group/keeps"));
    eventually("the supervisor is back", || record(&tree, "group").generation == 2).await;
    all_run(&tree).await;
    if orderly {
        let report = tree.stop(MINUTE).await;
        assert_eq!((report.outcome, report.left_behind, report.abandoned.len()), (Outcome::Stopped, 0, 0));
    }
    drop(tree);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_actor_task_thread_or_message_is_left_behind() {
    let (messages, actors) = (Arc::new(()), Arc::new(()));
    let tasks = Handle::current().metrics().num_alive_tasks();
    for round in 0..6 {
        a_whole_life(&messages, &actors, round % 2 == 0).await;
        let alive = || Handle::current().metrics().num_alive_tasks();
        eventually("all tasks are gone", || alive() == tasks).await;
        eventually("all actors are freed", || Arc::strong_count(&actors) == 1).await;
        eventually("all messages are freed", || Arc::strong_count(&messages) == 1).await;
        eventually("its thread is gone", || watches() == 0).await;
    }
}
