//! A private authority that signs certificates for servers and clients on this machine. No I/O.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

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
        self.sign("client", &["localhost", "127.0.0.1"], (4096, 1, 1))
    }

    /// The identity of a server on this machine.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn server(&self) -> Result<Tls, rcgen::Error> {
        self.server_of(&["localhost", "127.0.0.1"], (4096, 1, 1))
    }

    /// The identity of a server with these names, whose certificate ends at the begin of this day: year, month, day.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn server_of(&self, names: &[&str], end: (i32, u8, u8)) -> Result<Tls, rcgen::Error> {
        let (certificate, key) = self.sign("server", names, end)?;
        Ok(Tls { authority: self.certificate(), certificate, key, asks_clients: false })
    }

    fn sign(
        &self,
        name: &str,
        names: &[&str],
        (year, month, day): (i32, u8, u8),
    ) -> Result<(String, String), rcgen::Error> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.not_after = date_time_ymd(year, month, day);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}
