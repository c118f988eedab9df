//! The certificate authorities that servers are checked against: those of the system, or those that the caller names. The system's
//! files are read at the first connection by TLS (`https`, `wss`), so that a system without them can still use plain connections.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

/// The variable that names the file of certificates in place of the system's own.
const FILE_VARIABLE: &str = "SSL_CERT_FILE";
/// The largest file of certificates that is read, in bytes. Those of systems have some hundred KiB.
const LARGEST_FILE: u64 = 16 << 20;

/// The TLS configuration, read at its first use. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trust(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    config: OnceLock<Arc<ClientConfig>>,
    /// The task that reads the files. Each takes a thread for as long as the file system holds it, so there is one, and it
    /// goes on when the caller that began it no longer waits.
    reading: Mutex<Option<JoinHandle<Result<ClientConfig, TrustError>>>>,
}

/// Why TLS can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system has no usable certificate of an authority.
    #[error("TLS needs certificates of authorities, and this system has none{0}")]
    NoAuthorities(String),
    /// The file of certificates is no regular file, or too large.
    #[error(
        "TLS needs certificates of authorities, and {path} is no file of at most {} MiB with them: correct {FILE_VARIABLE}",
        LARGEST_FILE >> 20
    )]
    NoFile {
        /// The file.
        path: String,
    },
    /// A named certificate can't be read.
    #[error("the certificates of authorities can't be read as PEM: {0}")]
    Pem(String),
    /// The TLS library refused the configuration.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The task that reads the files failed.
    #[error("the certificates of this system were not read: {0}")]
    Task(#[from] JoinError),
}

impl Trust {
    /// Trusts only the authorities whose certificates this PEM text has, in place of the system's.
    ///
    /// # Errors
    /// [`TrustError::Pem`] without a certificate, or for one that can't be read.
    pub fn only(pem: &[u8]) -> Result<Self, TrustError> {
        let unreadable = |error: &dyn std::fmt::Display| TrustError::Pem(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots
                .add(certificate.map_err(|error| unreadable(&error))?)
                .map_err(|error| unreadable(&error))?;
        }
        if roots.is_empty() {
            return Err(TrustError::Pem("it holds no certificate".to_owned()));
        }
        let shared = Shared { config: Arc::new(trusting(roots)?).into(), ..Shared::default() };
        Ok(Self(Arc::new(shared)))
    }

    /// The TLS configuration. Only success is kept: after an error the next call reads the files again.
    ///
    /// # Errors
    /// [`TrustError`] when the system has no usable certificates.
    pub async fn config(&self) -> Result<Arc<ClientConfig>, TrustError> {
        if let Some(config) = self.0.config.get() {
            return Ok(config.clone());
        }
        let mut reading = self.0.reading.lock().await;
        if let Some(config) = self.0.config.get() {
            return Ok(config.clone());
        }
        // The files are many, and reading them blocks.
        let task = reading.get_or_insert_with(|| spawn_blocking(|| read(env::var_os(FILE_VARIABLE))));
        let read = task.await;
        *reading = None;
        let config = Arc::new(read??);
        Ok(self.0.config.get_or_init(|| config).clone())
    }
}

/// Reads the system's certificates. `file` is the value of the variable that names their file.
fn read(file: Option<OsString>) -> Result<ClientConfig, TrustError> {
    // Checked before it is opened: to open a pipe without a writer blocks for ever, and a device may have no end.
    if let Some(path) = file.map(PathBuf::from)
        && let Ok(metadata) = fs::metadata(&path)
        && (!metadata.is_file() || metadata.len() > LARGEST_FILE)
    {
        return Err(TrustError::NoFile { path: path.display().to_string() });
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Certificates that can't be parsed are skipped: one odd file must not disable TLS.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    let problem = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
    if usable == 0 {
        return Err(TrustError::NoAuthorities(problem));
    }
    tracing::debug!(usable, "read the certificates of the system's authorities{problem}");
    Ok(trusting(roots)?)
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    // Named explicitly: without a default of the process rustls panics unless its features name exactly one provider.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_device_or_a_folder_is_no_file_of_certificates() {
        for path in ["/dev/zero", "/"] {
            let refused = read(Some(path.into()));
            assert!(
                matches!(&refused, Err(TrustError::NoFile { path: named }) if named == path),
                "{refused:?}"
            );
        }
    }

    #[tokio::test]
    async fn callers_that_stop_waiting_share_one_reader() {
        let trust = Trust::default();
        let (release, released) = std::sync::mpsc::channel::<()>();
        // A reader that a file system holds.
        *trust.0.reading.lock().await = Some(spawn_blocking(move || {
            let _ = released.recv();
            Err(TrustError::NoAuthorities(String::new()))
        }));
        for _ in 0..20 {
            let waited = tokio::time::timeout(Duration::from_millis(1), trust.config()).await;
            assert!(waited.is_err(), "the file system holds the reader");
            assert!(trust.0.reading.lock().await.is_some(), "it is still the first one");
        }
        drop(release);
        assert!(
            matches!(trust.config().await, Err(TrustError::NoAuthorities(_))),
            "what the first one has read"
        );
        assert!(trust.0.reading.lock().await.is_none(), "the next call reads again");
    }
}
