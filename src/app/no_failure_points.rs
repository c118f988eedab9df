//! Failure points in a build without them: none is ever armed. While it loads the configuration, such a build refuses the
//! variable that arms them.

use std::fmt;

use serde::Serialize;

use supervision::{TreeOptions, WatchSettings};

use crate::config::{Config, ConfigErrors};

/// An armed failure point, which this build can't have.
#[derive(Serialize)]
pub(super) enum Armed {}

impl fmt::Display for Armed {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// No failure points.
///
/// # Errors
/// None; the signature is that of the other build.
pub(super) fn from_environment(_: &Config) -> Result<Vec<Armed>, ConfigErrors> {
    Ok(Vec::new())
}

/// The options of a tree without failure points.
pub(super) fn options(_: &[Armed], watch: WatchSettings) -> TreeOptions {
    TreeOptions { watch, ..TreeOptions::default() }
}
