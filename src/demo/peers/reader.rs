//! Reads what the service shows of its peers, as other programs do: by HTTP, and the file of the history.

use std::{net::SocketAddr, ops::Range, path::PathBuf, time::Duration};

use color_eyre::eyre::{OptionExt, Result, WrapErr};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use store_peers::{HistoryReader, Level, Subject, Wanted};
use testkit::peers::GHOST;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::spawn_blocking,
    time::timeout,
};

use super::{
    POOL,
    seen::{Kept, Rates, Seen},
    truth::PeersTruth,
};
use crate::service::Service;

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(5);
/// The largest answer, in bytes.
const LARGEST: u64 = 64 << 20;
/// The paths that tell who is connected. Some say 503 before the first picture, with the same shape.
const LISTS: [&str; 4] = ["/api/miners", "/api/connections", "/api/services", "/health"];
/// Other paths that no ghost may be in.
const OTHERS: [&str; 3] = ["/api/stats", "/api/balance", "/api/sources"];

/// Reads.
pub(in crate::demo) struct PeerReader {
    /// The ports for readers of proxies and of pools.
    readers: [SocketAddr; 2],
    metrics: SocketAddr,
    history: PathBuf,
}

#[derive(Deserialize)]
struct Health {
    stale: Vec<String>,
}

#[derive(Deserialize)]
struct ServiceEntry {
    service_type: String,
    source: String,
}

#[derive(Deserialize)]
struct History {
    step: u64,
    points: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    timestamp: u64,
    measured: Option<Mean>,
}

#[derive(Deserialize)]
struct Mean {
    mean: f64,
}

impl PeerReader {
    /// A reader of this service, whose history is this file.
    ///
    /// # Errors
    /// A service without peers.
    pub(in crate::demo) fn new(service: &Service, history: PathBuf) -> Result<Self> {
        let readers = service.peers().map(|peers| peers.readers()).unwrap_or_default();
        let readers = readers.try_into().ok().ok_or_eyre("the service has no ports for readers of peers")?;
        Ok(Self { readers, metrics: service.http().metrics_address(), history })
    }

    /// What is shown now.
    pub(in crate::demo) async fn seen(&self) -> Result<Seen> {
        let [proxy, pool] = self.readers;
        let [miners, connections, services, health] = LISTS;
        let mut texts = Vec::new();
        for path in LISTS {
            texts.push((path, get(proxy, path).await?));
        }
        let mut seen = Seen {
            miners: field(parsed(&texts[0])?, "miners", miners)?,
            connections: parsed(&texts[1]).wrap_err(connections)?,
            services: parsed::<Vec<ServiceEntry>>(&texts[2])
                .wrap_err(services)?
                .into_iter()
                .map(|entry| (entry.source, entry.service_type))
                .collect(),
            stale: parsed::<Health>(&texts[3]).wrap_err(health)?.stale,
            haunted: Vec::new(),
        };
        for path in OTHERS {
            texts.push((path, get(proxy, path).await?));
            texts.push((path, get(pool, path).await?));
        }
        let haunted = texts.iter().filter(|(_, text)| text.contains(GHOST));
        seen.haunted = haunted.map(|(path, _)| (*path).to_owned()).collect();
        Ok(seen)
    }

