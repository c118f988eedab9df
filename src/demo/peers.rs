//! The senders of the demo: two proxies and a pool that live, a proxy that dies now and then and comes back, and one that lies. They
//! send to the service by TCP, each from an address of its own, and record what they told.

mod reader;
mod seen;
mod shown;
mod truth;

use std::{net::SocketAddr, time::Duration};

use color_eyre::eyre::Result;
use testkit::peers::{PoolModel, PoolPlan, ProxyModel, ProxyPlan, SenderFault};
use tokio::{sync::watch, task::JoinSet};

use crate::simulate::{Mode, Performer, Simulated, Target, play, unix_now};

pub(super) use reader::PeerReader;
pub(super) use seen::{Kept, Seen, SeenConnection, SeenMiner};
pub(super) use shown::row;
pub(super) use truth::PeersTruth;
#[cfg(test)]
pub(super) use truth::ProxyTruth;
use truth::SharedPeersTruth;

/// Time between two pictures of a sender. In production it is 5 to 15 s.
const EVERY: Duration = Duration::from_secs(1);
/// How long a connection of a miner or proxy lasts on average, in seconds.
const STAYS: u64 = 120;

/// The name of the pool.
pub(super) const POOL: &str = "pool";
/// The name of the sender that lies.
pub(super) const LIAR: &str = "liar";

/// What a sender is.
#[derive(Clone, Copy)]
enum Role {
    /// A proxy with so many miners.
    Proxy(usize),
    /// A pool with so many proxies.
    Pool(usize),
}

/// A sender of the demo.
struct Sender {
    name: &'static str,
    /// The service knows it by its address.
    from: [u8; 4],
    role: Role,
    fault: Option<SenderFault>,
}

static SENDERS: [Sender; 5] = [
    Sender { name: "proxy-a", from: [127, 7, 0, 1], role: Role::Proxy(8), fault: None },
    Sender { name: "proxy-b", from: [127, 7, 0, 2], role: Role::Proxy(8), fault: None },
    Sender { name: "proxy-c", from: [127, 7, 0, 3], role: Role::Proxy(4), fault: Some(SenderFault::Dies) },
    Sender { name: POOL, from: [127, 7, 0, 4], role: Role::Pool(5), fault: None },
    Sender { name: LIAR, from: [127, 7, 0, 5], role: Role::Proxy(3), fault: Some(SenderFault::Lies) },
];

/// The setting that names them.
pub(super) fn names() -> String {
    let name = |sender: &Sender| format!("{}={}", std::net::Ipv4Addr::from(sender.from), sender.name);
    SENDERS.iter().map(name).collect::<Vec<_>>().join(",")
}

/// The running senders. They end when this is dropped.
pub(super) struct PeerSenders {
    mode: watch::Sender<Mode>,
    truth: SharedPeersTruth,
    _playing: JoinSet<Performer>,
}

impl PeerSenders {
    /// Starts them: proxies send to the first address, the pool to the second. In a calm demo nobody dies and nobody lies.
    pub(super) fn start(to: &[SocketAddr], seed: u64, calm: bool) -> Result<Self> {
        let (mode, modes) = watch::channel(Mode::Play);
        let (truth, now, mut playing) = (SharedPeersTruth::default(), unix_now(), JoinSet::new());
        let senders = SENDERS.iter().filter(|sender| !calm || sender.name != LIAR);
        for (number, Sender { name, from, role, fault }) in senders.enumerate() {
            let (seed, stays, fault) = (seed.wrapping_add(number as u64), STAYS, fault.filter(|_| !calm));
            let (model, port) = match *role {
                Role::Proxy(miners) => {
                    let plan = ProxyPlan { name: (*name).to_owned(), miners, seed, stays };
                    (Simulated::Proxy(ProxyModel::new(plan, now)), 0)
                }
                Role::Pool(proxies) => {
                    (Simulated::Pool(PoolModel::new(PoolPlan { proxies, seed, stays }, now)), 1)
                }
            };
            let Some(to) = to.get(port) else { continue };
            let target = Target::new(&to.to_string(), Some((*from).into()), None)?;
            let performer = Performer::new(model, fault, target, seed);
            let offset = EVERY / 10 * number as u32;
            let of_sender = truth.clone();
            playing.spawn(play(performer, EVERY, offset, modes.clone(), move |performer, performed| {
                of_sender.note(name, fault, performer, performed);
            }));
        }
        Ok(Self { mode, truth, _playing: playing })
    }

    /// From now on the living repeat their pictures, and the others are gone: only then can lists be compared exactly.
    pub(super) fn stand_still(&self) {
        self.mode.send_replace(Mode::Still);
    }

    /// What they told by now.
    pub(super) fn truth(&self) -> PeersTruth {
        self.truth.get()
    }
}
