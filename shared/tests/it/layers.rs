//! Checks that each layer of the library names only what it may use.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// A layer, the crates it may name, and the layers it may name. Every layer may also name
/// `std`, `core` and its own modules.
struct Layer {
    name: &'static str,
    crates: &'static [&'static str],
    layers: &'static [&'static str],
}

const LAYERS: &[Layer] = &[
    Layer {
        name: "domain",
        crates: &[
            "icu_normalizer",
            "icu_properties",
            "jiff",
            "secrecy",
            "serde",
            "sha2",
            "subtle",
            "thiserror",
            "uuid",
        ],
        layers: &[],
    },
    Layer {
        name: "adapters",
        crates: &[
            "aws_config",
            "aws_sdk_dynamodb",
            "aws_sdk_secretsmanager",
            "futures",
            "jiff",
            "reqwest",
            "secrecy",
            "serde",
            "serde_dynamo",
            "serde_json",
            "thiserror",
            "tokio",
            "uuid",
        ],
        layers: &["calls", "domain"],
    },
    Layer {
        name: "use_cases",
        crates: &["futures", "jiff", "secrecy", "thiserror", "tokio", "uuid"],
        layers: &["adapters", "clock", "domain", "panic"],
    },
    Layer {
        name: "web",
        crates: &[
            "http",
            "jiff",
            "lambda_http",
            "secrecy",
            "serde_bytes",
            "serde_json",
            "thiserror",
            "tokio",
            "tracing",
            "uuid",
        ],
        layers: &["calls", "clock", "domain", "panic", "use_cases"],
    },
];

/// The first segments of all paths in a file, and the second segments of paths that begin
/// with `crate`.
#[derive(Default)]
struct Named {
    crates: BTreeSet<String>,
    layers: BTreeSet<String>,
}

impl Named {
    fn in_file(source: &str) -> Self {
        let mut named = Self::default();
        named.visit_file(&syn::parse_file(source).unwrap());
        named
    }

    fn note(&mut self, segments: &[String]) {
        let up = segments.iter().take_while(|s| *s == "super").count();
        match &segments[up..] {
            [first, second, ..] if first == "crate" => {
                self.layers.insert(second.clone());
            }
            // A path with several `super` can lead into another layer.
            [first, ..] if up > 1 && LAYERS.iter().any(|layer| layer.name == first) => {
                self.layers.insert(first.clone());
            }
            [first, second, ..] if first == "std" && second == "env" => {
                self.crates.insert("std::env".to_owned());
            }
            [first, _, ..] => {
                self.crates.insert(first.clone());
            }
            _ => {}
        }
    }

    fn note_use(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.note_use(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) => self.note(&with(&name.ident)),
            syn::UseTree::Rename(name) => self.note(&with(&name.ident)),
            syn::UseTree::Glob(_) => self.note(&[before, &["*".to_owned()]].concat()),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_use(tree, before);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Named {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.note(&segments);
        syn::visit::visit_path(self, path);
    }

    /// Reads the tokens of a macro call as plain words. Every `name::` counts.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        syn::visit::visit_macro(self, call);
        let words = call.tokens.to_string().replace(" :: ", "::");
        for word in words.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            let segments: Vec<_> = word.split("::").map(str::to_owned).collect();
            if segments.iter().all(|segment| !segment.is_empty()) {
                self.note(&segments);
            }
        }
    }

    /// Skips unit tests, which may use any crate.
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let is_test = |a: &syn::Attribute| matches!(&a.meta, syn::Meta::List(list) if list.tokens.to_string() == "test");
        if !module.attrs.iter().any(is_test) {
            syn::visit::visit_item_mod(self, module);
        }
    }
}

/// The names in `source`, a file of `layer`, that the layer may not use.
fn violations(layer: &Layer, dependencies: &BTreeSet<String>, source: &str) -> BTreeSet<String> {
    let named = Named::in_file(source);
    let crates = named
        .crates
        .into_iter()
        .filter(|name| dependencies.contains(name) || name == "std::env")
        .filter(|name| !layer.crates.contains(&name.as_str()));
    let layers = named
        .layers
        .into_iter()
        .filter(|name| name != layer.name && !layer.layers.contains(&name.as_str()));
    crates
        .chain(layers.map(|name| format!("crate::{name}")))
        .collect()
}

/// The crates that the library depends on, as its code spells them.
fn dependencies() -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let names = section
        .lines()
        .filter_map(|line| line.split(['.', ' ']).next());
    names
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn each_layer_names_only_allowed_crates_and_layers() {
    let dependencies = dependencies();
    assert!(
        dependencies.contains("aws_sdk_dynamodb"),
        "{dependencies:?}"
    );
    for layer in LAYERS {
        let files = files(&root().join("src").join(layer.name));
        assert!(files.len() > 3, "{files:?}");
        for file in files {
            let source = std::fs::read_to_string(&file).unwrap();
            let violations = violations(layer, &dependencies, &source);
            assert!(
                violations.is_empty(),
                "{} names {violations:?}",
                file.display()
            );
        }
    }
}

/// An adapter must not name another adapter. Only a use case may combine adapters. The
/// adapters share only the errors that AWS returns to two of them alike.
#[test]
fn no_adapter_names_another_adapter() {
    let adapters = ["lms", "secrets", "store"];
    for own in adapters {
        for file in files(&root().join("src/adapters").join(own)) {
            let source = std::fs::read_to_string(&file).unwrap();
            for other in adapters.iter().filter(|other| **other != own) {
                let name = format!("adapters::{other}");
                assert!(!source.contains(&name), "{} names {name}", file.display());
            }
        }
    }
}

/// The check must be able to fail: each of these sources names something that its layer
/// may not.
#[test]
fn violations_are_found() {
    for (layer, source, violation) in [
        (
            "domain",
            "use aws_sdk_dynamodb::Client;",
            "aws_sdk_dynamodb",
        ),
        (
            "domain",
            "fn f() { let _ = tokio::spawn(async {}); }",
            "tokio",
        ),
        (
            "domain",
            "fn f() { println!(\"{}\", tracing::level_filters::STATIC_MAX_LEVEL); }",
            "tracing",
        ),
        (
            "domain",
            "use crate::{adapters::store, clock};",
            "crate::clock",
        ),
        (
            "adapters",
            "use crate::use_cases::enrolling::Enrolling;",
            "crate::use_cases",
        ),
        ("use_cases", "type A = http::StatusCode;", "http"),
        (
            "web",
            "mod a { use aws_sdk_dynamodb as d; } use aws_sdk_dynamodb::*;",
            "aws_sdk_dynamodb",
        ),
        (
            "web",
            "use crate::adapters::store::StoreError;",
            "crate::adapters",
        ),
        (
            "web",
            "use super::super::adapters::store;",
            "crate::adapters",
        ),
        ("use_cases", "fn f() { std::env::var(\"X\"); }", "std::env"),
    ] {
        let layer = LAYERS.iter().find(|r| r.name == layer).unwrap();
        let found = violations(layer, &dependencies(), source);
        assert!(found.contains(violation), "{source}: {found:?}");
    }
    let layer = &LAYERS[0];
    let tests = "#[cfg(test)] mod tests { use tokio::sync::Mutex; }";
    assert!(violations(layer, &dependencies(), tests).is_empty());
}
