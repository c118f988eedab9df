//! `[alerts]`: who is told what operators should see.

use std::time::Duration;

use url::Url;
use webhook::{Trust, TrustError, Webhook};

use super::super::checks::HTTP_HOOK_OR_NONE;
use super::super::files::{UnreadableFile, read_of};
use super::super::secret::Secret;
use super::super::setting::{Content, MINUTE, duration, file, millis, section, text};

section! {
    /// Alerts go to a webhook, if its URL is set: notices of the collector, and crashes of any actor. One alert a cause, with the number of
    /// its repetitions, and one when it is over.
    pub struct Alerts in "alerts" {
        /// URL of the webhook; it is never shown. One of Slack gets Slack's form, any other one the fields process_name, error_msg, timestamp
        /// and severity.
        url: Secret = text("", HTTP_HOOK_OR_NONE).variable("SLACK_REPORTING_URL").secret(),
        /// How long a delivery may take. Later it counts as failed, and is tried again.
        timeout: Duration = duration("10s", millis(100)..=MINUTE),
        /// PEM file of the certificate authorities that are trusted for the webhook; empty for those of the system.
        ca_file: String = file(Content::Certificates),
    }
}

/// Why the webhook can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BadWebhook {
    /// `alerts.url` is no URL, which a loaded configuration does not have.
    #[error("alerts.url is not a URL of HTTP")]
    Url,
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] UnreadableFile),
    /// The file has no usable certificate.
    #[error("alerts.ca_file: {0}")]
    Certificates(#[from] TrustError),
}

impl Alerts {
    /// The webhook; `None` if its URL is not set.
    ///
    /// # Errors
    /// [`BadWebhook`]: a file that can't be read or has no certificate.
    pub fn webhook(&self) -> Result<Option<Webhook>, BadWebhook> {
        if self.url.is_empty() {
            return Ok(None);
        }
        let url: Url = self.url.reveal().parse().map_err(|_| BadWebhook::Url)?;
        let trust = match read_of("alerts.ca_file", &self.ca_file)? {
            Some(pem) => Trust::only(&pem)?,
            None => Trust::default(),
        };
        Ok(Some(Webhook::new(&url, self.timeout, trust).map_err(|_| BadWebhook::Url)?))
    }
}
