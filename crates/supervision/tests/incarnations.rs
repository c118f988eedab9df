//! Two incarnations of an actor never run at once, whatever happens to them or their supervisors.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
};

use common::{
    HOUR, Hold, HoldsAtOnce, Idles, Job, Lowered, MS, Random, all_run, attempts, eventually, policy, record,
    size, start,
};
use supervision::{
    Actor, Child, Clock, Context, ExitKind, Failure, Inbox, Mailbox, Outcome, Overflow, Policy, Shutdown,
    State,
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

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        let _occupant = Occupant::enter(&self.room);
        while let Some(lease) = inbox.recv().await {
            fail::point("lingers::in_flight").await?;
            std::thread::sleep(MS / 2);
            tokio::task::yield_now().await;
            lease.ack();
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
    let mailboxes = ["alone", "a", "b"].map(|name| Mailbox::new(name, attempts(1_000), &clock));
    let views = mailboxes.each_ref().map(Mailbox::view);
    let addresses = mailboxes.each_ref().map(|mailbox| mailbox.address("test", Overflow::Wait));
    let mut at = 0;
    let [alone, a, b] = mailboxes.map(|mailbox| {
        let room = rooms[at].clone();
        at += 1;
        Child::actor(mailbox, move || Lingers { room: room.clone() }).policy(quick)
    });
    let inner = Child::supervisor("inner", vec![b]).policy(quick);
    let group = Child::supervisor("group", vec![a, inner]).policy(quick);
    let tree = start(&clock, vec![alone, group]).await;
    all_run(&tree).await;

    // Messages until the test ends.
    let feeders = addresses.map(|address| {
        tokio::spawn(async move {
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
    while strikes < size(300) || rooms.iter().any(|room| room.entered.load(SeqCst) <= 20) {
        strikes += 1;
        assert!(strikes < 100_000, "an actor does not come back");
        let victim = victims[random.below(victims.len() as u64) as usize];
        let points = tree.failure_points();
        match random.below(6) {
            0..=2 => {
                let _ = tree.kill(victim);
            }
            3 => points.arm("lingers::in_flight", victim, Fault::Panic, When::Nth(1)),
            4 => points.arm("lingers::in_flight", victim, Fault::Hang, When::Nth(1)),
            _ => {
                points.arm("supervisor::after_exit", "group", Fault::Panic, When::Nth(1));
                let _ = tree.kill("group/a");
            }
        }
        // Sometimes let all actors restart first, sometimes strike again at once.
        if random.below(3) == 0 {
            let entered = rooms.each_ref().map(|room| room.entered.load(SeqCst));
            let _ = tree.kill("group");
            eventually("one came back", || {
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
    tree.failure_points().disarm("lingers::in_flight");
    tree.failure_points().disarm("supervisor::after_exit");
    let report = tree.stop(HOUR).await;
    assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
    for feeder in feeders {
        feeder.await.expect("a sender ends when the mailbox is closed");
    }
    for (room, view) in rooms.iter().zip(&views) {
        assert_eq!((room.inside.load(SeqCst), room.most.load(SeqCst)), (0, 1));
        assert!(view.stats().is_conserved());
        assert_eq!(view.stats().in_flight, 0);
    }
}

/// Never yields between its start and its end, so that nothing can end it.
struct Busy {
    room: Arc<Room>,
    hold: Arc<std::sync::Mutex<()>>,
}

impl Actor for Busy {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        let _occupant = Occupant::enter(&self.room);
        while let Some(lease) = inbox.recv().await {
            drop(self.hold.lock());
            tokio::task::yield_now().await;
            lease.ack();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_successor_of_an_actor_that_can_not_be_killed_waits_at_the_gate() {
    // 1 attempt; 100 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let room = Arc::new(Room::default());
    let hold = Arc::new(std::sync::Mutex::new(()));
    let mailbox = Mailbox::new("busy", attempts(1), &clock);
    let (address, view) = (mailbox.address("test", Overflow::Wait), mailbox.view());
    let busy = Child::actor(mailbox, {
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
    address.send(common::job(0)).await.expect("accepted");
    eventually("it is busy", || view.stats().in_flight == 1).await;
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
    assert_eq!((health.generation, room.inside.load(SeqCst), view.stats().in_flight), (1, 1, 1));
    release.send(()).expect("the holder waits");
    holder.join().expect("the holder does not fail").expect("released");
    eventually("the message is handled by a successor", || view.stats().handled == 1).await;
    assert_eq!((room.most.load(SeqCst), record(&tree, "group/busy").exits(ExitKind::Killed)), (1, 1));
    assert!(view.stats().is_conserved());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_late_end_of_an_incarnation_that_was_abandoned_is_not_that_of_its_successor() {
    // 100 restarts an hour; 1 ms before each. The second child holds its thread while its siblings are started again.
    let quick = policy((100, HOUR), (MS, MS));
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let second = Child::worker("second", {
        let hold = hold.clone();
        move || HoldsAtOnce(hold.clone())
    });
    let second = second.policy(Policy { shutdown: Shutdown::Within(MS), start_within: HOUR, ..quick });
    let group = Child::rest_for_one("group", vec![Child::worker("first", || Idles).policy(quick), second]);
    let tree = start(&Clock::system(), vec![group.policy(quick)]).await;
    all_run(&tree).await;
    assert!(tree.kill("group/first"));
    eventually("its successor waits at the gate", || {
        let health = record(&tree, "group/second");
        (health.state, health.generation) == (State::Starting, 1)
    })
    .await;
    hold.lower();
    eventually("its successor runs", || {
        let health = record(&tree, "group/second");
        (health.state, health.generation) == (State::Running, 2)
    })
    .await;
    assert_eq!(record(&tree, "group/second").exits.iter().sum::<u64>(), 1);
    // It is the one that its supervisor knows: it stops when it is asked.
    let report = tree.stop(HOUR).await;
    assert_eq!((report.outcome, report.left_behind, report.abandoned), (Outcome::Stopped, 0, Vec::new()));
}
