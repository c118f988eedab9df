//! Why there is no picture. No error shows a URL, or a text of the application.

use std::time::Duration;

use http_client::HttpError;
use peer_snapshots::Unreadable;

/// Why a poll gave no picture.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// There is no whole answer.
    #[error("{path}: there is no answer: {cause}")]
    NoAnswer {
        /// What was asked for.
        path: &'static str,
        /// Why.
        cause: HttpError,
    },
    /// The answer did not come in time.
    #[error("{path}: no answer came within {}", errors::rounded(*within))]
    Late {
        /// What was asked for.
        path: &'static str,
        /// How long was waited.
        within: Duration,
    },
    /// The status is neither 200 nor, where that says something, 404.
    #[error("{path}: the status is {status}{}", about(*status))]
    Status {
        /// What was asked for.
        path: &'static str,
        /// The status.
        status: u16,
    },
    /// The answer is not what the API promises.
    #[error("{path}: the answer can't be read: {cause}")]
    Unreadable {
        /// What was asked for.
        path: &'static str,
        /// The field, and what is wrong with it.
        cause: Unreadable,
    },
    /// The answer is to another question.
    #[error("{path}: `{field}` is not the one that was asked for")]
    Other {
        /// What was asked for.
        path: &'static str,
        /// The field that says so.
        field: &'static str,
    },
    /// A limit of the poll is reached.
    #[error("the picture needs more than {most} {what}, which is the limit of a poll")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// The application restarted during the poll.
    #[error("the application restarted while it was asked")]
    Restarted,
    /// The poll took too long as a whole.
    #[error("all answers together did not come within {}", errors::rounded(*within))]
    TooLong {
        /// How long was waited.
        within: Duration,
    },
}

fn about(status: u16) -> &'static str {
    match status {
        300..=399 => ", and redirects are not followed: name the URL that it leads to",
        401 | 403 => ": the URL needs credentials",
        404 => ": this is no application of Stratum V2, or the URL has a wrong path",
        _ => "",
    }
}

/// Why a poll gave no picture, as a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PollFault {
    /// The application could not be reached, or TLS failed, or the connection broke.
    Connection,
    /// An answer or the whole took too long.
    Late,
    /// An answer had another status.
    Status,
    /// An answer was not what the API promises.
    Unreadable,
    /// A limit was reached: of an answer's size, or of bytes, entries or requests of the whole.
    TooLarge,
    /// The application restarted during the poll.
    Restarted,
}

impl PollFault {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Connection, Self::Late, Self::Status, Self::Unreadable, Self::TooLarge, Self::Restarted];

    /// The label of a metric.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Late => "late",
            Self::Status => "status",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::Restarted => "restarted",
        }
    }
}

impl PollError {
    /// Its kind.
    #[must_use]
    pub fn fault(&self) -> PollFault {
        match self {
            Self::NoAnswer { cause: HttpError::Oversized { .. }, .. } | Self::TooMany { .. } => {
                PollFault::TooLarge
            }
            Self::NoAnswer { .. } => PollFault::Connection,
            Self::Late { .. } | Self::TooLong { .. } => PollFault::Late,
            Self::Status { .. } => PollFault::Status,
            Self::Unreadable { .. } | Self::Other { .. } => PollFault::Unreadable,
            Self::Restarted => PollFault::Restarted,
        }
    }
}
