//! The actors of a simulation: what they do with a message is a matter of chance, and reported to the model.

use std::{future::pending, panic::resume_unwind, sync::Arc, time::Duration};

use supervision::{Activity, Actor, Batch, Context, Failure, Inbox, Lease, Unavailable, Worker, fail};

use super::{
    lives::{Inside, SubTask},
    message::Msg,
    reading::How,
    sending::Way,
    world::{Fate, World},
};

/// What an actor of the simulation is made of.
pub(crate) struct Parts {
    pub(crate) world: World,
    pub(crate) me: usize,
    /// Its mailbox; 0 for a worker, which does not use it.
    pub(crate) at: usize,
    /// The edges on which it sends.
    pub(crate) ways: Vec<Way>,
    /// The edge to itself, which does not wait.
    pub(crate) own: Option<Way>,
    /// How many in a hundred messages meet a fault.
    pub(crate) faults: u64,
}

/// One incarnation.
pub(crate) struct Player {
    parts: Arc<Parts>,
    _inside: Inside,
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Player {
    pub(crate) fn new(parts: &Arc<Parts>) -> Self {
        Self { parts: parts.clone(), _inside: Inside::enter(&parts.world, parts.me) }
    }
}

/// What follows a message.
enum Next {
    Continue,
    /// It returns, with or without an error.
    Ends(Result<(), Failure>),
}

impl Parts {
    fn below(&self, limit: u64) -> u64 {
        self.world.below(limit)
    }

    fn does(&self, activity: Activity) {
        self.world.with(|world| world.does(self.me, activity));
    }

    /// Notes the error with which it ends.
    fn ends(&self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        if let Err(error) = &outcome {
            let how = if error.is::<Unavailable>() { How::Unavailable } else { How::Failed };
            self.world.with(|world| world.lives[self.me].how = Some(how));
        }
        outcome
    }

    async fn pre_start(&self, cx: &Context) -> Result<(), Failure> {
        self.world.with(|world| world.lives[self.me].generation = cx.generation());
        match self.below(100) {
            0..8 => cx.clock().sleep(ms(1 + self.below(400))).await,
            8..11 => return self.ends(Err("its start failed".into())),
            11..13 => resume_unwind(Box::new("its start panicked")),
            // Until it is killed as stalled, or stopped.
            13..15 => pending().await,
            15..17 => {
                self.does(Activity::Idle);
                cx.idle(cx.stopped()).await;
                self.does(Activity::Working);
            }
            _ => {}
        }
        self.world.with(|world| world.lives[self.me].ready = true);
        Ok(())
    }

    async fn post_stop(&self, cx: &Context) -> Result<(), Failure> {
        if self.below(100) < 5 {
            cx.clock().sleep(ms(1 + self.below(600))).await;
        }
        if self.below(100) < 3 {
            return self.ends(Err("its end failed".into()));
        }
        let how = if cx.is_stopping() { How::Stopped } else { How::Finished };
        self.world.with(|world| world.lives[self.me].how = Some(how));
        Ok(())
    }

    /// Works for some time of the clock, with signs of progress or without.
    async fn work(&self, cx: &Context) {
        let reports = self.below(2) == 0;
        for _ in 0..=self.below(3) {
            cx.clock().sleep(ms(1 + self.below(700))).await;
            if reports {
                cx.progress();
                self.does(Activity::Working);
            }
        }
    }

    async fn idle(&self, cx: &Context, until_stopped: bool) {
        let wait = cx.clock().sleep(ms(1 + self.below(500)));
        self.does(Activity::Idle);
        if until_stopped {
            cx.pause(wait).await
        } else {
            cx.idle(wait).await
        }
        self.does(Activity::Working);
    }

    /// Sends to another actor, while it may have a message in flight.
    async fn send(&self) {
        if self.ways.is_empty() {
            return;
        }
        let way = &self.ways[self.below(self.ways.len() as u64) as usize];
        match self.below(10) {
            0..6 => way.send(&self.world, Some(self.me), way.message(&self.world, false)).await,
            6..8 => way.try_send(&self.world, way.message(&self.world, false)),
            _ => way.ask(&self.world, Some(self.me), 1 + self.below(2_000)).await,
        }
    }

    /// Starts a sub-task that sleeps, sends, or panics.
    fn spawn(self: &Arc<Self>, cx: &Context) {
        let (parts, clock) = (self.clone(), cx.clock().clone());
        let begun = SubTask::begin(&self.world, self.me);
        let task = cx.spawn(async move {
            let _begun = begun;
            for _ in 0..=parts.below(3) {
                clock.sleep(ms(1 + parts.below(800))).await;
                if parts.below(10) < 4
                    && let Some(way) = parts.ways.first()
                {
                    way.send(&parts.world, None, way.message(&parts.world, false)).await;
                }
            }
            if parts.below(100) < 30 && parts.world.with(|world| world.may_panic(parts.me)) {
                parts.world.with(|world| {
                    world.lives[parts.me].task_panicked = true;
                    let path = world.lives[parts.me].path.clone();
                    world.note(format!("{path}: a sub-task panics"));
                });
                resume_unwind(Box::new("a sub-task panicked"));
            }
        });
        // Refused when there are too many, which drops the guard.
        drop(task);
    }

