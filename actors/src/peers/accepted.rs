//! Connections that are accepted and wait for an actor.

use std::{collections::VecDeque, net::IpAddr, sync::Mutex};

use ports::limit_received;
use tokio::{net::TcpStream, sync::Notify};

use crate::env::lock::lock;

/// What the system may hold of a connection, in bytes: some packets, so that a sender is as fast as its actor.
const MOST_RECEIVED: usize = 256 << 10;

/// A connection that nobody serves yet.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) from: IpAddr,
}

impl Accepted {
    /// A connection of which the system holds little.
    pub(super) fn new(stream: TcpStream, from: IpAddr) -> Self {
        // Where the system refuses it, its own limit holds.
        let _ = limit_received(&stream, MOST_RECEIVED);
        Self { stream, from }
    }
}

/// The connections that wait. At most as many as there are actors, so that each is served soon.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: Mutex<VecDeque<Accepted>>,
    arrived: Notify,
}

impl Waiting {
    /// Adds a connection; returns it if there are `most` already.
    pub(super) fn push(&self, accepted: Accepted, most: usize) -> Result<(), Accepted> {
        let mut queue = lock(&self.queue);
        if queue.len() >= most {
            return Err(accepted);
        }
        queue.push_back(accepted);
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next connection.
    pub(super) async fn next(&self) -> Accepted {
        loop {
            // Before the look, so that one that arrives in between wakes.
            let arrived = self.arrived.notified();
            if let Some(accepted) = self.take() {
                return accepted;
            }
            arrived.await;
        }
    }

    fn take(&self) -> Option<Accepted> {
        let mut queue = lock(&self.queue);
        let accepted = queue.pop_front();
        // One wake-up may stand for several arrivals: the actor that is woken wakes the next one.
        if !queue.is_empty() {
            self.arrived.notify_one();
        }
        accepted
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        lock(&self.queue).len()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn each_connection_is_served_by_one_of_the_actors_that_wait() {
        let waiting = Waiting::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let arrive = async {
            for _ in 0..2 {
                let stream = TcpStream::connect(address).await.expect("a connection");
                let accepted = Accepted::new(stream, Ipv4Addr::LOCALHOST.into());
                assert!(waiting.push(accepted, 2).is_ok());
            }
        };
        let all = async { tokio::join!(waiting.next(), waiting.next(), arrive) };
        tokio::time::timeout(Duration::from_secs(20), all).await.expect("both were served");
        assert_eq!(waiting.len(), 0);
    }

    #[tokio::test]
    async fn the_system_holds_of_a_connection_what_it_may() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let [stream, other] = [TcpStream::connect(address).await, TcpStream::connect(address).await];
        let accepted = Accepted::new(stream.expect("a connection"), Ipv4Addr::LOCALHOST.into());
        let held = |stream: &TcpStream| SockRef::from(stream).recv_buffer_size().expect("known");
        // One that is left alone begins with another size, and grows.
        assert_ne!(held(&accepted.stream), held(&other.expect("a connection")));
        assert!(held(&accepted.stream) <= 2 * MOST_RECEIVED);
    }

    #[tokio::test]
    async fn no_more_wait_than_may() {
        let waiting = Waiting::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        for is_taken in [true, false] {
            let stream = TcpStream::connect(address).await.expect("a connection");
            let accepted = Accepted::new(stream, Ipv4Addr::LOCALHOST.into());
            assert_eq!(waiting.push(accepted, 1).is_ok(), is_taken);
        }
    }
}
