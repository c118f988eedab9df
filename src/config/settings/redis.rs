//! `[redis]`: servers, login, certificates and limits.

use std::time::Duration;

use redis::{
    ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisResult,
    TlsCertificates,
};
use store_redis::Servers;

use super::super::checks::{ANY, HOST, ID, ID_OR_NONE, REDIS_URL, server};
use super::super::files::{UnreadableFile, read_of};
use super::super::secret::Secret;
use super::super::setting::{
    Content, Kind, MINUTE, duration, file, flag, integer, list, millis, section, text,
};

section! {
    /// The Redis server that holds the producers' keys and the datasets. Name it by host and port, by url, by its sentinels, or
    /// as a cluster.
    pub struct Redis in "redis" {
        /// Host name or IP address of the Redis server.
        host: String = text("localhost", HOST).variable("REDIS_HOST"),
        /// TCP port of the Redis server.
        port: u16 = integer(6_379, "a TCP port", 1..=65_535).variable("REDIS_PORT"),
        /// User name for Redis' access lists; empty for the default user.
        username: String = text("", ID_OR_NONE).variable("REDIS_USERNAME"),
        /// Password; empty for none.
        password: Secret = text("", ANY).variable("REDIS_PASSWORD").secret(),
        /// Database number; the Monitor API reads 0.
        db: u32 = integer(0, "a database number", 0..=i32::MAX as i64).variable("REDIS_DB"),
        /// URL that replaces host, port, username, password and db; empty for none.
        url: Secret = text("", REDIS_URL).variable("REDIS_URL").secret(),
        /// Whether to use TLS with host and port, with sentinels and their master, or with a cluster. A url says it by rediss://.
        tls: bool = flag(false).variable("REDIS_TLS"),
        /// PEM file of the certificate authority to trust; empty for those of the system.
        ca_file: String = file(Content::Certificates),
        /// PEM file of the client's certificate, for servers that require one; empty for none.
        cert_file: String = file(Content::Certificates),
        /// PEM file of the key of the client's certificate.
        key_file: String = file(Content::Key),
        /// Sentinels that know the master. They replace host and port; username, password and db are those of the master.
        sentinels: Vec<String> = list(Kind::Servers).variable("REDIS_SENTINELS"),
        /// Name of the master at the sentinels.
        sentinel_master: String = text("mymaster", ID).variable("REDIS_SENTINEL_MASTER"),
        /// User name at the sentinels; empty for the default user.
        sentinel_username: String = text("", ID_OR_NONE),
        /// Password at the sentinels; empty for none.
        sentinel_password: Secret = text("", ANY).variable("REDIS_SENTINEL_PASSWORD").secret(),
        /// Some nodes of a Redis Cluster, which name the others. They replace host and port, and db must be 0.
        cluster: Vec<String> = list(Kind::Servers).variable("REDIS_CLUSTER"),
        /// Connections in the shared pool. The subscription has one more.
        pool_size: usize = integer(8, "a number of connections", 1..=1_024),
        /// How many bytes of events may wait for the listener. Further events are dropped and counted, and a pass follows.
        event_queue_bytes: usize = integer(16_777_216, "a number of bytes", 65_536..=1_073_741_824),
        /// How long opening a connection may take.
        connect_timeout: Duration = duration("2s", millis(10)..=MINUTE),
        /// How long a command or pipeline may take. Four of these and one connect_timeout must be shorter than
        /// supervision.stall_timeout, or a slow server would be taken for a stalled actor.
        command_timeout: Duration = duration("5s", millis(10)..=MINUTE),
        /// Longest wait between two attempts to reconnect. The first attempt is immediate, and the waits grow.
        reconnect_max_interval: Duration = duration("1s", millis(10)..=MINUTE).formerly("reconnect_within"),
    }
}

impl Redis {
    /// The servers, with login and TLS. Fails only for values that [`Config::load`](crate::config::Config::load) refuses.
    ///
    /// # Errors
    /// A URL that the client can't read.
    pub fn servers(&self) -> RedisResult<Servers> {
        let at_server = login(self.db, &self.username, &self.password);
        if !self.sentinels.is_empty() {
            // Sentinels have users of their own and no databases.
            let at_sentinels = login(0, &self.sentinel_username, &self.sentinel_password);
            return Ok(Servers::Sentinel {
                sentinels: self.all(&self.sentinels, &at_sentinels)?,
                master: self.sentinel_master.clone(),
                // Only login and TLS are used: the sentinels name the host.
                node: self.at("localhost", 6379, at_server)?,
            });
        }
        if !self.cluster.is_empty() {
            return Ok(Servers::Cluster(self.all(&self.cluster, &at_server)?));
        }
        if !self.url.is_empty() {
            return Ok(self.url.reveal().into_connection_info()?.into());
        }
        Ok(self.at(&self.host, self.port, at_server)?.into())
    }

    fn all(&self, servers: &[String], login: &RedisConnectionInfo) -> RedisResult<Vec<ConnectionInfo>> {
        let named = servers.iter().filter_map(|named| server(named));
        named.map(|(host, port)| self.at(host, port, login.clone())).collect()
    }

    fn at(&self, host: &str, port: u16, login: RedisConnectionInfo) -> RedisResult<ConnectionInfo> {
        // `set_addr` replaces the plain address, and keeps login and database.
        let info = (host, port).into_connection_info()?.set_redis_settings(login);
        Ok(match self.tls {
            true => info.set_addr(ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: false,
                tls_params: None,
            }),
            false => info,
        })
    }

    /// The contents of the certificate files; `None` if none is set.
    ///
    /// # Errors
    /// A file that can't be read, with its setting.
    pub fn certificates(&self) -> Result<Option<TlsCertificates>, UnreadableFile> {
        let root_cert = read_of("redis.ca_file", &self.ca_file)?;
        let client_cert = read_of("redis.cert_file", &self.cert_file)?;
        let client_key = read_of("redis.key_file", &self.key_file)?;
        // Both or none: the configuration refuses one without the other.
        let client_tls = client_cert
            .zip(client_key)
            .map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        let any = root_cert.is_some() || client_tls.is_some();
        Ok(any.then_some(TlsCertificates { client_tls, root_cert }))
    }

    /// Server and database without credentials, for logs: `redis:6379/0`.
    pub fn address(&self) -> String {
        match self.servers() {
            Ok(Servers::Single(server)) => format!("{}/{}", server.addr(), server.redis_settings().db()),
            Ok(Servers::Sentinel { master, .. }) => {
                format!("{master} of the sentinels {}/{}", self.sentinels.join(","), self.db)
            }
            Ok(Servers::Cluster(_)) => format!("the cluster of {}", self.cluster.join(",")),
            Err(_) => "an invalid redis.url".to_owned(),
        }
    }
}

fn login(db: u32, username: &str, password: &Secret) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_db(db.into());
    // An empty user name must stay unset: `AUTH "" password` is not `AUTH password`.
    if !username.is_empty() {
        login = login.set_username(username);
    }
    if !password.is_empty() {
        login = login.set_password(password.reveal());
    }
    login
}
