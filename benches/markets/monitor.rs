//! The commands that reach Redis from outside, those inside of scripts apart, while this program sends none.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// How many commands were sent, and how many scripts ran.
#[derive(Clone, Copy, Default)]
pub(crate) struct Monitored {
    pub(crate) sent: u64,
    pub(crate) in_scripts: u64,
}

/// Counts for so long.
pub(crate) async fn monitor(server: SocketAddr, length: Duration) -> Monitored {
    tokio::task::spawn_blocking(move || count(server, length)).await.expect("no panic")
}

fn count(server: SocketAddr, length: Duration) -> Monitored {
    let mut stream = TcpStream::connect(server).expect("connected");
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
    stream.write_all(b"MONITOR\r\n").expect("sent");
    let (mut monitored, mut line, mut bytes) = (Monitored::default(), Vec::new(), vec![0; 256 << 10]);
    let began = Instant::now();
    while began.elapsed() < length {
        let size = match stream.read(&mut bytes) {
            Ok(size) => size,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(error) => panic!("the server ends it: {error}"),
        };
        for byte in &bytes[..size] {
            if *byte == b'\n' {
                monitored.add(&line);
                line.clear();
            } else if line.len() < 64 {
                line.push(*byte);
            }
        }
    }
    monitored
}

impl Monitored {
    /// A line, as in `+1700000000.000000 [0 127.0.0.1:50000] "get" …`, or with `[0 lua]`.
    fn add(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let Some((_, rest)) = line.split_once(" [") else { return };
        let Some((from, _)) = rest.split_once(']') else { return };
        if from.ends_with("lua") { self.in_scripts += 1 } else { self.sent += 1 }
    }
}
