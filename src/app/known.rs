//! What every output must know of the configuration: its secrets, and the form of the log.

use errors::SecretsOf;

use super::logging;
use crate::config::{ConfigErrors, Loaded, LogFormat};

/// Passes a configuration on. From here on, texts from outside are shown without its secrets, and errors have the form that it asks for,
/// also before there is a log.
///
/// # Errors
/// Those that it gets.
pub fn known(loaded: Result<Loaded, ConfigErrors>) -> Result<Loaded, ConfigErrors> {
    match &loaded {
        Ok(Loaded { config, .. }) => {
            errors::hide(SecretsOf::Configuration, config.secrets());
            logging::expect_json(config.log.format == LogFormat::Json);
        }
        Err(errors) => logging::expect_json(errors.log_is_json()),
    }
    loaded
}
