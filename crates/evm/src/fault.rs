//! A fault of a node, and what it says about the size of the request. Pure.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use errors::{one_line, sanitise};

use tokio::time::Instant;

use crate::{config::NodeUrl, counters::FaultKind, error::NodeFault};

/// A fault of a node, without the node's name.
#[derive(Clone)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) detail: String,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) hint: Hint,
    /// The calls that were sent together.
    pub(crate) calls: u64,
    /// When they were sent, if the fault lies in the answer to them alone.
    pub(crate) sent: Option<Instant>,
    /// The library's error, if a library found the fault.
    pub(crate) cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// What a failure says about the request, above all about its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Nothing.
    #[default]
    None,
    /// The size may be the cause, if the failure repeats.
    Doubt,
    /// The range holds too many blocks or logs. Some nodes suggest a number of blocks.
    Range(Option<u64>),
    /// The batch holds too many calls. If some were answered, this is their number.
    Batch(Option<u64>),
    /// The request or its answer is too large.
    Large,
    /// The answer did not come in time.
    Late,
    /// The node does not serve the method.
    Unserved,
    /// The node has discarded the history or the state for good.
    Discarded,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        let detail = sanitise(detail.into());
        Self { kind, detail, retry_after: None, hint: Hint::None, calls: 1, sent: None, cause: None }
    }

    /// A fault with its cause. `what` precedes the cause's text.
    pub(crate) fn caused(
        kind: FaultKind,
        what: &str,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let cause: Arc<dyn Error + Send + Sync> = Arc::from(cause.into());
        Self { cause: Some(cause.clone()), ..Self::new(kind, format!("{what}: {}", one_line(&*cause))) }
    }

    pub(crate) fn hint(self, hint: Hint) -> Self {
        Self { hint, ..self }
    }

    /// The fault with the node's name.
    pub(crate) fn of(&self, node: &NodeUrl) -> NodeFault {
        let Self { kind, detail, cause, .. } = self.clone();
        NodeFault { node: node.clone(), kind, detail, cause }
    }
}

// Without the cause: errors of libraries may contain the URL, and with it credentials.
impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({:?}, {}, {:?}, {:?})", self.kind, self.detail, self.hint, self.retry_after)
    }
}
