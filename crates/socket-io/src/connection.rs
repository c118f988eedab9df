//! One client: what waits for it, in which state its session is, and what the application keeps of it.
//!
//! It is the part that transports, rooms and the application share, so each call is short and none waits while it holds the lock.

use std::{
    collections::VecDeque,
    future::poll_fn,
    net::IpAddr,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    ending::Ending,
    id::SessionId,
    message::Message,
    outbox::{Bounds, Outbox, Pushed},
};

/// How long the last messages of an ending connection may take.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// How a client is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// By requests that wait.
    Polling,
    /// Still so, and it tries a WebSocket.
    Probing,
    /// By a WebSocket.
    WebSocket,
}

/// How far a client is with the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has not asked.
    Fresh,
    /// It has asked.
    Asked,
    /// It is in.
    Welcome,
}

/// A client. `C` is what the application keeps of it.
pub struct Connection<C> {
    id: SessionId,
    address: IpAddr,
    bounds: Bounds,
    client: OnceLock<C>,
    state: Mutex<State>,
}

struct State {
    outbox: Outbox,
    /// What sends messages: the task of a WebSocket, or a request that waits.
    sender: Option<Waker>,
    /// A task that waits until the client has read.
    filler: Option<Waker>,
    transport: Transport,
    phase: Phase,
    /// Requests of this session that are in work: one of each kind may be.
    is_polled: bool,
    is_posted: bool,
    /// When a ping was sent, or something heard after it; `None` while none waits for its answer.
    pinged: Option<Instant>,
    /// When the last answer came.
    ponged: Instant,
    opened: Instant,
    ending: Option<(Ending, Instant)>,
    /// Whether it was waited for in vain, and something waits for it since then.
    is_slow: bool,
    /// The query of the handshake, until the application has seen it.
    query: Option<Box<str>>,
}

impl<C> Connection<C> {
    pub(crate) fn new(
        id: SessionId,
        address: IpAddr,
        bounds: Bounds,
        transport: Transport,
        query: &str,
        now: Instant,
    ) -> Self {
        let state = State {
            outbox: Outbox::default(),
            sender: None,
            filler: None,
            transport,
            phase: Phase::Fresh,
            is_polled: false,
            is_posted: false,
            pinged: None,
            ponged: now,
            opened: now,
            ending: None,
            is_slow: false,
            query: Some(query.into()),
        };
        Self { id, address, bounds, client: OnceLock::new(), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// The address of the client.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// What the application keeps of it, once it is welcome.
    #[must_use]
    pub fn client(&self) -> Option<&C> {
        self.client.get()
    }

    /// Lets the client into the namespace: with a secret by which it finds its rooms again, where there is one. What is held stays held.
    /// `false` where it is in already, or its connection has ended.
    pub fn welcome(&self, namespace: &str, client: C, secret: Option<&str>) -> bool {
        if self.is_ending() || self.client.set(client).is_err() {
            return false;
        }
        self.lock().phase = Phase::Welcome;
        self.send_first(Message::connect(namespace, &self.id.text(), secret)) != Pushed::Refused
    }

    /// Sends a message. A client that has no place for it is too slow, and its connection ends.
    pub fn send(&self, message: Message) -> Pushed {
        self.push(|outbox, bounds| outbox.push(message, bounds))
    }

    /// Sends a long message if at most a quarter of the bytes that may wait for the client do so; gives it back otherwise.
    ///
    /// # Errors
    /// The message, if it was not sent.
    pub fn send_if_free(&self, message: Message) -> Result<(), Message> {
        let mut message = Some(message);
        self.push(|outbox, bounds| match message.take() {
            Some(message) if outbox.bytes() <= bounds.bytes / 4 => outbox.push(message, bounds),
            not_sent => {
                message = not_sent;
                Pushed::Waits
            }
        });
        message.map_or(Ok(()), Err)
    }

    /// Sends a message before those that are held.
    pub fn send_first(&self, message: Message) -> Pushed {
        self.push(|outbox, bounds| outbox.push_first(message, bounds))
    }

    /// Answers a request for an acknowledgement, if it is one.
    pub fn acknowledge(&self, namespace: &str, number: Option<u64>, answer: &impl Serialize) {
        if let Some(number) = number {
            self.send(Message::acknowledgement(namespace, number, answer));
        }
    }

    fn push(&self, push: impl FnOnce(&mut Outbox, Bounds) -> Pushed) -> Pushed {
        let mut state = self.lock();
        if state.ending.is_some() {
            return Pushed::Refused;
        }
        let pushed = push(&mut state.outbox, self.bounds);
        if pushed == Pushed::Refused {
            state.end(Ending::Slow);
        }
        let sender = state.sender.take();
        drop(state);
        wake(sender);
        pushed
    }

    /// Holds messages from now on, but those that are sent first.
    pub fn hold(&self) {
        self.lock().outbox.hold();
    }

    /// Lets the held messages follow.
    pub fn release(&self) {
        let mut state = self.lock();
        state.outbox.release();
        let sender = state.sender.take();
        drop(state);
        wake(sender);
    }

    /// Drops the held messages, and holds none from now on.
    pub fn drop_held(&self) {
        self.lock().outbox.drop_held();
    }

    /// Waits until fewer than a quarter of the bytes that may wait do so, or the connection ends. One task may wait at a time.
    pub async fn drained(&self) {
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.ending.is_some() || state.outbox.bytes() < self.bounds.bytes / 4 {
                return Poll::Ready(());
            }
            register(&mut state.filler, cx);
            Poll::Pending
        })
        .await;
    }

