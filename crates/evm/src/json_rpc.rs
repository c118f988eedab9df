//! JSON-RPC 2.0: requests, and answers in the forms that nodes give them. Pure.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::counters::FaultKind;
use crate::fault::Fault;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) params: Value,
}

/// The error of one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    pub(crate) code: i64,
    pub(crate) message: String,
    /// The texts in `data`: some nodes give their reason only there.
    pub(crate) data: String,
}

/// The limit of the texts of `data`, in bytes: reasons are short, and the rest is a repeated request.
const MOST_DATA: usize = 1_000;

#[derive(Deserialize)]
struct Answer<'a> {
    // `null` by the specification, if the node could not read the request's id.
    #[serde(default)]
    id: Option<u64>,
    // Borrowed, and parsed by the caller to its type: an answer may have megabytes.
    #[serde(default, borrow, deserialize_with = "keep_null")]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Value>,
}

/// Keeps `null` as a result: `eth_getBlockByNumber` answers it for an unknown block, and serde would drop it.
fn keep_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

pub(crate) type Outcome<'a> = Result<&'a RawValue, ErrorBody>;

/// The outcomes of the calls of one request.
#[derive(Debug)]
pub(crate) enum Outcomes<'a> {
    /// One for each call, in the order of the calls; `None` where the node left the answer out.
    Each(Vec<Option<Outcome<'a>>>),
    /// One error for the whole batch.
    Whole(ErrorBody),
}

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

/// The outcomes of the `count` calls of a [`request_text`].
pub(crate) fn outcomes(text: &[u8], count: usize) -> Result<Outcomes<'_>, Fault> {
    let malformed = |detail: &str| Fault::new(FaultKind::Malformed, detail);
    let not_json =
        |source: serde_json::Error| Fault::caused(FaultKind::Malformed, "its answer can't be read", source);
    if count == 1 || text.trim_ascii_start().first() == Some(&b'{') {
        let answer: Answer<'_> = serde_json::from_slice(text).map_err(not_json)?;
        // A node that refuses a whole batch, for its rate for example, answers with one error without a list.
        return match (outcome(answer)?, count) {
            (outcome, 1) => Ok(Outcomes::Each(vec![Some(outcome)])),
            (Err(error), _) => Ok(Outcomes::Whole(error)),
            (Ok(_), _) => Err(malformed("one answer to a batch")),
        };
    }
    let answers: Vec<Answer<'_>> = serde_json::from_slice(text).map_err(not_json)?;
    let mut ordered: Vec<Option<Outcome<'_>>> = vec![None; count];
    for answer in answers {
        let id = answer.id;
        let outcome = outcome(answer)?;
        // By id: the specification allows any order of the answers.
        let place = id.and_then(|id| usize::try_from(id).ok()?.checked_sub(1));
        // Ids count from 1; another id belongs to no call of this batch.
        match (place.and_then(|place| ordered.get_mut(place)), outcome) {
            (Some(place), outcome) => *place = Some(outcome),
            (None, Err(error)) => return Ok(Outcomes::Whole(error)),
            (None, Ok(_)) => return Err(malformed("an answer to nothing that was asked")),
        }
    }
    Ok(Outcomes::Each(ordered))
}

/// Whether a text is an error, or a list that has one.
pub(crate) fn has_error(text: &[u8]) -> bool {
    let is_error = |value: &Value| value.get("error").is_some_and(|error| !error.is_null());
    match serde_json::from_slice::<Value>(text) {
        Ok(Value::Array(answers)) => answers.iter().any(is_error),
        Ok(value) => is_error(&value),
        Err(_) => false,
    }
}

