//! A private PgBouncer in front of a private PostgreSQL server, on a port of 127.0.0.1. May start and signal that process,
//! and write inside its temporary directory. Never panics.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::local_port::free_port;
use crate::postgres::programs::{PASSWORD, SUPERUSER, User, directory, find};
use crate::postgres::{Postgres, PostgresError, tail_of};
use crate::process::OwnedProcess;

const POLL: Duration = Duration::from_millis(5);
const START_TIMEOUT: Duration = Duration::from_secs(20);
const PORT_ATTEMPTS: usize = 20;
const LOG_FILE: &str = "output.log";

/// When a connection to the server goes back to PgBouncer's pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// After each transaction.
    Transaction,
    /// When the client disconnects.
    Session,
}

/// A private PgBouncer. Dropping it kills the process and removes its directory.
#[derive(Debug)]
pub struct PgBouncer {
    // Dropped in this order: first the process, then the directory it writes to.
    process: OwnedProcess,
    port: u16,
    _dir: TempDir,
}

impl PgBouncer {
    /// Starts a PgBouncer in front of `server`, for these roles and the superuser, and waits until it listens. `more` are
    /// lines for the section `[pgbouncer]` of its file, such as `default_pool_size = 2`.
    ///
    /// # Errors
    /// When PgBouncer is missing, ends by itself, or does not listen in time.
    pub async fn start(
        server: &Postgres,
        mode: PoolMode,
        roles: &[&str],
        more: &[&str],
    ) -> Result<Self, PostgresError> {
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port().ok_or(PostgresError::NoFreePort)?;
            match Self::start_at(port, server, mode, roles, more).await {
                // Another process took the port meanwhile: try another.
                Err(PostgresError::PortTaken { .. }) => {}
                result => return result,
            }
        }
        Err(PostgresError::NoFreePort)
    }

    /// The address to connect to; [`Postgres::url_at`] makes a URL of it.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Pauses the process: connections stay open, nothing passes.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn pause(&self) -> Result<(), PostgresError> {
        self.signal("pause", Signal::STOP)
    }

    /// Resumes a paused process.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn resume(&self) -> Result<(), PostgresError> {
        self.signal("resume", Signal::CONT)
    }

    fn signal(&self, operation: &'static str, signal: Signal) -> Result<(), PostgresError> {
        let failed = |source| PostgresError::Signal { operation, port: self.port, source };
        self.process.signal(signal).map_err(failed)
    }

    async fn start_at(
        port: u16,
        server: &Postgres,
        mode: PoolMode,
        roles: &[&str],
        more: &[&str],
    ) -> Result<Self, PostgresError> {
        let user = User::find()?;
        let program = find("pgbouncer", "pgbouncer")?;
        let dir = directory("pgbouncer-", user)?;
        let failed = |source| PostgresError::Directory { path: dir.path().to_path_buf(), source };
        let (config, users, log) =
            (dir.path().join("config.ini"), dir.path().join("users.txt"), dir.path().join(LOG_FILE));
        let known = roles.iter().chain(&[SUPERUSER]).map(|role| format!("\"{role}\" \"{PASSWORD}\"\n"));
        std::fs::write(&users, known.collect::<String>()).map_err(failed)?;
        let mode = if mode == PoolMode::Transaction { "transaction" } else { "session" };
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\nmax_client_conn = 500\n\
             {}\n",
            server.port(),
            users.display(),
            more.join("\n"),
        );
        std::fs::write(&config, text).map_err(failed)?;
        let output = std::fs::File::create(&log).map_err(failed)?;
        for file in [&config, &users, &log] {
            user.own(file).map_err(failed)?;
        }
        let errors = output.try_clone().map_err(failed)?;
        let mut command = user.command(&program);
        command.arg(&config).current_dir(dir.path()).stdout(Stdio::from(output)).stderr(Stdio::from(errors));
        let mut process = OwnedProcess::spawn(&mut command, dir.path())
            .map_err(|source| PostgresError::Spawn { program, source })?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let signal = |source| PostgresError::Signal { operation: "wait for", port, source };
            if let Some(status) = process.exit_status().map_err(signal)? {
                let log = tail_of(&log);
                if log.contains("Address already in use") {
                    return Err(PostgresError::PortTaken { port });
                }
                return Err(PostgresError::Exited { status: status.to_string(), log });
            }
            // Its own log says that it is ours which listens there.
            let listens = tail_of(&log).contains(&format!("listening on 127.0.0.1:{port}"));
            if listens && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(Self { process, port, _dir: dir });
            }
            if Instant::now() >= deadline {
                return Err(PostgresError::NotReady { port, waited: START_TIMEOUT, log: tail_of(&log) });
            }
            sleep(POLL).await;
        }
    }
}
