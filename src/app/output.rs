//! Prints results of commands to standard output, and what is wrong to standard error.
//!
//! A reader that closes the pipe, as `head` does, is no error; a file that can't be written is one.

use std::io::{self, ErrorKind, Write};

use color_eyre::eyre::{Result, WrapErr};

use super::logging;

/// Prints to standard output.
///
/// # Errors
/// Standard output can't be written, because the disk is full for example. A closed pipe is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// The result of printing to standard output.
///
/// # Errors
/// As [`print()`].
pub fn printed(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.wrap_err("standard output can't be written; give it a file with room, or a reader"),
    }
}

/// Prints a line to standard error. A failure is ignored: there is no other place to report it.
pub fn complain(line: &str) {
    logging::write(&format!("{line}\n"));
}
