//! What an application says to its clients' packets, and to requests that are none of Socket.IO.

use std::{net::SocketAddr, sync::Arc};

use hyper::{Response, body::Bytes, http::request::Parts};
use serde_json::Value;

use crate::{connection::Connection, ending::Ending};

/// An application with one namespace. Its calls for one client never overlap.
pub trait Application: Send + Sync + 'static {
    /// What it keeps of a client.
    type Client: Send + Sync + 'static;

    /// Its namespace, such as `/campaigns`.
    fn namespace(&self) -> &str;

    /// A client asks for the namespace. The application lets it in by [`Connection::welcome`] before it returns `Ok`.
    ///
    /// The future is dropped where the connection breaks. It must end within a few seconds: meanwhile nothing else of this client is read.
    fn connect(
        &self,
        connection: &Arc<Connection<Self::Client>>,
        request: ConnectRequest,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// A client that is in sent an event. What holds for the future of `connect` holds for this one.
    fn event(
        &self,
        connection: &Arc<Connection<Self::Client>>,
        event: Event,
    ) -> impl Future<Output = ()> + Send;

    /// The connection of a client that was let in has ended.
    fn ended(&self, connection: &Arc<Connection<Self::Client>>, why: Ending);
}

/// What a client presents when it asks for the namespace.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// What its packet holds; `Null` for nothing.
    pub auth: Value,
    /// The query of the URL with which its session began.
    pub query: Box<str>,
}

impl ConnectRequest {
    /// A value of the query, decoded.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

/// An event of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// What follows the name.
    pub arguments: Vec<Value>,
    /// The number under which the client wants an acknowledgement.
    pub ack: Option<u64>,
}

/// Why a client is not let in: its `connect_error`.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The text.
    pub message: String,
    /// More for programs.
    pub data: Option<Value>,
}

/// The address of a client, an extension of each request that [`Pages`] get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// What answers requests on the same port that are none of Socket.IO.
pub trait Pages: Send + Sync + 'static {
    /// Answers a request, whose body was read within the limits.
    fn answer(&self, head: Parts, body: Bytes) -> impl Future<Output = Response<Bytes>> + Send;
}
