//! Tokens and certificate of the endpoints, which are read again while the service runs: a rotation of secrets replaces
//! files, and often sends no signal. Reads the files that the configuration names; what can't be used changes nothing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use errors::SecretsOf;
use http_server::{Audit, BadCertificate, BadTokens, Role, Tls, Tokens, expires, tokens_of};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    config::{Http, OperatorFiles, UnreadableFile},
    http::Security,
};

/// The interval in which the files are read again.
// Less than the health check waits where the certificate has just been replaced.
const EVERY: Duration = Duration::from_secs(2);

/// A certificate that expires within this time is told.
const SOON: Duration = Duration::from_hours(7 * 24);

/// A file holds what can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadFile {
    /// It can't be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableFile),
    /// It holds no tokens.
    #[error("{setting}: {source}")]
    Tokens {
        /// Its setting.
        setting: &'static str,
        /// Why.
        source: BadTokens,
    },
    /// Certificate and key can't be used.
    #[error("http.cert_file and http.key_file can't be used")]
    Certificate(#[from] BadCertificate),
}

/// The files, and what they held when they were last read.
#[derive(Clone)]
pub(super) struct OperatorSecrets(Arc<Inner>);

struct Inner {
    http: Http,
    security: Security,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    files: OperatorFiles,
    /// The last line about a file that can't be used, so that it is logged once.
    told: Option<String>,
    /// The same about the end of a certificate.
    told_end: Option<String>,
}

impl Last {
    fn tell_end(&mut self) {
        let end = ends(&self.files, SystemTime::now());
        if let Some(line) = end.as_ref().filter(|_| self.told_end != end) {
            tracing::warn!("{line}");
        }
        self.told_end = end;
    }
}

impl OperatorSecrets {
    /// Reads the files.
    ///
    /// # Errors
    /// [`BadFile`]; the configuration was loaded with files that could be used.
    pub(super) fn read(http: &Http) -> Result<Self, BadFile> {
        let files = http.operator_files()?;
        let tls = files.certificate.as_ref().map(|(pem, key)| Tls::new(pem, key)).transpose()?;
        // Clones share the certificate: it is replaced at both.
        let metrics_tls = tls.clone().filter(|_| http.metrics_tls);
        let (tokens, audit) = (Tokens::default(), Audit::default());
        let security = Security { tokens, operator_tls: tls, metrics_tls, audit };
        set_tokens(&security.tokens, &files)?;
        let mut last = Last { files, ..Last::default() };
        last.tell_end();
        Ok(Self(Arc::new(Inner { http: http.clone(), security, last: Mutex::new(last) })))
    }

    /// What the endpoints ask of their clients; it follows the files.
    pub(super) fn security(&self) -> Security {
        self.0.security.clone()
    }

    /// Reads the files again and again, until the returned set is dropped. Without any, it does nothing.
    pub(super) fn keep_reading(&self) -> JoinSet<()> {
        let mut task = JoinSet::new();
        let has_files =
            self.0.last.lock().unwrap_or_else(PoisonError::into_inner).files != OperatorFiles::default();
        if has_files {
            let files = self.clone();
            task.spawn(async move {
                loop {
                    sleep(EVERY).await;
                    files.refresh().await;
                }
            });
        }
        task
    }

    /// Reads the files now, and uses what they hold if that has changed.
    pub(super) async fn refresh(&self) {
        let files = self.clone();
        // A slow disk must not hold up an actor. A panic in there would only skip this round.
        let _ = tokio::task::spawn_blocking(move || files.refresh_blocking()).await;
    }

    fn refresh_blocking(&self) {
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        match self.replaced(&last.files) {
            Ok(None) => last.told = None,
            Ok(Some(files)) => {
                tracing::info!(
                    "the tokens and the certificate of the endpoints are those of their files again"
                );
                *last = Last { files, ..Last::default() };
            }
            Err(error) => {
                let line = errors::one_line(&error);
                if last.told.as_ref() != Some(&line) {
                    tracing::warn!("{line}; the former tokens and certificate stay in use");
                    last.told = Some(line);
                }
            }
        }
        last.tell_end();
    }

    /// What the files hold now, if it has changed; then it is in use.
    fn replaced(&self, before: &OperatorFiles) -> Result<Option<OperatorFiles>, BadFile> {
        let files = self.0.http.operator_files()?;
        if files == *before {
            return Ok(None);
        }
        // The certificate first: each part changes as a whole, and a bad one is tried again with the next round.
        if let (Some(tls), Some((pem, key))) = (&self.0.security.operator_tls, &files.certificate) {
            tls.replace(pem, key)?;
        }
        set_tokens(&self.0.security.tokens, &files)?;
        Ok(Some(files))
    }
}

fn set_tokens(tokens: &Tokens, files: &OperatorFiles) -> Result<(), BadFile> {
    for (setting, role, content) in [
        ("http.read_token_file", Role::Read, &files.read_tokens),
        ("http.operator_token_file", Role::Operator, &files.operator_tokens),
    ] {
        if let Some(content) = content {
            let bad = |source| BadFile::Tokens { setting, source };
            let text = String::from_utf8_lossy(content);
            // Before they open anything: a client may send one where it is shown, and a panic may repeat it.
            errors::hide(SecretsOf::Tokens, tokens_of(&text).map_err(bad)?.into_iter().map(str::to_owned));
            tokens.replace(role, &text).map_err(bad)?;
        }
    }
    Ok(())
}

/// What an operator has to know of a certificate's end, from a week before it on.
fn ends(files: &OperatorFiles, now: SystemTime) -> Option<String> {
    let (pem, _) = files.certificate.as_ref()?;
    let end = expires(pem)?;
    let shown = humantime::format_rfc3339_seconds(end);
    let text = match end.duration_since(now) {
        Err(_) => format!("has expired at {shown}, and clients refuse it"),
        Ok(left) if left < SOON => format!("expires at {shown}"),
        Ok(_) => return None,
    };
    Some(format!("the certificate of http.cert_file {text}; replace it with its key"))
}
