//! What is followed, from which nodes, within which limits. Pure, but for reading a URL.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use domain::chain::ContractAddress;
use retry::{RetryPolicy, table};
use url::Url;

/// Nodes, contracts and limits.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// Nodes in order of preference; at least one.
    pub nodes: Vec<NodeUrl>,
    /// Nodes that keep the state of old blocks; asked where the others have it no longer.
    pub archive_nodes: Vec<NodeUrl>,
    /// The chain's id. Without it, that of the first node that answers.
    pub chain_id: Option<u64>,
    /// What is read.
    pub contracts: Contracts,
    /// The pause between two looks at the head. A WebSocket node's word ends it early.
    pub poll_interval: Duration,
    /// How long one request to one node may take.
    pub request_timeout: Duration,
    /// The largest answer that is read, in bytes.
    pub max_answer: usize,
    /// How many requests a second each node may get.
    pub rate_limit: Option<NonZeroU32>,
    /// How far a node may be behind the best one before it is passed over, in blocks.
    pub max_lag: u64,
    /// How often all nodes are asked for their heads and their chain.
    pub survey_interval: Duration,
    /// The pauses before a node that failed is asked again.
    pub after_failure: RetryPolicy,
    /// The pauses before a node that asked for fewer requests is asked again.
    pub after_rate_limit: RetryPolicy,
    /// How long a node that answered wrongly is set aside.
    pub after_wrong_answer: RetryPolicy,
    /// The most blocks that one query for logs covers.
    pub max_chunk: u64,
}

/// The contracts whose events and views are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contracts {
    /// The protocol-state contract.
    pub protocol_state: ContractAddress,
    /// The contract that assigns priorities, where there is one.
    pub priorities: Option<ContractAddress>,
    /// The data markets that count; events of others are ignored.
    pub markets: Vec<ContractAddress>,
}

impl ChainConfig {
    /// The defaults for everything but the nodes and contracts.
    #[must_use]
    pub fn new(nodes: Vec<NodeUrl>, contracts: Contracts) -> Self {
        Self {
            nodes,
            archive_nodes: Vec::new(),
            chain_id: None,
            contracts,
            poll_interval: Duration::from_millis(250),
            request_timeout: Duration::from_secs(5),
            max_answer: 10 << 20,
            rate_limit: None,
            max_lag: 3,
            survey_interval: Duration::from_secs(5),
            after_failure: table::NODE_FAILED,
            after_rate_limit: table::NODE_RATE_LIMITED,
            after_wrong_answer: table::NODE_WRONG,
            max_chunk: 2_000,
        }
    }
}

/// The URL of a node. Shown as scheme, host and port only: paths and queries of providers are credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeUrl(Arc<Url>);

/// A text that is no URL of a node; it does not repeat the text, which may hold credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node's URL {problem}; give it as http(s)://host:port/path or ws(s)://host:port/path")]
pub struct BadNodeUrl {
    problem: String,
}

impl NodeUrl {
    /// The whole URL, with its credentials.
    #[must_use]
    pub fn secret(&self) -> &Url {
        &self.0
    }

    /// Whether it is a WebSocket's.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.0.scheme().starts_with("ws")
    }
}

impl FromStr for NodeUrl {
    type Err = BadNodeUrl;
    fn from_str(text: &str) -> Result<Self, BadNodeUrl> {
        let bad = |problem: String| BadNodeUrl { problem };
        let url = Url::parse(text.trim()).map_err(|source| bad(format!("can't be read ({source})")))?;
        if !matches!(url.scheme(), "http" | "https" | "ws" | "wss") {
            return Err(bad(format!("has the scheme `{}`", url.scheme())));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(bad("has no host".to_owned()));
        }
        Ok(Self(Arc::new(url)))
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_shown_without_its_credentials() {
        let node: NodeUrl = "https://user:secret@rpc.example.org:8443/v3/secret?key=secret".parse().unwrap();
        assert_eq!(node.to_string(), "https://rpc.example.org:8443");
        assert_eq!(format!("{node:?}"), "https://rpc.example.org:8443");
    }

    #[test]
    fn what_is_no_url_of_a_node_is_refused_without_repeating_it() {
        for text in ["", "rpc.example.org/secret", "redis://secret@host", "http://", "http://secret host/"] {
            let error = text.parse::<NodeUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret") && error.contains("http(s)://"), "{error}");
        }
    }
}
