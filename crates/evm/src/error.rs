//! The errors of reading a chain. Each names the request, the node and the cause.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use domain::chain::Hash;
use errors::rounded;
use http_client::HttpError;

use crate::config::NodeUrl;
use crate::counters::FaultKind;

/// A fault of a node in place of a right answer.
#[derive(Clone)]
pub struct NodeFault {
    /// The node.
    pub node: NodeUrl,
    /// The kind of fault.
    pub kind: FaultKind,
    /// A description with the node's message; at most 200 characters.
    pub detail: String,
    pub(crate) cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl NodeFault {
    /// A fault without a cause.
    pub fn new(node: NodeUrl, kind: FaultKind, detail: impl fmt::Display) -> Self {
        Self { node, kind, detail: errors::sanitise(detail), cause: None }
    }
}

impl fmt::Display for NodeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.detail)
    }
}

// Without the cause: errors of libraries may contain the URL, and with it credentials.
impl fmt::Debug for NodeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeFault({:?}, {self})", self.kind)
    }
}

// Not derived: the derived source would be the `Arc`, which callers can't downcast to the cause.
impl Error for NodeFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

/// Why a read of the chain failed. Reads change nothing, so each can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// No node is configured.
    #[error("read the chain: no node is given")]
    NoNode,
    /// A node's URL can't be used for requests.
    #[error("read the chain: {node}: its URL can't be requested")]
    BadUrl {
        /// The node.
        node: NodeUrl,
        /// The client's error.
        #[source]
        cause: HttpError,
    },
    /// No node gave an answer before the deadline.
    #[error(
        "{method}{}: no node answered within {}, in {attempts} attempts{}",
        about(block),
        rounded(*waited),
        last.as_ref().map_or_else(String::new, |fault| format!(": {fault}"))
    )]
    NoAnswer {
        /// The JSON-RPC method.
        method: &'static str,
        /// The block of the request.
        block: Option<u64>,
        /// Time since the first attempt.
        waited: Duration,
        /// The number of attempts.
        attempts: u32,
        /// The last fault; `None` if no request could be sent in time.
        #[source]
        last: Option<NodeFault>,
    },
    /// The contract reverted, no node serves the method, or all nodes have discarded the state.
    #[error("{method}: {node}: it refused with {code} `{message}`")]
    Rejected {
        /// The JSON-RPC method.
        method: &'static str,
        /// The node.
        node: NodeUrl,
        /// The JSON-RPC error code.
        code: i64,
        /// The node's message, at most 200 characters.
        message: String,
    },
    /// No node has a block with this hash any more.
    #[error("read the chain: block {hash}: no node has it, a reorganisation dropped it")]
    BlockGone {
        /// The block's hash.
        hash: Hash,
    },
    /// The answer of a view function can't be decoded.
    #[error("{view}: contract {contract}: {problem}")]
    View {
        /// The view function.
        view: &'static str,
        /// The contract.
        contract: domain::chain::ContractAddress,
        /// The problem with the answer.
        problem: String,
    },
    /// The reorganisation is deeper than the number of blocks that were compared.
    #[error(
        "read the chain: a reorganisation dropped all of the last {depth} accepted blocks, from block {number} on"
    )]
    ReorganisedTooDeep {
        /// The number of blocks that were compared.
        depth: u64,
        /// The number of the lowest of them.
        number: u64,
    },
}

impl ChainError {
    /// Whether a retry can't help, since the settings, the contracts or the chain itself are the cause.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        // Errors that are not listed are lasting: a new kind must reach an operator before anybody decides to retry it.
        !matches!(self, Self::NoAnswer { .. } | Self::BlockGone { .. })
    }
}

fn about(block: &Option<u64>) -> String {
    block.map_or_else(String::new, |number| format!(" of block {number}"))
}
