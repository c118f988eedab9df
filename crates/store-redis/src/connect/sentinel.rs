//! Asking sentinels which server is the master.
//!
//! All are asked at once. The first answer counts that leads to a server which says of itself that it is a
//! master: a sentinel that was cut off may name one of yesterday.

use futures_util::future::{BoxFuture, FutureExt, join_all, select_ok};
use redis::{RedisError, RedisResult, Value, aio::MultiplexedConnection};

use super::door::{Door, Trouble};
use crate::error::ErrorKind;

/// What a sentinel says of the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelView {
    /// The master that it names, as `host:port`; `None` when it knows none by this name.
    pub master: Option<String>,
    /// Why the sentinels could not agree on a failover now, in its words.
    pub no_quorum: Option<String>,
}

/// A master that is watched over by sentinels.
pub(super) struct Watch {
    sentinels: Vec<Door>,
    /// The name of the master.
    name: String,
    /// How the master is entered; without its address.
    node: Door,
}

impl Watch {
    pub(super) fn new(sentinels: Vec<Door>, name: String, node: Door) -> Self {
        Self { sentinels, name, node }
    }

    /// The present master, with a connection to it.
    pub(super) async fn master(&self) -> Result<(Door, MultiplexedConnection), Trouble> {
        let asked: Vec<BoxFuture<'_, _>> = self.sentinels.iter().map(|door| self.ask(door).boxed()).collect();
        if asked.is_empty() {
            return Err(Trouble::known(ErrorKind::Refused, "no sentinel is named"));
        }
        select_ok(asked).await.map(|(master, _)| master)
    }

    /// How the master, or a server that may become it, is entered.
    pub(super) fn door_to(&self, host: &str, port: u16) -> RedisResult<Door> {
        self.node.at(host, port)
    }

    /// What each sentinel says.
    pub(super) async fn views(&self) -> Vec<(String, Result<SentinelView, Trouble>)> {
        let views = self.sentinels.iter().map(|door| async { (door.shown(), self.view(door).await) });
        join_all(views).await
    }

    async fn view(&self, sentinel: &Door) -> Result<SentinelView, Trouble> {
        let failed = |error: RedisError| of_sentinel(sentinel, error);
        let mut connection = sentinel.connect().await.map_err(failed)?;
        let master = self.named(&mut connection).await.map_err(failed)?;
        let master = master.map(|(host, port)| format!("{host}:{port}"));
        let quorum = redis::cmd("SENTINEL")
            .arg("CKQUORUM")
            .arg(&self.name)
            .query_async::<String>(&mut connection)
            .await;
        let no_quorum = match quorum {
            Err(error) if error.code() == Some("NOQUORUM") => Some(errors::sanitise(error)),
            // Not every user may ask.
            _ => None,
        };
        Ok(SentinelView { master, no_quorum })
    }

    /// The address that a sentinel knows by the name.
    async fn named(&self, sentinel: &mut MultiplexedConnection) -> RedisResult<Option<(String, u16)>> {
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name).query_async(sentinel).await
    }

    async fn ask(&self, sentinel: &Door) -> Result<(Door, MultiplexedConnection), Trouble> {
        let mut connection = sentinel.connect().await.map_err(|error| of_sentinel(sentinel, error))?;
        let address = self.named(&mut connection).await;
        let address = address.map_err(|error| of_sentinel(sentinel, error))?;
        let Some((host, port)) = address else {
            let (at, name) = (sentinel.shown(), &self.name);
            let detail = format!("the sentinel at {at} knows no master by the name `{name}`");
            return Err(Trouble::known(ErrorKind::UnknownMaster, detail));
        };
        let master = self.node.at(&host, port)?;
        let mut connection = master.connect().await?;
        match redis::cmd("ROLE").query_async::<Vec<Value>>(&mut connection).await {
            Ok(role) if role.first().is_some_and(is_master) => {}
            Ok(_) => {
                let at = sentinel.shown();
                let detail = format!(
                    "the sentinel at {at} names {host}:{port}, which is no master: a failover is under way, or its \
                     view is old"
                );
                return Err(Trouble::known(ErrorKind::ReadOnly, detail));
            }
            // A user without the right to ask finds out when it writes.
            Err(error) if error.code() == Some("NOPERM") => {}
            Err(error) => return Err(error.into()),
        }
        Ok((master, connection))
    }
}

/// The error of a sentinel is not to be taken for one of the master.
fn of_sentinel(sentinel: &Door, error: RedisError) -> Trouble {
    let trouble = Trouble::at(format!("the sentinel at {}", sentinel.shown()), error);
    match trouble.kind() {
        ErrorKind::Denied => trouble.of_kind(ErrorKind::SentinelDenied),
        _ => trouble,
    }
}

fn is_master(role: &Value) -> bool {
    matches!(role, Value::BulkString(role) if role == b"master")
        || matches!(role, Value::SimpleString(role) if role == "master")
}
