//! What the pool holds: ways to Redis, each of which reaches all keys.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use redis::{ConnectionInfo, ErrorKind, RedisResult, ServerErrorKind, Value, aio::MultiplexedConnection};

use super::{
    cluster::{Cluster, Nodes},
    door::{Door, Trouble, ping},
    sentinel::{SentinelView, Watch},
    settings::{RedisSettings, Servers},
    slots::Node,
};
use crate::{batch::Batch, events::EventQueue};

/// Makes ways to Redis.
pub(super) struct Links {
    servers: Kind,
    /// Links of an earlier generation are not used again.
    generation: AtomicU64,
    /// Subscriptions so far, to try another node of a cluster each time.
    subscriptions: AtomicUsize,
    /// Links so far.
    created: AtomicU64,
}

enum Kind {
    /// With the manager that makes and checks its connections. That one knows no certificates of our own.
    Single(Box<Door>, Option<Box<deadpool_redis::Manager>>),
    Sentinel(Watch),
    Cluster(Cluster),
}

/// A way to all keys.
pub(super) struct Link {
    generation: u64,
    way: Way,
}

enum Way {
    Server(MultiplexedConnection),
    Cluster(Nodes),
}

impl Link {
    pub(super) fn is_scattered(&self) -> bool {
        matches!(self.way, Way::Cluster(_))
    }
}

impl Links {
    pub(super) fn new(settings: &RedisSettings) -> RedisResult<Self> {
        let door = |server: &ConnectionInfo| {
            let (connect, command) = (settings.connect_timeout, settings.command_timeout);
            Door::new(server, settings.certificates.as_ref(), connect, command)
        };
        let doors = |servers: &[ConnectionInfo]| servers.iter().map(door).collect::<RedisResult<Vec<_>>>();
        let servers = match &settings.servers {
            Servers::Single(server) => {
                let door = door(server)?;
                let manager = settings.certificates.is_none().then(|| door.manager()).transpose()?;
                Kind::Single(Box::new(door), manager.map(Box::new))
            }
            Servers::Sentinel { sentinels, master, node } => {
                Kind::Sentinel(Watch::new(doors(sentinels)?, master.clone(), door(node)?))
            }
            Servers::Cluster(seeds) => Kind::Cluster(Cluster::new(doors(seeds)?)?),
        };
        let (generation, subscriptions, created) = Default::default();
        Ok(Self { servers, generation, subscriptions, created })
    }

    /// How many links were made.
    pub(super) fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    /// A connection for subscriptions, and to which node of a cluster it leads.
    pub(super) async fn listen(
        &self,
        queue: EventQueue,
    ) -> Result<(MultiplexedConnection, Option<Node>), Trouble> {
        match &self.servers {
            Kind::Single(door, _) => Ok((door.listen(queue).await?, None)),
            Kind::Sentinel(watch) => {
                let (door, _) = watch.master().await?;
                Ok((door.listen(queue).await?, None))
            }
            Kind::Cluster(cluster) => {
                // What is published on one node is heard on all of them.
                let turn = self.subscriptions.fetch_add(1, Ordering::Relaxed);
                let (door, node) = cluster.any(turn).await?;
                match door.listen(queue).await {
                    Ok(connection) => Ok((connection, Some(node))),
                    Err(error) => {
                        cluster.doubt();
                        Err(error.into())
                    }
                }
            }
        }
    }

    /// A connection to each server that holds keys, with its name as it may be shown.
    pub(super) async fn servers(&self) -> Result<Vec<(String, MultiplexedConnection)>, Trouble> {
        match &self.servers {
            Kind::Single(door, _) => Ok(vec![(door.shown(), door.connect().await?)]),
            Kind::Sentinel(watch) => {
                let (door, connection) = watch.master().await?;
                Ok(vec![(door.shown(), connection)])
            }
            Kind::Cluster(cluster) => cluster.servers().await,
        }
    }

