//! A cluster: a batch is split by node, and each node gets one pipeline, all of them at the same time.
//!
//! A command that a node redirects (`MOVED`, `ASK`) or defers (`TRYAGAIN`) was not run. It is sent again alone, so that
//! resharding costs a round trip and no answer. The client library's own cluster pipelines repeat the whole pipeline for one
//! redirection, which would run other commands twice.

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
    aio::ConnectionLike,
};
use retry::table::SLOT_MOVING;
use tokio::{sync::Mutex, time::sleep};

use super::{
    connection::Connection,
    connector::{ConnectError, Connector, ping},
    slots::{Node, SlotMap, slot_of},
};
use crate::{
    batch::{Answers, Batch, Unit},
    kind::ErrorKind,
};

/// The slot map of a cluster, and how to connect to its nodes.
pub(super) struct Cluster {
    seeds: Vec<Connector>,
    /// User, password, TLS and timeouts of every node; the address is replaced.
    connector: Connector,
    // A lock of std: it is never held across an await.
    map: RwLock<Option<Arc<SlotMap>>>,
    /// Set by failures since the map was read.
    is_stale: AtomicBool,
    /// Held while the map is read, so that one session reads it for all that wait.
    reading: Mutex<()>,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Connector>) -> RedisResult<Self> {
        let Some(connector) = seeds.first().cloned() else {
            return Err((Client::InvalidClientConfig, "no node of the cluster is named").into());
        };
        let (map, reading) = (RwLock::default(), Mutex::new(()));
        Ok(Self { seeds, connector, map, is_stale: AtomicBool::new(false), reading })
    }

    /// Connections for a new link: none yet, since `send` makes each when a command needs it. Fails if no node has a map.
    pub(super) async fn enter(&self) -> Result<Nodes, ConnectError> {
        self.map().await?;
        Ok(Nodes::default())
    }

    /// One of the masters, a different one for each `turn`: a subscription that fails moves on to the next node.
    pub(super) async fn any(&self, turn: usize) -> Result<(Connector, Node), ConnectError> {
        let masters = self.map().await?.masters();
        // Without masters there is no remainder, and `get(0)` finds none.
        let node = masters.get(turn.checked_rem(masters.len()).unwrap_or(0)).cloned();
        let node = node.ok_or_else(|| ConnectError::known(ErrorKind::Loading, "no node has any slots"))?;
        Ok((self.connector.at(&node.host, node.port), node))
    }

    /// Connects to each master. Returns addresses without credentials.
    pub(super) async fn servers(&self) -> Result<Vec<(String, Connection)>, ConnectError> {
        let masters = self.map().await?.masters();
        let connecting = masters.iter().map(|node| async {
            let connection = self.connect(node).await?;
            Ok((format!("{}:{}", node.host, node.port), connection))
        });
        try_join_all(connecting).await
    }

    /// A connector to the node at this address.
    pub(super) fn connector_to(&self, host: &str, port: u16) -> Connector {
        self.connector.at(host, port)
    }

    async fn connect(&self, node: &Node) -> Result<Connection, ConnectError> {
        let connected = self.connector.at(&node.host, node.port).connect().await;
        connected.map_err(|error| node_error(node, error))
    }

    /// Whether a node has slots by the last map; true without a map.
    pub(super) fn is_master(&self, node: &Node) -> bool {
        self.last_map().is_none_or(|map| map.masters().contains(node))
    }

    /// Has the map read again before its next use.
    pub(super) fn mark_stale(&self) {
        self.is_stale.store(true, Ordering::Relaxed);
    }

    fn last_map(&self) -> Option<Arc<SlotMap>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fresh_map(&self) -> Option<Arc<SlotMap>> {
        self.last_map().filter(|_| !self.is_stale.load(Ordering::Relaxed))
    }

    async fn map(&self) -> Result<Arc<SlotMap>, ConnectError> {
        if let Some(map) = self.fresh_map() {
            return Ok(map);
        }
        let _alone = self.reading.lock().await;
        // Another session may have read it while this one waited.
        if let Some(map) = self.fresh_map() {
            return Ok(map);
        }
        let masters = self.last_map().map_or_else(Vec::new, |map| map.masters());
        let masters = masters.iter().map(|node| self.connector.at(&node.host, node.port));
        // The seeds too: none of the masters of the last map may be alive any more.
        let connectors: Vec<Connector> = masters.chain(self.seeds.iter().cloned()).collect();
        let asked: Vec<BoxFuture<'_, _>> =
            connectors.iter().map(|connector| ask_topology(connector).boxed()).collect();
        // Before the answer: a failure that another session meets meanwhile must mark the new map as stale.
        self.is_stale.store(false, Ordering::Relaxed);
        // Never empty, for which `select_ok` would panic: `new` requires a seed. The first good answer wins; a dead node costs nothing while another one answers.
        let map = match select_ok(asked).await {
            Ok((map, _)) => Arc::new(map),
            Err(error) => {
                self.mark_stale();
                return Err(error);
            }
        };
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Some(map.clone());
        Ok(map)
    }

    /// Notes moves that nodes reported by `MOVED`, which saves another `CLUSTER SLOTS`.
    fn apply_moves(&self, moves: Vec<(u16, Node)>) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        // Sessions that hold the old map keep it: `make_mut` copies a map that is shared.
        if let Some(map) = map.as_mut().filter(|_| !moves.is_empty()).map(Arc::make_mut) {
            moves.into_iter().for_each(|(slot, node)| map.assign(slot, node));
        }
    }
}

