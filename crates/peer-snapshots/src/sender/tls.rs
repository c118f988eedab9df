//! TLS of a sender: which receivers it trusts, and which certificate it shows.

use std::{
    fmt, io,
    io::ErrorKind,
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject as _},
};

/// How long the receiver may take for the handshake, and for a part of it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection after its handshake.
pub(super) type Secured = StreamOwned<ClientConnection, TcpStream>;

/// How a sender speaks TLS: which receiver it trusts, and which certificate it shows. Clones share it. It shows no key.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    receiver: ServerName<'static>,
}

/// A sender can't speak TLS with these certificates.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// The name of the receiver is no host name and no IP address.
    #[error("the receiver's name is no host name and no IP address")]
    Name,
    /// There is no certificate in the text.
    #[error("{0} has no certificate in PEM form")]
    NoCertificate(&'static str),
    /// The text is no PEM.
    #[error("{part} is no PEM")]
    Pem {
        /// Which text.
        part: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// Certificate, key or authority can't be used.
    #[error("the certificates can't be used")]
    Unusable(#[source] rustls::Error),
}

impl ClientTls {
    /// Trusts a receiver of this name (a host name or an IP address, as its certificate has it) if one of these authorities vouches for it,
    /// and shows no certificate of its own. Authorities are in PEM form; those of the system are not trusted.
    ///
    /// # Errors
    /// [`BadTls`].
    pub fn new(receiver: &str, authorities: &[u8]) -> Result<Self, BadTls> {
        Self::of(receiver, authorities, None)
    }

    /// The same, and shows this certificate, which has those of its authorities behind it; it and its key are in PEM form. A receiver that
    /// asks for certificates calls its sender by the first DNS name of it.
    ///
    /// # Errors
    /// [`BadTls`].
    pub fn with_certificate(
        receiver: &str,
        authorities: &[u8],
        certificates: &[u8],
        key: &[u8],
    ) -> Result<Self, BadTls> {
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|source| BadTls::Pem { part: "the key of the sender", source })?;
        Self::of(receiver, authorities, Some((chain("the certificate of the sender", certificates)?, key)))
    }

    fn of(
        receiver: &str,
        authorities: &[u8],
        shown: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Self, BadTls> {
        let receiver = ServerName::try_from(receiver.to_owned()).map_err(|_| BadTls::Name)?;
        let mut roots = RootCertStore::empty();
        for authority in chain("the text of the authorities", authorities)? {
            roots.add(authority).map_err(BadTls::Unusable)?;
        }
        // Named, so that it does not depend on what else the host is built with.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(BadTls::Unusable)?
            .with_root_certificates(roots);
        let config = match shown {
            None => config.with_no_client_auth(),
            Some((chain, key)) => config.with_client_auth_cert(chain, key).map_err(BadTls::Unusable)?,
        };
        Ok(Self { config: Arc::new(config), receiver })
    }

    /// Makes the handshake.
    pub(super) fn connect(&self, mut socket: TcpStream) -> io::Result<Secured> {
        let until = Instant::now() + HANDSHAKE_TIMEOUT;
        socket.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
        let connection = ClientConnection::new(self.config.clone(), self.receiver.clone());
        let mut connection = connection.map_err(io::Error::other)?;
        while connection.is_handshaking() {
            // A receiver of a byte now and then must not hold up the thread.
            if Instant::now() >= until {
                return Err(io::Error::from(ErrorKind::TimedOut));
            }
            while connection.wants_write() {
                connection.write_tls(&mut socket)?;
            }
            if connection.is_handshaking() && connection.wants_read() {
                if connection.read_tls(&mut socket)? == 0 {
                    return Err(io::Error::from(ErrorKind::UnexpectedEof));
                }
                if let Err(error) = connection.process_new_packets() {
                    // The receiver is told why, if it can be.
                    let _ = connection.write_tls(&mut socket);
                    return Err(io::Error::new(ErrorKind::InvalidData, error));
                }
            }
        }
        while connection.wants_write() {
            connection.write_tls(&mut socket)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }
}

fn chain(part: &'static str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let chain = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|source| BadTls::Pem { part, source })?;
    if chain.is_empty() { Err(BadTls::NoCertificate(part)) } else { Ok(chain) }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}
