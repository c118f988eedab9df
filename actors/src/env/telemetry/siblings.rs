//! Series of many of a kind: above a limit they are one. Pure.
//!
//! A dashboard needs no thousand series a metric, and a scrape of a million has no end. So what there are too many of is
//! summed, where the metric only grows, under the name of the kind; of a gauge the worst one is told, under its own name,
//! so that an alert still says who it is.

use std::collections::HashMap;

/// Stands for all names of a kind.
pub(super) const ALL: &str = "*";

/// The kinds of these paths: `None` for a path that keeps its name, else the path with `*` for each name of which its
/// parent has more than `limit`.
pub(super) fn kinds<'a>(paths: impl Iterator<Item = &'a str> + Clone, limit: usize) -> Vec<Option<String>> {
    let mut children: HashMap<&str, usize> = HashMap::new();
    for path in paths.clone() {
        *children.entry(parent(path)).or_default() += 1;
    }
    // Those of the root have names of the code.
    children.retain(|parent, many| !parent.is_empty() && *many > limit);
    let kind = |path: &'a str| {
        if children.is_empty() {
            return None;
        }
        let (mut kind, mut is_kind, mut at) = (String::with_capacity(path.len()), false, 0);
        for part in path.split('/') {
            let is_one_of_many = children.contains_key(parent(&path[..at + part.len()]));
            is_kind |= is_one_of_many;
            if at > 0 {
                kind.push('/');
            }
            kind.push_str(if is_one_of_many { ALL } else { part });
            at += part.len() + 1;
        }
        is_kind.then_some(kind)
    };
    paths.map(kind).collect()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_which_a_parent_has_too_many_become_a_star_and_others_stay() {
        let many = (0..4).map(|market| format!("markets/0x{market}"));
        let below = (0..4).map(|market| format!("markets/0x{market}/aggregator"));
        let paths: Vec<String> = ["listener", "markets", "peers/1", "peers/2"]
            .map(str::to_owned)
            .into_iter()
            .chain(many)
            .chain(below)
            .collect();
        let all = |limit| kinds(paths.iter().map(String::as_str), limit);
        assert!(all(4).iter().all(Option::is_none));
        let found = all(3);
        assert_eq!(found[..4], [None, None, None, None]);
        assert_eq!(found[4].as_deref(), Some("markets/*"));
        assert_eq!(found[11].as_deref(), Some("markets/*/aggregator"));
        let found = all(2);
        assert_eq!(found[..4], [None, None, None, None]);
        assert_eq!(all(1)[2].as_deref(), Some("peers/*"));
        // The only child of a parent is none of many.
        assert_eq!(found[11].as_deref(), Some("markets/*/aggregator"));
    }
}