    /// Has the kit send a message to this actor after some time.
    fn remind(&self, cx: &Context) {
        let Some(own) =
            self.own.as_ref().filter(|own| self.world.with(|world| world.boxes[own.to].timer.is_none()))
        else {
            return;
        };
        let message = own.message(&self.world, false);
        let id = message.id;
        self.world.with(|world| {
            world.letters[id].fate = Fate::Timer;
            world.boxes[own.to].timer = Some((id, own.overflow));
            world.note(format!("{} sets a timer for {id}", own.from));
        });
        drop(cx.send_after(ms(1 + self.below(900)), &own.address, message));
    }
}

/// A fault without a hook and a backtrace, which would take most of the time of a simulation.
fn crash() -> ! {
    resume_unwind(Box::new("a handler panicked"))
}

impl Player {
    fn at(&self) -> usize {
        self.parts.at
    }

    /// Handles one message.
    async fn handle(&self, cx: &Context, lease: Lease<'_, Msg>) -> Next {
        let (parts, world, at) = (&self.parts, &self.parts.world, self.parts.at);
        let faulty = parts.below(100) < parts.faults;
        if faulty {
            return self.fault(cx, lease).await;
        }
        match parts.below(100) {
            0..35 => {}
            35..45 => parts.work(cx).await,
            45..52 => parts.idle(cx, false).await,
            52..72 => parts.send().await,
            72..80 => parts.spawn(cx),
            80..88 => parts.remind(cx),
            88..95 => {
                if let Err(error) = fail::point("sim::handle").await {
                    return Next::Ends(parts.ends(Err(error.into())));
                }
            }
            _ => {
                // A server is away: the loop that the documents recommend.
                world.with(|world| world.nacks(at, false));
                lease.nack();
                parts.idle(cx, true).await;
                return Next::Continue;
            }
        }
        if let Some(reply) = lease.reply.as_ref().filter(|_| parts.below(4) > 0)
            && reply.send(lease.id as u64)
        {
            world.with(|world| world.letters[lease.id].answered = true);
        }
        world.with(|world| world.acks(at, false));
        lease.ack();
        match parts.below(100) {
            0 => Next::Ends(parts.ends(Err("it failed between two messages".into()))),
            1 => Next::Ends(Ok(())),
            2 => crash(),
            _ => Next::Continue,
        }
    }

    /// Handles one message badly.
    async fn fault(&self, cx: &Context, lease: Lease<'_, Msg>) -> Next {
        let (parts, world, at) = (&self.parts, &self.parts.world, self.parts.at);
        match parts.below(14) {
            0 | 1 => {
                world.with(|world| world.dead_letters_first(at, "no use"));
                lease.dead_letter("no use");
                Next::Continue
            }
            2 | 3 => {
                world.with(|world| world.drops_lease(at));
                drop(lease);
                Next::Continue
            }
            4 | 5 => Next::Ends(parts.ends(Err(format!("message {} failed", lease.id).into()))),
            6 => Next::Ends(parts.ends(Err(Unavailable::new("its server is away").into()))),
            7 | 8 => crash(),
            9 => pending().await,
            10 => Next::Ends(Ok(())),
            11 => {
                parts.work(cx).await;
                Next::Ends(parts.ends(Err(format!("message {} failed late", lease.id).into())))
            }
            12 => {
                world.with(|world| world.nacks(at, false));
                lease.nack();
                Next::Ends(parts.ends(Err("its server failed".into())))
            }
            // It does not hear that it is stopped.
            _ => {
                parts.does(Activity::Idle);
                cx.idle(cx.clock().sleep(ms(60_000))).await;
                parts.does(Activity::Working);
                world.with(|world| world.drops_lease(at));
                drop(lease);
                Next::Continue
            }
        }
    }

