//! Samples: what a history is made of.

use std::{fmt, sync::Arc};

/// The expected number of hashes for a work of 1.
pub const HASHES_PER_WORK: f64 = 4_294_967_296.0;

/// The kind of a peer. A name may stand for peers of several kinds, whose histories are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKind {
    /// A peer in a picture that was pushed.
    Pushed,
    /// An extended channel of a polled source.
    Extended,
    /// A standard channel of a polled source.
    Standard,
    /// A miner without channels of its own, which a polled source translates for.
    Translated,
}

/// What was measured of a peer, or what was declared for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The end of the time that it covers, in Unix seconds.
    pub timestamp: u64,
    /// The name of the source.
    pub source: Arc<str>,
    /// The number of the peer in its source. It may be used again for another peer.
    pub downstream_id: u32,
    /// The name of the peer.
    pub name: String,
    /// Its kind.
    pub kind: PeerKind,
    /// The work that was measured; 0 if the rate is declared.
    pub work: f64,
    /// How long that took, in seconds; 0 if the rate is declared.
    pub seconds: f64,
    /// The declared rate, in H/s; `None` if the work was measured.
    pub declared_hs: Option<f64>,
}

impl Sample {
    /// The name of the history that it belongs to, within its source: the name, and the kind of a polled channel.
    #[must_use]
    pub fn series(&self) -> impl fmt::Display + '_ {
        struct Series<'a>(&'a Sample);

        impl fmt::Display for Series<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let name = &self.0.name;
                match self.0.kind {
                    PeerKind::Pushed => f.write_str(name),
                    PeerKind::Extended => write!(f, "{name} (extended)"),
                    PeerKind::Standard => write!(f, "{name} (standard)"),
                    PeerKind::Translated => write!(f, "{name} (translated)"),
                }
            }
        }

        Series(self)
    }
}

/// The total of a source at one time: a series of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Total {
    /// The end of the time that it covers, in Unix seconds.
    pub timestamp: u64,
    /// The name of the source.
    pub source: Arc<str>,
    /// The work of all its peers; 0 if rates are declared.
    pub work: f64,
    /// How long that took, in seconds; 0 if rates are declared.
    pub seconds: f64,
    /// The sum of the declared rates, in H/s; `None` if the work was measured.
    pub declared_hs: Option<f64>,
}

/// What one picture adds to the history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// One sample a peer.
    pub samples: Vec<Sample>,
    /// The total of the source; `None` if nothing is known of this time.
    pub total: Option<Total>,
}

/// A peer whose rate is only declared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeclaredPeer<'a> {
    /// Its number in its source.
    pub downstream_id: u32,
    /// Its name.
    pub name: &'a str,
    /// Its kind.
    pub kind: PeerKind,
    /// Its declared rate, in H/s.
    pub hashrate: f64,
}

/// The samples of declared rates. A rate that is negative or not finite is left out.
#[must_use]
pub fn declared<'a>(
    source: &Arc<str>,
    peers: impl IntoIterator<Item = DeclaredPeer<'a>>,
    timestamp: u64,
) -> Measured {
    let mut sum = 0.0;
    let sample = |peer: DeclaredPeer<'_>| {
        sum += peer.hashrate;
        Sample {
            timestamp,
            source: Arc::clone(source),
            downstream_id: peer.downstream_id,
            name: peer.name.to_owned(),
            kind: peer.kind,
            work: 0.0,
            seconds: 0.0,
            declared_hs: Some(peer.hashrate),
        }
    };
    let peers = peers.into_iter().filter(|peer| is_quantity(peer.hashrate));
    let samples = peers.map(sample).collect();
    let total =
        Total { timestamp, source: Arc::clone(source), work: 0.0, seconds: 0.0, declared_hs: Some(sum) };
    Measured { samples, total: Some(total) }
}

/// Whether a number can be a rate or a work.
pub(super) fn is_quantity(number: f64) -> bool {
    number.is_finite() && number >= 0.0
}
