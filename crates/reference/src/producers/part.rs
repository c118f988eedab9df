//! What a producer writes for an epoch, in its parts: one key or member each.

/// One part of what a producer writes for an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    OpenActive,
    OpenTimeline,
    OpenInfo,
    OpenState,
    CloseTimeline,
    CloseInfo,
    CloseState,
    LocalTimeline,
    LocalOwn,
    LocalMetadata,
    LocalState,
    AggregatedTimeline,
    AggregatedMetadata,
    AggregatedNamed,
    AggregatedState,
}

use Part::{
    AggregatedMetadata, AggregatedNamed, AggregatedState, AggregatedTimeline, CloseInfo, CloseState,
    CloseTimeline, LocalMetadata, LocalOwn, LocalState, LocalTimeline, OpenActive, OpenInfo, OpenState,
    OpenTimeline,
};

pub(super) const OPEN: [Part; 4] = [OpenActive, OpenTimeline, OpenInfo, OpenState];
pub(super) const CLOSE: [Part; 3] = [CloseTimeline, CloseInfo, CloseState];
pub(super) const LOCAL: [Part; 4] = [LocalTimeline, LocalOwn, LocalMetadata, LocalState];
pub(super) const AGGREGATED: [Part; 4] =
    [AggregatedTimeline, AggregatedMetadata, AggregatedNamed, AggregatedState];

impl Part {
    /// Whether it is written by newer producers only.
    pub(super) fn is_new(self) -> bool {
        matches!(self, OpenState | CloseState | LocalState | AggregatedState | AggregatedNamed)
    }

    /// The part of the same key that its producer writes before.
    pub(super) fn before(self) -> Option<Self> {
        match self {
            CloseInfo => Some(OpenInfo),
            CloseState => Some(OpenState),
            _ => None,
        }
    }

    /// Whether a repeated write changes nothing that a later part has written.
    pub(super) fn may_repeat(self) -> bool {
        !matches!(self, OpenInfo | OpenState | LocalState | AggregatedState)
    }
}
