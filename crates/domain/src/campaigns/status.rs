//! The statuses of campaigns, runs and jobs, as the database writes them.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! statuses {
    ($($(#[$about:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ })+) => {
        $(
            $(#[$about])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
            #[serde(rename_all = "lowercase")]
            pub enum $name {
                $($(#[$doc])* $variant,)+
            }

            impl $name {
                /// Every status.
                pub const ALL: &[Self] = &[$(Self::$variant),+];

                /// The word of the database and of clients.
                #[must_use]
                pub const fn as_str(self) -> &'static str {
                    match self {
                        $(Self::$variant => $text,)+
                    }
                }

                /// The status of a word; none for a word that is no status.
                #[must_use]
                pub fn parse(word: &str) -> Option<Self> {
                    Self::ALL.iter().copied().find(|status| status.as_str() == word)
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(self.as_str())
                }
            }
        )+
    };
}

statuses! {
    /// The status of a campaign.
    pub enum CampaignStatus {
        /// It has not been started.
        Draft = "draft",
        /// Its running runs are counted.
        Active = "active",
        /// It is paused.
        Paused = "paused",
        /// It was stopped.
        Stopped = "stopped",
        /// It is complete.
        Completed = "completed",
    }

    /// The status of a run.
    pub enum RunStatus {
        /// Its jobs are executed.
        Running = "running",
        /// It is paused.
        Paused = "paused",
        /// It was stopped; it may leave queued jobs.
        Stopped = "stopped",
        /// It is complete.
        Completed = "completed",
        /// It failed.
        Failed = "failed",
    }

    /// The status of a job.
    pub enum JobStatus {
        /// It waits.
        Queued = "queued",
        /// A worker executes it.
        Processing = "processing",
        /// The same, where a database allows this word.
        Running = "running",
        /// It succeeded.
        Succeeded = "succeeded",
        /// It failed.
        Failed = "failed",
        /// It was cancelled.
        Cancelled = "cancelled",
    }
}

impl RunStatus {
    /// Whether the run has left `running`, so that its next summary is its last one for now.
    #[must_use]
    pub const fn has_left(self) -> bool {
        !matches!(self, Self::Running)
    }
}

impl JobStatus {
    /// Whether the job is over.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}
