//! What a build says of itself in `ici-scim --version`: the commit, when it was made, for which machine.
//!
//! Only a release build asks git: a development build is of a tree in motion, and every commit would build the
//! library anew. Outside a clone nothing fails; who packs without one gives `ICI_SCIM_COMMIT` and
//! `SOURCE_DATE_EPOCH`. The time is that of the commit and never that of the build, so that the same commit gives the
//! same program.

use std::env;
use std::path::Path;
use std::process::Command;

/// What goes into the program: a change elsewhere does not make it another one.
const SOURCES: [&str; 6] = ["src", "schema", "build.rs", "Cargo.toml", "Cargo.lock", ".cargo"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["ICI_SCIM_COMMIT", "SOURCE_DATE_EPOCH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let released = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let given = env::var("ICI_SCIM_COMMIT").ok().filter(|commit| is_commit(commit));
    let is_given = given.is_some();
    let commit = given.or_else(|| if released { commit_of_clone() } else { None });
    let asked = commit.is_some() && !is_given;
    let epoch = env::var("SOURCE_DATE_EPOCH").ok();
    let epoch = epoch.or_else(|| if asked { git(&["show", "-s", "--format=%ct", "HEAD"]) } else { None });
    let epoch = epoch.filter(|seconds| seconds.parse::<u32>().is_ok());
    let changed = asked && is_changed();
    for (name, value) in [
        ("BUILD_COMMIT", commit.unwrap_or_default()),
        ("BUILD_EPOCH_S", epoch.unwrap_or_default()),
        ("BUILD_CHANGED", if changed { "yes".to_owned() } else { String::new() }),
        ("BUILD_TARGET", env::var("TARGET").unwrap_or_default()),
        ("BUILD_PROFILE", env::var("PROFILE").unwrap_or_default()),
    ] {
        println!("cargo::rustc-env=ICI_SCIM_{name}={value}");
    }
}

/// The commit that is checked out here. Cargo is told what to watch, so that the next build sees another one.
fn commit_of_clone() -> Option<String> {
    // The sources may lie, unpacked, inside a clone of something else.
    let here = Path::new(&env::var("CARGO_MANIFEST_DIR").ok()?).canonicalize().ok()?;
    let top = Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    if here != top {
        return None;
    }
    // HEAD names the branch; its log grows with every commit. Cargo builds anew each time if a file is not there.
    for watched in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", watched]).filter(|path| Path::new(path).exists())
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for source in SOURCES.iter().filter(|source| Path::new(source).exists()) {
        println!("cargo::rerun-if-changed={source}");
    }
    git(&["rev-parse", "HEAD"]).filter(|commit| is_commit(commit))
}

/// Whether the sources are other than those of the commit.
fn is_changed() -> bool {
    let mut arguments = vec!["status", "--porcelain", "--"];
    arguments.extend(SOURCES);
    git(&arguments).is_some()
}

fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What git says; nothing when it is not there, fails or says nothing.
fn git(arguments: &[&str]) -> Option<String> {
    // A status would otherwise write to the index, beside whoever works in the clone.
    let output = Command::new("git").arg("--no-optional-locks").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !said.is_empty()).then_some(said)
}
