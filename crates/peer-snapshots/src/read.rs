//! From a line to a message, in one pass over the JSON.
//!
//! A field has the same type in every message that has it. So all fields that are known are read as they come, into one
//! record, and the fields that are there then say which message it is: nothing is tried and thrown away.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

use crate::{
    message::{
        BalanceUpdate, ConnectionInfo, ConnectionSnapshot, DownstreamMetrics, Heartbeat, Message,
        MeteredService, Metrics, MinerInfo, MinerSnapshot, PoolProxy, PoolStatus, ProxyMiner, ProxyStatus,
        QuoteCreated, Retired, Service, UpstreamPool,
    },
    repeated::first_repeated,
    shape::{choice, shape},
    trail::{Problem, Trail},
    unreadable::{Reason, Unreadable},
    wire::{Seed, Wire, expecting},
};

choice! {
    /// The name of a message of the enum form that is in use.
    pub(crate) enum Live, "a message of the enum form" {
        /// A [`MinerSnapshot`].
        MinerSnapshot = "MinerSnapshot",
        /// A [`ConnectionSnapshot`].
        ConnectionSnapshot = "ConnectionSnapshot",
        /// A [`BalanceUpdate`].
        BalanceUpdate = "BalanceUpdate",
        /// A [`QuoteCreated`].
        QuoteCreated = "QuoteCreated",
    }
}

/// The value of `type`.
#[derive(Clone, Copy)]
enum Tag {
    Live(Live),
    Retired(Retired),
}

impl Wire for Tag {
    fn read<'de, D: Deserializer<'de>>(input: D, trail: &Trail) -> Result<Self, D::Error> {
        struct Known;

        impl Visitor<'_> for Known {
            type Value = Option<Tag>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Option<Tag>, E> {
                Ok(Live::of(text).map(Tag::Live).or_else(|| Retired::of(text).map(Tag::Retired)))
            }
        }

        expecting("a text", trail, input.deserialize_str(Known))?.ok_or_else(|| {
            trail.note(Problem::Unknown("a message of the enum form"));
            D::Error::custom("the text names no message")
        })
    }
}

shape! {
    /// All fields of all messages. Each is `None` where it is absent or null.
    #[allow(non_snake_case)] // Messages of the enum form are fields here.
    pub(crate) struct Fields [else retired: Retired = Retired::of] {
        pub(crate) MinerSnapshot: Option<MinerSnapshot>,
        pub(crate) ConnectionSnapshot: Option<ConnectionSnapshot>,
        BalanceUpdate: Option<BalanceUpdate>,
        QuoteCreated: Option<QuoteCreated>,

        tag as "type": Option<Tag>,
        pub(crate) miners: Option<Vec<MinerInfo>>,
        pub(crate) connections: Option<Vec<ConnectionInfo>>,
        balance: Option<u64>,
        downstream_id: Option<u32>,
        amount: Option<u64>,

        service_type: Option<MeteredService>,
        pub(crate) downstreams: Option<Vec<DownstreamMetrics>>,
        ehash_balance: Option<u64>,
        upstream_pool: Option<UpstreamPool>,
        pub(crate) downstream_miners: Option<Vec<ProxyMiner>>,
        blockchain_network: Option<String>,
        services: Option<Vec<Service>>,
        pub(crate) downstream_proxies: Option<Vec<PoolProxy>>,
        listen_address: Option<String>,
        timestamp: Option<u64>,
    }
}

shape! {
    /// The names alone, for a retired event whose fields are none of ours.
    struct Names [else retired: Retired = Retired::of] {
        tag as "type": Option<Tag>,
    }
}

/// Reads a line, without its end.
///
/// # Errors
/// [`Unreadable`] with the reason and the field, if the line is no message.
pub fn read(line: &[u8]) -> Result<Message, Unreadable> {
    let Ok(text) = std::str::from_utf8(line) else { return Err(not_utf8(line)) };
    let trail = Trail::default();
    match parse::<Fields>(text, &trail) {
        Ok(fields) => fields.message(),
        Err(error) => match retired(text) {
            Some(retired) => Ok(Message::Retired(retired)),
            None => Err(Unreadable::of(&error, &trail, line)),
        },
    }
}

/// Parses a text as a whole.
pub(crate) fn parse<T: Wire>(text: &str, trail: &Trail) -> serde_json::Result<T> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let value = Seed::<T>::new(trail).deserialize(&mut parser)?;
    parser.end()?;
    Ok(value)
}

