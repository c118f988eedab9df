//! The page of retries.

use retry::{
    Jitter, RetryPolicy,
    table::{ALL, UNLIMITED},
};

use super::markdown::{code, head, table};

pub(super) fn page() -> String {
    let columns = ["retry", "what is tried again", "first pause", "longest pause", "jitter", "attempts"];
    head("Retries", "crates/retry/src/table.rs")
        + "A pause doubles with each failure in a row, up to the longest. Where a page says \"at most its interval\", the interval is a \
           setting. The restarts of actors are no retries: their pauses are those of `[supervision]`.\n\n"
        + &table(columns, ALL.iter().map(row))
}

fn row(policy: &RetryPolicy) -> [String; 6] {
    let jitter = match policy.jitter {
        Jitter::None => "none",
        Jitter::Quarter => "0.75 to 1.25 times the pause",
        Jitter::Double => "1 to 2 times the pause",
    };
    let attempts = match policy.attempts {
        UNLIMITED => "without limit".to_owned(),
        attempts => attempts.to_string(),
    };
    [
        code(&policy.name.to_lowercase()),
        policy.about.to_owned(),
        humantime::format_duration(policy.first).to_string(),
        humantime::format_duration(policy.longest).to_string(),
        jitter.to_owned(),
        attempts,
    ]
}
