//! JSON-RPC 2.0: requests, answers, and the meaning of error messages of various nodes. Pure.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use errors::{one_line, sanitise};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{config::NodeUrl, counters::FaultKind, error::NodeFault};

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) params: Value,
}

/// A fault of a node, without the node's name.
#[derive(Clone)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) detail: String,
    pub(crate) retry_after: Option<Duration>,
    /// The library's error, if a library found the fault.
    pub(crate) cause: Option<Arc<dyn Error + Send + Sync>>,
}

// Without the cause: errors of libraries may contain the URL, and with it credentials.
impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({:?}, {}, {:?})", self.kind, self.detail, self.retry_after)
    }
}

/// The error of one answer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ErrorBody {
    pub(crate) code: i64,
    #[serde(default)]
    pub(crate) message: String,
}

/// What the caller does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Ask another node, or this one later.
    Fault(FaultKind),
    /// Ask for a smaller range of logs.
    RangeTooLarge,
    /// Give up: every node would refuse the request.
    Rejected,
}

#[derive(Deserialize)]
struct Answer<'a> {
    // `null` by the specification, if the node could not read the request's id.
    #[serde(default)]
    id: Option<u64>,
    // Borrowed, and parsed by the caller to its type: an answer may have megabytes.
    #[serde(default, borrow, deserialize_with = "keep_null")]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<ErrorBody>,
}

/// Keeps `null` as a result: `eth_getBlockByNumber` answers it for an unknown block, and serde would drop it.
fn keep_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

pub(crate) type Outcome<'a> = Result<&'a RawValue, ErrorBody>;

impl Call {
    pub(crate) fn new(method: &'static str, params: Value) -> Self {
        Self { method, params }
    }

    pub(crate) fn text(&self, id: u64) -> String {
        let Self { method, params } = self;
        serde_json::json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
    }
}

/// The text of one request, or of a batch, with the ids 1, 2, ….
pub(crate) fn request_text(calls: &[Call]) -> String {
    match calls {
        [call] => call.text(1),
        calls => {
            let texts: Vec<String> = calls.iter().zip(1..).map(|(call, id)| call.text(id)).collect();
            format!("[{}]", texts.join(","))
        }
    }
}

/// The outcomes of the `count` calls of a [`request_text`], in their order.
pub(crate) fn outcomes(text: &[u8], count: usize) -> Result<Vec<Outcome<'_>>, Fault> {
    let malformed = |detail: &str| Fault::new(FaultKind::Malformed, detail);
    let not_json =
        |source: serde_json::Error| Fault::caused(FaultKind::Malformed, "its answer can't be read", source);
    if count == 1 || text.trim_ascii_start().first() == Some(&b'{') {
        let answer: Answer<'_> = serde_json::from_slice(text).map_err(not_json)?;
        // A node that refuses a whole batch, for its rate for example, answers with one error without a list.
        return match (outcome(answer)?, count) {
            (outcome, 1) => Ok(vec![outcome]),
            (Err(error), count) => Ok(vec![Err(error); count]),
            (Ok(_), _) => Err(malformed("one answer to a batch")),
        };
    }
    let answers: Vec<Answer<'_>> = serde_json::from_slice(text).map_err(not_json)?;
    let mut ordered: Vec<Option<Outcome<'_>>> = vec![None; count];
    for answer in answers {
        // By id: the specification allows any order of the answers.
        let place = answer.id.and_then(|id| usize::try_from(id).ok()?.checked_sub(1));
        // Ids count from 1; another id belongs to no call of this batch.
        let place = place.and_then(|place| ordered.get_mut(place));
        *place.ok_or_else(|| malformed("an answer to nothing that was asked"))? = Some(outcome(answer)?);
    }
    let complete: Option<Vec<Outcome<'_>>> = ordered.into_iter().collect();
    complete.ok_or_else(|| malformed("answers to a batch are missing"))
}

fn outcome(answer: Answer<'_>) -> Result<Outcome<'_>, Fault> {
    // The error first: a node may send `"result": null` beside it.
    match (answer.result, answer.error) {
        (_, Some(error)) => Ok(Err(error)),
        (Some(result), None) => Ok(Ok(result)),
        (None, None) => Err(Fault::new(FaultKind::Malformed, "neither a result nor an error")),
    }
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: sanitise(detail.into()), retry_after: None, cause: None }
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

    /// The fault with the node's name.
    pub(crate) fn of(&self, node: &NodeUrl) -> NodeFault {
        let Self { kind, detail, cause, .. } = self.clone();
        NodeFault { node: node.clone(), kind, detail, cause }
    }
}

