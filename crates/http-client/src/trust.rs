//! Which authorities the certificates of servers are checked against: those of the system. They are read from its files
//! when the first server is asked by TLS (`https`, `wss`), and not before.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio::task::{JoinError, spawn_blocking};

/// How TLS is spoken. Clones share what was read.
#[derive(Clone, Debug, Default)]
pub struct Trust(Arc<OnceCell<Arc<ClientConfig>>>);

/// Why no server can be asked by TLS.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There is no certificate that could be trusted.
    #[error("TLS needs certificates of authorities, and this system has none{0}")]
    NoAuthorities(String),
    /// The library refused its settings.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The task that reads the files failed.
    #[error("the certificates of this system were not read: {0}")]
    Task(#[from] JoinError),
}

impl Trust {
    /// What a connection by TLS needs. Where there is nothing to trust, the next call looks again.
    ///
    /// # Errors
    /// [`TrustError`] when the system has no usable certificates.
    pub async fn config(&self) -> Result<Arc<ClientConfig>, TrustError> {
        let read = async || spawn_blocking(read).await.map_err(TrustError::from)?.map(Arc::new);
        self.0.get_or_try_init(read).await.cloned()
    }
}

fn read() -> Result<ClientConfig, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    let problem = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
    if usable == 0 {
        return Err(TrustError::NoAuthorities(problem));
    }
    tracing::debug!(usable, "read the certificates of the system's authorities{problem}");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
