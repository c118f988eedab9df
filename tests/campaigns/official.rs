//! Clients of the official library of Socket.IO, in one process of Node that is driven by lines of JSON.

use std::{
    collections::VecDeque,
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
const SOON: Duration = Duration::from_secs(60);

/// The clients.
pub(crate) struct Official {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// What was said and not asked for yet.
    said: VecDeque<Value>,
    numbers: u64,
}

/// The folder with the packages of npm, as `scripts/needs` installs them.
pub(crate) fn packages() -> PathBuf {
    if let Some(folder) = std::env::var_os("SOCKET_IO") {
        return folder.into();
    }
    let needs = include_str!("../../scripts/needs");
    let version = needs.lines().find_map(|line| line.strip_prefix("SOCKET_IO_VERSION=")).expect("a version");
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    Path::new(&home).join(format!(".cache/state-tracker/socket.io-{version}"))
}

impl Official {
    pub(crate) async fn start() -> Self {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/campaign-gateway/tests/clients/official.js");
        let mut process = Command::new("node")
            .arg(script)
            .arg(packages())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs: scripts/needs socket.io-client");
        let input = process.stdin.take().expect("piped");
        let output = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut this = Self { _process: process, input, output, said: VecDeque::new(), numbers: 0 };
        this.wait(|line| line["what"] == "ready").await;
        this
    }

    async fn tell(&mut self, command: Value) {
        self.input.write_all(format!("{command}\n").as_bytes()).await.expect("node reads");
    }

    /// Makes a client that connects, for ever again.
    pub(crate) async fn connect(&mut self, id: &str, url: &str, token: &str) {
        let options = json!({ "auth": { "token": token }, "transports": ["websocket"] });
        self.tell(json!({ "do": "connect", "id": id, "url": url, "options": options })).await;
    }

    /// Breaks a client's connection below the library.
    pub(crate) async fn cut(&mut self, id: &str) {
        self.tell(json!({ "do": "cut", "id": id })).await;
    }

    /// The next line that fits; others are kept for later.
    pub(crate) async fn wait(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        match timeout(SOON, self.search(&fits)).await {
            Ok(found) => found,
            Err(_) => panic!("it did not come; what came: {:#?}", self.said),
        }
    }

    async fn search(&mut self, fits: &impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.said.iter().position(fits) {
            return self.said.remove(place).expect("it was found");
        }
        loop {
            let line = self.output.next_line().await.expect("a line").expect("node runs");
            let line: Value = serde_json::from_str(&line).expect("JSON");
            if fits(&line) {
                return line;
            }
            self.said.push_back(line);
        }
    }

    /// The next line about a client that says this.
    pub(crate) async fn next(&mut self, id: &str, what: &str) -> Value {
        self.wait(|line| line["id"] == id && line["what"] == what).await
    }

    /// The content of the next event of this name.
    pub(crate) async fn event(&mut self, id: &str, name: &str) -> Value {
        let is_it = |line: &Value| line["id"] == id && line["what"] == "event" && line["name"] == name;
        self.wait(is_it).await["values"][0].clone()
    }

    /// Sends an event and returns its acknowledgement.
    pub(crate) async fn ask(&mut self, id: &str, name: &str, value: Value) -> Value {
        self.numbers += 1;
        let number = self.numbers;
        self.tell(json!({ "do": "emit", "id": id, "name": name, "values": [value], "number": number })).await;
        let ack = self.wait(|line| line["what"] == "ack" && line["number"] == number).await;
        assert_eq!(ack["error"], Value::Null, "{ack}");
        ack["value"].clone()
    }

    /// What was said about a client so far and not asked for.
    pub(crate) fn left(&self, id: &str) -> Vec<&Value> {
        self.said.iter().filter(|line| line["id"] == id).collect()
    }
}
