//! `datasets.md`: every dataset with its key, TTL, interval and fields.

use store_redis::KeyType;
use store_tracker::{DATASETS, Dataset};

use super::{code, keys::ttl, table};

pub(super) fn page() -> String {
    let mut text = "# Datasets\n\n\
        Made from the tables in the code; edit the row of a dataset or of a field and not this page.\n\n\
        `P` is the protocol-state contract, `M` the data market. A dataset expires when no tracker writes it any more. \
        `dataset_type` is its label in the [metrics](metrics.md); `readiness` is the condition of `/readyz` that depends on it.\n\n"
        .to_owned();
    let head = ["key", "type", "TTL", "written every", "by", "`dataset_type`", "readiness", "holds"];
    text += &table(&head, DATASETS.iter().map(row));
    text += "\nEvery field of the summary is always written. A field that can't be computed keeps its last good value for three \
        intervals and is then `null`, in a hash absent.\n";
    for dataset in DATASETS {
        let fields = (dataset.fields)();
        // The fields of a hash are those of the dataset before it.
        if fields.is_empty() || dataset.family.kind == KeyType::Hash {
            continue;
        }
        text += &format!("\n## {}\n\n", code(&format!("P:M:{}", dataset.name())));
        let rows = fields.into_iter().map(|(name, sentence)| vec![code(name), sentence.to_owned()]);
        text += &table(&["field", "meaning"], rows);
    }
    text
}

fn row(dataset: &Dataset) -> Vec<String> {
    let kind = match dataset.family.kind {
        KeyType::String => "string, JSON".to_owned(),
        kind => kind.as_str().to_owned(),
    };
    vec![
        code(&format!("P:M:{}", dataset.name())),
        kind,
        ttl(dataset.family.ttl),
        code(&format!("intervals.{}", dataset.interval.as_str())),
        dataset.actor.to_owned(),
        dataset.label.map(code).unwrap_or_default(),
        dataset.readiness.map(|condition| code(&format!("market M: {condition}"))).unwrap_or_default(),
        dataset.family.sentence.to_owned(),
    ]
}
