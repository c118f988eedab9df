//! A private Redis Cluster, whose slots can be moved while clients work, and a client that follows redirections one
//! command at a time: slow, but obviously right. May start and kill the nodes' processes.

mod client;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Value, cmd};
use tokio::time::{Instant, sleep};

pub use client::ClusterClient;

use crate::local_port::free_port;
use crate::redis_server::{RedisServer, RedisServerBuilder, RedisServerError};
use crate::replication::until_replicated;
use crate::tls::Tls;

const SLOTS: usize = 16_384;
const POLL: Duration = Duration::from_millis(20);
const WITHIN: Duration = Duration::from_secs(60);
const PORT_ATTEMPTS: usize = 20;
/// Keys of one `MIGRATE`.
const KEYS_A_STEP: usize = 10;

/// Masters that share the slots evenly, without replicas.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Node>,
    password: Option<String>,
    tls: Option<Tls>,
}

#[derive(Debug)]
struct Node {
    server: RedisServer,
    id: String,
}

impl RedisCluster {
    /// Starts this many masters, and waits until all of them agree on the cluster.
    ///
    /// # Errors
    /// When one does not start, or they don't agree.
    pub async fn start(masters: usize) -> Result<Self, RedisServerError> {
        Self::start_with(masters, None, None).await
    }

    /// The same, with a password for clients, and with TLS between clients and nodes.
    ///
    /// # Errors
    /// As for [`RedisCluster::start`].
    pub async fn start_with(
        masters: usize,
        password: Option<&str>,
        tls: Option<Tls>,
    ) -> Result<Self, RedisServerError> {
        let mut cluster = Self { nodes: Vec::new(), password: password.map(str::to_owned), tls };
        for _ in 0..masters {
            cluster.add_node().await?;
        }
        for (at, node) in cluster.nodes.iter().enumerate() {
            let (first, after) = (at * SLOTS / masters, (at + 1) * SLOTS / masters);
            node.run::<()>(cluster_cmd(&["ADDSLOTSRANGE"]).arg(first).arg(after - 1)).await?;
        }
        cluster.until_agreed(masters).await?;
        Ok(cluster)
    }

    /// Adds a master without slots, and returns its number. The others know it by then.
    ///
    /// # Errors
    /// When it does not start, or is not let in.
    pub async fn join(&mut self) -> Result<usize, RedisServerError> {
        let slices = self.nodes.len();
        self.add_node().await?;
        self.until_agreed(slices).await?;
        Ok(self.nodes.len() - 1)
    }

    async fn add_node(&mut self) -> Result<(), RedisServerError> {
        let mut refused = RedisServerError::NoFreePort;
        for _ in 0..PORT_ATTEMPTS {
            let bus = free_port().ok_or(RedisServerError::NoFreePort)?;
            match node(bus, self.password.as_deref(), self.tls.as_ref()).start().await {
                Ok(server) => {
                    let mut node = Node { server, id: String::new() };
                    node.id = node.run(&cluster_cmd(&["MYID"])).await?;
                    // Nodes with equal epochs would first have to resolve the conflict.
                    node.run::<()>(cluster_cmd(&["SET-CONFIG-EPOCH"]).arg(self.nodes.len() + 1)).await?;
                    if let Some(first) = self.nodes.first() {
                        let meet = &mut cluster_cmd(&["MEET", "127.0.0.1"]);
                        first.run::<()>(meet.arg(node.server.port()).arg(bus)).await?;
                    }
                    self.nodes.push(node);
                    return Ok(());
                }
                // Another process took the bus port meanwhile: try another.
                Err(error @ (RedisServerError::PortTaken { .. } | RedisServerError::Exited { .. })) => {
                    refused = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// Adds a replica of a master, and returns its number. It has all of the master's data by then.
    ///
    /// # Errors
    /// When it does not start, or does not get the data.
    pub async fn replicate(&mut self, master: usize) -> Result<usize, RedisServerError> {
        let replica = self.join().await?;
        let node = &self.nodes[replica];
        node.run::<()>(cluster_cmd(&["REPLICATE"]).arg(&self.nodes[master].id)).await?;
        let linked = |info: &str| info.contains("role:slave") && info.contains("master_link_status:up");
        node.until("a replica with its master's data", cmd("INFO").arg("replication"), linked).await?;
        // A master votes only for a node that it knows as a replica.
        let line = format!("slave {}", self.nodes[master].id);
        let is_replica =
            |nodes: &str| nodes.lines().any(|known| known.starts_with(&node.id) && known.contains(&line));
        for other in &self.nodes {
            other.until("a replica that is known", &cluster_cmd(&["NODES"]), is_replica).await?;
        }
        Ok(replica)
    }

    /// Promotes a replica; its master becomes its replica. All nodes know it when this returns.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn take_over(&self, replica: usize) -> Result<(), RedisServerError> {
        self.nodes[replica].run::<()>(&cluster_cmd(&["FAILOVER"])).await?;
        self.inherited(replica).await
    }

    /// Promotes the replica of a dead master, without asking the other masters.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn usurp(&self, replica: usize) -> Result<(), RedisServerError> {
        self.nodes[replica].run::<()>(&cluster_cmd(&["FAILOVER", "TAKEOVER"])).await?;
        self.inherited(replica).await
    }

    /// Waits until a replica has been promoted by itself, and all running nodes know it.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn inherited(&self, replica: usize) -> Result<(), RedisServerError> {
        let heir = &self.nodes[replica];
        for node in self.nodes.iter().filter(|node| node.server.pid().is_some()) {
            let is_master = |nodes: &str| {
                let line = nodes.lines().find(|line| line.starts_with(&heir.id));
                let fields: Vec<&str> = line.unwrap_or_default().split(' ').collect();
                // A ninth field lists slots: the replica has taken them over.
                fields.len() > 8 && fields[2].contains("master")
            };
            node.until("a replica that has taken over", &cluster_cmd(&["NODES"]), is_master).await?;
        }
        Ok(())
    }

    /// Waits until a replica has everything that its master has now.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn replicated(&self, master: usize, replica: usize) -> Result<(), RedisServerError> {
        until_replicated(&self.nodes[master].server, &self.nodes[replica].server, WITHIN).await
    }