    async fn batch(&self, cx: &Context, mut batch: Batch<'_, Msg>) -> Next {
        let (parts, world, at) = (&self.parts, &self.parts.world, self.parts.at);
        if parts.below(100) < parts.faults {
            return match parts.below(5) {
                0 => Next::Ends(parts.ends(Err("a batch failed".into()))),
                1 => crash(),
                2 => Next::Ends(Ok(())),
                3 => {
                    world.with(|world| world.nacks(at, true));
                    batch.nack();
                    Next::Ends(parts.ends(Err("the server of a batch failed".into())))
                }
                _ => pending().await,
            };
        }
        match parts.below(10) {
            0..3 => parts.work(cx).await,
            3 => parts.send().await,
            4 => {
                world.with(|world| world.nacks(at, true));
                batch.nack();
                parts.idle(cx, true).await;
                return Next::Continue;
            }
            5..7 => {
                for _ in 0..=parts.below(3) {
                    world.with(|world| world.continues(at, cx.is_stopping()));
                    let Some(lease) = batch.lease() else { break };
                    let seen = (lease.id, lease.attempt(), lease.sequence());
                    world.with(|world| {
                        let batched = world.boxes[at].batched;
                        world.delivered(at, &[seen.0], Some((seen.1, seen.2)));
                        // The others are in flight as a batch still.
                        world.boxes[at].batched = batched;
                    });
                    if let Next::Ends(outcome) = self.handle(cx, lease).await {
                        return Next::Ends(outcome);
                    }
                }
                return Next::Continue;
            }
            _ => {}
        }
        world.with(|world| world.acks(at, true));
        batch.ack();
        Next::Continue
    }

    /// Takes what waits in one of several ways; `None` when it is to return.
    async fn turn(&self, cx: &Context, inbox: &mut Inbox<Msg>) -> Option<Next> {
        let (parts, world, at) = (&self.parts, &self.parts.world, self.parts.at);
        if world.with(|world| world.spins()) {
            pending::<()>().await;
        }
        world.with(|world| world.continues(at, cx.is_stopping()));
        let one = |lease: &Lease<'_, Msg>| {
            let seen = (lease.attempt(), lease.sequence());
            world.with(|world| world.delivered(at, &[lease.id], Some(seen)));
        };
        let way = parts.below(10);
        if way == 0 {
            // Reports nothing and waits for nothing.
            if let Some(lease) = inbox.try_recv() {
                one(&lease);
                return Some(self.handle(cx, lease).await);
            }
        }
        world.with(|world| world.reads(parts.me));
        let leaves_it = cx.is_stopping() && world.with(|world| world.boxes[at].returned);
        if way < 3 {
            let batch = inbox.recv_many().await;
            parts.does(Activity::Working);
            let batch = batch?;
            world.with(|world| world.leaves_it(at, leaves_it));
            let ids: Vec<usize> = batch.iter().map(|message| message.id).collect();
            world.with(|world| world.delivered(at, &ids, None));
            return Some(self.batch(cx, batch).await);
        }
        let lease = if way == 3 {
            let limited = cx.clock().timeout(ms(1 + parts.below(300)), inbox.recv()).await;
            parts.does(Activity::Working);
            let Some(lease) = limited else { return Some(Next::Continue) };
            lease?
        } else {
            let lease = inbox.recv().await;
            parts.does(Activity::Working);
            lease?
        };
        world.with(|world| world.leaves_it(at, leaves_it));
        one(&lease);
        Some(self.handle(cx, lease).await)
    }
}

impl Actor for Player {
    type Message = Msg;

    async fn pre_start(&mut self, cx: &Context) -> Result<(), Failure> {
        self.parts.pre_start(cx).await
    }

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Msg>) -> Result<(), Failure> {
        loop {
            match self.turn(cx, inbox).await {
                Some(Next::Continue) => {}
                Some(Next::Ends(outcome)) => return outcome,
                None => {
                    self.parts.world.with(|world| world.no_more(self.at(), cx.is_stopping()));
                    return Ok(());
                }
            }
        }
    }

    async fn post_stop(&mut self, cx: &Context) -> Result<(), Failure> {
        self.parts.post_stop(cx).await
    }
}

/// An actor without a mailbox.
pub(crate) struct Source(Player);

impl Source {
    pub(crate) fn new(parts: &Arc<Parts>) -> Self {
        Self(Player::new(parts))
    }
}

impl Worker for Source {
    async fn pre_start(&mut self, cx: &Context) -> Result<(), Failure> {
        self.0.parts.pre_start(cx).await
    }

    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let parts = &self.0.parts;
        while !cx.is_stopping() {
            if parts.world.with(|world| world.spins()) {
                pending::<()>().await;
            }
            let faulty = parts.below(400) < parts.faults;
            match parts.below(10) {
                0 if faulty => return parts.ends(Err("a worker failed".into())),
                1 if faulty => return parts.ends(Err(Unavailable::new("a worker's server is away").into())),
                2 if faulty => crash(),
                3 if faulty => pending().await,
                4 if faulty => return Ok(()),
                0..4 => parts.send().await,
                4 => parts.work(cx).await,
                5 => parts.spawn(cx),
                _ => parts.idle(cx, true).await,
            }
            parts.idle(cx, true).await;
        }
        Ok(())
    }

    async fn post_stop(&mut self, cx: &Context) -> Result<(), Failure> {
        self.0.parts.post_stop(cx).await
    }
}
