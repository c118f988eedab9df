//! The Rust sources of the workspace, parsed: which file is which module, what each defines, and what it uses.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::Span;
use syn::{Attribute, Item, UseTree, spanned::Spanned, visit::Visit};

/// A crate of the workspace.
pub(crate) struct Crate {
    /// Its name in paths.
    pub(crate) name: String,
    /// Where its `lib.rs` or `main.rs` is, from the root of the repository.
    pub(crate) root: PathBuf,
    /// Its modules by their paths, `["a", "b"]` for `crate::a::b`. Modules that only tests have are left out.
    pub(crate) modules: BTreeMap<Vec<String>, Module>,
}

/// A module.
pub(crate) struct Module {
    /// The file, from the root of the repository.
    pub(crate) file: PathBuf,
    /// Names of the items that it defines itself.
    pub(crate) items: BTreeSet<String>,
    /// Names that it brings in by `use`, each with the path that it stands for.
    pub(crate) imports: BTreeMap<String, Vec<String>>,
    /// Paths that it takes everything from.
    pub(crate) globs: Vec<Vec<String>>,
    /// All paths of its code, `use` included, outside of tests.
    pub(crate) paths: Vec<Vec<String>>,
    /// Names of the methods that its code calls, outside of tests.
    pub(crate) methods: BTreeSet<String>,
    /// Functions with their names and lengths in lines.
    pub(crate) functions: Vec<(String, usize)>,
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All crates of the workspace but the test kit, whose code is for tests.
pub(crate) fn crates() -> Vec<Crate> {
    let mut all = vec![crate_at("src/lib.rs", "state_tracker"), crate_at("actors/src/lib.rs", "actors")];
    let folders = fs::read_dir(root().join("crates")).expect("the folder of crates");
    let mut names: Vec<String> =
        folders.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    for name in names.iter().filter(|name| *name != "testkit") {
        all.push(crate_at(&format!("crates/{name}/src/lib.rs"), &name.replace('-', "_")));
    }
    all
}

/// The binary's own file, which is no part of a library.
pub(crate) fn binary() -> Crate {
    crate_at("src/main.rs", "main")
}

fn crate_at(lib: &str, name: &str) -> Crate {
    let mut all = Crate { name: name.to_owned(), root: lib.into(), modules: BTreeMap::new() };
    add_file(&mut all, Vec::new(), Path::new(lib));
    all
}

fn add_file(all: &mut Crate, path: Vec<String>, file: &Path) {
    let text =
        fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    add_module(all, path, file, &parsed.items);
}

fn add_module(all: &mut Crate, path: Vec<String>, file: &Path, items: &[Item]) {
    let mut module = Module {
        file: file.to_owned(),
        items: BTreeSet::new(),
        imports: BTreeMap::new(),
        globs: Vec::new(),
        paths: Vec::new(),
        methods: BTreeSet::new(),
        functions: Vec::new(),
    };
    let mut children = Vec::new();
    for item in items.iter().filter(|item| !is_test(attributes(item))) {
        module.items.extend(name_of(item));
        if let Item::Mod(child) = item {
            let child_path = [path.clone(), vec![child.ident.to_string()]].concat();
            match &child.content {
                Some((_, items)) => children.push((child_path, file.to_owned(), Some(items.clone()))),
                None => children.push((child_path.clone(), file_of(&all.root, &child_path), None)),
            }
            continue;
        }
        let mut visitor = Visitor { module: &mut module };
        visitor.visit_item(item);
    }
    all.modules.insert(path, module);
    for (path, file, items) in children {
        match items {
            Some(items) => add_module(all, path, &file, &items),
            None => add_file(all, path, &file),
        }
    }
}

/// The file of a module: `a/b.rs` or `a/b/mod.rs`.
fn file_of(lib: &Path, path: &[String]) -> PathBuf {
    let folder = lib.parent().expect("a folder").join(path[..path.len() - 1].join("/"));
    let last = path.last().expect("a name");
    let flat = folder.join(format!("{last}.rs"));
    if root().join(&flat).exists() { flat } else { folder.join(last).join("mod.rs") }
}

fn add_imports(module: &mut Module, before: Vec<String>, tree: &UseTree) {
    let with = |name: &syn::Ident| [before.clone(), vec![plain(name)]].concat();
    match tree {
        UseTree::Path(path) => add_imports(module, with(&path.ident), &path.tree),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| add_imports(module, before.clone(), tree))
        }
        UseTree::Glob(_) => module.globs.push(before),
        UseTree::Name(name) if name.ident == "self" => {
            if let Some(last) = before.last() {
                module.imports.insert(last.clone(), before.clone());
            }
        }
        UseTree::Name(name) => {
            module.imports.insert(plain(&name.ident), with(&name.ident));
        }
        UseTree::Rename(rename) => {
            // `self as t` names what is before it. `as _` brings in a trait without a name: each of them counts.
            let path = if rename.ident == "self" { before.clone() } else { with(&rename.ident) };
            let name = match plain(&rename.rename) {
                unnamed if unnamed == "_" => format!("_{}", module.imports.len()),
                name => name,
            };
            module.imports.insert(name, path);
        }
    }
}

/// A name, without the mark of a raw one.
fn plain(name: &syn::Ident) -> String {
    name.to_string().trim_start_matches("r#").to_owned()
}

struct Visitor<'a> {
    module: &'a mut Module,
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.module.paths.push(path.segments.iter().map(|segment| plain(&segment.ident)).collect());
        syn::visit::visit_path(self, path);
    }

    /// Those within functions too, as if they stood at the top of the file.
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        add_imports(self.module, Vec::new(), &item.tree);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.module.methods.insert(plain(&call.method));
        syn::visit::visit_expr_method_call(self, call);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.module.functions.push((item.sig.ident.to_string(), lines(item.span())));
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            self.module.functions.push((item.sig.ident.to_string(), lines(item.span())));
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.module.functions.push((item.sig.ident.to_string(), lines(item.span())));
        syn::visit::visit_impl_item_fn(self, item);
    }

    /// Macros hold code too; what looks like a path in them is taken for one.
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let mut segments: Vec<String> = Vec::new();
        let text = item.tokens.to_string().replace(" :: ", "::");
        for word in text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            segments.extend(word.split("::").filter(|word| !word.is_empty()).map(str::to_owned));
            if !segments.is_empty() {
                self.module.paths.push(std::mem::take(&mut segments));
            }
        }
        syn::visit::visit_macro(self, item);
    }
}

fn lines(span: Span) -> usize {
    span.end().line - span.start().line + 1
}

fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Macro(item) => item.ident.as_ref()?.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        _ => return None,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let of_cfg = path.is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test");
        of_cfg || path.segments.last().is_some_and(|last| last.ident == "test")
    })
}
