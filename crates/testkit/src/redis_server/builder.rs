//! The settings of a private Redis server, and the configuration file made from them. No I/O.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::{LOG_FILE, RedisServer, RedisServerError, SOCKET_FILE};
use crate::tls::Tls;

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings of a private Redis server; made by [`RedisServer::builder`].
#[derive(Debug, Clone, Default)]
#[must_use = "nothing is started before `start`"]
pub struct RedisServerBuilder {
    settings: Settings,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) program: String,
    pub(super) port: Option<u16>,
    pub(super) password: Option<String>,
    pub(super) start_timeout: Duration,
    pub(super) tls: Option<Tls>,
    pub(super) sentinel: bool,
    unix_socket: bool,
    append_only: bool,
    directives: Vec<(String, String)>,
}

impl RedisServerBuilder {
    /// Whether every write is synced to an append-only file before it is answered (`appendfsync always`), so
    /// that a killed and restarted server has lost nothing. Off by default: a stopped server is empty again.
    pub fn append_only(mut self, on: bool) -> Self {
        self.settings.append_only = on;
        self
    }

    /// Clients must give this password. [`RedisServer::url`] contains it.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.settings.password = Some(password.into());
        self
    }

    /// Accepts TLS only, on its port.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.settings.tls = Some(tls);
        self
    }

    /// Listens on a Unix socket in its directory, too: [`RedisServer::socket`].
    pub fn unix_socket(mut self) -> Self {
        self.settings.unix_socket = true;
        self
    }

    /// Runs as a sentinel.
    pub(crate) fn sentinel(mut self) -> Self {
        self.settings.sentinel = true;
        self
    }

    /// Uses exactly this port, instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.settings.port = Some(port);
        self
    }

    /// Adds a line to the configuration file, such as `maxmemory` and `50mb`. `value` is written as it is:
    /// quote it where Redis wants quotes. Later lines win.
    pub fn arg(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.directives.push((key.into(), value.into()));
        self
    }

    /// Starts this program instead of the `redis-server` found in `PATH`.
    pub fn program(mut self, program: impl Into<String>) -> Self {
        self.settings.program = program.into();
        self
    }

    /// How long starting and loading may take; 30 s by default.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.settings.start_timeout = timeout;
        self
    }

    /// Starts the server and waits until it answers and has loaded its data.
    ///
    /// # Errors
    /// When the program is missing, ends by itself, can't have its port, or does not answer in time.
    pub async fn start(self) -> Result<RedisServer, RedisServerError> {
        RedisServer::start_with(self.settings).await
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            program: "redis-server".to_owned(),
            port: None,
            password: None,
            start_timeout: START_TIMEOUT,
            tls: None,
            sentinel: false,
            unix_socket: false,
            append_only: false,
            directives: Vec::new(),
        }
    }
}

impl Settings {
    /// The configuration file. A file keeps the password out of the process list.
    pub(super) fn config_text(&self, port: u16, dir: &Path) -> String {
        let mut lines = vec![
            ("bind".to_owned(), "127.0.0.1".to_owned()),
            ("daemonize".to_owned(), "no".to_owned()),
            ("dir".to_owned(), quoted(dir.as_os_str().as_encoded_bytes())),
            ("logfile".to_owned(), LOG_FILE.to_owned()),
        ];
        match &self.tls {
            None => lines.push(("port".to_owned(), port.to_string())),
            Some(tls) => {
                lines
                    .extend([("port".to_owned(), "0".to_owned()), ("tls-port".to_owned(), port.to_string())]);
                lines.extend(tls.directives());
            }
        }
        if self.unix_socket {
            lines.push((
                "unixsocket".to_owned(),
                quoted(dir.join(SOCKET_FILE).as_os_str().as_encoded_bytes()),
            ));
        }
        // A sentinel persists nothing but its configuration file.
        if !self.sentinel {
            lines.extend([
                ("save".to_owned(), "\"\"".to_owned()),
                ("appendonly".to_owned(), if self.append_only { "yes" } else { "no" }.to_owned()),
                ("appendfsync".to_owned(), "always".to_owned()),
            ]);
        }
        if let Some(password) = &self.password {
            lines.push(("requirepass".to_owned(), quoted(password.as_bytes())));
        }
        lines.extend(self.directives.iter().cloned());
        lines.iter().fold(String::new(), |mut text, (key, value)| {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{key} {value}");
            text
        })
    }
}

/// A quoted string as Redis' configuration parser reads it, whatever the bytes.
fn quoted(bytes: &[u8]) -> String {
    let escaped = bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "\\x{byte:02x}");
        }
        text
    });
    format!("\"{escaped}\"")
}
