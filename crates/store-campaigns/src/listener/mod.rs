//! Hears of changed runs from the database itself, whichever program changed them.
//!
//! A trigger of the migration notifies the id of each run that was inserted, or whose status or summary changed.
//! [`Listener::next`] returns these ids. A connection can be dead without an error: so the listener notifies itself each second
//! over another connection, and gives a connection up that has not heard that for [`DEAF_AFTER`]. Once a new connection has heard
//! itself, [`Heard::Connected`] says that changes may have been missed before.
//!
//! **Invariant:** between two [`Heard::Connected`] no notification is missed, and the first comes after the database has begun
//! to keep notifications for us: the caller that reads all runs then, and each notified run later, misses nothing. The listener
//! reconnects by itself, with growing pauses, for as long as `next` is awaited; it runs nothing but one ping at a time.

mod pooler;
mod state;

use std::time::Duration;

use domain::campaigns::RunId;
use retry::{Attempts, table};
use tokio::select;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_postgres::types::Type;

pub use pooler::Pooling;
pub use state::{DEAF_AFTER, ListenerState};

use crate::connect::Dedicated;
use crate::database::Database;
use crate::error::{DatabaseError, DatabaseErrorKind};
use crate::operations::LISTEN;

/// The channel of the migration's trigger.
const RUNS: &str = "state_tracker_runs";
/// The pause between two pings.
const PING_EVERY: Duration = Duration::from_secs(1);
/// The longest reason that is kept, in characters.
const LONGEST_REASON: usize = 300;

/// What the listener heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The listener hears from now on. What changed before may have been missed: read all again.
    Connected,
    /// This run was inserted, or its status or summary has changed.
    Run(RunId),
}

/// Hears of changed runs.
#[derive(Debug)]
pub struct Listener {
    database: Database,
    state: watch::Sender<ListenerState>,
    attempts: Attempts,
    pause_until: Option<Instant>,
    /// The attempt that is under way: it goes on where a caller goes away, else callers with little patience would never connect.
    connecting: Option<JoinHandle<Result<(Pooling, Connection), DatabaseError>>>,
    connection: Option<Connection>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(connecting) = &self.connecting {
            connecting.abort();
        }
    }
}

/// A connection that listens.
#[derive(Debug)]
struct Connection {
    dedicated: Dedicated,
    /// Our own channel: no other listener's pings wake us.
    own_channel: String,
    /// When it was made, or heard itself last.
    last_sign: Instant,
    is_proved: bool,
    next_ping: Instant,
    ping: Option<JoinHandle<Result<(), DatabaseError>>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(ping) = &self.ping {
            ping.abort();
        }
    }
}

/// What woke the listener.
enum Woken {
    Run(Option<RunId>),
    Itself,
    PingDue,
    PingOver(Option<DatabaseError>),
    Lost(String),
}

impl Listener {
    /// Sets up the listener without connecting.
    #[must_use]
    pub fn new(database: Database) -> Self {
        let (state, _) = watch::channel(ListenerState::default());
        let attempts = Attempts::new(table::DATABASE_LISTENER);
        Self { database, state, attempts, pause_until: None, connecting: None, connection: None }
    }

