//! The errors of private Redis servers, with their remedies. No I/O.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Why a private Redis server could not be started, reached or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RedisServerError {
    /// The program isn't installed.
    #[error(
        "starting `{program}`: there is no such program in PATH; install it, e.g. `apt-get install redis-server`"
    )]
    NotInstalled {
        /// The program looked for.
        program: String,
    },
    /// The program is there but can't be run.
    #[error("starting `{program}` failed; check that it may be executed")]
    Spawn {
        /// The program.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The server's own directory can't be made or written to.
    #[error("writing the Redis server's files in {} failed; check that there is space and that TMPDIR can be written to", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The port is in use.
    #[error("starting Redis on port {port}: something else listens there; choose another port or end it")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// No port was free.
    #[error("starting Redis: found no free port on 127.0.0.1; name one, or stop other servers")]
    NoFreePort,
    /// The server exited during its start.
    #[error("Redis exited during its start ({status}); its log says:\n{log}")]
    Exited {
        /// Its exit status.
        status: String,
        /// The last lines it logged.
        log: String,
    },
    /// The server didn't become ready.
    #[error(
        "Redis on port {port} was not ready after {waited:?}; raise the start time-out or read its log:\n{log}"
    )]
    NotReady {
        /// Its port.
        port: u16,
        /// How long was waited.
        waited: Duration,
        /// The last lines it logged.
        log: String,
    },
    /// The server didn't end; it was killed instead.
    #[error(
        "stopping Redis on port {port}: still running after {waited:?}, so it was killed; its last writes may be lost"
    )]
    StillRunning {
        /// Its port.
        port: u16,
        /// How long was waited.
        waited: Duration,
    },
    /// There is no process to act on.
    #[error("can't {operation} Redis on port {port}: it is not running; restart it first")]
    NotRunning {
        /// The operation.
        operation: &'static str,
        /// Its port.
        port: u16,
    },
    /// The process could not be acted on.
    #[error("can't {operation} Redis on port {port}; see whether the process is still there")]
    Signal {
        /// The operation.
        operation: &'static str,
        /// Its port.
        port: u16,
        /// What the operating system said.
        source: io::Error,
    },
    /// A group of servers did not reach the expected state.
    #[error(
        "waited {waited:?} in vain for {what}; raise the start time-out or read the logs; last seen: {seen}"
    )]
    NotTogether {
        /// What was waited for.
        what: String,
        /// How long was waited.
        waited: Duration,
        /// What was seen instead.
        seen: String,
    },
    /// A server refused a command of ours.
    #[error("`{command}` on Redis on port {port} failed; see its log")]
    Command {
        /// The command.
        command: String,
        /// Its port.
        port: u16,
        /// What the server or the client said.
        source: redis::RedisError,
    },
    /// No connection could be made.
    #[error("connecting to Redis at {addr} failed; see whether it runs, and its password")]
    Connect {
        /// Its address.
        addr: SocketAddr,
        /// What the client said.
        source: redis::RedisError,
    },
}

impl RedisServerError {
    pub(super) fn spawn(program: &str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotInstalled { program: program.to_owned() },
            _ => Self::Spawn { program: program.to_owned(), source },
        }
    }
}
