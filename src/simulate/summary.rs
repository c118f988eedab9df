//! What all simulated senders did, as one line. Pure.

use std::time::Duration;

use peer_snapshots::SenderCounts;

use super::performer::Performer;

/// The sums of all senders.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Summary {
    senders: u64,
    made: [u64; 4],
    counts: SenderCounts,
}

impl Summary {
    /// Adds a sender.
    pub(super) fn add(&mut self, performer: &Performer) {
        self.senders += 1;
        for (sum, made) in self.made.iter_mut().zip(performer.made()) {
            *sum += made;
        }
        let SenderCounts { sent, replaced, dropped_quotes, connections, failures } = performer.counts();
        self.counts.sent += sent;
        self.counts.replaced += replaced;
        self.counts.dropped_quotes += dropped_quotes;
        self.counts.connections += connections;
        self.counts.failures += failures;
    }

    /// The line.
    pub(super) fn line(&self, took: Duration) -> String {
        let ([pictures, messages, bytes, bad], counts) = (self.made, self.counts);
        let wrote = match bytes {
            0 => String::new(),
            _ => format!("; {bytes} bytes of others, with {bad} lines that no receiver may take"),
        };
        format!(
            "{} senders made {pictures} pictures in {}: of {messages} messages {} were sent, {} skipped since a newer one was there{}; {} connections, {} failures{wrote}",
            self.senders,
            errors::rounded(took),
            counts.sent,
            counts.replaced,
            match counts.dropped_quotes {
                0 => String::new(),
                many => format!(", {many} quotes dropped"),
            },
            counts.connections,
            counts.failures,
        )
    }
}
