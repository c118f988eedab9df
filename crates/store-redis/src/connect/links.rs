//! The links that the pool holds. Each reaches all keys: by one connection, or by one to each node of a cluster.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use redis::{ConnectionInfo, RedisResult, Value};

use super::{
    cluster::{Cluster, Nodes},
    connection::Connection,
    connector::{ConnectError, Connector},
    receiver::Receiver,
    sentinel::{SentinelView, WatchedMaster},
    settings::{RedisSettings, Servers},
    slots::Node,
};
use crate::{
    answers::{Consequence, consequence_of},
    batch::Batch,
    events::EventQueue,
};

/// Makes, checks and outdates links.
pub(super) struct Links {
    servers: Deployment,
    /// Checks the connections to one server before they are lent again.
    checks: deadpool_redis::Manager,
    /// How long after it was lent a link is not checked.
    check_after: Duration,
    /// Rises when the error of a link or of a subscription says that another server may be the master; links and subscriptions of
    /// earlier generations are replaced.
    generation: AtomicU64,
    /// The number of subscriptions, so that each tries another node of a cluster.
    subscriptions: AtomicUsize,
    /// The number of links made.
    created: AtomicU64,
}

enum Deployment {
    /// One server.
    Single(Box<Connector>),
    Sentinel(WatchedMaster),
    Cluster(Cluster),
}

/// A member of the pool.
pub(super) struct Link {
    generation: u64,
    connections: Connections,
}

enum Connections {
    Server(Connection),
    Cluster(Nodes),
}

impl Link {
    pub(super) fn spans_servers(&self) -> bool {
        matches!(self.connections, Connections::Cluster(_))
    }
}

impl Links {
    pub(super) fn new(settings: &RedisSettings) -> RedisResult<Self> {
        let connector = |server: &ConnectionInfo| Connector::new(server, settings);
        let connectors =
            |servers: &[ConnectionInfo]| servers.iter().map(connector).collect::<RedisResult<Vec<_>>>();
        let servers = match &settings.servers {
            Servers::Single(server) => Deployment::Single(Box::new(connector(server)?)),
            Servers::Sentinel { sentinels, master, node } => Deployment::Sentinel(WatchedMaster::new(
                connectors(sentinels)?,
                master.clone(),
                connector(node)?,
            )),
            Servers::Cluster(seeds) => Deployment::Cluster(Cluster::new(connectors(seeds)?)?),
        };
        let checks = match &settings.servers {
            Servers::Single(server) | Servers::Sentinel { node: server, .. } => server.clone(),
            // A link to a cluster checks its connections by itself. `Cluster::new` has refused an empty list.
            Servers::Cluster(seeds) => seeds[0].clone(),
        };
        let checks = deadpool_redis::Manager::new(checks)?;
        let (generation, subscriptions, created) = Default::default();
        Ok(Self { servers, checks, check_after: settings.check_after, generation, subscriptions, created })
    }

    /// The number of links made.
    pub(super) fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    /// Opens a connection for subscriptions. Returns its node if Redis is a cluster.
    pub(super) async fn listen(&self, queue: EventQueue) -> Result<(Receiver, Option<Node>), ConnectError> {
        match &self.servers {
            Deployment::Single(connector) => Ok((connector.listen(queue).await?, None)),
            Deployment::Sentinel(watch) => {
                let (connector, _) = watch.master().await?;
                Ok((connector.listen(queue).await?, None))
            }
            Deployment::Cluster(cluster) => {
                // Nodes forward published messages to each other, so one subscription receives all of them.
                let turn = self.subscriptions.fetch_add(1, Ordering::Relaxed);
                let (connector, node) = cluster.any(turn).await?;
                match connector.listen(queue).await {
                    Ok(connection) => Ok((connection, Some(node))),
                    // The node may have left the cluster: the next attempt reads the map again.
                    Err(error) => {
                        cluster.mark_stale();
                        Err(error.into())
                    }
                }
            }
        }
    }

    /// Connects to each server that holds keys. Returns addresses without credentials.
    pub(super) async fn servers(&self) -> Result<Vec<(String, Connection)>, ConnectError> {
        match &self.servers {
            Deployment::Single(connector) => Ok(vec![(connector.address(), connector.connect().await?)]),
            Deployment::Sentinel(watch) => {
                let (connector, connection) = watch.master().await?;
                Ok(vec![(connector.address(), connection)])
            }
            Deployment::Cluster(cluster) => cluster.servers().await,
        }
    }

