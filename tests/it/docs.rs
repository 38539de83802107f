//! What README and `docs/` say, held to what the program does.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use ici_scim::config::{self, Limits};
use serde_json::Value;
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README, CHANGELOG and every page in `docs/`, by their paths from the root.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = vec![PathBuf::from("README.md"), PathBuf::from("CHANGELOG.md")];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        paths.push(Path::new("docs").join(entry.unwrap().file_name()));
    }
    // Beside the pages lie what they show: plots and results.
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// The lines of the fenced blocks of a language.
fn fenced<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let mut inside = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        match (inside, line.strip_prefix("```")) {
            (None, Some(opened)) => inside = Some(opened),
            (Some(_), Some(_)) => inside = None,
            (Some(opened), None) if opened == language => lines.push(line),
            (Some(_) | None, None) => {}
        }
    }
    lines
}

/// The text under a heading of the second level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let rest = &text[start + 4..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

/// The words of a command line; quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (None, ' ') => words.push(String::new()),
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            (_, other) => words.last_mut().unwrap().push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ici-scim"));
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ICI_SCIM_")) {
        command.env_remove(name);
    }
    command
}

/// A server that was started with the arguments of a document, on a free port in place of the default one.
struct Running {
    child: Child,
    /// What it said until it was ready.
    said: String,
}

