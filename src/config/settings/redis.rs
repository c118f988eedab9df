//! `[redis]`: which servers, with which login, certificates and limits.

use std::time::Duration;

use redis::{
    ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisResult,
    TlsCertificates,
};
use serde::{Deserialize, Serialize};
use store_redis::Servers;

use super::super::checks;
use super::super::secret::Secret;

/// `[redis]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User name, empty for the default user.
    pub username: String,
    /// Password, empty for none.
    pub password: Secret,
    /// Database number.
    pub db: u32,
    /// Replaces host, port, username, password and db unless empty.
    pub url: Secret,
    /// Whether servers named by host and port, sentinels and nodes of a cluster are reached by TLS.
    pub tls: bool,
    /// PEM file of the authority to trust; empty for those of the system.
    pub ca_file: String,
    /// PEM file of our own certificate, for servers that ask for one; empty for none.
    pub cert_file: String,
    /// PEM file of its key.
    pub key_file: String,
    /// Sentinels, `host:port` each, that know the master.
    pub sentinels: Vec<String>,
    /// The name by which they know it.
    pub sentinel_master: String,
    /// User name at the sentinels, empty for the default user.
    pub sentinel_username: String,
    /// Password at the sentinels, empty for none.
    pub sentinel_password: Secret,
    /// Nodes of a cluster, `host:port` each; the others are learnt from them.
    pub cluster: Vec<String>,
    /// Connections in the shared pool.
    pub pool_size: usize,
    /// Bytes of events that may wait for the listener.
    pub event_queue_bytes: usize,
    /// How long opening a connection may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a command or pipeline may take.
    #[serde(with = "humantime_serde")]
    pub command_timeout: Duration,
    /// Longest wait between two attempts to reconnect.
    #[serde(with = "humantime_serde")]
    pub reconnect_within: Duration,
}

impl Redis {
    /// Which servers to connect to, and how. Fails only for values that [`Config::load`](crate::config::Config::load) would have
    /// refused.
    ///
    /// # Errors
    /// A URL that the client can't read.
    pub fn servers(&self) -> RedisResult<Servers> {
        let at_server = login(self.db, &self.username, &self.password);
        if !self.sentinels.is_empty() {
            let at_sentinels = login(0, &self.sentinel_username, &self.sentinel_password);
            return Ok(Servers::Sentinel {
                sentinels: self.all(&self.sentinels, &at_sentinels)?,
                master: self.sentinel_master.clone(),
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
        let named = servers.iter().filter_map(|server| checks::server(server));
        named.map(|(host, port)| self.at(host, port, login.clone())).collect()
    }

    fn at(&self, host: &str, port: u16, login: RedisConnectionInfo) -> RedisResult<ConnectionInfo> {
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

    /// What is read from the files of certificates; `None` where none is named.
    ///
    /// # Errors
    /// A file that can't be read, with its setting.
    pub fn certificates(&self) -> Result<Option<TlsCertificates>, UnreadableFile> {
        let read = |setting: &'static str, path: &str| {
            let unreadable = |source| UnreadableFile { setting, path: path.to_owned(), source };
            (!path.is_empty()).then(|| std::fs::read(path).map_err(unreadable)).transpose()
        };
        let root_cert = read("redis.ca_file", &self.ca_file)?;
        let client_cert = read("redis.cert_file", &self.cert_file)?;
        let client_key = read("redis.key_file", &self.key_file)?;
        let client_tls = client_cert
            .zip(client_key)
            .map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        let any = root_cert.is_some() || client_tls.is_some();
        Ok(any.then_some(TlsCertificates { client_tls, root_cert }))
    }

    /// Server and database without user name and password, to be logged: `redis:6379/0`.
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

/// A file of certificates that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {path} can't be read: name a PEM file that this user may read")]
pub struct UnreadableFile {
    setting: &'static str,
    path: String,
    #[source]
    source: std::io::Error,
}

fn login(db: u32, username: &str, password: &Secret) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_db(db.into());
    if !username.is_empty() {
        login = login.set_username(username);
    }
    if !password.is_empty() {
        login = login.set_password(password.reveal());
    }
    login
}
