//! The limits of a port.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// The most connections of one port.
const MOST_CONNECTIONS: u64 = 128;
/// The least, without which probes and a scrape would close each other.
const LEAST_CONNECTIONS: u64 = 4;
/// The file descriptors that are left to the rest of the process: connections to Redis and to nodes, the log, timers.
const RESERVED: u64 = 40;

/// The limits of a port for its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many connections it has at a time. A request takes milliseconds, so the oldest of that many is idle, or slow on purpose.
    pub connections: usize,
    /// The request line and headers together, in bytes.
    pub head_bytes: usize,
    /// How long a client may take to send them, and for the handshake of TLS. It is also the limit for being idle between two
    /// requests.
    pub head_within: Duration,
    /// The body of a request, in bytes.
    pub body_bytes: usize,
    /// How long a client may take to send it.
    pub body_within: Duration,
    /// How long an answer may take to be made.
    pub answer_within: Duration,
    /// The lifetime of a connection. It ends the connection of a client that doesn't read its answer.
    pub life: Duration,
    /// The requests a second of one client address; twice as many at once.
    pub per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: MOST_CONNECTIONS as usize,
            head_bytes: 16 << 10,
            head_within: Duration::from_secs(10),
            body_bytes: 64 << 10,
            body_within: Duration::from_secs(10),
            answer_within: Duration::from_secs(10),
            life: Duration::from_secs(60),
            per_second: 200,
        }
    }
}

impl Limits {
    /// The limits of each of `ports` ports, with as many connections as the descriptors of this process allow.
    #[must_use]
    pub fn of_process(ports: u64) -> Self {
        let connections = connections(getrlimit(Resource::Nofile).current, ports);
        Self { connections, ..Self::default() }
    }
}

/// The connections of each of `ports` ports with this limit of descriptors; `None` is no limit. Half of what is not reserved is left for
/// bursts of the other side.
fn connections(descriptors: Option<u64>, ports: u64) -> usize {
    let free = descriptors.unwrap_or(u64::MAX).saturating_sub(RESERVED);
    let share = (free / 2 / ports.max(1)).clamp(LEAST_CONNECTIONS, MOST_CONNECTIONS);
    // At most 128.
    share as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_the_limit_of_descriptors() {
        for (descriptors, ports, expected) in [
            (None, 2, 128),
            (Some(1_048_576), 2, 128),
            (Some(256), 2, 54),
            (Some(64), 2, 6),
            (Some(24), 2, 4),
            (Some(0), 0, 4),
        ] {
            assert_eq!(connections(descriptors, ports), expected, "{descriptors:?}");
        }
    }
}
