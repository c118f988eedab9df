//! Pictures as they are on the wire: one JSON object each, without the end of the line. Their words are spelled out a second time here.

use serde_json::{Value, json};

use super::{
    pool::PoolPicture,
    proxy::{ProxyPicture, WINDOW},
};

/// The status of a proxy.
#[must_use]
pub fn proxy_status(picture: &ProxyPicture) -> Value {
    let miners = picture.miners.iter().map(|miner| {
        json!({
            "name": miner.name, "id": miner.id, "address": miner.address, "hashrate": miner.declared_hs,
            "shares_submitted": miner.shares, "connected_at": miner.connected_at,
        })
    });
    json!({
        "ehash_balance": picture.balance, "upstream_pool": { "address": picture.pool },
        "downstream_miners": miners.collect::<Value>(), "blockchain_network": "testnet4", "timestamp": picture.timestamp,
    })
}

/// The metrics of a proxy.
#[must_use]
pub fn proxy_metrics(picture: &ProxyPicture) -> Value {
    let miners = picture.miners.iter().map(|miner| {
        json!({
            "downstream_id": miner.id, "name": miner.name, "address": miner.address, "shares_lifetime": miner.shares,
            "shares_in_window": miner.window_shares, "sum_difficulty_in_window": miner.window_work,
            "window_seconds": WINDOW, "timestamp": picture.timestamp,
        })
    });
    json!({
        "service_type": "Translator", "downstreams": miners.collect::<Value>(), "timestamp": picture.timestamp,
    })
}

/// The status of a pool.
#[must_use]
pub fn pool_status(picture: &PoolPicture) -> Value {
    let proxies = picture.proxies.iter().map(|proxy| {
        json!({
            "id": proxy.id, "address": proxy.address, "channels": proxy.channels, "shares_submitted": proxy.shares,
            "quotes_created": proxy.quotes, "ehash_mined": proxy.ehash, "last_share_at": proxy.last_share_at,
            "work_selection": proxy.selects_work,
        })
    });
    json!({
        "services": [
            { "service_type": "Pool", "address": picture.address },
            { "service_type": "Mint", "address": picture.mint },
        ],
        "downstream_proxies": proxies.collect::<Value>(), "listen_address": picture.address,
        "timestamp": picture.timestamp,
    })
}
