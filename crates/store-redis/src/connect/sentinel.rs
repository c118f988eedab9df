//! Finds the master by querying its sentinels.
//!
//! All sentinels are queried at once. The first one wins that names a server which reports the role of a master itself: a
//! sentinel that was cut off may name a former master.

use futures_util::future::{BoxFuture, FutureExt, join_all, select_ok};
use redis::{RedisError, RedisResult, Value};

use super::{
    connection::Connection,
    connector::{ConnectError, Connector},
};
use crate::kind::ErrorKind;

/// A sentinel's view of the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelView {
    /// The master's address, as `host:port`; `None` if the sentinel knows no master by this name.
    pub master: Option<String>,
    /// The sentinel's message if too few sentinels are reachable for a failover.
    pub no_quorum: Option<String>,
}

/// A master that sentinels watch.
pub(super) struct WatchedMaster {
    sentinels: Vec<Connector>,
    /// The name of the master.
    name: String,
    /// User, password, TLS and timeouts of the master; the address is replaced.
    node: Connector,
}

impl WatchedMaster {
    pub(super) fn new(sentinels: Vec<Connector>, name: String, node: Connector) -> Self {
        Self { sentinels, name, node }
    }

    /// Connects to the current master.
    pub(super) async fn master(&self) -> Result<(Connector, Connection), ConnectError> {
        let asked: Vec<BoxFuture<'_, _>> =
            self.sentinels.iter().map(|connector| self.find_master(connector).boxed()).collect();
        // `select_ok` panics without futures.
        if asked.is_empty() {
            return Err(ConnectError::known(ErrorKind::Refused, "no sentinel is named"));
        }
        select_ok(asked).await.map(|(master, _)| master)
    }

    /// A connector to the master or a replica at this address.
    pub(super) fn connector_to(&self, host: &str, port: u16) -> Connector {
        self.node.at(host, port)
    }

    /// Queries each sentinel for its view.
    pub(super) async fn views(&self) -> Vec<(String, Result<SentinelView, ConnectError>)> {
        let views = self
            .sentinels
            .iter()
            .map(|connector| async { (connector.address(), self.view(connector).await) });
        join_all(views).await
    }

    async fn view(&self, sentinel: &Connector) -> Result<SentinelView, ConnectError> {
        let failed = |error: RedisError| sentinel_error(sentinel, error);
        let mut connection = sentinel.connect().await.map_err(failed)?;
        let master = self.master_address(&mut connection).await.map_err(failed)?;
        let master = master.map(|(host, port)| format!("{host}:{port}"));
        let quorum = redis::cmd("SENTINEL")
            .arg("CKQUORUM")
            .arg(&self.name)
            .query_async::<String>(&mut connection)
            .await;
        let no_quorum = match quorum {
            Err(error) if error.code() == Some("NOQUORUM") => Some(errors::sanitise(error)),
            // An agreement, or an error such as a missing right to ask, which says nothing about the quorum.
            _ => None,
        };
        Ok(SentinelView { master, no_quorum })
    }

    /// The address that a sentinel gives for the master's name.
    async fn master_address(&self, sentinel: &mut Connection) -> RedisResult<Option<(String, u16)>> {
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name).query_async(sentinel).await
    }

    async fn find_master(&self, sentinel: &Connector) -> Result<(Connector, Connection), ConnectError> {
        let mut connection = sentinel.connect().await.map_err(|error| sentinel_error(sentinel, error))?;
        let address = self.master_address(&mut connection).await;
        let address = address.map_err(|error| sentinel_error(sentinel, error))?;
        let Some((host, port)) = address else {
            let (at, name) = (sentinel.address(), &self.name);
            let detail = format!("the sentinel at {at} knows no master by the name `{name}`");
            return Err(ConnectError::known(ErrorKind::UnknownMaster, detail));
        };
        let master = self.node.at(&host, port);
        let mut connection = master.connect().await?;
        match redis::cmd("ROLE").query_async::<Vec<Value>>(&mut connection).await {
            Ok(role) if role.first().is_some_and(is_master) => {}
            Ok(_) => {
                let at = sentinel.address();
                let detail = format!(
                    "the sentinel at {at} names {host}:{port}, which is no master: a failover is under way, or its \
                     view is old"
                );
                return Err(ConnectError::known(ErrorKind::ReadOnly, detail));
            }
            // ROLE may be denied to a user that may write. If this is a replica, the first write shows it (READONLY).
            Err(error) if error.code() == Some("NOPERM") => {}
            Err(error) => return Err(error.into()),
        }
        Ok((master, connection))
    }
}

/// The error of a sentinel. Its denial is a kind of its own, since sentinels and the master have separate users.
fn sentinel_error(sentinel: &Connector, error: RedisError) -> ConnectError {
    let error = ConnectError::at(format!("the sentinel at {}", sentinel.address()), error);
    match error.kind() {
        ErrorKind::Denied => error.of_kind(ErrorKind::SentinelDenied),
        _ => error,
    }
}

fn is_master(role: &Value) -> bool {
    matches!(role, Value::BulkString(role) if role == b"master")
        || matches!(role, Value::SimpleString(role) if role == "master")
}
