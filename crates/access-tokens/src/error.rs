//! Why a token is refused, why keys could not be read, and why a verifier can't be made. No text shows a token.

use std::io;

use http_client::HttpError;

/// Why a token is refused, or can't be judged now.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("the token is missing")]
    Missing,
    /// It exceeds the limit.
    #[error("the token is longer than {0} bytes")]
    TooLong(usize),
    /// It is no JWT.
    #[error("the token is no JWT: {0}")]
    Form(&'static str),
    /// Its algorithm is not the one of the keys.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// No key has its id, or fits its algorithm.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// It was not signed with the key.
    #[error("the token's signature is wrong")]
    Signature,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not begun.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It was issued by another.
    #[error("the token has another issuer")]
    Issuer,
    /// It is meant for another.
    #[error("the token has another audience")]
    Audience,
    /// The provider does not know it.
    #[error("the provider refuses the token")]
    Refused,
    /// The keys can't be read at the moment.
    #[error("the keys can't be read")]
    Keys(#[from] KeysError),
    /// The provider gives no answer at the moment.
    #[error("the provider gives no answer")]
    Provider(#[source] KeysError),
}

impl TokenError {
    /// Whether the same token may be accepted later: not the token is at fault.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Keys(_) | Self::Provider(_))
    }
}

/// Why keys, or the word of a provider, could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file can't be read.
    #[error("the file can't be read")]
    File(#[source] io::Error),
    /// It is no regular file, or too large.
    #[error("it is no file of at most {0} bytes")]
    NoFile(u64),
    /// The request failed.
    #[error("the request failed")]
    Http(#[from] HttpError),
    /// The answer has another status than 200.
    #[error("the answer has the status {0}")]
    Status(u16),
    /// The answer took too long.
    #[error("no answer came in time")]
    Late,
    /// The text is not of the expected form.
    #[error("the text is not of the expected form")]
    Form(#[source] serde_json::Error),
    /// The set holds no key that can be used.
    #[error("the set holds no RSA or P-256 key for signatures")]
    NoKey,
    /// Another attempt failed a moment ago.
    #[error("the last attempt failed a moment ago")]
    Pausing,
}

/// Why a verifier can't be made.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// HS256 asks for a secret as long as its hash.
    #[error("the secret has {0} bytes, and 32 is the least for HS256")]
    ShortSecret(usize),
    /// The URL can't be requested.
    #[error("the URL can't be requested")]
    Url(#[from] HttpError),
    /// A header for the provider has a wrong name or value.
    #[error("the header {0:?} can't be sent")]
    Header(String),
    /// A token without an issuer would be accepted from all programs that share the secret.
    #[error("an issuer must be named: it may not be empty")]
    EmptyIssuer,
}