impl Running {
    /// Starts it and reads one of its streams up to a line that holds `ready`.
    fn start(folder: &Path, arguments: &[String], on_stderr: bool, ready: &str) -> Running {
        let mut command = program(folder);
        command.args(arguments).env("ICI_SCIM_LISTEN", "127.0.0.1:0");
        let other = File::create(folder.join("other-stream.txt")).unwrap();
        let mut child = if on_stderr {
            command.stdout(other).stderr(Stdio::piped()).spawn().unwrap()
        } else {
            command.stderr(other).stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut stream: Box<dyn BufRead + Send> = if on_stderr {
            Box::new(BufReader::new(child.stderr.take().unwrap()))
        } else {
            Box::new(BufReader::new(child.stdout.take().unwrap()))
        };
        let mut said = String::new();
        while !said.lines().next_back().is_some_and(|line| line.contains(ready)) {
            let read = stream.read_line(&mut said).unwrap();
            assert!(read > 0, "{arguments:?} ended: {said} {}", read_or_nothing(folder));
        }
        // What it says later goes nowhere, and must not make it stop.
        std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
        Running { child, said }
    }
}

fn read_or_nothing(folder: &Path) -> String {
    fs::read_to_string(folder.join("other-stream.txt")).unwrap_or_default()
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The arguments of the quickstart command of the README.
fn quickstart_arguments() -> Vec<String> {
    let readme = read("README.md");
    let lines = fenced(&readme, "sh");
    let command = lines.iter().find(|line| line.ends_with("quickstart")).unwrap();
    assert_eq!(*command, "cargo run --release -- quickstart");
    words(command).into_iter().skip_while(|word| word != "--").skip(1).collect()
}

fn quickstart(folder: &Path) -> Running {
    Running::start(folder, &quickstart_arguments(), false, "The log follows")
}

/// The printed line that can be copied.
fn printed_curl(page: &str) -> &str {
    let lines: Vec<&str> = page.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(lines.len(), 1, "{page}");
    lines[0]
}

#[test]
fn the_readme_names_the_two_commands_and_ci_runs_the_second() {
    let readme = read("README.md");
    let lines = fenced(&readme, "sh");
    assert!(lines.contains(&"cargo run --release -- quickstart"), "{lines:?}");
    assert!(lines.contains(&"cargo test"), "{lines:?}");
    assert!(read(".ci/run").contains("cargo test --locked"));
}

#[test]
fn quickstart_prints_the_curl_line_of_the_readme_and_it_answers_as_shown() {
    let folder = TempDir::new().unwrap();
    let running = quickstart(folder.path());
    let printed = printed_curl(&running.said);
    let printed_words = words(printed);
    let url = printed_words.last().unwrap();
    let token = printed_words[2].strip_prefix("Authorization: Bearer ").unwrap();

    let readme = read("README.md");
    let shown = fenced(&readme, "sh").into_iter().find(|line| line.starts_with("curl ")).unwrap();
    let address = url.split('/').nth(2).unwrap();
    assert_eq!(shown.replace("TOKEN", token).replace("127.0.0.1:8080", address), printed);

    let client = crate::support::http().build().unwrap();
    let answer = client.get(url).header("Authorization", format!("Bearer {token}")).send().unwrap();
    let answer: Value = serde_json::from_slice(&answer.bytes().unwrap()).unwrap();
    let expected: Value = serde_json::from_str(&fenced(&readme, "json").join("\n")).unwrap();
    assert_eq!(answer, expected);
}

#[test]
fn every_other_command_of_the_readme_runs_as_written() {
    let folder = TempDir::new().unwrap();
    let mut running = Some(quickstart(folder.path()));
    let readme = read("README.md");
    let mut count = 0;
    for line in fenced(&readme, "sh").into_iter().filter(|line| line.starts_with("ici-scim ")) {
        let arguments = &words(line)[1..];
        if arguments[0] == "serve" {
            // A folder has one server at a time.
            drop(running.take());
            drop(Running::start(folder.path(), arguments, true, "listening"));
        } else {
            let output = program(folder.path()).args(arguments).output().unwrap();
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        }
        count += 1;
    }
    assert!(count >= 10, "only {count} commands found");
}

#[test]
fn what_the_readme_says_is_missing_is_missing_and_the_rest_is_not() {
    let folder = TempDir::new().unwrap();
    let running = quickstart(folder.path());
    let line = words(printed_curl(&running.said));
    let base = line.last().unwrap().split("/Users").next().unwrap().to_owned();
    let client = crate::support::http().build().unwrap();
    let authorized = |request: reqwest::blocking::RequestBuilder| {
        let (name, value) = line[2].split_once(": ").unwrap();
        request.header(name, value).send().unwrap()
    };
    let config = authorized(client.get(format!("{base}/ServiceProviderConfig"))).bytes().unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let supports = |feature: &str| config[feature]["supported"] == true;
    let is_there = |method: reqwest::Method, path: &str| {
        authorized(client.request(method, format!("{base}{path}"))).status() != 501
    };
    let has_command =
        |name: &str| program(folder.path()).args([name, "--help"]).output().unwrap().status.success();
    let tokens = program(folder.path()).args(["token", "new", "--help"]).output().unwrap().stdout;
    let tokens = String::from_utf8(tokens).unwrap();
    let host = base.split("/scim").next().unwrap();
    let serve = program(folder.path()).args(["serve", "--help"]).output().unwrap().stdout;
    let metrics = String::from_utf8(serve).unwrap().contains("/metrics");
    let console = client.get(host).send().unwrap().status().is_success();

    let readme = read("README.md");
    let missing = section(&readme, "What it does not do").split("Not at all").next().unwrap().to_owned();
    for (words, is_there) in [
        ("`/Bulk`", supports("bulk")),
        ("sorting", supports("sort")),
        ("paging by cursor", config["pagination"]["cursor"] == true),
        ("`/.search`", is_there(reqwest::Method::POST, "/.search")),
        ("`/Me`", tokens.contains("/Me")),
        ("no metrics endpoint", metrics),
        ("no web console", console),
        ("no backup command", has_command("backup")),
    ] {
        assert_eq!(missing.contains(words), !is_there, "{words} in \"What it does not do\" of README.md");
    }
}

#[test]
fn every_command_that_a_document_names_exists() {
    let folder = TempDir::new().unwrap();
    let commands_of = |above: &[&str]| -> Vec<String> {
        let Output { stdout, .. } = program(folder.path()).args(above).arg("--help").output().unwrap();
        let help = String::from_utf8(stdout).unwrap();
        let (_, listed) = help.split_once("Commands:\n").unwrap_or_default();
        let lines = listed.lines().take_while(|line| line.starts_with("  "));
        lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    };
    let top = commands_of(&[]);
    assert!(top.contains(&"serve".to_owned()), "{top:?}");
    let below: Vec<Vec<String>> = top.iter().map(|name| commands_of(&[name.as_str()])).collect();
    for (path, text) in documents() {
        for mention in text.split("ici-scim ").skip(1) {
            let mut named = mention.split([' ', '`', '\n', ')', ',', ';', ':']);
            // Prose, flags and the name of the program itself are no commands.
            let Some(place) = named.next().and_then(|word| top.iter().position(|name| name == word)) else {
                continue;
            };
            let sub = named.next().unwrap_or_default();
            let known = &below[place];
            // It is a command itself and has commands below it.
            let fits = known.is_empty()
                || top[place] == "backup"
                || sub.is_empty()
                || sub.starts_with('-')
                || known.iter().any(|name| name == sub);
            assert!(fits, "{}: ici-scim {} {sub}", path.display(), top[place]);
        }
    }
}

#[test]
fn every_link_inside_the_documents_leads_somewhere() {
    for (path, text) in documents() {
        let mut inside_code = false;
        for line in text.lines() {
            inside_code ^= line.starts_with("```");
            if inside_code {
                continue;
            }
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if !target.starts_with("https://") {
                    check_link(&path, target);
                }
            }
        }
    }
}

fn check_link(from: &Path, target: &str) {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { from.to_owned() } else { from.parent().unwrap().join(file) };
    let text = fs::read_to_string(root().join(&path));
    let text = text.unwrap_or_else(|_| panic!("{}: no file at {target}", from.display()));
    let headings = text.lines().filter(|line| line.starts_with('#')).map(anchor_of);
    assert!(
        anchor.is_empty() || headings.into_iter().any(|known| known == anchor),
        "{}: {target}",
        from.display()
    );
}

/// The name under which a heading can be linked to.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let text = read("docs/decisions.md");
    let listed = section(&text, "Dependencies");
    let mut names: Vec<&String> = Vec::new();
    for table in ["dependencies", "dev-dependencies"] {
        names.extend(manifest[table].as_table().unwrap().keys());
    }
    for name in &names {
        assert!(listed.contains(&format!("| `{name}` | ")), "{name} has no line in docs/decisions.md");
    }
    for row in listed.lines().filter(|line| line.starts_with("| `")) {
        let name = row.split('`').nth(1).unwrap();
        assert!(
            names.iter().any(|known| *known == name),
            "docs/decisions.md names {name}, which is no dependency"
        );
    }
}