    /// Connects to a replica; `None` for a single server, which has no failover.
    pub(super) async fn connect_replica(
        &self,
        host: &str,
        port: u16,
    ) -> Option<Result<Connection, ConnectError>> {
        let connector = match &self.servers {
            Deployment::Single(..) => return None,
            Deployment::Sentinel(watch) => watch.connector_to(host, port),
            Deployment::Cluster(cluster) => cluster.connector_to(host, port),
        };
        Some(connector.connect().await.map_err(ConnectError::from))
    }

    /// Each sentinel's view, by its address; empty without sentinels.
    pub(super) async fn sentinels(&self) -> Vec<(String, Result<SentinelView, ConnectError>)> {
        match &self.servers {
            Deployment::Sentinel(watch) => watch.views().await,
            _ => Vec::new(),
        }
    }

    /// Whether a node of the cluster has slots by the last map.
    pub(super) fn is_master(&self, node: &Node) -> bool {
        match &self.servers {
            Deployment::Cluster(cluster) => cluster.is_master(node),
            _ => true,
        }
    }

    /// Sends a batch; returns one answer a command.
    pub(super) async fn run(
        &self,
        link: &mut Link,
        batch: Batch,
        round_trips: &mut u64,
    ) -> Result<Vec<RedisResult<Value>>, ConnectError> {
        let generation = link.generation;
        let answers = match (&mut link.connections, &self.servers) {
            (Connections::Cluster(nodes), Deployment::Cluster(cluster)) => {
                nodes.run(cluster, batch, round_trips).await
            }
            (Connections::Server(connection), _) => {
                *round_trips += 1;
                batch.send(connection).await.map_err(ConnectError::from)
            }
            // `create` makes every link from the same `self.servers`, so the two always match.
            (Connections::Cluster(_), _) => unreachable!("a link to a cluster without a cluster"),
        };
        // A broken connection counts too: after a failover the former master may be gone, and answer nothing.
        if answers.as_ref().map_or(true, |answers| answers.iter().any(needs_renewal)) {
            self.outdate(generation);
        }
        answers
    }

    /// The generation of a connection that is about to be made.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether an error has shown, since a connection of this generation was made, that another server may be the master. In a
    /// cluster the map decides instead ([`Links::is_master`]): one node's error says nothing of the others.
    pub(super) fn is_outdated(&self, generation: u64) -> bool {
        !matches!(self.servers, Deployment::Cluster(_)) && generation != self.generation()
    }

    /// Retires the links and subscriptions of this generation and of earlier ones.
    pub(super) fn outdate(&self, generation: u64) {
        // Compared, so that many links that meet one failover retire one generation, and not the new links too.
        let _ = self.generation.compare_exchange(
            generation,
            generation + 1,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if let Deployment::Cluster(cluster) = &self.servers {
            cluster.mark_stale();
        }
    }
}

/// Whether an answer shows that new connections are needed: the server is no master any more, or the connection lost its rights.
fn needs_renewal(answer: &RedisResult<Value>) -> bool {
    answer.as_ref().err().is_some_and(|error| consequence_of(error) == Consequence::Renew)
}

/// The pool's side of [`Links`].
pub(super) struct LinkManager(pub(super) Arc<Links>);

impl Manager for LinkManager {
    type Type = Link;
    type Error = ConnectError;

    async fn create(&self) -> Result<Link, ConnectError> {
        // Before connecting: a failover meanwhile must retire this link too.
        let generation = self.0.generation();
        let connections = match &self.0.servers {
            Deployment::Single(connector) => Connections::Server(connector.connect().await?),
            Deployment::Sentinel(watch) => Connections::Server(watch.master().await?.1),
            Deployment::Cluster(cluster) => Connections::Cluster(cluster.enter().await?),
        };
        self.0.created.fetch_add(1, Ordering::Relaxed);
        Ok(Link { generation, connections })
    }

    async fn recycle(&self, link: &mut Link, metrics: &Metrics) -> RecycleResult<ConnectError> {
        if link.generation != self.0.generation() {
            // The pool then drops this link and makes a new one.
            return Err(RecycleError::message("made before the last failure"));
        }
        if metrics.last_used() < self.0.check_after {
            return Ok(());
        }
        match &mut link.connections {
            Connections::Server(connection) => {
                self.0.checks.recycle(connection.library(), metrics).await.map_err(|error| match error {
                    RecycleError::Backend(error) => RecycleError::Backend(error.into()),
                    RecycleError::Message(why) => RecycleError::Message(why),
                })
            }
            Connections::Cluster(nodes) => {
                // Broken connections are dropped and made again when needed, so the link itself stays good.
                nodes.check().await;
                Ok(())
            }
        }
    }
}
