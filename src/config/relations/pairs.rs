//! Settings that belong together in pairs. Pure.

use crate::config::entry::Entry;
use crate::config::problem::Problem;

/// A certificate without its key, or the other way round.
pub(super) fn certificate_with_its_key<'a>(
    cert: &str,
    key: &str,
    get: impl Fn(&str) -> Option<&'a Entry>,
) -> Option<Problem> {
    let (cert, key) = (get(cert)?, get(key)?);
    let (lacking, other) = match (cert.is_unset(), key.is_unset()) {
        (true, false) => (cert, key),
        (false, true) => (key, cert),
        _ => return None,
    };
    let allowed =
        format!("must be set where {} is set: a certificate and its key belong together", other.setting.key);
    Some(lacking.refused(&lacking.shown, &allowed))
}
