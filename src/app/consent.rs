//! Asks on the terminal before something is deleted or sent.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use color_eyre::eyre::{Result, WrapErr as _};

use super::output::print_to_stderr;

/// Whether a user agrees.
pub(super) enum Consent {
    Given,
    Refused,
    /// There is no terminal to ask on.
    Unasked,
}

/// Asks on the terminal, after the notes.
pub(super) fn consent(question: &str, notes: &[String], is_given: bool) -> Result<Consent> {
    if is_given {
        return Ok(Consent::Given);
    }
    if !io::stdin().is_terminal() {
        return Ok(Consent::Unasked);
    }
    notes.iter().for_each(|note| print_to_stderr(&format!("note: {note}")));
    print_to_stderr(&format!("{question} Type yes to go on:"));
    let mut answer = String::new();
    io::stdin().lock().take(64).read_line(&mut answer).wrap_err("the answer can't be read; use --yes")?;
    Ok(if answer.trim() == "yes" { Consent::Given } else { Consent::Refused })
}