/// The error of a node, with the node's address.
fn node_error(node: &Node, error: RedisError) -> ConnectError {
    ConnectError::at(format!("the node at {}:{}", node.host, node.port), error)
}

/// Queries a node for the slot map. A node that is cut off from the cluster answers `CLUSTER SLOTS` from memory, so its state is
/// checked too.
async fn ask_topology(connector: &Connector) -> Result<SlotMap, ConnectError> {
    let node_error =
        |kind, what: &str| ConnectError::known(kind, format!("the node at {}: {what}", connector.address()));
    let Some((host, port)) = connector.host_and_port() else {
        return Err(node_error(ErrorKind::Topology, "a cluster has no Unix socket"));
    };
    let mut connection = connector.connect().await?;
    let mut questions = redis::pipe();
    questions.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
    let (info, slots) = match questions.query_async::<(String, Value)>(&mut connection).await {
        Ok(answers) => answers,
        // The code is only `ERR`, so the words decide.
        Err(error) if error.to_string().contains("cluster support disabled") => {
            return Err(node_error(ErrorKind::Topology, "it is no node of a cluster"));
        }
        Err(error) => return Err(error.into()),
    };
    if !info.lines().any(|line| line.trim_end() == "cluster_state:ok") {
        return Err(node_error(ErrorKind::Loading, "the cluster is down, or not complete"));
    }
    Ok(SlotMap::read(slots, &Node { host: host.to_owned(), port })?)
}

/// Connections to the nodes of a cluster.
#[derive(Default)]
pub(super) struct Nodes(BTreeMap<Node, Connection>);

/// A unit with its destination.
struct Job {
    destination: Destination,
    unit: Unit,
}

enum Destination {
    /// The node that has the slot by the map.
    Slot(u16),
    /// This node.
    Node(Node),
    /// This node, which is importing the slot and serves it only after `ASKING`.
    Importing(Node),
}

impl Nodes {
    /// Drops the connections that don't answer a ping.
    pub(super) async fn check(&mut self) {
        let checks = self.0.iter_mut().map(|(node, connection)| async {
            let broken = ping(connection).await.is_err();
            broken.then(|| node.clone())
        });
        for node in join_all(checks).await.into_iter().flatten() {
            self.0.remove(&node);
        }
    }

