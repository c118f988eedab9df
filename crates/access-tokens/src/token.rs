//! The parts of a JWT, decoded and not yet believed. Pure.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::IgnoredAny};

use crate::error::TokenError;

/// The longest token, in bytes.
pub(crate) const LONGEST: usize = 8 << 10;

/// A way to sign that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSA with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// The one of this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}

/// A token in its parts.
pub(crate) struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    /// The id of the key.
    pub(crate) key_id: Option<String>,
    /// What is signed: header and claims as they were sent.
    pub(crate) signed: &'a str,
    pub(crate) signature: Vec<u8>,
    /// The claims, as JSON.
    pub(crate) claims: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// Extensions that must be understood: none is.
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

/// Takes a token apart.
///
/// # Errors
/// [`TokenError`] for what is no JWT of an accepted algorithm.
pub(crate) fn parse(text: &str) -> Result<Token<'_>, TokenError> {
    if text.is_empty() {
        return Err(TokenError::Missing);
    }
    if text.len() > LONGEST {
        return Err(TokenError::TooLong(LONGEST));
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Form("it has no three parts"))?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Form("it has no three parts"))?;
    let header: Header = serde_json::from_slice(&decoded(header)?)
        .map_err(|_| TokenError::Form("its header is no JSON object with an algorithm"))?;
    if header.crit.is_some() {
        return Err(TokenError::Form("its header names extensions"));
    }
    Ok(Token {
        algorithm: Algorithm::of(&header.alg).ok_or(TokenError::Algorithm)?,
        key_id: header.kid,
        signed,
        signature: decoded(signature)?,
        claims: decoded(claims)?,
    })
}

/// When a token says that it expires, in Unix seconds; without a check of its signature, so it may only shorten what is believed.
pub(crate) fn claimed_expiry(text: &str) -> Option<f64> {
    #[derive(Deserialize)]
    struct Expiry {
        exp: f64,
    }
    let claims = text.split('.').nth(1).filter(|_| text.len() <= LONGEST)?;
    serde_json::from_slice::<Expiry>(&decoded(claims).ok()?).ok().map(|claims| claims.exp)
}

/// A part, decoded.
///
/// # Errors
/// [`TokenError::Form`].
pub(crate) fn decoded(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Form("a part is not base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"))
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_shown() {
        let long = "x".repeat(LONGEST + 1);
        for text in ["", "secret", "secret.secret", "secret.secret.secret", "a.b.c.d", "..", &*long] {
            let error = parse(text).err().expect(text);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_algorithm_none_and_unknown_ones_are_refused() {
        for name in ["none", "None", "NONE", "", "HS512", "hs256", "RS1", "EdDSA"] {
            let text = token(&format!(r#"{{"alg":"{name}"}}"#));
            assert!(matches!(parse(&text), Err(TokenError::Algorithm)), "{name}");
        }
        assert!(matches!(parse(&token("{}")), Err(TokenError::Form(_))));
        assert!(matches!(parse(&token(r#"{"alg":"HS256","alg":"none"}"#)), Err(TokenError::Form(_))));
        assert!(matches!(parse(&token(r#"{"alg":"HS256","crit":["exp"]}"#)), Err(TokenError::Form(_))));
        assert!(parse(&token(r#"{"alg":"HS256"}"#)).is_ok());
    }
}
