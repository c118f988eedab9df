//! The model of one actor over all its incarnations, as the code of the actor itself sees it.

use std::collections::VecDeque;

use supervision::{Activity, ExitKind, OnLimit, Policy, State};

use super::{
    reading::How,
    world::{Known, World},
};

/// An actor or a supervisor.
pub(crate) struct Life {
    pub(crate) path: String,
    pub(crate) policy: Policy,
    /// The number of its supervisor; `None` below the root.
    pub(crate) above: Option<usize>,
    pub(crate) kind: Kind,
    pub(crate) mailbox: Option<usize>,
    /// Whether it is being removed, or has been.
    pub(crate) leaving: bool,
    /// It is in no tree any more.
    pub(crate) gone: bool,
    /// How many values were made, and how each ended.
    pub(crate) made: u64,
    pub(crate) ends: Ends,
    /// Values and sub-tasks that exist.
    pub(crate) inside: usize,
    pub(crate) alive: bool,
    pub(crate) ready: bool,
    pub(crate) how: Option<How>,
    pub(crate) task_panicked: bool,
    /// The generation of the present incarnation.
    pub(crate) generation: u64,
    /// The last end, where only the exit of that generation tells whether it was killed, or a sub-task panicked.
    pub(crate) unclear: Option<(How, u64)>,
    /// The last exit that subscribers got, with its generation.
    pub(crate) last_exit: Option<(u64, ExitKind)>,
    /// It waits for a message.
    pub(crate) reads: bool,
    pub(crate) activity: Activity,
    /// Its last sign of progress, in awake time.
    pub(crate) mark: u64,
    /// How often the watch had to find it stalled.
    pub(crate) stalled: u64,
    /// How long the others wait for its start; for a supervisor, from what its children may take.
    pub(crate) start_within: u64,
    pub(crate) restarts: Restarts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Actor,
    Worker,
    OneForOne,
    Independent,
    RestForOne,
    OneForAll,
}

impl Kind {
    pub(crate) fn supervises(self) -> bool {
        !matches!(self, Self::Actor | Self::Worker)
    }
}

/// How often its incarnations ended in each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) stopped: u64,
    pub(crate) finished: u64,
    pub(crate) failed: u64,
    pub(crate) unavailable: u64,
    pub(crate) panicked: u64,
    pub(crate) dropped: u64,
}

/// What its supervisor has decided about its restarts, as its states show it.
#[derive(Default)]
pub(crate) struct Restarts {
    /// The times of the charged restarts, and how many of them may have been forgiven already.
    pub(crate) charged: VecDeque<u64>,
    pub(crate) forgiven: usize,
    /// How many pauses there were since it was healthy: at least and at most.
    pub(crate) pauses: (u32, u32),
    pub(crate) degraded: bool,
    /// In awake time.
    pub(crate) degraded_since: u64,
    /// It was down when its time to give up was over.
    pub(crate) was_down: bool,
    /// Its supervisor has begun anew and forgotten everything.
    pub(crate) fresh: bool,
    /// Since when it runs.
    pub(crate) running: Option<u64>,
    /// Since when it ran, after that has ended.
    pub(crate) ran_since: Option<u64>,
    /// Since when it waits for its restart, twice the shortest pause, and the longest one.
    pub(crate) waits: Option<(u64, u64, u64)>,
    /// Since when it starts, in awake time.
    pub(crate) starting: u64,
    pub(crate) state: Option<supervision::State>,
    /// The state before it was asked to stop.
    pub(crate) prior: Option<supervision::State>,
    pub(crate) exit: Option<supervision::ExitKind>,
    /// It had ended for good, until its supervisor begins anew.
    pub(crate) over: bool,
    /// That was so at some moment since the last check.
    pub(crate) was_over: bool,
}

impl Ends {
    fn of(&mut self, how: How) -> &mut u64 {
        match how {
            How::Stopped => &mut self.stopped,
            How::Finished => &mut self.finished,
            How::Failed => &mut self.failed,
            How::Unavailable => &mut self.unavailable,
            How::Panicked => &mut self.panicked,
            How::Dropped => &mut self.dropped,
        }
    }
}

impl Life {
    pub(crate) fn new(path: &str, policy: Policy, above: Option<usize>, kind: Kind) -> Self {
        Self {
            path: path.to_owned(),
            policy,
            above,
            kind,
            mailbox: None,
            leaving: false,
            gone: false,
            made: 0,
            ends: Ends::default(),
            inside: 0,
            alive: false,
            ready: false,
            how: None,
            task_panicked: false,
            generation: 0,
            unclear: None,
            last_exit: None,
            reads: false,
            activity: Activity::Idle,
            mark: 0,
            stalled: 0,
            start_within: 0,
            restarts: Restarts::default(),
        }
    }
}

impl Known {
    /// An incarnation begins.
    fn enters(&mut self, me: usize) {
        let awake = self.awake;
        let life = &mut self.lives[me];
        let (path, inside) = (life.path.clone(), life.inside);
        life.made += 1;
        life.inside += 1;
        (life.alive, life.ready, life.how, life.task_panicked) = (true, false, None, false);
        (life.activity, life.mark) = (Activity::Working, awake);
        let made = life.made;
        self.note(format!("{path} enters {made}"));
        self.expect(inside == 0, "one incarnation at a time", || {
            format!("{path} enters while {inside} of its predecessor are inside")
        });
    }

