//! The log on standard error: filter, format, and the last lines before the process ends.
//!
//! **Invariant:** once a process has its one log, everything that it writes to standard error goes through the
//! [`LogWriter`], which blocks no caller.

use std::{
    fs::File,
    io::{self, IsTerminal},
    os::fd::AsFd,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use color_eyre::eyre::{Result, WrapErr, eyre};
use serde::Serialize;
use tracing::Level;
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        format::Writer,
        time::{FormatTime, SystemTime},
    },
};

use super::{
    bar::{Bar, Frame},
    detached::on_another_thread,
    log_writer::{LogWriter, Sink},
};
use crate::{
    config::{self, LogFormat},
    escape::without,
};

/// How long `flush` waits for the last lines.
const FLUSH_WITHIN: Duration = Duration::from_millis(250);
/// How long a command waits for standard error to take a message, before there is a log.
const STUCK_AFTER: Duration = Duration::from_secs(2);
/// The `target` of the lines that this module formats itself.
const TARGET: &str = "state_tracker::log";

static LOG: OnceLock<Log> = OnceLock::new();
/// Whether the log that does not exist yet is to be JSON.
static EXPECTS_JSON: AtomicBool = AtomicBool::new(false);

struct Log {
    writer: LogWriter,
    format: LogFormat,
}

/// Starts the log, with the configured filter and format, for the rest of the process.
///
/// # Errors
/// An invalid filter, a second log in one process, or a system without a free thread or descriptor.
pub(super) fn log_to_stderr(log: &config::Log) -> Result<LogWriter> {
    let filter = EnvFilter::try_new(&log.level)
        .wrap_err_with(|| format!("log.level `{}` is not a filter", log.level))?;
    let (format, sink) = (log.format, StandardError::open().wrap_err("standard error can't be used")?);
    let notice = move |lines| own_line(format, Level::WARN, &dropped(lines), Some(lines), None);
    let writer = LogWriter::start(sink, notice).wrap_err("the thread of the log can't be started")?;
    let lines = writer.clone();
    let is_coloured = format == LogFormat::Text && has_colours();
    // tracing-subscriber prints its own errors by `eprintln`, which would block outside the queue.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(move || Line { writer: lines.clone(), is_coloured });
    let installed = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(is_coloured).try_init(),
    };
    installed.map_err(|error| eyre!("the log could not be set up: {error}"))?;
    // Only after `try_init`, which fails for a second log in one process.
    LOG.get_or_init(|| Log { writer: writer.clone(), format });
    Ok(writer)
}

/// Waits for the last lines, for a limited time. Does nothing before the log is started.
pub(super) fn flush() {
    if let Some(log) = LOG.get() {
        // A flush that fails leaves nothing to do: the reader is stuck, and the process must end all the same.
        log.writer.flush(FLUSH_WITHIN);
    }
}

/// Writes text to standard error, through the queue once the log is started. A failure is ignored: there is no other place to
/// report it.
pub(super) fn write(text: &str) {
    match LOG.get() {
        Some(log) => log.writer.line(text.as_bytes().to_vec()),
        None => {
            let text = text.to_owned();
            // A reader that is stuck must not hold the end of a command: an error of the configuration would never end.
            on_another_thread(STUCK_AFTER, move || {
                let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
            });
        }
    }
}

/// Whether standard error shows colours. Container runtimes and journald store escape sequences as they are: only a terminal does, unless
/// its user wants none (no-color.org).
pub(super) fn has_colours() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_refused && io::stderr().is_terminal()
}

/// Says in which form errors are written as long as there is no log.
pub(super) fn expect_json(is_json: bool) {
    EXPECTS_JSON.store(is_json, Relaxed);
}

pub(super) fn is_json() -> bool {
    LOG.get().map_or_else(|| EXPECTS_JSON.load(Relaxed), |log| log.format == LogFormat::Json)
}

/// Writes a panic, or an error that ends the process. If the log is JSON, or is to be, it is a line of the log; else it reads
/// `state-tracker: MESSAGE`, with the backtrace below.
pub(super) fn write_error(message: &str, backtrace: Option<&str>) {
    if is_json() {
        write_json(message, backtrace);
    } else {
        let end = if backtrace.is_some_and(|text| !text.ends_with('\n')) { "\n" } else { "" };
        write(&format!("state-tracker: {message}\n{}{end}", backtrace.unwrap_or_default()));
    }
}

/// Writes errors for people, which may take several lines. If the log is to be JSON, they are one line of it.
pub(super) fn write_errors(text: &str) {
    if is_json() { write_json(text, None) } else { write(&format!("{text}\n")) }
}

fn write_json(message: &str, backtrace: Option<&str>) {
    let line = own_line(LogFormat::Json, Level::ERROR, message, None, backtrace);
    write(&String::from_utf8_lossy(&line));
}