    /// What is known of it, while and after it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ListenerState> {
        self.state.subscribe()
    }

    /// The next notification. It waits and reconnects for as long as it is awaited. A caller that goes away in between loses
    /// nothing.
    pub async fn next(&mut self) -> Heard {
        loop {
            let Some(connection) = &mut self.connection else {
                self.reconnect().await;
                continue;
            };
            match connection.woken().await {
                Woken::Run(Some(run)) => {
                    self.state.send_modify(|state| state.notifications += 1);
                    return Heard::Run(run);
                }
                Woken::Run(None) => self.state.send_modify(|state| state.unreadable += 1),
                Woken::Itself => {
                    let is_first = !connection.is_proved;
                    connection.is_proved = true;
                    connection.last_sign = Instant::now();
                    self.heard_itself(is_first);
                    if is_first {
                        return Heard::Connected;
                    }
                }
                Woken::PingDue => connection.start_ping(&self.database),
                Woken::PingOver(failed) => {
                    connection.ping = None;
                    if let Some(error) = failed {
                        self.state.send_modify(|state| state.reason = Some(short(&error)));
                    }
                }
                Woken::Lost(reason) => self.lost(reason),
            }
        }
    }

    fn heard_itself(&mut self, is_first: bool) {
        self.attempts.succeeded();
        self.state.send_modify(|state| {
            state.heard_itself = Some(Instant::now());
            state.reason = None;
            state.connections += u64::from(is_first);
        });
    }

    fn lost(&mut self, reason: String) {
        self.connection = None;
        self.pause_until = Some(Instant::now() + self.attempts.failed());
        self.state.send_modify(|state| {
            state.losses += u64::from(state.heard_itself.take().is_some());
            state.reason = Some(reason);
        });
    }

    async fn reconnect(&mut self) {
        if let Some(until) = self.pause_until {
            // Not taken before the pause is over: a caller that goes away in between must not shorten it.
            sleep_until(until).await;
            self.pause_until = None;
        }
        let database = &self.database;
        let connecting = self.connecting.get_or_insert_with(|| {
            let database = database.clone();
            tokio::spawn(async move { connect(&database).await })
        });
        let connected = connecting.await;
        self.connecting = None;
        // The task ends early only with the runtime, or by a panic.
        let connected = connected.unwrap_or_else(|error| {
            Err(DatabaseError::new(LISTEN, self.database.object(), DatabaseErrorKind::Failed, error))
        });
        match connected {
            Ok((Pooling::Transactions, _)) => {
                self.lost(
                    "a pooler gives each transaction another connection, so LISTEN has no effect: give the \
                     listener a URL of the database itself, or of a pooler in session mode"
                        .to_owned(),
                );
                self.state.send_modify(|state| state.pooling = Pooling::Transactions);
            }
            Ok((pooling, connection)) => {
                self.state.send_modify(|state| state.pooling = pooling);
                self.connection = Some(connection);
            }
            Err(error) => self.lost(short(&error)),
        }
    }
}

impl Connection {
    async fn woken(&mut self) -> Woken {
        let deaf_at = self.last_sign + DEAF_AFTER;
        let ping = async {
            match &mut self.ping {
                Some(ping) => ping.await,
                None => std::future::pending().await,
            }
        };
        select! {
            // What has arrived comes before any judgement by time: a slow caller is not a dead connection.
            biased;
            note = self.dedicated.notifications.recv() => match note {
                Some(note) if note.channel() == RUNS => Woken::Run(note.payload().parse().ok()),
                Some(note) if note.channel() == self.own_channel => Woken::Itself,
                Some(_) => Woken::Run(None),
                None => Woken::Lost("the database ended the connection".to_owned()),
            },
            over = ping => Woken::PingOver(over.ok().and_then(Result::err)),
            () = sleep_until(deaf_at) => Woken::Lost(self.deafness()),
            () = sleep_until(self.next_ping) => Woken::PingDue,
        }
    }

    fn deafness(&self) -> String {
        let seconds = DEAF_AFTER.as_secs();
        if self.is_proved {
            format!("the connection has been silent for {seconds} s")
        } else {
            format!("the connection did not hear its own notification within {seconds} s")
        }
    }

    /// Notifies ourselves over another connection: over this one we would hear it even where others are not heard.
    fn start_ping(&mut self, database: &Database) {
        self.next_ping = Instant::now() + PING_EVERY;
        if self.ping.is_some() {
            return;
        }
        let (database, channel) = (database.clone(), self.own_channel.clone());
        self.ping = Some(tokio::spawn(async move {
            database.write(LISTEN, "SELECT pg_notify($1, '')", &[(&channel, Type::TEXT)]).await.map(|_| ())
        }));
    }
}

/// A connection that listens, unless a pooler makes that useless.
async fn connect(database: &Database) -> Result<(Pooling, Connection), DatabaseError> {
    let dedicated = database.dedicated().await?;
    let limit = database.settings().statement_timeout;
    let late = || DatabaseError::no_answer(LISTEN, database.object(), limit);
    let pooling = timeout(limit, pooler::find(database, &dedicated)).await.map_err(|_| late())??;
    // 53 bits name a listener among a few replicas.
    let own_channel = format!("state_tracker_ping_{:x}", (retry::random() * (1_u64 << 53) as f64) as u64);
    if pooling != Pooling::Transactions {
        let listen = format!("LISTEN {RUNS}; LISTEN {own_channel}");
        let listening = timeout(limit, dedicated.batch_execute(&listen)).await.map_err(|_| late())?;
        listening.map_err(|error| DatabaseError::postgres(LISTEN, database.object(), error))?;
    }
    let now = Instant::now();
    let connection =
        Connection { dedicated, own_channel, last_sign: now, is_proved: false, next_ping: now, ping: None };
    Ok((pooling, connection))
}

fn short(error: &DatabaseError) -> String {
    errors::one_line(error).chars().take(LONGEST_REASON).collect()
}
