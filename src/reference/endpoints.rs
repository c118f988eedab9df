//! The page of endpoints.

use campaign_gateway::{Request, server_events};
use http_server::{Access, Role};

use crate::{
    config::schema,
    http::{ENDPOINTS, Server},
};

use super::markdown::{code, head, table};

pub(super) fn page() -> String {
    let mut page = head("Endpoints", "src/http/routes.rs");
    page += "One server for Prometheus and probes, which asks for no token, one for operators, by default on the machine \
             itself, the [read API](../read-api.md), two for readers of [connected peers](../peers.md), and one for clients of [campaigns](../campaigns.md). They change nothing, but for `/outbox/orders` and the port of campaigns; the first two answer `GET` and `HEAD` only, and `POST` there.\n\nThe column *token* says which token a path of the \
             operators' server asks for, where tokens are set up; that of operators opens what that of readers does. What changes something \
             needs it always: without tokens nobody may. An error is \
             JSON: `error` is a word for programs, `message` says what to do, `choices` what would be right, and `request_id` is \
             also the header `X-Request-ID`. Errors of the read API are in its envelope instead.\n";
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
        let rows = own.map(|endpoint| {
            let path = format!("`{}{}`", endpoint.path, endpoint.query);
            [path, token(endpoint.access).to_owned(), endpoint.answer.to_owned()]
        });
        page += &table(["path", "token", "answer"], rows);
    }
    page += &read_api();
    page += &peers();
    page += &campaigns();
    page
}

fn token(access: Access) -> &'static str {
    match access {
        Access::Open | Access::Public => "none",
        Access::Needs(Role::Read) => "reader",
        Access::Needs(Role::Operator) => "operator",
        Access::Acts => "operator, always",
        Access::InBody(_) => "in the body",
    }
}

fn peers() -> String {
    let rows = crate::peers::ENDPOINTS.iter().map(|endpoint| {
        [format!("`{}`", endpoint.path), endpoint.query.to_owned(), endpoint.answer.to_owned()]
    });
    let default = |key| schema::find(key).map(|setting| setting.shown_default()).unwrap_or_default();
    format!(
        "\n## Readers of connected peers\n\nListen on `peers.proxy_http_address`, by default `{}`, and `peers.pool_http_address`, by \
         default `{}`, where `peers.history` is set. Both have every path, ask for no token, and answer `GET` and `HEAD` only.\n\n{}",
        default("peers.proxy_http_address"),
        default("peers.pool_http_address"),
        table(["path", "query", "answer"], rows)
    )
}

fn campaigns() -> String {
    let address = schema::find("campaigns.gateway_address");
    let address = address.map(|setting| setting.shown_default()).unwrap_or_default();
    let rows = crate::campaigns::ENDPOINTS.iter().map(|endpoint| {
        let token = if endpoint.token.is_empty() { "none".to_owned() } else { code(endpoint.token) };
        [endpoint.method.to_owned(), code(endpoint.path), token, endpoint.answer.to_owned()]
    });
    let paths = table(["method", "path", "token", "answer"], rows);
    let requests = table(
        ["client → server", "argument", "acknowledgement"],
        Request::ALL.map(|request| [code(request.name()), code(request.argument()), code(request.answer())]),
    );
    let events = server_events().map(|event| [code(event.name), code(event.payload), event.when.to_owned()]);
    let events = table(["server → client", "payload", "when"], events);
    format!(
        "\n## Clients of campaigns\n\nListens on `campaigns.gateway_address`, by default `{address}`, where `campaigns.database_url` is set \
         and `campaigns.gateway` is true. Each path is also there behind `/v1`. An error is JSON with `success` and `message`.\n\n{paths}\n\
         The path `/socket.io/` speaks the protocol of Socket.IO (version 5, over Engine.IO 4) by WebSocket, by polling, and by the \
         upgrade from one to the other. The namespace is `/campaigns`; the token of a user is `auth.token` of the client, or `?token=`. \
         Pages of the origins in `campaigns.origins` may connect.\n\n{requests}\n{events}"
    )
}

fn read_api() -> String {
    let address = schema::find("api.address").map(|setting| setting.shown_default()).unwrap_or_default();
    let rows = crate::api::ENDPOINTS.iter().map(|endpoint| {
        let path = format!("`{}{}`", endpoint.path, endpoint.query);
        [path, token(endpoint.access).to_owned(), endpoint.request.to_owned(), endpoint.answer.to_owned()]
    });
    format!(
        "\n## Read API\n\nListens on `api.address`, by default `{address}`, where `api.read_token` is set. A request is a \
         JSON object with `token`, `dataMarketAddress` and the fields of the column *request*, by any method.\n\n{}",
        table(["path", "token", "request", "answer"], rows)
    )
}
