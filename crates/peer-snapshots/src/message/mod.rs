//! Every message of a sender.

mod enum_form;
mod status;

use serde::Serialize;

pub use enum_form::{
    BalanceUpdate, ConnectionInfo, ConnectionSnapshot, ConnectionType, MinerInfo, MinerSnapshot,
    QuoteCreated, Retired,
};
pub use status::{
    DownstreamMetrics, Heartbeat, MeteredService, Metrics, PoolProxy, PoolStatus, ProxyMiner, ProxyStatus,
    Service, ServiceType, UpstreamPool,
};

/// A message: one line of a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Miners of a proxy, in the enum form.
    Miners(MinerSnapshot),
    /// Connections of a pool, in the enum form.
    Connections(ConnectionSnapshot),
    /// The balance of a wallet.
    Balance(BalanceUpdate),
    /// A quote that a wallet has created.
    Quote(QuoteCreated),
    /// The status of a proxy.
    Proxy(ProxyStatus),
    /// The status of a pool.
    Pool(PoolStatus),
    /// The sign of life of a job declarator.
    Heartbeat(Heartbeat),
    /// What a proxy or a pool measured.
    Metrics(Metrics),
    /// An event that is no longer used; its fields are not read.
    Retired(Retired),
}

/// How a message of the enum form carries its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tagging {
    /// `{"MinerSnapshot":{…}}`, as serde does by default.
    #[default]
    Outer,
    /// `{"type":"MinerSnapshot",…}`, as the first generation does.
    Inner,
}

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageKind {
    /// [`Message::Miners`].
    Miners,
    /// [`Message::Connections`].
    Connections,
    /// [`Message::Balance`].
    Balance,
    /// [`Message::Quote`].
    Quote,
    /// [`Message::Proxy`].
    Proxy,
    /// [`Message::Pool`].
    Pool,
    /// [`Message::Heartbeat`].
    Heartbeat,
    /// [`Message::Metrics`].
    Metrics,
    /// [`Message::Retired`].
    Retired,
}

impl MessageKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Miners,
        Self::Connections,
        Self::Balance,
        Self::Quote,
        Self::Proxy,
        Self::Pool,
        Self::Heartbeat,
        Self::Metrics,
        Self::Retired,
    ];

    /// The label of a metric.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Miners => "miners",
            Self::Connections => "connections",
            Self::Balance => "balance",
            Self::Quote => "quote",
            Self::Proxy => "proxy_status",
            Self::Pool => "pool_status",
            Self::Heartbeat => "heartbeat",
            Self::Metrics => "metrics",
            Self::Retired => "retired",
        }
    }
}

/// A message of the enum form under its name.
#[derive(Serialize)]
enum Outer<'a> {
    MinerSnapshot(&'a MinerSnapshot),
    ConnectionSnapshot(&'a ConnectionSnapshot),
    BalanceUpdate(&'a BalanceUpdate),
    QuoteCreated(&'a QuoteCreated),
}

/// A message of the enum form with its name among its fields.
#[derive(Serialize)]
#[serde(tag = "type")]
enum Inner<'a> {
    MinerSnapshot(&'a MinerSnapshot),
    ConnectionSnapshot(&'a ConnectionSnapshot),
    BalanceUpdate(&'a BalanceUpdate),
    QuoteCreated(&'a QuoteCreated),
}

impl Message {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::Miners(_) => MessageKind::Miners,
            Self::Connections(_) => MessageKind::Connections,
            Self::Balance(_) => MessageKind::Balance,
            Self::Quote(_) => MessageKind::Quote,
            Self::Proxy(_) => MessageKind::Proxy,
            Self::Pool(_) => MessageKind::Pool,
            Self::Heartbeat(_) => MessageKind::Heartbeat,
            Self::Metrics(_) => MessageKind::Metrics,
            Self::Retired(_) => MessageKind::Retired,
        }
    }

    /// Its timestamp, in Unix seconds of the sender; `None` for a retired event.
    #[must_use]
    pub fn timestamp(&self) -> Option<u64> {
        Some(match self {
            Self::Miners(miners) => miners.timestamp,
            Self::Connections(connections) => connections.timestamp,
            Self::Balance(balance) => balance.timestamp,
            Self::Quote(quote) => quote.timestamp,
            Self::Proxy(status) => status.timestamp,
            Self::Pool(status) => status.timestamp,
            Self::Heartbeat(heartbeat) => heartbeat.timestamp,
            Self::Metrics(metrics) => metrics.timestamp,
            Self::Retired(_) => return None,
        })
    }

    /// Appends the message as a line, with its end. Rates that are no rates are clamped: [`crate::read()`] accepts the line.
    ///
    /// A retired event can't be sent: nothing is appended.
    pub fn write_line(&self, tagging: Tagging, line: &mut Vec<u8>) {
        let before = line.len();
        let written = match (self, tagging) {
            (Self::Miners(miners), Tagging::Outer) => append(line, &Outer::MinerSnapshot(miners)),
            (Self::Miners(miners), Tagging::Inner) => append(line, &Inner::MinerSnapshot(miners)),
            (Self::Connections(all), Tagging::Outer) => append(line, &Outer::ConnectionSnapshot(all)),
            (Self::Connections(all), Tagging::Inner) => append(line, &Inner::ConnectionSnapshot(all)),
            (Self::Balance(balance), Tagging::Outer) => append(line, &Outer::BalanceUpdate(balance)),
            (Self::Balance(balance), Tagging::Inner) => append(line, &Inner::BalanceUpdate(balance)),
            (Self::Quote(quote), Tagging::Outer) => append(line, &Outer::QuoteCreated(quote)),
            (Self::Quote(quote), Tagging::Inner) => append(line, &Inner::QuoteCreated(quote)),
            (Self::Proxy(status), _) => append(line, status),
            (Self::Pool(status), _) => append(line, status),
            (Self::Heartbeat(heartbeat), _) => append(line, heartbeat),
            (Self::Metrics(metrics), _) => append(line, metrics),
            (Self::Retired(_), _) => return,
        };
        match written {
            Ok(()) => line.push(b'\n'),
            // Plain data always has a JSON form; half a line must not stay in any case.
            Err(_) => line.truncate(before),
        }
    }
}

fn append(line: &mut Vec<u8>, message: &impl Serialize) -> serde_json::Result<()> {
    serde_json::to_writer(line, message)
}
