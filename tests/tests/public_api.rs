//! What the crate `bedside` promises, as `crates/bedside/public-api.txt` lists it.
//!
//! Read from the source, so that it needs no other toolchain than the build: items that the crate
//! makes public, its own and those of crates below it, without documentation and bodies. Implementations
//! that macros write are not seen.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bedside_tests::workspace;
use syn::{Attribute, Fields, ImplItem, Item, TraitItem, UseTree, Visibility};

const LISTING: &str = "crates/bedside/public-api.txt";
const HEAD: &str = "\
The public API of `bedside`, one type after the other. `.ci/public-api --bless` writes this file and
CI compares it with the source: a change here is a change for whoever builds on the crate.
";

/// Items of every module of a crate, by the module's path.
type Modules = BTreeMap<Vec<String>, Vec<Item>>;

/// The crates that have been read, by name.
#[derive(Default)]
struct Sources(BTreeMap<String, Modules>);

/// A name in a module of a crate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    krate: String,
    module: Vec<String>,
    name: String,
}

impl Sources {
    fn modules(&mut self, krate: &str) -> &Modules {
        self.0.entry(krate.to_owned()).or_insert_with(|| {
            let folder = workspace::root()
                .join("crates")
                .join(krate.replace('_', "-"));
            let mut modules = Modules::new();
            read(&folder.join("src/lib.rs"), Vec::new(), &mut modules);
            modules
        })
    }

    /// The public items of a module, named as they are from outside.
    fn exports(&mut self, krate: &str, module: &[String]) -> BTreeMap<String, Place> {
        let items = self.modules(krate).get(module);
        let items = items.unwrap_or_else(|| panic!("{krate} has no module {module:?}"));
        let mut found = BTreeMap::new();
        for item in items.iter().filter(|item| is_public(item)) {
            match item {
                Item::Use(item) => {
                    let mut leaves = Vec::new();
                    flatten(&item.tree, &mut Vec::new(), &mut leaves);
                    for (path, name) in leaves {
                        found.insert(name, place(krate, module, &path));
                    }
                }
                item => {
                    let name = name(item).unwrap_or_else(|| panic!("unnamed item in {krate}"));
                    found.insert(
                        name.clone(),
                        Place {
                            krate: krate.to_owned(),
                            module: module.to_vec(),
                            name,
                        },
                    );
                }
            }
        }
        found
    }

    /// Where a name is defined, through the re-exports.
    fn definition(&mut self, mut place: Place) -> Place {
        loop {
            let items = self.modules(&place.krate).get(&place.module);
            if items.is_some_and(|items| items.iter().any(|item| is_called(item, &place.name))) {
                return place;
            }
            let exports = self.exports(&place.krate, &place.module);
            let next = exports.get(&place.name);
            place = next
                .unwrap_or_else(|| panic!("{place:?} is nowhere"))
                .clone();
        }
    }

    fn is_module(&mut self, place: &Place) -> bool {
        let mut items = self.modules(&place.krate)[&place.module].iter();
        items.any(|item| matches!(item, Item::Mod(_)) && is_called(item, &place.name))
    }

    /// A module's public items as text, indented by nothing.
    fn listing(&mut self, krate: &str, module: &[String], path: &str, out: &mut String) {
        let mut modules = Vec::new();
        for (shown, place) in self.exports(krate, module) {
            let place = self.definition(place);
            if self.is_module(&place) {
                let inner = [&*place.module, &[place.name]].concat();
                modules.push((format!("{path}::{shown}"), place.krate, inner));
                continue;
            }
            out.push_str(&format!("\n// {path}::{shown}\n"));
            out.push_str(&self.item(&place));
        }
        for (path, krate, module) in modules {
            self.listing(&krate, &module, &path, out);
        }
    }

