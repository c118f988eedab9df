//! The page of datasets and their fields.

use store_redis::KeyType;
use store_tracker::{DATASETS, Dataset};

use super::{
    keys::ttl,
    markdown::{code, head, table},
};

pub(super) fn page() -> String {
    let mut page = head("Datasets", "crates/store-tracker/src/datasets.rs");
    page += "`P` is the protocol-state contract, `M` the data market. A dataset expires if no tracker writes it any more. \
             `dataset_type` is its label in the [metrics](metrics.md); `readiness` is the condition of `/readyz` that depends \
             on it.\n\n";
    let columns = ["key", "type", "TTL", "written every", "by", "`dataset_type`", "readiness", "content"];
    page += &table(columns, DATASETS.iter().map(row));
    page += "\nEvery field of the summary is always written. A field that can't be computed keeps its last good value for three \
             intervals and is then `null`, in a hash absent.\n";
    for dataset in DATASETS {
        let fields = (dataset.fields)();
        // The hash has the fields of the summary, which has its table already.
        if fields.is_empty() || dataset.family.kind == KeyType::Hash {
            continue;
        }
        page += &format!("\n## {}\n\n", code(&format!("P:M:{}", dataset.name())));
        let rows = fields.into_iter().map(|(name, sentence)| [code(name), sentence.to_owned()]);
        page += &table(["field", "meaning"], rows);
    }
    page
}

fn row(dataset: &Dataset) -> [String; 8] {
    let kind = match dataset.family.kind {
        KeyType::String => "string, JSON".to_owned(),
        kind => kind.as_str().to_owned(),
    };
    [
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
