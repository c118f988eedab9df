//! Commands in one pipeline over a plain socket: a client that costs little beside what is measured, and counts what it sends.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
};

/// How many commands of each name this program has sent. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<Counts>>);

/// Commands by their names, in lower case.
pub(crate) type Counts = BTreeMap<String, u64>;

impl Tally {
    pub(crate) fn add(&self, name: &str, many: usize) {
        let mut counts = self.0.lock().expect("no panic");
        *counts.entry(name.to_owned()).or_default() += many as u64;
    }

    pub(crate) fn now(&self) -> Counts {
        self.0.lock().expect("no panic").clone()
    }
}

/// Commands to be sent together, each with an answer of one line.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    commands: usize,
    names: BTreeMap<&'static str, usize>,
}

impl Batch {
    pub(crate) fn command(&mut self, name: &'static str, words: &[&str]) {
        self.commands += 1;
        *self.names.entry(name).or_default() += 1;
        // Writing to a vector can't fail.
        let _ = write!(self.bytes, "*{}\r\n", words.len() + 1);
        for word in [&name].into_iter().chain(words) {
            let _ = write!(self.bytes, "${}\r\n{word}\r\n", word.len());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.commands
    }
}

/// A connection that waits for each batch's answers.
pub(crate) struct Wire {
    stream: TcpStream,
    tally: Tally,
}

impl Wire {
    pub(crate) fn connect(server: SocketAddr, tally: &Tally) -> Self {
        let stream = TcpStream::connect(server).expect("connected");
        stream.set_nodelay(true).expect("set");
        Self { stream, tally: tally.clone() }
    }

    /// Sends the batch, which is empty then, and waits until all of it is done.
    pub(crate) fn send(&mut self, batch: &mut Batch) {
        self.stream.write_all(&batch.bytes).expect("sent");
        let (mut answered, mut is_start, mut bytes) = (0, true, vec![0; 64 << 10]);
        while answered < batch.len() {
            let size = self.stream.read(&mut bytes).expect("answered");
            assert!(size > 0, "the connection is closed");
            for byte in &bytes[..size] {
                assert!(!is_start || *byte != b'-', "{}", String::from_utf8_lossy(&bytes[..size]));
                is_start = *byte == b'\n';
                answered += usize::from(is_start);
            }
        }
        for (name, many) in std::mem::take(&mut batch.names) {
            self.tally.add(&name.to_lowercase(), many);
        }
        batch.bytes.clear();
        batch.commands = 0;
    }
}
