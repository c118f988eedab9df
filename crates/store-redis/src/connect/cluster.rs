//! A cluster: a batch is split by node, each node gets one pipeline, all of them at the same time.
//!
//! What a node sends elsewhere (`MOVED`, `ASK`) or puts off (`TRYAGAIN`) was not run, and is sent again alone, so a
//! resharding costs a round trip and no answer. The client library's own pipelines are not used for this: for one
//! redirection they send the whole pipeline again.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::{BoxFuture, FutureExt, join_all, select_ok, try_join_all};
use redis::{
    ErrorKind as Client, Pipeline, RedisError, RedisResult, ServerErrorKind as Server, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use retry::table::SLOT_MOVING;
use tokio::{sync::Mutex, time::sleep};

use super::{
    door::{Door, Trouble, ping},
    slots::{Node, SlotMap, slot_of},
};
use crate::{
    batch::{Answers, Batch, Unit},
    error::ErrorKind,
};

/// What is known of a cluster.
pub(super) struct Cluster {
    seeds: Vec<Door>,
    /// How each node is entered; without its address.
    door: Door,
    map: RwLock<Option<Arc<SlotMap>>>,
    /// Something failed since the map was read.
    doubted: AtomicBool,
    /// Held while the map is read, so that one reads it for all.
    reading: Mutex<()>,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Door>) -> RedisResult<Self> {
        let Some(door) = seeds.first().cloned() else {
            return Err((Client::InvalidClientConfig, "no node of the cluster is named").into());
        };
        let (map, reading) = (RwLock::default(), Mutex::new(()));
        Ok(Self { seeds, door, map, doubted: AtomicBool::new(false), reading })
    }

    /// A link to the cluster; its connections are made when they are needed.
    pub(super) async fn enter(&self) -> Result<Nodes, Trouble> {
        self.map().await?;
        Ok(Nodes::default())
    }

    /// One of the masters, another one each turn.
    pub(super) async fn any(&self, turn: usize) -> Result<(Door, Node), Trouble> {
        let masters = self.map().await?.masters();
        let node = masters.get(turn.checked_rem(masters.len()).unwrap_or(0)).cloned();
        let node = node.ok_or_else(|| Trouble::known(ErrorKind::Loading, "no node has any slots"))?;
        Ok((self.door.at(&node.host, node.port)?, node))
    }

    /// A connection to each master, with its name as it may be shown.
    pub(super) async fn servers(&self) -> Result<Vec<(String, MultiplexedConnection)>, Trouble> {
        let masters = self.map().await?.masters();
        let connecting = masters.iter().map(|node| async {
            let connection = self.connect(node).await?;
            Ok((format!("{}:{}", node.host, node.port), connection))
        });
        try_join_all(connecting).await
    }

    /// How a node is entered.
    pub(super) fn door_to(&self, host: &str, port: u16) -> RedisResult<Door> {
        self.door.at(host, port)
    }

    async fn connect(&self, node: &Node) -> Result<MultiplexedConnection, Trouble> {
        let connected = self.door.at(&node.host, node.port)?.connect().await;
        connected.map_err(|error| of_node(node, error))
    }

    /// Whether a node has any slots, as far as is known.
    pub(super) fn is_master(&self, node: &Node) -> bool {
        self.last_map().is_none_or(|map| map.masters().contains(node))
    }

    /// The map is read again before it is used the next time.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    fn last_map(&self) -> Option<Arc<SlotMap>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn good_map(&self) -> Option<Arc<SlotMap>> {
        self.last_map().filter(|_| !self.doubted.load(Ordering::Relaxed))
    }

    async fn map(&self) -> Result<Arc<SlotMap>, Trouble> {
        if let Some(map) = self.good_map() {
            return Ok(map);
        }
        let _alone = self.reading.lock().await;
        if let Some(map) = self.good_map() {
            return Ok(map);
        }
        let masters = self.last_map().map_or_else(Vec::new, |map| map.masters());
        let masters = masters.iter().map(|node| self.door.at(&node.host, node.port));
        let doors = masters.chain(self.seeds.iter().cloned().map(Ok)).collect::<RedisResult<Vec<_>>>()?;
        let asked: Vec<BoxFuture<'_, _>> = doors.iter().map(|door| ask(door).boxed()).collect();
        // What comes to light from now on casts new doubt.
        self.doubted.store(false, Ordering::Relaxed);
        let map = match select_ok(asked).await {
            Ok((map, _)) => Arc::new(map),
            Err(trouble) => {
                self.doubt();
                return Err(trouble);
            }
        };
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Some(map.clone());
        Ok(map)
    }

    fn learn(&self, moves: Vec<(u16, Node)>) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = map.as_mut().filter(|_| !moves.is_empty()).map(Arc::make_mut) {
            moves.into_iter().for_each(|(slot, node)| map.assign(slot, node));
        }
    }
}

