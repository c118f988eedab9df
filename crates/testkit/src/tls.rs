//! The certificates of a private server with TLS. May write into the given directory.

use std::io;
use std::path::{Path, PathBuf};

use redis::{ClientTlsConfig, TlsCertificates};

const AUTHORITY_FILE: &str = "authority.pem";
pub(crate) const CERTIFICATE_FILE: &str = "certificate.pem";
pub(crate) const KEY_FILE: &str = "key.pem";

/// A server's identity, all of it PEM text.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate of the authority that signed the server's.
    pub authority: String,
    /// The server's certificate. It must name 127.0.0.1.
    pub certificate: String,
    /// The key of that certificate.
    pub key: String,
    /// Whether clients must show a certificate of the same authority.
    pub asks_clients: bool,
}

impl Tls {
    pub(crate) fn directives(&self) -> Vec<(String, String)> {
        let clients = if self.asks_clients { "yes" } else { "no" };
        [
            ("tls-cert-file", CERTIFICATE_FILE),
            ("tls-key-file", KEY_FILE),
            ("tls-ca-cert-file", AUTHORITY_FILE),
            ("tls-auth-clients", clients),
            // Replicas, sentinels and nodes of a cluster use it among themselves, too.
            ("tls-replication", "yes"),
            ("tls-cluster", "yes"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Writes all of it into a directory, and says which files these are.
    pub(crate) fn write_to(&self, dir: &Path) -> io::Result<[PathBuf; 3]> {
        let files =
            [(AUTHORITY_FILE, &self.authority), (CERTIFICATE_FILE, &self.certificate), (KEY_FILE, &self.key)];
        for (name, text) in files {
            std::fs::write(dir.join(name), text)?;
        }
        Ok(files.map(|(name, _)| dir.join(name)))
    }

    /// The certificates of a client that trusts this authority; its own certificate is the server's.
    pub(crate) fn for_clients(&self) -> TlsCertificates {
        let (client_cert, client_key) =
            (self.certificate.clone().into_bytes(), self.key.clone().into_bytes());
        TlsCertificates {
            client_tls: self.asks_clients.then_some(ClientTlsConfig { client_cert, client_key }),
            root_cert: Some(self.authority.clone().into_bytes()),
        }
    }
}
