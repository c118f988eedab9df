//! Logs that must not block the caller: those of the signals' thread, and those before the process is ended.
//!
//! An actor that never yields may hold any lock. So these logs are written by a thread of their own, and the caller waits
//! for it for a limited time.

use std::{process, sync::mpsc, thread, time::Duration};

use super::logging;

/// How long the end of the process waits for its last log line.
const EXIT_WITHIN: Duration = Duration::from_millis(500);
/// How long a thread that has more to do waits for its log line.
const LOG_WITHIN: Duration = Duration::from_millis(50);

/// Ends the process with this code, after `log` if that does not block.
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

/// Waits for the task at most this long. When the system has no thread to spare, the task is left out.
fn on_another_thread(within: Duration, task: impl FnOnce() + Send + 'static) {
    let (running, ended) = mpsc::sync_channel::<()>(1);
    let spawned = thread::Builder::new().name("last log".to_owned()).spawn(move || {
        task();
        drop(running);
    });
    if spawned.is_ok() {
        // It has ended or takes too long: either way the caller goes on.
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