/// An error says which of the nodes it is about.
fn of_node(node: &Node, error: RedisError) -> Trouble {
    Trouble::at(format!("the node at {}:{}", node.host, node.port), error)
}

/// What one node says of the cluster. One that is cut off from it has nothing to say.
async fn ask(door: &Door) -> Result<SlotMap, Trouble> {
    let of_node = |kind, what: &str| Trouble::known(kind, format!("the node at {}: {what}", door.shown()));
    let Some((host, port)) = door.address() else {
        return Err(of_node(ErrorKind::Topology, "a cluster has no Unix socket"));
    };
    let mut connection = door.connect().await?;
    let mut questions = redis::pipe();
    questions.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
    let (info, slots) = match questions.query_async::<(String, Value)>(&mut connection).await {
        Ok(answers) => answers,
        Err(error) if error.to_string().contains("cluster support disabled") => {
            return Err(of_node(ErrorKind::Topology, "it is no node of a cluster"));
        }
        Err(error) => return Err(error.into()),
    };
    if !info.lines().any(|line| line.trim_end() == "cluster_state:ok") {
        return Err(of_node(ErrorKind::Loading, "the cluster is down, or not complete"));
    }
    Ok(SlotMap::read(slots, &Node { host: host.to_owned(), port })?)
}

/// Connections to the nodes of a cluster.
#[derive(Default)]
pub(super) struct Nodes(BTreeMap<Node, MultiplexedConnection>);

/// A unit, and where it is to go.
struct Job {
    goal: Goal,
    unit: Unit,
}

enum Goal {
    /// To the node that has the slot.
    Slot(u16),
    /// To this node.
    Node(Node),
    /// To this node, which is just being given the slot.
    Guest(Node),
}

impl Nodes {
    /// Drops the connections that are broken.
    pub(super) async fn check(&mut self) {
        let checks = self.0.iter_mut().map(|(node, connection)| async {
            let broken = ping(connection).await.is_err();
            broken.then(|| node.clone())
        });
        for node in join_all(checks).await.into_iter().flatten() {
            self.0.remove(&node);
        }
    }