/// The keys that the parser knows in a table, from what it says of one that it does not know.
fn keys_known_in(table: &str) -> Vec<String> {
    let error = config::parse(&format!("{table}\nno_such_key = 1"), "").unwrap_err();
    let (_, known) = error.problem.split_once("the keys known here are ").unwrap();
    known.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let text = read("docs/configuration.md");
    for (table, heading) in [
        ("[server]", "`[server]`"),
        ("[server.backup]", "`[server.backup]`"),
        ("[server.tls]", "`[server.tls]`"),
        ("[server.tls.acme]", "`[server.tls.acme]`"),
        ("[server.limits]", "`[server.limits]`"),
        ("[tenants.a]", "`[tenants.NAME]`"),
        ("[[tenants.a.tokens]]", "`[[tenants.NAME.tokens]]`"),
    ] {
        let listed = section(&text, heading);
        let keys = keys_known_in(table);
        for key in &keys {
            assert!(
                listed.contains(&format!("\n| `{key}` | ")),
                "{table} {key} is not in docs/configuration.md"
            );
        }
        let rows = listed.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, keys.len(), "docs/configuration.md names a key that is none, under {heading}");
    }
}

#[test]
fn every_limit_is_documented_with_its_default_and_bounds() {
    let text = read("docs/configuration.md");
    for name in Limits::NAMES {
        let error = config::parse(&format!("[server.limits]\n{name} = 99_999_999_999"), "").unwrap_err();
        let (_, bounds) = error.problem.split_once("from ").unwrap();
        let (least, rest) = bounds.split_once(" to ").unwrap();
        let most = rest.split(',').next().unwrap();
        let default = Limits::default().get(name).unwrap();
        let row = format!("| `{name}` | {default} | {least} | {most} | ");
        assert!(text.contains(&row), "docs/configuration.md does not say: {row}");
    }
}

#[test]
fn every_flag_and_variable_of_the_server_is_documented() {
    let folder = TempDir::new().unwrap();
    let output = program(folder.path()).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let text = read("docs/configuration.md");
    let listed = section(&text, "Flags and environment variables");
    let mut found = 0;
    for line in help.lines().filter(|line| line.trim_start().starts_with("--")) {
        let flag = line.split_whitespace().next().unwrap();
        assert!(listed.contains(&format!("`{flag}")), "{flag} is not in docs/configuration.md");
        found += 1;
    }
    assert!(found >= 6, "{help}");
    // The help may break a line between the bracket and the name.
    for variable in help.split("env: ").skip(1).filter_map(|rest| rest.split(']').next()) {
        assert!(listed.contains(&format!("`{variable}`")), "{variable} is not in docs/configuration.md");
    }
}

