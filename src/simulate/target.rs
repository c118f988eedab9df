//! The receiver, as simulated senders know it.

use std::net::IpAddr;

use color_eyre::eyre::{OptionExt, Result};
use peer_snapshots::{Destination, Secret};

/// The receiver of a sender, and the address that it comes from.
pub(crate) struct Target {
    /// For a well-behaved sender.
    pub(super) destination: Destination,
    /// The secret, for one that writes by itself.
    pub(super) first_line: Option<String>,
}

impl Target {
    /// A receiver at HOST:PORT, which asks for this secret if there is one.
    ///
    /// # Errors
    /// A secret that is no line.
    pub(crate) fn new(to: &str, from: Option<IpAddr>, secret: Option<&str>) -> Result<Self> {
        let of =
            |secret: &str| Secret::new(secret).ok_or_eyre("the secret must be one line that is not empty");
        let destination = Destination { secret: secret.map(of).transpose()?, from, ..Destination::new(to) };
        Ok(Self { destination, first_line: secret.map(str::to_owned) })
    }
}
