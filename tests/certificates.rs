//! A system without certificates of authorities, as a bare container image is: what goes without TLS works, what goes by TLS
//! says what is missing, and nothing ends the service.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeMap, path::PathBuf, process::Stdio};

use common::{Process, SOON, checkpoint, environment, following, shown, written};
use serde_json::Value;
use tempfile::TempDir;
use testkit::{
    Authority, MarketProducer, ProducerConfig, RedisServer, TlsFront, contents::query, wait_until,
    world::World,
};
use tokio::process::Command;

type Environment = BTreeMap<String, String>;

/// What is said of a system without authorities.
const MISSING: [&str; 2] = ["this system has none", "; install ca-certificates, or set SSL_CERT_FILE"];

/// Where the system's authorities would be.
struct Authorities {
    folder: TempDir,
}

impl Authorities {
    /// An empty folder of authorities.
    fn none() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("certs")).expect("made");
        Self { folder }
    }

    /// The file with all of them, which is not there yet.
    fn file(&self) -> PathBuf {
        self.folder.path().join("ca-certificates.crt")
    }

    /// Has a process look for them here alone.
    fn enter(&self, environment: &mut Environment) {
        let certs = self.folder.path().join("certs");
        for (name, path) in [("SSL_CERT_FILE", self.file()), ("SSL_CERT_DIR", certs)] {
            environment.insert(name.to_owned(), path.display().to_string());
        }
    }
}

/// A node that is reached with TLS and without it.
struct Node {
    world: World,
    authority: Authority,
    front: TlsFront,
}

impl Node {
    async fn new(seed: u64) -> Self {
        let mut world = World::new(seed).await;
        world.grow(10).await;
        let authority = Authority::new("ours").expect("made");
        let identity = authority.server().expect("made");
        let front = TlsFront::start(&identity, world.anvil.addr()).await.expect("a port");
        Self { world, authority, front }
    }

    fn url(&self, scheme: &str) -> String {
        let port = match scheme {
            "https" | "wss" => self.front.addr().port(),
            _ => self.world.anvil.addr().port(),
        };
        format!("{scheme}://localhost:{port}")
    }

    /// Where the service finds it by these schemes, without any authorities to trust.
    fn by(&self, schemes: &[&str], redis: &RedisServer, authorities: &Authorities) -> Environment {
        let mut environment = following(redis.addr(), &self.world);
        let nodes: Vec<String> = schemes.iter().map(|scheme| self.url(scheme)).collect();
        environment.insert("RPC_NODES".to_owned(), nodes.join(","));
        authorities.enter(&mut environment);
        environment
    }

    /// Waits until the service has accepted the newest block.
    async fn is_followed(&self, redis: &RedisServer) {
        let mut connection = redis.connection().await.expect("a connection");
        let height = self.world.height().await;
        wait_until("the newest block is accepted", SOON, async || {
            checkpoint(&mut connection).await.is_some_and(|(number, _)| number == height)
        })
        .await;
    }
}

/// `check --connect`: exit code and both outputs.
async fn check(environment: &Environment) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
    command.args(["check", "--connect"]).env_clear().envs(environment).stdin(Stdio::null());
    let output = command.output().await.expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("UTF-8"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_without_tls_need_no_authorities() {
    let (node, authorities) = (Node::new(51).await, Authorities::none());
    for scheme in ["http", "ws"] {
        let redis = RedisServer::start().await.expect("a Redis server");
        let environment = node.by(&[scheme], &redis, &authorities);
        let (code, said) = check(&environment).await;
        assert_eq!(code, Some(0), "{said}");
        let _process = Process::start(&environment).await;
        node.is_followed(&redis).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_by_tls_without_authorities_is_at_fault_and_the_others_are_not() {
    let (node, authorities) = (Node::new(52).await, Authorities::none());
    // Missing, and without any certificate in it.
    for is_there in [false, true] {
        if is_there {
            std::fs::write(authorities.file(), "").expect("written");
        }
        let is_refused = async |scheme: &str| {
            let redis = RedisServer::start().await.expect("a Redis server");
            let environment = node.by(&[scheme, "http"], &redis, &authorities);
            let (code, said) = check(&environment).await;
            assert_eq!(code, Some(1), "{said}");
            let of = |scheme: &str| {
                let line = said.lines().find(|line| line.contains(&format!("  node {}", node.url(scheme))));
                line.unwrap_or_else(|| panic!("nothing of {scheme}: {said}"))
            };
            assert!(MISSING.iter().all(|part| of(scheme).contains(part)), "{said}");
            assert!(of("http").contains("is at block"), "{said}");
            let _process = Process::start(&environment).await;
            node.is_followed(&redis).await;
        };
        tokio::join!(is_refused("https"), is_refused("wss"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_authorities_the_datasets_go_on_and_the_chain_once_they_are_installed() {
    let (node, authorities) = (Node::new(53).await, Authorities::none());
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut environment = node.by(&["https"], &redis, &authorities);
    // What no node answers is given up, and logged, after this.
    environment.insert("STATE_TRACKER__COLLECTOR__EVENTS_TIMEOUT".to_owned(), "2s".to_owned());
    let mut process = Process::start(&environment).await;
    let checksummed = |address: &str| domain::Address::new(address).checksummed().to_owned();
    let contracts = &node.world.contracts;
    let [protocol, market] = [&contracts.protocol_state, &contracts.markets[0]].map(|text| checksummed(text));
    let config = ProducerConfig::new(&protocol, &market);
    let mut producer = MarketProducer::new(config, &redis.url()).expect("producers");
    producer.finish_epoch(1, 3).await.expect("written");
    let mut connection = redis.connection().await.expect("a connection");
    wait_until("the totals are right", SOON, async || {
        let key = format!("{protocol}:{market}:dashboard:summary");
        let text: Option<String> = query(&mut connection, &["GET", &key]).await;
        let summary: Value = serde_json::from_str(&text?).expect("JSON");
        (shown(&summary) == written(&producer.truth())).then_some(())
    })
    .await;
    wait_until("the log says what is missing", SOON, async || {
        MISSING.iter().all(|part| process.log.borrow().contains(part))
    })
    .await;
    std::fs::write(authorities.file(), node.authority.certificate()).expect("written");
    node.is_followed(&redis).await;
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_by_tls_without_authorities_is_refused_with_what_helps() {
    let authorities = Authorities::none();
    let identity = Authority::new("ours").expect("made").server().expect("made");
    let redis = RedisServer::builder().tls(identity).start().await.expect("a server");
    let mut environment = environment(redis.addr());
    environment.insert("REDIS_TLS".to_owned(), "true".to_owned());
    authorities.enter(&mut environment);
    for is_there in [false, true] {
        if is_there {
            std::fs::write(authorities.file(), "").expect("written");
        }
        let (code, said) = check(&environment).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("redis.ca_file") && said.contains("ca-certificates"), "{said}");
        assert!(!said.contains("check that Redis runs"), "{said}");
    }
    // The service waits for it, as for any server.
    let mut process = Process::start(&environment).await;
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
}
