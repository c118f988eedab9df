//! The sender against real sockets.

#![cfg(feature = "sender")]
#![allow(clippy::unwrap_used, missing_docs)] // A test may panic.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process, thread,
    time::{Duration, Instant},
};

use peer_snapshots::{
    Destination, Heartbeat, Message, MinerInfo, MinerSnapshot, QuoteCreated, Secret, Sender, read,
};

const SOON: Duration = Duration::from_secs(60);

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not within {SOON:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn heartbeat(timestamp: u64) -> Message {
    Message::Heartbeat(Heartbeat { listen_address: "here".to_owned(), timestamp })
}

/// A picture of some megabytes.
fn large(timestamp: u64) -> Message {
    let miner = |downstream_id| MinerInfo {
        downstream_id,
        name: "a name of some length, so that buffers fill up".repeat(4),
        address: None,
        hashrate: 1.0,
        shares_submitted: 1,
        connected_at: 1,
    };
    Message::Miners(MinerSnapshot { miners: (0..20_000).map(miner).collect(), timestamp })
}

fn accept(listener: &TcpListener) -> BufReader<TcpStream> {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    BufReader::new(stream)
}

fn line(from: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    assert_eq!(line.pop(), Some('\n'), "the connection ended");
    line
}

fn message(from: &mut BufReader<TcpStream>) -> Message {
    read(line(from).as_bytes()).unwrap()
}

fn started(listener: &TcpListener) -> Sender {
    Sender::start(Destination::new(listener.local_addr().unwrap().to_string())).unwrap()
}

/// An address that refuses connections, below the ports that the system gives to others meanwhile.
fn free_address() -> SocketAddr {
    let start = 10_000 + u16::try_from(process::id() % 10_000).unwrap();
    let mut addresses = (start..start + 1_000).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    addresses.find(|address| TcpListener::bind(address).is_ok()).unwrap()
}

#[test]
fn messages_arrive_with_the_secret_as_the_first_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut destination = Destination::new(listener.local_addr().unwrap().to_string());
    destination.secret = Secret::new("opensesame");
    assert!(!format!("{destination:?}").contains("opensesame"));
    let sender = Sender::start(destination).unwrap();
    sender.send(heartbeat(1));
    let mut receiver = accept(&listener);
    assert_eq!(line(&mut receiver), "opensesame");
    assert_eq!(message(&mut receiver), heartbeat(1));
    sender.send(heartbeat(2));
    assert_eq!(message(&mut receiver), heartbeat(2));
    wait_until("sent", || sender.counts().sent == 2);
    assert!(sender.is_connected());
    for wrong in ["", "two\nlines", "cr\r"] {
        assert_eq!(Secret::new(wrong), None);
    }
}

#[test]
fn a_host_with_several_addresses_says_which_one_it_sends_from() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut destination = Destination::new(listener.local_addr().unwrap().to_string());
    destination.from = Some([127, 0, 0, 9].into());
    let sender = Sender::start(destination).unwrap();
    sender.send(heartbeat(1));
    let mut receiver = accept(&listener);
    assert_eq!(receiver.get_ref().peer_addr().unwrap().ip().to_string(), "127.0.0.9");
    assert_eq!(message(&mut receiver), heartbeat(1));
    // An address that this host does not have is a failure, which is counted and tried again.
    let mut destination = Destination::new(listener.local_addr().unwrap().to_string());
    destination.from = Some([192, 0, 2, 1].into());
    let sender = Sender::start(destination).unwrap();
    sender.send(heartbeat(1));
    wait_until("a failure", || sender.counts().failures > 0);
    assert!(!sender.is_connected());
}

#[test]
fn while_the_receiver_is_away_only_the_newest_picture_waits() {
    // A port that refuses connections until the receiver is there.
    let address = free_address();
    let sender = Sender::start(Destination::new(address.to_string())).unwrap();
    sender.send(heartbeat(0));
    wait_until("a failure", || sender.counts().failures > 0);
    for timestamp in 1..=10_000 {
        sender.send(heartbeat(timestamp));
    }
    let quote = Message::Quote(QuoteCreated { downstream_id: 1, amount: 2, timestamp: 3 });
    sender.send(quote.clone());
    assert!(!sender.is_connected());
    assert!(sender.counts().replaced >= 9_999);
    // Some failures later at the latest, the pause is the longest; it is then under 6 s.
    let listener = TcpListener::bind(address).unwrap();
    let mut receiver = accept(&listener);
    assert_eq!(message(&mut receiver), quote);
    assert_eq!(message(&mut receiver), heartbeat(10_000));
    // They are counted after they are written.
    wait_until("counted", || sender.counts().sent + sender.counts().replaced == 10_002);
}

#[test]
fn a_receiver_that_does_not_read_blocks_no_caller_and_gets_whole_lines_of_the_newest() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = started(&listener);
    sender.send(large(1));
    let mut receiver = accept(&listener);
    wait_until("connected", || sender.is_connected());
    // The picture is larger than the buffers of the system, so the thread of the sender is stuck in it.
    let pictures: Vec<Message> = (2..20).map(large).collect();
    let before = Instant::now();
    pictures.into_iter().for_each(|picture| sender.send(picture));
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    assert!(sender.counts().sent <= 2);
    assert_eq!(message(&mut receiver).timestamp(), Some(1));
    let mut last = Some(1);
    while last != Some(19) {
        let next = message(&mut receiver).timestamp();
        assert!(next > last);
        last = next;
    }
    assert!(sender.counts().replaced >= 16, "{:?}", sender.counts());
}

#[test]
fn a_picture_is_sent_again_after_the_receiver_has_closed_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = started(&listener);
    sender.send(heartbeat(1));
    let mut receiver = accept(&listener);
    assert_eq!(message(&mut receiver), heartbeat(1));
    receiver.get_mut().write_all(b"odd, but allowed").unwrap();
    sender.send(heartbeat(2));
    assert_eq!(message(&mut receiver), heartbeat(2));
    drop(receiver);
    // Nothing is lost although the first write to a closed connection would succeed.
    sender.send(heartbeat(3));
    let mut receiver = accept(&listener);
    assert_eq!(message(&mut receiver), heartbeat(3));
    assert_eq!(sender.counts().connections, 2);
}

#[test]
fn a_receiver_that_closes_at_once_is_not_asked_without_pauses() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = started(&listener);
    sender.send(heartbeat(0));
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let before = Instant::now();
        drop(accept(&listener));
        pauses.push(before.elapsed());
        let connections = sender.counts().failures;
        wait_until("the end is noticed", || {
            sender.send(heartbeat(1));
            sender.counts().failures > connections
        });
    }
    assert!(pauses[3] > Duration::from_millis(400), "{pauses:?}");
}

#[test]
fn the_thread_ends_with_its_sender() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = started(&listener);
    sender.send(heartbeat(1));
    let mut receiver = accept(&listener);
    assert_eq!(message(&mut receiver), heartbeat(1));
    drop(sender);
    let mut rest = Vec::new();
    receiver.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
}
