//! `[campaigns]`: the status of campaigns, from job rows in PostgreSQL to a live feed.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::checks::{
    ANY, HTTP_URL_OR_NONE, JSON_PATH, ORIGINS, POSTGRES_URL_OR_NONE, SIGNING_SECRET, SOCKET_ADDRESS, origins,
};
use super::super::files::{UnreadableFile, read_of};
use super::super::secret::Secret;
use super::super::setting::{
    Content, HOUR, MINUTE, SECOND, YEAR, choice, duration, file, flag, integer, millis, section, text,
};

section! {
    /// The status of campaigns: counts job rows of a PostgreSQL database of other programs, writes summaries there, and tells clients
    /// of Socket.IO what has changed. It runs if campaigns.database_url is set.
    pub struct Campaigns in "campaigns" {
        /// URL of the database; empty for no campaigns. It may hold credentials and is never shown.
        database_url: Secret = text("", POSTGRES_URL_OR_NONE).variable("DATABASE_URL").secret(),
        /// PEM file of the certificate authorities that are trusted for the database; empty for those of the system.
        database_ca_file: String = file(Content::Certificates),
        /// How many connections to the database there may be at most, besides the one that listens.
        connections: usize = integer(8, "a number of connections", 2..=200),
        /// How long a connection to the database may take to open or to become free.
        connect_timeout: Duration = duration("5s", millis(100)..=MINUTE),
        /// How long a statement may take, but for the computation of a run's metrics.
        statement_timeout: Duration = duration("10s", millis(100)..=MINUTE),
        /// How long the computation of a run's metrics may take.
        computation_timeout: Duration = duration("2m", SECOND..=HOUR),
        /// Whether the scheduler and the status workers run here.
        // Both by default, so that one process is enough; each may run apart, as in the original.
        scheduler: bool = flag(true),
        /// Whether the monitor and the gateway for clients run here.
        gateway: bool = flag(true),
        /// How often the status of a campaign is computed, unless its params.status_interval_seconds says otherwise; 10 to 30 s are
        /// recommended.
        interval: Duration = duration("15s", SECOND..=HOUR).seconds_variable("STATUS_AGGREGATOR_INTERVAL_SECONDS"),
        /// How many status workers there are.
        workers: usize = integer(5, "a number of workers", 1..=100),
        /// Whether a campaign has one row of status jobs, which is used again, or each job a row of its own, as in the original.
        job_rows: String = choice("one", &["one", "each"]),
        /// How often a status job that failed is tried again before it is a dead letter.
        job_retries: u32 = integer(3, "a number of retries", 0..=20),
        /// How long finished rows of status jobs are kept.
        status_jobs_retention: Duration = duration("1d", MINUTE..=YEAR),
        /// With the migration: how long the summaries of runs are kept for `GET /campaigns/ID/history`. A campaign that changes all the time
        /// has 6 MB a day.
        history_retention: Duration = duration("7d", HOUR..=YEAR),
        /// Below this percentage of succeeded jobs, of those that succeeded or failed, a run has an alert, unless its campaign's
        /// params.alert_threshold says otherwise; 0 for none. Another one may follow once the rate was 2 points above it.
        alert_below_percent: u32 = integer(0, "a percentage", 0..=100),
        /// Where the tip stands in executions.result: names of fields, with dots between them.
        tip_path: String = text("tip_lamports", JSON_PATH),
        /// Where the fee stands, likewise.
        fee_path: String = text("fee_lamports", JSON_PATH),
        /// IP address and port for clients of Socket.IO, and for the endpoints of campaigns; port 0 for any free one.
        // Local by default, as every port of this program that serves others than probes.
        gateway_address: SocketAddr = text("127.0.0.1:3000", SOCKET_ADDRESS),
        /// PEM file of the certificate of that port, with those of its authorities; empty for no TLS.
        cert_file: String = file(Content::Certificates),
        /// PEM file of the key of that certificate.
        key_file: String = file(Content::Key),
        /// The origins of web pages that may connect, such as `https://app.example.org`, separated by commas; `*` for all.
        origins: String = text("*", ORIGINS),
        /// The secret with which tokens of clients are signed (HS256).
        jwt_secret: Secret = text("", SIGNING_SECRET).secret(),
        /// File with the public keys of tokens (a JWKS: RS256 or ES256). It is read again when a token names an unknown key.
        jwks_file: String = file(Content::Jwks),
        /// URL of such keys, likewise.
        jwks_url: String = text("", HTTP_URL_OR_NONE),
        /// URL of a provider that is asked about each token, as the original asks its own.
        auth_url: String = text("", HTTP_URL_OR_NONE),
        /// Key that is sent to that provider as `apikey`; empty for none.
        auth_key: Secret = text("", ANY).secret(),
        /// PEM file of the certificate authorities that are trusted for both URLs; empty for those of the system.
        auth_ca_file: String = file(Content::Certificates),
        /// The issuer that tokens must name; empty for any.
        issuer: String = text("", ANY),
        /// The audience that tokens must name; empty for any.
        audience: String = text("", ANY),
        /// Token for `POST /campaigns/ID/broadcast`, and for `GET /campaigns/ID/history` of every campaign; empty for none.
        service_token: Secret = text("", ANY).secret(),
        /// How many clients may be connected.
        clients: usize = integer(10_000, "a number of clients", 1..=1_000_000),
        /// How many connections a user may have.
        connections_per_user: usize = integer(50, "a number of connections", 1..=10_000),
        /// How many connections a second a user may open; further ones are refused.
        connects_per_second: u32 = integer(5, "a number of connections", 1..=10_000),
        /// How many connections a second one address may open.
        connects_per_second_per_address: u32 = integer(500, "a number of connections", 1..=100_000),
        /// How many rooms a second a user may join.
        joins_per_second: u32 = integer(20, "a number of joins", 1..=10_000),
        /// How many rooms a client may be in.
        rooms_per_client: usize = integer(100, "a number of rooms", 1..=100),
        /// Largest message of a client, in bytes.
        max_message_bytes: usize = integer(100_000, "a number of bytes", 1_024..=10_000_000),
        /// How many bytes may wait for a client. Above that older statuses are replaced by newer ones, and then the client is disconnected.
        client_buffer_bytes: usize = integer(262_144, "a number of bytes", 16_384..=16_777_216),
        /// Whether the metrics are also exposed under the names of the original (`volume_bot_…`).
        old_metrics: bool = flag(false),
    }
}

