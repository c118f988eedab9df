//! The verdict on the variable that arms failure points. Pure, and the same code in every build, so that one build tests the
//! verdicts of both. Only `run` and `check` read the points themselves.

use std::ffi::OsStr;

use super::{problem::Problem, variables::FAILURES_VARIABLE};

/// The reason to refuse the variable. `build_has_points` says whether this build has the feature `failure-points`.
pub(super) fn refusal(value: &OsStr, build_has_points: bool) -> Option<Problem> {
    // Compose files pass variables on as `NAME=${NAME:-}`: empty means not set.
    if value.is_empty() {
        return None;
    }
    let variable = format!("environment variable {FAILURES_VARIABLE}");
    // Without this error a test of failures would pass, since nothing fails.
    let text = match (build_has_points, value.to_str()) {
        (false, _) => format!(
            "{variable} is set, and this build has no failure points: unset the variable, or build a binary that has them \
             with `cargo build --release --features failure-points`"
        ),
        (true, None) => format!("{variable}: the value is not UTF-8"),
        (true, Some(_)) => return None,
    };
    Some(Problem::general(text))
}
