//! Which authorities the certificates of nodes are checked against: those of the system. They are read from its files when
//! the first node is asked by TLS (`https`, `wss`), and never where no node is.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio::task::{JoinError, spawn_blocking};

use crate::counters::FaultKind;
use crate::json_rpc::Fault;

/// How TLS is spoken with nodes. Clones share what was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust(Arc<OnceCell<Arc<ClientConfig>>>);

/// Why no node can be asked by TLS.
#[derive(Debug, thiserror::Error)]
enum TrustError {
    #[error(
        "TLS needs certificates of authorities, and this system has none: install ca-certificates, or set SSL_CERT_FILE{0}"
    )]
    NoAuthorities(String),
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the certificates of this system were not read: {0}")]
    Task(#[from] JoinError),
}

impl Trust {
    /// What a connection by TLS needs. Where there is nothing to trust, that is a fault of the node that is to be asked, and
    /// looked for again the next time: the other nodes and the rest of the service don't need it.
    pub(crate) async fn config(&self) -> Result<Arc<ClientConfig>, Fault> {
        let read = async || spawn_blocking(read).await.map_err(TrustError::from)?.map(Arc::new);
        let config = self.0.get_or_try_init(read).await;
        config.cloned().map_err(|error| Fault::new(FaultKind::Unreachable, error.to_string()))
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
