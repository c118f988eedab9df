//! The kinds of pictures, and the lists that they tell of.

/// The kind of a picture. A source has at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PictureKind {
    /// Miners of a proxy, in the form of the first generation.
    Miners,
    /// Connections of a pool, in the form of the first generation.
    Connections,
    /// The status of a proxy.
    ProxyStatus,
    /// The status of a pool.
    PoolStatus,
    /// The sign of life of a job declarator.
    Heartbeat,
    /// What a proxy measured of its miners.
    ProxyMetrics,
    /// What a pool measured of its proxies. A pool and a proxy at one address are one source.
    PoolMetrics,
    /// The balance of a wallet. Sent when it changes, so its age says nothing.
    Balance,
    /// A picture that was polled.
    Polled,
}

/// A list that readers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Miners.
    Miners,
    /// Connections of pools.
    Connections,
    /// Services of pools.
    Services,
}

impl List {
    /// The kinds that tell of it. Of each group the newest picture of a source counts; the groups add up.
    pub(super) fn groups(self) -> &'static [&'static [PictureKind]] {
        match self {
            Self::Miners => &[&[PictureKind::Miners, PictureKind::ProxyStatus, PictureKind::Polled]],
            Self::Connections => &[&[PictureKind::Connections, PictureKind::PoolStatus, PictureKind::Polled]],
            Self::Services => &[&[PictureKind::PoolStatus], &[PictureKind::Heartbeat]],
        }
    }
}

impl PictureKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Miners,
        Self::Connections,
        Self::ProxyStatus,
        Self::PoolStatus,
        Self::Heartbeat,
        Self::ProxyMetrics,
        Self::PoolMetrics,
        Self::Balance,
        Self::Polled,
    ];

    /// What a source is expected to send again and again. It is fresh while the newest picture of each duty is. A sender
    /// that was upgraded sends another kind for the same duty.
    pub(super) const DUTIES: [&[Self]; 6] = [
        &[Self::Miners, Self::ProxyStatus],
        &[Self::Connections, Self::PoolStatus],
        &[Self::Heartbeat],
        &[Self::ProxyMetrics],
        &[Self::PoolMetrics],
        &[Self::Polled],
    ];
}
