//! Environment variables that set no setting, and the parts of those that do.

/// How all variables begin that can only be ours.
pub(crate) const OURS: &str = "STATE_TRACKER_";
/// What stands behind the name of a variable that names a file with the value.
pub(crate) const FILE: &str = "_FILE";

/// What stands before the name of a variable where the source of a value is told.
pub(crate) const VARIABLE: &str = "environment variable ";

/// The variable that names the file of `--config`.
pub const CONFIG_VARIABLE: &str = "STATE_TRACKER_CONFIG";
/// The variable that arms failure points, in a build that has them. In one that has none it is an unknown variable.
#[cfg(feature = "failure-points")]
pub const FAILURES_VARIABLE: &str = "STATE_TRACKER_FAILURE_POINTS";
/// A variable of the original's compose file, which the original never read.
pub(crate) const RETENTION: &str = "STATE_TRACKER_RETENTION_DAYS";

/// What they do, for lists of variables.
pub const OTHER_VARIABLES: [(&str, &str); 2] = [
    (CONFIG_VARIABLE, "TOML file with settings, unless --config names one"),
    (RETENTION, "Accepted and ignored; the original never read it either"),
];
