//! A private `redis-server` process, bound to 127.0.0.1, with its data and log in a temporary directory. May start and
//! signal that process and write inside that directory. Never panics: the demo uses it too.

mod builder;
mod error;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

pub use builder::RedisServerBuilder;
pub use error::RedisServerError;

use crate::local_port::free_port;
use crate::process::OwnedProcess;
use builder::Settings;

const POLL: Duration = Duration::from_millis(5);
const PORT_ATTEMPTS: usize = 20;
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
const LOG_FILE: &str = "redis.log";
const CONFIG_FILE: &str = "redis.conf";
const SOCKET_FILE: &str = "redis.sock";
const OUTPUT_FILE: &str = "output.log";

/// A private Redis server, running, stopped or killed. Dropping it kills the process, also a paused one, and removes
/// its directory; a guard process does the same when the owner itself is killed.
#[derive(Debug)]
pub struct RedisServer {
    // Dropped in this order: first the process, then the directory it writes to.
    process: Option<OwnedProcess>,
    settings: Settings,
    port: u16,
    dir: TempDir,
}

impl RedisServer {
    /// Starts an empty server without persistence on a free port, and waits until it answers.
    ///
    /// # Errors
    /// When `redis-server` is missing, ends by itself, or does not answer in time.
    pub async fn start() -> Result<Self, RedisServerError> {
        Self::builder().start().await
    }

    /// Settings other than the defaults.
    pub fn builder() -> RedisServerBuilder {
        RedisServerBuilder::default()
    }

    async fn start_with(settings: Settings) -> Result<Self, RedisServerError> {
        let dir = tempfile::Builder::new()
            .prefix("redis-")
            .tempdir()
            .map_err(|source| RedisServerError::Directory { path: std::env::temp_dir(), source })?;
        let mut server = Self { process: None, port: 0, settings, dir };
        if let Some(port) = server.settings.port {
            server.port = port;
            server.launch().await?;
            return Ok(server);
        }
        for _ in 0..PORT_ATTEMPTS {
            server.port = free_port().ok_or(RedisServerError::NoFreePort)?;
            match server.launch().await {
                // Another process took the port meanwhile: try another.
                Err(RedisServerError::PortTaken { .. }) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
        Err(RedisServerError::NoFreePort)
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

    /// `redis://` URL of database 0 (`rediss://` for a server with TLS), with its password.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.addr())
    }

    /// The same URL with another address, such as that of a proxy in front of this server.
    #[must_use]
    pub fn url_at(&self, addr: SocketAddr) -> String {
        let scheme = if self.settings.tls.is_some() { "rediss" } else { "redis" };
        match &self.settings.password {
            Some(password) => format!("{scheme}://:{}@{addr}/0", percent_encode(password)),
            None => format!("{scheme}://{addr}/0"),
        }
    }

    /// The process id, while the process exists (also a paused one).
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(OwnedProcess::id)
    }

    /// The server's own directory: configuration, log, data. Gone once the value is dropped.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The server's log file.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join(LOG_FILE)
    }

