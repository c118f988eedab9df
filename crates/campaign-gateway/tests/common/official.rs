//! Clients of the official library, in one process of Node that is driven by lines of JSON.

use std::{
    collections::VecDeque,
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// How long a test waits for what must happen.
pub const SOON: Duration = Duration::from_secs(60);

/// Clients of the official library.
pub struct Official {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// What was said and not asked for yet.
    said: VecDeque<Value>,
    numbers: u64,
}

/// The folder with the packages of npm, as `scripts/needs` installs them.
pub fn packages() -> PathBuf {
    if let Some(folder) = env::var_os("SOCKET_IO") {
        return folder.into();
    }
    let needs = include_str!("../../../../scripts/needs");
    let version = needs.lines().find_map(|line| line.strip_prefix("SOCKET_IO_VERSION=")).unwrap();
    let home = env::var_os("HOME").unwrap_or_else(|| "/root".into());
    Path::new(&home).join(format!(".cache/state-tracker/socket.io-{version}"))
}

impl Official {
    pub async fn start() -> Self {
        let packages = packages();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/official.js");
        let mut process = Command::new("node")
            .arg(script)
            .arg(&packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs: scripts/needs socket.io-client");
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut this = Self { _process: process, input, output, said: VecDeque::new(), numbers: 0 };
        this.wait(|line| line["what"] == "ready").await;
        this
    }

    pub async fn tell(&mut self, command: Value) {
        self.input.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    }

    /// Makes a client that connects; `options` are the library's.
    pub async fn connect(&mut self, id: &str, url: &str, token: &str, mut options: Value) {
        if !token.is_empty() {
            options["auth"] = json!({ "token": token });
        }
        self.tell(json!({ "do": "connect", "id": id, "url": url, "options": options })).await;
    }

    /// The next line that fits; others are kept for later.
    pub async fn wait(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        self.wait_within(SOON, fits).await
    }

    /// The same within another time.
    pub async fn wait_within(&mut self, limit: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        let found = timeout(limit, self.search(&fits)).await;
        found.unwrap_or_else(|_| panic!("it did not come; what came: {:#?}", self.said))
    }

    async fn search(&mut self, fits: &impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.said.iter().position(fits) {
            return self.said.remove(place).unwrap();
        }
        loop {
            let line = self.output.next_line().await.unwrap().expect("node ended");
            let line: Value = serde_json::from_str(&line).unwrap();
            assert_ne!(line["what"], "failed", "{line}");
            if fits(&line) {
                return line;
            }
            self.said.push_back(line);
        }
    }

    /// The next line about a client that says this.
    pub async fn next(&mut self, id: &str, what: &str) -> Value {
        self.wait(|line| line["id"] == id && line["what"] == what).await
    }

    /// The next event of this name.
    pub async fn event(&mut self, id: &str, name: &str) -> Value {
        self.wait(|line| line["id"] == id && line["what"] == "event" && line["name"] == name).await["values"]
            .clone()
    }

    /// Sends an event and returns its acknowledgement.
    pub async fn ask(&mut self, id: &str, name: &str, value: Value) -> Value {
        self.numbers += 1;
        let number = self.numbers;
        self.tell(json!({ "do": "emit", "id": id, "name": name, "values": [value], "number": number })).await;
        let ack = self.wait(|line| line["what"] == "ack" && line["number"] == number).await;
        assert_eq!(ack["error"], Value::Null, "{ack}");
        ack["value"].clone()
    }

    /// What was said about a client so far and not asked for.
    pub fn left(&self, id: &str) -> Vec<&Value> {
        self.said.iter().filter(|line| line["id"] == id).collect()
    }
}