    /// A connection to a server that may take over from one of those, where that is a thing that happens.
    pub(super) async fn standby(
        &self,
        host: &str,
        port: u16,
    ) -> Option<Result<MultiplexedConnection, Trouble>> {
        let door = match &self.servers {
            Kind::Single(..) => return None,
            Kind::Sentinel(watch) => watch.door_to(host, port),
            Kind::Cluster(cluster) => cluster.door_to(host, port),
        };
        Some(match door {
            Ok(door) => door.connect().await.map_err(Trouble::from),
            Err(error) => Err(error.into()),
        })
    }

    /// What each sentinel says, where there are such, with its name as it may be shown.
    pub(super) async fn sentinels(&self) -> Vec<(String, Result<SentinelView, Trouble>)> {
        match &self.servers {
            Kind::Sentinel(watch) => watch.views().await,
            _ => Vec::new(),
        }
    }

    /// Whether a node of the cluster has any slots, as far as is known.
    pub(super) fn is_master(&self, node: &Node) -> bool {
        match &self.servers {
            Kind::Cluster(cluster) => cluster.is_master(node),
            _ => true,
        }
    }

    /// Sends a batch; one answer a command.
    pub(super) async fn run(
        &self,
        link: &mut Link,
        batch: Batch,
        round_trips: &mut u64,
    ) -> Result<Vec<RedisResult<Value>>, Trouble> {
        let generation = link.generation;
        let answers = match (&mut link.way, &self.servers) {
            (Way::Cluster(nodes), Kind::Cluster(cluster)) => nodes.run(cluster, batch, round_trips).await,
            (Way::Server(connection), _) => {
                *round_trips += 1;
                batch.send(connection).await.map_err(Trouble::from)
            }
            // Links are made by the same value that is asked here.
            (Way::Cluster(_), _) => unreachable!("a link to a cluster without a cluster"),
        };
        if answers.as_ref().map_or(true, |answers| answers.iter().any(says_that_another_serves)) {
            self.outdate(generation);
        }
        answers
    }

    /// Links of this generation, and of those before, are not used again.
    fn outdate(&self, generation: u64) {
        // Fails when somebody has done so already.
        let _ = self.generation.compare_exchange(
            generation,
            generation + 1,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if let Kind::Cluster(cluster) = &self.servers {
            cluster.doubt();
        }
    }
}

/// Whether the server is none that should be asked any more: a replica by now, or cut off from its cluster.
fn says_that_another_serves(answer: &RedisResult<Value>) -> bool {
    use ServerErrorKind::{ClusterDown, MasterDown, ReadOnly};
    let kind = answer.as_ref().err().map(redis::RedisError::kind);
    matches!(kind, Some(ErrorKind::Server(ReadOnly | MasterDown | ClusterDown)))
}

/// The pool's side of [`Links`].
pub(super) struct LinkManager(pub(super) Arc<Links>);

impl Manager for LinkManager {
    type Type = Link;
    type Error = Trouble;

    async fn create(&self) -> Result<Link, Trouble> {
        let generation = self.0.generation.load(Ordering::Relaxed);
        let way = match &self.0.servers {
            Kind::Single(_, Some(manager)) => Way::Server(manager.create().await?),
            Kind::Single(door, None) => Way::Server(door.connect().await?),
            Kind::Sentinel(watch) => Way::Server(watch.master().await?.1),
            Kind::Cluster(cluster) => Way::Cluster(cluster.enter().await?),
        };
        self.0.created.fetch_add(1, Ordering::Relaxed);
        Ok(Link { generation, way })
    }

    async fn recycle(&self, link: &mut Link, metrics: &Metrics) -> RecycleResult<Trouble> {
        if link.generation != self.0.generation.load(Ordering::Relaxed) {
            return Err(RecycleError::message("made before the last failure"));
        }
        match (&mut link.way, &self.0.servers) {
            (Way::Server(connection), Kind::Single(_, Some(manager))) => {
                manager.recycle(connection, metrics).await.map_err(|error| match error {
                    RecycleError::Backend(error) => RecycleError::Backend(error.into()),
                    RecycleError::Message(why) => RecycleError::Message(why),
                })
            }
            (Way::Server(connection), _) => {
                ping(connection).await.map_err(|error| RecycleError::Backend(error.into()))
            }
            (Way::Cluster(nodes), _) => {
                nodes.check().await;
                Ok(())
            }
        }
    }
}
