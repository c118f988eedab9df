//! A private PostgreSQL server: its own process on a port of 127.0.0.1, with its data and log in a temporary directory. May
//! start and signal that process and its children, and write inside that directory. Never panics: the demo uses it too.
//!
//! Where we are root, the server runs as the user `postgres` or `nobody`, since PostgreSQL refuses root. Each role has the
//! same password. `users` makes databases with the users' tables.

mod builder;
mod error;
pub(crate) mod programs;
mod users;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Config, NoTls};

pub use builder::PostgresBuilder;
pub use error::PostgresError;
pub use users::{Indexes, RoleRights, UserTables};

use crate::local_port::free_port;
use crate::process::{OwnedProcess, children_of};
use programs::{PASSWORD, SUPERUSER, User};

const POLL: Duration = Duration::from_millis(5);
const PORT_ATTEMPTS: usize = 20;
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const OUTPUT_FILE: &str = "output.log";
const DATA: &str = "data";

/// A private PostgreSQL server, running, stopped or killed. Dropping it ends the process, also a paused one, and removes its
/// directory; a guard process does the same when the owner itself is killed.
#[derive(Debug)]
pub struct Postgres {
    // Dropped in this order: first the process, then the directory it writes to.
    process: Option<OwnedProcess>,
    settings: PostgresBuilder,
    user: User,
    port: u16,
    dir: TempDir,
}

impl Postgres {
    /// Starts a server with the defaults: no TLS, a commit that waits for the log, no waiting for the disk.
    ///
    /// # Errors
    /// When PostgreSQL is missing, its directory can't be made, it ends by itself, or it is not ready in time.
    pub async fn start() -> Result<Self, PostgresError> {
        Self::builder().start().await
    }

