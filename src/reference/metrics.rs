//! `metrics.md`: every metric with its kind, labels and unit.

use actors::{
    env::telemetry::{Kind, Label, Metric, Values},
    tables,
};

use super::{code, table};

pub(super) fn page() -> String {
    let mut text = "# Metrics\n\n\
        Made from the tables in the code; edit the row of a metric and not this page.\n\n\
        Each metric is a gauge, a counter or a histogram. A counter whose label values are all listed starts at 0; any other \
        series appears with its first value. Metrics of the collector exist only where a chain is followed, those of the state \
        index only where it is enabled. On Linux there are also `process_*`: CPU time, memory, open files and threads.\n\n"
        .to_owned();
    for (part, metrics) in tables::metrics_by_part() {
        text += &format!("## {part}\n\n");
        text += &table(&["name", "kind", "labels", "unit", "meaning"], metrics.into_iter().map(row));
        text += "\n";
    }
    text += "## Labels\n\n";
    let mut labels: Vec<&Label> = tables::metrics().flat_map(|metric| metric.labels).collect();
    labels.sort_by_key(|label| (label.name, values(label)));
    labels.dedup_by_key(|label| (label.name, values(label)));
    let metrics = |label: &Label| {
        let has = |other: &Label| other.name == label.name && values(other) == values(label);
        let names =
            tables::metrics().filter(|metric| metric.labels.iter().any(has)).map(|metric| code(metric.name));
        names.collect::<Vec<_>>()
    };
    let row = |label: &Label| {
        let metrics = metrics(label);
        let of = if metrics.len() > 3 { format!("{} metrics", metrics.len()) } else { metrics.join(", ") };
        vec![code(label.name), of, values(label)]
    };
    text + &table(&["label", "of", "values"], labels.into_iter().map(row))
}

fn row(metric: &Metric) -> Vec<String> {
    let kind = match metric.kind {
        Kind::Counter => "counter".to_owned(),
        Kind::Gauge => "gauge".to_owned(),
        Kind::Histogram([first, .., last]) => format!("histogram, {first} to {last}"),
        Kind::Histogram(_) => "histogram".to_owned(),
    };
    let labels: Vec<String> = metric.labels.iter().map(|label| code(label.name)).collect();
    vec![code(metric.name), kind, labels.join(", "), metric.unit.to_owned(), metric.sentence.to_owned()]
}

fn values(label: &Label) -> String {
    match (label.name, label.values) {
        ("version", _) => "the version of this program".to_owned(),
        (_, Values::Known(values)) => values().into_iter().map(code).collect::<Vec<_>>().join(", "),
        ("actor", _) => "the path of an actor, as in `markets/0x…/aggregator`".to_owned(),
        ("market", _) => "a data market, in checksum form".to_owned(),
        ("operation", _) => "what was attempted, as in `read the timelines`".to_owned(),
        (_, Values::Code) => "how it failed, as in `timeout`, `wrong_type`, `malformed`".to_owned(),
        (_, Values::Configuration) => "names from the configuration".to_owned(),
    }
}
