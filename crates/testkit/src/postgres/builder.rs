//! The settings of a private PostgreSQL server. No I/O.

use std::path::Path;
use std::time::Duration;

use super::{Postgres, PostgresError};
use crate::tls::{CERTIFICATE_FILE, KEY_FILE, Tls};

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The settings of a private PostgreSQL server; made by [`Postgres::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing is started before `start`"]
pub struct PostgresBuilder {
    pub(super) tls: Option<Tls>,
    pub(super) start_timeout: Duration,
    pub(super) shares_nothing: bool,
    settings: Vec<(String, String)>,
}

impl Default for PostgresBuilder {
    fn default() -> Self {
        let settings = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            // What is committed survives a crash of the server, which is all that tests do to it, not one of the machine.
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("synchronous_commit", "on"),
            ("log_min_messages", "warning"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { tls: None, start_timeout: START_TIMEOUT, shares_nothing: false, settings }
    }
}

impl PostgresBuilder {
    /// Sets a parameter of `postgresql.conf`, such as `max_connections` and `20`. The last one of a name counts.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether a commit waits until the log is written: `on` by default, or `off`.
    pub fn synchronous_commit(self, on: bool) -> Self {
        self.setting("synchronous_commit", if on { "on" } else { "off" })
    }

    /// Everybody but the superuser must use TLS.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Makes the data directory by an `initdb` of its own, which takes over a second, and leaves no file behind. Without it the
    /// first server of a machine leaves a data directory, which later ones copy.
    pub fn shares_nothing(mut self) -> Self {
        self.shares_nothing = true;
        self
    }

    /// How long starting may take, recovery after a crash included.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Starts the server and waits until it takes connections.
    ///
    /// # Errors
    /// When PostgreSQL is missing, its directory can't be made, it ends by itself, or it is not ready in time.
    pub async fn start(self) -> Result<Postgres, PostgresError> {
        Postgres::start_with(self).await
    }

    pub(super) fn arguments(&self, data: &Path, port: u16) -> Vec<String> {
        let mut arguments =
            vec!["-D".to_owned(), data.display().to_string(), "-p".to_owned(), port.to_string()];
        let mut set =
            |name: &str, value: &str| arguments.extend(["-c".to_owned(), format!("{name}={value}")]);
        for (name, value) in &self.settings {
            set(name, value);
        }
        if self.tls.is_some() {
            set("ssl", "on");
            set("ssl_cert_file", CERTIFICATE_FILE);
            set("ssl_key_file", KEY_FILE);
        }
        arguments
    }

    /// The file that says who may connect, and how.
    pub(super) fn host_rules(&self) -> String {
        let connection = if self.tls.is_some() { "hostssl" } else { "host" };
        format!(
            "host all {} 127.0.0.1/32 scram-sha-256\n{connection} all all 127.0.0.1/32 scram-sha-256\n\
             {connection} replication all 127.0.0.1/32 scram-sha-256\n",
            super::programs::SUPERUSER
        )
    }
}
