//! A connection's actor: reads the lines of one sender after the other, and sends what they tell to the state.
//!
//! It touches the socket of its sender. Promises: whatever the sender does ends at most this connection, and a crash of this actor
//! too; a line that is no message is counted and dropped, and the connection goes on; a sender that is faster than the state, or
//! than its limit of lines, waits at its own socket; a long picture is read while it arrives, and is shown as a whole or not at all; no
//! error names what a sender wrote; a connection that is silent holds no buffer. The handshake of TLS is made here too, within its time.

use std::{sync::Arc, time::Duration};

use peer_snapshots::{Endless, Frame, Framer, Message, ReadAhead, Unreadable};
use ports::{Tls, client_name, read_some};
use subtle::ConstantTimeEq as _;
use supervision::{Address, Context, Failure, Worker};
use tokio::io::AsyncRead;

use super::{
    accepted::Accepted,
    content::Told,
    counts::{Closed, LineFault},
    open::{OpenConnection, Place},
    points,
    shared::Peers,
    state::Arrived,
};
use crate::operations::READ_PEERS;

/// The bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;
/// How long a sender may take for the handshake of TLS.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long a sender may take for its secret, after the handshake.
const SECRET_WITHIN: Duration = Duration::from_secs(5);
/// The longest secret, in bytes.
const LONGEST_SECRET: usize = 1 << 10;

/// The actor.
pub struct Connection {
    peers: Peers,
    state: Address<Arrived>,
}

/// How a connection ended.
enum End {
    /// The sender closed it, it broke, or the actor is stopped.
    Over,
    /// We close it.
    Closed(Closed),
}

impl Connection {
    /// An actor that serves one connection after the other.
    #[must_use]
    pub fn new(peers: Peers, state: Address<Arrived>) -> Self {
        Self { peers, state }
    }

    async fn serve(&self, cx: &Context, accepted: Accepted) -> Result<(), Failure> {
        let (settings, from) = (&self.peers.0.settings, accepted.from);
        // Before the handshake: one that is not ended has a place, or an address could hold any number of them.
        let Some(place) = self.peers.0.open.take_place(from, settings.most_of_address) else {
            self.peers.0.counts.closed(Closed::TooMany);
            return Ok(());
        };
        match &settings.tls {
            Some(tls) => self.secured(cx, tls, accepted, place).await,
            None => {
                let open = place.admit(settings.naming.source(from));
                let end = self.lines(cx, accepted.stream, &open).await?;
                self.ended(&open.source, end);
                Ok(())
            }
        }
    }

    /// Makes the handshake, and reads until the end.
    async fn secured(
        &self,
        cx: &Context,
        tls: &Tls,
        accepted: Accepted,
        place: Place,
    ) -> Result<(), Failure> {
        let Accepted { stream, from } = accepted;
        let naming = &self.peers.0.settings.naming;
        let handshake = cx.clock().timeout(HANDSHAKE_WITHIN, tls.accept(stream));
        let failed = match cx.idle(cx.stop_token().run_until_cancelled(handshake)).await {
            Some(Some(Ok(stream))) => {
                let open = place.admit(naming.certified(client_name(&stream).as_deref(), from));
                let end = self.lines(cx, stream, &open).await?;
                self.ended(&open.source, end);
                return Ok(());
            }
            Some(Some(Err(error))) => End::Closed(Closed::of(&error)),
            Some(None) => End::Closed(Closed::SlowHandshake),
            None => End::Over,
        };
        self.ended(&naming.source(from), failed);
        Ok(())
    }

    /// Counts and logs a connection that we close.
    fn ended(&self, source: &str, end: End) {
        if let End::Closed(reason) = end {
            self.peers.0.counts.closed(reason);
            self.peers.0.services.warn(READ_PEERS, source, reason.why());
        }
    }

