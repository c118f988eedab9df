//! A URL to whose path others are appended.

use url::Url;

use crate::{HttpError, HttpTarget};

/// Why a URL is not one of a server.
#[derive(Debug, thiserror::Error)]
pub enum BadUrl {
    /// It is no URL of HTTP.
    #[error("it is not of the form http://HOST or https://HOST")]
    Scheme,
    /// It can't be requested.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// The URL of a server of HTTP, to which paths are appended. It may hold credentials, and is not shown.
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Takes a URL that can be requested.
    ///
    /// # Errors
    /// [`BadUrl`], which does not show the URL.
    pub fn new(url: &Url) -> Result<Self, BadUrl> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadUrl::Scheme);
        }
        HttpTarget::new(url)?;
        Ok(Self(url.clone()))
    }

    /// The target at this path, without a slash before it, below the URL; with a query in place of that of the URL, where one is given.
    ///
    /// # Errors
    /// [`HttpError::Url`].
    pub fn at(&self, path: &str, query: Option<&str>) -> Result<HttpTarget, HttpError> {
        let mut url = self.0.clone();
        // A URL of HTTP has a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        if query.is_some() {
            url.set_query(query);
        }
        HttpTarget::new(&url)
    }
}