/// The retired event of a line whose fields could not be read.
fn retired(text: &str) -> Option<Retired> {
    let names = parse::<Names>(text, &Trail::default()).ok()?;
    match names.tag {
        Some(Tag::Retired(retired)) => Some(retired),
        Some(Tag::Live(_)) => None,
        None => names.retired,
    }
}

/// The error of a line that isn't UTF-8, with the first field that isn't.
fn not_utf8(line: &[u8]) -> Unreadable {
    let trail = Trail::default();
    // Such a parser examines the texts that it reads; those that it passes over have no name here.
    let mut parser = serde_json::Deserializer::from_slice(line);
    let read = Seed::<Fields>::new(&trail).deserialize(&mut parser);
    let field = read.err().map(|_| trail.path()).unwrap_or_default();
    Unreadable::new(Reason::NotUtf8, None, field)
}

/// The name of a required field, and whether it is there.
type Required = (&'static str, fn(&Fields) -> bool);

/// A message without a name of its own: its fields, told apart by the first ones.
struct Untagged {
    name: &'static str,
    /// Its required fields. Those that no other message has come first.
    fields: &'static [Required],
    /// How many fields no other message has.
    own: usize,
}

/// In the order in which they are recognised.
static UNTAGGED: [Untagged; 4] = [
    Untagged {
        name: "metrics",
        fields: &[
            ("service_type", |fields| fields.service_type.is_some()),
            ("downstreams", |fields| fields.downstreams.is_some()),
            TIMESTAMP,
        ],
        own: 2,
    },
    Untagged {
        name: "proxy status",
        fields: &[
            ("ehash_balance", |fields| fields.ehash_balance.is_some()),
            ("downstream_miners", |fields| fields.downstream_miners.is_some()),
            ("blockchain_network", |fields| fields.blockchain_network.is_some()),
            TIMESTAMP,
        ],
        own: 3,
    },
    Untagged {
        name: "pool status",
        fields: &[
            ("services", |fields| fields.services.is_some()),
            ("downstream_proxies", |fields| fields.downstream_proxies.is_some()),
            ("listen_address", |fields| fields.listen_address.is_some()),
            TIMESTAMP,
        ],
        own: 2,
    },
    // Its fields are a subset of those of the pool status.
    Untagged {
        name: "heartbeat",
        fields: &[("listen_address", |fields| fields.listen_address.is_some()), TIMESTAMP],
        own: 1,
    },
];

const TIMESTAMP: Required = ("timestamp", |fields| fields.timestamp.is_some());

impl Fields {
    /// The message that these are the fields of.
    pub(crate) fn message(self) -> Result<Message, Unreadable> {
        let several = || Err(Unreadable::new(Reason::Shape, None, String::new()));
        let outer = [
            self.MinerSnapshot.is_some(),
            self.ConnectionSnapshot.is_some(),
            self.BalanceUpdate.is_some(),
            self.QuoteCreated.is_some(),
            self.retired.is_some(),
        ];
        match (outer.iter().filter(|is_there| **is_there).count(), self.tag) {
            (0, None) => self.untagged(),
            (0, Some(Tag::Live(name))) => self.inner(name),
            (0, Some(Tag::Retired(retired))) => Ok(Message::Retired(retired)),
            (1, None) => match self {
                Self { MinerSnapshot: Some(miners), .. } => checked(Message::Miners(miners)),
                Self { ConnectionSnapshot: Some(all), .. } => checked(Message::Connections(all)),
                Self { BalanceUpdate: Some(balance), .. } => Ok(Message::Balance(balance)),
                Self { QuoteCreated: Some(quote), .. } => Ok(Message::Quote(quote)),
                Self { retired: Some(retired), .. } => Ok(Message::Retired(retired)),
                _ => several(),
            },
            _ => several(),
        }
    }

    /// The message of the enum form with this name.
    fn inner(self, name: Live) -> Result<Message, Unreadable> {
        let message = Some(name.as_str());
        let timestamp = need(self.timestamp, message, "timestamp");
        checked(match name {
            Live::MinerSnapshot => {
                let miners = need(self.miners, message, "miners")?;
                Message::Miners(MinerSnapshot { miners, timestamp: timestamp? })
            }
            Live::ConnectionSnapshot => {
                let connections = need(self.connections, message, "connections")?;
                Message::Connections(ConnectionSnapshot { connections, timestamp: timestamp? })
            }
            Live::BalanceUpdate => {
                let balance = need(self.balance, message, "balance")?;
                Message::Balance(BalanceUpdate { balance, timestamp: timestamp? })
            }
            Live::QuoteCreated => {
                let downstream_id = need(self.downstream_id, message, "downstream_id")?;
                let amount = need(self.amount, message, "amount")?;
                Message::Quote(QuoteCreated { downstream_id, amount, timestamp: timestamp? })
            }
        })
    }

    /// The message without a name.
    fn untagged(self) -> Result<Message, Unreadable> {
        match self {
            Self {
                service_type: Some(service_type),
                downstreams: Some(downstreams),
                timestamp: Some(timestamp),
                ..
            } => Ok(Message::Metrics(Metrics { service_type, downstreams, timestamp })),
            Self {
                ehash_balance: Some(ehash_balance),
                upstream_pool,
                downstream_miners: Some(downstream_miners),
                blockchain_network: Some(blockchain_network),
                timestamp: Some(timestamp),
                ..
            } => {
                let status = ProxyStatus {
                    ehash_balance,
                    upstream_pool,
                    downstream_miners,
                    blockchain_network,
                    timestamp,
                };
                checked(Message::Proxy(status))
            }
            Self {
                services: Some(services),
                downstream_proxies: Some(downstream_proxies),
                listen_address: Some(listen_address),
                timestamp: Some(timestamp),
                ..
            } => {
                checked(Message::Pool(PoolStatus { services, downstream_proxies, listen_address, timestamp }))
            }
            fields => match fields.nearest() {
                None => Err(Unreadable::new(Reason::Shape, None, String::new())),
                Some(nearest) => match nearest.fields.iter().find(|(_, is_there)| !is_there(&fields)) {
                    Some((missing, _)) => {
                        Err(Unreadable::new(Reason::MissingField, Some(nearest.name), (*missing).to_owned()))
                    }
                    // Only a heartbeat can be complete here.
                    None => Ok(Message::Heartbeat(Heartbeat {
                        listen_address: fields.listen_address.unwrap_or_default(),
                        timestamp: fields.timestamp.unwrap_or_default(),
                    })),
                },
            },
        }
    }

    /// The message that most of its own fields are there of; the first of several. A heartbeat has no field that the pool
    /// status lacks, so it is one only without a field of any other message.
    fn nearest(&self) -> Option<&'static Untagged> {
        let own = |message: &Untagged| {
            message.fields[..message.own].iter().filter(|(_, is_there)| is_there(self)).count()
        };
        let mut nearest: Option<&Untagged> = None;
        for message in &UNTAGGED {
            if own(message) > nearest.map_or(0, own) {
                nearest = Some(message);
            }
        }
        nearest
    }
}