    /// The path of its Unix socket, if it was started with one.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join(SOCKET_FILE)
    }

    /// A client for [`RedisServer::url`], which trusts the server's authority if it uses TLS.
    ///
    /// # Errors
    /// When the certificates can't be read.
    pub fn client(&self) -> RedisResult<Client> {
        match &self.settings.tls {
            Some(tls) => Client::build_with_tls(self.url(), tls.for_clients()),
            None => Client::open(self.url()),
        }
    }

    /// A new connection (5 s to connect, 10 s for a response).
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn connection(&self) -> Result<MultiplexedConnection, RedisServerError> {
        self.connect(CONNECT_TIMEOUT, RESPONSE_TIMEOUT)
            .await
            .map_err(|source| RedisServerError::Connect { addr: self.addr(), source })
    }

    /// Kills the process at once, as a crash or the kernel would. Data that was not synced is lost.
    /// Nothing happens when there is no process.
    ///
    /// # Errors
    /// When the process can't be killed.
    pub fn kill_hard(&mut self) -> Result<(), RedisServerError> {
        match self.process.take() {
            None => Ok(()),
            Some(mut process) => process.kill().map_err(|source| self.signal_error("kill", source)),
        }
    }

    /// Shuts the server down gracefully (SIGTERM, which Redis treats as SHUTDOWN; resumed first when paused),
    /// and waits until it is gone. Nothing happens when there is no process.
    ///
    /// # Errors
    /// When it has not ended after 10 s; it is then killed.
    pub async fn stop(&mut self) -> Result<(), RedisServerError> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        // A paused process would not get SIGTERM before it is resumed.
        let signalled = process.signal(Signal::CONT).and_then(|()| process.signal(Signal::TERM));
        signalled.map_err(|source| self.signal_error("stop", source))?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while process.exit_status().map_err(|source| self.signal_error("wait for", source))?.is_none() {
            if Instant::now() >= deadline {
                return Err(RedisServerError::StillRunning { port: self.port, waited: STOP_TIMEOUT });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Starts the server again on the same port and directory (stopping it gracefully first when it runs),
    /// and waits until it answers and has loaded its data.
    ///
    /// # Errors
    /// When the port was taken meanwhile, or as for [`RedisServer::start`].
    pub async fn restart(&mut self) -> Result<(), RedisServerError> {
        self.stop().await?;
        let deadline = Instant::now() + self.settings.start_timeout;
        loop {
            match self.launch().await {
                // A client's connection attempt can hold the port for a moment.
                Err(RedisServerError::PortTaken { .. }) if Instant::now() < deadline => sleep(POLL).await,
                result => return result,
            }
        }
    }

    /// Pauses the process (SIGSTOP): connections stay open, nothing is answered.
    ///
    /// # Errors
    /// When there is no process.
    pub fn pause(&self) -> Result<(), RedisServerError> {
        self.signal("pause", Signal::STOP)
    }

    /// Resumes a paused process (SIGCONT).
    ///
    /// # Errors
    /// When there is no process.
    pub fn resume(&self) -> Result<(), RedisServerError> {
        self.signal("resume", Signal::CONT)
    }

    fn signal(&self, operation: &'static str, signal: Signal) -> Result<(), RedisServerError> {
        let process =
            self.process.as_ref().ok_or(RedisServerError::NotRunning { operation, port: self.port })?;
        process.signal(signal).map_err(|source| self.signal_error(operation, source))
    }

    fn signal_error(&self, operation: &'static str, source: std::io::Error) -> RedisServerError {
        RedisServerError::Signal { operation, port: self.port, source }
    }

    /// Starts the process and waits until it is ready: this process, not another server on the port.
    async fn launch(&mut self) -> Result<(), RedisServerError> {
        let config = self.dir.path().join(CONFIG_FILE);
        let in_dir = |source| RedisServerError::Directory { path: self.dir.path().to_path_buf(), source };
        std::fs::write(&config, self.settings.config_text(self.port, self.dir.path())).map_err(in_dir)?;
        let output = std::fs::File::create(self.dir.path().join(OUTPUT_FILE)).map_err(in_dir)?;
        let errors = output.try_clone().map_err(in_dir)?;
        if let Some(tls) = &self.settings.tls {
            tls.write_to(self.dir.path()).map_err(in_dir)?;
        }
        let log_start = self.log_text().len();

        let mut command = Command::new(&self.settings.program);
        command.arg(&config).args(self.settings.sentinel.then_some("--sentinel"));
        command.stdout(Stdio::from(output)).stderr(Stdio::from(errors));
        let mut process = OwnedProcess::spawn(&mut command, self.dir.path())
            .map_err(|source| RedisServerError::spawn(&self.settings.program, source))?;

        let deadline = Instant::now() + self.settings.start_timeout;
        loop {
            if let Some(status) =
                process.exit_status().map_err(|source| self.signal_error("wait for", source))?
            {
                return Err(self.exit_error(&status.to_string(), log_start));
            }
            if self.is_ready(process.id()).await {
                self.process = Some(process);
                return Ok(());
            }
            if Instant::now() >= deadline {
                let waited = self.settings.start_timeout;
                return Err(RedisServerError::NotReady {
                    port: self.port,
                    waited,
                    log: self.log_tail(log_start),
                });
            }
            sleep(POLL).await;
        }
    }

    /// Whether the process with this id answers on our port and has loaded its data.
    async fn is_ready(&self, pid: u32) -> bool {
        let probe = async {
            let mut connection = self.connect(CONNECT_TIMEOUT, CONNECT_TIMEOUT).await?;
            redis::cmd("INFO").query_async::<String>(&mut connection).await
        };
        let Ok(Ok(info)) = timeout(CONNECT_TIMEOUT, probe).await else { return false };
        let has = |line: &str| info.lines().any(|candidate| candidate.trim_end() == line);
        // Another server may have taken the port while ours failed to bind it.
        has(&format!("process_id:{pid}")) && !has("loading:1") && !has("async_loading:1")
    }

    async fn connect(
        &self,
        connecting: Duration,
        responding: Duration,
    ) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connecting))
            .set_response_timeout(Some(responding));
        self.client()?.get_multiplexed_async_connection_with_config(&config).await
    }

    fn exit_error(&self, status: &str, log_start: usize) -> RedisServerError {
        let log = self.log_tail(log_start);
        if log.contains("Address already in use") {
            return RedisServerError::PortTaken { port: self.port };
        }
        RedisServerError::Exited { status: status.to_owned(), log }
    }

    fn log_text(&self) -> String {
        // A missing log is an empty one.
        std::fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines since the last start: of the log, and of standard output, where configuration errors go.
    fn log_tail(&self, log_start: usize) -> String {
        let log = self.log_text();
        let output = std::fs::read_to_string(self.dir.path().join(OUTPUT_FILE)).unwrap_or_default();
        let text = format!("{}\n{output}", log.get(log_start..).unwrap_or(&log));
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

/// Everything but letters and digits as `%XX`, so that any password fits into a URL.
fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}
