//! The certificate authorities that servers are checked against: those of the system. Its files are read at the first
//! connection by TLS (`https`, `wss`), so that a system without them can still use plain connections.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio::task::{JoinError, spawn_blocking};

/// The TLS configuration, read at its first use. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trust(Arc<OnceCell<Arc<ClientConfig>>>);

/// Why TLS can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system has no usable certificate of an authority.
    #[error("TLS needs certificates of authorities, and this system has none{0}")]
    NoAuthorities(String),
    /// The TLS library refused the configuration.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The task that reads the files failed.
    #[error("the certificates of this system were not read: {0}")]
    Task(#[from] JoinError),
}

impl Trust {
    /// The TLS configuration. Only success is kept: after an error the next call reads the files again.
    ///
    /// # Errors
    /// [`TrustError`] when the system has no usable certificates.
    pub async fn config(&self) -> Result<Arc<ClientConfig>, TrustError> {
        // The files are many, and reading them blocks.
        let read = async || spawn_blocking(read).await.map_err(TrustError::from)?.map(Arc::new);
        self.0.get_or_try_init(read).await.cloned()
    }
}

fn read() -> Result<ClientConfig, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Certificates that can't be parsed are skipped: one odd file must not disable TLS.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    let problem = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
    if usable == 0 {
        return Err(TrustError::NoAuthorities(problem));
    }
    tracing::debug!(usable, "read the certificates of the system's authorities{problem}");
    // Named explicitly: without a default of the process rustls panics unless its features name exactly one provider.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
