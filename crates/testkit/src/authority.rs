//! A private authority that signs certificates for servers and clients on this machine. No I/O.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::tls::Tls;

/// An authority that clients may trust. Its key is new, and is never stored.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// An authority of this name.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Its certificate, as PEM.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key of a client, as PEM.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn client(&self) -> Result<(String, String), rcgen::Error> {
        self.sign("client")
    }

    /// The identity of a server on this machine.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn server(&self) -> Result<Tls, rcgen::Error> {
        let (certificate, key) = self.sign("server")?;
        Ok(Tls { authority: self.certificate(), certificate, key, asks_clients: false })
    }

    fn sign(&self, name: &str) -> Result<(String, String), rcgen::Error> {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}
