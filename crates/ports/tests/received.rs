//! What the system holds of a client that is not read.

#![allow(clippy::expect_used, missing_docs)] // A test that can not go on panics.

use ports::limit_received;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn of_a_client_that_is_not_read_the_system_holds_no_more_than_the_limit() {
    const LIMIT: usize = 32 << 10;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
    let (stream, _) = listener.accept().await.expect("accepted");
    limit_received(&stream, LIMIT).expect("set");
    // The client's side holds some too, so that no number says what is held here: the system is asked.
    let held = SockRef::from(&stream).recv_buffer_size().expect("known");
    // Left alone it is 128 KiB, and grows. Linux doubles the limit, for what it needs beside the bytes.
    assert!(held <= 2 * LIMIT, "{held} bytes");
    drop(client);
}
