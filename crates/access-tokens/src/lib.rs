//! Who presents a token: the user that it names, and when it expires.
//!
//! Tokens are JWT whose claim `sub` is the user. Their signature is checked with one shared secret (HS256), or with keys that their
//! issuer publishes (JWKS; RS256 and ES256) in a file or at a URL. Where neither is at hand, a provider is asked about each token.
//!
//! The kind of the key decides the algorithm, never the token: a token signed with a public key as if it were a secret, or with
//! `none`, finds no key. All cryptography is `ring`'s.
//!
//! **Invariant:** no error, log line or `Debug` text contains a token or a secret, and a token alone never causes more than one request a
//! minute for keys.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod cache;
mod claims;
mod error;
mod jwks;
mod provider;
mod published;
mod token;
mod verifier;

pub use claims::Identity;
pub use error::{KeysError, SetUpError, TokenError};
pub use verifier::{Keys, Settings, Verifier};
