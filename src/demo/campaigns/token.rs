//! Tokens of the campaigns' owner, as an issuer of tokens makes them. No I/O.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};
use testkit::campaigns::OWNER;

/// The secret that signs them. The demo listens on the machine itself, and its servers end with it.
pub(super) const SECRET: &str = "the demo signs its tokens with this secret";
/// How long a token is valid, in seconds.
const VALID: u64 = 12 * 3_600;

/// A token that is valid from this Unix time on.
pub(super) fn token(now: u64) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({ "alg": "HS256", "typ": "JWT" }));
    let signed = format!("{head}.{}", part(json!({ "sub": OWNER, "exp": now + VALID })));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}
