//! The steps of a simulation: what senders, operators, failures and the clock do to the tree.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use supervision::{
    Activity, ChangeError, Clock, Outcome, Overflow, Removed, State, StopReport, Subscription, Tree,
    TreeOptions, WatchSettings,
    fail::{Fault, When},
};
use tokio::task::JoinHandle;

use super::{actors::ms, driver::Driver, lives::Kind, sending::Way, shape::Builder, world::World};

/// A simulated tree, and what acts on it.
pub(crate) struct Simulation {
    pub(crate) driver: Driver,
    pub(crate) world: World,
    pub(crate) clock: Clock,
    pub(crate) builder: Builder,
    pub(crate) tree: Arc<Tree>,
    pub(crate) permits: usize,
    pub(crate) changes: Subscription,
    slow: Option<Subscription>,
    sends: Vec<JoinHandle<()>>,
    pub(crate) removals: Vec<Removal>,
    pub(crate) ended: bool,
}

/// A call of `remove_child`.
pub(crate) struct Removal {
    pub(crate) me: usize,
    pub(crate) outcome: Arc<Mutex<Option<Result<Removed, ChangeError>>>>,
    /// Since when everything above it runs, in awake time.
    pub(crate) calm_since: u64,
    /// It was given its time again.
    pub(crate) extended: bool,
}

impl Simulation {
    pub(crate) fn new(seed: u64) -> Self {
        let (driver, world) = (Driver::new(), World::new(seed));
        let clock = Clock::manual(Duration::from_secs(1_700_000_000));
        let (permits, faults, tree_seed) = world.with(|world| {
            let permits = world.random.pick(&[1, 2, 8, 64]);
            (permits, world.random.pick(&[2, 8, 20, 40]), world.random.next())
        });
        let mut builder = Builder::new(&world, &clock, faults);
        let children = builder.tree();
        let options = TreeOptions {
            clock: clock.clone(),
            watch: WatchSettings::default(),
            simultaneous_restarts: permits,
            seed: Some(tree_seed),
            ..TreeOptions::default()
        };
        let (tree, changes) = driver.run(async {
            let tree = Tree::start(children, options).await.expect("the root starts");
            let changes = tree.subscribe();
            (tree, changes)
        });
        // The root was shown before the subscription; its children are not yet.
        let mut simulation = Self {
            driver,
            world,
            clock,
            builder,
            tree: Arc::new(tree),
            permits,
            changes,
            slow: None,
            sends: Vec::new(),
            removals: Vec::new(),
            ended: false,
        };
        simulation.world.set_tree(&simulation.tree);
        simulation.settle();
        simulation
    }

    fn below(&self, limit: u64) -> u64 {
        self.world.below(limit)
    }

    /// One step by chance.
    pub(crate) fn step(&mut self) {
        match self.below(100) {
            0..10 => self.try_send(),
            10..22 => self.send(),
            22..26 => self.ask(),
            26..29 => self.burst(),
            29..32 => self.abort(),
            32..72 => self.advance(),
            72..74 => self.freeze(),
            74..79 => self.kill(),
            79..84 => self.fail_supervisor(),
            84..88 => self.fail_handler(),
            88..91 => self.remove(),
            91..94 => self.add(),
            94..97 => self.replay(),
            _ => self.listen(),
        }
        self.settle();
    }

    fn way(&self) -> Option<Way> {
        let at = self.below(self.builder.outside.len() as u64) as usize;
        self.builder.outside.get(at).cloned()
    }

    fn try_send(&self) {
        if let Some(way) = self.way() {
            way.try_send(&self.world, way.message(&self.world, false));
        }
    }

    fn send(&mut self) {
        let Some(way) = self.way() else { return };
        let world = self.world.clone();
        let message = way.message(&world, false);
        self.sends.push(self.driver.spawn(async move { way.send(&world, None, message).await }));
    }

    fn ask(&mut self) {
        let (Some(way), within) = (self.way(), 1 + self.below(5_000)) else { return };
        let world = self.world.clone();
        self.sends.push(self.driver.spawn(async move { way.ask(&world, None, within).await }));
    }

    fn burst(&mut self) {
        let Some(way) = self.way() else { return };
        for _ in 0..=self.below(8) {
            let (world, way) = (self.world.clone(), way.clone());
            let message = way.message(&world, false);
            if self.below(2) == 0 {
                way.try_send(&world, message);
            } else {
                self.sends.push(self.driver.spawn(async move { way.send(&world, None, message).await }));
            }
        }
    }

    /// A sender loses its patience.
    fn abort(&mut self) {
        self.sends.retain(|send| !send.is_finished());
        if !self.sends.is_empty() {
            let at = self.below(self.sends.len() as u64) as usize;
            self.sends.swap_remove(at).abort();
        }
    }

    pub(crate) fn advance(&mut self) {
        let by = self.world.with(|world| match world.random.below(20) {
            0..8 => world.random.between(1, 30),
            8..15 => world.random.between(30, 500),
            15..19 => world.random.between(500, 5_000),
            _ => world.random.between(5_000, 120_000),
        });
        self.advance_by(by, false);
    }

