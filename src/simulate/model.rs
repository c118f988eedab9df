//! The models' pictures as messages of `peer-snapshots`. Pure.

use peer_snapshots::{
    BalanceUpdate, DownstreamMetrics, Heartbeat, Message, MeteredService, Metrics, PoolProxy, PoolStatus,
    ProxyMiner, ProxyStatus, QuoteCreated, Service, ServiceType, UpstreamPool,
};
use testkit::peers::{PoolModel, PoolPicture, ProxyModel, ProxyPicture, WINDOW, lines};

/// A simulated sender's own state.
pub(crate) enum Simulated {
    /// A translator proxy.
    Proxy(ProxyModel),
    /// A pool.
    Pool(PoolModel),
}

impl Simulated {
    /// Plays until `now`, in Unix seconds.
    pub(crate) fn advance(&mut self, now: u64) {
        match self {
            Self::Proxy(proxy) => proxy.advance(now),
            Self::Pool(pool) => pool.advance(now),
        }
    }

    /// It is started again.
    pub(crate) fn restart(&mut self) {
        match self {
            Self::Proxy(proxy) => proxy.restart(),
            Self::Pool(pool) => pool.restart(),
        }
    }

    /// From now on only the time changes.
    pub(crate) fn stand_still(&mut self) {
        match self {
            Self::Proxy(proxy) => proxy.stand_still(),
            Self::Pool(pool) => pool.stand_still(),
        }
    }

    /// What it sends now; with this time of its clock, if one is given.
    pub(crate) fn messages(&mut self, at: Option<u64>) -> Vec<Message> {
        match self {
            Self::Proxy(proxy) => {
                let mut picture = proxy.picture();
                picture.timestamp = at.unwrap_or(picture.timestamp);
                vec![proxy_status(&picture), proxy_metrics(&picture)]
            }
            Self::Pool(pool) => {
                let quotes = pool.take_quotes().into_iter().map(|quote| {
                    Message::Quote(QuoteCreated {
                        downstream_id: quote.id,
                        amount: quote.amount,
                        timestamp: quote.timestamp,
                    })
                });
                let mut messages: Vec<Message> = quotes.collect();
                let (mut picture, balance) = (pool.picture(), pool.balance());
                picture.timestamp = at.unwrap_or(picture.timestamp);
                messages.extend(pool_messages(&picture));
                let timestamp = picture.timestamp;
                messages.push(Message::Balance(BalanceUpdate { balance: balance.amount, timestamp }));
                messages
            }
        }
    }

    /// Its status as a line, without the end.
    pub(crate) fn line(&self) -> Vec<u8> {
        match self {
            Self::Proxy(proxy) => lines::proxy_status(&proxy.picture()),
            Self::Pool(pool) => lines::pool_status(&pool.picture()),
        }
        .to_string()
        .into_bytes()
    }
}

fn proxy_status(picture: &ProxyPicture) -> Message {
    let miners = picture.miners.iter().map(|miner| ProxyMiner {
        name: miner.name.clone(),
        id: miner.id,
        address: Some(miner.address.clone()),
        hashrate: miner.declared_hs,
        shares_submitted: miner.shares,
        connected_at: i64::try_from(miner.connected_at).unwrap_or(i64::MAX),
    });
    Message::Proxy(ProxyStatus {
        ehash_balance: picture.balance,
        upstream_pool: Some(UpstreamPool { address: Some(picture.pool.clone()) }),
        downstream_miners: miners.collect(),
        blockchain_network: "testnet4".to_owned(),
        timestamp: picture.timestamp,
    })
}

fn proxy_metrics(picture: &ProxyPicture) -> Message {
    let miners = picture.miners.iter().map(|miner| DownstreamMetrics {
        downstream_id: miner.id,
        name: miner.name.clone(),
        address: Some(miner.address.clone()),
        shares_lifetime: miner.shares,
        shares_in_window: miner.window_shares,
        sum_difficulty_in_window: miner.window_work,
        window_seconds: WINDOW,
        timestamp: picture.timestamp,
    });
    Message::Metrics(Metrics {
        service_type: MeteredService::Translator,
        downstreams: miners.collect(),
        timestamp: picture.timestamp,
    })
}

