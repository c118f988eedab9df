//! The twelve paths. Each reads its request, asks Redis, and shapes the answer; [`super::routes`] has the table of them.

use axum::{
    Extension,
    body::Bytes,
    extract::{RawQuery, State},
    http::HeaderValue,
    response::Response,
};
use domain::chain::ContractAddress;
use http_server::RequestId;
use serde::Serialize;
use store_collector::{Entries, LastSubmission, operations::READ_API};
use store_redis::{ErrorKind, Session, StoreError};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    Api,
    answers::{
        BatchCount, DailySubmissions, DiscardedOfDay, DiscardedOfEpoch, EligibleCounts, EligibleNodes,
        EpochSubmissions, LastSeen, Refused, Wrapped,
    },
    hashes::{self, LeftOut},
    json,
    outcome::Refusal,
    requests::{self, Day, Days, Details, Epoch, EpochDay, Slot, SlotDay, SlotDays, read},
};

type Outcome = Result<Response, Refusal>;
type Id = Extension<RequestId>;

/// The version of a node that has told none.
const NO_VERSION: &str = "v0.0.0";
/// The header with the number of days whose eligible count neither Redis nor the chain gave.
const UNKNOWN: &str = "x-eligible-unknown";
/// Hashes with more entries are shaped by a thread for such work.
const MANY: usize = 1_000;

/// Declares a handler with its part of the description.
macro_rules! handler {
    ($(#[doc = $text:literal])+ $path:literal ($($parameters:ident)?) $Request:ty => $Response:ty, $($handler:tt)+) => {
        $(#[doc = $text])+
        #[utoipa::path(post, path = $path, tag = "Read API", request_body = $Request, $(params($parameters),)? responses(
            (status = 200, description = "The answer", body = Wrapped<$Response>),
            (status = 400, description = "The request does not fit: `response` says why", body = Refused),
            (status = 401, description = "The token is wrong", body = Refused),
            (status = 404, description = "There is no such thing", body = Refused),
            (status = 408, description = "The body did not come in time", body = Refused),
            (status = 413, description = "The body is too large", body = Refused),
            (status = 422, description = "The answer would be too large", body = Refused),
            (status = 429, description = "This address asks too often", body = Refused),
            (status = 500, description = "A key in Redis can't be read", body = Refused),
            (status = 503, description = "Redis is away", body = Refused),
        ))]
        $($handler)+
    };
}

handler! {
    /// Eligible and all submissions of a slot, for the current day and the days before it, the newest first.
    ///
    /// An eligible count that Redis lacks is asked of the contract. Where no node answers it is 0, and the header `X-Eligible-Unknown` has
    /// the number of such days.
    "/totalSubmissions" () SlotDays => Vec<DailySubmissions>,
    pub(super) async fn total_submissions(State(api): State<Api>, id: Id, body: Bytes) -> Outcome {
        let request: SlotDays = read(&body)?;
        let days = requests::past_days(request.past_days)?;
        let slot = requests::slot(request.slot)?;
        let market = api.market(&request.market)?;
        let mut session = api.session().await?;
        let days = requests::days(days, api.current_day(&mut session, &market).await?)?;
        let mut counts = api.parts.reader.counts(&mut session, &market, slot, &days).await?;
        // Nodes may take seconds, for which others need the connection.
        drop(session);
        api.parts.nodes.complete(market, slot, &mut counts).await;
        let unknown = counts.iter().filter(|count| count.eligible.is_none()).count();
        let shown = counts.into_iter().map(|count| DailySubmissions {
            day: count.day,
            eligible_submissions: count.eligible.unwrap_or_default(),
            total_submissions: count.total,
        });
        let mut response = api.answer(&id, shown.collect::<Vec<_>>()).await?;
        if unknown > 0 {
            response.headers_mut().insert(UNKNOWN, HeaderValue::from(unknown));
        }
        Ok(response)
    }
}

