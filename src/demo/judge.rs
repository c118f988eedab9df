//! Compares the results in Redis with the inputs: at every look the datasets with those of the producers, and at the end the
//! batches for the finalizers with those of the collector, what the relayer got with what was handed over, the peers with their senders, and the
//! campaigns with their rows. Pure.

mod batches;
mod campaigns;
mod findings;
mod peers;
mod relayer;
mod reports;
mod rewards;
mod totals;

use testkit::{RelayerCall, SharedTruth};

use super::{
    campaigns::Looked,
    peers::{Kept, PeersTruth, Seen},
    seen::{Datasets, Deliveries},
    world::Expected,
};
use batches::Comparison;

pub(super) struct Judge {
    totals: totals::Judge,
    batches: Comparison,
    relayer: relayer::Comparison,
    rewards: rewards::Comparison,
    /// What is judged at each look, and at the end.
    peers: (findings::Findings, peers::Comparison),
    reports: (usize, findings::Findings),
    /// None where there are no campaigns.
    campaigns: Option<campaigns::Comparison>,
}

impl Judge {
    /// A judge of these markets, with the record of the producers of each.
    pub(super) fn new(markets: Vec<String>, truths: Vec<SharedTruth>) -> Self {
        Self {
            totals: totals::Judge::new(markets, truths),
            batches: Comparison::default(),
            relayer: relayer::Comparison::default(),
            rewards: rewards::Comparison::default(),
            peers: Default::default(),
            reports: Default::default(),
            campaigns: None,
        }
    }

    /// Judges the datasets of the previous look, and keeps these for the next.
    pub(super) fn look(&mut self, datasets: &[Datasets]) {
        self.totals.look(datasets);
    }

    /// Judges what is shown of the peers.
    pub(super) fn look_at_peers(&mut self, seen: &Seen) {
        peers::haunted(seen).into_iter().for_each(|finding| self.peers.0.add(finding));
    }

    /// Judges the final state of the peers. Only valid once their senders repeat their pictures. Returns whether all is as it should be.
    pub(super) fn conclude_peers(&mut self, truth: &PeersTruth, seen: &Seen, kept: &Kept) -> bool {
        self.peers.1 = peers::Comparison::of(truth, seen, kept);
        self.peers.1.findings.all().is_empty()
    }

    /// The state of the peers could not be read.
    pub(super) fn peers_are_unreadable(&mut self, why: &str) {
        self.peers.1 = peers::Comparison::default();
        self.peers.1.findings.add(why.to_owned());
    }

    /// Judges the final state of the campaigns. Only valid once no row changes any more. Returns whether all is as it should be.
    pub(super) fn conclude_campaigns(&mut self, (truth, seen): &Looked) -> bool {
        let compared = self.campaigns.insert(campaigns::Comparison::of(truth, seen));
        compared.findings.all().is_empty()
    }

    /// Whether datasets and queue are complete. Only valid once producers and chain have ended.
    pub(super) fn is_settled(
        &self,
        datasets: &[Datasets],
        expected: &Expected,
        deliveries: &Deliveries,
        calls: &[RelayerCall],
    ) -> bool {
        // Only equality ends the wait. A wrong result waits for the time limit, and is then a finding.
        self.totals.is_settled(datasets)
            && Comparison::of(expected, deliveries).findings.all().is_empty()
            && relayer::Comparison::of(deliveries, calls).findings.all().is_empty()
            && rewards::Comparison::of(deliveries, calls).findings.all().is_empty()
    }

    /// Judges the final state.
    pub(super) fn conclude(
        &mut self,
        datasets: &[Datasets],
        expected: &Expected,
        deliveries: &Deliveries,
        calls: &[RelayerCall],
    ) {
        self.totals.conclude(datasets);
        self.batches = Comparison::of(expected, deliveries);
        self.relayer = relayer::Comparison::of(deliveries, calls);
        self.rewards = rewards::Comparison::of(deliveries, calls);
    }

    /// Judges what the receiver of alerts got until the end.
    pub(super) fn reported(&mut self, reports: &[RelayerCall], has_crashed: bool) {
        self.reports = (reports.len(), reports::findings(reports, has_crashed));
    }

    pub(super) fn findings(&self) -> impl Iterator<Item = &String> {
        let of_chain = self.batches.findings.all().iter().chain(self.relayer.findings.all());
        let of_chain = of_chain.chain(self.rewards.findings.all()).chain(self.reports.1.all());
        let of_chain = of_chain.chain(self.peers.0.all()).chain(self.peers.1.findings.all());
        let of_campaigns = self.campaigns.iter().flat_map(|campaigns| campaigns.findings.all());
        self.totals.findings.all().iter().chain(of_chain).chain(of_campaigns)
    }

    pub(super) fn found_nothing(&self) -> bool {
        self.findings().next().is_none()
    }

    pub(super) fn verdict(&self) -> String {
        if !self.found_nothing() {
            let findings: Vec<&str> = self.findings().map(String::as_str).collect();
            return format!("check failed:\n  {}", findings.join("\n  "));
        }
        let Comparison { compared, epochs, batches, submissions, left_out, head, .. } = &self.batches;
        format!(
            "check passed: {} comparisons of totals with the producers, all equal; {compared} of the chain with the collector, all \
             equal: {epochs} epochs, {batches} batches, {submissions} submissions, {left_out} malformed ones left out, checkpoint \
             at the head, block {head}; the relayer was told of {} epochs in their order, and of rewards by {} calls, by \
             {} attempts in all; {} alerts came; {} miners and {} connections of living senders are shown and no others, {} lies were \
             dropped, {} rates of the history are within a tenth, and {:.0} s of it are whole; {}",
            self.totals.compared,
            self.relayer.epochs,
            self.rewards.calls,
            self.relayer.attempts,
            self.reports.0,
            self.peers.1.miners,
            self.peers.1.connections,
            self.peers.1.lies,
            self.peers.1.rates,
            self.peers.1.seconds,
            self.of_campaigns(),
        )
    }

    /// The verdict's part about campaigns.
    fn of_campaigns(&self) -> String {
        match &self.campaigns {
            None => "campaigns were left out".to_owned(),
            Some(campaigns) => format!(
                "a client got {} statuses of campaigns, and the summaries of {} runs, and its latest status of {} running ones, are \
                 COUNT(*) of their rows",
                campaigns.statuses, campaigns.runs, campaigns.running
            ),
        }
    }
}
