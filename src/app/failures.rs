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
    exit::{CONFIGURATION, FAILURE},
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
            logging::write_error(&in_one_line(error.as_ref()), None);
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
        f.write_str(&in_one_line(error))
    }
}

/// An error with its causes, then what to do. A cause that the line contains already is not repeated.
fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let (mut line, mut remedies) = (String::new(), Vec::new());
    let mut next = Some(error);
    while let Some(error) = next {
        next = error.source();
        let text = error.to_string();
        if line.contains(&text) {
            continue;
        }
        let (what, remedy) = match text.rsplit_once("; ") {
            Some((what, remedy)) if next.is_some() => (what, Some(remedy)),
            _ => (text.as_str(), None),
        };
        if !line.is_empty() {
            line += ": ";
        }
        line += what;
        remedies.extend(remedy.map(str::to_owned));
    }
    for remedy in remedies.iter().filter(|remedy| !remedy.is_empty()) {
        line += "; ";
        line += remedy;
    }
    escaped(&line)
}

/// Text with its line breaks and other control characters escaped.
fn escaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// Reports a panic. It takes no lock of standard error, and waits for the log for a limited time: the thread has to unwind.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
    let text = panic.payload_as_str().unwrap_or("a panic whose payload is no text");
    let message = escaped(&format!("panic in thread {name}{place}: {text}; this is a bug, please report it"));
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    logging::write_error(&message, backtrace.as_deref());
    // The process may end with this panic.
    logging::flush();
}

#[cfg(test)]
mod tests {
    use color_eyre::eyre::{Report, WrapErr, eyre};

    use super::*;

    fn line(report: &Report) -> String {
        in_one_line(report.as_ref())
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
