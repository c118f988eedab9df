//! Sends the calls of one question to one node, in batches that the node takes and within its rate limit.

use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Failure, Measure, NodeRequirements, Pool};
use crate::counters::FaultKind;
use crate::error::ChainError;
use crate::fault::{Fault, Hint};
use crate::json_rpc::{Call, ErrorBody, Outcome, Outcomes, outcomes};
use crate::node::{Node, Texts};
use crate::refusal::{About, Meaning};

/// A request that had less time than this, and less than its own limit, says nothing about the node when it is late.
const FAIR_TIME: Duration = Duration::from_secs(1);

/// The method whose answer grows with the range.
const LOGS: &str = "eth_getLogs";

impl Pool {
    /// Sends `calls` to one node; returns their results in order.
    pub(super) async fn exchange(
        &self,
        index: usize,
        calls: &[Call],
        want: &NodeRequirements,
        blocks: u64,
        deadline: Instant,
    ) -> Result<Vec<Box<RawValue>>, Failure> {
        let node = &self.inner.nodes[index];
        let mut results = Vec::with_capacity(calls.len());
        while results.len() < calls.len() {
            let most = node.state().batch.get();
            let rest = &calls[results.len()..];
            let chunk = &rest[..rest.len().min(usize::try_from(most).unwrap_or(usize::MAX))];
            self.wait_for_turn(index, chunk, results.is_empty(), deadline).await?;
            let sent = Some(Instant::now());
            let of_chunk = |fault: Fault| Fault { calls: chunk.len() as u64, sent, ..fault };
            let texts = self.send(index, chunk, deadline).await.map_err(of_chunk)?;
            let found = results_of(node, &texts, chunk, want.about, blocks);
            let is_refused =
                matches!(&found, Err(Failure::Fault(fault)) if fault.kind == FaultKind::RateLimited);
            if !is_refused {
                node.answered_calls(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
            }
            let found = found.map_err(|failure| match failure {
                Failure::Fault(fault) => Failure::Fault(of_chunk(fault)),
                end => end,
            })?;
            // One call alone is no batch.
            if rest.len() > 1 {
                node.state().batch.fitted(chunk.len() as u64);
            }
            results.extend(found);
        }
        Ok(results)
    }

    /// Waits until the node's rate allows these calls, and until the end of a pause that another request's refusal began meanwhile.
    /// The first request of a question does not wait for that: another node may answer it at once.
    async fn wait_for_turn(
        &self,
        index: usize,
        calls: &[Call],
        is_first: bool,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let node = &self.inner.nodes[index];
        loop {
            // The slots are used up even if the deadline comes first: callers behind this one have been given later ones already.
            let slot = node.take_slots(u32::try_from(calls.len()).unwrap_or(u32::MAX));
            if slot > Instant::now() && timeout_at(deadline, sleep_until(slot)).await.is_err() {
                let detail = "its rate limit allows no request before the deadline";
                return Err(Fault::new(FaultKind::Timeout, detail).into());
            }
            match node.paused_until() {
                None => return Ok(()),
                Some(until) if !is_first && until < deadline => sleep_until(until).await,
                Some(_) => return Err(Failure::Paused),
            }
        }
    }

    /// Sends one request.
    async fn send(&self, index: usize, calls: &[Call], deadline: Instant) -> Result<Texts, Fault> {
        let (node, config) = (&self.inner.nodes[index], &self.inner.config);
        let left = deadline.saturating_duration_since(Instant::now());
        // A node that hangs leaves time for another one, even if the configured limit is longer than the question's time.
        let most = if self.has_other_usable(index) { left.min((left / 2).max(FAIR_TIME)) } else { left };
        let limit = config.request_timeout.min(most);
        self.inner.counters.add_request();
        node.send(calls, config.max_answer, limit).await.map_err(|fault| {
            let is_fair = limit >= config.request_timeout.min(FAIR_TIME);
            if fault.hint == Hint::Late && !is_fair { fault.hint(Hint::None) } else { fault }
        })
    }
}

/// The results in an answer to `calls`.
fn results_of(
    node: &Node,
    texts: &Texts,
    calls: &[Call],
    about: About,
    blocks: u64,
) -> Result<Vec<Box<RawValue>>, Failure> {
    let mut each: Vec<Option<Outcome<'_>>> = Vec::with_capacity(calls.len());
    let texts = match texts {
        Texts::Whole(text) => vec![(text, calls.len())],
        Texts::Each(texts) => texts.iter().map(|text| (text, 1)).collect(),
    };
    for (text, count) in texts {
        // An answer that can't be read may have been cut off for its size.
        match outcomes(text, count).map_err(|fault| fault.hint(Hint::Doubt))? {
            Outcomes::Each(found) => each.extend(found),
            Outcomes::Whole(error) => return Err(refused(node, &calls[0], &error, About::Batch, None)),
        }
    }
    let answered = each.iter().filter(|outcome| matches!(outcome, Some(Ok(_)))).count();
    if answered == calls.len() {
        return Ok(each.into_iter().flatten().flatten().map(RawValue::to_owned).collect());
    }
    let all_fail = answered == 0;
    let answered = Some(answered as u64).filter(|answered| *answered > 0);
    // The logs' error before those of headers, unless the whole batch failed.
    let errors = || {
        each.iter().zip(calls).filter_map(|(outcome, call)| Some((outcome.as_ref()?.as_ref().err()?, call)))
    };
    let of_logs = errors().find(|(_, call)| call.method == LOGS && !(all_fail && calls.len() > 1));
    match of_logs.or_else(|| errors().next()) {
        Some((error, call)) => {
            let about = match (calls, call.method) {
                (_, LOGS) if of_logs.is_some() && blocks > 1 => About::Range(blocks),
                ([_], _) => about,
                _ => About::Batch,
            };
            Err(refused(node, call, error, about, answered))
        }
        None => {
            let detail = "answers to a batch are missing";
            Err(Fault::new(FaultKind::Malformed, detail).hint(Hint::Batch(answered)).into())
        }
    }
}

/// The failure that an error means. `answered` is the number of calls of the batch that were answered.
fn refused(node: &Node, call: &Call, error: &ErrorBody, about: About, answered: Option<u64>) -> Failure {
    let message = errors::sanitise(node.url.redact(&format!("{}{}", error.message, error.data)));
    let code = error.code;
    match error.meaning(about) {
        Meaning::Fault(kind, hint) => {
            let hint = match (hint, answered) {
                // The answered calls are as many as the node takes.
                (Hint::Batch(_) | Hint::Doubt, Some(_)) if about == About::Batch => Hint::Batch(answered),
                (hint, _) => hint,
            };
            Fault::new(kind, format!("it answered {code} `{message}`")).hint(hint).into()
        }
        Meaning::Reverted => {
            let (method, node) = (call.method, node.url.clone());
            Failure::Final(ChainError::Rejected { method, node, code, message })
        }
    }
}

impl Measure {
    /// The size of the next request to a node.
    pub(super) fn of(self, node: &Node) -> u64 {
        match self {
            Self::Fixed => 1,
            Self::Blocks(most) => most.min(node.state().blocks.get()),
            Self::Calls(most) => most.min(node.state().batch.get()),
        }
    }

    /// The blocks of a request of this size.
    pub(super) fn blocks(self, size: u64) -> u64 {
        match self {
            Self::Blocks(_) => size,
            Self::Fixed | Self::Calls(_) => 1,
        }
    }
}
