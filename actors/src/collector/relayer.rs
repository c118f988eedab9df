//! The relayer's lane of one market: makes the calls of the outbox, in their order, until the relayer has accepted them.
//!
//! It touches the market's lane in Redis, and the relayer. Promises:
//! - a call leaves the lane once the relayer has answered 200, or has refused it for good: then it goes to the dead calls, with a notice. A crash
//!   or a lost answer repeats a call, with the same idempotency key; none is left out, and none overtakes another;
//! - what fails for the time being is repeated for ever. Where the relayer denies access the lane waits, and each start of the actor tries
//!   once more: a restart follows a change of the token;
//! - a lane that waits holds up no other, no connection of Redis, and no stop. Operators pause lanes in Redis, which is read before each attempt.

mod attempts;

use std::time::{Duration, Instant};

use domain::{
    chain::ContractAddress,
    collector::{RelayCall, Verdict},
};
use errors::{one_line, rounded};
use relay_client::{CallError, RelayClient};
use retry::{Attempts, table::RELAYER};
use store_collector::{
    operations::{CHANGE_OUTBOX, READ_OUTBOX},
    outbox::{After, Entry, Hold, Holds, Lane, Outbox, Stage},
};
use supervision::{Actor, Context, Failure, Inbox};

use self::attempts::LaneAttempts;
use super::{
    CollectorServices, Notice, Severity, points,
    progress::{CallOutcome, Relayed},
    step_error::{Cause, StepError},
};
use crate::{
    env::{messages::Wake, report::Place},
    operations::CALL_RELAYER,
};

/// How many calls are read at once.
const PAGE: usize = 100;
/// The most calls that may wait in a lane: months of epochs. Beyond it the oldest ones go to the dead calls, or Redis would fill up.
const MOST_WAITING: u64 = 100_000;
/// How often an idle or paused lane looks for what operators have done.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The pause between two calls that an operator sends again.
const AGAIN_EVERY: Duration = Duration::from_millis(200);
/// How long a call under way may take once the actor is stopped.
const FINISH_WITHIN: Duration = Duration::from_millis(500);

/// The actor.
pub struct Relayer {
    chain: CollectorServices,
    client: RelayClient,
    outbox: Outbox,
    market: ContractAddress,
    /// An accepted call that is not noted as such yet. Where that fails, the call is not made again.
    accepted: Option<(Stage, String)>,
    attempts: LaneAttempts,
    /// Whether a denial that stands in Redis was tried once since the start of this actor.
    has_tried: bool,
    /// When the next call may be sent again.
    again_at: Instant,
    /// The last action of an operator that was there at the last look.
    last_order: Option<String>,
}

/// What follows a step.
enum Next {
    /// Another one, at once.
    Now,
    /// Another one when a message comes, or after this pause.
    Idle(Duration),
    /// Another one after this pause, whatever message comes.
    Pause(Duration),
}

impl Relayer {
    /// A lane of this market.
    #[must_use]
    pub fn new(
        chain: CollectorServices,
        client: RelayClient,
        outbox: Outbox,
        market: ContractAddress,
    ) -> Self {
        let now = chain.progress.clock().now();
        Self {
            chain,
            client,
            outbox,
            market,
            accepted: None,
            attempts: LaneAttempts::new(),
            has_tried: false,
            again_at: now,
            last_order: None,
        }
    }

    /// Reads the lane, and makes the first of its calls.
    async fn step(&mut self, cx: &Context) -> Result<Next, Cause> {
        let lane = self.read().await?;
        let may_try = lane.holds.denied.is_none() || !self.has_tried;
        // What an operator has paused is kept, however much it is.
        if lane.holds.paused.is_some() {
            return Ok(Next::Idle(LOOK_EVERY));
        }
        if let Some(first) = lane.waiting.first().filter(|_| lane.depth(Stage::Waiting) > MOST_WAITING) {
            let first = first.clone();
            self.bury(Stage::Waiting, &first, "the lane was full").await?;
            return Ok(Next::Now);
        }
        if !may_try {
            return Ok(Next::Idle(LOOK_EVERY));
        }
        self.has_tried = true;
        if !lane.waiting.is_empty() {
            return self.drain(cx, &lane).await;
        }
        let Some(again) = lane.again else { return Ok(Next::Idle(LOOK_EVERY)) };
        let wait = self.again_at.saturating_duration_since(cx.clock().now());
        if !wait.is_zero() {
            return Ok(Next::Idle(wait.min(LOOK_EVERY)));
        }
        self.again_at = cx.clock().now() + AGAIN_EVERY;
        if let Some(next) = self.deliver(cx, Stage::Again, &again, &lane.holds).await? {
            return Ok(next);
        }
        self.note(Stage::Again, &again).await?;
        Ok(Next::Idle(AGAIN_EVERY))
    }

