//! Lists of sources, miners, connections and services out of the pictures of all sources. Pure.

use std::collections::HashMap;

use actors::peers::Content;
use domain::peers::{HASHES_PER_WORK, List, Now, PictureKind, PictureView, Pictures};
use peer_snapshots::{
    BalanceUpdate, Message,
    polled::Polled,
    readers::{ConnectionEntry, MinerEntry, Miners, PoolStats, ProxyStats, ServiceEntry, StatsService, View},
};
use serde::Serialize;

/// The pictures.
pub(super) type Held = Pictures<Content>;

/// A source as the page shows it.
#[derive(Debug, Serialize)]
pub(super) struct SourceEntry {
    /// Its name.
    source: String,
    /// How long ago its newest picture arrived, in seconds.
    age_seconds: f64,
    /// Whether it is silent for too long.
    is_stale: bool,
    /// What a polled source monitors; absent for one that pushes.
    #[serde(skip_serializing_if = "Option::is_none")]
    monitored: Option<Vec<&'static str>>,
    /// Whether its lists changed each time that they were read, or are too long.
    #[serde(skip_serializing_if = "is_false")]
    is_uncertain: bool,
}

fn is_false(is_so: &bool) -> bool {
    !*is_so
}

/// `/api/sources`.
pub(super) fn sources(pictures: &Held, now: Now) -> Vec<SourceEntry> {
    let stale = pictures.stale(now);
    let entry = |source: &str| {
        let ages = pictures.of_source(source, now).map(|picture| picture.age);
        let age = ages.reduce(f64::min)?;
        let age_seconds = (age * 10.0).round() / 10.0;
        let newest = pictures.newest(PictureKind::Polled, Some(source), now);
        let polled = newest.as_ref().and_then(|picture| picture.content.polled());
        Some(SourceEntry {
            source: source.to_owned(),
            age_seconds,
            is_stale: stale.contains(&source),
            monitored: polled.map(Polled::monitored),
            is_uncertain: polled.is_some_and(|polled| polled.is_uncertain),
        })
    };
    pictures.sources().filter_map(entry).collect()
}

/// The rates that a source measured last, in H/s, by the ids of its peers: a proxy measures its miners, a pool its proxies.
fn measured(pictures: &Held, source: &str, kind: PictureKind, now: Now) -> HashMap<u32, f64> {
    let newest = pictures.newest(kind, Some(source), now);
    let metrics = newest.as_ref().filter(|picture| !picture.is_emptied && !picture.is_stale);
    match metrics.and_then(|picture| picture.content.message()) {
        Some(Message::Metrics(metrics)) => {
            metrics.downstreams.iter().filter_map(|one| Some((one.downstream_id, one.hashrate()?))).collect()
        }
        _ => HashMap::new(),
    }
}

/// The same of the picture of a list: what a poll measured is a part of it.
fn measured_beside(
    pictures: &Held,
    picture: &PictureView<'_, Content>,
    kind: PictureKind,
    now: Now,
) -> HashMap<u32, f64> {
    match &**picture.content {
        Content::Polled { rates, .. } if !picture.is_stale => {
            rates.iter().map(|(id, rate)| (*id, rate * HASHES_PER_WORK)).collect()
        }
        Content::Polled { .. } => HashMap::new(),
        Content::Pushed(_) => measured(pictures, picture.source, kind, now),
    }
}

/// The miners of a picture, with whether each may have been measured by its id. They are passed on one by one: a list of all of them in
/// between would take as much memory again.
fn miners_of<'a>(
    content: &'a Content,
    view: View<'a>,
) -> Box<dyn Iterator<Item = (MinerEntry<'a>, bool)> + 'a> {
    match content {
        Content::Pushed(message) => match &**message {
            Message::Proxy(status) => {
                Box::new(status.downstream_miners.iter().map(move |one| (MinerEntry::of(one, &view), true)))
            }
            Message::Miners(all) => {
                Box::new(all.miners.iter().map(move |one| (MinerEntry::of_info(one, &view), true)))
            }
            _ => Box::new(std::iter::empty()),
        },
        Content::Polled { told, .. } => {
            let clients = told.clients.iter().flatten().filter(|client| !client.is_proxy());
            let clients = clients.map(move |client| (MinerEntry::of_client(client, &view), true));
            // Their numbers are not those of clients.
            let sv1 = told.sv1_clients.iter().flatten();
            Box::new(clients.chain(sv1.map(move |client| (MinerEntry::of_sv1(client, &view), false))))
        }
    }
}

/// `/api/miners`.
pub(super) fn miners<'a>(pictures: &'a Held, view: &View<'a>, now: Now) -> Miners<'a> {
    let of = |picture: PictureView<'a, Content>| {
        let source = Some(picture.source);
        let measured = measured_beside(pictures, &picture, PictureKind::ProxyMetrics, now);
        miners_of(picture.content, *view).map(move |(entry, has_rate)| MinerEntry {
            source,
            measured_hashrate: measured.get(&entry.id).copied().filter(|_| has_rate),
            ..entry
        })
    };
    Miners { miners: pictures.list(List::Miners, now).flat_map(of).collect() }
}