handler! {
    /// The eligible nodes of the current day and the days before it, the newest first.
    "/eligibleNodesCountPastDays" (Details) Days => Vec<EligibleNodes>,
    pub(super) async fn eligible_nodes_past_days(
        State(api): State<Api>,
        id: Id,
        RawQuery(query): RawQuery,
        body: Bytes,
    ) -> Outcome {
        let request: Days = read(&body)?;
        let days = requests::past_days(request.past_days)?;
        let market = api.market(&request.market)?;
        let mut session = api.session().await?;
        let days = requests::days(days, api.current_day(&mut session, &market).await?)?;
        let nodes = api.eligible_nodes(&mut session, &market, &days, query.as_deref()).await?;
        api.answer(&id, nodes).await
    }
}

handler! {
    /// The eligible nodes of a day.
    "/eligibleNodesCount" (Details) Day => EligibleNodes,
    pub(super) async fn eligible_nodes(
        State(api): State<Api>,
        id: Id,
        RawQuery(query): RawQuery,
        body: Bytes,
    ) -> Outcome {
        let request: Day = read(&body)?;
        let market = api.market(&request.market)?;
        let mut session = api.session().await?;
        let day = requests::day(request.day, api.current_day(&mut session, &market).await?)?;
        let nodes = api.eligible_nodes(&mut session, &market, &[day], query.as_deref()).await?;
        // One day was asked for.
        api.answer(&id, nodes.into_iter().next()).await
    }
}

handler! {
    /// The number of batches of an epoch.
    "/batchCount" () Epoch => BatchCount,
    pub(super) async fn batch_count(State(api): State<Api>, id: Id, body: Bytes) -> Outcome {
        let (market, epoch) = api.epoch(&body)?;
        let total = api.parts.reader.batch_count(&mut api.session().await?, &market, epoch).await?;
        let total = total.ok_or_else(|| Refusal::missing(format!("No batch count is known for epoch {epoch}")))?;
        api.answer(&id, BatchCount { total }).await
    }
}

handler! {
    /// The submissions of an epoch.
    "/epochSubmissionDetails" () Epoch => EpochSubmissions<'_>,
    pub(super) async fn epoch_submissions(State(api): State<Api>, id: Id, body: Bytes) -> Outcome {
        let (market, epoch) = api.epoch(&body)?;
        let (_place, mut session) = api.session_for_hash().await?;
        let hash = api.parts.reader.epoch_submissions(&mut session, &market, epoch).await?;
        // Others need the connection while this answer waits for room.
        drop(session);
        let hash = found(hash, || format!("No submissions are known for epoch {epoch}"))?;
        let (text, left_out) = apart(hash, move |hash| hashes::submissions(&id.0.0, hash)).await??;
        api.parts.services.note_faults(&left_out);
        Ok(json::sent(text, &api.unread).await)
    }
}

handler! {
    /// The eligible submissions of each slot in an epoch.
    "/eligibleSlotSubmissionCount" () EpochDay => EligibleCounts,
    pub(super) async fn eligible_of_epoch(State(api): State<Api>, id: Id, body: Bytes) -> Outcome {
        let (market, day, epoch) = api.epoch_day(&body)?;
        let (_place, mut session) = api.session_for_hash().await?;
        let hash = api.parts.reader.eligible_of_epoch(&mut session, &market, (day, epoch)).await?;
        drop(session);
        let hash = found(hash, || format!("No eligible submissions are known for epoch {epoch} of day {day}"))?;
        api.shaped(&id, hash, hashes::eligible).await
    }
}

handler! {
    /// The discarded submissions of an epoch, for at most 50 projects.
    "/discardedSubmissionsByEpoch" () EpochDay => DiscardedOfEpoch,
    pub(super) async fn discarded_of_epoch(State(api): State<Api>, id: Id, body: Bytes) -> Outcome {
        let (market, day, epoch) = api.epoch_day(&body)?;
        let (_place, mut session) = api.session_for_hash().await?;
        let hash = api.parts.reader.discarded_of_epoch(&mut session, &market, (day, epoch)).await?;
        drop(session);
        let hash = found(hash, || format!("No discarded submissions are known for epoch {epoch} of day {day}"))?;
        api.shaped(&id, hash, hashes::discarded_of_epoch).await
    }
}

