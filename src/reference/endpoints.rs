//! The page of endpoints.

use http_server::{Access, Role};

use crate::{
    config::schema,
    http::{ENDPOINTS, Server},
};

use super::markdown::{head, table};

pub(super) fn page() -> String {
    let mut page = head("Endpoints", "src/http/routes.rs");
    page += "Two servers: one for Prometheus and probes, which asks for no token, and one for operators, by default on the machine \
             itself. Both answer `GET` and `HEAD` only and change nothing, but for `/outbox/orders`, which takes `POST`.\n\nThe column *token* says which token a path of the \
             operators' server asks for, where tokens are set up; that of operators opens what that of readers does. What changes something \
             needs it always: without tokens nobody may. An error is \
             JSON: `error` is a word for programs, `message` says what to do, `choices` what would be right, and `request_id` is \
             also the header `X-Request-ID`.\n";
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
        let token = |access| match access {
            Access::Open => "none",
            Access::Needs(Role::Read) => "reader",
            Access::Needs(Role::Operator) => "operator",
            Access::Acts => "operator, always",
        };
        let rows = own.map(|endpoint| {
            let path = format!("`{}{}`", endpoint.path, endpoint.query);
            [path, token(endpoint.access).to_owned(), endpoint.answer.to_owned()]
        });
        page += &table(["path", "token", "answer"], rows);
    }
    page
}