/// A certificate and its key, in PEM form.
pub(crate) type PemPair = (Vec<u8>, Vec<u8>);

/// Where the keys of tokens come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKeys<'a> {
    /// A shared secret.
    Secret(&'a Secret),
    /// A file with a JWKS.
    File(&'a str),
    /// A URL of a JWKS.
    Url(&'a str),
    /// A provider that is asked.
    Provider(&'a str),
}

impl Campaigns {
    /// Whether campaigns run: they do if there is a database.
    pub fn is_enabled(&self) -> bool {
        !self.database_url.is_empty()
    }

    /// Whether scheduler and workers run here.
    pub fn schedules(&self) -> bool {
        self.is_enabled() && self.scheduler
    }

    /// Whether monitor and gateway run here.
    pub fn serves(&self) -> bool {
        self.is_enabled() && self.gateway
    }

    /// Where the keys of tokens come from; `None` where no such setting is set.
    pub fn token_keys(&self) -> Option<TokenKeys<'_>> {
        let set = |text: &str| !text.is_empty();
        match self {
            _ if !self.jwt_secret.is_empty() => Some(TokenKeys::Secret(&self.jwt_secret)),
            _ if set(&self.jwks_file) => Some(TokenKeys::File(&self.jwks_file)),
            _ if set(&self.jwks_url) => Some(TokenKeys::Url(&self.jwks_url)),
            _ if set(&self.auth_url) => Some(TokenKeys::Provider(&self.auth_url)),
            _ => None,
        }
    }

    /// The origins that may connect; `None` for all.
    pub fn allowed_origins(&self) -> Option<Vec<String>> {
        let all: Vec<String> = origins(&self.origins).map(str::to_owned).collect();
        (!all.iter().any(|origin| origin == "*")).then_some(all)
    }

    /// The certificate and the key of the port; `None` without TLS.
    ///
    /// # Errors
    /// A file that can't be read, with its setting.
    pub fn certificate(&self) -> Result<Option<PemPair>, UnreadableFile> {
        let certificate = read_of("campaigns.cert_file", &self.cert_file)?;
        // Both or none: the configuration refuses one without the other.
        Ok(certificate.zip(read_of("campaigns.key_file", &self.key_file)?))
    }

    /// The authorities that are trusted for the database; `None` for those of the system.
    ///
    /// # Errors
    /// A file that can't be read, with its setting.
    pub fn database_authorities(&self) -> Result<Option<Vec<u8>>, UnreadableFile> {
        read_of("campaigns.database_ca_file", &self.database_ca_file)
    }

    /// Those that are trusted for the issuers of tokens, likewise.
    ///
    /// # Errors
    /// A file that can't be read, with its setting.
    pub fn auth_authorities(&self) -> Result<Option<Vec<u8>>, UnreadableFile> {
        read_of("campaigns.auth_ca_file", &self.auth_ca_file)
    }
}
