//! What the senders of the demo told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use testkit::peers::{Balance, Measured, PoolPicture, ProxyPicture, SenderFault};

use crate::simulate::{Performed, Performer, Simulated};

/// What a proxy told.
#[derive(Clone, Debug, Default)]
pub(in crate::demo) struct ProxyTruth {
    /// Its newest picture; `None` while it is dead.
    pub(in crate::demo) newest: Option<ProxyPicture>,
    /// What its pictures say of its rate.
    pub(in crate::demo) measured: Measured,
    /// The rate that it has when all its miners have been there for long, in H/s.
    pub(in crate::demo) rate_hs: f64,
    /// Whether it dies now and then.
    pub(in crate::demo) is_mortal: bool,
}

/// What all senders told.
#[derive(Clone, Debug, Default)]
pub(in crate::demo) struct PeersTruth {
    /// By names.
    pub(in crate::demo) proxies: BTreeMap<&'static str, ProxyTruth>,
    pub(in crate::demo) pool: Option<(PoolPicture, Balance)>,
    /// How many quotes the pool has created; their amounts are successive.
    pub(in crate::demo) quotes: u64,
    /// How many lines the lying one told that nobody may take, by reasons.
    pub(in crate::demo) lies: BTreeMap<&'static str, u64>,
    /// How often its clock leapt.
    pub(in crate::demo) leaps: u64,
}

/// The same, while they tell.
#[derive(Clone, Debug, Default)]
pub(in crate::demo) struct SharedPeersTruth(Arc<Mutex<PeersTruth>>);

impl SharedPeersTruth {
    pub(in crate::demo) fn get(&self) -> PeersTruth {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what a sender did.
    pub(in crate::demo) fn note(
        &self,
        name: &'static str,
        fault: Option<SenderFault>,
        performer: &Performer,
        performed: &Performed,
    ) {
        let mut truth = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (performed, performer.model()) {
            (Performed::Sent, Simulated::Proxy(model)) => {
                let picture = model.picture();
                let proxy = truth.proxies.entry(name).or_default();
                proxy.measured.take(&picture);
                (proxy.newest, proxy.rate_hs) = (Some(picture), model.rate_hs());
                proxy.is_mortal = fault.is_some();
            }
            (Performed::Sent, Simulated::Pool(model)) => {
                truth.pool = Some((model.picture(), model.balance()));
                truth.quotes = model.quotes_made();
            }
            (Performed::Wrote(reasons), _) => {
                truth.leaps += 1;
                for reason in reasons {
                    *truth.lies.entry(reason).or_default() += 1;
                }
            }
            (Performed::Nothing, _) => {
                if let Some(proxy) = truth.proxies.get_mut(name) {
                    proxy.newest = None;
                }
            }
        }
    }
}
