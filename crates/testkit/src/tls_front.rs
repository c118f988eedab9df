//! TLS in front of a server without it. Opens one local socket, and ends with its value.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::tls::Tls;

/// A local port that takes TLS connections for the server.
#[derive(Debug)]
pub struct TlsFront {
    addr: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl TlsFront {
    /// Listens on a free port and forwards to the server at this address.
    ///
    /// # Errors
    /// When the identity can't be read, or no port is free.
    pub async fn start(identity: &Tls, to: SocketAddr) -> io::Result<Self> {
        let certificate =
            CertificateDer::from_pem_slice(identity.certificate.as_bytes()).map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(io::Error::other)?;
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
            .map_err(io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let serving = tokio::spawn(async move {
            // A JoinSet aborts its tasks when it is dropped: connections end with the front.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(acceptor.clone(), client, to));
                // Reaps ended connections, so that the set does not grow.
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { addr, _serving: AbortOnDropHandle::new(serving) })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Forwards one connection. A client that does not trust the certificate only ends its own.
async fn pass(acceptor: TlsAcceptor, client: TcpStream, to: SocketAddr) -> io::Result<()> {
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(to).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
