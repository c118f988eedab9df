//! The gate of a slot: two and three that enter, the order of the line, and one that gives up at each moment.
//!
//! Without a bound, but for the order of the line, which has four threads: 8,580 executions with up to three interruptions. The
//! others have 4,000 to 82,000.

use std::{pin::Pin, sync::Arc};

use loom::{cell::UnsafeCell, thread};

use super::{explore, poll_once};
use crate::{
    gate::{Gate, Pass},
    sync::block_on,
};

/// What the gate protects: `loom` fails where two accesses are not ordered.
struct Inside {
    gate: Arc<Gate>,
    order: UnsafeCell<Vec<u8>>,
}

type Entering = Pin<Box<dyn Future<Output = Pass>>>;

impl Inside {
    fn new() -> Arc<Self> {
        Arc::new(Self { gate: Arc::default(), order: UnsafeCell::new(Vec::new()) })
    }

    fn entering(&self) -> Entering {
        let gate = self.gate.clone();
        Box::pin(async move { gate.enter().await })
    }

    /// Works inside.
    #[allow(unsafe_code)]
    fn work(&self, who: u8) {
        assert!(self.gate.is_taken());
        // SAFETY: the gate admits one at a time, which is what `loom` checks here.
        self.order.with_mut(|order| unsafe { (*order).push(who) });
    }

    fn visit(self: &Arc<Self>, who: u8, entering: Entering) -> thread::JoinHandle<()> {
        let inside = self.clone();
        thread::spawn(move || {
            let pass = block_on(entering);
            inside.work(who);
            drop(pass);
        })
    }

    #[allow(unsafe_code)]
    fn order(&self) -> Vec<u8> {
        assert!(!self.gate.is_taken());
        // SAFETY: as above; all threads are joined.
        self.order.with(|order| unsafe { (*order).clone() })
    }
}

#[test]
fn three_enter_one_at_a_time_and_all_of_them_do() {
    explore(None, || {
        let inside = Inside::new();
        let threads = [1, 2].map(|who| inside.visit(who, inside.entering()));
        let pass = block_on(inside.gate.enter());
        inside.work(0);
        drop(pass);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(inside.order().len(), 3);
    });
}

#[test]
fn two_enter_twice() {
    explore(None, || {
        let inside = Inside::new();
        let other = {
            let inside = inside.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    let pass = block_on(inside.gate.enter());
                    inside.work(1);
                    drop(pass);
                }
            })
        };
        for _ in 0..2 {
            let pass = block_on(inside.gate.enter());
            inside.work(0);
            drop(pass);
        }
        other.join().unwrap();
        assert_eq!(inside.order().len(), 4);
    });
}

#[test]
fn those_in_line_enter_in_their_order_and_before_one_that_comes_later() {
    explore(Some(3), || {
        let inside = Inside::new();
        let pass = block_on(inside.gate.enter());
        let mut waiting = [1, 2].map(|who| (who, inside.entering()));
        for (_, entering) in &mut waiting {
            assert!(poll_once(entering.as_mut()).is_pending());
        }
        let mut threads: Vec<_> = waiting.into_iter().map(|(who, it)| inside.visit(who, it)).collect();
        threads.push(inside.visit(3, inside.entering()));
        drop(pass);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(inside.order(), [1, 2, 3]);
    });
}

/// One in the middle of the line gives up after `polls` polls; before it was in line, while it waits, or when it was just woken.
fn one_gives_up(polls: usize) {
    explore(None, move || {
        let inside = Inside::new();
        let pass = block_on(inside.gate.enter());
        let mut giving_up = inside.entering();
        let early = usize::from(polls > 1);
        for _ in 0..early {
            assert!(poll_once(giving_up.as_mut()).is_pending());
        }
        let mut behind = inside.entering();
        assert!(poll_once(behind.as_mut()).is_pending());
        let behind = inside.visit(1, behind);
        let leaving = {
            let inside = inside.clone();
            thread::spawn(move || {
                for _ in early..polls {
                    if let std::task::Poll::Ready(pass) = poll_once(giving_up.as_mut()) {
                        inside.work(2);
                        // A pass may be dropped on another thread than the one that got it.
                        thread::spawn(move || drop(pass));
                        return;
                    }
                }
                drop(giving_up);
            })
        };
        inside.work(0);
        drop(pass);
        behind.join().unwrap();
        leaving.join().unwrap();
        drop(block_on(inside.gate.enter()));
        let order = inside.order();
        assert!(order.len() >= 2 && order[0] == 0, "{order:?}");
    });
}

#[test]
fn one_that_gives_up_before_it_is_in_line_keeps_nobody_out() {
    one_gives_up(1);
}

#[test]
fn one_that_gives_up_while_it_waits_keeps_nobody_out() {
    one_gives_up(2);
}

#[test]
fn one_that_gives_up_after_several_polls_keeps_nobody_out() {
    one_gives_up(3);
}
