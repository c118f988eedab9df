//! The kinds of errors of Redis and of the connections to it.

errors::kinds! {
    /// The kinds of errors, as metrics and decisions distinguish them.
    pub enum ErrorKind;
    Unavailable: "unavailable", "Redis cannot be reached, or the connection broke";
    Timeout: "timeout", "An answer, or the end of a step, did not come in time";
    PoolExhausted: "pool_exhausted", "No connection of the pool became free in time";
    Loading: "loading", "Redis is loading its data, or a cluster is not complete";
    Denied: "denied", "Redis refused the user name, the password, or a command or key that the user may not use";
    SentinelDenied: "sentinel_denied", "A sentinel refused the user name or the password";
    UnknownMaster: "unknown_master", "The sentinels know no master by this name";
    Tls: "tls", "Server and client could not agree on TLS";
    Topology: "topology", "A node of a cluster was used as a single server, or a single server as a node";
    ReadOnly: "read_only", "The server is a replica, or takes no writes";
    WritesRefused: "writes_refused", "Redis takes no writes: its memory is full, it cannot save its data, or it lacks replicas";
    WrongType: "wrong_type", "A key is of another type than it must be";
    Torn: "torn", "A part of a ledger is missing while the rest is there";
    Foreign: "foreign", "The data belongs to another version of this program, or to another chain or contract";
    TooLarge: "too_large", "A server sent more in answer than its limit, and lost its connection";
    Malformed: "malformed", "A value cannot be read as what it must be";
    Refused: "refused", "Redis refused for another reason, which its message gives";
}

impl ErrorKind {
    /// Whether the server as a whole is unavailable, so that the caller can only wait.
    #[must_use]
    pub fn is_outage(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Timeout | Self::PoolExhausted | Self::Loading | Self::ReadOnly
        )
    }
}
