//! Tokens and certificate of the endpoints, in files that are read again while the service runs.

use errors::SecretsOf;
use http_server::{Audit, Role, Tokens, tokens_of};
use ports::{Pem, Tls};

use super::secret_files::{BadFile, Followed, SecretFiles};
use crate::{
    config::{Http, OperatorFiles},
    http::Security,
};

const CERTIFICATE: &str = "http.cert_file and http.key_file";

/// The files, and what follows them.
pub(super) struct Endpoints {
    http: Http,
    security: Security,
}

/// The files of the endpoints, which are read again.
pub(super) type OperatorSecrets = Followed<Endpoints>;

/// Reads the files.
///
/// # Errors
/// [`BadFile`]; the configuration was loaded with files that could be used.
pub(super) fn read(http: &Http) -> Result<OperatorSecrets, BadFile> {
    let files = http.operator_files()?;
    let unusable = |source| BadFile::Certificate { settings: CERTIFICATE, source };
    let tls = files.certificate.as_ref().map(|(pem, key)| Tls::http(Pem::new(pem, key)));
    let tls = tls.transpose().map_err(unusable)?;
    // Clones share the certificate: it is replaced at both.
    let metrics_tls = tls.clone().filter(|_| http.metrics_tls);
    let (tokens, audit) = (Tokens::default(), Audit::default());
    let security = Security { tokens, operator_tls: tls, metrics_tls, audit };
    set_tokens(&security.tokens, &files)?;
    Ok(Followed::new(Endpoints { http: http.clone(), security }, files))
}

impl Endpoints {
    /// What the endpoints ask of their clients; it follows the files.
    pub(super) fn security(&self) -> Security {
        self.security.clone()
    }
}

impl SecretFiles for Endpoints {
    type Content = OperatorFiles;
    const WHAT: &'static str = "the tokens and the certificate of the endpoints";
    const CERTIFICATE: &'static str = "http.cert_file";

    fn read(&self) -> Result<OperatorFiles, BadFile> {
        Ok(self.http.operator_files()?)
    }

    fn apply(&self, files: &OperatorFiles) -> Result<(), BadFile> {
        // The certificate first: each part changes as a whole, and a bad one is tried again with the next round.
        if let (Some(tls), Some((pem, key))) = (&self.security.operator_tls, &files.certificate) {
            let unusable = |source| BadFile::Certificate { settings: CERTIFICATE, source };
            tls.replace(Pem::new(pem, key)).map_err(unusable)?;
        }
        set_tokens(&self.security.tokens, files)
    }

    fn certificate(files: &OperatorFiles) -> Option<&[u8]> {
        files.certificate.as_ref().map(|(pem, _)| pem.as_slice())
    }
}

fn set_tokens(tokens: &Tokens, files: &OperatorFiles) -> Result<(), BadFile> {
    for (setting, role, content) in [
        ("http.read_token_file", Role::Read, &files.read_tokens),
        ("http.operator_token_file", Role::Operator, &files.operator_tokens),
    ] {
        if let Some(content) = content {
            let bad = |source| BadFile::Tokens { setting, source };
            let text = String::from_utf8_lossy(content);
            // Before they open anything: a client may send one where it is shown, and a panic may repeat it.
            errors::hide(SecretsOf::Tokens, tokens_of(&text).map_err(bad)?.into_iter().map(str::to_owned));
            tokens.replace(role, &text).map_err(bad)?;
        }
    }
    Ok(())
}
