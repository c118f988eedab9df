//! Why something could not be read from the chain: what was asked, of which node, and the cause.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use domain::chain::Hash;
use errors::rounded;
use http_client::HttpError;

use crate::config::NodeUrl;
use crate::counters::FaultKind;

/// What a node did instead of giving a right answer.
#[derive(Clone)]
pub struct NodeFault {
    /// The node.
    pub node: NodeUrl,
    /// What it did.
    pub kind: FaultKind,
    /// The same in words, with what the node said; at most 200 characters.
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

// Without the cause: what a library keeps in its errors may hold credentials.
impl fmt::Debug for NodeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeFault({:?}, {self})", self.kind)
    }
}

// By hand: the derived source would be the `Arc`, of which no caller can learn what is inside.
impl Error for NodeFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

/// A failed reading of the chain. Nothing was changed anywhere.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// There is nobody to ask.
    #[error("read the chain: no node is given")]
    NoNode,
    /// There is nothing to read.
    #[error("read the chain: no data market is given")]
    NoMarket,
    /// A node can't be asked.
    #[error("read the chain: {node}: its URL can't be requested")]
    BadUrl {
        /// The node.
        node: NodeUrl,
        /// What is wrong with the URL.
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
        /// The block that it was about.
        block: Option<u64>,
        /// Time since the first attempt.
        waited: Duration,
        /// Requests sent.
        attempts: u32,
        /// What the last node did; `None` where none could be asked in time.
        #[source]
        last: Option<NodeFault>,
    },
    /// The request itself was refused, as any node would.
    #[error("{method}: {node}: it refused with {code} `{message}`")]
    Rejected {
        /// The JSON-RPC method.
        method: &'static str,
        /// The node.
        node: NodeUrl,
        /// The JSON-RPC error code.
        code: i64,
        /// What the node said, at most 200 characters.
        message: String,
    },
    /// A query for logs covers more than the node gives at once.
    #[error("eth_getLogs: {node}: the range holds too many logs for one answer")]
    RangeTooLarge {
        /// The node.
        node: NodeUrl,
    },
    /// No node knows a block of this hash (any longer).
    #[error("read the chain: block {hash}: no node has it, a reorganisation dropped it")]
    BlockGone {
        /// The block's hash.
        hash: Hash,
    },
    /// What a view answered can't be understood.
    #[error("{view}: contract {contract}: {problem}")]
    View {
        /// The view function.
        view: &'static str,
        /// The contract.
        contract: domain::chain::ContractAddress,
        /// What is wrong.
        problem: String,
    },
    /// The chain forked off further back than is followed.
    #[error(
        "read the chain: a reorganisation dropped all of the last {depth} accepted blocks, from block {number} on"
    )]
    ReorganisedTooDeep {
        /// How many blocks were compared.
        depth: u64,
        /// The lowest of them.
        number: u64,
    },
}

impl ChainError {
    /// Whether asking again can't help: the settings, the contracts or the chain itself are at fault.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Self::NoAnswer { .. } | Self::RangeTooLarge { .. } | Self::BlockGone { .. })
    }
}

fn about(block: &Option<u64>) -> String {
    block.map_or_else(String::new, |number| format!(" of block {number}"))
}
