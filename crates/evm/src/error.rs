//! Why something could not be read from the chain: what was asked, of which node, and what to do.

use std::time::Duration;

use domain::chain::Hash;

use crate::config::NodeUrl;

/// A failed reading of the chain. Nothing was changed anywhere.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The configuration can't work.
    #[error("reading the chain: {problem}; change {setting}")]
    Config {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// No node gave an answer before the deadline.
    #[error(
        "asking {method}{}: no node answered within {waited:.1?} and {attempts} attempts (last: {last}); \
         check the nodes and the network, it is asked again",
        about(block)
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
        /// What the last node did, with its name.
        last: String,
    },
    /// The request itself was refused, as any node would.
    #[error("asking {node} for {method}: refused with {code} `{message}`; check the contract addresses")]
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
    #[error("asking {node} for logs: the range holds too many; ask for fewer blocks at once")]
    RangeTooLarge {
        /// The node.
        node: NodeUrl,
    },
    /// No node knows a block of this hash (any longer).
    #[error(
        "asking for block {hash}: no node has it; it was dropped by a reorganisation, go on from the head"
    )]
    BlockGone {
        /// The block's hash.
        hash: Hash,
    },
    /// What a view answered can't be understood.
    #[error(
        "reading {view} of contract {contract}: {problem}; check that the address is that of such a contract"
    )]
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
        "the chain was reorganised: none of the last {depth} accepted blocks (collector.max_reorg_depth; from {number} on) is on it any longer; \
         check that the nodes are on the right chain. If they are, delete the keys tracker:chain:* in Redis: the chain is \
         then taken up anew at the last block of it that is known, and epochs of the dropped blocks keep their batches"
    )]
    ReorganisedTooDeep {
        /// How many blocks were looked at.
        depth: u64,
        /// The lowest of them.
        number: u64,
    },
}

fn about(block: &Option<u64>) -> String {
    block.map_or_else(String::new, |number| format!(" about block {number}"))
}
