//! The handlers of the paths.

use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode},
    response::Response,
};
use domain::peers::{HASHES_PER_WORK, List, Now};
use peer_snapshots::readers::{Addresses, HashratePoint, Hashrates, Health, View};
use serde::{Deserialize, Serialize};
use store_peers::{HistoryPoint, Rollup, Subject, Wanted};

use super::{
    MadeLists, PeerPort, Side,
    answers::{bad, no_data, refused, shown},
    lists,
    made::Made,
};

/// The shortest point of a range, in seconds: samples come every 5 to 15 s.
const SHORTEST: i64 = 15;
/// The most quotes of an answer.
const MOST_QUOTES: usize = 1_000;

/// The query of paths that have several sources.
#[derive(Debug, Default, Deserialize)]
pub(super) struct OfSource {
    source: Option<String>,
}

/// The query of a range of time.
#[derive(Debug, Deserialize)]
pub(super) struct Range {
    from: i64,
    to: i64,
    source: Option<String>,
}

/// What is answered to a query that can't be read.
fn unreadable(error: &QueryRejection) -> Response {
    bad(format!("the query can't be read: {}", errors::sanitise(error.body_text())))
}

impl PeerPort {
    /// Answers with the pictures of now.
    fn look<T>(&self, answer: impl FnOnce(&lists::Held, &View<'_>, Now) -> T) -> T {
        self.seen(&self.peers.pictures(), answer)
    }

    /// Answers with these pictures.
    fn seen<T>(&self, pictures: &lists::Held, answer: impl FnOnce(&lists::Held, &View<'_>, Now) -> T) -> T {
        let now = self.peers.now();
        let pseudonyms = self.peers.settings().naming.pseudonyms.as_ref();
        let hide = |address: &str| pseudonyms.map_or_else(String::new, |names| names.of(address));
        let addresses = if pseudonyms.is_some() { Addresses::Pseudonyms(&hide) } else { Addresses::Shown };
        answer(pictures, &View { now: now.unix as u64, addresses }, now)
    }
}

/// `/api/stats`
pub(super) async fn stats(
    State(port): State<PeerPort>,
    query: Result<Query<OfSource>, QueryRejection>,
) -> Response {
    let Query(OfSource { source }) = match query {
        Ok(query) => query,
        Err(error) => return unreadable(&error),
    };
    let source = source.as_deref();
    port.look(|pictures, view, now| match port.side {
        Side::Proxy => match lists::proxy_stats(pictures, source, view, now) {
            Some(stats) => shown(StatusCode::OK, &stats),
            None => no_data(),
        },
        Side::Pool => match lists::pool_stats(pictures, source, view, now) {
            Some(stats) => shown(StatusCode::OK, &stats),
            None => no_data(),
        },
    })
}

/// A list that is written once for each state of the pictures.
async fn list<T: Serialize + 'static>(
    port: PeerPort,
    made: fn(&MadeLists) -> &Made,
    headers: HeaderMap,
    list: fn(&lists::Held, &View<'_>, Now) -> (StatusCode, T),
) -> Response {
    let all = port.made.clone();
    let pictures = port.peers.pictures();
    made(&all).answer(pictures, &headers, move |pictures| port.seen(pictures, list)).await
}

/// `/api/miners`
pub(super) async fn miners(State(port): State<PeerPort>, headers: HeaderMap) -> Response {
    list(
        port,
        |made| &made.miners,
        headers,
        |pictures, view, now| (StatusCode::OK, lists::miners(pictures, view, now)),
    )
    .await
}

/// The status of a bare list: 503 before the first picture that tells of it.
fn status(pictures: &lists::Held, list: List) -> StatusCode {
    if pictures.has_seen(list) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// `/api/services`
pub(super) async fn services(State(port): State<PeerPort>, headers: HeaderMap) -> Response {
    list(
        port,
        |made| &made.services,
        headers,
        |pictures, view, now| (status(pictures, List::Services), lists::services(pictures, view, now)),
    )
    .await
}

/// `/api/connections`
pub(super) async fn connections(State(port): State<PeerPort>, headers: HeaderMap) -> Response {
    list(
        port,
        |made| &made.connections,
        headers,
        |pictures, view, now| (status(pictures, List::Connections), lists::connections(pictures, view, now)),
    )
    .await
}

/// `/api/sources`
pub(super) async fn sources(State(port): State<PeerPort>) -> Response {
    #[derive(Serialize)]
    struct Sources {
        sources: Vec<lists::SourceEntry>,
    }
    port.look(|pictures, _, now| shown(StatusCode::OK, &Sources { sources: lists::sources(pictures, now) }))
}

/// `/health`
pub(super) async fn health(State(port): State<PeerPort>) -> Response {
    port.look(|pictures, _, now| {
        let stale: Vec<String> = pictures.stale(now).into_iter().map(str::to_owned).collect();
        let healthy = stale.is_empty() && pictures.sources().len() > 0;
        let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        shown(status, &Health { healthy, stale })
    })
}

type RangeQuery = Result<Query<Range>, QueryRejection>;

/// A range of a series as points, of which those in a gap are left out.
async fn points(
    port: &PeerPort,
    query: RangeQuery,
    wanted: impl FnOnce(Option<String>) -> Wanted,
    rate: fn(&HistoryPoint) -> Option<f64>,
) -> Response {
    let Query(Range { from, to, source }) = match query {
        Ok(query) => query,
        Err(error) => return unreadable(&error),
    };
    let wanted = wanted(source);
    match port.readers.read(move |reader| reader.range(&wanted, from, to, SHORTEST)).await {
        Some(Ok(range)) => {
            let point = |point: &HistoryPoint| {
                let hashrate_hs = rate(point)?;
                Some(HashratePoint { timestamp: u64::try_from(point.timestamp).ok()?, hashrate_hs })
            };
            shown(StatusCode::OK, &Hashrates { data: range.points.iter().filter_map(point).collect() })
        }
        Some(Err(error)) => {
            tracing::debug!("{error}");
            refused(&error)
        }
        None => no_data(),
    }
}

/// The rate that was measured, in H/s.
fn measured(point: &HistoryPoint) -> Option<f64> {
    point.both.measured.rate().map(|work| work * HASHES_PER_WORK)
}

/// The rate that was declared, in H/s.
fn declared(point: &HistoryPoint) -> Option<f64> {
    point.both.declared.rate()
}

/// The total of all sources, or of one.
fn total(source: Option<String>) -> Wanted {
    Wanted::Subject(source.map_or(Subject::All, |source| Subject::Source(source.into())))
}

/// `/api/hashrate`
pub(super) async fn hashrate(State(port): State<PeerPort>, query: RangeQuery) -> Response {
    points(&port, query, total, measured).await
}

type Id = Result<Path<u32>, PathRejection>;

async fn of_downstream(
    port: &PeerPort,
    id: Id,
    query: RangeQuery,
    rate: fn(&HistoryPoint) -> Option<f64>,
) -> Response {
    let Ok(Path(downstream_id)) = id else { return bad("the id must be a number up to 4294967295") };
    points(port, query, |source| Wanted::Id { source, downstream_id }, rate).await
}

/// `/api/downstream/ID/hashrate`
pub(super) async fn downstream(State(port): State<PeerPort>, id: Id, query: RangeQuery) -> Response {
    of_downstream(&port, id, query, measured).await
}

/// `/api/downstream/ID/declared-hashrate`
pub(super) async fn downstream_declared(State(port): State<PeerPort>, id: Id, query: RangeQuery) -> Response {
    of_downstream(&port, id, query, declared).await
}

/// The query of `/api/history`.
#[derive(Debug, Deserialize)]
pub(super) struct RangeOf {
    from: i64,
    to: i64,
    source: Option<String>,
    id: Option<u32>,
}

/// What was measured or declared in a point, in H/s.
#[derive(Serialize)]
struct Rates {
    mean: f64,
    lowest: f64,
    highest: f64,
}

/// A point of `/api/history`; a gap has neither.
#[derive(Serialize)]
struct Point {
    timestamp: i64,
    measured: Option<Rates>,
    declared: Option<Rates>,
}

/// `/api/history`
#[derive(Serialize)]
struct Points {
    /// The seconds of a point.
    step: i64,
    points: Vec<Point>,
}

fn rates(rollup: &Rollup, hashes: f64) -> Option<Rates> {
    let mean = rollup.rate()? * hashes;
    Some(Rates { mean, lowest: rollup.lowest * hashes, highest: rollup.highest * hashes })
}

/// `/api/history`
pub(super) async fn history(
    State(port): State<PeerPort>,
    query: Result<Query<RangeOf>, QueryRejection>,
) -> Response {
    let Query(RangeOf { from, to, source, id }) = match query {
        Ok(query) => query,
        Err(error) => return unreadable(&error),
    };
    let wanted = match id {
        Some(downstream_id) => Wanted::Id { source, downstream_id },
        None => total(source),
    };
    match port.readers.read(move |reader| reader.range(&wanted, from, to, SHORTEST)).await {
        Some(Ok(range)) => {
            let point = |HistoryPoint { timestamp, both }: &HistoryPoint| Point {
                timestamp: *timestamp,
                measured: rates(&both.measured, HASHES_PER_WORK),
                declared: rates(&both.declared, 1.0),
            };
            let points = range.points.iter().map(point).collect();
            shown(StatusCode::OK, &Points { step: range.step, points })
        }
        Some(Err(error)) => refused(&error),
        None => no_data(),
    }
}

/// A quote.
#[derive(Serialize)]
struct QuoteEntry {
    timestamp: i64,
    source: String,
    downstream_id: u32,
    amount: u64,
}

/// `/api/quotes`
#[derive(Serialize)]
struct Quotes {
    quotes: Vec<QuoteEntry>,
}

/// `/api/quotes`
pub(super) async fn quotes(State(port): State<PeerPort>, query: RangeQuery) -> Response {
    let Query(Range { from, to, .. }) = match query {
        Ok(query) => query,
        Err(error) => return unreadable(&error),
    };
    match port.readers.read(move |reader| reader.quotes(from, to, MOST_QUOTES)).await {
        Some(Ok(all)) => {
            let entry = |quote: store_peers::QuoteRead| QuoteEntry {
                timestamp: quote.timestamp,
                source: quote.source,
                downstream_id: quote.downstream_id,
                amount: quote.amount,
            };
            shown(StatusCode::OK, &Quotes { quotes: all.into_iter().map(entry).collect() })
        }
        Some(Err(error)) => refused(&error),
        None => no_data(),
    }
}

/// The balance of a source.
#[derive(Serialize)]
struct BalanceEntry {
    source: String,
    balance: u64,
    timestamp: i64,
}

/// `/api/balance`
#[derive(Serialize)]
struct Balances {
    balances: Vec<BalanceEntry>,
}

/// `/api/balance`
pub(super) async fn balance(State(port): State<PeerPort>) -> Response {
    match port.readers.read(|reader| reader.balances()).await {
        Some(Ok(all)) => {
            let entry = |one: store_peers::BalanceRead| BalanceEntry {
                source: one.source,
                balance: one.balance,
                timestamp: one.timestamp,
            };
            shown(StatusCode::OK, &Balances { balances: all.into_iter().map(entry).collect() })
        }
        Some(Err(error)) => refused(&error),
        None => no_data(),
    }
}