fn outcome(answer: Answer<'_>) -> Result<Outcome<'_>, Fault> {
    // The error first: a node may send `"result": null` beside it.
    match (answer.result, answer.error) {
        (_, Some(error)) => Ok(Err(ErrorBody::new(&error))),
        (Some(result), None) => Ok(Ok(result)),
        (None, None) => Err(Fault::new(FaultKind::Malformed, "neither a result nor an error")),
    }
}

impl ErrorBody {
    /// Reads an error leniently: some nodes send the code as a text, or only a text.
    fn new(error: &Value) -> Self {
        let code = match &error["code"] {
            Value::String(text) => text.parse().unwrap_or(0),
            code => code.as_i64().unwrap_or(0),
        };
        let message = error["message"].as_str().or(error.as_str()).unwrap_or_default().to_owned();
        let mut data = String::new();
        collect_texts(&error["data"], &mut data);
        Self { code, message, data }
    }
}

fn collect_texts(value: &Value, texts: &mut String) {
    if texts.len() > MOST_DATA {
        return;
    }
    match value {
        Value::String(text) => {
            texts.push(' ');
            texts.extend(text.chars().take(MOST_DATA));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_texts(value, texts)),
        Value::Object(fields) => fields.values().for_each(|value| collect_texts(value, texts)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::typed;
    use crate::refusal::About;
    use crate::wire::{Header, RawLog, Receipt};

    fn call(method: &'static str) -> Call {
        Call::new(method, serde_json::json!([]))
    }

    #[test]
    fn answers_to_a_batch_are_put_in_the_order_of_its_calls() {
        assert!(request_text(&[call("a"), call("b")]).starts_with('['));
        let text = br#"[{"jsonrpc":"2.0","id":2,"result":"two"},{"jsonrpc":"2.0","id":1,"result":null}]"#;
        let Outcomes::Each(found) = outcomes(text, 2).unwrap() else { panic!("no list") };
        let texts: Vec<&str> =
            found.iter().map(|outcome| outcome.as_ref().unwrap().as_ref().unwrap().get()).collect();
        assert_eq!(texts, ["null", "\"two\""]);
    }

    #[test]
    fn an_answer_that_is_no_json_rpc_is_a_fault() {
        for text in ["", "<html>", "{}", "[]", r#"{"id":1}"#, r#"{"id":1,"result":"#, "nul"] {
            assert_eq!(outcomes(text.as_bytes(), 1).unwrap_err().kind, FaultKind::Malformed, "{text}");
        }
        for text in [r#"[{"id":7,"result":1}]"#, r#"{"id":1,"result":1}"#, "<html>"] {
            assert_eq!(outcomes(text.as_bytes(), 2).unwrap_err().kind, FaultKind::Malformed, "{text}");
        }
    }

    #[test]
    fn a_batch_may_be_refused_as_a_whole_or_answered_in_part() {
        for text in [r#"{"id":null,"error":{"code":1}}"#, r#"[{"id":null,"error":{"code":1}}]"#] {
            assert!(matches!(outcomes(text.as_bytes(), 2).unwrap(), Outcomes::Whole(_)), "{text}");
        }
        let Outcomes::Each(found) = outcomes(br#"[{"id":1,"error":{"code":-32600}}]"#, 2).unwrap() else {
            panic!("a list")
        };
        assert!(matches!(found[..], [Some(Err(_)), None]));
    }

    #[test]
    fn an_error_of_another_form_is_an_error() {
        let read = |text: &str| ErrorBody::new(&serde_json::from_str(text).unwrap());
        assert_eq!(read(r#""no""#), ErrorBody { message: "no".to_owned(), ..ErrorBody::default() });
        assert_eq!(read(r#"{"code":"-32005"}"#), ErrorBody { code: -32_005, ..ErrorBody::default() });
        let deep = read(r#"{"code":1.5,"message":7,"data":{"why":[{"is":"the range"},3]}}"#);
        assert_eq!(deep, ErrorBody { data: " the range".to_owned(), ..ErrorBody::default() });
    }

    /// Every reader of a node's answer, with answers that are kept and what a seed makes of them: none panics, and each error is short.
    fn read_as_all(text: &[u8]) -> String {
        let mut labels = Vec::new();
        let short = |error: &dyn std::fmt::Display| {
            let text = error.to_string();
            assert!(text.chars().count() <= 500 && !text.contains('\n'), "{text}");
            testkit::fuzz::label(&text)
        };
        for count in 1..=3 {
            match outcomes(text, count) {
                Ok(Outcomes::Each(each)) => {
                    assert_eq!(each.len(), count);
                    for outcome in each.into_iter().flatten() {
                        match outcome {
                            Ok(result) => {
                                let header = typed::<Option<Header>>(result).map(|_| "header");
                                let logs = typed::<Vec<RawLog>>(result).map(|_| "logs");
                                let receipts = typed::<Option<Vec<Receipt>>>(result).map(|_| "receipts");
                                for read in [header, logs, receipts] {
                                    labels
                                        .push(read.map_or_else(|fault| short(&fault.detail), str::to_owned));
                                }
                            }
                            Err(error) => labels.push(meant(&error)),
                        }
                    }
                }
                Ok(Outcomes::Whole(error)) => labels.push(meant(&error)),
                Err(fault) => labels.push(short(&fault.detail)),
            }
        }
        labels.push(has_error(text).to_string());
        labels.join("|")
    }

    fn meant(error: &ErrorBody) -> String {
        assert!(error.data.len() <= 8 * MOST_DATA, "{}", error.data.len());
        format!("{:?}", error.meaning(About::Range(7)))
    }

    fn explore(count: u64) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/answers");
        testkit::fuzz::Corpus::read(folder).unwrap().explore(count, read_as_all);
    }

    #[test]
    fn no_answer_of_a_node_makes_its_reader_panic() {
        explore(2_000);
    }

    #[test]
    #[ignore = "minutes"]
    fn no_answer_of_a_node_makes_its_reader_panic_for_long() {
        explore(500_000);
    }
}
