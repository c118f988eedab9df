//! Reports errors and panics, each in one plain line.
//!
//! An error that ends the process reads `state-tracker: OPERATION: cause: cause; remedy`. The text after the last semicolon of a
//! message is its remedy. Only a panic has a backtrace, and only if `RUST_BACKTRACE` is set.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    error::Error,
    fmt,
    panic::PanicHookInfo,
    process::ExitCode,
    thread,
};

use color_eyre::eyre::{self, EyreHandler, Result};
use http_server::BadTokens;
use ports::BadCertificate;
use store_redis::{StoreError, operations::SET_UP_POOL};

use super::logging;
use crate::{
    config::{ConfigErrors, UnreadableFile},
    escape::escaped,
    exit::{CONFIGURATION, FAILURE},
    http::BindError,
    remedy,
};

/// The variable of `log.format`.
const LOG_FORMAT: &str = "STATE_TRACKER__LOG__FORMAT";

/// Installs the hooks that report errors and panics. Call it once, before anything else.
pub fn install_reports() {
    // Errors before the configuration is read have the form of the log too, where the environment says it.
    logging::expect_json(
        std::env::var(LOG_FORMAT).is_ok_and(|format| format.trim().eq_ignore_ascii_case("json")),
    );
    // Fails only if an error was created before, and `main` calls this first.
    let _ = eyre::set_hook(Box::new(|_| Box::new(Plain)));
    // The default hook locks standard error and prints several lines: a stuck reader would block the panicking thread.
    std::panic::set_hook(Box::new(report_panic));
}

/// The exit code of a result. Reports its error, and waits for the last lines of the log.
pub fn exit_code(result: Result<ExitCode>) -> ExitCode {
    let code = result.unwrap_or_else(|error| match error.downcast_ref::<ConfigErrors>() {
        None if needs_an_operator(error.as_ref()) => {
            logging::write_error(&remedy::line(error.as_ref()), None);
            CONFIGURATION.into()
        }
        // There is no log: the configuration that says how to log is the one that is wrong.
        Some(errors) => {
            logging::write_errors(&format!(
                "{errors}\nNothing was started. `state-tracker check --defaults` prints every setting with its limits."
            ));
            CONFIGURATION.into()
        }
        None => {
            logging::write_error(&remedy::line(error.as_ref()), None);
            FAILURE.into()
        }
    });
    logging::flush();
    code
}

/// Prints an error of the command line, as the parser of the command line tells it.
pub fn print_usage_error(error: &clap::Error) {
    let text = error.render();
    let is_coloured = logging::has_colours() && !logging::is_json();
    let text = if is_coloured { text.ansi().to_string() } else { text.to_string() };
    logging::write_errors(text.trim_end());
}

/// Whether an error is one of the configuration that only its use has shown: a restart would fail again, and a supervisor that
/// restarts would loop.
fn needs_an_operator(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| (*error).source()).any(|error| {
        // A port below 1024 without the right to it. A port that is taken may become free.
        let bind = error.downcast_ref::<BindError>();
        bind.is_some_and(|bind| bind.source.kind() == std::io::ErrorKind::PermissionDenied)
            || error.is::<UnreadableFile>()
            // What a file holds: its use shows more than its check.
            || error.is::<BadCertificate>()
            || error.is::<BadTokens>()
            // Settings that make no connection: a key that does not fit its certificate.
            || error.downcast_ref::<StoreError>().is_some_and(|store| store.operation == SET_UP_POOL)
    })
}

/// A report without backtrace and section: only the error and its causes.
struct Plain;

impl EyreHandler for Plain {
    fn debug(&self, error: &(dyn Error + 'static), f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&remedy::line(error))
    }
}

/// Reports a panic. It takes no lock of standard error and waits for the log for a limited time, since the thread must unwind
/// for its supervisor to notice.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
    // `panic_any` may carry a value of any type.
    let text = panic.payload_as_str().unwrap_or("a panic without a text");
    // Panics of actors are caught and restarted, but each one is a bug: the line asks for a report.
    let message = format!("panic in thread {name}{place}: {text}; this is a bug, please report it");
    // `capture` looks at RUST_BACKTRACE; without it, no symbol is resolved, which takes milliseconds.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    logging::write_error(&escaped(&message), backtrace.as_deref());
    // If this is the main thread, the process ends right after the hook.
    logging::flush();
}

#[cfg(test)]
mod tests {
    use color_eyre::eyre::{Report, WrapErr, eyre};

    use super::*;

    fn line(report: &Report) -> String {
        remedy::line(report.as_ref())
    }

    #[test]
    fn an_error_is_one_line_with_its_causes_and_then_the_remedies() {
        let cause = std::io::Error::other("no route");
        let error =
            Err::<(), _>(cause).wrap_err("asking; check the network").wrap_err("the check").unwrap_err();
        assert_eq!(line(&error), "the check: asking: no route; check the network");
    }

    #[test]
    fn the_remedy_of_the_innermost_cause_comes_first() {
        let error = eyre!("refused; check the password").wrap_err("asking; check the network");
        assert_eq!(line(&error), "asking: refused; check the password; check the network");
    }

    #[test]
    fn a_cause_that_the_message_has_already_is_not_repeated() {
        let error = eyre!("no route").wrap_err("asking (no route) failed");
        assert_eq!(line(&error), "asking (no route) failed");
    }

    #[test]
    fn text_from_outside_breaks_no_line_and_colours_nothing() {
        let error = eyre!("the server said `a\nb\u{1b}[31m\u{85}`");
        assert_eq!(line(&error), "the server said `a\\nb\\u{1b}[31m\\u{85}`");
    }
}