fn dropped(lines: u64) -> String {
    let them = if lines == 1 { "1 log line was" } else { &format!("{lines} log lines were") };
    format!("{them} dropped here: standard error did not take them")
}

/// The line of an event, whatever its fields contain: without line breaks but the last, without characters that control a terminal,
/// and without secrets. Texts from outside are made safe where they are read; this holds for those of other libraries too.
fn one_line(line: &[u8], is_coloured: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let text = errors::redacted_line(text.strip_suffix('\n').unwrap_or(&text));
    // tracing-subscriber escapes the character of colours itself where a field has it.
    let is_colour = |character| is_coloured && character == '\u{1b}';
    let shown = without(text, |character| errors::controls_terminal(character) && !is_colour(character));
    let mut line = shown.into_owned();
    line.push('\n');
    line.into_bytes()
}

/// Formats a line of the log without `tracing`: no filter suppresses it, and it works during a panic in `tracing`.
fn own_line(
    format: LogFormat,
    level: Level,
    message: &str,
    lines: Option<u64>,
    backtrace: Option<&str>,
) -> Vec<u8> {
    #[derive(Serialize)]
    struct Json<'a> {
        timestamp: &'a str,
        level: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        lines: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        backtrace: Option<&'a str>,
        target: &'a str,
    }
    let mut timestamp = String::new();
    // Writing into a string can't fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let (timestamp, level) = (timestamp.as_str(), level.as_str());
    let text = match format {
        LogFormat::Json => {
            let line = Json { timestamp, level, message, lines, backtrace, target: TARGET };
            // Strings and numbers always serialise.
            serde_json::to_string(&line).unwrap_or_default()
        }
        LogFormat::Text => format!("{timestamp} {level:>5} {TARGET}: {message}"),
    };
    (text + "\n").into_bytes()
}

/// The writer that `tracing` uses for one line.
struct Line {
    writer: LogWriter,
    /// Whether the format has escape sequences of its own.
    is_coloured: bool,
}

impl io::Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // tracing-subscriber formats into a buffer and writes each event in one call: a call is a line.
        self.writer.line(one_line(line, self.is_coloured));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error and the progress bar. It uses a duplicate of the descriptor: a thread that hangs in a write would otherwise
/// hold the lock of `std::io::stderr`, and every `eprintln` would wait for it.
struct StandardError {
    file: File,
    bar: Bar,
}

impl StandardError {
    fn open() -> io::Result<Self> {
        let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Ok(Self { file, bar: Bar::new() })
    }
}

impl io::Write for StandardError {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let Self { file, bar } = self;
        bar.suspended(|| io::Write::write(file, text))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for StandardError {
    fn draw(&mut self, frame: Option<&Frame>) {
        match frame {
            Some(frame) => self.bar.show(frame),
            None => self.bar.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_lines_have_the_format_of_the_others() {
        let line = |format, backtrace| {
            String::from_utf8(own_line(format, Level::WARN, "a \"b\"\nc", Some(2), backtrace)).unwrap()
        };
        let json: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, Some("0: main"))).unwrap();
        assert_eq!(json["level"], "WARN");
        assert_eq!((&json["message"], &json["lines"]), (&"a \"b\"\nc".into(), &2.into()));
        assert_eq!((&json["target"], &json["backtrace"]), (&TARGET.into(), &"0: main".into()));
        assert!(json["timestamp"].as_str().is_some_and(|text| text.len() == 27 && text.ends_with('Z')));
        assert_eq!(line(LogFormat::Json, None).lines().count(), 1);
        assert!(line(LogFormat::Text, None).contains("Z  WARN state_tracker::log: a \"b\""));
    }

    #[test]
    fn an_event_is_one_line_whatever_its_fields_contain() {
        errors::hide(errors::SecretsOf::Configuration, ["a-secret-of-this-test".to_owned()]);
        let line =
            |text: &str, is_coloured| String::from_utf8(one_line(text.as_bytes(), is_coloured)).unwrap();
        let evil = "a\nb\r\u{9b}1m\u{2028}\u{202e}\u{7}a-secret-of-this-test\n";
        let shown = "a\\nb\\r\\u{9b}1m\\u{2028}\\u{202e}\\u{7}***\n";
        assert_eq!((line(evil, false).as_str(), line(evil, true).as_str()), (shown, shown));
        assert_eq!(line("\u{1b}[31mERROR\n", true), "\u{1b}[31mERROR\n");
        assert_eq!(line("\u{1b}[31mERROR\n", false), "\\u{1b}[31mERROR\n");
    }

    #[test]
    fn the_notice_counts() {
        assert_eq!(dropped(1), "1 log line was dropped here: standard error did not take them");
        assert!(dropped(2).starts_with("2 log lines were dropped here"));
    }
}
