//! The page of failure points.

use actors::tables;

use super::markdown::{code, head, table};

pub(super) fn page() -> String {
    let mut page = head("Failure points", "actors/src/tables.rs");
    page += "Named places in the code at which a build with the feature `failure-points` can make an actor fail. \
             [Failure injection](../failure-injection.md) explains how to arm them.\n\n";
    let rows = tables::failure_points()
        .map(|point| [code(point.name), point.actor.to_owned(), point.sentence.to_owned()]);
    page + &table(["point", "actor", "when it is passed"], rows)
}