    fn freeze(&mut self) {
        let by = 1 + self.below(600_000);
        self.advance_by(by, true);
    }

    /// Moves the clock. What works without progress for too long then is found by the watch, and nothing else is.
    pub(crate) fn advance_by(&mut self, by: u64, frozen: bool) {
        self.world.with(|world| {
            world.before = world.now;
            world.now += by;
            world.awake += if frozen { 0 } else { by };
            let awake = world.awake;
            world.note(format!("the clock moves by {by}{}", if frozen { ", frozen" } else { "" }));
            for life in world.lives.iter_mut().filter(|life| life.alive && life.activity == Activity::Working)
            {
                let limit = life.policy.stall_after.map(|limit| limit.as_millis() as u64);
                life.stalled += u64::from(limit.is_some_and(|limit| awake - life.mark >= limit));
            }
        });
        let _runtime = self.driver.enter();
        if frozen {
            self.clock.freeze(ms(by))
        } else {
            self.clock.advance(ms(by))
        };
    }

    /// A member that is in the tree, of this kind if one is given.
    fn member(&self, supervises: Option<bool>) -> Option<(usize, String)> {
        self.world.with(|world| {
            let fits = |kind: Kind| supervises.is_none_or(|supervises| supervises == kind.supervises());
            let lives = world.lives.iter().enumerate();
            let members: Vec<usize> =
                lives.filter(|(_, life)| !life.gone && fits(life.kind)).map(|(me, _)| me).collect();
            if members.is_empty() {
                return None;
            }
            let me = world.random.pick(&members);
            Some((me, world.lives[me].path.clone()))
        })
    }

    fn kill(&self) {
        let supervises = self.below(5) == 0;
        if let Some((_, path)) = self.member(Some(supervises)) {
            let killed = self.tree.kill(&path);
            self.world.note(|| format!("kill {path}: {killed}"));
        }
    }

    fn fail_supervisor(&self) {
        let Some((_, path)) = self.member(Some(true)) else { return };
        let point = ["supervisor::before_order", "supervisor::after_exit"][self.below(2) as usize];
        // A panic has a backtrace, which takes long.
        let fault = if self.below(20) == 0 { Fault::Panic } else { Fault::Error };
        let nth = 1 + self.below(3);
        self.world.note(|| format!("arm {point} of {path}: {fault:?} {nth}"));
        self.tree.failure_points().arm(point, &path, fault, When::Nth(nth));
    }

    fn fail_handler(&self) {
        let Some((_, path)) = self.member(Some(false)) else { return };
        let fault = match self.below(20) {
            0 => Fault::Panic,
            1..10 => Fault::Error,
            10..15 => Fault::Hang,
            _ => Fault::Delay(ms(1 + self.below(1_000))),
        };
        let times = 1 + self.below(3);
        self.world.note(|| format!("arm the handler of {path}: {fault:?} {times}"));
        self.tree.failure_points().arm("sim::handle", &path, fault, When::Times(times));
    }

    fn remove(&mut self) {
        let Some((me, path)) = self.member(None) else { return };
        // A tree without members would be a dull one.
        let left =
            self.world.with(|world| world.lives.iter().filter(|life| !life.gone && !life.leaving).count());
        if left < 3 || self.world.with(|world| world.lives[me].leaving) {
            return;
        }
        let awake = self.world.with(|world| {
            world.lives[me].leaving = true;
            world.note(format!("remove {path}"));
            world.awake
        });
        let outcome = Arc::new(Mutex::new(None));
        let (tree, done) = (self.tree.clone(), outcome.clone());
        self.driver.spawn(async move {
            let removed = tree.remove_child(&path).await;
            *done.lock().expect("no panic") = Some(removed);
        });
        self.removals.push(Removal { me, outcome, calm_since: awake, extended: false });
    }