    /// Sends a batch; one answer a command.
    pub(super) async fn run(
        &mut self,
        cluster: &Cluster,
        batch: Batch,
        round_trips: &mut u64,
    ) -> Result<Vec<RedisResult<Value>>, Trouble> {
        let mut answers = Answers::new(batch.len());
        let mut map = cluster.map().await?;
        let mut jobs = Vec::with_capacity(batch.len());
        for unit in batch.into_units(slot_of) {
            match unit.slot {
                Some(slot) => jobs.push(Job { goal: Goal::Slot(slot), unit }),
                None => jobs.extend(
                    map.masters().into_iter().map(|node| Job { goal: Goal::Node(node), unit: unit.clone() }),
                ),
            }
        }
        for round in 0..SLOT_MOVING.attempts {
            *round_trips += 1;
            let mut moves = Vec::new();
            let mut is_put_off = false;
            for (node, jobs_of_node, sent) in self.send(cluster, &map, mem::take(&mut jobs)).await? {
                let mut sent = sent.into_iter();
                for mut job in jobs_of_node {
                    if matches!(job.goal, Goal::Guest(_)) {
                        sent.next();
                    }
                    let read = job.unit.read(&mut sent);
                    let sent_away = read.iter().find_map(|answer| redirection(answer.as_ref().err()?, &node));
                    match sent_away {
                        None => answers.add(&job.unit, read),
                        Some(Redirection::Moved(slot, to)) => {
                            moves.push((slot, to.clone()));
                            job.goal = Goal::Node(to);
                            jobs.push(job);
                        }
                        Some(Redirection::Ask(to)) => {
                            job.goal = Goal::Guest(to);
                            jobs.push(job);
                        }
                        Some(Redirection::Later) => {
                            is_put_off = true;
                            job.goal = job.unit.slot.map_or(Goal::Node(node.clone()), Goal::Slot);
                            jobs.push(job);
                        }
                    }
                }
            }
            cluster.learn(moves);
            if jobs.is_empty() {
                return Ok(answers.finish());
            }
            if is_put_off {
                sleep(SLOT_MOVING.pause(round, retry::random())).await;
            }
            map = cluster.map().await?;
        }
        Err(Trouble::known(ErrorKind::Loading, "slots are being moved, and take long"))
    }

    /// Sends jobs to their nodes, all at the same time.
    async fn send(
        &mut self,
        cluster: &Cluster,
        map: &SlotMap,
        jobs: Vec<Job>,
    ) -> Result<Vec<(Node, Vec<Job>, Vec<Value>)>, Trouble> {
        let mut by_node: BTreeMap<Node, Vec<Job>> = BTreeMap::new();
        for job in jobs {
            let node = match &job.goal {
                Goal::Slot(slot) => map.node(*slot).cloned().ok_or_else(|| {
                    Trouble::known(ErrorKind::Loading, format!("no node of the cluster has slot {slot}"))
                })?,
                Goal::Node(node) | Goal::Guest(node) => node.clone(),
            };
            by_node.entry(node).or_default().push(job);
        }
        let missing = by_node
            .keys()
            .filter(|node| !self.0.contains_key(*node))
            .map(|node| async { Ok::<_, Trouble>((node.clone(), cluster.connect(node).await?)) });
        let opened = try_join_all(missing).await?;
        self.0.extend(opened);
        let sends = by_node.into_iter().filter_map(|(node, jobs)| {
            let mut connection = self.0.get(&node)?.clone();
            let mut pipeline = Pipeline::with_capacity(jobs.len());
            for job in &jobs {
                if matches!(job.goal, Goal::Guest(_)) {
                    pipeline.cmd("ASKING");
                }
                job.unit.write(&mut pipeline);
            }
            Some(async move {
                let sent = connection.req_packed_commands(&pipeline, 0, pipeline.len()).await;
                (node, jobs, sent)
            })
        });
        let (mut sent, mut failed) = (Vec::new(), None);
        for (node, jobs, values) in join_all(sends).await {
            match values {
                Ok(values) => sent.push((node, jobs, values)),
                Err(error) => {
                    self.0.remove(&node);
                    failed = Some(of_node(&node, error));
                }
            }
        }
        failed.map_or(Ok(sent), Err)
    }
}

enum Redirection {
    Moved(u16, Node),
    Ask(Node),
    Later,
}

/// Where `said_by` sends us, when that is what it says.
fn redirection(error: &RedisError, said_by: &Node) -> Option<Redirection> {
    let Client::Server(kind) = error.kind() else { return None };
    let to = || error.redirect_node().and_then(|(node, slot)| Some((slot, Node::parse(node, said_by)?)));
    match kind {
        Server::Moved => to().map(|(slot, node)| Redirection::Moved(slot, node)),
        Server::Ask => to().map(|(_, node)| Redirection::Ask(node)),
        Server::TryAgain => Some(Redirection::Later),
        _ => None,
    }
}
