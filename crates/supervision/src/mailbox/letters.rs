//! The dead letters of one mailbox: messages whose attempts are used up, with the reason, kept to be shown and replayed.
//! Bounded in number and bytes; the oldest are evicted, and counted.

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;

use super::{Entry, Message, nanos};

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
    /// The reason is general: the message was charged before the crash of its actor was recorded, which completes it.
    vague: bool,
    written_at: u64,
}

pub(super) struct Letters<M> {
    kept: VecDeque<Letter<M>>,
    bytes: usize,
    max_kept: usize,
    max_bytes: usize,
    total: u64,
    evicted: u64,
}

impl<M: Message> Letters<M> {
    pub(super) fn new(max_kept: usize, max_bytes: usize) -> Self {
        Self { kept: VecDeque::new(), bytes: 0, max_kept, max_bytes, total: 0, evicted: 0 }
    }

    pub(super) fn write(&mut self, entry: Entry<M>, reason: Option<String>, now: u64) {
        let Entry { message, weight, sequence, attempts, .. } = entry;
        let vague = reason.is_none();
        let reason = reason.unwrap_or_else(|| "its handler dropped it without acknowledging it".to_owned());
        self.total += 1;
        self.bytes += weight;
        self.kept.push_back(Letter { message, weight, sequence, attempts, reason, vague, written_at: now });
        // After the letter was added: a single letter that exceeds the bytes evicts itself, and is counted.
        while self.kept.len() > self.max_kept || self.bytes > self.max_bytes {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.bytes -= oldest.weight;
            self.evicted += 1;
        }
    }

    pub(super) fn explain(&mut self, since: u64, reason: &str) {
        // From the newest, since letters are in the order of their time.
        for letter in self.kept.iter_mut().rev().take_while(|letter| letter.written_at >= since) {
            if std::mem::take(&mut letter.vague) {
                reason.clone_into(&mut letter.reason);
            }
        }
    }

    /// Makes vague reasons final: their actor has taken another message since, so no later exit explains them.
    pub(super) fn close_reasons(&mut self) {
        self.kept.iter_mut().rev().for_each(|letter| letter.vague = false);
    }

    pub(super) fn weight_of(&self, sequence: u64) -> Option<usize> {
        self.kept.iter().find(|letter| letter.sequence == sequence).map(|letter| letter.weight)
    }

    pub(super) fn take(&mut self, sequence: u64) -> Option<Letter<M>> {
        let at = self.kept.iter().position(|letter| letter.sequence == sequence)?;
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
            written_at: nanos(letter.written_at),
            message: serde_json::to_value(&letter.message).unwrap_or_else(|error| {
                serde_json::Value::String(format!("can't be shown as JSON: {error}"))
            }),
        };
        self.kept.iter().map(show).collect()
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }
}