    /// Whether more than half of what may wait for the client does so, and is not held; never for one that was waited for in vain.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let state = self.lock();
        state.ending.is_none() && !state.is_slow && state.outbox.is_behind(self.bounds)
    }

    /// Notes that the client was waited for in vain, if it is behind: until all was sent to it, it is waited for no more.
    pub fn wait_no_more(&self) {
        let mut state = self.lock();
        state.is_slow |= state.outbox.is_behind(self.bounds);
    }

    /// Ends the connection. What waits is sent first, unless the client can't read it; what is held is not: it would stand behind a gap,
    /// and its offset would say that the client knows what lies there. The first reason holds.
    pub fn end(&self, why: Ending) {
        let mut state = self.lock();
        state.end(why);
        let wakers = [state.sender.take(), state.filler.take()];
        drop(state);
        wakers.into_iter().for_each(wake);
    }

    /// Tells the client that it is out of the namespace, so that it does not come back by itself, and ends the connection.
    pub fn dismiss(&self, namespace: &str) {
        // Before what is held, which an end drops.
        self.send_first(Message::disconnect(namespace));
        self.end(Ending::Dismissed);
    }

    /// Whether the connection has ended, or is about to.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.lock().ending.is_some()
    }

    /// Why it ends, if it does.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.lock().ending.map(|(why, _)| why)
    }

    /// Whether it ends, and nothing more is sent at `now`.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.lock().ending.is_some_and(|(why, since)| {
            !why.flushes() || now.saturating_duration_since(since) > FINISH_WITHIN
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    pub(crate) fn transport(&self) -> Transport {
        self.lock().transport
    }

    /// The query of the handshake, once.
    pub(crate) fn take_query(&self) -> Option<Box<str>> {
        self.lock().query.take()
    }

    /// Notes that the client has sent something.
    pub(crate) fn heard(&self, is_pong: bool, now: Instant) {
        let mut state = self.lock();
        if is_pong {
            (state.pinged, state.ponged) = (None, now);
        } else if state.pinged.is_some() {
            state.pinged = Some(now);
        }
    }

    /// Sends a ping, or ends the connection of a client that is silent or idle, where it is due; wakes what must look at it again.
    pub(crate) fn tick(&self, interval: Duration, timeout: Duration, connect_within: Duration, now: Instant) {
        let mut state = self.lock();
        let since = |then: Instant| now.saturating_duration_since(then);
        if state.ending.is_some() {
            let sender = state.sender.take();
            drop(state);
            return wake(sender);
        }
        if state.phase == Phase::Fresh && since(state.opened) > connect_within {
            drop(state);
            return self.end(Ending::Idle);
        }
        match state.pinged {
            Some(pinged) if since(pinged) > timeout => {
                drop(state);
                self.end(Ending::Silent);
            }
            None if since(state.ponged) >= interval => {
                state.pinged = Some(now);
                drop(state);
                self.send_first(Message::text("2"));
            }
            _ => {}
        }
    }

    /// Lets what is queued, and the end, wake this task.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        register(&mut self.lock().sender, cx);
    }

    /// Takes messages to send them, and registers the task.
    pub(crate) fn take(&self, batch: Bounds, into: &mut VecDeque<Message>, cx: &Context<'_>) {
        let mut state = self.lock();
        state.outbox.take(batch, into);
        state.is_slow &= !state.outbox.is_empty();
        register(&mut state.sender, cx);
        let filler = if state.outbox.bytes() < self.bounds.bytes / 4 { state.filler.take() } else { None };
        drop(state);
        wake(filler);
    }

    /// What a request gets that waits for messages.
    pub(crate) fn poll_messages(
        &self,
        batch: Bounds,
        into: &mut VecDeque<Message>,
        cx: &Context<'_>,
    ) -> Poll<Polled> {
        self.take(batch, into, cx);
        if !into.is_empty() {
            return Poll::Ready(Polled::Messages);
        }
        let state = self.lock();
        match (state.ending, state.transport) {
            (Some(_), _) => Poll::Ready(Polled::End),
            // The client waits for this answer before it uses the new transport.
            (None, Transport::Probing | Transport::WebSocket) => Poll::Ready(Polled::Nothing),
            (None, Transport::Polling) => Poll::Pending,
        }
    }

    /// Begins a request; `false` where one of its kind is in work, or the client has a WebSocket.
    pub(crate) fn begin(&self, request: Request) -> bool {
        let mut state = self.lock();
        if state.transport == Transport::WebSocket {
            return false;
        }
        let is_busy = match request {
            Request::Poll => &mut state.is_polled,
            Request::Post => &mut state.is_posted,
        };
        !std::mem::replace(is_busy, true)
    }

    /// Ends a request.
    pub(crate) fn finish(&self, request: Request) {
        let mut state = self.lock();
        match request {
            Request::Poll => state.is_polled = false,
            Request::Post => state.is_posted = false,
        }
    }

    /// Begins to try a WebSocket; `false` where the client has one or tries one.
    pub(crate) fn probe(&self) -> bool {
        let mut state = self.lock();
        let may = state.transport == Transport::Polling && state.ending.is_none();
        if may {
            state.transport = Transport::Probing;
            let sender = state.sender.take();
            drop(state);
            wake(sender);
        }
        may
    }

    /// Ends a try: with the WebSocket in use, or as before. `false` where a request is still in work.
    pub(crate) fn probed(&self, is_used: bool) -> bool {
        let mut state = self.lock();
        let is_free = !state.is_polled && !state.is_posted;
        state.transport = if is_used && is_free { Transport::WebSocket } else { Transport::Polling };
        is_free
    }

    /// Frees what waits: nothing more is sent.
    pub(crate) fn clear(&self) {
        self.lock().outbox.clear();
    }
}

