//! Judges the servers of a failover: replicas, which may become the master, and sentinels. Pure.

use store_redis::{SentinelView, ServerFacts, StoreError};

use super::{finding::Finding, server};
use crate::remedy;

/// The findings about a replica: its link to the master, and its settings, which take effect with a failover.
#[must_use]
pub(super) fn judge(facts: &ServerFacts) -> Vec<Finding> {
    link(facts).into_iter().chain(server::judge_settings(facts)).collect()
}

fn link(facts: &ServerFacts) -> Option<Finding> {
    // A master has no such line: nothing is found then.
    (facts.info("master_link_status")? != "up").then(|| {
        let problem = "this replica has lost its master: if it takes over, the writes since then are lost";
        let remedy = "see its log: the master's address, masterauth, TLS, or a too small output buffer for replicas at the master";
        Finding::warning("replica", &facts.server, problem, remedy)
    })
}

/// The finding for a replica that its master lists and that does not answer.
#[must_use]
pub(super) fn silent(server: &str, error: &StoreError) -> Finding {
    let problem = format!("this replica does not answer: {}", error.detail());
    let remedy = "make it reachable from here at the address that the master names (replica-announce-ip)";
    Finding::warning("replica", server, problem, remedy)
}

/// The finding about a sentinel: it does not answer, names another master than `master`, or has no quorum.
#[must_use]
pub(super) fn judge_sentinel(
    sentinel: &str,
    view: Result<&SentinelView, &StoreError>,
    master: &str,
) -> Option<Finding> {
    let (problem, remedy) = match view {
        Err(error) => (format!("this sentinel does not answer: {}", error.detail()), remedy::of_store(error)),
        // Compared with the master that was reached: a sentinel that missed a failover would lead clients to a replica.
        Ok(view) if view.master.as_deref() != Some(master) => {
            let named = view.master.as_deref().unwrap_or("no master of that name");
            let remedy = "wait until a failover is finished; else send it SENTINEL RESET, or correct its line `sentinel monitor`";
            (format!("this sentinel names {named}, and the reached master is {master}"), remedy.to_owned())
        }
        Ok(view) => {
            let why = view.no_quorum.as_ref()?;
            let remedy = "start the missing sentinels: without a majority there is no failover";
            (why.clone(), remedy.to_owned())
        }
    };
    Some(Finding::warning("sentinel", sentinel, problem, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Severity;

    #[test]
    fn a_replica_is_judged_by_its_link_and_as_a_possible_master() {
        let found = |info: &str| {
            let found = judge(&ServerFacts::new("replica", info, &[]));
            found.into_iter().map(|finding| (finding.check, finding.severity)).collect::<Vec<_>>()
        };
        assert_eq!(found("role:slave\nmaster_link_status:up"), []);
        assert_eq!(found("role:slave\nmaster_link_status:down"), [("replica", Severity::Warning)]);
        assert_eq!(
            found("role:slave\nmaster_link_status:up\nmaxmemory:9\nmaxmemory_policy:allkeys-lru"),
            [("eviction", Severity::Error)]
        );
    }

    #[test]
    fn a_sentinel_must_name_the_reached_master_and_have_a_quorum() {
        let view = |master: Option<&str>, no_quorum: Option<&str>| SentinelView {
            master: master.map(str::to_owned),
            no_quorum: no_quorum.map(str::to_owned),
        };
        let problem = |view: SentinelView| {
            judge_sentinel("sentinel", Ok(&view), "10.0.0.1:6379").map(|finding| finding.problem)
        };
        assert_eq!(problem(view(Some("10.0.0.1:6379"), None)), None);
        let other = problem(view(Some("10.0.0.2:6379"), None)).expect("a finding");
        assert!(other.contains("10.0.0.2:6379"), "{other}");
        assert!(problem(view(None, None)).is_some());
        assert_eq!(problem(view(Some("10.0.0.1:6379"), Some("NOQUORUM 1"))).as_deref(), Some("NOQUORUM 1"));
    }
}
