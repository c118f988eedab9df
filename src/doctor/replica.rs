//! Judges what stands by to take over: replicas by what they say of themselves, sentinels by whom they name. Pure.

use store_redis::{SentinelView, ServerFacts, StoreError};

use super::{finding::Finding, server};

/// Everything that is the matter with a replica: what would be wrong once it is the master, and whether it has the data.
#[must_use]
pub(super) fn judge(facts: &ServerFacts) -> Vec<Finding> {
    link(facts).into_iter().chain(server::judge_settings(facts)).collect()
}

fn link(facts: &ServerFacts) -> Option<Finding> {
    (facts.info("master_link_status")? != "up").then(|| {
        let problem = "it is a replica that has lost its master: when it takes over, what came since is missing";
        let remedy = "see its log: address, masterauth, TLS, or a master whose output buffer for replicas is too small";
        Finding::warning("replica", &facts.server, problem, remedy)
    })
}

/// A replica that its master knows, and that does not answer us.
#[must_use]
pub(super) fn silent(server: &str, error: &StoreError) -> Finding {
    let problem = format!("it is a replica, and does not answer: {}", error.detail);
    let remedy = "make it reachable from here at the address that its master knows (replica-announce-ip)";
    Finding::warning("replica", server, problem, remedy)
}

/// What is the matter with a sentinel, beside the master that was reached.
#[must_use]
pub(super) fn judge_sentinel(
    sentinel: &str,
    view: Result<&SentinelView, &StoreError>,
    master: &str,
) -> Option<Finding> {
    let (problem, remedy) = match view {
        Err(error) => (format!("it does not answer: {}", error.detail), error.kind.remedy().to_owned()),
        Ok(view) if view.master.as_deref() != Some(master) => {
            let named = view.master.as_deref().unwrap_or("no master of that name");
            let remedy = "wait until a failover is over; else SENTINEL RESET on it, or start it with a right `monitor`";
            (format!("it names {named}, and the master that serves is {master}"), remedy.to_owned())
        }
        Ok(view) => {
            let why = view.no_quorum.as_ref()?;
            let remedy = "start the sentinels that are missing: without most of them no failover happens";
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
    fn a_replica_is_judged_as_the_master_that_it_may_become_and_by_its_link() {
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
    fn a_sentinel_is_right_when_it_names_the_master_that_serves_and_can_have_it_replaced() {
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