    /// An item with its implementations.
    fn item(&mut self, place: &Place) -> String {
        let modules = self.modules(&place.krate);
        let items = &modules[&place.module];
        let named = items.iter().filter(|item| is_called(item, &place.name));
        let own = named.cloned().map(without_insides);
        let mut text: String = own.map(print).collect();
        let all = modules.values().flatten();
        let mut implementations: Vec<String> = all
            .filter_map(|item| implementation(item, &place.name))
            .map(print)
            .collect();
        implementations.sort();
        text.extend(implementations);
        text
    }
}

/// Read a module's file and those below it; tests are left out.
fn read(file: &Path, module: Vec<String>, modules: &mut Modules) {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let stem = file.file_stem().unwrap().to_str().unwrap();
    let folder = match stem {
        "lib" | "mod" => file.parent().unwrap().to_owned(),
        _ => file.with_extension(""),
    };
    add(parsed.items, &folder, module, modules);
}

fn add(items: Vec<Item>, folder: &Path, module: Vec<String>, modules: &mut Modules) {
    let mut kept = Vec::new();
    for item in items.into_iter().filter(|item| !is_test(item)) {
        if let Item::Mod(inner) = &item {
            let mut path = module.clone();
            path.push(inner.ident.to_string());
            let name = inner.ident.to_string();
            match &inner.content {
                Some((_, items)) => add(items.clone(), &folder.join(name), path, modules),
                None => {
                    let files: [PathBuf; 2] = [
                        folder.join(format!("{name}.rs")),
                        folder.join(&name).join("mod.rs"),
                    ];
                    let file = files.iter().find(|file| file.exists());
                    read(file.unwrap_or(&files[0]), path, modules);
                }
            }
        }
        kept.push(item);
    }
    modules.insert(module, kept);
}

/// The place that a `use` in a module means.
fn place(krate: &str, module: &[String], path: &[String]) -> Place {
    let (name, before) = path.split_last().unwrap();
    let (krate, module) = match before {
        [first, rest @ ..] if first == "crate" => (krate.to_owned(), rest.to_vec()),
        [first, rest @ ..] if first.starts_with("bedside_") => (first.clone(), rest.to_vec()),
        _ => (krate.to_owned(), [module, before].concat()),
    };
    Place {
        krate,
        module,
        name: name.clone(),
    }
}

/// The leaves of a `use`: path, and name from outside.
fn flatten(tree: &UseTree, path: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, String)>) {
    let mut leaf = |path: &[String], ident: String, shown: String| match ident.as_str() {
        "self" => leaves.push((path.to_vec(), path.last().unwrap().clone())),
        _ => leaves.push(([path, &[ident]].concat(), shown)),
    };
    match tree {
        UseTree::Path(next) => {
            path.push(next.ident.to_string());
            flatten(&next.tree, path, leaves);
            path.pop();
        }
        UseTree::Name(name) => leaf(path, name.ident.to_string(), name.ident.to_string()),
        UseTree::Rename(name) => leaf(path, name.ident.to_string(), name.rename.to_string()),
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, path, leaves);
            }
        }
        UseTree::Glob(_) => panic!("a glob export of {path:?}: name what is public"),
    }
}

fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Mod(item) => &item.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Whether it is public and has that name.
fn is_called(item: &Item, called: &str) -> bool {
    is_public(item) && name(item).is_some_and(|name| name == called)
}

