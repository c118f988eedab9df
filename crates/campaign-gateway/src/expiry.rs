//! The end of a token: the client is warned before it, loses its rooms at it, and its connection ends after it. Pure: the time is given.

use std::time::Duration;

/// How far a token is with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It is valid.
    Valid,
    /// Its client was warned.
    Warned,
    /// It has expired, and its client has no rooms.
    Expired,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The client is warned.
    Warning,
    /// The client is told, and leaves its rooms.
    End,
    /// The connection ends.
    Dismissal,
}

/// What is due at `now` for a token that expires then, with this notice before and after it.
pub(crate) fn due(stage: Stage, expires: Duration, notice: Duration, now: Duration) -> Option<Due> {
    match stage {
        Stage::Expired => (now >= expires.saturating_add(notice)).then_some(Due::Dismissal),
        // A pause of the process may have skipped the warning: then the end comes first.
        _ if now >= expires => Some(Due::End),
        Stage::Valid if now >= expires.saturating_sub(notice) => Some(Due::Warning),
        Stage::Valid | Stage::Warned => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_warned_then_told_then_dismissed() {
        let second = Duration::from_secs;
        let at = |stage, now| due(stage, second(1_000), second(60), second(now));
        assert_eq!([at(Stage::Valid, 939), at(Stage::Warned, 999), at(Stage::Expired, 1_059)], [None; 3]);
        assert_eq!(at(Stage::Valid, 940), Some(Due::Warning));
        assert_eq!(at(Stage::Warned, 1_000), Some(Due::End));
        assert_eq!(at(Stage::Valid, 5_000), Some(Due::End));
        assert_eq!(at(Stage::Expired, 1_060), Some(Due::Dismissal));
    }
}
