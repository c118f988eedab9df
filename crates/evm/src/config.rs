//! The configuration of a chain: nodes, contracts, limits. Pure.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use domain::chain::ContractAddress;
use http_client::basic_authorization;
use retry::{RetryPolicy, table};
use url::{Url, form_urlencoded};

/// Nodes, contracts and limits.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// Nodes in order of preference; at least one.
    pub nodes: Vec<NodeUrl>,
    /// Nodes that keep the state of old blocks, for questions that the other nodes can't answer any more.
    pub archive_nodes: Vec<NodeUrl>,
    /// The chain's id. Without it, the first node that answers decides.
    pub chain_id: Option<u64>,
    /// The contracts that are read.
    pub contracts: Contracts,
    /// The pause between two queries for the head. A WebSocket node's notification ends it early.
    pub poll_interval: Duration,
    /// The time limit of one request to one node.
    pub request_timeout: Duration,
    /// The limit of an answer, in bytes.
    pub max_answer: usize,
    /// The limit of requests a second to each node.
    pub rate_limit: Option<NonZeroU32>,
    /// By how many blocks a node may be behind the highest head before it is passed over.
    pub max_lag: u64,
    /// The interval between probes of all nodes for their heads and their chain.
    pub probe_interval: Duration,
    /// The pauses before a request to a node that failed.
    pub after_failure: RetryPolicy,
    /// The pauses before a request to a node that limits the rate.
    pub after_rate_limit: RetryPolicy,
    /// The pauses before a request to a node that answered wrongly.
    pub after_wrong_answer: RetryPolicy,
    /// The limit of blocks in one query for logs.
    pub max_log_range: u64,
}

/// The contracts whose events and view functions are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contracts {
    /// The protocol-state contract.
    pub protocol_state: ContractAddress,
    /// The contract that assigns priorities, if one is configured.
    pub priorities: Option<ContractAddress>,
}

impl ChainConfig {
    /// The default limits, with these nodes and contracts.
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
            probe_interval: Duration::from_secs(5),
            after_failure: table::NODE_FAILED,
            after_rate_limit: table::NODE_RATE_LIMITED,
            after_wrong_answer: table::NODE_WRONG,
            max_log_range: 2_000,
        }
    }
}

/// Parts of paths that many URLs of nodes have. They hide nothing, and errors without them are hard to read.
const ROUTES: [&str; 14] = [
    "archive", "arbitrum", "ethereum", "http", "https", "json-rpc", "jsonrpc", "mainnet", "node", "optimism",
    "polygon", "public", "sepolia", "testnet",
];
/// Shorter passwords and parts of a path would hide parts of ordinary words. It is less than for all texts from outside
/// (`errors::hide`): these are the words of the one server that got the secret.
const SHORTEST_SECRET: usize = 4;

/// The URL of a node. It displays scheme, host and port only: providers put API keys into paths and queries.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeUrl(Arc<Url>);

/// A text that is no URL of a node. The error does not repeat the text, which may contain credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node's URL {problem}; give it as http(s)://host:port/path or ws(s)://host:port/path")]
pub struct BadNodeUrl {
    problem: String,
}

impl NodeUrl {
    /// The whole URL, with its credentials.
    #[must_use]
    pub fn with_credentials(&self) -> &Url {
        &self.0
    }

    /// Every text from which a stranger could learn the credentials of this URL, as they are written in it and as they are sent: user
    /// name, password, both as a header has them, the parts of the path and the values of the query.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let url = &self.0;
        let mut secrets = vec![url.username().to_owned(), url.password().unwrap_or_default().to_owned()];
        secrets.extend(basic_authorization(url).map(|header| header.trim_start_matches("Basic ").to_owned()));
        secrets.extend(url.path().split('/').filter(|part| !ROUTES.contains(part)).map(str::to_owned));
        // A value without a name is the whole of a query such as `?KEY`.
        let values = url.query().unwrap_or_default().split('&').map(|pair| pair.split_once('='));
        let names = url.query().unwrap_or_default().split('&').filter(|pair| !pair.contains('='));
        secrets.extend(values.flatten().map(|(_, value)| value).chain(names).map(str::to_owned));
        secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        secrets.extend(url.fragment().map(str::to_owned));
        let decoded: Vec<String> = secrets.iter().map(|secret| percent_decoded(secret)).collect();
        secrets.extend(decoded);
        secrets.retain(|secret| secret.len() >= SHORTEST_SECRET);
        // The longest first: one may contain another.
        secrets.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        secrets.dedup();
        secrets
    }

    /// `text` without the credentials of this URL, for the words of a node that repeats its request.
    pub(crate) fn redact(&self, text: &str) -> String {
        let secrets = self.secrets();
        errors::without_secrets(text, secrets.iter().map(String::as_str)).into_owned()
    }

    /// Whether the scheme is `ws` or `wss`.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.0.scheme().starts_with("ws")
    }
}

/// A part of a URL as its server reads it.
fn percent_decoded(text: &str) -> String {
    // The decoder of forms, with the characters kept that only forms give a meaning.
    let text = text.replace('+', "%2B").replace('&', "%26");
    form_urlencoded::parse(format!("x={text}").as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

impl FromStr for NodeUrl {
    type Err = BadNodeUrl;
    fn from_str(text: &str) -> Result<Self, BadNodeUrl> {
        let bad = |problem: String| BadNodeUrl { problem };
        // Lists in environment variables are often written with blanks after commas.
        let url = Url::parse(text.trim()).map_err(|source| bad(format!("can't be read ({source})")))?;
        if !matches!(url.scheme(), "http" | "https" | "ws" | "wss") {
            // Not the scheme itself: in `key:rest` it is the key.
            return Err(bad("has another scheme".to_owned()));
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
        // `port()` is `None` for the default port of the scheme.
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

// Not derived: errors and configurations are logged by Debug too, and must not show credentials.
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
    fn a_nodes_words_are_shown_without_its_credentials() {
        let node: NodeUrl =
            "https://user:hunter2@rpc.example.org/v3/0123456789abcdef?key=s3cret".parse().unwrap();
        let text = node.redact("POST /v3/0123456789abcdef?key=s3cret of user:hunter2 is limited");
        assert_eq!(text, "POST /v3/***?key=*** of ***:*** is limited");
    }

    #[test]
    fn credentials_are_hidden_in_every_form_in_which_a_node_may_repeat_them() {
        let node: NodeUrl =
            "https://some%40one:pa%20ss%2Fw0rd@rpc.example.org/mainnet/abc-k3y?apikey=q%2Bs3cret+q&onlykey"
                .parse()
                .unwrap();
        let header = basic_authorization(node.with_credentials()).unwrap();
        for (said, shown) in [
            ("some%40one and pa%20ss%2Fw0rd", "*** and ***"),
            ("some@one and pa ss/w0rd", "*** and ***"),
            (header.as_str(), "Basic ***"),
            ("GET /mainnet/abc-k3y?apikey=q%2Bs3cret+q&onlykey", "GET /mainnet/***?apikey=***&***"),
            ("q+s3cret q, q+s3cret+q", "***, ***"),
        ] {
            assert_eq!(node.redact(said), shown);
        }
    }

    #[test]
    fn a_bad_url_is_refused_without_repeating_it() {
        for text in [
            "",
            "rpc.example.org/secret",
            "redis://secret@host",
            "secret:8545",
            "http://",
            "http://secret host/",
        ] {
            let error = text.parse::<NodeUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret") && error.contains("http(s)://"), "{error}");
        }
    }
}
