//! The marks of progress, which the watch reads while the actor sets them. Without a bound; 24 to 25,800 executions.

use std::sync::Arc;

use loom::thread;

use super::explore;
use crate::progress::{Activity, Progress, Pulse};

/// The time of the last look, and of the one that an actor must not be taken for stalled by.
const LOOKS: (u64, u64) = (99, 100);

/// An actor that entered at 1 and has set no mark since.
fn quiet_actor() -> (Arc<Pulse>, Arc<Progress>) {
    let pulse = Pulse::new(1);
    let progress = Arc::new(Progress::new(&pulse));
    progress.entered();
    (pulse, progress)
}

/// A look of the watch: the actor may seem to have worked since the look before, but not longer.
fn look(pulse: &Arc<Pulse>, progress: &Arc<Progress>) -> thread::JoinHandle<()> {
    let (pulse, progress) = (pulse.clone(), progress.clone());
    thread::spawn(move || {
        pulse.beat(LOOKS.1);
        let worked = progress.worked_for(LOOKS.1);
        assert!(
            worked.is_none_or(|worked| worked <= LOOKS.1 - LOOKS.0),
            "it seems to have worked for {worked:?}"
        );
    })
}

#[test]
fn an_actor_that_waited_long_does_not_seem_to_have_worked_long() {
    explore(None, || {
        let (pulse, progress) = quiet_actor();
        let idling = progress.idling();
        pulse.beat(LOOKS.0);
        let watch = look(&pulse, &progress);
        drop(idling);
        watch.join().unwrap();
        assert_eq!(progress.activity(), Activity::Working);
    });
}

#[test]
fn an_actor_that_goes_from_one_wait_to_another_does_not_seem_to_work() {
    explore(None, || {
        let (pulse, progress) = quiet_actor();
        let wait = progress.blocked();
        pulse.beat(LOOKS.0);
        let watch = look(&pulse, &progress);
        progress.unblocked(wait);
        let idling = progress.idling();
        drop(idling);
        progress.blocked();
        watch.join().unwrap();
        assert_eq!(progress.activity(), Activity::Blocked);
    });
}

#[test]
fn a_new_incarnation_does_not_seem_to_have_worked_before_it_began() {
    explore(None, || {
        let (pulse, progress) = quiet_actor();
        progress.left();
        pulse.beat(LOOKS.0);
        let watch = look(&pulse, &progress);
        progress.entered();
        watch.join().unwrap();
    });
}
