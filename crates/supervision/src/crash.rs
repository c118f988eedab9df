//! Catches panics and records them.
//!
//! `ractor` gets only the message of a panic. The panic hook of this module adds its location and backtrace, but only for
//! panics inside a supervised future; any other panic goes to the previous hook. [`Guarded`] wraps the future: it marks the
//! thread while it polls (so that the watch sees a handler that does not yield) and turns a panic into a [`Panicked`].

use std::{
    any::Any,
    backtrace::Backtrace,
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Once,
    task::{Context, Poll},
};

use crate::progress::Progress;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static CAPTURED: RefCell<Option<Panicked>> = const { RefCell::new(None) };
}

/// A panic as the hook saw it.
#[derive(Debug)]
pub(crate) struct Panicked {
    pub(crate) message: String,
    pub(crate) location: Option<String>,
    pub(crate) backtrace: Backtrace,
}

/// Puts the capturing hook in front of the one that is set now; later calls do nothing.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    // Once for the process: each installation would wrap the one before.
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Not in a supervised future, so the panic is not ours.
            if !GUARDED.get() {
                return previous(info);
            }
            let panicked = Panicked {
                message: payload_text(info.payload()),
                location: info.location().map(ToString::to_string),
                backtrace: Backtrace::force_capture(),
            };
            CAPTURED.with_borrow_mut(|slot| *slot = Some(panicked));
        }));
    });
}

/// Drops the payload of a panic, whose drop can panic again.
fn let_go(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}

fn payload_text(payload: &dyn Any) -> String {
    payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic whose payload is no text".to_owned())
}

/// A future whose panics are values and whose polls the watch can see.
pub(crate) struct Guarded<'a, F> {
    /// `None` once it is dropped.
    inner: Pin<&'a mut Option<F>>,
    progress: &'a Progress,
}

impl<'a, F: Future> Guarded<'a, F> {
    /// Guards the future whose progress this is.
    pub(crate) fn new(inner: Pin<&'a mut Option<F>>, progress: &'a Progress) -> Self {
        Self { inner, progress }
    }
}

impl<F> Drop for Guarded<'_, F> {
    fn drop(&mut self) {
        // What it drops may not yield either.
        self.progress.poll_began();
        // A panic here must neither leave the mark of a poll that never ends, nor hide how the incarnation ended. The hook has
        // printed it.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.inner.set(None))) {
            let_go(payload);
        }
        self.progress.poll_ended();
    }
}

impl<F: Future> Future for Guarded<'_, F> {
    // Boxed, since futures that wait for it have room for it all the time.
    type Output = Result<F::Output, Box<Panicked>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // Only its own drop takes the future away, and nobody polls it then.
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
        this.progress.poll_began();
        // Restored afterwards, since guarded futures can be nested.
        let outer = GUARDED.replace(true);
        // After a panic the future is never polled again, so no broken state of it can be seen.
        let outcome = catch_unwind(AssertUnwindSafe(|| inner.poll(cx)));
        GUARDED.set(outer);
        this.progress.poll_ended();
        match outcome {
            Ok(poll) => poll.map(Ok),
            Err(payload) => {
                let message = payload_text(&*payload);
                let_go(payload);
                // The hook may have captured an earlier panic that the actor caught itself, and `resume_unwind` does not call
                // the hook: the messages have to agree.
                let captured = CAPTURED.with_borrow_mut(Option::take).filter(|seen| seen.message == message);
                let panicked = captured.unwrap_or_else(|| Panicked {
                    message,
                    location: None,
                    backtrace: Backtrace::disabled(),
                });
                Poll::Ready(Err(Box::new(panicked)))
            }
        }
    }
}
