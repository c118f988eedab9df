//! Which file uses an item that another one defines. A re-export is followed to the definition; it is no use itself, but
//! an import all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::source::{Crate, Module};

/// File → the files that it uses items of, within each crate and between crates.
pub(crate) type Edges = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

/// How many re-exports are followed before a path counts as unknown.
const LONGEST_CHAIN: usize = 8;

/// The uses of all files.
pub(crate) fn uses(crates: &[Crate]) -> Edges {
    edges(crates, false)
}

/// The uses of all files, and what they re-export.
pub(crate) fn imports(crates: &[Crate]) -> Edges {
    edges(crates, true)
}

fn edges(crates: &[Crate], with_reexports: bool) -> Edges {
    let mut all = Edges::new();
    for home in crates {
        for (path, module) in &home.modules {
            let wanted = module.paths.iter().chain(module.imports.values());
            for used in wanted {
                let Some((file, item)) = resolve(crates, home, path, used, LONGEST_CHAIN) else { continue };
                if file != module.file && (with_reexports || !is_reexport(module, used)) {
                    all.entry(module.file.clone()).or_default().entry(file).or_default().insert(item);
                }
            }
        }
    }
    all
}

/// Whether the name is only brought in here for others: no code of this module has it.
fn is_reexport(module: &Module, used: &[String]) -> bool {
    let Some(name) = module.imports.iter().find(|(_, path)| path.as_slice() == used).map(|(name, _)| name)
    else {
        return false;
    };
    // A trait that is brought in without a name is used by its methods.
    !name.starts_with('_') && !module.paths.iter().any(|path| path.first() == Some(name))
}

/// The file that defines what a path names, and the item's name.
fn resolve(
    crates: &[Crate],
    home: &Crate,
    at: &[String],
    path: &[String],
    left: usize,
) -> Option<(PathBuf, String)> {
    let left = left.checked_sub(1)?;
    let (first, rest) = path.split_first()?;
    let module = home.modules.get(at)?;
    match first.as_str() {
        "crate" => return find(crates, home, Vec::new(), rest, left),
        "self" => return find(crates, home, at.to_vec(), rest, left),
        "super" => return resolve_from_parent(crates, home, at, rest, left),
        _ => {}
    }
    if let Some(import) = module.imports.get(first).filter(|import| import.as_slice() != path) {
        return resolve(crates, home, at, &[import.as_slice(), rest].concat(), left);
    }
    if let Some(other) = crates.iter().find(|other| other.name == *first && other.name != home.name) {
        return find(crates, other, Vec::new(), rest, left);
    }
    find(crates, home, at.to_vec(), path, left)
}

fn resolve_from_parent(
    crates: &[Crate],
    home: &Crate,
    at: &[String],
    rest: &[String],
    left: usize,
) -> Option<(PathBuf, String)> {
    let parent = at.split_last()?.1;
    match rest.first().map(String::as_str) {
        Some("super") => resolve_from_parent(crates, home, parent, &rest[1..], left),
        _ => find(crates, home, parent.to_vec(), rest, left),
    }
}

/// Looks for a path within a module: its children, its items, what it re-exports.
fn find(
    crates: &[Crate],
    home: &Crate,
    at: Vec<String>,
    path: &[String],
    left: usize,
) -> Option<(PathBuf, String)> {
    let (first, rest) = path.split_first()?;
    let module = home.modules.get(&at)?;
    let child = [at.clone(), vec![first.clone()]].concat();
    if home.modules.contains_key(&child) && !rest.is_empty() {
        return find(crates, home, child, rest, left);
    }
    if module.items.contains(first) {
        return Some((module.file.clone(), first.clone()));
    }
    if let Some(import) = module.imports.get(first) {
        return resolve(crates, home, &at, &[import.as_slice(), rest].concat(), left);
    }
    let through = |glob: &Vec<String>| resolve(crates, home, &at, &[glob.as_slice(), path].concat(), left);
    module.globs.iter().find_map(through)
}

/// Groups of files that use each other in a circle, each with its uses.
pub(crate) fn circles(edges: &Edges) -> Vec<Vec<PathBuf>> {
    let reach: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> =
        edges.keys().map(|file| (file, reachable(edges, file))).collect();
    let mut seen: BTreeSet<&PathBuf> = BTreeSet::new();
    let mut all = Vec::new();
    for file in edges.keys() {
        if seen.contains(file) || !reach[file].contains(file) {
            continue;
        }
        let group: Vec<PathBuf> = reach[file]
            .iter()
            .filter(|other| reach.get(*other).is_some_and(|theirs| theirs.contains(file)))
            .map(|other| (*other).clone())
            .collect();
        seen.extend(reach[file].iter().filter(|other| group.contains(*other)));
        all.push(group);
    }
    all
}

fn reachable<'a>(edges: &'a Edges, from: &PathBuf) -> BTreeSet<&'a PathBuf> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&PathBuf> = edges.get(from).into_iter().flat_map(BTreeMap::keys).collect();
    while let Some(file) = next.pop() {
        if found.insert(file) {
            next.extend(edges.get(file).into_iter().flat_map(BTreeMap::keys));
        }
    }
    found
}
