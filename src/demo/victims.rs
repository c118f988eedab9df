//! Chooses which actor crashes next and where. Arms failure points of the running service.

use crate::service::Service;

const FETCHER: &str = "collector/block-fetcher";
const PREPARER: &str = "collector/batch-preparer";
const RELAYER: &str = "collector/relayer";
const HISTORY: &str = "peers/history";
const STATE: &str = "peers/state";
const SCHEDULER: &str = "campaigns/scheduler";
const MONITOR: &str = "campaigns/monitor";
const GATEWAY: &str = "campaigns/gateway";
/// Any of those that count runs.
const WORKERS: &str = "campaigns/workers";
/// Any of those that serve a sender.
const CONNECTIONS: &str = "peers/connections";

/// Actors without their markets, each with one of its failure points. Neighbours in the list are different actors.
const PLACES: [(&str, &str); 24] = [
    (FETCHER, "block_fetcher::after_write"),
    (PREPARER, "batch_preparer::before_write"),
    (HISTORY, "peer_history::before_write"),
    (CONNECTIONS, "peer_connection::after_read"),
    (MONITOR, "campaign_monitor::after_append"),
    ("aggregator", "aggregator::before_commit"),
    ("listener", "listener::before_hand_over"),
    (PREPARER, "batch_preparer::after_write"),
    ("epoch-tracker", "epoch_tracker::before_commit"),
    (STATE, "peer_state::after_swap"),
    (RELAYER, "relayer::after_call"),
    (GATEWAY, "campaign_gateway::after_feed"),
    (FETCHER, "block_fetcher::before_write"),
    ("aggregator", "aggregator::after_commit"),
    (STATE, "peer_state::before_swap"),
    (PREPARER, "batch_preparer::after_read"),
    (WORKERS, "status_worker::before_write"),
    ("epoch-tracker", "epoch_tracker::before_read"),
    (FETCHER, "block_fetcher::after_checkpoint"),
    (HISTORY, "peer_history::after_write"),
    (SCHEDULER, "campaign_scheduler::after_queue"),
    (RELAYER, "relayer::after_write"),
    (WORKERS, "status_worker::after_claim"),
    (PREPARER, "batch_preparer::before_read"),
];

/// Cycles through all points and markets.
pub(super) struct Victims<'a> {
    markets: &'a [String],
    /// All places, but for those of campaigns where there are none.
    places: Vec<(&'static str, &'static str)>,
    next: usize,
}

impl<'a> Victims<'a> {
    /// The victims of these markets, and of campaigns where there are some.
    pub(super) fn new(markets: &'a [String], campaigns: bool) -> Self {
        let places = PLACES.into_iter().filter(|(actor, _)| campaigns || !actor.starts_with("campaigns/"));
        Self { markets, places: places.collect(), next: 0 }
    }

    /// Arms the next failure point. The returned text names the actor and the point.
    pub(super) fn crash_next(&mut self, service: &Service) -> String {
        let (actor, place) = self.places[self.next % self.places.len()];
        // The market alternates, and each round starts with another market, so that every point is reached in each.
        let turn = self.next + self.next / self.places.len();
        let market = &self.markets[turn % self.markets.len()];
        let path = match actor {
            "listener" | FETCHER | HISTORY | STATE | CONNECTIONS | SCHEDULER | MONITOR | GATEWAY
            | WORKERS => actor.to_owned(),
            PREPARER | RELAYER => format!("{actor}/{market}"),
            _ => format!("markets/{market}/{actor}"),
        };
        self.next += 1;
        crash(service, &path, place)
    }
}

#[cfg(feature = "failure-points")]
fn crash(service: &Service, path: &str, place: &str) -> String {
    use supervision::fail::{Fault, When};
    let actor = if [CONNECTIONS, WORKERS].contains(&path) { "" } else { path };
    service.tree().failure_points().arm(place, actor, Fault::Panic, When::Nth(1));
    format!("crashing {path} at {place}")
}

/// A build without failure points can't crash an actor at a chosen point, so it kills the actor at any point.
#[cfg(not(feature = "failure-points"))]
fn crash(service: &Service, path: &str, _place: &str) -> String {
    let path = match path {
        CONNECTIONS => "peers/connections/connection-1",
        WORKERS => "campaigns/workers/worker-1",
        path => path,
    };
    // Fails for an actor that is just being restarted: then this round has no crash.
    let _ = service.tree().kill(path);
    format!("killing {path}")
}