    /// The value of an incarnation is dropped.
    fn leaves(&mut self, me: usize, panicking: bool) {
        let life = &mut self.lives[me];
        life.inside -= 1;
        (life.alive, life.ready, life.reads) = (false, false, false);
        life.activity = Activity::Idle;
        life.mark = self.awake;
        let how = life.how.take().unwrap_or(if panicking { How::Panicked } else { How::Dropped });
        // Its sub-tasks have not all ended: it may be killed until they have, or one may have panicked.
        let is_orderly = matches!(how, How::Stopped | How::Finished);
        let may_panic = life.task_panicked && (is_orderly || how == How::Dropped);
        let has_timer = life.mailbox.is_some_and(|at| self.boxes[at].timer.is_some());
        if may_panic || (is_orderly && (life.inside > 0 || has_timer)) {
            life.unclear = Some((how, life.generation));
        }
        let ends = &mut life.ends;
        *ends.of(how) += 1;
        let (path, mailbox) = (life.path.clone(), life.mailbox);
        self.note(format!("{path} leaves {how:?}"));
        if let Some(at) = mailbox {
            // Usually it was the panic; a kill undoes the charge.
            let is_unclear = how == How::Dropped && may_panic;
            self.reader_ended(at, if is_unclear { How::Panicked } else { how }, is_unclear);
        }
    }

    /// The exit of an unclear end is known: its crash, or an orderly one.
    pub(crate) fn clear(&mut self, me: usize, crash: Option<ExitKind>) {
        let life = &mut self.lives[me];
        let Some((how, _)) = life.unclear.take() else { return };
        let was = match crash {
            Some(ExitKind::Panicked) => How::Panicked,
            Some(_) => How::Dropped,
            None => how,
        };
        *life.ends.of(how) -= 1;
        *life.ends.of(was) += 1;
        if let Some(at) = life.mailbox {
            self.resolve(at, was == How::Panicked || how != How::Dropped);
        }
    }

    /// The exits of unclear ends, from what subscribers got.
    pub(crate) fn clear_all(&mut self) {
        for me in 0..self.lives.len() {
            let Life { unclear, last_exit, .. } = &self.lives[me];
            if let (Some((_, generation)), Some((of, exit))) = (*unclear, *last_exit)
                && generation == of
            {
                self.clear(me, Some(exit).filter(|exit| exit.is_crash()));
            }
        }
    }

    /// A sign of progress, and what the actor does from now on.
    pub(crate) fn does(&mut self, me: usize, activity: Activity) {
        let awake = self.awake;
        let life = &mut self.lives[me];
        (life.activity, life.mark, life.reads) = (activity, awake, false);
    }

    /// It waits for a message.
    pub(crate) fn reads(&mut self, me: usize) {
        self.does(me, Activity::Idle);
        self.lives[me].reads = true;
    }

    /// It got no message and is to return.
    pub(crate) fn no_more(&mut self, at: usize, is_stopping: bool) {
        let mailbox = &mut self.boxes[at];
        mailbox.batched = false;
        let (path, left, returned) = (mailbox.path.clone(), mailbox.waiting.len(), mailbox.returned);
        let reader = mailbox.reader;
        self.note(format!("{path} gets no more"));
        self.expect(is_stopping || self.ending, "a reader ends when it is stopped", || path.clone());
        if self.lives[reader].leaving && !returned && left > 0 {
            self.left.push((reader, left));
        }
    }

    /// Its name in the tree, or where it was.
    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        self.lives.iter().rposition(|life| life.path == path)
    }

    /// Whether the tree may end because of `me` at this moment.
    pub(crate) fn may_give_up(&self, me: usize) -> bool {
        let Life { policy, above, restarts, .. } = &self.lives[me];
        let down = self.awake - restarts.degraded_since;
        let state = match restarts.state {
            Some(State::Stopping | State::Stopped) => restarts.prior,
            state => state,
        };
        // Where its time was over at the move of the clock at which it came back, it was down before.
        let since = restarts.running.or(restarts.ran_since);
        let runs = state == Some(State::Running) && since.is_some_and(|since| since < self.now);
        let is_down = restarts.degraded && !runs;
        let stays_down =
            policy.give_up_after.is_some_and(|limit| is_down && down >= limit.as_millis() as u64);
        let escalates = above.is_none() && policy.on_limit == OnLimit::Escalate;
        stays_down || restarts.was_down || escalates
    }

    /// Whether `me` is below `other`, or is it.
    pub(crate) fn is_below(&self, me: usize, other: usize) -> bool {
        me == other || self.lives[me].above.is_some_and(|above| self.is_below(above, other))
    }
}

/// An incarnation is inside as long as this exists.
pub(crate) struct Inside {
    world: World,
    me: usize,
}

impl Inside {
    pub(crate) fn enter(world: &World, me: usize) -> Self {
        // How the one before ended has to be known before its messages come again.
        let unclear =
            world.with(|world| world.lives[me].unclear.map(|of| (of.1, world.lives[me].path.clone())));
        if let Some((generation, path)) = unclear {
            let crashes = world.tree().map_or_else(Vec::new, |tree| tree.crashes(&path));
            let crash = crashes.iter().find(|crash| crash.generation == generation);
            world.with(|world| world.clear(me, crash.map(|crash| crash.kind)));
        }
        world.with(|world| world.enters(me));
        Self { world: world.clone(), me }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        self.world.with(|world| world.leaves(self.me, panicking));
    }
}

/// A sub-task is inside as long as this exists.
pub(crate) struct SubTask {
    world: World,
    me: usize,
}

impl SubTask {
    pub(crate) fn begin(world: &World, me: usize) -> Self {
        world.with(|world| world.lives[me].inside += 1);
        Self { world: world.clone(), me }
    }
}

impl Drop for SubTask {
    fn drop(&mut self) {
        self.world.with(|world| world.lives[self.me].inside -= 1);
    }
}