handler! {
    /// The discarded submissions of a slot in a day, in pages of 50 projects.
    "/discardedSubmissionsByDay" () SlotDay => DiscardedOfDay,
    pub(super) async fn discarded_of_day(State(api): State<Api>, id: Id, body: Bytes) -> Outcome {
        let request: SlotDay = read(&body)?;
        let market = api.market(&request.market)?;
        let (_place, mut session) = api.session_for_hash().await?;
        let day = requests::day(request.day, api.current_day(&mut session, &market).await?)?;
        let slot = requests::slot(request.slot)?;
        let found = api.parts.reader.discarded_of_day(&mut session, &market, day, slot).await?;
        drop(session);
        let missing = || Refusal::missing(format!("No discarded submissions found for slotID {slot}"));
        let (key, value) = found.filter(|(_, value)| !value.is_empty()).ok_or_else(missing)?;
        let page = hashes::discarded_of_day(slot, request.page, &value);
        let page = page.map_err(|error| StoreError::caused(READ_API, key, ErrorKind::Malformed, error))?;
        api.answer(&id, page).await
    }
}

handler! {
    /// When the last simulated submission of a slot came.
    "/lastSimulatedSubmission" () Slot => LastSeen,
    pub(super) async fn last_simulated(State(api): State<Api>, id: Id, body: Bytes) -> Outcome {
        api.last(&id, &body, LastSubmission::Simulated).await
    }
}

handler! {
    /// When the last submission of a slot for a released epoch came.
    "/lastSnapshotSubmission" () Slot => LastSeen,
    pub(super) async fn last_snapshot(State(api): State<Api>, id: Id, body: Bytes) -> Outcome {
        api.last(&id, &body, LastSubmission::Snapshot).await
    }
}

handler! {
    /// How many nodes submitted for an epoch.
    "/activeNodesCountByEpoch" () Epoch => u64,
    pub(super) async fn active_nodes(State(api): State<Api>, id: Id, body: Bytes) -> Outcome {
        let (market, epoch) = api.epoch(&body)?;
        let count = api.parts.reader.active_nodes(&mut api.session().await?, &market, epoch).await?;
        api.answer(&id, count).await
    }
}

handler! {
    /// The version of the node of a slot.
    "/snapshotterNodeVersion" () Slot => String,
    pub(super) async fn node_version(State(api): State<Api>, id: Id, body: Bytes) -> Outcome {
        let (market, slot) = api.slot(&body)?;
        let version = api.parts.reader.node_version(&mut api.session().await?, &market, slot).await?;
        let missing = || Refusal::missing(format!("No node version is known for slotID {slot}"));
        api.answer(&id, version.ok_or_else(missing)?).await
    }
}

impl Api {
    /// A connection for an answer that may be large, with its place among those.
    async fn session_for_hash(&self) -> Result<(Option<OwnedSemaphorePermit>, Session), Refusal> {
        // The semaphore is never closed.
        let place = self.large.clone().acquire_owned().await.ok();
        Ok((place, self.session().await?))
    }

    async fn answer(&self, id: &Id, response: impl Serialize) -> Outcome {
        Ok(json::sent(json::text(&id.0.0, response)?, &self.unread).await)
    }

