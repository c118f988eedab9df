//! The settings of the database, and the reading of its URL. No I/O.

use std::time::Duration;

use http_client::Trust;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// How many job rows a campaign gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobRows {
    /// A row is used again and again.
    #[default]
    Once,
    /// Each turn has a row of its own, as in the original; they are pruned after their retention.
    Each,
}

/// The settings of the database.
#[derive(Clone)]
pub struct DatabaseSettings {
    /// `postgresql://role:password@host:port/database?sslmode=…`. It is a secret.
    pub url: String,
    /// The authorities that the server's certificate is checked against.
    pub trust: Trust,
    /// The most connections.
    pub connections: usize,
    /// How long a connection may take to be made, and a call may wait for a free one.
    pub connect_timeout: Duration,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// How long a statement may wait for a lock.
    pub lock_timeout: Duration,
    /// How long a full computation may take.
    pub compute_timeout: Duration,
    /// For how long a claim is held without a sign of life.
    pub lease: Duration,
    /// How often a turn that failed is tried again before it is a dead letter.
    pub retries: u32,
    /// How many job rows a campaign gets.
    pub job_rows: JobRows,
    /// Where the tip stands in `executions.result`.
    pub tip_path: Vec<String>,
    /// Where the fee stands in `executions.result`.
    pub fee_path: Vec<String>,
}

impl DatabaseSettings {
    /// The defaults for this URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            trust: Trust::default(),
            connections: 8,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(1),
            compute_timeout: Duration::from_secs(60),
            lease: Duration::from_secs(90),
            retries: 3,
            job_rows: JobRows::Once,
            tip_path: vec!["tip_lamports".to_owned()],
            fee_path: vec!["fee_lamports".to_owned()],
        }
    }
}

impl std::fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url: _, connections, job_rows, .. } = self;
        f.debug_struct("DatabaseSettings")
            .field("connections", connections)
            .field("job_rows", job_rows)
            .finish_non_exhaustive()
    }
}

/// A URL that names no database. It never contains the URL, which has the password.
#[derive(Debug, PartialEq, Eq)]
pub struct BadUrl(pub String);

impl std::fmt::Display for BadUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the URL of the database can't be used: {}", self.0)
    }
}

impl std::error::Error for BadUrl {}

/// Parameters of URLs that other clients understand, and that mean nothing here.
const OF_OTHERS: [&str; 9] = [
    "pgbouncer",
    "schema",
    "connection_limit",
    "pool_timeout",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "supa",
    "statement_cache_size",
];

/// The connection that a URL describes. `application_name` is ours, whatever the URL says.
pub(crate) fn read_url(url: &str, connect_timeout: Duration) -> Result<Config, BadUrl> {
    let scheme = ["postgresql://", "postgres://"].iter().find(|scheme| url.starts_with(**scheme));
    if scheme.is_none() {
        return Err(BadUrl("it does not begin with postgresql://".to_owned()));
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (name, value) {
            (name, _) if OF_OTHERS.contains(&name) => {}
            // The certificate is always checked.
            ("sslmode", "verify-ca" | "verify-full") => kept.push("sslmode=require".to_owned()),
            ("sslmode", "allow") => kept.push("sslmode=prefer".to_owned()),
            _ => kept.push(pair.to_owned()),
        }
    }
    let text = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    let mut config: Config = text.parse().map_err(|error: tokio_postgres::Error| {
        // The error names an option or a part, never the value.
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        BadUrl(cause.unwrap_or_else(|| error.to_string()))
    })?;
    if config.get_hosts().is_empty() {
        return Err(BadUrl("it names no host".to_owned()));
    }
    if config.get_user().is_none() {
        return Err(BadUrl("it names no role".to_owned()));
    }
    config.application_name("state-tracker").connect_timeout(connect_timeout);
    config.keepalives_idle(Duration::from_secs(30)).keepalives_interval(Duration::from_secs(10));
    Ok(config)
}

/// The servers and the database, without role and password.
pub(crate) fn object_of(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => path.display().to_string(),
        }
    });
    let hosts: Vec<String> = hosts.take(4).collect();
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    errors::sanitise(format!("{}/{database}", hosts.join(",")))
}

/// Whether a failed handshake may be followed by an attempt without TLS, as clients of PostgreSQL do by default.
pub(crate) fn may_do_without_tls(config: &Config) -> bool {
    config.get_ssl_mode() == SslMode::Prefer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Config, BadUrl> {
        read_url(url, Duration::from_secs(1))
    }

    #[test]
    fn urls_of_other_clients_are_understood() {
        let url = "postgres://role:secret@host:6543/db?pgbouncer=true&sslmode=verify-full&connection_limit=1";
        let config = read(url).unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(object_of(&config), "host:6543/db");
        assert_eq!(config.get_application_name(), Some("state-tracker"));
        assert_eq!(
            read("postgresql://role@host/db?application_name=x").unwrap().get_application_name(),
            Some("state-tracker")
        );
    }

    #[test]
    fn a_bad_url_is_refused_without_showing_its_password() {
        for url in [
            "mysql://role:secret@host/db",
            "postgresql://role:secret@/db",
            "postgresql://secret@host:port/db",
            "postgresql://host/db",
            "postgresql://role:secret@host/db?sslmode=secret",
            "",
        ] {
            let error = read(url).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn settings_are_shown_without_the_url() {
        let settings = DatabaseSettings::new("postgresql://role:secret@host/db");
        assert!(!format!("{settings:?}").contains("secret"));
    }
}