    /// Where the nodes listen.
    #[must_use]
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.server.addr()).collect()
    }

    /// The server of a node.
    #[must_use]
    pub fn node(&self, number: usize) -> &RedisServer {
        &self.nodes[number].server
    }

    /// The server of a node, to be killed, paused or restarted.
    pub fn node_mut(&mut self, number: usize) -> &mut RedisServer {
        &mut self.nodes[number].server
    }

    /// A client for the whole cluster, which first asks a node that runs now.
    #[must_use]
    pub fn client(&self) -> ClusterClient {
        let running = self.nodes.iter().filter(|node| node.server.pid().is_some());
        let urls = running.map(|node| node.server.url()).collect();
        ClusterClient::new(urls, self.password.clone(), self.tls.clone())
    }

    /// All keys that a node holds.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn keys(&self, number: usize) -> Result<BTreeSet<String>, RedisServerError> {
        self.nodes[number].run(cmd("KEYS").arg("*")).await
    }

    /// The slot of a key, as the server computes it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn slot(&self, key: &str) -> Result<u16, RedisServerError> {
        self.nodes[0].run(cluster_cmd(&["KEYSLOT"]).arg(key)).await
    }

    /// The node that has a slot.
    ///
    /// # Errors
    /// When the nodes don't answer.
    pub async fn owner(&self, slot: u16) -> Result<usize, RedisServerError> {
        let ranges: Vec<Vec<Value>> = self.nodes[0].run(&cluster_cmd(&["SLOTS"])).await?;
        // By id and not by port, since a node may announce the port of a proxy.
        let id = ranges.iter().find_map(|range| match &range[..] {
            [Value::Int(first), Value::Int(last), Value::Array(node), ..] => match &node[..] {
                [_, _, Value::BulkString(id), ..] if (*first..=*last).contains(&i64::from(slot)) => Some(id),
                _ => None,
            },
            _ => None,
        });
        let owner = self.nodes.iter().position(|node| Some(node.id.as_bytes()) == id.map(Vec::as_slice));
        owner.ok_or_else(|| RedisServerError::NotTogether {
            what: format!("a node with slot {slot}"),
            waited: Duration::ZERO,
            seen: format!("{ranges:?}"),
        })
    }

    /// Moves a slot with all its keys to another node, as `redis-cli --cluster reshard` does.
    ///
    /// # Errors
    /// When a step is refused.
    pub async fn move_slot(&self, slot: u16, to: usize) -> Result<(), RedisServerError> {
        self.begin_move(slot, to).await?;
        while self.move_some_keys(slot, to, KEYS_A_STEP).await? > 0 {}
        self.finish_move(slot, to).await
    }

    /// The first step of a move: from now on the old node redirects clients (`ASK`) for keys that it does not hold.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn begin_move(&self, slot: u16, to: usize) -> Result<(), RedisServerError> {
        let from = self.owner(slot).await?;
        let (old, new) = (&self.nodes[from], &self.nodes[to]);
        // The new node first: it must accept clients before the old one redirects them.
        new.run::<()>(cluster_cmd(&["SETSLOT"]).arg(slot).arg("IMPORTING").arg(&old.id)).await?;
        old.run::<()>(cluster_cmd(&["SETSLOT"]).arg(slot).arg("MIGRATING").arg(&new.id)).await
    }

    /// Moves at most `most` keys of a slot that is being moved; returns how many.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn move_some_keys(&self, slot: u16, to: usize, most: usize) -> Result<usize, RedisServerError> {
        let (old, new) = (&self.nodes[self.owner(slot).await?], &self.nodes[to]);
        let keys: Vec<Vec<u8>> = old.run(cluster_cmd(&["GETKEYSINSLOT"]).arg(slot).arg(most)).await?;
        if !keys.is_empty() {
            let mut migrate = cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(new.server.port()).arg("").arg(0).arg(5_000);
            if let Some(password) = &self.password {
                migrate.arg("AUTH").arg(password);
            }
            old.run::<()>(migrate.arg("KEYS").arg(&keys)).await?;
        }
        Ok(keys.len())
    }

    /// The last step of a move: the new node owns the slot, and all nodes know it.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn finish_move(&self, slot: u16, to: usize) -> Result<(), RedisServerError> {
        let new = &self.nodes[to];
        let others = self.nodes.iter().filter(|node| node.id != new.id);
        // The new owner first: if the old one went first, both would redirect to each other.
        for node in std::iter::once(new).chain(others) {
            node.run::<()>(cluster_cmd(&["SETSLOT"]).arg(slot).arg("NODE").arg(&new.id)).await?;
        }
        Ok(())
    }

    /// Waits until each node sees all the others, and this many nodes with slots.
    async fn until_agreed(&self, with_slots: usize) -> Result<(), RedisServerError> {
        let wanted = [
            "cluster_state:ok".to_owned(),
            format!("cluster_known_nodes:{}", self.nodes.len()),
            format!("cluster_size:{with_slots}"),
        ];
        let agrees = |info: &str| wanted.iter().all(|line| info.lines().any(|seen| seen.trim_end() == line));
        for node in &self.nodes {
            let what = format!("a cluster of {} nodes", self.nodes.len());
            node.until(&what, &cluster_cmd(&["INFO"]), agrees).await?;
        }
        Ok(())
    }
}

