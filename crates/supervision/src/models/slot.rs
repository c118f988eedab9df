//! Incarnations in a slot: how they enter, end and are killed, and their sub-tasks.
//!
//! One and two incarnations without a bound (1,413 and 32,400 executions), the rest with up to three interruptions
//! (1,500 to 18,000).

use std::{
    future::{pending, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use loom::{cell::UnsafeCell, thread};

use super::explore;
use crate::{
    Clock, ExitKind, Policy,
    env::Env,
    exit::Exit,
    progress::Progress,
    slot::{Slot, Switch},
    sync::{AbortHandle, block_on},
    tasks::{SpawnError, Tasks},
};

fn slot() -> Arc<Slot> {
    let env = Env::new(Clock::manual(Duration::ZERO), 1, 0);
    Slot::new("actor".into(), Arc::new(Policy::default()), None, false, &env)
}

struct Kill(AbortHandle);

impl Switch for Kill {
    fn kill(&self) {
        self.0.abort();
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// What only one incarnation at a time may use: `loom` fails where two uses are not ordered.
#[derive(Default)]
struct Alone(UnsafeCell<u64>);

impl Alone {
    #[allow(unsafe_code)]
    fn step(&self) {
        // SAFETY: the slot has one incarnation at a time, which is what `loom` checks here.
        self.0.with_mut(|steps| unsafe { *steps += 1 });
    }
}

/// An await at which an incarnation can be killed.
async fn step_aside() {
    let mut is_first = true;
    poll_fn(|cx| {
        if std::mem::take(&mut is_first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// An incarnation as its supervisor starts it: the slot knows how to kill it before it begins. It works, and finishes.
fn incarnate(slot: &Arc<Slot>, alone: &Arc<Alone>) -> thread::JoinHandle<()> {
    let handle = AbortHandle::default();
    slot.spawned(Arc::new(Kill(handle.clone())));
    let (slot, alone) = (slot.clone(), alone.clone());
    thread::spawn(move || {
        handle.run(async move {
            let mut incarnation = slot.enter().await;
            alone.step();
            slot.ready();
            step_aside().await;
            alone.step();
            incarnation.ending(Exit::new(ExitKind::Finished, "it is done"));
            incarnation.end();
        });
    })
}

/// Every incarnation that entered has one end, and the slot is free.
fn assert_ended(slot: &Slot) {
    assert!(!slot.has_incarnation());
    assert_eq!(*slot.env().live.borrow(), 0);
    let ends = slot.exits(ExitKind::Finished) + slot.exits(ExitKind::Killed);
    assert_eq!(ends, slot.generation());
}

#[test]
fn a_kill_and_an_end_at_once_are_one_end() {
    explore(None, || {
        let (slot, alone) = (slot(), Arc::<Alone>::default());
        let incarnation = incarnate(&slot, &alone);
        assert!(slot.kill(ExitKind::Killed, "a test".to_owned()));
        // It is the first reason that counts.
        slot.kill(ExitKind::Stalled, "a second reason".to_owned());
        incarnation.join().unwrap();
        assert_ended(&slot);
        // It may have been killed before it entered, and then has no end.
        assert_eq!(slot.take_exit().is_some(), slot.generation() == 1);
    });
}

#[test]
fn a_successor_begins_when_its_killed_predecessor_has_ended() {
    explore(None, || {
        let (slot, alone) = (slot(), Arc::<Alone>::default());
        let first = incarnate(&slot, &alone);
        slot.kill(ExitKind::Killed, "a test".to_owned());
        let second = incarnate(&slot, &alone);
        first.join().unwrap();
        second.join().unwrap();
        assert_ended(&slot);
        // Nobody killed the second one.
        assert!(slot.exits(ExitKind::Finished) > 0);
    });
}

#[test]
fn a_successor_that_is_killed_while_it_waits_keeps_nobody_out() {
    explore(Some(3), || {
        let (slot, alone) = (slot(), Arc::<Alone>::default());
        let first = incarnate(&slot, &alone);
        let second = incarnate(&slot, &alone);
        slot.kill(ExitKind::Killed, "a test".to_owned());
        let third = incarnate(&slot, &alone);
        [first, second, third].into_iter().for_each(|incarnation| incarnation.join().unwrap());
        assert_ended(&slot);
    });
}

/// Counts itself while it exists.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Relaxed);
        Self(alive.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// An incarnation that another thread starts two sub-tasks of, one of which ends by itself, while it ends or is killed.
fn sub_tasks_and_an_end(is_killed: bool) {
    explore(Some(3), move || {
        let (slot, tasks, alive) = (slot(), Arc::<Tasks>::default(), Arc::default());
        let mut incarnation = block_on(slot.enter());
        let starter = {
            let (tasks, alive, presence) = (tasks.clone(), Arc::clone(&alive), incarnation.presence());
            let progress = slot.identity.progress.clone();
            thread::spawn(move || {
                let counted = Counted::new(&alive);
                let endless = async move {
                    let _counted = counted;
                    pending().await
                };
                let first = tasks.start(presence.clone(), progress.clone(), endless);
                let second = tasks.start(presence, progress, async {});
                // What was refused once is refused from then on.
                let is_refused = |started: &Result<_, _>| matches!(started, Err(SpawnError::Ended));
                assert!(!is_refused(&first) || is_refused(&second));
            })
        };
        if is_killed {
            tasks.close();
            drop(incarnation);
        } else {
            block_on(tasks.end());
            incarnation.ending(Exit::new(ExitKind::Finished, "it is done"));
            incarnation.end();
        }
        // The next one begins when the last sub-task has ended, and with it all that it had.
        let next = block_on(slot.enter());
        assert_eq!(alive.load(Relaxed), 0);
        drop(next);
        starter.join().unwrap();
        assert!(!slot.has_incarnation());
        assert_eq!(*slot.env().live.borrow(), 0);
    });
}

#[test]
fn no_sub_task_outlives_an_incarnation_that_ends() {
    sub_tasks_and_an_end(false);
}

#[test]
fn no_sub_task_outlives_an_incarnation_that_is_killed() {
    sub_tasks_and_an_end(true);
}

#[test]
fn a_panic_of_a_sub_task_reaches_its_actor_whatever_else_ends() {
    explore(Some(3), || {
        let (slot, tasks) = (slot(), Arc::<Tasks>::default());
        let mut incarnation = block_on(slot.enter());
        let start = |work| {
            let progress: Arc<Progress> = slot.identity.progress.clone();
            tasks.start(incarnation.presence(), progress, work).unwrap()
        };
        for is_faulty in [false, true] {
            start(async move {
                if is_faulty {
                    // Unlike `panic!`, it does not call the hook, which would print it at each execution.
                    std::panic::resume_unwind(Box::new("a test"));
                }
            });
        }
        let panicked = block_on(tasks.crashed());
        assert_eq!(panicked.message, "a test");
        block_on(tasks.end());
        incarnation.ending(Exit::panicked(panicked));
        incarnation.end();
        assert_eq!(slot.exits(ExitKind::Panicked), 1);
    });
}
