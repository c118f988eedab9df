//! The end of a handshake: why it failed, or what the certificate of the client says.

use std::io;

use rustls::{Error, InvalidMessage};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

/// A handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client speaks no TLS.
    #[error("the client speaks no TLS")]
    NoTls,
    /// The client shows no certificate, and must.
    #[error("the client shows no certificate")]
    NoCertificate,
    /// The client shows a certificate that is not of a trusted authority, not of its time, or not for a client.
    #[error("the certificate of the client is not trusted")]
    Untrusted(#[source] Error),
    /// Anything else of TLS, such as a client that does not trust the certificate of the port.
    #[error("the handshake of TLS failed")]
    Tls(#[source] Error),
    /// The connection broke, or the client closed it.
    #[error("the connection ended within the handshake of TLS")]
    Ended(#[source] io::Error),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match of_tls.cloned() {
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::NoTls,
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(error @ Error::InvalidCertificate(_)) => Self::Untrusted(error),
            Some(error) => Self::Tls(error),
            None => Self::Ended(error),
        }
    }
}

/// The first name of the client's certificate: of the DNS names among its alternative names. `None` where it shows no certificate, or one
/// without such a name. A name of several hosts (`*.example.org`) is none.
///
/// It is that of a certificate which the handshake has verified, if the port asked for one.
#[must_use]
pub fn client_name(stream: &TlsStream<TcpStream>) -> Option<String> {
    let shown = stream.get_ref().1.peer_certificates()?.first()?;
    let certificate = EndEntityCert::try_from(shown).ok()?;
    certificate.valid_dns_names().find(|name| !name.contains('*')).map(str::to_owned)
}