    async fn read(&mut self) -> Result<Lane, Cause> {
        let mut session = self.chain.services.store.session(READ_OUTBOX).await?;
        let lane = self.outbox.lane(&mut session, &self.market, PAGE).await?;
        self.last_order.clone_from(&lane.last_order);
        let now = self.chain.progress.clock().now();
        self.count(|all| all.seen(&lane, now));
        Ok(lane)
    }

    /// Makes the calls that wait, and notes each as accepted before the next one: a repeated call never comes after a later one. It ends
    /// where the lane is another than it was read: an operator may have thrown a call away, or paused the lane.
    async fn drain(&mut self, cx: &Context, lane: &Lane) -> Result<Next, Cause> {
        let mut waiting = lane.waiting.iter().peekable();
        while let Some(entry) = waiting.next() {
            if let Some(next) = self.deliver(cx, Stage::Waiting, entry, &lane.holds).await? {
                return Ok(next);
            }
            let After { holds, first } = self.note(Stage::Waiting, entry).await?;
            let is_next = waiting.peek().is_some_and(|next| first.as_ref() == Some(&next.id));
            if !holds.is_free() || !is_next {
                break;
            }
        }
        Ok(Next::Now)
    }

    /// Waits before the next attempt. An action of an operator ends it: it may be about this lane.
    async fn pause(&mut self, cx: &Context, pause: Duration) {
        let clock = cx.clock();
        let until = clock.now() + pause;
        loop {
            let rest = until.saturating_duration_since(clock.now());
            cx.pause(clock.sleep(rest.min(LOOK_EVERY))).await;
            if cx.is_stopping() || clock.now() >= until {
                return;
            }
            let before = self.last_order.clone();
            // While Redis does not answer there is no order.
            if self.read().await.is_ok() && self.last_order != before {
                return;
            }
            cx.progress();
        }
    }

    /// Notes that the relayer has accepted a call. Returns what is in the lane then.
    async fn note(&mut self, stage: Stage, entry: &Entry) -> Result<After, Cause> {
        // A connection for this alone: a slow relayer must hold none.
        let mut session = self.chain.services.store.session(CHANGE_OUTBOX).await?;
        let after = self.outbox.delivered(&mut session, &self.market, stage, &entry.id).await?;
        self.accepted = None;
        points::RELAYER_AFTER_WRITE.pass().await?;
        Ok(after)
    }

    /// Makes a call. Returns `None` once the relayer has accepted it, else what follows.
    async fn deliver(
        &mut self,
        cx: &Context,
        stage: Stage,
        entry: &Entry,
        holds: &Holds,
    ) -> Result<Option<Next>, Cause> {
        let place = (stage, entry.id.clone());
        if self.accepted.as_ref() == Some(&place) {
            return Ok(None);
        }
        let call = match entry.parsed() {
            Ok(call) => call,
            Err(error) => {
                self.bury(stage, entry, &format!("it can't be read: {error}")).await?;
                return Ok(Some(Next::Now));
            }
        };
        points::RELAYER_BEFORE_CALL.pass().await?;
        let began = Instant::now();
        // Idle: a slow relayer is no stall, and the call has a time limit.
        match cx.idle(self.client.call(&self.market, &call, &entry.key)).await {
            Ok(()) => {
                points::RELAYER_AFTER_CALL.pass().await?;
                self.accepted = Some(place);
                self.chain.metrics.relayed(began.elapsed());
                self.count(|all| all.count(CallOutcome::Accepted));
                let failed = self.attempts.accepted(cx.clock().now());
                if failed.is_some() || holds.denied.is_some() {
                    let after =
                        failed.map(|failed| format!(", after {}", rounded(failed))).unwrap_or_default();
                    self.tell(
                        "relayer_back",
                        Severity::Medium,
                        Some(&call),
                        format!("the relayer accepts calls of market {} again{after}", self.market),
                    );
                }
                cx.progress();
                Ok(None)
            }
            Err(error) => self.failed(cx, stage, entry, &call, error, holds).await.map(Some),
        }
    }

