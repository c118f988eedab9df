//! Probes all nodes for their chain and their head. Probes run beside requests, one probe at a time.

use std::sync::atomic::Ordering;

use alloy_core::primitives::U64;
use futures_util::future::join_all;
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

use super::{Failure, NodeRequirements, Pool, typed};
use crate::counters::FaultKind;
use crate::error::ChainError;
use crate::fault::Fault;
use crate::json_rpc::Call;
use crate::wire::Header;

/// How long a verified chain id counts: a provider may move an address to another chain.
const VERIFIED_FOR: Duration = Duration::from_secs(60);
/// By how much the time of a head may be ahead of this machine's clock without being doubted. Clocks differ by seconds; a time that is
/// minutes ahead ends windows that have only begun.
const MOST_AHEAD: Duration = Duration::from_secs(300);

impl Pool {
    /// The head of a node that does not lag, and the node.
    pub(crate) async fn head(&self, deadline: Instant) -> Result<(Header, usize), ChainError> {
        self.probe_when_due();
        loop {
            let want = NodeRequirements { at_head: true, ..NodeRequirements::default() };
            let (header, index) = self.ask(&[latest()], want, deadline, read_header).await?;
            if is_ahead_of_clock(&header) && self.is_denied(index, deadline).await {
                // Set aside, so the loop ends.
                let detail = "the time of its head is far ahead of the clock, and another node's is not";
                self.fault(index, &Fault::new(FaultKind::Inconsistent, detail));
                continue;
            }
            if !self.note_head(index, header.number.to()) {
                return Ok((header, index));
            }
            // `choose` passes it over from now on, so the loop ends.
            self.fault(index, &Fault::new(FaultKind::Lagging, "it is behind the others"));
        }
    }

    /// Whether another node has a head whose time is not ahead of the clock. Without an answer of another node, a head is believed: a
    /// single node is the only source there is, and the clock of this machine may be wrong.
    async fn is_denied(&self, index: usize, deadline: Instant) -> bool {
        if !self.has_other_usable(index) {
            return false;
        }
        let want = NodeRequirements { except: Some(index), ..NodeRequirements::default() };
        // Not the caller's whole time: a second node that hangs must not hold up the first.
        let soon = deadline.min(Instant::now() + self.inner.config.request_timeout);
        let other = self.ask(&[latest()], want, soon, read_header).await;
        other.is_ok_and(|(header, other)| other != index && !is_ahead_of_clock(&header))
    }

    /// Starts a probe of all nodes without a pause, unless one ran lately or still runs.
    pub(super) fn probe_when_due(&self) {
        let mut last = self.inner.last_probe.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= self.inner.config.probe_interval);
        // The flag is set last: only the caller that starts a probe may set it, since the end of the probe clears it.
        if !due || self.inner.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        *last = Some(Instant::now());
        // Detached: the caller must not wait for slow nodes. It ends by itself, since each request has a time limit.
        let pool = self.clone();
        tokio::spawn(async move {
            join_all((0..pool.inner.nodes.len()).map(|index| pool.probe(index))).await;
            pool.inner.probing.store(false, Ordering::Release);
        });
    }

    async fn probe(&self, index: usize) {
        let now = Instant::now();
        let node = &self.inner.nodes[index];
        // A probe is a request too: it must not break a pause that the node has requested.
        if node.state().not_before.is_some_and(|until| until > now) {
            return;
        }
        // Two requests: the chain's id, and the head.
        let deadline = now + 2 * self.inner.config.request_timeout;
        let look = async {
            self.verify_chain(index, deadline).await?;
            let want = NodeRequirements::default();
            let results = self.exchange(index, &[latest()], &want, 1, deadline).await?;
            read_header(&[&results[0]])
        };
        match look.await {
            Ok(header) => {
                node.answered(now);
                // Counted and logged at the change only, and not at each probe.
                let lagged = node.state().lagging;
                if is_ahead_of_clock(&header) {
                    // Not noted: it would make the others lag before it was compared with theirs.
                    return;
                }
                if self.note_head(index, header.number.to()) && !lagged {
                    self.fault(index, &Fault::new(FaultKind::Lagging, "it is behind the others"));
                    if let Some(suppressed) = node.should_log(FaultKind::Lagging) {
                        tracing::warn!(
                            node = %node.url, suppressed = Some(suppressed).filter(|&lines| lines > 0),
                            "a node lags, and is passed over until it has caught up"
                        );
                    }
                }
            }
            Err(Failure::Fault(fault)) => self.fault(index, &fault),
            // Another request was refused before this one was sent.
            Err(Failure::Paused) => {}
            // A node that rejects these two standard methods is faulty, whatever its reason.
            Err(Failure::Final(error)) => {
                self.fault(index, &Fault::new(FaultKind::Server, errors::one_line(&error)));
            }
        }
    }

    /// Verifies a node's chain id, unless that was done lately. Without a configured id the first answer sets it.
    pub(super) async fn verify_chain(&self, index: usize, deadline: Instant) -> Result<(), Failure> {
        let node = &self.inner.nodes[index];
        if node.state().verified.is_some_and(|at| at.elapsed() < VERIFIED_FOR) {
            return Ok(());
        }
        let call = Call::new("eth_chainId", json!([]));
        let results = self.exchange(index, &[call], &NodeRequirements::default(), 1, deadline).await?;
        let id = typed::<U64>(&results[0])?.to::<u64>();
        // Several nodes may answer at once; exactly one of them sets the id.
        let first = self.inner.chain_id.compare_exchange(0, id, Ordering::AcqRel, Ordering::Acquire);
        let wanted = match first {
            Ok(_) => id,
            Err(_) => self.known_chain_id().unwrap_or(id),
        };
        if id != wanted {
            let detail = format!("it follows chain {id} instead of {wanted}");
            return Err(Fault::new(FaultKind::WrongChain, detail).into());
        }
        node.state().verified = Some(Instant::now());
        Ok(())
    }
}

fn is_ahead_of_clock(header: &Header) -> bool {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    header.block().time > clock.saturating_add(MOST_AHEAD).as_secs()
}

fn latest() -> Call {
    Call::new("eth_getBlockByNumber", json!(["latest", false]))
}

fn read_header(results: &[&serde_json::value::RawValue]) -> Result<Header, Failure> {
    let header: Option<Header> = typed(results[0])?;
    let none = || Fault::new(FaultKind::Inconsistent, "it has no latest block");
    Ok(header.ok_or_else(none)?)
}
