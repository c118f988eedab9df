//! Counts of the traffic over the proxy's connections. No I/O: the proxy passes in the bytes.

use std::collections::BTreeMap;

use super::resp::{Frame, Scanner};

/// The traffic of all connections since the start or the last reset.
///
/// A **round trip** begins when the client sends while it waits for nothing: everything it sent before was a
/// whole number of commands, and all were answered. A pipeline is one round trip whatever its size, however
/// it is cut into segments, and even when the server begins to answer before it was sent completely.
/// Commands sent concurrently over one shared connection overlap, and count as one round trip together.
/// Where the protocol is not RESP, a round trip is a change of direction towards the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyCounts {
    /// Connections accepted.
    pub connections: u64,
    /// Round trips of all connections but the subscribers'.
    pub round_trips: u64,
    /// Round trips of the connections that sent SUBSCRIBE, PSUBSCRIBE or SSUBSCRIBE.
    pub subscriber_round_trips: u64,
    /// How often client data followed server data, without subscribers: at least `round_trips`, more when the
    /// server answered parts of a large pipeline early.
    pub direction_changes: u64,
    /// Commands of all connections, subscribers included.
    pub commands: u64,
    /// Bytes from the clients, subscribers included.
    pub bytes_to_server: u64,
    /// Bytes from the server, subscribers included.
    pub bytes_to_client: u64,
    /// How often each command was sent (upper case, without subcommand), subscribers included.
    pub command_names: BTreeMap<String, u64>,
}

/// The traffic of one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Number of the connection, from 0 in the order of acceptance.
    pub id: u64,
    /// Whether it is still open.
    pub open: bool,
    /// Whether it subscribed to a channel.
    pub subscriber: bool,
    /// Round trips, as in [`ProxyCounts`].
    pub round_trips: u64,
    /// How often client data followed server data.
    pub direction_changes: u64,
    /// Commands sent.
    pub commands: u64,
    /// Bytes from the client.
    pub bytes_to_server: u64,
    /// Bytes from the server.
    pub bytes_to_client: u64,
    /// How often each command was sent.
    pub command_names: BTreeMap<String, u64>,
}

impl ProxyCounts {
    /// How often a command was sent, by its name in upper case.
    #[must_use]
    pub fn sent(&self, command: &str) -> u64 {
        self.command_names.get(command).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, one: &ConnectionCounts) {
        if one.subscriber {
            self.subscriber_round_trips += one.round_trips;
        } else {
            self.round_trips += one.round_trips;
            self.direction_changes += one.direction_changes;
        }
        self.commands += one.commands;
        self.bytes_to_server += one.bytes_to_server;
        self.bytes_to_client += one.bytes_to_client;
        for (name, count) in &one.command_names {
            *self.command_names.entry(name.clone()).or_default() += count;
        }
    }
}

/// The counts of one connection, and the state of counting.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) counts: ConnectionCounts,
    client: Scanner,
    server: Scanner,
    resp: bool,
    unanswered: u64,
    server_spoke_last: bool,
}

impl Meter {
    pub(super) fn new(id: u64) -> Self {
        Self {
            counts: ConnectionCounts { id, open: true, ..ConnectionCounts::default() },
            client: Scanner::default(),
            server: Scanner::default(),
            resp: true,
            unanswered: 0,
            server_spoke_last: true,
        }
    }

    /// Sets the counts to zero; commands that are not answered yet stay known.
    pub(super) fn reset(&mut self) {
        let ConnectionCounts { id, open, subscriber, .. } = self.counts;
        self.counts = ConnectionCounts { id, open, subscriber, ..ConnectionCounts::default() };
    }

    /// The client sent `bytes`.
    pub(super) fn client_sent(&mut self, bytes: &[u8]) {
        let waits_for_nothing = self.unanswered == 0 && self.client.at_boundary();
        let turned = std::mem::take(&mut self.server_spoke_last);
        self.counts.direction_changes += u64::from(turned);
        self.counts.bytes_to_server += bytes.len() as u64;
        if self.resp {
            self.counts.round_trips += u64::from(waits_for_nothing);
            match self.client.push(bytes) {
                Ok(frames) => frames.into_iter().for_each(|frame| self.command(frame)),
                Err(_) => self.resp = false,
            }
        } else {
            self.counts.round_trips += u64::from(turned);
        }
    }

    /// The server sent `bytes`. Call it before the client can read them.
    pub(super) fn server_sent(&mut self, bytes: &[u8]) {
        self.server_spoke_last = true;
        self.counts.bytes_to_client += bytes.len() as u64;
        if self.resp {
            match self.server.push(bytes) {
                Ok(frames) => {
                    // An event answers no command, be it a push (RESP3) or a list (RESP2).
                    let is_event = |frame: &&Frame| frame.kind == b'>' || frame.name == "MESSAGE";
                    let replies = frames.iter().filter(|frame| !is_event(frame)).count() as u64;
                    self.unanswered = self.unanswered.saturating_sub(replies);
                }
                Err(_) => self.resp = false,
            }
        }
    }

    fn command(&mut self, frame: Frame) {
        self.unanswered += 1;
        self.counts.commands += 1;
        self.counts.subscriber |= matches!(frame.name.as_str(), "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE");
        *self.counts.command_names.entry(frame.name).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";

    #[test]
    fn a_pipeline_answered_early_is_one_round_trip() {
        let mut meter = Meter::new(0);
        meter.client_sent(&[GET, GET, &GET[..9]].concat());
        meter.server_sent(b"$-1\r\n$-1\r\n");
        meter.client_sent(&[&GET[9..], GET].concat());
        meter.server_sent(b"$-1\r\n$");
        meter.client_sent(GET);
        meter.server_sent(b"-1\r\n$-1\r\n");
        assert_eq!((meter.counts.round_trips, meter.counts.direction_changes), (1, 3));
        meter.client_sent(GET);
        assert_eq!(meter.counts.round_trips, 2);
        assert_eq!(meter.counts.commands, 6);
    }

    #[test]
    fn another_protocol_is_counted_by_changes_of_direction() {
        let mut meter = Meter::new(0);
        for _ in 0..3 {
            meter.client_sent(b"GET / HTTP/1.1\r\n");
            meter.client_sent(b"\r\n");
            meter.server_sent(b"HTTP/1.1 200 OK\r\n\r\n");
        }
        assert_eq!((meter.counts.round_trips, meter.counts.commands), (3, 0));
    }

    #[test]
    fn a_reset_forgets_the_numbers_and_not_what_is_under_way() {
        let mut meter = Meter::new(7);
        meter.client_sent(b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n");
        meter.reset();
        assert_eq!(
            meter.counts,
            ConnectionCounts { id: 7, open: true, subscriber: true, ..ConnectionCounts::default() }
        );
        meter.client_sent(GET);
        assert_eq!(meter.counts.round_trips, 0, "the first command is still unanswered");
    }
}
