//! The errors of private PostgreSQL servers and PgBouncers, with their remedies. No I/O.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a private PostgreSQL server or PgBouncer could not be started, reached or stopped.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The program isn't installed.
    #[error(
        "there is no `{program}` in PATH or in /usr/lib/postgresql; install it, e.g. `apt-get install {package}`, or \
         name its folder in POSTGRES_BIN"
    )]
    NotInstalled {
        /// The program looked for.
        program: &'static str,
        /// Its Debian package.
        package: &'static str,
    },
    /// The program is there but can't be run.
    #[error("running `{}` failed; check that it may be executed", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// PostgreSQL doesn't run as root, and there is nobody else to run it as.
    #[error("PostgreSQL refuses to run as root, and /etc/passwd has no user `postgres` or `nobody`")]
    NoUser,
    /// The server's own directory can't be made or written to.
    #[error("making the server's files in {} failed; check that there is space and that TMPDIR can be written to", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A helper program failed.
    #[error("`{program}` failed ({status}):\n{output}")]
    Failed {
        /// The program.
        program: &'static str,
        /// Its exit status.
        status: String,
        /// What it wrote.
        output: String,
    },
    /// The port is in use.
    #[error("something else listens on port {port}; end it")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// No port was free.
    #[error("found no free port on 127.0.0.1; stop other servers")]
    NoFreePort,
    /// The server exited during its start.
    #[error("the server exited during its start ({status}); its log says:\n{log}")]
    Exited {
        /// Its exit status.
        status: String,
        /// The last lines it logged.
        log: String,
    },
    /// The server didn't become ready.
    #[error("the server on port {port} was not ready after {waited:?}; its log says:\n{log}")]
    NotReady {
        /// Its port.
        port: u16,
        /// How long was waited.
        waited: Duration,
        /// The last lines it logged.
        log: String,
    },
    /// The server didn't end; it was killed instead.
    #[error("the server on port {port} still ran {waited:?} after it was stopped, so it was killed")]
    StillRunning {
        /// Its port.
        port: u16,
        /// How long was waited.
        waited: Duration,
    },
    /// There is no process to act on.
    #[error("can't {operation} the server on port {port}: it is not running; restart it first")]
    NotRunning {
        /// The operation.
        operation: &'static str,
        /// Its port.
        port: u16,
    },
    /// The process could not be acted on.
    #[error("can't {operation} the server on port {port}; see whether the process is still there")]
    Signal {
        /// The operation.
        operation: &'static str,
        /// Its port.
        port: u16,
        /// What the operating system said.
        source: io::Error,
    },
    /// A statement of ours was refused, or no connection could be made.
    #[error("`{statement}` failed on the server on port {port}: {source}")]
    Statement {
        /// The begin of the statement.
        statement: String,
        /// Its port.
        port: u16,
        /// What the server or the client said.
        source: tokio_postgres::Error,
    },
}