    /// Reads until the end.
    async fn lines(
        &self,
        cx: &Context,
        mut stream: impl AsyncRead + Unpin,
        open: &OpenConnection,
    ) -> Result<End, Failure> {
        let settings = &self.peers.0.settings;
        let (mut framer, mut ahead) = (Framer::new(settings.max_line), ReadAhead::default());
        let mut is_known = settings.secret.is_none();
        let mut pace = Pace::new(settings.lines_per_second);
        let clock = cx.clock();
        // Whole lines move it on, and bytes do not: a sender of one byte now and then has no longer than a silent one.
        let mut until = clock.now() + if is_known { settings.silent_after } else { SECRET_WITHIN };
        loop {
            let reading = clock
                .timeout(until.saturating_duration_since(clock.now()), read_some(&mut stream, READ_BYTES));
            let bytes = match cx.idle(cx.stop_token().run_until_cancelled(reading)).await {
                None | Some(Some(Err(_))) => return Ok(End::Over),
                Some(Some(Ok(bytes))) if bytes.is_empty() => return Ok(End::Over),
                Some(None) => {
                    return Ok(End::Closed(if is_known { Closed::Silent } else { Closed::Secret }));
                }
                Some(Some(Ok(bytes))) => bytes,
            };
            points::CONNECTION_AFTER_READ.pass().await?;
            let mut input = &bytes[..];
            loop {
                let frame = match framer.next(&mut input) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(Endless(_)) => return Ok(End::Closed(Closed::Endless)),
                };
                if !is_known {
                    match frame {
                        Frame::Line(line) if self.is_secret(line) => {
                            (is_known, until) = (true, clock.now() + settings.silent_after);
                        }
                        _ => return Ok(End::Closed(Closed::Secret)),
                    }
                    continue;
                }
                pace.take(cx).await;
                match frame {
                    Frame::Line(line) => self.line(ahead.read(line), open).await,
                    Frame::TooLong(_) => {
                        ahead.forget();
                        self.peers.0.counts.fault(LineFault::TooLong);
                    }
                }
                until = clock.now() + settings.silent_after;
                cx.progress();
            }
            // A sender that has not told the secret yet gets no room for a long line.
            if !is_known && framer.unfinished() > LONGEST_SECRET {
                return Ok(End::Closed(Closed::Secret));
            }
            // Others run between two batches: a large packet must not hold them up.
            while ahead.look(framer.unfinished_line(), |entries| settings.naming.hide_entries(entries)) {
                tokio::task::yield_now().await;
            }
        }
    }

    fn is_secret(&self, line: &[u8]) -> bool {
        let Some(secret) = &self.peers.0.settings.secret else { return true };
        // In constant time for lines of its length.
        line.ct_eq(secret.as_bytes()).into()
    }

    /// Takes what was read of a line, and how many of its entries have their addresses hidden already.
    async fn line(&self, (read, hidden): (Result<Message, Unreadable>, usize), open: &OpenConnection) {
        let shared = &self.peers.0;
        match read {
            Ok(mut message) => {
                shared.settings.naming.hide(&mut message, hidden);
                shared.counts.message(message.kind());
                if !matches!(message, Message::Retired(_)) {
                    let arrived = Arrived {
                        source: open.source.clone(),
                        connection: open.number,
                        told: Told::Message(Arc::new(message)),
                    };
                    // The edge waits: a sender that is too fast is read more slowly. It is refused only while the state is stopped.
                    drop(self.state.send(arrived).await);
                }
            }
            Err(unreadable) => {
                shared.counts.fault(LineFault::Unreadable(unreadable.reason));
                shared.services.warn(READ_PEERS, &open.source, &format!("a line was dropped: {unreadable}"));
            }
        }
    }
}

impl Worker for Connection {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let waiting = self.peers.clone();
        while let Some(accepted) =
            cx.idle(cx.stop_token().run_until_cancelled(waiting.0.waiting.next())).await
        {
            self.serve(cx, accepted).await?;
        }
        Ok(())
    }
}

/// The limit of lines a second.
struct Pace {
    most: u32,
    left: u32,
    until: Option<std::time::Instant>,
}

impl Pace {
    fn new(most: u32) -> Self {
        Self { most, left: most, until: None }
    }

    /// Takes a place for one line; waits for the next second where there is none.
    async fn take(&mut self, cx: &Context) {
        let now = cx.clock().now();
        let until = *self.until.get_or_insert(now + Duration::from_secs(1));
        if now >= until {
            (self.left, self.until) = (self.most, Some(now + Duration::from_secs(1)));
        } else if self.left == 0 {
            cx.pause(cx.clock().sleep_until(until)).await;
            (self.left, self.until) = (self.most, Some(cx.clock().now() + Duration::from_secs(1)));
        }
        self.left = self.left.saturating_sub(1);
    }
}
