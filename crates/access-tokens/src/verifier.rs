//! Finds the user of a token, by the keys or the provider that the settings name.

use std::{fmt, path::PathBuf, time::Duration};

use http_client::{
    HeaderMap, HttpClient, HttpTarget,
    header::{HeaderName, HeaderValue},
};
use ring::hmac;
use supervision::Clock;
use url::Url;

use crate::{
    claims::{Expected, Identity},
    error::{SetUpError, TokenError},
    provider::Provider,
    published::{Place, Published},
    token::{Algorithm, parse},
};

/// The fewest bytes of a secret: as many as the hash has (RFC 7518, 3.2).
const SHORTEST_SECRET: usize = 32;

/// What a token is checked with.
pub enum Keys {
    /// A secret that the issuer shares: HS256.
    Secret(Vec<u8>),
    /// A set of public keys in a file: RS256 and ES256.
    JwksFile(PathBuf),
    /// The same at a URL.
    JwksUrl(Url, HttpClient),
    /// A provider that is asked about each token.
    Provider {
        /// The URL that is requested with the token in `Authorization`.
        url: Url,
        /// More headers, such as the key of the application.
        headers: Vec<(String, String)>,
        /// What requests it.
        client: HttpClient,
    },
}

/// What tokens are accepted.
pub struct Settings {
    /// The keys, or who is asked.
    pub keys: Keys,
    /// The claim `iss` that a token must have. A provider checks it itself.
    pub issuer: Option<String>,
    /// A claim `aud` that a token must have.
    pub audience: Option<String>,
    /// What the clock of the issuer may differ from ours; at most a minute.
    pub leeway: Duration,
}

/// Finds the user of a token.
pub struct Verifier {
    way: Way,
    expected: Expected,
    clock: Clock,
}

enum Way {
    Secret(hmac::Key),
    Published(Published),
    Provider(Box<Provider>),
}

impl Verifier {
    /// Sets up without connecting, and reads no file.
    ///
    /// # Errors
    /// [`SetUpError`].
    pub fn new(settings: Settings, clock: Clock) -> Result<Self, SetUpError> {
        let way = match settings.keys {
            Keys::Secret(secret) if secret.len() < SHORTEST_SECRET => {
                return Err(SetUpError::ShortSecret(secret.len()));
            }
            Keys::Secret(secret) => Way::Secret(hmac::Key::new(hmac::HMAC_SHA256, &secret)),
            Keys::JwksFile(path) => Way::Published(Published::new(Place::File(path), clock.clone())),
            Keys::JwksUrl(url, client) => {
                let place = Place::Url(Box::new((HttpTarget::new(&url)?, client)));
                Way::Published(Published::new(place, clock.clone()))
            }
            Keys::Provider { url, headers, client } => {
                let (target, headers) = (HttpTarget::new(&url)?, header_map(headers)?);
                Way::Provider(Box::new(Provider::new(target, headers, client, clock.clone())))
            }
        };
        let Settings { issuer, audience, leeway, .. } = settings;
        if issuer.as_ref().is_some_and(String::is_empty) {
            return Err(SetUpError::EmptyIssuer);
        }
        Ok(Self { way, expected: Expected { issuer, audience, leeway }, clock })
    }

    /// The user of a token, and when it expires.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        if let Way::Provider(provider) = &self.way {
            return provider.check(token).await;
        }
        let token = parse(token)?;
        match &self.way {
            Way::Secret(key) => {
                if token.algorithm != Algorithm::Hs256 {
                    return Err(TokenError::Algorithm);
                }
                hmac::verify(key, token.signed.as_bytes(), &token.signature)
                    .map_err(|_| TokenError::Signature)?;
            }
            Way::Published(published) => {
                if token.algorithm == Algorithm::Hs256 {
                    return Err(TokenError::Algorithm);
                }
                published.check(&token).await?;
            }
            Way::Provider(_) => {}
        }
        self.expected.check(&token.claims, self.clock.unix())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Secret(_) => "a shared secret",
            Way::Published(_) => "published keys",
            Way::Provider(_) => "a provider",
        };
        write!(f, "Verifier by {way}")
    }
}

fn header_map(headers: Vec<(String, String)>) -> Result<HeaderMap, SetUpError> {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        let (key, value) = HeaderName::try_from(&name)
            .ok()
            .zip(HeaderValue::try_from(value).ok())
            .ok_or(SetUpError::Header(name))?;
        all.insert(key, value);
    }
    Ok(all)
}
