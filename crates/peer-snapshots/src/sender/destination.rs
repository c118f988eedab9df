//! Where a sender sends to.

use std::{fmt, net::IpAddr};

use crate::Tagging;

/// Where pictures go.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Host and port of the receiver.
    pub address: String,
    /// The first line of each connection, if the receiver asks for one.
    pub secret: Option<Secret>,
    /// TLS, if the receiver speaks it.
    #[cfg(feature = "tls")]
    pub tls: Option<super::tls::ClientTls>,
    /// How messages of the enum form carry their names.
    pub tagging: Tagging,
    /// The address of this host that connections come from; the system chooses one where it is `None`. Receivers know a sender by it.
    pub from: Option<IpAddr>,
}

impl Destination {
    /// A receiver that asks for no secret and speaks no TLS.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            secret: None,
            #[cfg(feature = "tls")]
            tls: None,
            tagging: Tagging::Outer,
            from: None,
        }
    }
}

/// A secret, which nothing shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret of one line; `None` if it is empty or has a line end.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Option<Self> {
        let secret = secret.into();
        (!secret.is_empty() && !secret.contains(['\r', '\n'])).then_some(Self(secret))
    }
}

impl Secret {
    /// The line of the secret, without its end.
    pub(super) fn line(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
