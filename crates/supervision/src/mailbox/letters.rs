//! The dead letters of one mailbox: messages whose attempts are used up, with the reason, kept to be shown and replayed.
//! Bounded in number and bytes; the oldest are evicted, and counted.

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;

use super::{entry::Entry, message::Message};

/// A dead letter as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetter {
    /// The mailbox that had accepted it.
    pub mailbox: String,
    /// Its number in that mailbox.
    pub sequence: u64,
    /// The number of charged attempts.
    pub attempts: u32,
    /// Why it became a dead letter.
    pub reason: String,
    /// When, on the clock of the tree.
    #[serde(skip)]
    pub written_at: Duration,
    /// The message.
    pub message: serde_json::Value,
}

pub(super) struct Letter<M> {
    pub(super) message: M,
    pub(super) weight: usize,
    sequence: u64,
    attempts: u32,
    reason: String,
    written_at: u64,
}

pub(super) struct Letters<M> {
    kept: VecDeque<Letter<M>>,
    bytes: usize,
    max_kept: usize,
    max_bytes: usize,
}

impl<M: Message> Letters<M> {
    pub(super) fn new(max_kept: usize, max_bytes: usize) -> Self {
        Self { kept: VecDeque::new(), bytes: 0, max_kept, max_bytes }
    }

    /// Adds a letter, and returns those that it evicts.
    pub(super) fn write(&mut self, entry: Entry<M>, reason: String, now: u64) -> Vec<Letter<M>> {
        let Entry { message, weight, sequence, attempts, .. } = entry;
        self.bytes += weight;
        self.kept.push_back(Letter { message, weight, sequence, attempts, reason, written_at: now });
        // After the letter was added: a single letter that exceeds the bytes evicts itself, and is counted.
        let mut evicted = Vec::new();
        while self.kept.len() > self.max_kept || self.bytes > self.max_bytes {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.bytes -= oldest.weight;
            evicted.push(oldest);
        }
        evicted
    }

    /// Takes a letter out, if one of its weight fits where it shall go.
    pub(super) fn take_if(&mut self, sequence: u64, fits: impl Fn(usize) -> bool) -> Option<Letter<M>> {
        let at = self.kept.iter().position(|letter| letter.sequence == sequence && fits(letter.weight))?;
        let letter = self.kept.remove(at)?;
        self.bytes -= letter.weight;
        Some(letter)
    }

    pub(super) fn show(&self, mailbox: &str) -> Vec<DeadLetter> {
        let show = |letter: &Letter<M>| DeadLetter {
            mailbox: mailbox.to_owned(),
            sequence: letter.sequence,
            attempts: letter.attempts,
            reason: letter.reason.clone(),
            written_at: Duration::from_nanos(letter.written_at),
            message: serde_json::to_value(&letter.message).unwrap_or_else(|error| {
                serde_json::Value::String(format!("can't be shown as JSON: {error}"))
            }),
        };
        self.kept.iter().map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Heavy;

    impl Message for Heavy {}

    fn entry(sequence: u64) -> Entry<Heavy> {
        Entry { message: Heavy, weight: 6, sequence, attempts: 1, accepted_at: 1, droppable: false }
    }

    #[test]
    fn a_letter_that_is_taken_out_makes_room_for_another_one() {
        let mut letters = Letters::new(10, 12);
        let write = |letters: &mut Letters<Heavy>, sequence| {
            let evicted = letters.write(entry(sequence), "bad".to_owned(), 1);
            evicted.iter().map(|letter| letter.sequence).collect::<Vec<_>>()
        };
        assert_eq!((write(&mut letters, 1), write(&mut letters, 2)), (vec![], vec![]));
        assert!(letters.take_if(1, |weight| weight > 6).is_none(), "it does not fit there");
        assert!(letters.take_if(1, |weight| weight == 6).is_some() && letters.take_if(1, |_| true).is_none());
        assert_eq!((write(&mut letters, 3), letters.bytes), (vec![], 12));
        assert_eq!(write(&mut letters, 4), [2]);
        assert_eq!(letters.show("m").iter().map(|letter| letter.sequence).collect::<Vec<_>>(), [3, 4]);
    }
}
