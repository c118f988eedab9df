//! Opens the stream to a server: TCP, TLS or a Unix socket.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use futures_util::future::select_ok;
use redis::{ConnectionAddr, RedisResult, TlsCertificates};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
};
use tokio_rustls::TlsConnector;

/// Any stream to a server.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The trusted authorities and the client's certificate, if they are configured.
#[derive(Clone, Default)]
pub(super) struct Identity {
    /// `None` for the system's authorities.
    authorities: Option<Arc<RootCertStore>>,
    client: Option<Arc<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>>,
}

impl Identity {
    /// Reads the certificates.
    pub(super) fn new(certificates: &TlsCertificates) -> RedisResult<Self> {
        let authorities = certificates.root_cert.as_deref().map(authorities).transpose()?;
        let client = certificates.client_tls.as_ref().map(|client| {
            let chain = CertificateDer::pem_slice_iter(&client.client_cert).collect::<Result<_, _>>();
            let chain = chain.map_err(|error| unreadable("the client's certificate", error))?;
            let key = PrivateKeyDer::from_pem_slice(&client.client_key);
            let key = key.map_err(|error| unreadable("the key of the client's certificate", error))?;
            Ok::<_, io::Error>(Arc::new((chain, key)))
        });
        let identity = Self { authorities: authorities.map(Arc::new), client: client.transpose()? };
        // Refuses a key that does not fit the certificate before the first connection. The authorities play no part, and those of the
        // system may be installed later.
        identity.config_for(Arc::new(RootCertStore::empty()))?;
        Ok(identity)
    }

    fn config(&self) -> RedisResult<ClientConfig> {
        let roots = match &self.authorities {
            Some(authorities) => authorities.clone(),
            // Read for each connection: an operator may install them while the service runs.
            None => Arc::new(system_authorities()?),
        };
        self.config_for(roots)
    }

    fn config_for(&self, roots: Arc<RootCertStore>) -> RedisResult<ClientConfig> {
        let config = ClientConfig::builder().with_root_certificates(roots);
        Ok(match self.client.as_deref() {
            Some((chain, key)) => config.with_client_auth_cert(chain.clone(), key.clone_key())?,
            None => config.with_no_client_auth(),
        })
    }
}

fn authorities(pem: &[u8]) -> io::Result<RootCertStore> {
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unreadable("the authority's certificate", error))?;
        authorities.add(certificate).map_err(|error| unreadable("the authority's certificate", error))?;
    }
    Ok(authorities)
}

fn unreadable(what: &str, error: impl std::error::Error) -> io::Error {
    io::Error::other(format!("{what} can't be read: {error}"))
}

fn system_authorities() -> RedisResult<RootCertStore> {
    let mut found = rustls_native_certs::load_native_certs();
    if let Some(error) = found.errors.pop() {
        return Err(error.into());
    }
    let mut authorities = RootCertStore::empty();
    for certificate in found.certs {
        authorities.add(certificate)?;
    }
    Ok(authorities)
}

/// Connects to this address. `in_handshake` is set while a handshake of TLS is under way.
pub(super) async fn open(
    address: &ConnectionAddr,
    identity: &Identity,
    in_handshake: &AtomicBool,
) -> RedisResult<Box<dyn Stream>> {
    Ok(match address {
        ConnectionAddr::Tcp(host, port) => Box::new(tcp(host, *port).await?),
        ConnectionAddr::TcpTls { host, port, .. } => {
            let config = Arc::new(identity.config()?);
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let stream = tcp(host, *port).await?;
            in_handshake.store(true, Relaxed);
            let stream = TlsConnector::from(config).connect(name, stream).await?;
            in_handshake.store(false, Relaxed);
            Box::new(stream)
        }
        ConnectionAddr::Unix(path) => Box::new(UnixStream::connect(path).await?),
        // The enum may grow; the configuration knows these three.
        other => return Err(io::Error::other(format!("{other} is an address of an unknown kind")).into()),
    })
}

/// Connects to the first address of the host that answers.
pub(super) async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<_> =
        lookup_host((host, port)).await?.map(|at| Box::pin(TcpStream::connect(at))).collect();
    // `select_ok` panics without futures.
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")));
    }
    let (stream, _) = select_ok(addresses).await?;
    // Nagle's algorithm would hold back a batch until the previous one is acknowledged.
    stream.set_nodelay(true)?;
    Ok(stream)
}