/// The connections of a picture.
fn connections_of<'a>(content: &'a Content, view: &View<'_>) -> Vec<ConnectionEntry<'a>> {
    match content {
        Content::Pushed(message) => match &**message {
            Message::Pool(status) => {
                status.downstream_proxies.iter().map(|proxy| ConnectionEntry::of(proxy, view)).collect()
            }
            Message::Connections(all) => {
                all.connections.iter().map(|one| ConnectionEntry::of_info(one, view)).collect()
            }
            _ => Vec::new(),
        },
        Content::Polled { told, .. } => {
            let proxies = told.clients.iter().flatten().filter(|client| client.is_proxy());
            proxies.map(|client| ConnectionEntry::of_client(client, view)).collect()
        }
    }
}

/// `/api/connections`.
pub(super) fn connections<'a>(pictures: &'a Held, view: &View<'_>, now: Now) -> Vec<ConnectionEntry<'a>> {
    let of = |picture: PictureView<'a, Content>| {
        let source = Some(picture.source);
        let measured = measured_beside(pictures, &picture, PictureKind::PoolMetrics, now);
        connections_of(picture.content, view).into_iter().map(move |entry| ConnectionEntry {
            source,
            measured_hashrate: measured.get(&entry.proxy.id).copied(),
            ..entry
        })
    };
    pictures.list(List::Connections, now).flat_map(of).collect()
}

/// `/api/services`.
pub(super) fn services<'a>(pictures: &'a Held, view: &View<'_>, now: Now) -> Vec<ServiceEntry<'a>> {
    let of = |picture: PictureView<'a, Content>| {
        let entries: Vec<StatsService> = match picture.content.message() {
            Some(Message::Pool(status)) => {
                status.services.iter().map(|one| StatsService::of(one, view)).collect()
            }
            Some(Message::Heartbeat(heartbeat)) => vec![StatsService::of_heartbeat(heartbeat, view)],
            _ => Vec::new(),
        };
        let source = Some(picture.source);
        entries.into_iter().map(move |service| ServiceEntry { service, source })
    };
    pictures.list(List::Services, now).flat_map(of).collect()
}

/// `/api/stats` of proxies: the newest status, or list of miners of a source that sends no status; without miners once its source has
/// ended; `None` before the first one ever.
pub(super) fn proxy_stats(
    pictures: &Held,
    source: Option<&str>,
    view: &View<'_>,
    now: Now,
) -> Option<ProxyStats> {
    const KINDS: [PictureKind; 2] = [PictureKind::ProxyStatus, PictureKind::Miners];
    let newest = KINDS.into_iter().filter_map(|kind| pictures.newest(kind, source, now));
    let newest = newest.min_by(|one, other| one.age.total_cmp(&other.age));
    let stats = newest.as_ref().and_then(|picture| {
        let stats = match picture.content.message()? {
            Message::Proxy(status) => ProxyStats::of(status, view),
            Message::Miners(all) => {
                ProxyStats::of_snapshot(all, balance(pictures, picture.source, now), view)
            }
            _ => return None,
        };
        Some(if picture.is_emptied { stats.emptied() } else { stats })
    });
    // Forgotten since: empty lists, which clear a reader's page.
    stats.or_else(|| KINDS.iter().any(|kind| pictures.has_seen_kind(*kind)).then(ProxyStats::default))
}

/// The newest balance of a source.
fn balance(pictures: &Held, source: &str, now: Now) -> Option<BalanceUpdate> {
    match pictures.newest(PictureKind::Balance, Some(source), now)?.content.message()? {
        Message::Balance(balance) => Some(*balance),
        _ => None,
    }
}

/// `/api/stats` of pools: the newest status, with the job declarator of a heartbeat.
pub(super) fn pool_stats(
    pictures: &Held,
    source: Option<&str>,
    view: &View<'_>,
    now: Now,
) -> Option<PoolStats> {
    let status = pictures.newest(PictureKind::PoolStatus, source, now);
    let heartbeat =
        pictures.newest(PictureKind::Heartbeat, source, now).filter(|picture| !picture.is_emptied);
    let stats = status.as_ref().and_then(|picture| match picture.content.message() {
        Some(Message::Pool(status)) => {
            let stats = PoolStats::of(status, view);
            Some(if picture.is_emptied { stats.emptied() } else { stats })
        }
        _ => None,
    });
    let is_known = pictures.has_seen_kind(PictureKind::PoolStatus);
    let stats = stats.or_else(|| is_known.then(PoolStats::default))?;
    Some(match heartbeat.as_ref().and_then(|picture| picture.content.message()) {
        Some(Message::Heartbeat(heartbeat)) => stats.with_heartbeat(heartbeat, view),
        _ => stats,
    })
}