fn is_public(item: &Item) -> bool {
    let visibility = match item {
        Item::Const(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Fn(item) => &item.vis,
        Item::Mod(item) => &item.vis,
        Item::Static(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::Type(item) => &item.vis,
        Item::Use(item) => &item.vis,
        _ => return false,
    };
    matches!(visibility, Visibility::Public(_))
}

fn is_test(item: &Item) -> bool {
    let Item::Mod(item) = item else { return false };
    let test = |a: &Attribute| {
        a.path().is_ident("cfg") && a.parse_args::<syn::Ident>().is_ok_and(|i| i == "test")
    };
    item.attrs.iter().any(test)
}

/// What a caller must know stays: derives, `#[non_exhaustive]`.
fn told(attributes: &mut Vec<Attribute>) {
    attributes.retain(|a| a.path().is_ident("derive") || a.path().is_ident("non_exhaustive"));
}

fn without_insides(mut item: Item) -> Item {
    match &mut item {
        Item::Struct(item) => {
            told(&mut item.attrs);
            public_fields(&mut item.fields);
        }
        Item::Enum(item) => {
            told(&mut item.attrs);
            for variant in &mut item.variants {
                told(&mut variant.attrs);
                variant.fields.iter_mut().for_each(|f| told(&mut f.attrs));
            }
        }
        Item::Trait(item) => {
            told(&mut item.attrs);
            for inner in &mut item.items {
                if let TraitItem::Fn(inner) = inner {
                    told(&mut inner.attrs);
                    // Whether there is a body says whether who implements the trait needs one.
                    inner.default = inner.default.take().map(|_| syn::parse_quote!({}));
                }
            }
        }
        Item::Fn(item) => {
            told(&mut item.attrs);
            item.block = syn::parse_quote!({});
        }
        Item::Const(item) => told(&mut item.attrs),
        Item::Static(item) => told(&mut item.attrs),
        Item::Type(item) => told(&mut item.attrs),
        _ => {}
    }
    item
}

/// Private fields become one, which says that there are some.
fn public_fields(fields: &mut Fields) {
    let public = |f: &syn::Field| matches!(f.vis, Visibility::Public(_));
    let mut private = false;
    match fields {
        Fields::Named(named) => {
            let all = std::mem::take(&mut named.named);
            for mut field in all {
                told(&mut field.attrs);
                if public(&field) {
                    named.named.push(field);
                } else {
                    private = true;
                }
            }
            if private {
                let hidden: syn::FieldsNamed = syn::parse_quote!({ _private: () });
                named.named.extend(hidden.named);
            }
        }
        Fields::Unnamed(unnamed) => {
            for field in &mut unnamed.unnamed {
                told(&mut field.attrs);
                if !public(field) {
                    field.ty = syn::parse_quote!(());
                }
            }
        }
        Fields::Unit => {}
    }
}

/// The public part of an `impl` of the type of that name.
fn implementation(item: &Item, of: &str) -> Option<Item> {
    let Item::Impl(item) = item else { return None };
    let syn::Type::Path(path) = &*item.self_ty else {
        return None;
    };
    if path.path.segments.last()?.ident != of {
        return None;
    }
    let mut item = item.clone();
    told(&mut item.attrs);
    if item.trait_.is_some() {
        item.items.clear();
        return Some(Item::Impl(item));
    }
    item.items.retain(|inner| match inner {
        ImplItem::Fn(inner) => matches!(inner.vis, Visibility::Public(_)),
        ImplItem::Const(inner) => matches!(inner.vis, Visibility::Public(_)),
        _ => false,
    });
    for inner in &mut item.items {
        match inner {
            ImplItem::Fn(inner) => {
                told(&mut inner.attrs);
                inner.block = syn::parse_quote!({});
            }
            ImplItem::Const(inner) => told(&mut inner.attrs),
            _ => {}
        }
    }
    (!item.items.is_empty()).then_some(Item::Impl(item))
}

fn print(item: Item) -> String {
    prettyplease::unparse(&syn::File {
        shebang: None,
        frontmatter: None,
        attrs: Vec::new(),
        items: vec![item],
    })
}

#[test]
fn the_public_api_is_as_listed() {
    let mut found = HEAD.to_owned();
    Sources::default().listing("bedside", &[], "bedside", &mut found);
    let file = workspace::root().join(LISTING);
    if std::env::var_os("BEDSIDE_BLESS").is_some() {
        fs::write(file, &found).unwrap();
        return;
    }
    let listed = fs::read_to_string(file).unwrap();
    let differs = found.lines().zip(listed.lines()).find(|(a, b)| a != b);
    assert!(
        found == listed,
        "{LISTING} is not what the source has; the first difference is {differs:?}; hint: \
         `.ci/public-api --bless` writes it anew, say why in the commit"
    );
}
