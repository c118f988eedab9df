//! A lock that one incarnation at a time passes, in the order in which they came. It knows nothing of actors.
//!
//! Promises: never two passes at once; one that gives up waiting hands its turn on; the last one that leaves wakes the next.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

use crate::sync::{Mutex, lock};

/// The door to a slot.
#[derive(Default)]
pub(crate) struct Gate(Mutex<State>);

#[derive(Default)]
struct State {
    taken: bool,
    last_ticket: u64,
    line: VecDeque<(u64, Waker)>,
}

/// The right to be inside. Dropping it lets the next one in.
pub(crate) struct Pass(Arc<Gate>);

impl Gate {
    /// Waits until nobody is inside.
    pub(crate) async fn enter(self: &Arc<Self>) -> Pass {
        let mut place = Place { gate: self, ticket: None };
        poll_fn(|cx| {
            let mut state = lock(&self.0);
            let is_first = state.line.front().is_none_or(|&(first, _)| Some(first) == place.ticket);
            if is_first && !state.taken {
                if place.ticket.take().is_some() {
                    state.line.pop_front();
                }
                state.taken = true;
                return Poll::Ready(());
            }
            match state.line.iter_mut().find(|(ticket, _)| Some(*ticket) == place.ticket) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => {
                    state.last_ticket += 1;
                    let ticket = state.last_ticket;
                    state.line.push_back((ticket, cx.waker().clone()));
                    place.ticket = Some(ticket);
                }
            }
            Poll::Pending
        })
        .await;
        Pass(self.clone())
    }

    /// Whether somebody is inside.
    pub(crate) fn is_taken(&self) -> bool {
        lock(&self.0).taken
    }

    /// The next in line, if the way is free. Called under the lock; woken outside of it.
    fn next(state: &State) -> Option<Waker> {
        let next = state.line.front().filter(|_| !state.taken);
        next.map(|(_, waker)| waker.clone())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let next = {
            let mut state = lock(&self.0.0);
            state.taken = false;
            Gate::next(&state)
        };
        next.into_iter().for_each(Waker::wake);
    }
}

/// A place in the line. Dropped while it waits, it hands its turn on.
struct Place<'a> {
    gate: &'a Gate,
    ticket: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let next = {
            let mut state = lock(&self.gate.0);
            state.line.retain(|&(queued, _)| queued != ticket);
            Gate::next(&state)
        };
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        task::{Context, Wake},
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn poll(future: Pin<&mut impl Future<Output = Pass>>, woken: &Arc<Woken>) -> Option<Pass> {
        match future.poll(&mut Context::from_waker(&woken.clone().into())) {
            Poll::Ready(pass) => Some(pass),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_that_waits_has_one_place_in_the_line_and_is_woken_where_it_was_polled_last() {
        let gate = Arc::<Gate>::default();
        let wakers = [(); 4].map(|()| Arc::new(Woken::default()));
        let (mut inside, mut first, mut second) =
            (pin!(gate.enter()), pin!(gate.enter()), pin!(gate.enter()));
        let pass = poll(inside.as_mut(), &wakers[0]).expect("nobody is inside");
        assert!(gate.is_taken());
        assert!(poll(first.as_mut(), &wakers[0]).is_none() && poll(second.as_mut(), &wakers[1]).is_none());
        // Both again, elsewhere.
        assert!(poll(first.as_mut(), &wakers[2]).is_none() && poll(second.as_mut(), &wakers[3]).is_none());
        assert_eq!(lock(&gate.0).line.len(), 2);
        let woken = || wakers.each_ref().map(|waker| waker.0.load(Relaxed));
        drop(pass);
        assert_eq!(woken(), [0, 0, 1, 0]);
        assert!(poll(second.as_mut(), &wakers[3]).is_none(), "its turn has not come");
        let pass = poll(first.as_mut(), &wakers[2]).expect("its turn");
        drop(pass);
        assert_eq!(woken(), [0, 0, 1, 1]);
        drop(poll(second.as_mut(), &wakers[3]).expect("its turn"));
        assert!(!gate.is_taken() && lock(&gate.0).line.is_empty());
    }
}