impl Node {
    /// Asks until the answer holds.
    async fn until(
        &self,
        what: &str,
        question: &Cmd,
        holds: impl Fn(&str) -> bool,
    ) -> Result<(), RedisServerError> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let seen: String = self.run(question).await?;
            if holds(&seen) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(RedisServerError::NotTogether { what: what.to_owned(), waited: WITHIN, seen });
            }
            sleep(POLL).await;
        }
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisServerError> {
        let mut connection = self.server.connection().await?;
        command.query_async(&mut connection).await.map_err(|source| {
            let words = command.args_iter().map(|argument| match argument {
                redis::Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
                _ => "…".to_owned(),
            });
            let command = words.take(4).collect::<Vec<_>>().join(" ");
            RedisServerError::Command { command, port: self.server.port(), source }
        })
    }
}

fn node(bus: u16, password: Option<&str>, tls: Option<&Tls>) -> RedisServerBuilder {
    let mut node = RedisServer::builder()
        .arg("cluster-enabled", "yes")
        .arg("cluster-port", bus.to_string())
        // Long enough that no node counts as down because the machine is busy.
        .arg("cluster-node-timeout", "5000")
        // By default a master waits 5 s for more replicas before it sends its data.
        .arg("repl-diskless-sync-delay", "0")
        .arg("cluster-allow-replica-migration", "no");
    if let Some(password) = password {
        node = node.password(password).arg("masterauth", password);
    }
    if let Some(tls) = tls {
        node = node.tls(tls.clone());
    }
    node
}

fn cluster_cmd(words: &[&str]) -> Cmd {
    let mut command = cmd("CLUSTER");
    command.arg(words);
    command
}