#[test]
fn every_message_that_a_page_for_administrators_explains_is_one_of_ours() {
    let mut texts = Vec::new();
    for folder in ["src/scim", "src/directory", "src/tenants", "src/web"] {
        collect_texts(&root().join(folder), &mut texts);
    }
    for (page, least) in [("docs/okta.md", 20), ("docs/entra.md", 15)] {
        let text = read(page);
        let mut count = 0;
        for row in section(&text, "What our messages mean").lines().filter(|line| line.starts_with("| `")) {
            let cell = row.split('|').nth(1).unwrap();
            for message in cell.split('`').skip(1).step_by(2) {
                assert!(
                    texts.iter().any(|text| could_say(text, message)),
                    "{page}: no part of the program says: {message}"
                );
                count += 1;
            }
        }
        assert!(count >= least, "{page}: only {count} messages found");
    }
}

/// Adds the string literals of all source files below a folder.
fn collect_texts(folder: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_texts(&path, texts);
        } else {
            let source = fs::read_to_string(&path).unwrap();
            let code: Vec<&str> =
                source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            // A quote as a character, and a line that goes on in the next, would upset the cutting at quotes.
            let code = code.join("\n").replace("'\"'", "").replace("\\\"", "\u{1}");
            texts.extend(code.split('"').skip(1).step_by(2).map(|text| {
                let joined: Vec<&str> = text.split("\\\n").map(str::trim_start).collect();
                joined.concat().replace('\u{1}', "\"")
            }));
        }
    }
}

/// Whether a format string can come out as the message, in which `…` stands for anything.
fn could_say(text: &str, message: &str) -> bool {
    let mut literal = Vec::new();
    let mut inside = false;
    for character in text.chars() {
        match character {
            '{' => {
                inside = true;
                literal.push('…');
            }
            '}' => inside = false,
            other if !inside => literal.push(other),
            _ => {}
        }
    }
    let message: Vec<char> = message.chars().collect();
    // A text of nothing but places could say anything, and so could one whose place meets the message's.
    let says_something = literal.iter().filter(|character| **character != '…').count() >= 8;
    let both_begin_alike = literal.first() == message.first() || literal.first() == Some(&'…');
    says_something && both_begin_alike && agree(&literal, &message)
}

/// Whether two patterns, in which `…` stands for any text, can be the same text.
fn agree(one: &[char], other: &[char]) -> bool {
    // `row[j]`: the part of `one` so far agrees with the first `j` characters of `other`.
    let mut row = vec![true];
    row.extend(other.iter().scan(true, |all, character| {
        *all &= *character == '…';
        Some(*all)
    }));
    for left in one {
        let mut next = vec![row[0] && *left == '…'];
        for (j, right) in other.iter().enumerate() {
            let either_is_open = *left == '…' || *right == '…';
            next.push(
                (row[j] && (left == right || either_is_open)) || (either_is_open && (row[j + 1] || next[j])),
            );
        }
        row = next;
    }
    row[other.len()]
}

#[test]
fn patterns_agree_where_one_text_fits_both() {
    assert!(could_say("A {} must have a {}.", "A user must have a userName."));
    assert!(could_say("The member {shown} is gone; go {there}.", "The member … is gone; …."));
    assert!(!could_say("The member {shown} is gone.", "The member … is here."));
    assert!(!could_say("{} {}", "anything at all"));
}

#[test]
fn the_architecture_page_has_every_module_and_the_changelog_this_version() {
    let architecture = read("docs/architecture.md");
    let layers = section(&architecture, "The layers").to_owned();
    for line in read("src/lib.rs").lines() {
        if let Some(module) = line.strip_prefix("pub mod ") {
            let module = module.trim_end_matches(';');
            assert!(layers.contains(&format!("`{module}`")), "docs/architecture.md does not name {module}");
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        read("CHANGELOG.md").contains(&format!("\n## [{version}]")),
        "CHANGELOG.md does not name {version}"
    );
}