    async fn failed(
        &mut self,
        cx: &Context,
        stage: Stage,
        entry: &Entry,
        call: &RelayCall,
        error: CallError,
        holds: &Holds,
    ) -> Result<Next, Cause> {
        let (now, market) = (cx.clock().now(), self.market);
        let (verdict, asked, why) = (error.verdict(), error.retry_after(), one_line(&error));
        self.count(|all| all.count(CallOutcome::of(&error)));
        self.report(Some(call), error.into());
        match verdict {
            Verdict::Denied => {
                let at = Some(cx.clock().unix().as_secs());
                let hold = Hold { by: "relayer".to_owned(), at, why: why.clone() };
                let mut session = self.chain.services.store.session(CHANGE_OUTBOX).await?;
                self.outbox.set_denied(&mut session, &market, Some(&hold)).await?;
                // Told once, and not at each start.
                if holds.denied.is_none() {
                    self.tell("relayer_denies", Severity::High, Some(call), format!(
                        "the relayer denies access, so market {market} waits with its calls: {why}; correct its URL or its token and restart, or run `state-tracker outbox resume {market}`"
                    ));
                }
                Ok(Next::Idle(LOOK_EVERY))
            }
            Verdict::Refused => match self.attempts.refused(&entry.id, now) {
                Some(pause) => Ok(Next::Pause(pause)),
                None => {
                    self.bury(stage, entry, &why).await?;
                    Ok(Next::Now)
                }
            },
            Verdict::Delivered | Verdict::Later => {
                let pause = self.attempts.later(&entry.id, asked, now);
                if self.attempts.should_tell(now) {
                    self.tell("relayer_away", Severity::High, Some(call), format!(
                        "the relayer does not accept calls of market {market}, which wait in their order: {why}; check the relayer"
                    ));
                }
                Ok(Next::Pause(pause))
            }
        }
    }

    /// Moves a call to the dead ones, with a notice.
    async fn bury(&mut self, stage: Stage, entry: &Entry, why: &str) -> Result<(), Cause> {
        let mut session = self.chain.services.store.session(CHANGE_OUTBOX).await?;
        self.outbox.bury(&mut session, &self.market, stage, &entry.id, why).await?;
        self.count(|all| all.count(CallOutcome::Buried));
        let market = self.market;
        self.tell("call_refused", Severity::High, entry.parsed().ok().as_ref(), format!(
            "a call of market {market} is set aside with the dead ones, and the lane goes on: {why}; see it by \
             `state-tracker outbox list {market} --stage dead`"
        ));
        Ok(())
    }

    fn report(&self, call: Option<&RelayCall>, cause: Cause) {
        let place = self.place(call);
        self.chain.services.report(&StepError { operation: CALL_RELAYER, place, cause });
    }

    fn place(&self, call: Option<&RelayCall>) -> Place {
        Place { market: Some(self.market), epoch: call.map(RelayCall::epoch), block: None }
    }

    fn tell(&self, kind: &str, severity: Severity, call: Option<&RelayCall>, text: String) {
        // The edge drops the oldest notice, so this is refused only while the notifier is being stopped.
        let _ = self.chain.notifier.try_send(Notice::new(kind, severity, self.place(call), text));
    }

    fn count(&self, change: impl FnOnce(&mut Relayed)) {
        self.chain.progress.with(|state| change(state.relayed.entry(self.market).or_default()));
    }
}

impl Actor for Relayer {
    type Message = Wake;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Wake>) -> Result<(), Failure> {
        let clock = cx.clock();
        let mut failed = Attempts::new(RELAYER);
        while !cx.is_stopping() {
            let late = async {
                cx.stopped().await;
                clock.sleep(FINISH_WITHIN).await;
            };
            let next = tokio::select! {
                biased;
                next = self.step(cx) => next,
                // A call under way may end, so that it need not be repeated.
                () = late => break,
            };
            match next {
                Ok(next) => {
                    failed.succeeded();
                    match next {
                        Next::Now => {}
                        Next::Pause(pause) => self.pause(cx, pause).await,
                        Next::Idle(pause) => {
                            let until = clock.now() + pause;
                            tokio::select! {
                                biased;
                                wake = inbox.recv() => match wake {
                                    Some(wake) => wake.ack(),
                                    None => break,
                                },
                                () = clock.sleep_until(until) => {}
                            }
                        }
                    }
                }
                Err(cause) if cause.is_fatal() => {
                    let place = self.place(None);
                    let error = StepError { operation: CALL_RELAYER, place, cause };
                    return Err(self.chain.services.fatal(error));
                }
                Err(cause) => {
                    self.report(None, cause);
                    cx.pause(clock.sleep(failed.failed())).await;
                }
            }
        }
        Ok(())
    }
}
