//! The description of the read API, as OpenAPI. It is made from the handlers and the types of requests and answers.

use utoipa::{
    Number, OpenApi,
    openapi::{self, Components, RefOr, Schema, Server, schema::SchemaType, schema::Type},
};

use super::handlers;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Read API",
        description = "What is known about the submissions of data markets. Each path takes a JSON object by any method; POST is \
                       usual. Its `token` is that of the read API."
    ),
    paths(
        handlers::total_submissions,
        handlers::eligible_nodes_past_days,
        handlers::eligible_nodes,
        handlers::batch_count,
        handlers::epoch_submissions,
        handlers::eligible_of_epoch,
        handlers::active_nodes,
        handlers::discarded_of_epoch,
        handlers::discarded_of_day,
        handlers::last_simulated,
        handlers::last_snapshot,
        handlers::node_version,
    )
)]
struct Description;

/// The description; `host` is where clients find the API, empty for where they found the description.
pub(super) fn description(host: &str) -> openapi::OpenApi {
    let mut all = Description::openapi();
    let url = match host {
        "" => "/".to_owned(),
        host if host.contains("://") => host.to_owned(),
        // As in the original.
        host => format!("https://{host}"),
    };
    all.servers = Some(vec![Server::new(url)]);
    all.components.iter_mut().for_each(bound);
    all
}

/// Adds the bounds of 64 bits, which the attributes of types can't express, to the numbers of requests that have none.
fn bound(components: &mut Components) {
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::Object(object)) = schema else { continue };
        if !object.properties.contains_key("token") {
            continue;
        }
        for property in object.properties.values_mut() {
            if let RefOr::T(Schema::Object(field)) = property
                && field.schema_type == SchemaType::Type(Type::Integer)
            {
                field.minimum.get_or_insert(Number::Int(isize::MIN));
                field.maximum.get_or_insert(Number::Int(isize::MAX));
            }
        }
    }
}
