//! The only file that knows [`ractor`]: every incarnation is one of its actors, linked to that of its supervisor.
//!
//! It gives cells that can be killed at any await, links (when a supervisor ends, what is linked below it is killed), and an
//! event at the supervisor when a linked cell has ended, however it ended.

use std::{collections::BTreeMap, marker::PhantomData, pin::Pin, sync::Arc};

use ractor::{ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent, concurrency::JoinHandle};

use crate::{
    exit::Failure,
    slot::Switch,
    sync::{Mutex, lock},
};

/// What runs one incarnation.
#[derive(Clone)]
pub(crate) struct Cell {
    actor: ActorCell,
    /// The cells that are linked below it, in the order in which they were made. `ractor` kills them in whatever order its hash
    /// map has; they are killed in this order before, so that a driven tree does the same each time.
    below: Option<Arc<Below>>,
}

/// The cells below one. Those of actors have none.
type Below = Mutex<BTreeMap<CellId, Cell>>;

/// The number of a cell, which no other one in this process has.
pub(crate) type CellId = u64;

impl Cell {
    fn new(actor: ActorCell) -> Self {
        Self { actor, below: None }
    }

    pub(crate) fn id(&self) -> CellId {
        self.actor.get_id().pid()
    }

    fn kill_below(&self) {
        // Taken, so that no lock is held during a kill.
        let below = self.below.iter().flat_map(|below| std::mem::take(&mut *lock(below)).into_values());
        below.for_each(|child| child.kill());
    }

    fn unlink(&self, child: CellId) {
        self.below.iter().for_each(|below| drop(lock(below).remove(&child)));
    }

    fn link(&self, child: &Self) {
        if let Some(below) = &self.below {
            lock(below).insert(child.id(), child.clone());
        }
    }

    pub(crate) fn switch(&self) -> Arc<dyn Switch> {
        Arc::new(self.clone())
    }

    /// Whether it runs, linked to `above`.
    #[cfg(test)]
    pub(crate) fn runs_below(&self, above: &Self) -> bool {
        let linked = self.actor.try_get_supervisor();
        let is_above = linked.is_some_and(|linked| linked.get_id() == above.actor.get_id());
        is_above && self.runs()
    }

    /// How many cells are linked below it.
    #[cfg(test)]
    pub(crate) fn linked(&self) -> usize {
        self.below.as_ref().map_or(0, |below| lock(below).len())
    }

    /// Whether it runs.
    #[cfg(test)]
    pub(crate) fn runs(&self) -> bool {
        self.actor.get_status() == ractor::ActorStatus::Running
    }
}

impl Switch for Cell {
    fn kill(&self) {
        // The upper one first: it must not restart what is killed below it.
        self.actor.kill();
        self.kill_below();
    }
}

/// An actor that handles orders and the ends of the cells below it, one after the other.
pub(crate) trait Host: Send + 'static {
    /// Its messages.
    type Order: Send + 'static;

    /// Handles one event.
    fn handle(
        &mut self,
        me: &Link<Self::Order>,
        event: Event<Self::Order>,
    ) -> impl Future<Output = Next> + Send;
}

/// What a host handles.
pub(crate) enum Event<O> {
    Order(O),
    /// A linked cell below it has ended.
    Ended(CellId),
}

/// What follows an event.
pub(crate) enum Next {
    Continue,
    End,
    /// It fails with this message; what is linked below it is killed.
    Fail(String),
}

/// The way to give orders to a host.
pub(crate) struct Link<O> {
    actor: ActorRef<O>,
    cell: Cell,
}

impl<O> Clone for Link<O> {
    fn clone(&self) -> Self {
        Self { actor: self.actor.clone(), cell: self.cell.clone() }
    }
}

impl<O: Send + 'static> Link<O> {
    /// Gives an order. One that has ended does not get it.
    pub(crate) fn order(&self, order: O) {
        let _ = self.actor.cast(order);
    }

    pub(crate) fn cell(&self) -> Cell {
        self.cell.clone()
    }
}

/// Resolves when a root host has ended.
pub(crate) struct Ending(JoinHandle<()>);

