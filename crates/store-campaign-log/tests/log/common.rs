//! A private Redis server, gateways at it, and offers.

use std::{net::SocketAddr, time::Duration};

use redis::{FromRedisValue, IntoConnectionInfo, ToRedisArgs};
use store_campaign_log::{Appended, CampaignKeys, Event, Form, Offer, Page};
use store_redis::{RedisSettings, Session, Store, operations::PING_REDIS};
use testkit::RedisServer;

pub(crate) const CAMPAIGN: &str = "3f0c8a54-7a0e-4c39-b6a1-0d8f0f4d6f11";
pub(crate) const RUN: &str = "9b2b54d2-50a0-4a6e-8f0e-7f8f6d6d0001";

fn settings(redis: SocketAddr) -> RedisSettings {
    RedisSettings {
        servers: format!("redis://{redis}/0").into_connection_info().expect("a URL").into(),
        certificates: None,
        address: redis.to_string(),
        pool_size: 4,
        connect_timeout: Duration::from_secs(5),
        command_timeout: Duration::from_secs(20),
        check_after: Duration::ZERO,
    }
}

/// A gateway's side of the log.
pub(crate) struct Gateway {
    pub(crate) store: Store,
    pub(crate) keys: CampaignKeys,
}

impl Gateway {
    pub(crate) fn at(redis: &RedisServer) -> Self {
        let store = Store::new(settings(redis.addr())).expect("settings");
        Self { store, keys: CampaignKeys::new("") }
    }

    pub(crate) async fn session(&self) -> Session {
        self.store.session(PING_REDIS).await.expect("a session")
    }

    pub(crate) async fn offer(&self, offer: &Offer<'_>) -> Appended {
        let mut session = self.session().await;
        let mut all = self.keys.append(&mut session, &[*offer]).await.expect("an answer");
        all.pop().expect("one answer").expect("no fault")
    }

    pub(crate) async fn after(&self, id: u64, most: usize) -> Page {
        self.keys.between(&mut self.session().await, CAMPAIGN, id, 1 << 53, most).await.expect("a page")
    }

    pub(crate) async fn newest(&self, id: u64, most: usize) -> Page {
        self.keys.newest(&mut self.session().await, CAMPAIGN, id, most).await.expect("a page")
    }

    pub(crate) async fn latest(&self) -> Vec<Event> {
        self.keys.latest(&mut self.session().await, &[CAMPAIGN]).await.expect("the latest")
    }
}

/// The status of the run, as it was read at this moment.
pub(crate) fn status(rank: u64, version: &str) -> Offer<'_> {
    Offer {
        campaign: CAMPAIGN,
        kind: "campaign:status",
        subject: RUN,
        rank,
        version,
        payload: "{\"status\":\"running\"}",
        seen: 0,
        known: 0,
        form: Form::Lasting,
    }
}

pub(crate) fn id(appended: Appended) -> u64 {
    match appended {
        Appended::New(id) => id,
        other => panic!("no new event: {other:?}"),
    }
}

pub(crate) fn ids(page: &Page) -> Vec<u64> {
    page.events.iter().map(|event| event.id).collect()
}

/// Runs a command given as words.
pub(crate) async fn run<T: FromRedisValue>(
    redis: &RedisServer,
    command: &str,
    arguments: impl ToRedisArgs,
) -> T {
    let mut connection = redis.connection().await.expect("a connection");
    let mut command = redis::cmd(command);
    command.arg(arguments);
    command.query_async(&mut connection).await.expect("the command is right")
}

pub(crate) fn key(name: &str) -> String {
    format!("tracker:campaigns:{{log}}:{CAMPAIGN}:{name}")
}
