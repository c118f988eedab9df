//! Facts that a server reports about itself.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::Inspector;
use crate::error::StoreError;

/// The settings that `INFO` does not contain.
const SETTINGS: [&str; 4] = ["save", "client-output-buffer-limit", "timeout", "maxmemory-policy"];

/// Facts that a server reports about itself. Refused questions are in `unanswered`.
#[derive(Clone, Debug, Default)]
pub struct ServerFacts {
    /// Its address.
    pub server: String,
    /// The number of keys in its database.
    pub keys: u64,
    /// Its clock compared with ours.
    pub clock: Option<ServerClock>,
    /// Commands that the server refused, with its messages.
    pub unanswered: Vec<(&'static str, String)>,
    /// The lines of `INFO`.
    pub lines: BTreeMap<String, String>,
    /// The answers of `CONFIG GET`.
    pub settings: BTreeMap<String, String>,
}

/// A server's clock compared with ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerClock {
    /// By how many seconds it is ahead of ours; negative if behind.
    pub ahead: f64,
    /// The possible error of `ahead` in seconds: half of the round trip's time.
    pub uncertainty: f64,
}

impl ServerFacts {
    /// Facts from the text of `INFO` and from pairs of settings.
    #[must_use]
    pub fn new(server: &str, info: &str, settings: &[(&str, &str)]) -> Self {
        let info = info.lines().filter_map(|line| line.trim_end().split_once(':'));
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            server: server.to_owned(),
            lines: info.map(own).collect(),
            settings: settings.iter().copied().map(own).collect(),
            ..Self::default()
        }
    }

    /// A line of `INFO`.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<&str> {
        self.lines.get(name).map(String::as_str)
    }

    /// A line of `INFO` that is a count.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        self.info(name)?.parse().ok()
    }

    /// The addresses of its replicas, from `INFO`.
    pub fn replicas(&self) -> impl Iterator<Item = (String, u16)> {
        // `slave0:ip=10.0.0.2,port=6379,state=online,offset=…,lag=…`. Split at commas: an IPv6 address has colons.
        let lines = self.lines.iter().filter(|(name, _)| {
            name.strip_prefix("slave").is_some_and(|number| number.parse::<u32>().is_ok())
        });
        lines.filter_map(|(_, line)| {
            let field = |name: &str| line.split(',').find_map(|field| field.strip_prefix(name));
            Some((field("ip=")?.to_owned(), field("port=")?.parse().ok()?))
        })
    }

    /// A setting of `CONFIG GET`.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }
}

impl Inspector {
    /// Queries the server for all facts.
    ///
    /// # Errors
    /// [`StoreError`] if it does not answer. A refused command is no error.
    pub async fn facts(&mut self) -> Result<ServerFacts, StoreError> {
        let mut unanswered = Vec::new();
        let mut refused = |what: &'static str, why: String| unanswered.push((what, why));
        let info: String = match self.query_as(&["INFO"]).await? {
            Ok(info) => info,
            Err(why) => {
                refused("INFO", why);
                String::new()
            }
        };
        let mut settings: Vec<(String, String)> = Vec::new();
        // One by one: CONFIG GET takes several names from Redis 7 on only.
        for name in SETTINGS {
            match self.query_as::<Vec<(String, String)>>(&["CONFIG", "GET", name]).await? {
                Ok(pairs) => settings.extend(pairs),
                Err(why) => {
                    // Managed servers forbid CONFIG; the next name would be refused too.
                    refused("CONFIG GET", why);
                    break;
                }
            }
        }
        let keys = self.query_as(&["DBSIZE"]).await?.unwrap_or_else(|why| {
            refused("DBSIZE", why);
            0
        });
        let clock = match self.clock().await? {
            Ok(clock) => Some(clock),
            Err(why) => {
                refused("TIME", why);
                None
            }
        };
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Ok(ServerFacts { keys, clock, unanswered, ..ServerFacts::new(&self.server, &info, &settings) })
    }

    async fn clock(&mut self) -> Result<Result<ServerClock, String>, StoreError> {
        let before = unix();
        let time = self.query_as::<(u64, u32)>(&["TIME"]).await?;
        let after = unix();
        Ok(time.map(|(seconds, micros)| {
            // The server read its clock at an unknown moment of the round trip; its middle is the best guess.
            let theirs = Duration::new(seconds, micros.saturating_mul(1_000)).as_secs_f64();
            ServerClock { ahead: theirs - f64::midpoint(before, after), uncertainty: (after - before) / 2.0 }
        }))
    }
}

fn unix() -> f64 {
    // A clock before 1970 counts as 1970, and shows as far behind.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