    /// Sends a batch; returns one answer a command.
    pub(super) async fn run(
        &mut self,
        cluster: &Cluster,
        batch: Batch,
        round_trips: &mut u64,
    ) -> Result<Vec<RedisResult<Value>>, ConnectError> {
        let mut answers = Answers::new(batch.len());
        let mut map = cluster.map().await?;
        let mut jobs = Vec::with_capacity(batch.len());
        for unit in batch.into_units(slot_of) {
            match unit.slot {
                Some(slot) => jobs.push(Job { destination: Destination::Slot(slot), unit }),
                // PING or SCRIPT LOAD, which concern each server.
                None => jobs.extend(
                    map.masters()
                        .into_iter()
                        .map(|node| Job { destination: Destination::Node(node), unit: unit.clone() }),
                ),
            }
        }
        for round in 0..SLOT_MOVING.attempts {
            *round_trips += 1;
            let mut moves = Vec::new();
            let mut must_wait = false;
            for (node, jobs_of_node, sent) in self.send(cluster, &map, mem::take(&mut jobs)).await? {
                let mut sent = sent.into_iter();
                for mut job in jobs_of_node {
                    if matches!(job.destination, Destination::Importing(_)) {
                        // The answer to ASKING.
                        sent.next();
                    }
                    let read = job.unit.read(&mut sent);
                    let redirected =
                        read.iter().find_map(|answer| redirection(answer.as_ref().err()?, &node));
                    match redirected {
                        None => answers.add(&job.unit, read),
                        Some(Redirection::Moved(slot, to)) => {
                            moves.push((slot, to.clone()));
                            job.destination = Destination::Node(to);
                            jobs.push(job);
                        }
                        // ASK holds for this command alone: the slot still belongs to the old node, so the map stays.
                        Some(Redirection::Ask(to)) => {
                            job.destination = Destination::Importing(to);
                            jobs.push(job);
                        }
                        // The keys of a command are on both nodes while its slot moves; only time helps.
                        Some(Redirection::TryAgain) => {
                            must_wait = true;
                            job.destination =
                                job.unit.slot.map_or(Destination::Node(node.clone()), Destination::Slot);
                            jobs.push(job);
                        }
                    }
                }
            }
            cluster.apply_moves(moves);
            if jobs.is_empty() {
                return Ok(answers.finish());
            }
            // MOVED and ASK name another node, which is asked at once.
            if must_wait {
                sleep(SLOT_MOVING.pause(round, retry::random())).await;
            }
            // It has learnt the moves, and may have been read anew after another session's failure.
            map = cluster.map().await?;
        }
        Err(ConnectError::known(ErrorKind::Loading, "slots are still being moved after the last attempt"))
    }

    /// Sends jobs to their nodes, to all nodes at the same time.
    async fn send(
        &mut self,
        cluster: &Cluster,
        map: &SlotMap,
        jobs: Vec<Job>,
    ) -> Result<Vec<(Node, Vec<Job>, Vec<Value>)>, ConnectError> {
        let mut by_node: BTreeMap<Node, Vec<Job>> = BTreeMap::new();
        for job in jobs {
            let node = match &job.destination {
                Destination::Slot(slot) => map.node(*slot).cloned().ok_or_else(|| {
                    ConnectError::known(ErrorKind::Loading, format!("no node of the cluster has slot {slot}"))
                })?,
                Destination::Node(node) | Destination::Importing(node) => node.clone(),
            };
            by_node.entry(node).or_default().push(job);
        }
        // Before anything is sent: a node that can't be reached then fails the batch while no command of this round has run.
        let missing = by_node
            .keys()
            .filter(|node| !self.0.contains_key(*node))
            .map(|node| async { Ok::<_, ConnectError>((node.clone(), cluster.connect(node).await?)) });
        let opened = try_join_all(missing).await?;
        self.0.extend(opened);
        let sends = by_node.into_iter().filter_map(|(node, jobs)| {
            // Clones share one socket.
            let mut connection = self.0.get(&node)?.clone();
            let mut pipeline = Pipeline::with_capacity(jobs.len());
            for job in &jobs {
                if matches!(job.destination, Destination::Importing(_)) {
                    // Holds for the next command only, or for the next transaction.
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
        // All sends are awaited, so that every broken connection is dropped, and not only the first.
        for (node, jobs, values) in join_all(sends).await {
            match values {
                Ok(values) => sent.push((node, jobs, values)),
                Err(error) => {
                    self.0.remove(&node);
                    failed = Some(node_error(&node, error));
                }
            }
        }
        failed.map_or(Ok(sent), Err)
    }
}

enum Redirection {
    Moved(u16, Node),
    Ask(Node),
    TryAgain,
}

/// The redirection in an answer of `sender`, if it is one.
fn redirection(error: &RedisError, sender: &Node) -> Option<Redirection> {
    let Client::Server(kind) = error.kind() else { return None };
    let to = || error.redirect_node().and_then(|(node, slot)| Some((slot, Node::parse(node, sender)?)));
    match kind {
        Server::Moved => to().map(|(slot, node)| Redirection::Moved(slot, node)),
        Server::Ask => to().map(|(_, node)| Redirection::Ask(node)),
        Server::TryAgain => Some(Redirection::TryAgain),
        _ => None,
    }
}
