//! What each event of a client does.

use std::{sync::Arc, time::SystemTime};

use serde_json::{Value, json};
use socket_io::Message;

use crate::{
    answers::{Answer, Refused, missed, not_missed},
    campaign::CampaignId,
    client::{Client, Link},
    counts::count,
    encode::{AROUND, NAMESPACE, time},
    event::{Event, EventId, Page, Since},
    expiry::Stage,
    feed::LOOK_EVERY,
    shared::Shared,
    sources::{Campaigns, EventLog},
    vocabulary::{PONG, Request},
};

/// The events that `get_missed_events` answers where the client names no number.
const MISSED: usize = 50;

/// Does what an event of a client asks for.
pub(crate) async fn handle<C: Campaigns, L: EventLog>(
    shared: &Arc<Shared<C, L>>,
    link: &Link,
    client: &Client,
    event: socket_io::Event,
) {
    let socket_io::Event { name, arguments, ack } = event;
    let argument = arguments.first().unwrap_or(&Value::Null);
    if let Err(why) = admit(shared, client) {
        if name == "join_campaign" {
            count(&shared.counters.joins_refused);
        }
        let answer = if name == "get_missed_events" { not_missed(why) } else { refused(why) };
        return link.acknowledge(NAMESPACE, ack, &answer);
    }
    let acknowledge = |answer: Answer| link.acknowledge(NAMESPACE, ack, &answer);
    match Request::of(&name) {
        Some(Request::Join) => {
            let joined = match campaign_of(argument) {
                Ok(campaign) => join(shared, link, client, campaign).await.map(|joined| (campaign, joined)),
                Err(why) => Err(why),
            };
            match joined {
                Ok((campaign, joined)) => {
                    count(&shared.counters.joins);
                    acknowledge(Answer::joined(campaign));
                    send_latest(shared, link, campaign, joined).await;
                }
                Err(why) => {
                    count(&shared.counters.joins_refused);
                    acknowledge(Answer::refused(why));
                }
            }
        }
        Some(Request::Leave) => {
            let left = match campaign_of(argument) {
                Ok(campaign) => leave(shared, link, client, campaign).await.map(|()| campaign),
                Err(why) => Err(why),
            };
            acknowledge(left.map_or_else(Answer::refused, Answer::left));
        }
        Some(Request::Subscriptions) => {
            let campaigns: Vec<CampaignId> = client.state().rooms.keys().copied().collect();
            let answer = json!({ "success": true, "campaigns": campaigns, "recovered": client.recovered });
            link.acknowledge(NAMESPACE, ack, &answer);
        }
        Some(Request::Missed) => {
            let found = match campaign_of(argument) {
                Ok(campaign) => read_missed(shared, client, campaign, argument).await,
                Err(why) => Err(why),
            };
            let answer = found.map_or_else(not_missed, |(campaign, page)| missed(campaign, &page));
            if let Some(number) = ack {
                send_long(shared, link, Message::acknowledgement(NAMESPACE, number, &answer)).await;
            }
        }
        Some(Request::Ping) => {
            link.acknowledge(NAMESPACE, ack, &"pong");
            let now = SystemTime::UNIX_EPOCH + shared.clock.unix();
            let pong = json!({ "timestamp": time(now) }).to_string();
            link.send(Message::event(NAMESPACE, PONG.name, &pong, None));
        }
        Some(Request::Refresh) => {
            let answer = refresh(shared, client, argument).await;
            link.acknowledge(NAMESPACE, ack, &answer);
        }
        None => link.acknowledge(NAMESPACE, ack, &json!({ "success": false, "message": "Unknown event" })),
    }
}

/// Takes one of the requests that a user may make.
fn admit<C, L>(shared: &Shared<C, L>, client: &Client) -> Result<(), Refused> {
    shared.users.ask(client.user(), shared.clock.now()).map_err(|after| {
        count(&shared.counters.requests_limited);
        // Less than a minute.
        Refused::Rate(after.as_millis() as u64)
    })
}

/// The campaign that a request names.
fn campaign_of(argument: &Value) -> Result<CampaignId, Refused> {
    let text = argument.get("campaignId").and_then(Value::as_str).ok_or(Refused::Id)?;
    text.parse().map_err(|_| Refused::Id)
}

