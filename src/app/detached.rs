//! Work that may block for ever, on a thread of its own: the caller waits for it for a limited time.

use std::{sync::mpsc, thread, time::Duration};

/// Runs `task` on a new thread and waits for it at most `within`. If no thread can be started, the task is skipped.
pub(super) fn on_another_thread(within: Duration, task: impl FnOnce() + Send + 'static) {
    let (running, ended) = mpsc::sync_channel::<()>(1);
    let spawned = thread::Builder::new().name("detached".to_owned()).spawn(move || {
        task();
        // Dropping the sender wakes the receiver, also if the task panics: the unwinding thread drops it too.
        drop(running);
    });
    if spawned.is_ok() {
        // An error means that the task ended or the time is over: either way the caller continues.
        let _ = ended.recv_timeout(within);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_waits_for_a_log_that_works() {
        let (write, written) = mpsc::channel();
        on_another_thread(Duration::from_secs(30), move || write.send(()).expect("the test reads it"));
        assert!(written.try_recv().is_ok());
    }
}
