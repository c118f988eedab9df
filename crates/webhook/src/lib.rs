//! Reports to a webhook: the form that its receiver expects, and one attempt to deliver it.
//!
//! Slack gets `text` and blocks, any other receiver the object of the original: `process_name`, `error_msg`, `timestamp`, `severity`.
//! A certificate is always verified, and no error shows the URL, whose path is a secret.
//!
//! **Invariant:** this crate keeps nothing, repeats nothing and groups nothing: the caller decides what is reported, and how often.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_client::{HttpClient, HttpError, HttpTarget};
pub use http_client::{Trust, TrustError};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

/// The largest answer that is read, in bytes. Slack answers `ok`.
const LARGEST_ANSWER: usize = 16 << 10;
/// The most characters of a text: Slack refuses a section with more than 3,000.
const LONGEST_TEXT: usize = 2_500;
/// Whose URLs are Slack's.
const SLACK_HOSTS: [&str; 2] = ["hooks.slack.com", "hooks.slack-gov.com"];

/// What is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it is about: the kind of a notice, or the path of an actor.
    pub name: String,
    /// What happened, and what to do.
    pub text: String,
    /// When it happened.
    pub at: SystemTime,
    /// How grave it is, in one word: `Low`, `Medium` or `High`.
    pub severity: &'static str,
    /// Whether it tells that something is well again.
    pub is_recovery: bool,
}

/// The form of the original.
#[derive(Serialize)]
struct Plain<'a> {
    process_name: &'a str,
    error_msg: &'a str,
    timestamp: String,
    severity: &'a str,
}

impl Report {
    /// The body for receivers other than Slack.
    fn plain(&self) -> String {
        let plain = Plain {
            process_name: &self.name,
            error_msg: &cut(&self.text),
            timestamp: self.time(),
            severity: self.severity,
        };
        // Plain data always has a JSON form.
        serde_json::to_string(&plain).unwrap_or_default()
    }

    /// The body for Slack: `text` is what a phone shows, the blocks what the channel does.
    fn for_slack(&self) -> String {
        let sign = if self.is_recovery { ":white_check_mark:" } else { ":rotating_light:" };
        let (name, text) = (escaped(&self.name), escaped(&cut(&self.text)));
        let section = |text: String| json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } });
        let context = format!("state-tracker, severity {}, {}", self.severity, self.time());
        let blocks: [Value; 3] = [
            section(format!("{sign} *{name}*")),
            section(text.clone()),
            json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": context }] }),
        ];
        json!({ "text": format!("{sign} {name}: {text}"), "blocks": blocks }).to_string()
    }

    fn time(&self) -> String {
        humantime::format_rfc3339_seconds(self.at).to_string()
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// As Slack asks for: in its texts these three would begin links and mentions.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A webhook. Clones share its connections.
#[derive(Clone)]
pub struct Webhook {
    client: HttpClient,
    target: Arc<HttpTarget>,
    is_slack: bool,
    timeout: Duration,
}

/// Why a report was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The receiver answered with an error.
    #[error("the receiver answered {status}")]
    Status {
        /// The status.
        status: u16,
        /// The pause that it asks for (`Retry-After`), without a limit.
        retry_after: Option<Duration>,
    },
    /// There is no answer.
    #[error("there is no answer")]
    NoAnswer(#[source] HttpError),
    /// The answer did not come in time.
    #[error("no answer came within {}", errors::rounded(*.0))]
    Late(Duration),
}

impl SendError {
    /// Whether the same report would be refused again: it is not the receiver's present state.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Status { status, .. } if (400..500).contains(status) && !matches!(status, 408 | 429))
    }

    /// The pause that the receiver asks for, without a limit.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::NoAnswer(_) | Self::Late(_) => None,
        }
    }
}

impl Webhook {
    /// The webhook of this URL. A delivery may take `timeout`.
    ///
    /// # Errors
    /// [`HttpError::Url`] for a URL that can't be requested.
    pub fn new(url: &Url, timeout: Duration, trust: Trust) -> Result<Self, HttpError> {
        let is_slack = url.host_str().is_some_and(|host| SLACK_HOSTS.contains(&host));
        let target = Arc::new(HttpTarget::new(url)?);
        Ok(Self { client: HttpClient::new(trust), target, is_slack, timeout })
    }

    /// The body that its receiver expects.
    #[must_use]
    pub fn body(&self, report: &Report) -> String {
        if self.is_slack { report.for_slack() } else { report.plain() }
    }

    /// Delivers a report, once.
    ///
    /// # Errors
    /// [`SendError`] unless the receiver has answered with a success.
    pub async fn send(&self, report: &Report) -> Result<(), SendError> {
        let post = self.client.post(&self.target, self.body(report), LARGEST_ANSWER);
        let answer = tokio::time::timeout(self.timeout, post).await;
        let answer = answer
            .map_err(|_| SendError::Late(self.timeout))?
            .or_else(HttpError::without_body)
            .map_err(SendError::NoAnswer)?;
        let (status, retry_after) = (answer.status, answer.retry_after);
        if status.is_success() {
            Ok(())
        } else {
            Err(SendError::Status { status: status.as_u16(), retry_after })
        }
    }
}

// Not derived: the path of its URL is a secret.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("is_slack", &self.is_slack).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let text = "a <b> & c".to_owned();
        Report { name: "relayer_away".to_owned(), text, at, severity: "High", is_recovery: false }
    }

    fn webhook(url: &str) -> Webhook {
        Webhook::new(&url.parse().unwrap(), Duration::from_secs(1), Trust::default()).unwrap()
    }

    #[test]
    fn receivers_get_the_fields_of_the_original() {
        assert_eq!(
            webhook("http://alerts.example/hook").body(&report()),
            r#"{"process_name":"relayer_away","error_msg":"a <b> & c","timestamp":"2023-11-14T22:13:20Z","severity":"High"}"#
        );
    }

    #[test]
    fn slack_gets_a_text_and_blocks_in_which_nothing_is_a_link() {
        let body = webhook("https://hooks.slack.com/services/T/B/secret").body(&report());
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["text"], ":rotating_light: relayer_away: a &lt;b&gt; &amp; c");
        assert_eq!(body["blocks"][1]["text"]["text"], "a &lt;b&gt; &amp; c");
        assert_eq!(
            body["blocks"][2]["elements"][0]["text"],
            "state-tracker, severity High, 2023-11-14T22:13:20Z"
        );
        let back = Report { is_recovery: true, ..report() };
        assert!(back.for_slack().contains(":white_check_mark:"));
    }

    #[test]
    fn a_text_is_cut_to_what_slack_takes() {
        let long = Report { text: "ä".repeat(10_000), ..report() };
        let body: Value = serde_json::from_str(&long.for_slack()).unwrap();
        assert!(body["blocks"][1]["text"]["text"].as_str().unwrap().chars().count() <= 3_000);
    }

    #[test]
    fn a_refusal_is_final_and_too_many_requests_are_not() {
        let status = |status| SendError::Status { status, retry_after: None };
        for refused in [400, 403, 404, 410, 422] {
            assert!(status(refused).is_final(), "{refused}");
        }
        for passing in [408, 429, 500, 503, 301] {
            assert!(!status(passing).is_final(), "{passing}");
        }
    }

    #[test]
    fn nothing_shows_the_secret_path_of_the_url() {
        assert!(!format!("{:?}", webhook("https://hooks.slack.com/services/T/B/secret")).contains("secret"));
    }
}
