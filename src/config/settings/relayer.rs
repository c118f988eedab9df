//! `[relayer]`: who is told of ended epochs.

use std::time::Duration;

use relay_client::{RelayClient, Trust};
use url::Url;

use super::super::checks::{ANY, HTTP_URL_OR_NONE};
use super::super::files::{UnreadableFile, read_of};
use super::super::secret::Secret;
use super::super::setting::{Content, MINUTE, duration, file, millis, section, text};

section! {
    /// The relayer, which sends transactions: the collector tells it how many batches each epoch has. It is told if its URL is set, and
    /// nothing under output.prefix.
    pub struct Relayer in "relayer" {
        /// URL of the relayer, before the names of its calls. It may hold credentials and is never shown.
        url: Secret = text("", HTTP_URL_OR_NONE).variable("TX_RELAYER_URL").secret(),
        /// Token that the relayer expects in each call. It is added when a call is made, and stored nowhere.
        token: Secret = text("", ANY).variable("TX_RELAYER_AUTH_WRITE_TOKEN").secret(),
        /// How long a call may take. Later it counts as failed, and is made again with the same idempotency key.
        timeout: Duration = duration("10s", millis(100)..=MINUTE),
        /// PEM file of the certificate authorities that are trusted for the relayer; empty for those of the system.
        ca_file: String = file(Content::Certificates),
    }
}

/// Why the relayer can't be called.
#[derive(Debug, thiserror::Error)]
pub enum BadRelayer {
    /// `relayer.url` is no URL, which a loaded configuration does not have.
    #[error("relayer.url is not a URL of HTTP")]
    Url,
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] UnreadableFile),
    /// The file has no usable certificate.
    #[error("relayer.ca_file: {0}")]
    Certificates(#[from] relay_client::TrustError),
}

impl Relayer {
    /// Whether there is a relayer.
    pub fn is_enabled(&self) -> bool {
        !self.url.is_empty()
    }

    /// The client of the relayer.
    ///
    /// # Errors
    /// [`BadRelayer`]: a file that can't be read or has no certificate.
    pub fn client(&self) -> Result<RelayClient, BadRelayer> {
        let url: Url = self.url.reveal().parse().map_err(|_| BadRelayer::Url)?;
        let trust = match read_of("relayer.ca_file", &self.ca_file)? {
            Some(pem) => Trust::only(&pem)?,
            None => Trust::default(),
        };
        RelayClient::new(&url, self.token.reveal(), self.timeout, trust).map_err(|_| BadRelayer::Url)
    }
}
