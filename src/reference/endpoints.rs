//! The page of endpoints.

use crate::{
    config::schema,
    http::{ENDPOINTS, Server},
};

use super::markdown::{head, table};

pub(super) fn page() -> String {
    let mut page = head("Endpoints", "src/http/routes.rs");
    page += "Two servers: one for Prometheus and probes, one for operators on the machine itself. Neither asks for a password; \
             both answer `GET` and `HEAD` only and change nothing.\n";
    for (server, title, settings) in [
        (Server::Metrics, "Prometheus and probes", &["http.host", "http.metrics_port"][..]),
        (Server::Operator, "Operators", &["http.operator_address"]),
    ] {
        let defaults =
            settings.iter().filter_map(|key| schema::find(key)).map(|setting| setting.shown_default());
        let address = defaults.collect::<Vec<_>>().join(":");
        let settings = settings.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and ");
        page += &format!("\n## {title}\n\nListens on {settings}, by default `{address}`.\n\n");
        let own = ENDPOINTS.iter().filter(|endpoint| endpoint.server == server);
        let rows = own
            .map(|endpoint| [format!("`{}{}`", endpoint.path, endpoint.query), endpoint.answer.to_owned()]);
        page += &table(["path", "answer"], rows);
    }
    page
}
