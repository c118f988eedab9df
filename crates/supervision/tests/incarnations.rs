//! Two incarnations of an actor never run at once, whatever happens to them or their supervisors.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
};

use common::{HOUR, Job, MS, Random, all_run, attempts, eventually, policy, record, start};
use supervision::{
    Actor, Child, Clock, Context, ExitKind, Failure, Mailbox, Outcome, Overflow, Policy, State,
    fail::{self, Fault, When},
};

/// The number of running incarnations of one actor.
#[derive(Default)]
struct Room {
    inside: AtomicUsize,
    most: AtomicUsize,
    entered: AtomicU64,
}

struct Occupant(Arc<Room>);

impl Occupant {
    fn enter(room: &Arc<Room>) -> Self {
        let inside = room.inside.fetch_add(1, SeqCst) + 1;
        room.most.fetch_max(inside, SeqCst);
        room.entered.fetch_add(1, SeqCst);
        Self(room.clone())
    }
}

impl Drop for Occupant {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, SeqCst);
    }
}

/// Keeps its thread busy for a moment with each message, so that a kill finds it in the middle of a poll.
struct Lingers {
    room: Arc<Room>,
}

impl Actor for Lingers {
    type Message = Job;

    async fn run(&mut self, cx: &mut Context<Job>) -> Result<(), Failure> {
        let _occupant = Occupant::enter(&self.room);
        while let Some(lease) = cx.recv().await {
            fail::point("lingers::in_hand").await?;
            std::thread::sleep(MS / 2);
            tokio::task::yield_now().await;
            lease.settle();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_incarnations_of_an_actor_never_run_at_once() {
    // 1,000 attempts; 10,000 restarts an hour; 0.1 ms before each; a stall is 20 ms without progress.
    let clock = Clock::system();
    let quick = Policy { stall_after: Some(20 * MS), ..policy((10_000, HOUR), (MS / 10, MS / 10)) };
    let paths = ["alone", "group/a", "group/inner/b"];
    let rooms = paths.map(|_| Arc::new(Room::default()));
    let mailboxes = paths.map(|path| Mailbox::new(path, attempts(1_000), &clock));
    let lingers = |at: usize, name: &str| {
        let room = rooms[at].clone();
        Child::actor(name, &mailboxes[at], move || Lingers { room: room.clone() }).policy(quick)
    };
    let inner = Child::supervisor("inner", vec![lingers(2, "b")]).policy(quick);
    let group = Child::supervisor("group", vec![lingers(1, "a"), inner]).policy(quick);
    let tree = start(&clock, vec![lingers(0, "alone"), group]).await;
    all_run(&tree).await;

    // Messages until the test ends.
    let feeders = mailboxes.clone().map(|mailbox| {
        tokio::spawn(async move {
            let address = mailbox.address("test", Overflow::Wait);
            let mut number = 0;
            while address.send(Job { sender: 0, number }).await.is_ok() {
                number += 1;
            }
        })
    });
    let mut random = Random::seeded();
    let victims = ["alone", "group/a", "group/inner/b", "group/inner", "group"];
    // Until each has come back often enough to mean something, however the strikes fall.
    let mut strikes = 0;
    while strikes < 300 || rooms.iter().any(|room| room.entered.load(SeqCst) <= 20) {
        strikes += 1;
        assert!(strikes < 100_000, "somebody does not come back");
        let victim = victims[random.below(victims.len() as u64) as usize];
        let points = tree.failure_points();
        match random.below(6) {
            0..=2 => {
                let _ = tree.kill(victim);
            }
            3 => points.arm("lingers::in_hand", victim, Fault::Panic, When::Nth(1)),
            4 => points.arm("lingers::in_hand", victim, Fault::Hang, When::Nth(1)),
            _ => {
                points.arm("supervisor::after_exit", "group", Fault::Panic, When::Nth(1));
                let _ = tree.kill("group/a");
            }
        }
        // Sometimes let all actors restart first, sometimes strike again at once.
        if random.below(3) == 0 {
            let entered = rooms.each_ref().map(|room| room.entered.load(SeqCst));
            let _ = tree.kill("group");
            eventually("somebody came back", || {
                rooms[1].entered.load(SeqCst) > entered[1] || rooms[2].entered.load(SeqCst) > entered[2]
            })
            .await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    for (room, path) in rooms.iter().zip(paths) {
        assert_eq!(room.most.load(SeqCst), 1, "incarnations of {path} at once");
    }
    let exits = |kind| tree.health().iter().map(|actor| actor.exits(kind)).sum::<u64>();
    for kind in [ExitKind::Killed, ExitKind::Panicked] {
        assert!(exits(kind) > 0, "{kind:?} is part of this test");
    }
    tree.failure_points().disarm("lingers::in_hand");
    tree.failure_points().disarm("supervisor::after_exit");
    let report = tree.stop(HOUR).await;
    assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
    for feeder in feeders {
        feeder.await.expect("a sender ends when the mailbox is closed");
    }
    for (room, mailbox) in rooms.iter().zip(&mailboxes) {
        assert_eq!((room.inside.load(SeqCst), room.most.load(SeqCst)), (0, 1));
        assert!(mailbox.stats().is_conserved());
        assert_eq!(mailbox.stats().in_hand, 0);
    }
}

/// Never yields between its start and its end, so that nothing can end it.
struct Busy {
    room: Arc<Room>,
    hold: Arc<std::sync::Mutex<()>>,
}

impl Actor for Busy {
    type Message = Job;

    async fn run(&mut self, cx: &mut Context<Job>) -> Result<(), Failure> {
        let _occupant = Occupant::enter(&self.room);
        while let Some(lease) = cx.recv().await {
            drop(self.hold.lock());
            tokio::task::yield_now().await;
            lease.settle();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_successor_of_an_actor_that_can_not_be_killed_waits_at_the_door() {
    // 1 attempt; 100 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let room = Arc::new(Room::default());
    let hold = Arc::new(std::sync::Mutex::new(()));
    let mailbox = Mailbox::new("group/busy", attempts(1), &clock);
    let busy = Child::actor("busy", &mailbox, {
        let (room, hold) = (room.clone(), hold.clone());
        move || Busy { room: room.clone(), hold: hold.clone() }
    });
    let quick = policy((100, HOUR), (MS, MS));
    let tree = start(&clock, vec![Child::supervisor("group", vec![busy.policy(quick)]).policy(quick)]).await;
    all_run(&tree).await;
    // Held by a thread of its own: a guard must not live across an await.
    let (release, released) = std::sync::mpsc::channel::<()>();
    let holder = std::thread::spawn({
        let hold = hold.clone();
        move || {
            let _held = hold.lock().expect("not poisoned");
            released.recv()
        }
    });
    eventually("it is held", || hold.try_lock().is_err()).await;
    mailbox.address("test", Overflow::Wait).send(common::job(0)).await.expect("accepted");
    eventually("it is busy", || mailbox.stats().in_hand == 1).await;
    // Its supervisor dies twice; the third one waits with a third child behind the first one.
    for (generation, child) in [(1, State::Running), (2, State::Starting)] {
        let state = || record(&tree, "group/busy").state;
        eventually("it has its child", || {
            record(&tree, "group").generation == generation && state() == child
        })
        .await;
        assert!(tree.kill("group"));
    }
    eventually("there is a third one", || record(&tree, "group").generation == 3).await;
    let health = record(&tree, "group/busy");
    assert_eq!((health.generation, room.inside.load(SeqCst), mailbox.stats().in_hand), (1, 1, 1));
    release.send(()).expect("the holder waits");
    holder.join().expect("the holder does not fail").expect("released");
    eventually("the message is handled by a successor", || mailbox.stats().handled == 1).await;
    assert_eq!((room.most.load(SeqCst), record(&tree, "group/busy").exits(ExitKind::Killed)), (1, 1));
    assert!(mailbox.stats().is_conserved());
}
