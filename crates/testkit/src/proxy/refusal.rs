//! Answers chosen commands with an error in place of the server.
//!
//! The command is replaced by one that no server knows, and the server's error for it by the wanted one. So the server itself
//! keeps the order of answers, and aborts a transaction as it would for a command that it refuses while it queues.

use std::sync::{Mutex, PoisonError};

/// No server knows this command.
const REPLACEMENT: &[u8] = b"*1\r\n$11\r\nFAULT.PROXY\r\n";
/// How servers answer it, up to the end of the line.
const REFUSED: &[u8] = b"-ERR unknown command 'FAULT.PROXY'";

/// The refusal that is armed, and its progress.
#[derive(Debug, Default)]
pub(super) struct Refusal(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    armed: Option<Armed>,
    answer: String,
    refused: u64,
}

#[derive(Debug)]
struct Armed {
    /// In upper case; `None` for any command.
    command: Option<String>,
    /// Commands of this name to let pass before.
    skip: u64,
}

impl Refusal {
    pub(super) fn arm(&self, command: Option<&str>, skip: u64, answer: &str) {
        let mut state = self.state();
        let command = command.map(str::to_ascii_uppercase);
        (state.armed, state.answer) = (Some(Armed { command, skip }), answer.to_owned());
    }

    pub(super) fn disarm(&self) {
        self.state().armed = None;
    }

    pub(super) fn refused(&self) -> u64 {
        self.state().refused
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all complete commands from `pending`, with the refused one replaced. Bytes that are no command pass as they are.
    pub(super) fn requests(&self, pending: &mut Vec<u8>) -> Vec<u8> {
        let mut state = self.state();
        if state.armed.is_none() {
            return std::mem::take(pending);
        }
        let (mut out, mut at) = (Vec::with_capacity(pending.len()), 0);
        while let Some((end, name)) = command(&pending[at..]) {
            let whole = &pending[at..at + end];
            let hit = state.hits(&pending[at + name.0..at + name.1]);
            out.extend_from_slice(if hit { REPLACEMENT } else { whole });
            at += end;
        }
        pending.drain(..at);
        if pending.first().is_some_and(|byte| *byte != b'*') {
            out.append(pending);
        }
        out
    }

    /// Takes the answers from `pending`, with the server's error replaced. The beginning of such an error is kept until its end is
    /// there.
    pub(super) fn answers(&self, pending: &mut Vec<u8>) -> Vec<u8> {
        let state = self.state();
        if state.refused == 0 {
            return std::mem::take(pending);
        }
        let mut out = Vec::with_capacity(pending.len());
        while let Some(at) = find(pending, REFUSED) {
            let Some(length) = find(&pending[at..], b"\r\n") else {
                out.extend(pending.drain(..at));
                return out;
            };
            out.extend(pending.drain(..at + length).take(at));
            out.extend([b"-", state.answer.as_bytes()].concat());
        }
        let kept = (1..REFUSED.len().min(pending.len() + 1)).rev();
        let kept = kept.into_iter().find(|length| pending.ends_with(&REFUSED[..*length])).unwrap_or(0);
        out.extend(pending.drain(..pending.len() - kept));
        out
    }
}

impl State {
    fn hits(&mut self, name: &[u8]) -> bool {
        let Some(armed) = &mut self.armed else { return false };
        let fits = armed.command.as_ref().is_none_or(|wanted| wanted.as_bytes().eq_ignore_ascii_case(name));
        if !fits {
            return false;
        }
        if armed.skip > 0 {
            armed.skip -= 1;
            return false;
        }
        self.armed = None;
        self.refused += 1;
        true
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

/// The length of the command at the beginning of these bytes, and where its name is; `None` if it is not complete.
fn command(bytes: &[u8]) -> Option<(usize, (usize, usize))> {
    let (words, mut at) = number(bytes, b'*')?;
    let mut name = (at, at);
    for word in 0..words {
        let (length, start) = number(&bytes[at..], b'$')?;
        let from = at + start;
        if word == 0 {
            name = (from, from + length);
        }
        at = from + length + 2;
        if at > bytes.len() {
            return None;
        }
    }
    Some((at, name))
}

/// A header with this mark: its number, and its length.
fn number(bytes: &[u8], mark: u8) -> Option<(usize, usize)> {
    let end = find(bytes, b"\r\n")?;
    let text = bytes[..end].strip_prefix(&[mark])?;
    Some((std::str::from_utf8(text).ok()?.parse().ok()?, end + 2))
}
