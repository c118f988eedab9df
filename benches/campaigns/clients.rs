//! The clients: most of them bare sockets in this process, some official ones in a process of Node.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

use crate::{
    scene::{id, token},
    server::{SOON, packages},
    wire::{frame, join, next},
};

/// Which event came, and when in microseconds of the machine's clock.
pub(crate) type Arrival = (usize, u64);

/// The time since the Unix epoch, in microseconds.
pub(crate) fn micros() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_micros() as u64
}

/// The room of an official client: they lie apart.
pub(crate) const fn official_room(number: usize, many: usize, rooms: u64) -> u64 {
    number as u64 * rooms / many as u64
}

/// Connected clients, each in one room.
pub(crate) struct Clients {
    port: u16,
    rooms: u64,
    tasks: JoinSet<()>,
    joined: Arc<Semaphore>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    official: Option<Official>,
}

impl Clients {
    pub(crate) fn new(port: u16, rooms: u64) -> Self {
        Self {
            port,
            rooms,
            tasks: JoinSet::new(),
            joined: Arc::new(Semaphore::new(0)),
            arrivals: Arc::default(),
            official: None,
        }
    }

    /// Connects bare clients until there are so many.
    pub(crate) async fn fill(&mut self, many: usize) {
        for number in self.tasks.len()..many {
            let (joined, arrivals) = (self.joined.clone(), self.arrivals.clone());
            self.tasks.spawn(client(self.port, number as u64 % self.rooms, joined, arrivals));
            // As many at once as the backlog of a listener holds.
            if number % 100 == 0 {
                self.wait(number).await;
            }
        }
        self.wait(many).await;
    }

    async fn wait(&self, many: usize) {
        let all = timeout(SOON, self.joined.acquire_many(many as u32)).await;
        drop(all.expect("the clients join in time").expect("it is open"));
    }

    /// Connects official clients.
    pub(crate) async fn add_official(&mut self, many: usize) {
        self.official = Some(Official::start(self.port, self.rooms, many).await);
    }

    /// How many events have come to bare clients since the last report.
    pub(crate) fn arrived(&self) -> usize {
        self.arrivals.lock().expect("no panic").len()
    }

    /// What came since the last report: to bare clients, and to official ones.
    pub(crate) async fn report(&mut self) -> [Vec<Arrival>; 2] {
        let official = match &mut self.official {
            Some(official) => official.report().await,
            None => Vec::new(),
        };
        [std::mem::take(&mut *self.arrivals.lock().expect("no panic")), official]
    }
}

/// A bare client: it joins, notes what comes, and answers pings.
async fn client(port: u16, room: u64, joined: Arc<Semaphore>, arrivals: Arc<Mutex<Vec<Arrival>>>) {
    let mut bytes = Vec::with_capacity(4_096);
    let mut stream = join(port, &token(&id(room)), &id(room), &mut bytes).await;
    joined.add_permits(1);
    while let Some(text) = next(&mut stream, &mut bytes).await {
        let now = micros();
        if text == b"2" {
            let _ = stream.write_all(&frame(b"3")).await;
        } else if let Some(number) = number_of(&text) {
            arrivals.lock().expect("no panic").push((number, now));
        }
    }
}

/// The number of a status event.
fn number_of(text: &[u8]) -> Option<usize> {
    const FIELD: &[u8] = b"\"totalExecutions\":";
    if !text.windows(17).any(|window| window == b"\"campaign:status\"") {
        return None;
    }
    let place = text.windows(FIELD.len()).position(|window| window == FIELD)?;
    let digits = text[place + FIELD.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

/// The official clients.
struct Official {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Official {
    async fn start(port: u16, rooms: u64, many: usize) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/campaigns/clients.js");
        let rooms = (0..many).map(|number| id(official_room(number, many, rooms)));
        let pairs = rooms.map(|id| format!("{id}={}", token(&id)));
        let mut process = Command::new("node")
            .arg(script)
            .arg(packages())
            .arg(format!("http://127.0.0.1:{port}/campaigns"))
            .args(pairs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs: scripts/needs socket.io-client");
        let input = process.stdin.take().expect("piped");
        let mut output = BufReader::new(process.stdout.take().expect("piped")).lines();
        let ready = timeout(SOON, output.next_line()).await.expect("official clients join in time");
        assert_eq!(ready.expect("a line").expect("a line"), "ready");
        Self { input, output, _process: process }
    }

    async fn report(&mut self) -> Vec<Arrival> {
        self.input.write_all(b"report\n").await.expect("node reads");
        let answer = timeout(Duration::from_secs(10), self.output.next_line()).await.expect("an answer");
        let line = answer.expect("a line").expect("a line");
        let pairs = line.split(' ').filter_map(|pair| pair.split_once(':'));
        pairs.filter_map(|(number, at)| Some((number.parse().ok()?, at.parse().ok()?))).collect()
    }
}
