//! What is installed beside the program: manual pages, completions, the unit; and what the program says of its build.
//!
//! Whether groff, systemd and dpkg take them is tried by `.ci/packages`.

use std::path::Path;
use std::process::{Command, Stdio};

use ici_scim::config;

use crate::support::server::{BINARY, clean_environment};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(BINARY);
    clean_environment(&mut command);
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn done(arguments: &[&str]) -> String {
    let (code, out, err) = run(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {err}");
    out
}

/// Every command by its words, from its help.
fn commands() -> Vec<Vec<String>> {
    let mut waiting = vec![Vec::<String>::new()];
    let mut all = Vec::new();
    while let Some(words) = waiting.pop() {
        let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = done(&arguments);
        let listed =
            help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        for name in listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()) {
            if !name.is_empty() && name != "help" {
                waiting.push([words.as_slice(), &[name.to_owned()]].concat());
            }
        }
        all.push(words);
    }
    all
}

#[test]
fn the_version_names_the_commit_of_a_release_and_says_what_it_is_built_of() {
    let short = done(&["-V"]);
    let from = short.trim_end().strip_prefix(concat!("ici-scim ", env!("CARGO_PKG_VERSION"), " (")).unwrap();
    let from = from.strip_suffix(')').unwrap();
    if ici_scim::version::PROFILE == "debug" && ici_scim::version::committed_ms().is_none() {
        assert_eq!(from, "development build");
    }
    if let Some(commit) = ici_scim::version::COMMIT {
        assert!(commit.starts_with(from.split([' ', '-']).next().unwrap()), "{short}");
    }
    let long = done(&["--version"]);
    assert!(long.starts_with(&short), "{long}");
    for fact in ["\ncommit: ", "\ncommitted: ", "\ntarget: ", "\nSQLite: 3.", "\nschema of tenants' files: "]
    {
        assert!(long.contains(fact), "{fact} in {long}");
    }
}

#[test]
fn there_is_a_manual_page_for_every_command_and_its_references_lead_to_pages() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("man1");
    done(&["man", "--to", to.to_str().unwrap()]);
    let commands = commands();
    for words in &commands {
        let name = [&["ici-scim".to_owned()], words.as_slice()].concat().join("-");
        let page = std::fs::read_to_string(to.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1 ")), "{page}");
        for section in
            ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "\"EXIT STATUS\"", "\"SEE ALSO\""]
        {
            assert!(page.contains(&format!("\n.SH {section}\n")), "{name}: {section}");
        }
        let (_, references) = page.split_once(".SH \"SEE ALSO\"\n").unwrap();
        let references = references.lines().filter_map(|line| line.strip_prefix(".BR ")?.split(' ').next());
        let mut count = 0;
        for reference in references {
            assert!(to.join(format!("{}.1", reference.replace('\\', ""))).exists(), "{name}: {reference}");
            count += 1;
        }
        assert!(count > 0, "{name} refers to no page");
        assert_eq!(
            done(&[&["man"], words.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat()),
            page
        );
    }
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), commands.len());
}

#[test]
fn a_page_of_no_command_is_wrong_usage() {
    let (code, out, err) = run(&["man", "token", "steal"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("there is no command token steal"), "{err}");
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = done(&["completions", shell]);
        for words in commands() {
            let Some(last) = words.last() else { continue };
            assert!(script.contains(last.as_str()), "{shell}: {words:?}");
        }
        assert!(script.contains("--config") || script.contains("-l config"), "{shell}");
    }
}

#[test]
fn the_installed_configurations_are_ones_that_load() {
    let package = config::parse(&read("packaging/debian/tenants.toml"), "tenants.toml").unwrap();
    assert_eq!(package.server.data_dir, Path::new("/var/lib/ici-scim"));
    let image = config::parse(&read("packaging/docker/tenants.toml"), "tenants.toml").unwrap();
    assert_eq!(image.server.listen.to_string(), "0.0.0.0:8080");
    assert!(read("packaging/docker/Dockerfile").contains("EXPOSE 8080\n"));
}

/// The values of a setting in the unit.
fn set_in_unit<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_unit_fits_the_program_and_what_the_package_installs() {
    let unit = read("packaging/systemd/ici-scim.service");
    let start = set_in_unit(&unit, "ExecStart");
    let arguments: Vec<&str> = start[0].strip_prefix("/usr/bin/ici-scim ").unwrap().split(' ').collect();
    assert_eq!(arguments, ["serve", "--config", "/etc/ici-scim/tenants.toml"]);
    // What it may write is where the installed configuration keeps the data.
    assert_eq!(set_in_unit(&unit, "StateDirectory"), ["ici-scim"]);
    assert_eq!(set_in_unit(&unit, "ProtectSystem"), ["strict"]);
    // Nobody is cut off: it waits longer for the end than the server does.
    let stop_s: u64 = set_in_unit(&unit, "TimeoutStopSec")[0].parse().unwrap();
    assert!(stop_s > config::Limits::default().stop_s);
    // Files enough for every connection and every open tenant.
    let files: u64 = set_in_unit(&unit, "LimitNOFILE")[0].parse().unwrap();
    let limits = config::Limits::default();
    let wanted = limits.connections_max as u64 + 64 * limits.open_tenants_max as u64;
    assert!(files > wanted, "{files}, {wanted}");
    let user = set_in_unit(&unit, "User")[0];
    assert!(read("packaging/systemd/ici-scim.sysusers").contains(&format!("\nu {user} ")));
    for folder in ["/var/lib/ici-scim", "/etc/ici-scim"] {
        assert!(read("packaging/systemd/ici-scim.tmpfiles").contains(&format!("\nd {folder} ")), "{folder}");
        assert!(read("packaging/debian/postinst").contains(folder), "{folder}");
    }
}

#[test]
fn the_scripts_of_the_package_never_delete_data() {
    for script in ["postinst", "prerm", "postrm"] {
        let text = read(&format!("packaging/debian/{script}"));
        for line in text.lines().filter(|line| line.trim_start().starts_with("rm ")) {
            assert_eq!(line.trim(), "rm -rf /etc/ici-scim", "{script}");
        }
    }
}

#[test]
fn every_file_that_the_package_takes_from_the_sources_is_there() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap().clone();
    let mut count = 0;
    for asset in &assets {
        let source = asset[0].as_str().unwrap();
        if source.starts_with("target/") {
            continue;
        }
        let found = glob::glob(&format!("{}/{source}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(found.count() > 0, "{source}");
        count += 1;
    }
    assert!(count > 5, "{count}");
}