/// The status of a pool, and the sign of life of its job declarator.
fn pool_messages(picture: &PoolPicture) -> [Message; 2] {
    let service = |service_type, address: &String| Service { service_type, address: Some(address.clone()) };
    let proxies = picture.proxies.iter().map(|proxy| PoolProxy {
        id: proxy.id,
        address: Some(proxy.address.clone()),
        channels: proxy.channels.clone(),
        shares_submitted: proxy.shares,
        quotes_created: proxy.quotes,
        ehash_mined: proxy.ehash,
        last_share_at: proxy.last_share_at,
        work_selection: proxy.selects_work,
    });
    let status = PoolStatus {
        services: vec![
            service(ServiceType::Pool, &picture.address),
            service(ServiceType::Mint, &picture.mint),
        ],
        downstream_proxies: proxies.collect(),
        listen_address: picture.address.clone(),
        timestamp: picture.timestamp,
    };
    let (listen_address, timestamp) = (picture.declarator.clone(), picture.timestamp);
    [Message::Pool(status), Message::Heartbeat(Heartbeat { listen_address, timestamp })]
}

#[cfg(test)]
mod tests {
    use peer_snapshots::{Reason, Tagging, read};
    use serde_json::Value;
    use testkit::peers::{LIES, PoolPlan, ProxyPlan};

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn written(message: &Message) -> Value {
        let mut line = Vec::new();
        message.write_line(Tagging::Outer, &mut line);
        serde_json::from_slice(&line).expect("JSON")
    }

    #[test]
    fn messages_are_the_lines_that_the_kit_spells_out_and_readers_take_them() {
        let plan = ProxyPlan { name: "a".to_owned(), miners: 5, seed: 1, stays: 60 };
        let mut proxy = ProxyModel::new(plan, NOW);
        proxy.advance(NOW + 100);
        let picture = proxy.picture();
        let mut simulated = Simulated::Proxy(proxy);
        let messages = simulated.messages(None);
        let expected = [lines::proxy_status(&picture), lines::proxy_metrics(&picture)];
        assert_eq!(messages.iter().map(written).collect::<Vec<_>>(), expected);
        for (message, line) in messages.iter().zip(&expected) {
            assert_eq!(&read(line.to_string().as_bytes()).expect("it is read"), message);
        }
        let moved = simulated.messages(Some(7));
        assert!(moved.iter().all(|message| message.timestamp() == Some(7)));

        let mut pool = PoolModel::new(PoolPlan { proxies: 3, seed: 1, stays: 60 }, NOW);
        pool.advance(NOW + 100);
        let picture = pool.picture();
        let messages = Simulated::Pool(pool).messages(None);
        let status = messages.iter().find(|message| matches!(message, Message::Pool(_))).expect("a status");
        assert_eq!(written(status), lines::pool_status(&picture));
        let kinds = |kind: fn(&Message) -> bool| messages.iter().filter(|message| kind(message)).count();
        assert!(kinds(|message| matches!(message, Message::Quote(_))) > 5);
        assert_eq!(kinds(|message| matches!(message, Message::Heartbeat(_) | Message::Balance(_))), 2);
    }

    #[test]
    fn each_lie_is_refused_with_the_reason_that_the_kit_says() {
        for lie in &LIES {
            let told = lie.tell(NOW);
            let unreadable = read(&told.line).expect_err("it is refused");
            assert_eq!(unreadable.reason.label(), told.reason, "{}", String::from_utf8_lossy(&told.line));
        }
        let told = |reason: &Reason| LIES.iter().any(|lie| lie.reason == reason.label());
        assert!(Reason::ALL.iter().all(told), "a reason has no lie");
    }
}
