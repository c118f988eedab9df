//! `failure-points.md`: every failure point and how to arm it.

use actors::tables;

use super::{code, table};

pub(super) fn page() -> String {
    let mut text = "# Failure points\n\n\
        Made from the tables in the code; edit the row of a failure point and not this page.\n\n\
        A build with `--features failure-points` has named places at which an actor can be made to fail. Tests and the demo arm \
        them. In such a build the variable `STATE_TRACKER_FAILURE_POINTS` arms them for a running service: \
        `POINT[@ACTOR]=FAULT[*TIMES]`, several with commas between them, FAULT one of `panic`, `error`, `hang`, `spin`, and \
        ACTOR the end of an actor's path. `aggregator::before_commit=panic*3` crashes an aggregator at its next three commits. \
        `make state-tracker` builds without them, and that build refuses the variable as unknown.\n\n"
        .to_owned();
    let rows = tables::failure_points()
        .map(|point| vec![code(point.name), point.actor.to_owned(), point.sentence.to_owned()]);
    text += &table(&["point", "actor", "where"], rows);
    text
}
