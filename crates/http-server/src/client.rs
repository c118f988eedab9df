//! The client's side of a port with TLS, for a client that has the certificate of the port: it trusts this one and no authority.

use std::{fmt, io, sync::Arc};

use ports::{BadCertificate, chain};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A connection to a port with TLS failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The text has no certificate to expect.
    #[error(transparent)]
    Certificate(#[from] BadCertificate),
    /// The system has no TLS as it is needed.
    #[error("TLS can't be set up")]
    SetUp(#[source] rustls::Error),
    /// Another server, or the same one with another certificate.
    #[error("the server shows another certificate than the expected one")]
    OtherCertificate,
    /// What answers there speaks no TLS.
    #[error("the server speaks no TLS")]
    NoTls,
    /// The handshake failed.
    #[error("the handshake of TLS failed")]
    Handshake(#[source] io::Error),
}

/// Speaks TLS with a server that must have the key of the first of these certificates (PEM), whatever its name, its dates and its issuer
/// are.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(stream: TcpStream, certificates: &[u8]) -> Result<TlsStream<TcpStream>, ConnectError> {
    // `chain` gives at least one.
    let expected = chain(certificates)?.swap_remove(0);
    // The name is sent to the server, which has one certificate for all names.
    let name = ServerName::from(stream.peer_addr().map_err(ConnectError::Handshake)?.ip());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::SetUp)?
        // Less is checked than by authorities, and more: one certificate is right, and all others are wrong.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Only { expected, algorithms }))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(reason)
}

fn reason(error: io::Error) -> ConnectError {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match of_tls {
        Some(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
            ConnectError::OtherCertificate
        }
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => ConnectError::NoTls,
        _ => ConnectError::Handshake(error),
    }
}

/// Accepts one certificate. That the server has its key is proven by the signature of the handshake.
struct Only {
    expected: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Only")
    }
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match *shown == self.expected {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