/// Checks that a client may know of a campaign: its token is valid, and its user owns the campaign.
async fn allow<C: Campaigns, L: EventLog>(
    shared: &Shared<C, L>,
    client: &Client,
    campaign: CampaignId,
    failed: Refused,
) -> Result<(), Refused> {
    if is_expired(shared, client) {
        return Err(Refused::Expired);
    }
    if client.state().rooms.contains_key(&campaign) {
        return Ok(());
    }
    let owner = shared.ask("find the owner of a campaign", shared.campaigns.owner_of(campaign)).await;
    match owner.map_err(|_| failed)? {
        Some(owner) if *owner == **client.user() => Ok(()),
        _ => Err(Refused::Access),
    }
}

/// Whether the token of a client has come to its end.
fn is_expired<C, L>(shared: &Shared<C, L>, client: &Client) -> bool {
    let state = client.state();
    state.stage == Stage::Expired || shared.clock.unix() >= state.expires
}

/// Puts a client into the room of a campaign, and keeps that; returns the position after which it gets each event.
async fn join<C: Campaigns, L: EventLog>(
    shared: &Shared<C, L>,
    link: &Link,
    client: &Client,
    campaign: CampaignId,
) -> Result<EventId, Refused> {
    allow(shared, client, campaign, Refused::Join).await?;
    let before = {
        let state = client.state();
        if state.rooms.len() >= shared.settings.rooms_per_client && !state.rooms.contains_key(&campaign) {
            return Err(Refused::Rooms);
        }
        state.rooms.get(&campaign).copied()
    };
    if let Some(joined) = before {
        return Ok(joined);
    }
    {
        let mut state = client.state();
        // Its end may have come while its owner was asked for.
        if state.stage == Stage::Expired {
            return Err(Refused::Expired);
        }
        // In the state first: where the connection ends meanwhile, it leaves what stands there.
        state.rooms.insert(campaign, EventId::MAX);
    }
    // One that ended before this line has left already.
    let joined = shared.rooms.join([campaign], link).filter(|_| !link.is_ending());
    let saved = match joined {
        // An end of the token that came since has taken it out of the state, and did not find it in the room.
        Some(joined) if is_noted(client, campaign, joined) => save(shared, client).await,
        Some(_) | None => false,
    };
    match joined.filter(|_| saved) {
        Some(joined) => Ok(joined),
        None => {
            client.state().rooms.remove(&campaign);
            shared.rooms.leave([campaign], link);
            Err(Refused::Join)
        }
    }
}

/// Notes the position at which a client joined, if the campaign still stands in its state.
fn is_noted(client: &Client, campaign: CampaignId, joined: EventId) -> bool {
    client.state().rooms.get_mut(&campaign).map(|place| *place = joined).is_some()
}

async fn leave<C: Campaigns, L: EventLog>(
    shared: &Shared<C, L>,
    link: &Link,
    client: &Client,
    campaign: CampaignId,
) -> Result<(), Refused> {
    let was_in = client.state().rooms.remove(&campaign).is_some();
    shared.rooms.leave([campaign], link);
    match !was_in || save(shared, client).await {
        true => Ok(()),
        false => Err(Refused::Leave),
    }
}

/// Keeps what a client finds again.
async fn save<C, L: EventLog>(shared: &Shared<C, L>, client: &Client) -> bool {
    let life = shared.settings.session_life();
    let saved = shared.log.save_session(&client.secret, client.session(), life);
    let is_saved = shared.ask("keep the rooms of a client", saved).await.is_ok();
    if is_saved {
        let mut state = client.state();
        state.is_saved = true;
        state.kept = shared.clock.now();
    }
    is_saved
}

/// Sends the latest status of a campaign to a client that joined.
async fn send_latest<C: Campaigns, L>(
    shared: &Shared<C, L>,
    link: &Link,
    campaign: CampaignId,
    joined: EventId,
) {
    let latest = shared.campaigns.latest_status(campaign);
    // A failure is logged; the client gets the next status.
    if let Ok(Some(status)) = shared.ask("read the latest status of a campaign", latest).await {
        shared.rooms.send_latest(&status, joined, link);
    }
}

