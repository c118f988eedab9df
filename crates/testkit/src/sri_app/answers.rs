//! The answers of the application's HTTP API, in the names of its fields.

use serde_json::{Value, json};

use super::state::{SriChannel, SriClient, SriMiner, SriState};

/// Entries of a page where nothing is asked for.
const DEFAULT_LIMIT: usize = 25;
/// The most entries of a page.
const MOST: usize = 100;

/// Status and body of the answer to a request.
pub(super) fn answer(state: &SriState, target: &str) -> (u16, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let number = |name: &str, default: usize| {
        let pair = query.split('&').filter_map(|pair| pair.split_once('='));
        pair.into_iter().find(|(key, _)| *key == name).map_or(Some(default), |(_, value)| value.parse().ok())
    };
    let (Some(offset), Some(limit)) = (number("offset", 0), number("limit", DEFAULT_LIMIT)) else {
        return (400, json!({ "error": "offset and limit are numbers" }).to_string());
    };
    let page = Page { offset, limit: limit.min(MOST) };
    let Some(api) = path.find("/api/v1/").map(|at| &path[at + "/api/v1/".len()..]) else {
        return (404, json!({ "error": "not found" }).to_string());
    };
    let found = match api {
        "health" => Some(json!({ "status": "ok", "timestamp": 0 })),
        "global" => Some(global(state)),
        "clients" => state.clients.as_ref().map(|all| page.list(all, client)),
        "sv1/clients" => state.miners.as_ref().map(|all| page.list(all, miner)),
        "server" => state.server_channels.as_ref().map(|all| server(all)),
        "server/channels" => {
            state.server_channels.as_ref().map(|all| page.channels(all, server_channel, json!({})))
        }
        other => one_client(state, other, page),
    };
    match found {
        Some(found) => (200, found.to_string()),
        None => (404, json!({ "error": "not monitored, or not there" }).to_string()),
    }
}

/// `clients/{id}` and `clients/{id}/channels`.
fn one_client(state: &SriState, api: &str, page: Page) -> Option<Value> {
    let mut parts = api.strip_prefix("clients/")?.split('/');
    let id: u32 = parts.next()?.parse().ok()?;
    let found = state.clients.as_ref()?.iter().find(|client| client.client_id == id)?;
    match (parts.next(), parts.next()) {
        (None, None) => Some(client(found)),
        (Some("channels"), None) => {
            Some(page.channels(&found.channels, client_channel, json!({ "client_id": id })))
        }
        _ => None,
    }
}

/// A part of a list.
#[derive(Clone, Copy)]
struct Page {
    offset: usize,
    limit: usize,
}

impl Page {
    fn of<T>(self, all: &[T], show: fn(&T) -> Value) -> Vec<Value> {
        all.iter().skip(self.offset).take(self.limit).map(show).collect()
    }

    fn list<T>(self, all: &[T], show: fn(&T) -> Value) -> Value {
        json!({ "offset": self.offset, "limit": self.limit, "total": all.len(), "items": self.of(all, show) })
    }

    fn channels(self, all: &[SriChannel], show: fn(&SriChannel) -> Value, mut answer: Value) -> Value {
        let of = |is_extended: bool| -> Vec<SriChannel> {
            all.iter().filter(|channel| channel.is_extended == is_extended).cloned().collect()
        };
        let (extended, standard) = (of(true), of(false));
        answer["offset"] = self.offset.into();
        answer["limit"] = self.limit.into();
        answer["total_extended"] = extended.len().into();
        answer["total_standard"] = standard.len().into();
        answer["extended_channels"] = self.of(&extended, show).into();
        answer["standard_channels"] = self.of(&standard, show).into();
        answer
    }
}

fn rate<'a>(channels: impl IntoIterator<Item = &'a SriChannel>) -> f32 {
    channels.into_iter().map(|channel| channel.nominal_hashrate).sum()
}

fn count(channels: &[SriChannel], is_extended: bool) -> usize {
    channels.iter().filter(|channel| channel.is_extended == is_extended).count()
}

fn global(state: &SriState) -> Value {
    let mut answer = json!({ "uptime_secs": state.uptime() });
    if let Some(clients) = &state.clients {
        let channels: Vec<SriChannel> =
            clients.iter().flat_map(|client| client.channels.iter().cloned()).collect();
        answer["sv2_clients"] = json!({
            "total_clients": clients.len(), "total_channels": channels.len(), "extended_channels": count(&channels, true),
            "standard_channels": count(&channels, false), "total_hashrate": rate(&channels),
        });
    }
    if let Some(miners) = &state.miners {
        let rates: f32 = miners.iter().filter_map(|miner| miner.hashrate).sum();
        answer["sv1_clients"] = json!({ "total_clients": miners.len(), "total_hashrate": rates });
    }
    if let Some(channels) = &state.server_channels {
        answer["server"] = json!({
            "total_channels": channels.len(), "extended_channels": count(channels, true),
            "standard_channels": count(channels, false), "total_hashrate": rate(channels),
        });
    }
    answer
}

fn server(channels: &[SriChannel]) -> Value {
    json!({
        "extended_channels_count": count(channels, true), "standard_channels_count": count(channels, false),
        "total_hashrate": rate(channels),
    })
}

fn client(client: &SriClient) -> Value {
    let mut answer = json!({
        "client_id": client.client_id, "client_kind": client.client_kind,
        "extended_channels_count": count(&client.channels, true),
        "standard_channels_count": count(&client.channels, false), "total_hashrate": rate(&client.channels),
    });
    if let Some(address) = &client.management_ip {
        answer["management_ip"] = json!(address);
        answer["miner_telemetry"] = json!({ "make": "Maker", "model": "M1", "average_temperature_c": 61.5 });
        answer["miner_telemetry_status"] = json!("matched");
    }
    answer
}

fn client_channel(channel: &SriChannel) -> Value {
    json!({
        "channel_id": channel.channel_id, "user_identity": channel.user_identity,
        "nominal_hashrate": channel.nominal_hashrate, "stable_hashrate": true, "target_hex": "00".repeat(32),
        "shares_accepted": channel.shares, "shares_rejected": 0, "shares_rejected_by_reason": {},
        "share_work_sum": channel.work, "best_diff": 1.0, "blocks_found": 0,
        "last_share_sequence_number": channel.shares, "expected_shares_per_minute": 6.0,
    })
}

fn server_channel(channel: &SriChannel) -> Value {
    json!({
        "channel_id": channel.channel_id, "user_identity": channel.user_identity,
        "nominal_hashrate": channel.nominal_hashrate, "target_hex": "00".repeat(32),
        "shares_submitted": channel.shares, "shares_acknowledged": channel.shares, "shares_rejected": 0,
        "acknowledged_work_sum": channel.work, "validated_work_sum": channel.work, "best_diff": 1.0, "blocks_found": 0,
    })
}

fn miner(miner: &SriMiner) -> Value {
    json!({
        "client_id": miner.client_id, "connection_ip": miner.connection_ip, "sv1_username": miner.username,
        "sv1_worker_name": miner.worker, "channel_id": miner.channel_id, "hashrate": miner.hashrate,
        "stable_hashrate": true, "target_hex": "00".repeat(32), "extranonce1_hex": "0000", "extranonce2_len": 4,
    })
}
