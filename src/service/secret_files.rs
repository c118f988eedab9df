//! Files with secrets that are read again while the service runs: a rotation of secrets replaces files, and often sends no
//! signal. Reads the files that the configuration names; what can't be used changes nothing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http_server::BadTokens;
use ports::{BadCertificate, expires};
use tokio::{task::JoinSet, time::sleep};

use crate::config::UnreadableFile;

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
    /// Certificates and key can't be used.
    #[error("{settings} can't be used")]
    Certificate {
        /// Their settings.
        settings: &'static str,
        /// Why.
        source: BadCertificate,
    },
}

/// What some files hold, and where it is used.
pub(super) trait SecretFiles: Send + Sync + 'static {
    /// What the files hold; the default is that of no files.
    type Content: Default + PartialEq + Send;
    /// What that is, as the log says it.
    const WHAT: &'static str;
    /// The setting of the certificate among them.
    const CERTIFICATE: &'static str;

    /// Reads the files.
    ///
    /// # Errors
    /// [`BadFile::Unreadable`].
    fn read(&self) -> Result<Self::Content, BadFile>;

    /// Uses what they hold, if it can be used; else nothing is changed.
    ///
    /// # Errors
    /// [`BadFile`].
    fn apply(&self, content: &Self::Content) -> Result<(), BadFile>;

    /// The certificate among what they hold, in PEM form.
    fn certificate(content: &Self::Content) -> Option<&[u8]>;
}

/// Files that are followed. Clones follow the same ones.
pub(super) struct Followed<F: SecretFiles>(Arc<Inner<F>>);

struct Inner<F: SecretFiles> {
    files: F,
    last: Mutex<Last<F::Content>>,
}

/// What the files held when they were last read.
struct Last<Content> {
    content: Content,
    /// The last line about a file that can't be used, so that it is logged once.
    told: Option<String>,
    /// The same about the end of a certificate.
    told_end: Option<String>,
}

impl<F: SecretFiles> Clone for Followed<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F: SecretFiles> Followed<F> {
    /// Follows files with this content, which is in use.
    pub(super) fn new(files: F, content: F::Content) -> Self {
        let mut last = Last { content, told: None, told_end: None };
        last.tell_end::<F>();
        Self(Arc::new(Inner { files, last: Mutex::new(last) }))
    }

    /// The files.
    pub(super) fn files(&self) -> &F {
        &self.0.files
    }

    /// Reads the files again and again, until the set is dropped. Without any, it does nothing.
    pub(super) fn keep_reading(&self, tasks: &mut JoinSet<()>) {
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.content == F::Content::default() {
            return;
        }
        let files = self.clone();
        tasks.spawn(async move {
            loop {
                sleep(EVERY).await;
                files.refresh().await;
            }
        });
    }

    /// Reads the files now, and uses what they hold if that has changed.
    pub(super) async fn refresh(&self) {
        let files = self.clone();
        // A slow disk must not hold up an actor. A panic in there would only skip this round.
        let _ = tokio::task::spawn_blocking(move || files.refresh_blocking()).await;
    }

    fn refresh_blocking(&self) {
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        match self.replaced(&last.content) {
            Ok(None) => last.told = None,
            Ok(Some(content)) => {
                tracing::info!("{} are those of their files again", F::WHAT);
                *last = Last { content, told: None, told_end: None };
            }
            Err(error) => {
                let line = errors::one_line(&error);
                if last.told.as_ref() != Some(&line) {
                    tracing::warn!("{line}; the former ones stay in use");
                    last.told = Some(line);
                }
            }
        }
        last.tell_end::<F>();
    }

    /// What the files hold now, if it has changed; then it is in use.
    fn replaced(&self, before: &F::Content) -> Result<Option<F::Content>, BadFile> {
        let content = self.0.files.read()?;
        if content == *before {
            return Ok(None);
        }
        self.0.files.apply(&content)?;
        Ok(Some(content))
    }
}

impl<Content> Last<Content> {
    fn tell_end<F: SecretFiles<Content = Content>>(&mut self) {
        let end = F::certificate(&self.content).and_then(|pem| ends(F::CERTIFICATE, pem, SystemTime::now()));
        if let Some(line) = end.as_ref().filter(|_| self.told_end != end) {
            tracing::warn!("{line}");
        }
        self.told_end = end;
    }
}

/// What an operator has to know of a certificate's end, from a week before it on.
fn ends(setting: &str, pem: &[u8], now: SystemTime) -> Option<String> {
    let end = expires(pem)?;
    let shown = humantime::format_rfc3339_seconds(end);
    let text = match end.duration_since(now) {
        Err(_) => format!("has expired at {shown}, and clients refuse it"),
        Ok(left) if left < SOON => format!("expires at {shown}"),
        Ok(_) => return None,
    };
    Some(format!("the certificate of {setting} {text}; replace it with its key"))
}
