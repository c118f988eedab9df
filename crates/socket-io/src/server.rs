//! The sessions of a server, and what it does with a packet, whichever transport brought it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use ports::Rates;

use crate::{
    application::{Application, ConnectRequest, Event},
    connection::{Connection, Phase, Transport},
    counts::{Counts, Full},
    ending::Ending,
    id::SessionId,
    message::Message,
    packet::{BadPacket, Frame, Packet},
    settings::Settings,
};

/// What is left to do for a packet.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server of one application.
pub struct Server<A: Application> {
    application: A,
    settings: Settings,
    counts: Arc<Counts>,
    rates: Rates,
    sessions: Mutex<Sessions<A::Client>>,
}

struct Sessions<C> {
    all: HashMap<SessionId, Arc<Connection<C>>>,
    /// How many each address has.
    addresses: HashMap<IpAddr, usize>,
}

impl<A: Application> Server<A> {
    /// A server without clients, which adds to these counts.
    #[must_use]
    pub fn new(application: A, settings: Settings, counts: Arc<Counts>) -> Arc<Self> {
        let sessions = Sessions { all: HashMap::new(), addresses: HashMap::new() };
        Arc::new(Self {
            application,
            rates: Rates::new(settings.per_second_per_address),
            settings,
            counts,
            sessions: Mutex::new(sessions),
        })
    }

    /// The application.
    #[must_use]
    pub fn application(&self) -> &A {
        &self.application
    }

    /// The limits and times.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The sessions at the moment.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.lock().all.len()
    }

    /// All connections at the moment, also those that are not in the namespace.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Connection<A::Client>>> {
        self.lock().all.values().cloned().collect()
    }

    /// Ends all sessions; the clients may come back.
    pub fn end_all(&self) {
        self.connections().iter().for_each(|connection| connection.end(Ending::Restarting));
    }

    fn lock(&self) -> MutexGuard<'_, Sessions<A::Client>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session.
    pub(crate) fn open(
        &self,
        address: IpAddr,
        transport: Transport,
        query: &str,
    ) -> Result<Arc<Connection<A::Client>>, Full> {
        let now = Instant::now();
        let key = network(address);
        let mut sessions = self.lock();
        let of_address = sessions.addresses.get(&key).copied().unwrap_or(0);
        // No random numbers, no session: they are its only protection.
        let id = match SessionId::random() {
            Some(id) if sessions.all.len() < self.settings.most_connections => id,
            _ => return Err(Full::Server),
        };
        if of_address >= self.settings.most_per_address {
            return Err(Full::Address);
        }
        let connection =
            Arc::new(Connection::new(id, address, self.settings.client_buffer, transport, query, now));
        sessions.all.insert(id, connection.clone());
        sessions.addresses.insert(key, of_address + 1);
        drop(sessions);
        self.counts.opened();
        Ok(connection)
    }

    /// Takes one of the new connections that an address may make.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<(), Full> {
        self.rates.take(address, Instant::now()).map_err(|_| Full::Rate)
    }

    /// The session with this id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Connection<A::Client>>> {
        let id = SessionId::parse(id)?;
        self.lock().all.get(&id).cloned()
    }

    /// Forgets a session, and tells the application, once.
    pub(crate) fn close(&self, connection: &Arc<Connection<A::Client>>, why: Ending) {
        connection.end(why);
        let why = connection.ending().unwrap_or(why);
        let mut sessions = self.lock();
        if sessions.all.remove(&connection.id()).is_none() {
            return;
        }
        let key = network(connection.address());
        if let Some(count) = sessions.addresses.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                sessions.addresses.remove(&key);
            }
        }
        drop(sessions);
        connection.clear();
        self.counts.ended(why);
        if connection.client().is_some() {
            self.application.ended(connection, why);
        }
    }

    /// Pings the sessions that are due, and ends those that are silent, or that no task ends.
    pub(crate) fn tick(&self, now: Instant) {
        let Settings { ping_interval, ping_timeout, connect_timeout, .. } = self.settings;
        for connection in self.connections() {
            connection.tick(ping_interval, ping_timeout, connect_timeout, now);
            let has_task = connection.transport() == Transport::WebSocket;
            if let Some(why) = connection.ending().filter(|_| !has_task && connection.is_over(now)) {
                self.close(&connection, why);
            }
        }
    }

    /// Does what a packet of Engine.IO asks for. What takes time is returned, and is done before the next packet of this client.
    ///
    /// # Errors
    /// [`BadPacket`]: then the connection must end.
    pub(crate) fn take(
        self: &Arc<Self>,
        connection: &Arc<Connection<A::Client>>,
        frame: Frame<'_>,
    ) -> Result<Option<Work>, BadPacket> {
        connection.heard(frame == Frame::Pong, Instant::now());
        match frame {
            Frame::Close => connection.end(Ending::Client),
            Frame::Pong | Frame::Noop => {}
            Frame::Message(text) => return self.take_packet(connection, Packet::parse(text)?),
            // They belong to a change of the transport, which is not under way.
            Frame::Probe | Frame::Upgrade => return Err(BadPacket::Frame),
        }
        Ok(None)
    }

    fn take_packet(
        self: &Arc<Self>,
        connection: &Arc<Connection<A::Client>>,
        packet: Packet<'_>,
    ) -> Result<Option<Work>, BadPacket> {
        let ours = self.application.namespace();
        let is_in = connection.phase() == Phase::Welcome;
        match packet {
            Packet::Connect { namespace, .. } if namespace != ours => {
                // Longer names are refused before.
                connection.send(Message::connect_error(namespace, "Invalid namespace", None));
            }
            Packet::Connect { auth, .. } if connection.phase() == Phase::Fresh => {
                let query = connection.take_query();
                // What is checked costs as much as at a new connection, so a further attempt counts as one.
                if query.is_none() && self.admit(connection.address()).is_err() {
                    self.counts.refuse(Full::Rate);
                    connection.end(Ending::Protocol);
                    return Ok(None);
                }
                connection.set_phase(Phase::Asked);
                let query = query.unwrap_or_default();
                return Ok(Some(self.connect(connection.clone(), ConnectRequest { auth, query })));
            }
            Packet::Disconnect { namespace } if namespace == ours && is_in => connection.end(Ending::Client),
            Packet::Event { namespace, ack, name, arguments } if namespace == ours && is_in => {
                return Ok(Some(self.event(connection.clone(), Event { name, arguments, ack })));
            }
            Packet::Ack | Packet::Disconnect { .. } => {}
            Packet::Connect { .. } | Packet::Event { .. } => return Err(BadPacket::Packet),
        }
        Ok(None)
    }

    fn connect(self: &Arc<Self>, connection: Arc<Connection<A::Client>>, request: ConnectRequest) -> Work {
        let server = self.clone();
        Box::pin(async move {
            if let Err(refusal) = server.application.connect(&connection, request).await {
                let namespace = server.application.namespace();
                let data = refusal.data.as_ref();
                connection.send(Message::connect_error(namespace, &refusal.message, data));
                connection.set_phase(Phase::Fresh);
            }
        })
    }

    fn event(self: &Arc<Self>, connection: Arc<Connection<A::Client>>, event: Event) -> Work {
        let server = self.clone();
        Box::pin(async move { server.application.event(&connection, event).await })
    }
}

/// What stands for a client: its address, or of IPv6 its network of 64 bits, in which it may choose any address.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}