    /// The answer that is made of a hash.
    async fn shaped<T: Serialize + Send + 'static>(
        &self,
        id: &Id,
        hash: Entries,
        shape: fn(&Entries) -> (T, LeftOut),
    ) -> Outcome {
        let (shown, left_out) = apart(hash, shape).await?;
        self.parts.services.note_faults(&left_out);
        self.answer(id, shown).await
    }

    async fn current_day(&self, session: &mut Session, market: &ContractAddress) -> Result<u64, Refusal> {
        let day = self.parts.reader.current_day(session, market).await?;
        day.ok_or_else(|| Refusal::missing("The current day of this market is not known yet"))
    }

    async fn eligible_nodes(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        days: &[u64],
        query: Option<&str>,
    ) -> Result<Vec<EligibleNodes>, Refusal> {
        let reader = &self.parts.reader;
        if !Details::are_wanted(query) {
            let counts = reader.eligible_nodes(session, market, days).await?;
            let shown = |(day, count): (&u64, u64)| EligibleNodes { day: *day, count, slots: Vec::new() };
            return Ok(days.iter().zip(counts).map(shown).collect());
        }
        let slots = reader.eligible_slots(session, market, days).await?;
        let shown = |(day, slots): (&u64, Vec<String>)| EligibleNodes {
            day: *day,
            count: slots.len() as u64,
            slots: hashes::in_order(slots),
        };
        Ok(days.iter().zip(slots).map(shown).collect())
    }

    fn epoch(&self, body: &Bytes) -> Result<(ContractAddress, u64), Refusal> {
        let request: Epoch = read(body)?;
        let epoch = requests::epoch(request.epoch)?;
        Ok((self.market(&request.market)?, epoch))
    }

    fn epoch_day(&self, body: &Bytes) -> Result<(ContractAddress, u64, u64), Refusal> {
        let request: EpochDay = read(body)?;
        let (day, epoch) = (requests::any_day(request.day)?, requests::epoch(request.epoch)?);
        Ok((self.market(&request.market)?, day, epoch))
    }

    fn slot(&self, body: &Bytes) -> Result<(ContractAddress, u64), Refusal> {
        let request: Slot = read(body)?;
        let market = self.market(&request.market)?;
        Ok((market, requests::slot(request.slot)?))
    }

    async fn last(&self, id: &Id, body: &Bytes, which: LastSubmission) -> Outcome {
        let (market, slot) = self.slot(body)?;
        let mut session = self.session().await?;
        let (at, version) = self.parts.reader.last_submission(&mut session, &market, which, slot).await?;
        let missing = || Refusal::missing(format!("No such submission is known for slotID {slot}"));
        let at = at.ok_or_else(missing)?;
        let timestamp = rfc_3339(at).ok_or_else(|| {
            let object = format!("the time of the last submission of slotID {slot}");
            StoreError::new(READ_API, object, ErrorKind::Malformed, "it is no time of this age")
        })?;
        let node_version = version.unwrap_or_else(|| NO_VERSION.to_owned());
        self.answer(id, LastSeen { timestamp, node_version }).await
    }
}

/// A time in Unix seconds as RFC 3339 in UTC; `None` behind the year 9999.
fn rfc_3339(seconds: u64) -> Option<String> {
    let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))?;
    (seconds < 253_402_300_800).then(|| humantime::format_rfc3339_seconds(at).to_string())
}

/// A hash that has entries.
fn found(hash: Entries, missing: impl FnOnce() -> String) -> Result<Entries, Refusal> {
    if hash.all.is_empty() { Err(Refusal::missing(missing())) } else { Ok(hash) }
}

/// Shapes a hash, where it is large in a thread for such work: other answers must not wait for it.
async fn apart<T: Send + 'static>(
    hash: Entries,
    shape: impl FnOnce(&Entries) -> T + Send + 'static,
) -> Result<T, Refusal> {
    if hash.all.len() <= MANY {
        return Ok(shape(&hash));
    }
    let key = hash.key.clone();
    let (made, shaped) = oneshot::channel();
    // The answer need not wait until its hash is freed.
    tokio::task::spawn_blocking(move || made.send(shape(&hash)));
    let shaped = shaped.await;
    // Only a panic ends it, and that is a bug of the shape.
    Ok(shaped.map_err(|error| StoreError::caused(READ_API, key, ErrorKind::Malformed, error))?)
}