impl Ending {
    pub(crate) async fn wait(self) {
        // An error is a panic of ractor's own task, which is an end, too.
        let _ = self.0.await;
    }
}

/// Starts a host that is linked to nobody.
pub(crate) async fn root<H: Host>(host: H) -> Result<(Link<H::Order>, Ending), Failure> {
    let below = Arc::new(Below::default());
    let (actor, handle) =
        ractor::Actor::spawn(None, Hosting::<H>(PhantomData), (host, below.clone())).await?;
    let cell = Cell { actor: actor.get_cell(), below: Some(below) };
    Ok((Link { actor, cell }, Ending(handle)))
}

/// Starts a host below another one.
pub(crate) async fn host<H: Host>(host: H, above: &Cell) -> Result<Link<H::Order>, Failure> {
    let below = Arc::new(Below::default());
    let hosting = Hosting::<H>(PhantomData);
    let (actor, _) =
        ractor::Actor::spawn_linked(None, hosting, (host, below.clone()), above.actor.clone()).await?;
    let cell = Cell { actor: actor.get_cell(), below: Some(below) };
    above.link(&cell);
    Ok(Link { actor, cell })
}

struct Hosting<H>(PhantomData<fn() -> H>);

/// A host, and the way to itself.
struct Hosted<H: Host> {
    host: H,
    me: Link<H::Order>,
}

impl<H: Host> ractor::Actor for Hosting<H> {
    type Msg = H::Order;
    type State = Hosted<H>;
    type Arguments = (H, Arc<Below>);

    async fn pre_start(
        &self,
        myself: ActorRef<H::Order>,
        (host, below): (H, Arc<Below>),
    ) -> Result<Hosted<H>, ActorProcessingErr> {
        let cell = Cell { actor: myself.get_cell(), below: Some(below) };
        Ok(Hosted { host, me: Link { actor: myself, cell } })
    }

    async fn handle(
        &self,
        _: ActorRef<H::Order>,
        order: H::Order,
        hosted: &mut Hosted<H>,
    ) -> Result<(), ActorProcessingErr> {
        hosted.follow(Event::Order(order)).await
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<H::Order>,
        event: SupervisionEvent,
        hosted: &mut Hosted<H>,
    ) -> Result<(), ActorProcessingErr> {
        // Every end comes as one of these two; a kill is a termination.
        let (SupervisionEvent::ActorTerminated(cell, ..) | SupervisionEvent::ActorFailed(cell, _)) = event
        else {
            return Ok(());
        };
        let id = cell.get_id().pid();
        hosted.me.cell.unlink(id);
        hosted.follow(Event::Ended(id)).await
    }
}

impl<H: Host> Hosted<H> {
    async fn follow(&mut self, event: Event<H::Order>) -> Result<(), ActorProcessingErr> {
        match self.host.handle(&self.me, event).await {
            Next::Continue => Ok(()),
            Next::End => {
                self.me.actor.stop(None);
                Ok(())
            }
            Next::Fail(message) => {
                self.me.cell.kill_below();
                Err(message.into())
            }
        }
    }
}

/// One incarnation of an actor, from its wait at the gate to its end.
pub(crate) type Life = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A cell whose life has not begun.
pub(crate) struct SpawnedLife {
    pub(crate) cell: Cell,
    begin: ActorRef<Life>,
    life: Life,
}

impl SpawnedLife {
    pub(crate) fn begin(self) {
        // Refused only by a cell that was killed meanwhile.
        let _ = self.begin.cast(self.life);
    }
}

/// Makes a cell for `life` below `above`.
pub(crate) async fn spawn_life(life: Life, above: &Cell) -> Result<SpawnedLife, Failure> {
    let (begin, _) = ractor::Actor::spawn_linked(None, Shim, (), above.actor.clone()).await?;
    let cell = Cell::new(begin.get_cell());
    above.link(&cell);
    Ok(SpawnedLife { cell, begin, life })
}

/// Runs a life in a message handler, where a kill signal of `ractor` reaches it.
struct Shim;

impl ractor::Actor for Shim {
    type Msg = Life;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Life>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Life>,
        life: Life,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        life.await;
        myself.stop(None);
        Ok(())
    }
}
