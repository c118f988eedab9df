//! A private master with a replica and three sentinels, which promote the replica when the master dies. May start and
//! kill these processes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::redis_server::{RedisServer, RedisServerBuilder, RedisServerError};
use crate::replication::until_replicated;
use crate::tls::Tls;

const POLL: Duration = Duration::from_millis(20);
const WITHIN: Duration = Duration::from_secs(60);
const SENTINELS: usize = 3;

/// A master with its replica and sentinels.
#[derive(Debug)]
pub struct Sentinels {
    sentinels: Vec<RedisServer>,
    servers: Vec<RedisServer>,
    master: usize,
}

impl Sentinels {
    /// The name under which the sentinels know the master.
    pub const MASTER: &'static str = "tracked";

    /// Starts all five, the servers with `password` and the sentinels with `sentinel_password` where one is given,
    /// and waits until the sentinels know each other and the replica.
    ///
    /// # Errors
    /// When one does not start, or they don't find each other.
    pub async fn start(
        password: Option<&str>,
        sentinel_password: Option<&str>,
    ) -> Result<Self, RedisServerError> {
        Self::start_with(password, sentinel_password, None).await
    }

    /// The same, with TLS between all five and their clients.
    ///
    /// # Errors
    /// As for [`Sentinels::start`].
    pub async fn start_with(
        password: Option<&str>,
        sentinel_password: Option<&str>,
        tls: Option<&Tls>,
    ) -> Result<Self, RedisServerError> {
        let plain_or_tls = || match tls {
            Some(tls) => RedisServer::builder().tls(tls.clone()),
            None => RedisServer::builder(),
        };
        let server = || match password {
            Some(password) => plain_or_tls().password(password).arg("masterauth", password),
            None => plain_or_tls(),
        };
        // By default a master waits 5 s for more replicas before it sends its data.
        let server = || server().arg("repl-diskless-sync-delay", "0");
        let master = server().start().await?;
        let follows = format!("127.0.0.1 {}", master.port());
        let replica = server().arg("replicaof", follows).start().await?;
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            sentinels.push(sentinel(plain_or_tls(), &master, password, sentinel_password).start().await?);
        }
        let group = Self { sentinels, servers: vec![master, replica], master: 0 };
        group
            .until("a master with one replica and three sentinels", async |seen: &HashMap<String, String>| {
                let is = |field: &str, value: &str| seen.get(field).is_some_and(|text| text == value);
                is("flags", "master") && is("num-other-sentinels", "2") && is("num-slaves", "1")
            })
            .await?;
        group.replicated().await?;
        Ok(group)
    }

    /// Where the sentinels listen.
    #[must_use]
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(RedisServer::addr).collect()
    }

    /// The sentinels, to stop some of them.
    pub fn sentinels(&mut self) -> &mut [RedisServer] {
        &mut self.sentinels
    }

    /// The present master.
    #[must_use]
    pub fn master(&self) -> &RedisServer {
        &self.servers[self.master]
    }

    /// The replica of the present master, or the server that was killed.
    #[must_use]
    pub fn replica(&self) -> &RedisServer {
        &self.servers[1 - self.master]
    }

    /// Waits until the replica has everything that the master has now.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn replicated(&self) -> Result<(), RedisServerError> {
        until_replicated(self.master(), self.replica(), WITHIN).await
    }

    /// Kills the master, and waits until the sentinels have promoted the replica. Writes that the replica had not
    /// received are lost, as in production.
    ///
    /// # Errors
    /// When they don't promote it.
    pub async fn fail_over(&mut self) -> Result<(), RedisServerError> {
        self.servers[self.master].kill_hard()?;
        self.master = 1 - self.master;
        let port = self.master().port().to_string();
        self.until("a new master", async |seen: &HashMap<String, String>| seen.get("port") == Some(&port))
            .await
    }

    /// Starts the server that was killed again, as a replica of the present master.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn return_of_the_old(&mut self) -> Result<(), RedisServerError> {
        self.servers[1 - self.master].restart().await
    }

    /// Waits until each sentinel sees the master like this.
    async fn until(
        &self,
        what: &str,
        holds: impl AsyncFn(&HashMap<String, String>) -> bool,
    ) -> Result<(), RedisServerError> {
        let deadline = Instant::now() + WITHIN;
        // Each one must have seen it: a client may ask any of them.
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.pid().is_some()) {
            loop {
                let command = format!("SENTINEL MASTER {}", Self::MASTER);
                let mut connection = sentinel.connection().await?;
                let seen = redis::cmd("SENTINEL")
                    .arg("MASTER")
                    .arg(Self::MASTER)
                    .query_async::<HashMap<String, String>>(&mut connection)
                    .await
                    .map_err(|source| RedisServerError::Command { command, port: sentinel.port(), source })?;
                if holds(&seen).await {
                    break;
                }
                if Instant::now() >= deadline {
                    let (what, seen) = (what.to_owned(), format!("{seen:?}"));
                    return Err(RedisServerError::NotTogether { what, waited: WITHIN, seen });
                }
                sleep(POLL).await;
            }
        }
        Ok(())
    }
}

fn sentinel(
    server: RedisServerBuilder,
    master: &RedisServer,
    password: Option<&str>,
    own: Option<&str>,
) -> RedisServerBuilder {
    let name = Sentinels::MASTER;
    let mut sentinel = server
        .sentinel()
        .arg("sentinel", format!("monitor {name} 127.0.0.1 {} 2", master.port()))
        .arg("sentinel", format!("down-after-milliseconds {name} 500"))
        .arg("sentinel", format!("failover-timeout {name} 5000"));
    if let Some(password) = password {
        sentinel = sentinel.arg("sentinel", format!("auth-pass {name} {password}"));
    }
    if let Some(own) = own {
        sentinel = sentinel.password(own).arg("sentinel", format!("sentinel-pass {own}"));
    }
    sentinel
}
