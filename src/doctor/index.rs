//! Judges how full the state indexes are. Pure.

use super::finding::Finding;

/// The findings about an index, by its kinds of entities: each with its number, if it could be read, and its quota.
pub(super) fn judge(index: &str, usage: &[(&'static str, Option<u64>, u64)]) -> Vec<Finding> {
    let full = usage.iter().filter(|(_, many, quota)| many.is_some_and(|many| many >= *quota));
    full.map(|(kind, _, quota)| {
        let problem = format!("the state index has {quota} {kind}, its quota, and refuses further ones");
        let remedy = format!(
            "raise index.max_{kind}, shorten retention.index, or find out which program publishes so many {kind}"
        );
        Finding::warning("index_full", index, problem, remedy)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_full_by_any_of_its_quotas_and_an_unread_count_proves_nothing() {
        let of = |epochs, submissions| {
            let usage =
                [("epochs", epochs, 10), ("submissions", submissions, 10), ("validators", Some(0), 10)];
            judge("P:M", &usage).into_iter().map(|finding| finding.remedy).collect::<Vec<_>>()
        };
        assert_eq!(of(Some(9), None), Vec::<String>::new());
        let [remedy] = of(Some(9), Some(11)).try_into().expect("one");
        assert!(remedy.starts_with("raise index.max_submissions"), "{remedy}");
        assert_eq!(of(Some(10), Some(10)).len(), 2);
    }
}
