//! What the settings of campaigns need from each other. Pure.

use std::net::SocketAddr;

use super::pairs::certificate_with_its_key;
use crate::config::entry::Entry;
use crate::config::problem::Problem;

/// The settings of which one says whose tokens are right.
const KEYS: [&str; 4] =
    ["campaigns.jwt_secret", "campaigns.jwks_file", "campaigns.jwks_url", "campaigns.auth_url"];

pub(super) fn problems<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(certificate_with_its_key("campaigns.cert_file", "campaigns.key_file", &get));
    if get("campaigns.database_url").is_none_or(Entry::is_unset) {
        return problems;
    }
    let serves = get("campaigns.gateway").and_then(|flag| flag.value.to_bool());
    if serves == Some(true) {
        problems.extend(one_judge_of_tokens(&get));
        problems.extend(port_of_its_own(&get));
    }
    problems.extend(a_role(&get));
    problems
}

/// Without keys nobody could connect; with several it would be a guess whose token is right.
fn one_judge_of_tokens<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let mut all = KEYS.map(&get).into_iter().collect::<Option<Vec<&Entry>>>()?;
    let first = *all.first()?;
    all.retain(|entry| !entry.is_unset());
    match &all[..] {
        [] => Some(first.refused(
            &first.shown,
            "must be set, or one of campaigns.jwks_file, campaigns.jwks_url and campaigns.auth_url, where campaigns.database_url and \
             campaigns.gateway are set: without keys no client could show who it is",
        )),
        [_] => None,
        [one, .., other] => {
            let allowed = format!(
                "must be empty where {} is set (from {}): one of them says whose tokens are right",
                one.setting.key, one.origin
            );
            Some(other.refused(&other.shown, &allowed))
        }
    }
}

fn a_role<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let (scheduler, gateway) = (get("campaigns.scheduler")?, get("campaigns.gateway")?);
    let is_off = |entry: &Entry| entry.value.to_bool() == Some(false);
    (is_off(scheduler) && is_off(gateway)).then(|| {
        let allowed = format!(
            "must be true where campaigns.gateway is false (from {}), or campaigns.database_url empty: nothing of the campaigns would run",
            gateway.origin
        );
        scheduler.refused(&scheduler.shown, &allowed)
    })
}

/// The ports of this program that are always open, or that are where their section runs.
const OTHERS: [&str; 2] = ["http.operator_address", "api.address"];

fn port_of_its_own<'a>(get: impl Fn(&str) -> Option<&'a Entry>) -> Option<Problem> {
    let own = get("campaigns.gateway_address")?;
    let port_of = |entry: &Entry| Some(i128::from(entry.value.as_str()?.parse::<SocketAddr>().ok()?.port()));
    let port = port_of(own).filter(|port| *port != 0)?;
    let metrics = get("http.metrics_port").and_then(|entry| Some((entry.value.to_i128()?, entry)));
    let others = OTHERS.iter().filter_map(|key| get(key).and_then(|entry| Some((port_of(entry)?, entry))));
    let (_, other) = metrics.into_iter().chain(others).find(|(of_other, _)| *of_other == port)?;
    let (key, shown, origin) = (other.setting.key, &other.shown, &other.origin);
    let allowed = format!("must have a port other than that of {key}, which is {shown} (from {origin})");
    Some(own.refused(&own.shown, &allowed))
}
