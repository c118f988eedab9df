//! Lists of sources, miners, connections and services out of the pictures of all sources. Pure.

use std::collections::HashMap;

use domain::peers::{List, Now, PictureKind, PictureView, Pictures};
use peer_snapshots::{
    Message, MeteredService,
    readers::{ConnectionEntry, MinerEntry, Miners, PoolStats, ProxyStats, ServiceEntry, StatsService, View},
};
use serde::Serialize;

/// The pictures.
pub(super) type Held = Pictures<Message>;

/// A source as the page shows it.
#[derive(Debug, Serialize)]
pub(super) struct SourceEntry {
    /// Its name.
    source: String,
    /// How long ago its newest picture arrived, in seconds.
    age_seconds: f64,
    /// Whether it is silent for too long.
    is_stale: bool,
}

/// `/api/sources`.
pub(super) fn sources(pictures: &Held, now: Now) -> Vec<SourceEntry> {
    let stale = pictures.stale(now);
    let entry = |source: &str| {
        let ages = pictures.of_source(source, now).map(|picture| picture.age);
        let age = ages.reduce(f64::min)?;
        let age_seconds = (age * 10.0).round() / 10.0;
        Some(SourceEntry { source: source.to_owned(), age_seconds, is_stale: stale.contains(&source) })
    };
    pictures.sources().filter_map(entry).collect()
}

/// The rates that a source measured last, in H/s, by the ids of its peers: a proxy measures its miners, a pool its proxies.
fn measured(pictures: &Held, source: &str, by: MeteredService, now: Now) -> HashMap<u32, f64> {
    let newest = pictures.newest(PictureKind::Metrics, Some(source), now);
    let metrics = newest.as_ref().filter(|picture| !picture.is_emptied && !picture.is_stale);
    match metrics.map(|picture| &**picture.content) {
        Some(Message::Metrics(metrics)) if metrics.service_type == by => {
            metrics.downstreams.iter().filter_map(|one| Some((one.downstream_id, one.hashrate()?))).collect()
        }
        _ => HashMap::new(),
    }
}

/// `/api/miners`.
pub(super) fn miners(pictures: &Held, view: &View<'_>, now: Now) -> Miners {
    let of = |picture: PictureView<'_, Message>| {
        let entries: Vec<MinerEntry> = match &**picture.content {
            Message::Proxy(status) => {
                status.downstream_miners.iter().map(|miner| MinerEntry::of(miner, view)).collect()
            }
            Message::Miners(all) => all.miners.iter().map(|miner| MinerEntry::of_info(miner, view)).collect(),
            _ => Vec::new(),
        };
        let source = Some(picture.source.to_owned());
        let measured = measured(pictures, picture.source, MeteredService::Translator, now);
        entries.into_iter().map(move |entry| MinerEntry {
            source: source.clone(),
            measured_hashrate: measured.get(&entry.id).copied(),
            ..entry
        })
    };
    Miners { miners: pictures.list(List::Miners, now).flat_map(of).collect() }
}

/// `/api/connections`.
pub(super) fn connections(pictures: &Held, view: &View<'_>, now: Now) -> Vec<ConnectionEntry> {
    let of = |picture: PictureView<'_, Message>| {
        let entries: Vec<ConnectionEntry> = match &**picture.content {
            Message::Pool(status) => {
                status.downstream_proxies.iter().map(|proxy| ConnectionEntry::of(proxy, view)).collect()
            }
            Message::Connections(all) => {
                all.connections.iter().map(|one| ConnectionEntry::of_info(one, view)).collect()
            }
            _ => Vec::new(),
        };
        let source = Some(picture.source.to_owned());
        let measured = measured(pictures, picture.source, MeteredService::Pool, now);
        entries.into_iter().map(move |entry| ConnectionEntry {
            source: source.clone(),
            measured_hashrate: measured.get(&entry.proxy.id).copied(),
            ..entry
        })
    };
    pictures.list(List::Connections, now).flat_map(of).collect()
}

/// `/api/services`.
pub(super) fn services(pictures: &Held, view: &View<'_>, now: Now) -> Vec<ServiceEntry> {
    let of = |picture: PictureView<'_, Message>| {
        let entries: Vec<StatsService> = match &**picture.content {
            Message::Pool(status) => status.services.iter().map(|one| StatsService::of(one, view)).collect(),
            Message::Heartbeat(heartbeat) => vec![StatsService::of_heartbeat(heartbeat, view)],
            _ => Vec::new(),
        };
        let source = Some(picture.source.to_owned());
        entries.into_iter().map(move |service| ServiceEntry { service, source: source.clone() })
    };
    pictures.list(List::Services, now).flat_map(of).collect()
}

/// `/api/stats` of proxies: the newest status, without miners once its source has ended; `None` before the first one ever.
pub(super) fn proxy_stats(
    pictures: &Held,
    source: Option<&str>,
    view: &View<'_>,
    now: Now,
) -> Option<ProxyStats> {
    let newest = pictures.newest(PictureKind::ProxyStatus, source, now);
    let stats = newest.as_ref().and_then(|picture| match &**picture.content {
        Message::Proxy(status) => {
            let stats = ProxyStats::of(status, view);
            Some(if picture.is_emptied { stats.emptied() } else { stats })
        }
        _ => None,
    });
    // Forgotten since: empty lists, which clear a reader's page.
    stats.or_else(|| pictures.has_seen_kind(PictureKind::ProxyStatus).then(ProxyStats::default))
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
    let stats = status.as_ref().and_then(|picture| match &**picture.content {
        Message::Pool(status) => {
            let stats = PoolStats::of(status, view);
            Some(if picture.is_emptied { stats.emptied() } else { stats })
        }
        _ => None,
    });
    let is_known = pictures.has_seen_kind(PictureKind::PoolStatus);
    let stats = stats.or_else(|| is_known.then(PoolStats::default))?;
    Some(match heartbeat.as_ref().map(|picture| &**picture.content) {
        Some(Message::Heartbeat(heartbeat)) => stats.with_heartbeat(heartbeat, view),
        _ => stats,
    })
}
