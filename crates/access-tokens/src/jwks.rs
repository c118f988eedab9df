//! Keys that an issuer publishes (RFC 7517), and the check of a signature with one. Pure.

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use crate::{
    error::{KeysError, TokenError},
    token::{Algorithm, Token, decoded},
};

/// The most keys of a set. Issuers publish two or three.
const MOST_KEYS: usize = 32;
/// The bytes of a coordinate of P-256.
const COORDINATE: usize = 32;
/// The longest modulus of RSA, in bytes: 8,192 bits.
const LONGEST_MODULUS: usize = 1_024;

/// The keys of an issuer.
#[derive(Debug, Default)]
pub(crate) struct KeySet(Vec<PublishedKey>);

#[derive(Debug)]
struct PublishedKey {
    id: Option<String>,
    material: Material,
}

/// Public, so it may be shown.
#[derive(Debug)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// The uncompressed point.
    P256(Vec<u8>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
    /// A private key that was published is no key to trust.
    #[serde(default)]
    d: Option<IgnoredAny>,
}

impl KeySet {
    /// The keys of a text that can be used: for signatures, RSA or P-256. Others are skipped, as the RFC asks.
    ///
    /// # Errors
    /// [`KeysError`] for what is no set, or has no such key.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, KeysError> {
        let set: Set = serde_json::from_slice(text).map_err(KeysError::Form)?;
        let keys: Vec<PublishedKey> = set.keys.into_iter().filter_map(usable).take(MOST_KEYS).collect();
        if keys.is_empty() { Err(KeysError::NoKey) } else { Ok(Self(keys)) }
    }

    /// Checks the signature of a token with the key that it names; with each that fits its algorithm, where it names none.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`] where there is none, [`TokenError::Signature`] otherwise.
    pub(crate) fn check(&self, token: &Token<'_>) -> Result<(), TokenError> {
        let names = |key: &&PublishedKey| token.key_id.is_none() || key.id == token.key_id;
        let mut fitting =
            self.0.iter().filter(names).filter(|key| key.material.algorithm() == token.algorithm).peekable();
        if fitting.peek().is_none() {
            return Err(TokenError::UnknownKey);
        }
        match fitting.any(|key| key.material.has_signed(token.signed.as_bytes(), &token.signature)) {
            true => Ok(()),
            false => Err(TokenError::Signature),
        }
    }
}

impl Material {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
        }
    }

    fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        let checked = match self {
            Self::Rsa { modulus, exponent } => RsaPublicKeyComponents { n: modulus, e: exponent }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                text,
                signature,
            ),
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(text, signature)
            }
        };
        checked.is_ok()
    }
}

/// A key as we use it; `None` for one of another kind or purpose.
fn usable(value: Value) -> Option<PublishedKey> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    if jwk.d.is_some() || jwk.purpose.is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let part = |text: &str| decoded(text).ok();
    let material = match &*jwk.kty {
        "RSA" => {
            // A leading zero is no part of a number, and ring refuses it.
            let strip = |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
            let (modulus, exponent) = (strip(part(&jwk.n)?), strip(part(&jwk.e)?));
            if modulus.len() > LONGEST_MODULUS || exponent.is_empty() {
                return None;
            }
            Material::Rsa { modulus, exponent }
        }
        "EC" if jwk.crv == "P-256" => {
            let (x, y) = (part(&jwk.x)?, part(&jwk.y)?);
            if x.len() != COORDINATE || y.len() != COORDINATE {
                return None;
            }
            Material::P256([&[4], &*x, &*y].concat())
        }
        _ => return None,
    };
    if jwk.alg.is_some_and(|name| Algorithm::of(&name) != Some(material.algorithm())) {
        return None;
    }
    Some(PublishedKey { id: jwk.kid, material })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_other_kinds_and_purposes_are_skipped() {
        let set = |keys: &str| KeySet::parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes());
        let point = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let good = format!(r#"{{"kty":"EC","crv":"P-256","x":"{point}","y":"{point}"}}"#);
        assert_eq!(set(&good).unwrap().0.len(), 1);
        for bad in [
            r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(),
            good.replace("P-256", "P-384"),
            good.replace(r#""kty""#, r#""use":"enc","kty""#),
            good.replace(r#""kty""#, r#""alg":"RS256","kty""#),
            good.replace(r#""kty""#, r#""alg":"HS256","kty""#),
            good.replace(r#""kty""#, r#""d":"AA","kty""#),
            good.replace(point, "AAAA"),
            r#"{"kty":"RSA","n":"AQAB","e":""}"#.to_owned(),
            "1".to_owned(),
        ] {
            assert!(matches!(set(&bad), Err(KeysError::NoKey)), "{bad}");
            assert_eq!(set(&format!("{bad},{good}")).unwrap().0.len(), 1, "{bad}");
        }
        assert!(matches!(KeySet::parse(b"{}"), Err(KeysError::Form(_))));
        let many = vec![&*good; 100].join(",");
        assert_eq!(set(&many).unwrap().0.len(), MOST_KEYS);
    }
}