    /// What is kept and counted of the time that the senders' record covers.
    pub(in crate::demo) async fn kept(&self, truth: &PeersTruth, service: &Service) -> Result<Kept> {
        let mut kept = Kept { restarts: restarts(service), ..Kept::default() };
        let ranges = truth.proxies.iter().filter_map(|(name, proxy)| Some((*name, proxy.measured.range()?)));
        let ranges: Vec<(&str, (u64, u64))> = ranges.collect();
        for (name, (first, last)) in &ranges {
            let query = format!("from={first}&to={}&source={name}", last + 1);
            kept.rates.insert((*name).to_owned(), self.rates(&query).await?);
            kept.seconds.insert((*name).to_owned(), self.seconds(name, *first..last + 1).await?);
        }
        let first = ranges.iter().map(|(_, (first, _))| *first).min().unwrap_or_default();
        let last = ranges.iter().map(|(_, (_, last))| *last).max().unwrap_or_default();
        let range = format!("from={first}&to={}", last + 1);
        kept.total = self.rates(&range).await?;
        let quotes = get(self.readers[1], &format!("/api/quotes?{range}")).await?;
        let quotes: Vec<Value> = field(serde_json::from_str(&quotes)?, "quotes", "/api/quotes")?;
        kept.quotes = quotes.iter().filter_map(|quote| quote["amount"].as_u64()).collect();
        let balances = get(self.readers[1], "/api/balance").await?;
        let balances: Vec<Value> = field(serde_json::from_str(&balances)?, "balances", "/api/balance")?;
        let of_pool = balances.iter().find(|balance| balance["source"] == POOL);
        kept.balance = of_pool.and_then(|balance| balance["balance"].as_u64());
        let metrics = get(self.metrics, "/metrics").await?;
        for (name, value) in metrics.lines().filter_map(|line| line.rsplit_once(' ')) {
            let count = value.parse::<f64>().unwrap_or_default() as u64;
            if name == "state_tracker_peers_clock_total" {
                kept.clocks = count;
            }
            let reason = name.strip_prefix("state_tracker_peers_dropped_lines_total{reason=\"");
            if let Some(reason) = reason.and_then(|rest| rest.strip_suffix("\"}")).filter(|_| count > 0) {
                kept.dropped.insert(reason.to_owned(), count);
            }
        }
        Ok(kept)
    }

    async fn rates(&self, query: &str) -> Result<Rates> {
        let text = get(self.readers[0], &format!("/api/history?{query}")).await?;
        let History { step, points } = serde_json::from_str(&text).wrap_err("/api/history")?;
        let rate = |point: Point| Some((point.timestamp..point.timestamp + step, point.measured?.mean));
        Ok(points.into_iter().filter_map(rate).collect())
    }

    /// How many seconds of a source the file has. No answer tells them.
    async fn seconds(&self, name: &str, range: Range<u64>) -> Result<f64> {
        let (path, wanted) = (self.history.clone(), Wanted::Subject(Subject::Source(name.into())));
        let (from, to) = (i64::try_from(range.start)?, i64::try_from(range.end)?);
        let read = spawn_blocking(move || {
            HistoryReader::open(&path)?.range_of_level(&wanted, Level::Raw, from, to, 1)
        });
        let range = read.await?.wrap_err("the history of the peers can't be read")?;
        Ok(range.points.iter().map(|point| point.both.measured.seconds).sum())
    }
}

/// How often the actor of the history and those of connections were restarted.
fn restarts(service: &Service) -> [u64; 2] {
    let health = service.tree().health();
    let of = |prefix: &str| {
        let all = health.iter().filter(|actor| actor.path.starts_with(prefix));
        all.map(|actor| actor.restarts()).sum()
    };
    [of("peers/history"), of("peers/connections")]
}

fn parsed<T: DeserializeOwned>((path, text): &(&str, String)) -> Result<T> {
    serde_json::from_str(text).wrap_err_with(|| format!("a reader could not read {path}: {text}"))
}

fn field<T: DeserializeOwned>(mut answer: Value, name: &str, path: &str) -> Result<T> {
    let value = answer.get_mut(name).map(Value::take).unwrap_or_default();
    serde_json::from_value(value).wrap_err_with(|| format!("a reader could not read {name} of {path}"))
}

/// The body of the answer, whatever its status.
async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(LARGEST).read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(WITHIN, ask).await.wrap_err_with(|| format!("{path} was not answered"))?;
    let answer = answer.wrap_err_with(|| format!("{path} could not be asked for"))?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or_eyre("an answer without a body")?;
    Ok(body.to_owned())
}
