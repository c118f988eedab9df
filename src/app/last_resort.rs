//! Log lines that must not block their caller: those of the thread for signals, and the last one before the process ends.
//!
//! An actor that never yields may hold any lock, also one of `tracing`. So another thread writes these lines, and the caller
//! waits for it for a limited time.

use std::{process, sync::mpsc, thread, time::Duration};

use super::logging;

/// How long `exit` waits for the last log line.
const EXIT_WITHIN: Duration = Duration::from_millis(500);
/// How long `log` waits for its line: the caller has more to do.
const LOG_WITHIN: Duration = Duration::from_millis(50);

/// Ends the process with this code, after `log` has run or its time limit has passed.
pub(super) fn exit(code: i32, log: impl FnOnce() + Send + 'static) -> ! {
    on_another_thread(EXIT_WITHIN, move || {
        log();
        logging::flush();
    });
    process::exit(code)
}

/// Logs something without blocking the caller.
pub(super) fn log(log: impl FnOnce() + Send + 'static) {
    on_another_thread(LOG_WITHIN, log);
}

/// Runs `task` on a new thread and waits for it at most `within`. If no thread can be started, the task is skipped.
fn on_another_thread(within: Duration, task: impl FnOnce() + Send + 'static) {
    let (running, ended) = mpsc::sync_channel::<()>(1);
    let spawned = thread::Builder::new().name("last log".to_owned()).spawn(move || {
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
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_log_that_blocks_does_not_block_the_caller() {
        let began = Instant::now();
        log(|| {
            loop {
                thread::park();
            }
        });
        assert!(began.elapsed() >= LOG_WITHIN && began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn the_caller_waits_for_a_log_that_works() {
        let (write, written) = mpsc::channel();
        on_another_thread(Duration::from_secs(30), move || write.send(()).expect("the test reads it"));
        assert!(written.try_recv().is_ok());
    }
}
