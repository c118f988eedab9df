//! The page of metrics and their labels.

use actors::{
    env::telemetry::{Kind, Label, Metric, Values},
    tables,
};

use super::markdown::{code, head, table};

pub(super) fn page() -> String {
    let mut page = head("Metrics", "the tables of metrics (actors/src/tables.rs joins them)");
    page += "Each metric is a gauge, a counter or a histogram. A counter whose label values are all known starts at 0; any other \
             series appears with its first value. Metrics of the collector exist only if it runs, those of the state index only \
             if it is enabled. On Linux there are also `process_*`: CPU time, memory, open files and \
             threads.\n\n";
    for (part, metrics) in tables::metrics_by_part() {
        page += &format!("## {part}\n\n");
        page += &table(["name", "kind", "labels", "unit", "meaning"], metrics.into_iter().map(row));
        page += "\n";
    }
    page += "## Labels\n\n";
    let mut labels: Vec<&Label> = tables::metrics().flat_map(|metric| metric.labels).collect();
    labels.sort_by_key(|label| (label.name, values(label)));
    // One name may have different values in different metrics: those are two rows.
    labels.dedup_by_key(|label| (label.name, values(label)));
    page + &table(
        ["label", "of", "values"],
        labels.into_iter().map(|label| [code(label.name), of(label), values(label)]),
    )
}

/// The metrics that have a label with these values.
fn of(label: &Label) -> String {
    let has = |other: &Label| other.name == label.name && values(other) == values(label);
    let metrics = tables::metrics().filter(|metric| metric.labels.iter().any(has));
    let names: Vec<String> = metrics.map(|metric| code(metric.name)).collect();
    if names.len() > 3 { format!("{} metrics", names.len()) } else { names.join(", ") }
}

fn row(metric: &Metric) -> [String; 5] {
    let kind = match metric.kind {
        Kind::Counter => "counter".to_owned(),
        Kind::Gauge => "gauge".to_owned(),
        Kind::Histogram([first, .., last]) => format!("histogram, {first} to {last}"),
        Kind::Histogram(_) => "histogram".to_owned(),
    };
    let labels: Vec<String> = metric.labels.iter().map(|label| code(label.name)).collect();
    [code(metric.name), kind, labels.join(", "), metric.unit.to_owned(), metric.sentence.to_owned()]
}

fn values(label: &Label) -> String {
    match (label.name, label.values) {
        ("version", _) => "the version of this program".to_owned(),
        (_, Values::Known(values)) => values().into_iter().map(code).collect::<Vec<_>>().join(", "),
        ("actor", _) => "the path of an actor, as in `markets/0x…/aggregator`".to_owned(),
        ("market", _) => "a data market, in checksum form".to_owned(),
        ("operation", _) => "what was attempted; [errors](errors.md) lists the operations".to_owned(),
        (_, Values::Code) => "how it failed; [errors](errors.md) lists the kinds".to_owned(),
        (_, Values::Configuration) => "names from the configuration".to_owned(),
    }
}
