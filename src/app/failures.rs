//! Reports errors and panics, each in one plain line.
//!
//! An error that ends the process reads `state-tracker: OPERATION: cause: cause; what to do`. A message says what to do
//! behind its last semicolon. A backtrace belongs to a panic only, and only where `RUST_BACKTRACE` asks for one.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    error::Error,
    fmt,
    panic::PanicHookInfo,
    process::ExitCode,
    thread,
};

use color_eyre::eyre::{self, EyreHandler, Result};

use super::{logging, output};
use crate::{
    config::ConfigErrors,
    escape::escaped,
    exit::{CONFIGURATION, FAILURE},
    remedy,
};

/// Installs the report of errors and panics. To be called once, before anything else.
pub fn install() {
    // Refused only when a report exists already, and this is called first.
    let _ = eyre::set_hook(Box::new(|_| Box::new(Plain)));
    std::panic::set_hook(Box::new(report_panic));
}

/// The exit code of the process, after its error and the last lines of its log are written.
pub fn conclude(result: Result<ExitCode>) -> ExitCode {
    let code = result.unwrap_or_else(|error| match error.downcast_ref::<ConfigErrors>() {
        Some(errors) => {
            output::complain(&format!(
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

/// Reports that carry nothing but their errors.
struct Plain;

impl EyreHandler for Plain {
    fn debug(&self, error: &(dyn Error + 'static), f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&remedy::line(error))
    }
}

/// Reports a panic. It takes no lock of standard error, and waits for the log for a limited time: the thread has to unwind.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
    let text = panic.payload_as_str().unwrap_or("a panic whose payload is no text");
    let message = format!("panic in thread {name}{place}: {text}; this is a bug, please report it");
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    logging::write_error(&escaped(&message), backtrace.as_deref());
    // The process may end with this panic.
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
    fn an_error_is_one_line_with_its_causes_and_then_what_to_do() {
        let cause = std::io::Error::other("no route");
        let error =
            Err::<(), _>(cause).wrap_err("asking; check the network").wrap_err("the check").unwrap_err();
        assert_eq!(line(&error), "the check: asking: no route; check the network");
    }

    #[test]
    fn what_the_innermost_cause_says_to_do_comes_first() {
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