    fn add(&mut self) {
        let above = if self.below(3) == 0 { None } else { self.member(Some(true)) };
        let path = above.as_ref().map_or("root".to_owned(), |(_, path)| path.clone());
        let above = above.map(|(above, _)| above);
        // Sometimes the place of one that was removed.
        let name = self.world.with(|world| {
            let taken = |path: &str| world.lives.iter().any(|life| !life.gone && life.path == path);
            let gone: Vec<String> = world
                .lives
                .iter()
                .filter(|life| life.gone && life.above == above && !taken(&life.path))
                .filter_map(|life| life.path.rsplit('/').next().map(str::to_owned))
                .collect();
            let nth = world.random.below(2 * gone.len() as u64 + 1) as usize;
            gone.get(nth).cloned()
        });
        let (first, edges) = (self.world.with(|world| world.lives.len()), self.builder.edges.len());
        let (me, child) = self.builder.member(above, name.as_deref(), 2);
        let added = {
            let _runtime = self.driver.enter();
            self.tree.add_child(&path, child)
        };
        self.world.with(|world| {
            world.note(format!("add {} below {path}: {added:?}", world.lives[me].path));
            let Err(error) = added else { return };
            let is_down = above.is_some_and(|above| {
                matches!(world.lives[above].restarts.state, Some(State::Stopped | State::Abandoned))
            });
            let leaves = above.is_some_and(|above| {
                (0..world.lives.len()).any(|other| world.lives[other].leaving && world.is_below(above, other))
            });
            let expected = match &error {
                ChangeError::Down(_) => is_down,
                ChangeError::Stopping(_) => leaves || world.ending,
                ChangeError::Ended => world.ending,
                ChangeError::NoSupervisor(_) => leaves,
                _ => false,
            };
            world.expect(expected, "a member can be added", || error.to_string());
            (first..world.lives.len()).for_each(|me| world.lives[me].gone = true);
        });
        if self.world.with(|world| world.lives[me].gone) {
            self.builder.edges.truncate(edges);
        }
    }

    fn replay(&self) {
        let found = self.world.with(|world| {
            let boxes = world.boxes.iter().enumerate();
            let dead: Vec<(usize, usize)> = boxes
                .filter(|(_, mailbox)| !world.lives[mailbox.reader].gone)
                .flat_map(|(at, mailbox)| mailbox.dead.iter().map(move |id| (at, *id)))
                .collect();
            (!dead.is_empty()).then(|| world.random.pick(&dead))
        });
        let Some((at, id)) = found else { return };
        let (path, sequence) = self.world.with(|world| {
            world.follow_timer(at);
            (world.boxes[at].path.clone(), world.letters[id].sequence)
        });
        let replayed = self.tree.replay(&path, sequence);
        self.world.with(|world| {
            world.note(format!("replay {id} in {path}: {replayed}"));
            let room = world.boxes[at].has_room(world.letters[id].weight);
            world.expect(room || !replayed, "a replay needs room", || format!("{id} in {path}"));
            if replayed {
                world.replayed(at, id);
            } else if room {
                world.closed(at);
            }
        });
    }

    /// A subscriber that reads rarely.
    fn listen(&mut self) {
        match self.below(3) {
            0 => self.slow = Some(self.tree.subscribe()),
            1 => self.slow = None,
            _ => {
                if let Some(slow) = &mut self.slow {
                    let _ = self.driver.run(now(slow.next()));
                }
            }
        }
    }

    /// Stops the tree; the clock moves until it has stopped.
    pub(crate) fn stop(&mut self) -> Option<StopReport> {
        let within = 1 + self.below(20_000);
        let report = Arc::new(Mutex::new(None));
        self.world.with(|world| {
            (world.ending, world.stopped) = (true, true);
            world.note(format!("stop within {within}"));
        });
        let (tree, done) = (self.tree.clone(), report.clone());
        self.driver.spawn(async move {
            let stopped = tree.stop(ms(within)).await;
            *done.lock().expect("no panic") = Some(stopped);
        });
        let deadline = self.world.with(|world| world.awake) + within;
        self.settle();
        while report.lock().expect("no panic").is_none()
            && self.world.with(|world| world.violations.is_empty())
        {
            let awake = self.world.with(|world| world.awake);
            self.world.with(|world| {
                world.expect(awake < deadline, "a stop ends within its time", || {
                    format!("{awake} of {deadline}")
                });
            });
            let by = 1 + self.below(1_000.min(deadline.saturating_sub(awake).max(1)));
            self.advance_by(by, false);
            self.settle();
        }
        report.lock().expect("no panic").take()
    }

    /// Whether the outcome is one that the policies allow.
    pub(crate) fn check_outcome(&self, outcome: &Outcome, was_stopped: bool) {
        self.world.with(|world| {
            world.note(format!("the tree ended: {outcome:?}"));
            let is_right = match outcome {
                Outcome::Stopped => was_stopped,
                Outcome::RootEnded { reason } => {
                    was_stopped && reason.starts_with("the tree did not stop within")
                }
                Outcome::GaveUp { path, .. } => {
                    world.find(path).is_some_and(|me| world.reasons.contains(&me) || world.may_give_up(me))
                }
            };
            world.expect(is_right, "a tree ends for a reason", || format!("{outcome:?}"));
        });
    }

    /// How many sends have not ended.
    pub(crate) fn sends_left(&self) -> usize {
        self.sends.iter().filter(|send| !send.is_finished()).count()
    }

    pub(crate) fn edges(&self) -> Vec<(String, String, Overflow)> {
        let edges = self.tree.edges().into_iter().filter(|edge| !edge.outside);
        let mut edges: Vec<_> = edges.map(|edge| (edge.from, edge.to, edge.overflow)).collect();
        edges.sort();
        edges.dedup();
        edges
    }
}

/// The output of a future that is ready, else nothing.
pub(crate) async fn now<F: Future>(work: F) -> Option<F::Output> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match work.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
