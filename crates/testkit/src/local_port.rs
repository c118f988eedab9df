//! Finds free TCP ports on the loopback interface. Opens only sockets that it closes again.
//!
//! Ports are drawn from below the usual ephemeral range: a port inside it can be taken by any outgoing
//! connection while its server is down, even by a client that keeps dialling that very port.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

const RANGE: Range<u16> = 12_000..32_000;
const DRAWS: usize = 200;

/// A port that was free a moment ago; `None` when none of many draws was. Another process may take it
/// before the caller does, so callers try again with another.
pub(crate) fn free_port() -> Option<u16> {
    let random = RandomState::new();
    (0..DRAWS).map(|draw| port_from(random.hash_one(draw))).find(|port| is_free(*port))
}

fn port_from(random: u64) -> u16 {
    let span = u64::from(RANGE.end - RANGE.start);
    RANGE.start + u16::try_from(random % span).unwrap_or(0)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