impl State {
    fn end(&mut self, why: Ending) {
        if self.ending.is_none() {
            self.ending = Some((why, Instant::now()));
            self.outbox.drop_held();
            if !why.flushes() {
                self.outbox.clear();
            }
        }
    }
}

/// A kind of requests of long polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// It waits for messages.
    Poll,
    /// It brings messages.
    Post,
}

/// What a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    Messages,
    Nothing,
    End,
}

fn register(place: &mut Option<Waker>, cx: &Context<'_>) {
    if place.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
        *place = Some(cx.waker().clone());
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn connection() -> Connection<()> {
        let (id, address) = (SessionId::random().unwrap(), Ipv4Addr::LOCALHOST.into());
        let bounds = Bounds { messages: 10, bytes: 1_000 };
        Connection::new(id, address, bounds, Transport::Polling, "", Instant::now())
    }

    #[test]
    fn what_is_held_is_not_sent_at_an_end() {
        for dismisses in [false, true] {
            let connection = connection();
            connection.hold();
            connection.send(Message::text("live"));
            connection.send_first(Message::text("missed"));
            match dismisses {
                true => connection.dismiss("/x"),
                false => connection.end(Ending::Restarting),
            }
            let mut sent = VecDeque::new();
            connection.lock().outbox.take(Bounds { messages: 10, bytes: 1_000 }, &mut sent);
            let texts: Vec<&[u8]> = sent.iter().map(Message::payload).collect();
            let expected: &[&[u8]] = if dismisses { &[b"missed", b"41/x,"] } else { &[b"missed"] };
            assert_eq!(texts, expected);
        }
    }
}
