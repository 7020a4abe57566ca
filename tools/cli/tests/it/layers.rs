//! The files of the program have an order: each names only files before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The paths of modules, each with the paths that its file names.
type Modules = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

/// Returns the modules that are left after all were taken away, one by one, whose file
/// names no other that is left.
fn in_cycles(mut modules: Modules) -> Vec<String> {
    loop {
        let names_none = |names: &BTreeSet<_>| !names.iter().any(|name| modules.contains_key(name));
        let free = modules.iter().find(|(_, names)| names_none(names));
        let Some(free) = free.map(|(module, _)| module.clone()) else {
            return modules.keys().map(|path| path.join("::")).collect();
        };
        modules.remove(&free);
    }
}

/// Reads the files of a folder, which is the module `path`.
fn read(folder: &Path, path: &[String], files: &mut BTreeMap<Vec<String>, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let module = [path, std::slice::from_ref(&name)].concat();
        if file.is_dir() {
            read(&file, &module, files);
        } else if name == "mod" {
            files.insert(path.to_vec(), fs::read_to_string(file).unwrap());
        } else {
            files.insert(module, fs::read_to_string(file).unwrap());
        }
    }
}

/// Returns the modules with the modules that they name, their children among them.
fn modules(files: &BTreeMap<Vec<String>, String>) -> Modules {
    let parse = |(module, text): (&Vec<String>, &String)| {
        let text = text.split("#[cfg(test)]").next().unwrap();
        let mut named = Vec::new();
        for line in text.lines() {
            if let Some((_, child)) = line.split_once("mod ") {
                let child = child.trim_end_matches(';').to_owned();
                named.push([module.as_slice(), &[child]].concat());
            }
        }
        let parent = &module[..module.len().saturating_sub(1)];
        for (word, base) in [
            ("crate::", &[][..]),
            ("super::", parent),
            ("self::", module),
        ] {
            for (at, _) in text.match_indices(word) {
                paths(&text[at + word.len()..], base, &mut named);
            }
        }
        // The longest path of a module that a path begins with.
        let module_of = |path: Vec<String>| {
            let ends = (1..=path.len()).rev();
            let mut starts = ends.map(|end| path[..end].to_vec());
            starts.find(|start| files.contains_key(start))
        };
        let named = named.into_iter().filter_map(module_of);
        (
            module.clone(),
            named.filter(|name| name != module).collect(),
        )
    };
    files.iter().map(parse).collect()
}

/// Adds the paths of a use tree, `output::{self, Output}`, below `base`. Returns the rest
/// of the text.
fn paths<'a>(text: &'a str, base: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    let (word, mut rest) = text.split_at(end.unwrap_or(text.len()));
    let mut path = base.to_vec();
    if !word.is_empty() && word != "self" {
        path.push(word.to_owned());
    }
    if let Some(below) = rest.strip_prefix("::") {
        return paths(below, &path, found);
    }
    if !rest.starts_with('{') {
        found.push(path);
        return rest;
    }
    while let Some(next) = rest.strip_prefix(['{', ',']) {
        rest = paths(next.trim_start(), &path, found).trim_start();
    }
    rest.strip_prefix('}').unwrap_or(rest)
}

#[test]
fn no_file_names_one_that_names_it() {
    let mut files = BTreeMap::new();
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &[],
        &mut files,
    );
    assert!(files.len() > 50, "{}", files.len());
    assert_eq!(in_cycles(modules(&files)), [""; 0]);
}

#[test]
fn a_cycle_is_found() {
    let files = [
        ("main", "mod a;\nmod b;\nmod c;\nmod d;\nuse crate::a;"),
        ("a", "use crate::{d, b::{self, B}};"),
        ("b", "mod inner;\nuse super::c::C;"),
        ("b::inner", "fn f() { crate::a::f() }"),
        ("c", "use crate::d::{D, E};"),
        ("d", "#[cfg(test)]\nmod tests {\n    use crate::a;\n}"),
    ];
    let path = |module: &str| module.split("::").map(str::to_owned).collect();
    let files = files.map(|(module, text)| (path(module), text.to_owned()));
    assert_eq!(
        in_cycles(modules(&files.into())),
        ["a", "b", "b::inner", "main"]
    );
}