impl ErrorBody {
    /// The meaning, mostly by the message: providers agree on few codes.
    pub(crate) fn meaning(&self) -> Meaning {
        let text = self.message.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        // The order matters: providers use -32005 for limits of both rate and range, and only the words tell them apart.
        if says(&RANGE_TOO_LARGE) {
            Meaning::RangeTooLarge
        } else if matches!(self.code, 429 | -32005 | -32029) || says(&RATE_LIMITED) {
            Meaning::Fault(FaultKind::RateLimited)
        } else if says(&LACKING) || self.code == -32001 {
            Meaning::Fault(FaultKind::Pruned)
        } else if says(&["unauthorized", "forbidden", "invalid api key", "must be authenticated"]) {
            Meaning::Fault(FaultKind::Refused)
        } else if matches!(self.code, 3 | -32601 | -32602 | -32600) || says(&["revert", "invalid opcode"]) {
            // 3 is geth's code of a revert; the others are those of JSON-RPC for an unknown method or wrong parameters.
            Meaning::Rejected
        } else {
            Meaning::Fault(FaultKind::Server)
        }
    }
}

// Parts of the messages of known providers, in lower case.
const RANGE_TOO_LARGE: [&str; 12] = [
    "too many results",
    "query returned more than",
    "more than 10000 results",
    "response size",
    "block range",
    "range is too large",
    "range too large",
    "exceed maximum block range",
    "limited to a",
    "result set too large",
    "too many logs",
    "query timeout exceeded",
];
const RATE_LIMITED: [&str; 5] =
    ["rate limit", "too many requests", "request limit", "capacity exceeded", "exceeded its throughput"];
const LACKING: [&str; 9] = [
    "unknown block",
    "header not found",
    "block not found",
    "block does not exist",
    "blocknotfound",
    "missing trie node",
    "state not available",
    "pruned",
    "old data not available",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &'static str) -> Call {
        Call::new(method, serde_json::json!([]))
    }

    #[test]
    fn answers_to_a_batch_are_put_in_the_order_of_its_calls() {
        assert!(request_text(&[call("a"), call("b")]).starts_with('['));
        let text = br#"[{"jsonrpc":"2.0","id":2,"result":"two"},{"jsonrpc":"2.0","id":1,"result":null}]"#;
        let found = outcomes(text, 2).unwrap();
        assert_eq!(found[0].as_ref().unwrap().get(), "null");
        assert_eq!(found[1].as_ref().unwrap().get(), "\"two\"");
    }

    #[test]
    fn an_answer_that_is_no_json_rpc_is_a_fault() {
        for text in ["", "<html>", "{}", "[]", r#"{"id":1}"#, r#"{"id":1,"result":"#, "nul"] {
            assert_eq!(outcomes(text.as_bytes(), 1).unwrap_err().kind, FaultKind::Malformed, "{text}");
        }
        for text in ["[]", r#"[{"id":1,"result":1}]"#, r#"[{"id":7,"result":1}]"#, r#"{"id":1,"result":1}"#] {
            assert_eq!(outcomes(text.as_bytes(), 2).unwrap_err().kind, FaultKind::Malformed, "{text}");
        }
    }

    #[test]
    fn messages_of_known_providers_are_classified() {
        let meaning = |code, message: &str| ErrorBody { code, message: message.to_owned() }.meaning();
        for (code, message) in [
            (-32005, "query returned more than 10000 results"),
            (
                -32602,
                "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
            ),
            (-32000, "exceed maximum block range: 5000"),
            (-32000, "eth_getLogs is limited to a 10,000 range"),
        ] {
            assert_eq!(meaning(code, message), Meaning::RangeTooLarge, "{message}");
        }
        let fault = |code, message: &str| match meaning(code, message) {
            Meaning::Fault(kind) => kind,
            other => panic!("{message}: {other:?}"),
        };
        assert_eq!(fault(429, "Your app has exceeded its compute units per second"), FaultKind::RateLimited);
        assert_eq!(
            fault(-32005, "daily request count exceeded, request rate limited"),
            FaultKind::RateLimited
        );
        assert_eq!(fault(-32000, "header not found"), FaultKind::Pruned);
        assert_eq!(fault(-32000, "missing trie node 4711"), FaultKind::Pruned);
        assert_eq!(fault(-32603, "Internal error"), FaultKind::Server);
        assert_eq!(meaning(3, "execution reverted"), Meaning::Rejected);
        assert_eq!(meaning(-32601, "the method eth_foo does not exist"), Meaning::Rejected);
    }
}
