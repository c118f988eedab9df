//! Log lines that must not block their caller: those of the thread for signals, and the last one before the process ends.
//!
//! An actor that never yields may hold any lock, also one of `tracing`. So another thread writes these lines, and the caller
//! waits for it for a limited time.

use std::{process, time::Duration};

use super::{detached::on_another_thread, logging};

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

#[cfg(test)]
mod tests {
    use std::{thread, time::Instant};

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
}
