//! The handlers of the paths.

use axum::{
    extract::{FromRequestParts, Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use domain::peers::{HASHES_PER_WORK, List, Now};
use peer_snapshots::readers::{Addresses, HashratePoint, Hashrates, Health, View};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use store_peers::{
    BalanceRead, HistoryError, HistoryPoint, HistoryReader, QuoteRead, Rollup, Subject, Wanted,
};

use super::{
    MadeLists, PeerPort, Side,
    answers::{bad, no_data, refused, shown},
    lists,
    made::{Made, Written, written},
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

/// A query; one that can't be read is answered with 400.
pub(super) struct Asked<T>(T);

/// A query can't be read.
pub(super) struct Unreadable(QueryRejection);

impl IntoResponse for Unreadable {
    fn into_response(self) -> Response {
        bad(format!("the query can't be read: {}", errors::sanitise(self.0.body_text())))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Unreadable;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Unreadable> {
        let Query(query) = Query::from_request_parts(parts, state).await.map_err(Unreadable)?;
        Ok(Self(query))
    }
}

impl PeerPort {
    /// Answers with what the history has, or says why it can't be read.
    async fn history<T: Send + 'static>(
        &self,
        read: impl FnOnce(&HistoryReader) -> Result<T, HistoryError> + Send + 'static,
        answer: impl FnOnce(T) -> Response,
    ) -> Response {
        match self.readers.read(read).await {
            Some(Ok(found)) => answer(found),
            Some(Err(error)) => refused(&error),
            None => no_data(),
        }
    }

    /// Answers with the pictures of now.
    fn look<T>(&self, answer: impl FnOnce(&lists::Held, &View<'_>, Now) -> T) -> T {
        self.seen(&self.peers.pictures(), self.peers.now(), answer)
    }

    /// Answers with these pictures, as they are seen at this time.
    fn seen<T>(
        &self,
        pictures: &lists::Held,
        now: Now,
        answer: impl FnOnce(&lists::Held, &View<'_>, Now) -> T,
    ) -> T {
        let pseudonyms = self.peers.settings().naming.pseudonyms.as_ref();
        let hide = |address: &str| pseudonyms.map_or_else(String::new, |names| names.of(address));
        let addresses = if pseudonyms.is_some() { Addresses::Pseudonyms(&hide) } else { Addresses::Shown };
        answer(pictures, &View { now: now.unix as u64, addresses }, now)
    }
}

/// `/api/stats`
pub(super) async fn stats(State(port): State<PeerPort>, Asked(query): Asked<OfSource>) -> Response {
    let OfSource { source } = query;
    let source = source.as_deref();
    port.look(|pictures, view, now| match port.side {
        Side::Proxy => known(lists::proxy_stats(pictures, source, view, now)),
        Side::Pool => known(lists::pool_stats(pictures, source, view, now)),
    })
}

/// The statistics; 503 before the first ones.
fn known(stats: Option<impl Serialize>) -> Response {
    stats.map_or_else(no_data, |stats| shown(StatusCode::OK, &stats))
}

/// A list that is written once for each change of the pictures.
async fn list(
    port: PeerPort,
    made: fn(&MadeLists) -> &Made,
    headers: HeaderMap,
    list: fn(&lists::Held, &View<'_>, Now, usize) -> Written,
) -> Response {
    let all = port.made.clone();
    let (pictures, now) = (port.peers.pictures(), port.peers.now());
    let make = move |pictures: &lists::Held, room| {
        port.seen(pictures, now, |pictures, view, now| list(pictures, view, now, room))
    };
    made(&all).answer(pictures, now, &headers, make).await
}

/// `/api/miners`
pub(super) async fn miners(State(port): State<PeerPort>, headers: HeaderMap) -> Response {
    list(
        port,
        |made| &made.miners,
        headers,
        |pictures, view, now, room| written(StatusCode::OK, &lists::miners(pictures, view, now), room),
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
        |pictures, view, now, room| {
            written(status(pictures, List::Services), &lists::services(pictures, view, now), room)
        },
    )
    .await
}

/// `/api/connections`
pub(super) async fn connections(State(port): State<PeerPort>, headers: HeaderMap) -> Response {
    list(
        port,
        |made| &made.connections,
        headers,
        |pictures, view, now, room| {
            written(status(pictures, List::Connections), &lists::connections(pictures, view, now), room)
        },
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

/// A range of a series as points, of which those in a gap are left out.
async fn points(
    port: &PeerPort,
    query: Range,
    wanted: impl FnOnce(Option<String>) -> Wanted,
    rate: fn(&HistoryPoint) -> Option<f64>,
) -> Response {
    let Range { from, to, source } = query;
    let wanted = wanted(source);
    let point = |point: &HistoryPoint| {
        let hashrate_hs = rate(point)?;
        Some(HashratePoint { timestamp: u64::try_from(point.timestamp).ok()?, hashrate_hs })
    };
    port.history(
        move |reader| reader.range(&wanted, from, to, SHORTEST),
        |range| shown(StatusCode::OK, &Hashrates { data: range.points.iter().filter_map(point).collect() }),
    )
    .await
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
pub(super) async fn hashrate(State(port): State<PeerPort>, Asked(query): Asked<Range>) -> Response {
    points(&port, query, total, measured).await
}

/// The id of a peer; another text is answered with 400.
pub(super) struct Id(u32);

/// A text is no id.
pub(super) struct NoId;

impl IntoResponse for NoId {
    fn into_response(self) -> Response {
        bad("the id must be a number up to 4294967295")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = NoId;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, NoId> {
        let Path(id) = Path::from_request_parts(parts, state).await.map_err(|_| NoId)?;
        Ok(Self(id))
    }
}

async fn of_downstream(
    port: &PeerPort,
    Id(downstream_id): Id,
    query: Range,
    rate: fn(&HistoryPoint) -> Option<f64>,
) -> Response {
    points(port, query, |source| Wanted::Id { source, downstream_id }, rate).await
}

/// `/api/downstream/ID/hashrate`
pub(super) async fn downstream(State(port): State<PeerPort>, id: Id, Asked(query): Asked<Range>) -> Response {
    of_downstream(&port, id, query, measured).await
}

/// `/api/downstream/ID/declared-hashrate`
pub(super) async fn downstream_declared(
    State(port): State<PeerPort>,
    id: Id,
    Asked(query): Asked<Range>,
) -> Response {
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
pub(super) async fn history(State(port): State<PeerPort>, Asked(query): Asked<RangeOf>) -> Response {
    let RangeOf { from, to, source, id } = query;
    let wanted = match id {
        Some(downstream_id) => Wanted::Id { source, downstream_id },
        None => total(source),
    };
    let point = |HistoryPoint { timestamp, both }: &HistoryPoint| Point {
        timestamp: *timestamp,
        measured: rates(&both.measured, HASHES_PER_WORK),
        declared: rates(&both.declared, 1.0),
    };
    port.history(
        move |reader| reader.range(&wanted, from, to, SHORTEST),
        |range| {
            let points = range.points.iter().map(point).collect();
            shown(StatusCode::OK, &Points { step: range.step, points })
        },
    )
    .await
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
pub(super) async fn quotes(State(port): State<PeerPort>, Asked(query): Asked<Range>) -> Response {
    let Range { from, to, .. } = query;
    let entry = |quote: QuoteRead| QuoteEntry {
        timestamp: quote.timestamp,
        source: quote.source,
        downstream_id: quote.downstream_id,
        amount: quote.amount,
    };
    port.history(
        move |reader| reader.quotes(from, to, MOST_QUOTES),
        |all| shown(StatusCode::OK, &Quotes { quotes: all.into_iter().map(entry).collect() }),
    )
    .await
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
    let entry = |one: BalanceRead| BalanceEntry {
        source: one.source,
        balance: one.balance,
        timestamp: one.timestamp,
    };
    port.history(HistoryReader::balances, |all| {
        shown(StatusCode::OK, &Balances { balances: all.into_iter().map(entry).collect() })
    })
    .await
}
