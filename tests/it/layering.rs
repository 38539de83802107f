//! The order of the modules in `src/lib.rs` is the architecture: a module uses only modules above it. What a layer
//! may name from outside is held here too.
//!
//! Reads text, so a string can trip it; that is a fair price. Lines of comment are passed over.

use std::fs;
use std::path::Path;

/// A file of the source, without its comments.
struct Source {
    name: String,
    module: String,
    text: String,
}

/// The modules in the order of `src/lib.rs`.
fn layers() -> Vec<String> {
    let library = fs::read_to_string(root().join("lib.rs")).unwrap();
    let modules = library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    modules.map(str::to_owned).collect()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(root(), &mut found);
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            let module = name.split(['/', '.']).next().unwrap().to_owned();
            let whole = fs::read_to_string(&path).unwrap();
            let code: Vec<&str> = whole.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            found.push(Source { name, module, text: code.join("\n") });
        }
    }
}

/// Whether the text has the name as a whole word.
fn names(text: &str, name: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        !text[..at].ends_with(part_of_word) && !text[at + name.len()..].starts_with(part_of_word)
    })
}

/// Every place where a file of one of `modules` has one of `names`.
fn breaches(modules: impl Fn(&str) -> bool, banned: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| modules(&source.module)) {
        let hits = banned.iter().filter(|name| names(&source.text, name));
        wrong.extend(hits.map(|name| format!("{} may not name `{name}`", source.name)));
    }
    wrong
}

#[track_caller]
fn assert_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_place() {
    let layers = layers();
    assert_eq!(layers.first().map(String::as_str), Some("scim"));
    for source in sources() {
        let has_place = ["lib", "main"].contains(&source.module.as_str()) || layers.contains(&source.module);
        assert!(has_place, "{} is in no layer of src/lib.rs", source.name);
    }
}

#[test]
fn a_module_uses_only_modules_above_it() {
    let layers = layers();
    let mut wrong = Vec::new();
    for (rank, layer) in layers.iter().enumerate() {
        let below: Vec<String> = layers[rank + 1..].iter().map(|layer| format!("crate::{layer}")).collect();
        let mut banned: Vec<&str> = below.iter().map(String::as_str).collect();
        // These would hide a layer from the search.
        banned.extend(["super::super", "use crate::*"]);
        wrong.extend(breaches(|module| module == layer, &banned));
    }
    let grouped = sources().into_iter().filter(|source| source.text.contains("crate::{"));
    wrong.extend(grouped.map(|source| format!("{} may not group imports of the crate", source.name)));
    assert_none(wrong);
}

#[test]
fn scim_is_pure() {
    let impure = [
        "std::fs",
        "std::net",
        "std::env",
        "std::io",
        "std::time",
        "std::thread",
        "std::process",
        "tokio",
        "hyper",
        "warp",
        "rusqlite",
        "tracing",
        "uuid",
        "getrandom",
        "jiff",
        "async",
        "await",
        "static mut",
        "Mutex",
        "crate::clock",
    ];
    assert_none(breaches(|module| module == "scim", &impure));
}

#[test]
fn config_reads_text_and_nothing_else() {
    let impure = [
        "std::fs",
        "std::net::TcpListener",
        "std::env",
        "std::time",
        "std::thread",
        "tokio",
        "tracing",
        "crate::clock",
    ];
    assert_none(breaches(|module| module == "config", &impure));
}

#[test]
fn sqlite_is_named_only_in_the_store() {
    assert_none(breaches(|module| module != "store", &["rusqlite", "r2d2", "rusqlite_migration"]));
    assert_none(breaches(
        |module| ["web", "cli", "server", "telemetry"].contains(&module),
        &["crate::store"],
    ));
}

#[test]
fn warp_is_named_only_in_the_web() {
    assert_none(breaches(|module| module != "web", &["warp"]));
}

#[test]
fn nothing_below_the_tenants_is_async() {
    let layers = layers();
    let tenants = layers.iter().position(|layer| layer == "tenants").unwrap();
    let lower = |module: &str| layers[..tenants].iter().any(|layer| layer == module);
    assert_none(breaches(lower, &["tokio", "async", "await", "futures_util"]));
    assert_none(breaches(|module| module == "web", &["spawn_blocking", "block_in_place", "std::thread"]));
}

#[test]
fn time_is_read_only_by_the_clock() {
    assert_none(breaches(
        |module| module != "clock",
        &["SystemTime::now", "std::time::Instant", "Timestamp::now", "Zoned::now"],
    ));
}

#[test]
fn sql_is_written_only_in_the_store() {
    let statements = ["SELECT ", "INSERT INTO ", "DELETE FROM ", "PRAGMA "];
    let wrong = sources().into_iter().filter(|source| source.module != "store");
    let wrong = wrong.filter(|source| statements.iter().any(|statement| source.text.contains(statement)));
    assert_none(wrong.map(|source| format!("{} may not hold SQL", source.name)).collect());
}

#[test]
fn the_probe_is_a_client_and_knows_nothing_of_ours() {
    let ours = [
        "crate::config",
        "crate::tenants",
        "crate::directory",
        "crate::web",
        "crate::secret",
        "crate::server",
    ];
    assert_none(breaches(|module| module == "probe", &ours));
}

#[test]
fn routes_are_texts_made_of_settings() {
    let impure = ["std::fs", "std::env", "std::net", "tokio", "tracing", "crate::clock", "async"];
    assert_none(breaches(|module| module == "route", &impure));
}
