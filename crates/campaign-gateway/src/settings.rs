//! The limits of the gateway beyond those of its connections.

use std::time::Duration;

/// The limits of the gateway.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Those of the connections.
    pub connections: socket_io::Settings,
    /// The connections of one user at a time.
    pub connections_per_user: usize,
    /// New connections a second of one user; twice as many at once.
    pub connects_per_second: u32,
    /// Requests a second of one user over all its connections, such as joins; twice as many at once.
    pub requests_per_second: u32,
    /// The campaigns of one client.
    pub rooms_per_client: usize,
    /// The most events that `get_missed_events` answers.
    pub most_missed: usize,
    /// How long a client that is away finds its rooms again.
    pub recovered_within: Duration,
    /// How long before its end a token's client is warned, and how long after it the connection ends.
    pub expiry_notice: Duration,
    /// How long a part of many events may take to reach those that get it, before the next part is sent. Who takes longer holds up
    /// nobody a second time.
    pub part_within: Duration,
    /// How long a question to a source may take.
    pub source_timeout: Duration,
}

impl Settings {
    /// How long what is kept of a connected client lives without being renewed, so that it outlives the gateway by as long as promised.
    pub(crate) fn session_life(&self) -> Duration {
        self.recovered_within * 5
    }

    /// When it is renewed.
    pub(crate) fn renew_after(&self) -> Duration {
        self.recovered_within * 2
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: socket_io::Settings::default(),
            connections_per_user: 50,
            connects_per_second: 5,
            requests_per_second: 20,
            rooms_per_client: 100,
            most_missed: 100,
            recovered_within: Duration::from_secs(120),
            expiry_notice: Duration::from_secs(60),
            part_within: Duration::from_millis(100),
            source_timeout: Duration::from_secs(5),
        }
    }
}
