//! Connections to the database: TLS, attempts without it where the URL allows it, connections that are not of the pool.

use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use deadpool_postgres::Connect;
use http_client::{Trust, TrustError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Error, NoTls, Notification, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::settings::may_do_without_tls;

/// Notifications that a [`Dedicated`] connection holds for its reader; while there are so many, it reads no further.
const WAITING_NOTIFICATIONS: usize = 1024;

type Notes = Option<mpsc::Sender<Notification>>;
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;
type Connecting<'a> = Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + 'a>>;

/// Makes connections.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    trust: Trust,
    /// Set once the certificates of authorities have been read.
    tls: Arc<OnceLock<MakeTls>>,
}

#[derive(Clone)]
struct MakeTls(MakeRustlsConnect);

impl std::fmt::Debug for MakeTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MakeTls")
    }
}

impl Connector {
    pub(crate) fn new(trust: Trust) -> Self {
        Self { trust, tls: Arc::default() }
    }

    /// Reads the certificates of authorities, where a connection needs or may have TLS.
    pub(crate) async fn prepare(&self, config: &Config) -> Result<(), TrustError> {
        if config.get_ssl_mode() == SslMode::Disable || self.tls.get().is_some() {
            return Ok(());
        }
        match self.trust.config().await {
            Ok(read) => {
                // Another call may have been faster, with the same result.
                let _ = self.tls.set(MakeTls(MakeRustlsConnect::new((*read).clone())));
                Ok(())
            }
            Err(_) if may_do_without_tls(config) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn open(&self, config: &Config, notes: Notes) -> Result<(Client, Driver), Error> {
        let Some(MakeTls(tls)) = self.tls.get().cloned() else { return with(config, NoTls, notes).await };
        match with(config, tls, notes.clone()).await {
            // A server with a certificate of its own making, which is what packages install: as other clients do, go on
            // without TLS. A URL that says `sslmode=require` doesn't.
            Err(error) if may_do_without_tls(config) && error.to_string().contains("TLS") => {
                let mut plain = config.clone();
                plain.ssl_mode(SslMode::Disable);
                with(&plain, NoTls, notes).await
            }
            result => result,
        }
    }

    /// A connection that is not of the pool, whose notifications can be read.
    pub(crate) async fn dedicated(&self, config: &Config) -> Result<Dedicated, Error> {
        let (sender, notifications) = mpsc::channel(WAITING_NOTIFICATIONS);
        let (client, driver) = self.open(config, Some(sender)).await?;
        Ok(Dedicated { client, notifications, task: spawn(driver) })
    }
}

impl Connect for Connector {
    fn connect(&self, config: &Config) -> Connecting<'_> {
        let config = config.clone();
        Box::pin(async move {
            let (client, driver) = self.open(&config, None).await?;
            Ok((client, spawn(driver)))
        })
    }
}

async fn with<T>(config: &Config, tls: T, notes: Notes) -> Result<(Client, Driver), Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    Ok((client, Box::pin(drive(connection, notes))))
}

/// Moves what is sent and received, until the client is dropped or the connection ends. Its errors reach the callers of the
/// client.
async fn drive<S, T>(mut connection: Connection<S, T>, notes: Notes)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let (AsyncMessage::Notification(note), Some(notes)) = (message, &notes) {
            // Without a reader there is nobody to miss it.
            let _ = notes.send(note).await;
        }
    }
}

/// A connection of its own, such as for LISTEN. It ends when it is dropped.
#[derive(Debug)]
pub struct Dedicated {
    client: Client,
    /// What the database notifies; it ends with the connection. A reader that waits for a statement of this connection must
    /// read here meanwhile: a full channel holds back answers too.
    pub notifications: mpsc::Receiver<Notification>,
    task: JoinHandle<()>,
}

impl Deref for Dedicated {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        self.task.abort();
    }
}