async fn read_missed<C: Campaigns, L: EventLog>(
    shared: &Shared<C, L>,
    client: &Client,
    campaign: CampaignId,
    argument: &Value,
) -> Result<(CampaignId, Page), Refused> {
    allow(shared, client, campaign, Refused::Missed).await?;
    let limit = argument.get("limit").and_then(Value::as_u64).unwrap_or(MISSED as u64);
    // At most what the settings allow, which fits.
    let limit = limit.clamp(1, shared.settings.most_missed.max(1) as u64) as usize;
    let page = shared.log.missed(campaign, since_of(argument), limit);
    let page = shared.ask("read the missed events of a campaign", page).await;
    // Its end may have come while they were read.
    if is_expired(shared, client) {
        return Err(Refused::Expired);
    }
    // With a quarter that waits and a part of a burst, which has a quarter, it has place.
    let most = shared.settings.connections.client_buffer.bytes / 8 * 3;
    page.map(|page| (campaign, cut(page, most))).map_err(|_| Refused::Missed)
}

/// Sends a long message once most of what may wait for the client is free, since behind a burst of events it would end its connection.
/// It waits a moment only: a client that polls may read on only after its request was answered.
async fn send_long<C, L>(shared: &Shared<C, L>, link: &Link, message: Message) {
    let until = shared.clock.now() + shared.settings.part_within;
    let mut waiting = Some(message);
    while let Some(message) = waiting.take() {
        if shared.clock.now() >= until {
            link.send(message);
        } else if let Err(message) = link.send_if_free(message) {
            waiting = Some(message);
            shared.clock.sleep(LOOK_EVERY).await;
        }
    }
}

/// The newest events of a page that have so many bytes together, and one in any case: an answer that has no place in what may wait for a
/// client would end its connection.
fn cut(mut page: Page, most: usize) -> Page {
    let mut bytes = 0;
    let fits = |event: &&Event| {
        bytes += event.payload.len() + AROUND;
        bytes <= most
    };
    let kept = page.events.iter().rev().take_while(fits).count().max(1);
    let first = page.events.len().saturating_sub(kept);
    page.truncated |= first > 0;
    page.events.drain(..first);
    page
}

/// The position in a request: a number is an event, a text a time, or an event in digits.
fn since_of(argument: &Value) -> Since {
    match argument.get("since") {
        // A number of JavaScript may be no integer: what is after 1.5 is after 1.
        Some(Value::Number(number)) => {
            Since::Event(number.as_u64().unwrap_or(number.as_f64().unwrap_or(0.0).max(0.0) as u64))
        }
        Some(Value::String(text)) => match (text.parse(), humantime::parse_rfc3339_weak(text)) {
            (Ok(id), _) => Since::Event(id),
            (_, Ok(at)) => Since::Time(at),
            _ => Since::Start,
        },
        _ => Since::Start,
    }
}

/// Takes a new token of the same user.
async fn refresh<C, L>(shared: &Shared<C, L>, client: &Client, argument: &Value) -> Value {
    let token = argument.get("token").and_then(Value::as_str).unwrap_or_default();
    match shared.verifier.verify(token).await {
        Ok(identity) if identity.user == *client.user() => {
            let mut state = client.state();
            state.expires = identity.expires;
            state.stage = Stage::Valid;
            let campaigns: Vec<&CampaignId> = state.rooms.keys().collect();
            let expires = time(SystemTime::UNIX_EPOCH + identity.expires);
            json!({ "success": true, "message": "Token accepted", "expiresAt": expires, "campaigns": campaigns })
        }
        Ok(_) => json!({ "success": false, "message": "The token is of another user" }),
        // The text of the error shows nothing of the token.
        Err(error) => json!({ "success": false, "message": error.to_string() }),
    }
}

fn refused(why: Refused) -> Value {
    json!(Answer::refused(why))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn since_is_an_event_or_a_time() {
        let since = |value: Value| since_of(&json!({ "since": value }));
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        assert_eq!(since(json!(7)), Since::Event(7));
        assert_eq!(since(json!(7.9)), Since::Event(7));
        assert_eq!(since(json!(-1)), Since::Event(0));
        assert_eq!(since(json!("7")), Since::Event(7));
        assert_eq!(since(json!("2023-11-14T22:13:20.123Z")), Since::Time(time));
        for other in [json!("yesterday"), json!(null), json!({}), json!(true)] {
            assert_eq!(since(other), Since::Start);
        }
        assert_eq!(since_of(&Value::Null), Since::Start);
    }

    #[test]
    fn an_id_that_is_missing_or_no_uuid_is_invalid() {
        for argument in [Value::Null, json!({}), json!({ "campaignId": 1 }), json!({ "campaignId": "x" })] {
            assert_eq!(campaign_of(&argument), Err(Refused::Id));
        }
    }
}
