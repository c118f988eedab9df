//! A crash that loses nothing: an actor panics at every tenth message and is restarted; each message is handled once, and
//! one that can't be handled becomes a dead letter.
//!
//! Run it with `cargo run --package supervision --example crash`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use supervision::{
    Actor, Backoff, Child, Clock, Context, ExitKind, Failure, Inbox, Intensity, Limits, Mailbox, Message,
    Overflow, Policy, Tree, TreeOptions,
};

#[derive(Serialize, Deserialize)]
struct Job(u64);

impl Message for Job {}

/// Adds up the numbers of its jobs. The sum stands for a database: it outlives the actor.
struct Worker(Arc<AtomicU64>);

impl Actor for Worker {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(job) = inbox.recv().await {
            // Number 13 fails at each attempt, the others at the first one only.
            assert!(job.0 != 13, "job 13 can't be done");
            assert!(job.0 % 10 != 0 || job.attempt() > 1, "job {} fails once", job.0);
            self.0.fetch_add(job.0, Relaxed);
            job.ack();
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mailbox = Mailbox::new("worker", Limits::default(), &Clock::system());
    let (edge, view) = (mailbox.address("main", Overflow::Wait), mailbox.view());
    let sum = Arc::new(AtomicU64::new(0));
    let second = Duration::from_secs(1);
    let policy = Policy {
        intensity: Intensity { max_restarts: 100, within: 60 * second },
        backoff: Backoff { first: second / 1_000, max: second / 100, jitter: true, reset_after: second },
        ..Policy::default()
    };
    let worker = Child::actor(mailbox, {
        let sum = sum.clone();
        move || Worker(sum.clone())
    });
    let tree = Tree::start(vec![worker.policy(policy)], TreeOptions::default()).await?;
    for number in 1..=100 {
        edge.send(Job(number)).await.map_err(|error| error.to_string())?;
    }
    while view.stats().handled + view.stats().dead_lettered < 100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let health = tree.health();
    let worker = health.iter().find(|actor| actor.path == "worker").ok_or("there is no worker")?;
    println!("{} crashes; the sum is {}", worker.exits(ExitKind::Panicked), sum.load(Relaxed));
    for letter in tree.dead_letters() {
        println!("dead letter {} after {} attempts: {}", letter.message, letter.attempts, letter.reason);
    }
    // 1 to 100 without 13, each once; ten failed once, and one twice.
    assert_eq!((sum.load(Relaxed), worker.exits(ExitKind::Panicked)), (5_050 - 13, 12));
    tree.stop(Duration::from_secs(5)).await;
    Ok(())
}
