//! Lines that no receiver may take, each with the reason by which it should count it.

use serde_json::json;

/// Each lie that names somebody names one that begins so: a receiver must show it nowhere.
pub const GHOST: &str = "ghost";
/// How far a clock is off, in seconds: three years.
const YEARS: u64 = 3 * 365 * 24 * 3_600;
/// How much older an old picture is, in seconds.
const OLDER: u64 = 500;

/// A line, without its end, that a receiver drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lie {
    /// The reason by which it should be counted.
    pub reason: &'static str,
    /// The line.
    pub line: Vec<u8>,
}

/// A kind of lie.
#[derive(Clone, Copy, Debug)]
pub struct LieKind {
    /// The reason by which it should be counted.
    pub reason: &'static str,
    text: fn(u64) -> Vec<u8>,
}

impl LieKind {
    /// The lie at a time, in Unix seconds.
    #[must_use]
    pub fn tell(&self, now: u64) -> Lie {
        Lie { reason: self.reason, line: (self.text)(now) }
    }
}

/// Every kind.
pub static LIES: [LieKind; 10] = [
    LieKind { reason: "not_utf8", text: |_| b"\xff\xfe{\"ghost\":1}".to_vec() },
    LieKind { reason: "syntax", text: |_| b"GET /ghost HTTP/1.1".to_vec() },
    LieKind { reason: "shape", text: |now| json!({ "ghost": now }).to_string().into() },
    LieKind {
        reason: "missing_field",
        text: |now| {
            json!({ "ehash_balance": 1, "downstream_miners": [miner()], "timestamp": now }).to_string().into()
        },
    },
    LieKind {
        reason: "repeated_field",
        text: |now| format!(r#"{{"listen_address":"ghost","timestamp":{now},"timestamp":{now}}}"#).into(),
    },
    LieKind {
        reason: "wrong_type",
        text: |now| json!({ "listen_address": ["ghost"], "timestamp": now }).to_string().into(),
    },
    LieKind { reason: "out_of_range", text: |now| status(now).replace("4711.5", "1e999").into() },
    LieKind { reason: "out_of_range", text: not_a_number },
    LieKind {
        reason: "unknown_type",
        text: |now| {
            let services = json!([{ "service_type": "Bank", "address": "ghost" }]);
            json!({
                "services": services, "downstream_proxies": [], "listen_address": "ghost", "timestamp": now,
            })
            .to_string()
            .into()
        },
    },
    LieKind { reason: "repeated_id", text: repeated_id },
];

/// Pictures without anybody whose clock is first right, then too old, then years ahead, then right again. A receiver takes the first, drops the
/// second as `older`, and of the last two takes each: the last one since the clock of the one before it can't be right.
#[must_use]
pub fn leaps(now: u64) -> [Vec<u8>; 4] {
    let picture = |timestamp: u64| {
        json!({ "ConnectionSnapshot": { "connections": [], "timestamp": timestamp } }).to_string().into()
    };
    [now, now.saturating_sub(OLDER), now.saturating_add(YEARS), now].map(picture)
}

/// The clock of a picture, years off.
pub(super) fn years_off(now: u64, is_ahead: bool) -> u64 {
    if is_ahead { now.saturating_add(YEARS) } else { now.saturating_sub(YEARS) }
}

fn miner() -> serde_json::Value {
    json!({
        "name": "ghost-rig", "id": 1, "address": "ghost", "hashrate": 4711.5, "shares_submitted": 1, "connected_at": 1,
    })
}

fn status(now: u64) -> String {
    json!({
        "ehash_balance": 1, "upstream_pool": null, "downstream_miners": [miner()], "blockchain_network": "ghost",
        "timestamp": now,
    })
    .to_string()
}

fn not_a_number(now: u64) -> Vec<u8> {
    let peer = json!({
        "downstream_id": 1, "name": "ghost-rig", "address": null, "shares_lifetime": 1, "shares_in_window": 1,
        "sum_difficulty_in_window": 4711.5, "window_seconds": 60, "timestamp": now,
    });
    let line = json!({ "service_type": "Translator", "downstreams": [peer], "timestamp": now }).to_string();
    line.replace("4711.5", "NaN").into()
}

fn repeated_id(now: u64) -> Vec<u8> {
    let miner = json!({
        "downstream_id": 1, "name": "ghost-rig", "address": null, "hashrate": 1.0, "shares_submitted": 1, "connected_at": 1,
    });
    json!({ "MinerSnapshot": { "miners": [miner, miner], "timestamp": now } }).to_string().into()
}
