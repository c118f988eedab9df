//! TLS of the ports for senders of peers: certificate, key and authorities, in files that are read again while the service runs.

use ports::{Pem, Tls};

use super::secret_files::{BadFile, Followed, SecretFiles};
use crate::config::{PeerFiles, Peers};

const CERTIFICATE: &str = "peers.cert_file, peers.key_file and peers.client_ca_file";

/// The files, and what follows them.
pub(super) struct SenderPorts {
    settings: Peers,
    tls: Tls,
}

/// Reads the files; `None` where none are set.
///
/// # Errors
/// [`BadFile`].
pub(super) fn read(settings: &Peers) -> Result<Option<Followed<SenderPorts>>, BadFile> {
    let files = settings.files()?;
    let Some(pem) = pem(&files) else { return Ok(None) };
    let tls = Tls::new(pem).map_err(|source| BadFile::Certificate { settings: CERTIFICATE, source })?;
    Ok(Some(Followed::new(SenderPorts { settings: settings.clone(), tls }, files)))
}

impl SenderPorts {
    /// The TLS of the ports; it follows the files.
    pub(super) fn tls(&self) -> Tls {
        self.tls.clone()
    }
}

impl SecretFiles for SenderPorts {
    type Content = PeerFiles;
    const WHAT: &'static str = "the certificates of the ports for senders";
    const CERTIFICATE: &'static str = "peers.cert_file";

    fn read(&self) -> Result<PeerFiles, BadFile> {
        Ok(self.settings.files()?)
    }

    fn apply(&self, files: &PeerFiles) -> Result<(), BadFile> {
        let Some(pem) = pem(files) else { return Ok(()) };
        self.tls.replace(pem).map_err(|source| BadFile::Certificate { settings: CERTIFICATE, source })
    }

    fn certificate(files: &PeerFiles) -> Option<&[u8]> {
        files.certificate.as_ref().map(|(pem, _)| pem.as_slice())
    }
}

fn pem(files: &PeerFiles) -> Option<Pem<'_>> {
    let (certificates, key) = files.certificate.as_ref()?;
    Some(Pem { client_authorities: files.client_authorities.as_deref(), ..Pem::new(certificates, key) })
}