    /// Settings other than the defaults.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    async fn start_with(settings: PostgresBuilder) -> Result<Self, PostgresError> {
        let user = User::find()?;
        let dir = programs::directory("postgres-", user)?;
        let data = dir.path().join(DATA);
        if settings.shares_nothing {
            initialise(dir.path(), &data, user, settings.start_timeout).await?;
        } else {
            programs::new_data(&data, user)?;
        }
        let in_dir = |source| PostgresError::Directory { path: data.clone(), source };
        std::fs::write(data.join("pg_hba.conf"), settings.host_rules()).map_err(in_dir)?;
        if let Some(tls) = &settings.tls {
            for file in tls.write_to(&data).map_err(in_dir)? {
                user.own(&file).map_err(in_dir)?;
            }
        }
        let mut server = Self { process: None, settings, user, port: 0, dir };
        for _ in 0..PORT_ATTEMPTS {
            server.port = free_port().ok_or(PostgresError::NoFreePort)?;
            match server.launch().await {
                // Another process took the port meanwhile: try another.
                Err(PostgresError::PortTaken { .. }) => {}
                result => return result.map(|()| server),
            }
        }
        Err(PostgresError::NoFreePort)
    }

    /// The TCP port; the same for the whole life of the value.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address to connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The URL of a database for a role, with its password.
    #[must_use]
    pub fn url(&self, database: &str, role: &str) -> String {
        Self::url_at(self.addr(), database, role)
    }

    /// The same at another address, such as that of a proxy or a PgBouncer in front of this server.
    #[must_use]
    pub fn url_at(addr: SocketAddr, database: &str, role: &str) -> String {
        format!("postgresql://{role}:{PASSWORD}@{addr}/{database}")
    }

    /// The URL of a database for the superuser.
    #[must_use]
    pub fn admin_url(&self, database: &str) -> String {
        self.url(database, SUPERUSER)
    }

    /// The id of the first process, while the server runs (also when paused).
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(OwnedProcess::id)
    }

    /// The server's own directory. Gone once the value is dropped.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A connection of the superuser; it ends with the client.
    ///
    /// # Errors
    /// When the server takes no connection.
    pub async fn admin(&self, database: &str) -> Result<Client, PostgresError> {
        self.connect(database, SUPERUSER).await
    }

    /// A connection of this role, without TLS; it ends with the client.
    ///
    /// # Errors
    /// When the server takes no connection.
    pub async fn connect(&self, database: &str, role: &str) -> Result<Client, PostgresError> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).dbname(database).user(role).password(PASSWORD);
        config.connect_timeout(CONNECT_TIMEOUT).application_name("testkit");
        let (client, connection) =
            config.connect(NoTls).await.map_err(|source| self.refused("connect", source))?;
        // It ends when the client is dropped, and the client reports its errors.
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs statements as the superuser.
    ///
    /// # Errors
    /// When the server refuses one.
    pub async fn execute(&self, database: &str, statements: &str) -> Result<(), PostgresError> {
        let client = self.admin(database).await?;
        client.batch_execute(statements).await.map_err(|source| self.refused(statements, source))
    }

    /// `psql` of this installation as the superuser, without a user's start-up file; it stops at the first error.
    ///
    /// # Errors
    /// When there is none.
    pub fn psql(&self, database: &str) -> Result<Command, PostgresError> {
        let mut command = Command::new(programs::find("psql", programs::PACKAGE)?);
        command.args([
            "--no-psqlrc",
            "--quiet",
            "--set",
            "ON_ERROR_STOP=1",
            "--dbname",
            &self.admin_url(database),
        ]);
        Ok(command)
    }

    /// Kills all processes of the server at once, as the kernel would when it is out of memory. Commits are kept.
    /// Nothing happens when there is no process.
    ///
    /// # Errors
    /// When a process can't be killed.
    pub fn kill_hard(&mut self) -> Result<(), PostgresError> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        // The first process would end or replace its children when one of them dies: it must not act any more.
        let stopped = process.signal(Signal::STOP);
        for child in children_of(process.id()) {
            // Only a child that has ended by itself can't be killed.
            let _ = kill_process(child, Signal::KILL);
        }
        let killed = stopped.and_then(|()| process.kill());
        killed.map_err(|source| self.signal_error("kill", source))
    }

    /// Shuts the server down, open connections included (SIGINT, the "fast" way), and waits until it is gone. Nothing happens
    /// when there is no process.
    ///
    /// # Errors
    /// When it has not ended after 20 s; it is then killed.
    pub async fn stop(&mut self) -> Result<(), PostgresError> {
        if self.process.is_none() {
            return Ok(());
        }
        // A paused process would not get the signal before it is resumed.
        self.resume()?;
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal(Signal::INT).map_err(|source| self.signal_error("stop", source))?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while process.exit_status().map_err(|source| self.signal_error("wait for", source))?.is_none() {
            if Instant::now() >= deadline {
                return Err(PostgresError::StillRunning { port: self.port, waited: STOP_TIMEOUT });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Starts the server again on the same port and data (stopping it first when it runs), and waits until it takes
    /// connections.
    ///
    /// # Errors
    /// As for [`Postgres::start`].
    pub async fn restart(&mut self) -> Result<(), PostgresError> {
        self.stop().await?;
        let deadline = Instant::now() + self.settings.start_timeout;
        loop {
            match self.launch().await {
                // A client's connection attempt can hold the port for a moment, a killed child the shared memory.
                Err(PostgresError::PortTaken { .. } | PostgresError::Exited { .. })
                    if Instant::now() < deadline =>
                {
                    sleep(POLL).await;
                }
                result => return result,
            }
        }
    }

    /// Starts the server again as a standby without a primary: it is read, and takes no writes.
    ///
    /// # Errors
    /// As for [`Postgres::start`].
    pub async fn become_standby(&mut self) -> Result<(), PostgresError> {
        let signal = self.dir.path().join(DATA).join("standby.signal");
        let in_dir = |source| PostgresError::Directory { path: signal.clone(), source };
        std::fs::write(&signal, "").and_then(|()| self.user.own(&signal)).map_err(in_dir)?;
        self.restart().await
    }

    /// Pauses all processes of the server (SIGSTOP): connections stay open, nothing is answered.
    ///
    /// # Errors
    /// When there is no process.
    pub fn pause(&self) -> Result<(), PostgresError> {
        self.signal_all("pause", Signal::STOP)
    }

    /// Resumes the processes of a paused server (SIGCONT).
    ///
    /// # Errors
    /// When there is no process.
    pub fn resume(&self) -> Result<(), PostgresError> {
        self.signal_all("resume", Signal::CONT)
    }

    fn signal_all(&self, operation: &'static str, signal: Signal) -> Result<(), PostgresError> {
        let process = self.process.as_ref();
        let process = process.ok_or(PostgresError::NotRunning { operation, port: self.port })?;
        // First the parent, so that it makes no children meanwhile.
        process.signal(signal).map_err(|source| self.signal_error(operation, source))?;
        for child in children_of(process.id()) {
            // Only a child that has ended by itself gets no signal.
            let _ = kill_process(child, signal);
        }
        Ok(())
    }

    fn signal_error(&self, operation: &'static str, source: std::io::Error) -> PostgresError {
        PostgresError::Signal { operation, port: self.port, source }
    }

    fn refused(&self, statement: &str, source: tokio_postgres::Error) -> PostgresError {
        let statement = statement.trim().chars().take(80).collect();
        PostgresError::Statement { statement, port: self.port, source }
    }

    /// Starts the process and waits until it is ready: this process, not another server on the port.
    async fn launch(&mut self) -> Result<(), PostgresError> {
        let data = self.dir.path().join(DATA);
        let in_dir = |source| PostgresError::Directory { path: self.dir.path().to_path_buf(), source };
        let output = std::fs::File::create(self.dir.path().join(OUTPUT_FILE)).map_err(in_dir)?;
        let errors = output.try_clone().map_err(in_dir)?;
        let program = programs::find("postgres", programs::PACKAGE)?;
        let mut command = self.user.command(&program);
        command.args(self.settings.arguments(&data, self.port)).current_dir(self.dir.path());
        command.stdout(Stdio::from(output)).stderr(Stdio::from(errors));
        let mut process = OwnedProcess::spawn_that_cleans_up(&mut command, self.dir.path())
            .map_err(|source| PostgresError::Spawn { program, source })?;

        let deadline = Instant::now() + self.settings.start_timeout;
        loop {
            let exited = process.exit_status().map_err(|source| self.signal_error("wait for", source))?;
            if let Some(status) = exited {
                let log = self.log_tail();
                if log.contains("Address already in use") {
                    return Err(PostgresError::PortTaken { port: self.port });
                }
                return Err(PostgresError::Exited { status: status.to_string(), log });
            }
            if is_ready(&data, process.id()) {
                self.process = Some(process);
                return Ok(());
            }
            if Instant::now() >= deadline {
                let waited = self.settings.start_timeout;
                return Err(PostgresError::NotReady { port: self.port, waited, log: self.log_tail() });
            }
            sleep(POLL).await;
        }
    }

    /// The last lines that the server logged since its start.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail_of(&self.dir.path().join(OUTPUT_FILE))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The children of a paused server would not hear that they shall end. An error means that there is no process.
        let _ = self.resume();
    }
}

/// Makes a new data directory. It ends, and leaves no process, where it is no longer waited for.
async fn initialise(dir: &Path, data: &Path, user: User, within: Duration) -> Result<(), PostgresError> {
    let in_dir = |source| PostgresError::Directory { path: dir.to_path_buf(), source };
    let log = dir.join(OUTPUT_FILE);
    let output = std::fs::File::create(&log).map_err(in_dir)?;
    let mut command = programs::initdb(dir, data, user)?;
    command.stdout(Stdio::from(output.try_clone().map_err(in_dir)?)).stderr(Stdio::from(output));
    let spawn_failed = |source| PostgresError::Spawn { program: "initdb".into(), source };
    let mut process = OwnedProcess::spawn_that_cleans_up(&mut command, dir).map_err(spawn_failed)?;
    let deadline = Instant::now() + within;
    loop {
        match process.exit_status().map_err(spawn_failed)? {
            Some(status) if status.success() => return Ok(()),
            None if Instant::now() < deadline => sleep(POLL).await,
            ended => {
                let status = ended.map_or(format!("not done after {within:?}"), |status| status.to_string());
                return Err(PostgresError::Failed { program: "initdb", status, output: tail_of(&log) });
            }
        }
    }
}

/// The last lines of a log; a missing one is empty.
pub(crate) fn tail_of(log: &Path) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Whether the process with this id says in its file that it takes connections.
fn is_ready(data: &Path, pid: u32) -> bool {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.first() == Some(&pid.to_string().as_str())
        && lines.get(7).is_some_and(|state| ["ready", "standby"].contains(&state.trim()))
}
