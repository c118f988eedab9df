//! Prints results of commands to standard output, and messages to standard error.
//!
//! A closed pipe is not an error, since `head` closes it on purpose. A file that can't be written is one.

use std::io::{self, ErrorKind, Write};

use color_eyre::eyre::{Result, WrapErr};

use super::logging;

/// Prints to standard output.
///
/// # Errors
/// Standard output can't be written, for example on a full disk. A closed pipe is not an error.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    // Flushed here: an error of the flush at the exit of the process would be lost.
    ignoring_closed_pipe(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// The result of printing, in which a closed pipe is a success.
///
/// # Errors
/// As [`print()`].
pub fn ignoring_closed_pipe(result: io::Result<()>) -> Result<()> {
    match result {
        // Rust ignores SIGPIPE, so the closed pipe arrives here as an error of the write.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.wrap_err("standard output can't be written; give it a file with room, or a reader"),
    }
}

/// Prints a line to standard error. A failure is ignored: there is no other place to report it.
pub fn print_to_stderr(line: &str) {
    logging::write(&format!("{line}\n"));
}
