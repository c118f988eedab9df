//! Incarnations in a slot: how they enter, end and are killed, and their sub-tasks.
//!
//! One and two incarnations without a bound (1,413 and 32,400 executions), the rest with up to three interruptions
//! (1,500 to 18,000).

use std::{
    future::pending,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use loom::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

use super::{Alone, explore};
use crate::{
    Clock, ExitKind, Policy,
    actor::step_aside,
    env::Env,
    exit::Exit,
    progress::Progress,
    slot::{Slot, Switch},
    sync::{AbortHandle, CancellationToken, block_on},
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
            // It can be killed here.
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

/// What a sub-task has. It notes whether it was dropped after the next incarnation began.
struct Belonging {
    next_began: Arc<AtomicBool>,
    dropped_late: Arc<std::sync::atomic::AtomicBool>,
    dropped: CancellationToken,
}

impl Drop for Belonging {
    fn drop(&mut self) {
        self.dropped_late.store(self.next_began.load(SeqCst), Relaxed);
        self.dropped.cancel();
    }
}

/// An incarnation that another thread starts two sub-tasks of, one of which ends by itself, while it ends or is killed.
fn sub_tasks_and_an_end(is_killed: bool) {
    explore(Some(3), move || {
        let (slot, tasks) = (slot(), Arc::<Tasks>::default());
        let (next_began, dropped_late) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let dropped = CancellationToken::new();
        let mut incarnation = block_on(slot.enter());
        let progress = slot.identity.progress.clone();
        let starter = {
            let (tasks, progress, presence) = (tasks.clone(), progress.clone(), incarnation.presence());
            let belonging = Belonging {
                next_began: next_began.clone(),
                dropped_late: Arc::clone(&dropped_late),
                dropped: dropped.clone(),
            };
            thread::spawn(move || {
                let endless = async move {
                    let _belonging = belonging;
                    pending().await
                };
                let first = tasks.start(presence.clone(), progress.clone(), endless);
                let second = tasks.start(presence, progress, async {});
                // What was refused once is refused from then on.
                let is_refused = |started: &Result<_, _>| matches!(started, Err(SpawnError::Ended));
                assert!(!is_refused(&first) || is_refused(&second));
                first.is_ok()
            })
        };
        if is_killed {
            tasks.close();
            drop(incarnation);
        } else {
            block_on(tasks.end());
            let late = tasks.start(incarnation.presence(), progress, async {});
            assert!(matches!(late, Err(SpawnError::Ended)));
            incarnation.ending(Exit::new(ExitKind::Finished, "it is done"));
            incarnation.end();
        }
        // The next one begins when the last sub-task has ended, and with it all that it had.
        let next = block_on(slot.enter());
        next_began.store(true, SeqCst);
        drop(next);
        let is_started = starter.join().unwrap();
        block_on(dropped.cancelled());
        assert!(!is_started || !dropped_late.load(Relaxed));
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