fn need<T>(value: Option<T>, message: Option<&'static str>, field: &'static str) -> Result<T, Unreadable> {
    value.ok_or_else(|| Unreadable::new(Reason::MissingField, message, field.to_owned()))
}

/// Refuses a picture in which two entries have the same id. Metrics may repeat one: no measured work is lost then.
fn checked(message: Message) -> Result<Message, Unreadable> {
    let (name, list, field, repeated) = match &message {
        Message::Miners(picture) => (
            "MinerSnapshot",
            "miners",
            "downstream_id",
            first_repeated(&picture.miners, |miner| miner.downstream_id),
        ),
        Message::Connections(picture) => {
            let repeated = first_repeated(&picture.connections, |connection| connection.downstream_id);
            ("ConnectionSnapshot", "connections", "downstream_id", repeated)
        }
        Message::Proxy(status) => (
            "proxy status",
            "downstream_miners",
            "id",
            first_repeated(&status.downstream_miners, |miner| miner.id),
        ),
        Message::Pool(status) => (
            "pool status",
            "downstream_proxies",
            "id",
            first_repeated(&status.downstream_proxies, |proxy| proxy.id),
        ),
        _ => return Ok(message),
    };
    match repeated {
        None => Ok(message),
        Some(index) => {
            Err(Unreadable::new(Reason::RepeatedId, Some(name), format!("{list}[{index}].{field}")))
        }
    }
}
