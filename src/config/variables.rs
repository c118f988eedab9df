//! Names of environment variables that are not those of settings, and the parts of names.

/// The prefix of variables that only this program uses: an unknown one is an error.
pub(crate) const OWN_PREFIX: &str = "STATE_TRACKER_";
/// The suffix of a variable that names a file with the value.
pub(crate) const FILE_SUFFIX: &str = "_FILE";

/// The words before the name of a variable, in the source of a value.
pub(crate) const VARIABLE_ORIGIN: &str = "environment variable ";

/// The variable that names the file of `--config`.
pub const CONFIG_VARIABLE: &str = "STATE_TRACKER_CONFIG";
/// The variable that arms failure points.
pub const FAILURES_VARIABLE: &str = "STATE_TRACKER_FAILURE_POINTS";
/// A variable of the original's compose file, which the original never read.
pub(crate) const RETENTION_DAYS: &str = "STATE_TRACKER_RETENTION_DAYS";

/// Variables other than those of settings, each with its meaning.
pub const OTHER_VARIABLES: [(&str, &str); 3] = [
    (CONFIG_VARIABLE, "TOML file with settings, unless --config names one"),
    (FAILURES_VARIABLE, "Failure points to arm, in a build that has them; other builds refuse it"),
    (RETENTION_DAYS, "Accepted and ignored; the original never read it either"),
];
