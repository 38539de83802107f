//! The manners of the commands, held by walking all of them: help, exit codes, hints, JSON, colours, a reader that
//! goes, a question before what destroys.

use std::io::Read as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::server::{BINARY, clean_environment};
use crate::support::{Config, Token};

/// A folder with a configuration that has tenant `acme`, and no server.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tenants.toml"), Config::acme(&Token::new("okta")).text()).unwrap();
        Folder(folder)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        clean_environment(&mut command);
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Every command by its words, groups of commands included, with its help.
fn all_commands(folder: &Folder) -> Vec<(Vec<String>, String)> {
    let mut waiting = vec![Vec::<String>::new()];
    let mut all = Vec::new();
    while let Some(path) = waiting.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let output = folder.run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{path:?}");
        assert!(output.stderr.is_empty(), "{path:?}: help that was asked for goes to stdout");
        let help = text(output.stdout);
        let names = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        for line in names.take_while(|line| !line.is_empty()) {
            let name = line.strip_prefix("  ").and_then(|line| line.split(' ').next()).unwrap_or_default();
            if !name.is_empty() && name != "help" {
                waiting.push([path.as_slice(), &[name.to_owned()]].concat());
            }
        }
        all.push((path, help));
    }
    all
}

#[test]
fn every_command_has_a_help_with_examples_of_itself_and_takes_json() {
    let folder = Folder::new();
    let all = all_commands(&folder);
    assert!(all.len() > 30, "{}", all.len());
    for (path, help) in &all {
        let itself = format!("ici-scim {}", path.join(" "));
        let examples = help.split_once("Examples:\n").map(|(_, examples)| examples);
        let examples = examples.unwrap_or_else(|| panic!("{itself} has no examples"));
        assert!(examples.contains(itself.trim()), "an example of {itself} is of another command: {examples}");
        assert!(help.contains("--json") && help.contains("--config"), "{itself}");
        let first = help.lines().next().unwrap();
        assert!(
            !first.is_empty() && !first.ends_with('.'),
            "{itself} says what it does in a line: {first:?}"
        );
        let wide = help.lines().find(|line| line.chars().count() > 120 && !line.contains("ici-scim"));
        assert_eq!(wide, None, "{itself} fits a terminal");
        assert!(!help.contains('\u{1b}'), "{itself}: no colours where there is no terminal");
    }
    let (_, first) = &all[0];
    assert!(first.contains("Exit codes: 0 done, 1 failed, 2 wrong usage or configuration"), "{first}");
}

#[test]
fn wrong_usage_is_2_and_says_what_would_be_right() {
    let folder = Folder::new();
    for (path, _) in all_commands(&folder) {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--no-such-flag");
        let output = folder.run(&arguments);
        let stderr = text(output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains("--help") && output.stdout.is_empty(), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_configuration_that_is_missing_or_wrong_is_2_with_the_next_step() {
    let folder = Folder::new();
    for arguments in [
        &["check"][..],
        &["serve"],
        &["token", "list"],
        &["tenant", "list"],
        &["tenant", "stats"],
        &["tenant", "pause", "acme"],
        &["tenant", "remove", "acme", "--yes"],
        &["user", "list", "acme"],
        &["group", "list", "acme"],
        &["entitlement", "list", "acme"],
        &["role", "list", "acme"],
    ] {
        let gone = [arguments, &["--config", "gone.toml"]].concat();
        let output = folder.run(&gone);
        let stderr = text(output.stderr);
        assert_eq!(output.status.code(), Some(2), "{gone:?}: {stderr}");
        assert!(stderr.contains("gone.toml") && stderr.contains("hint:"), "{gone:?}: {stderr}");
        std::fs::write(folder.0.path().join("wrong.toml"), "[server]\nlissten = 1\n").unwrap();
        let output = folder.run(&[arguments, &["--config", "wrong.toml"]].concat());
        let stderr = text(output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains("wrong.toml:2") && stderr.contains("lissten"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn what_is_not_there_is_1_with_the_next_step() {
    let folder = Folder::new();
    for arguments in [
        &["token", "list", "acne"][..],
        &["token", "revoke", "acne", "okta"],
        &["token", "revoke", "acme", "octa"],
        &["tenant", "add", "acme"],
        &["tenant", "stats", "acne"],
        &["tenant", "pause", "acne"],
        &["tenant", "remove", "acne", "--yes"],
        &["user", "list", "acne"],
        &["user", "show", "acme", "nobody"],
        &["user", "delete", "acme", "nobody", "--yes"],
        &["group", "show", "acme", "nothing"],
    ] {
        let output = folder.run(arguments);
        let stderr = text(output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains("error:") && stderr.contains("hint:"), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_gives_data_gives_json_alone_on_stdout() {
    let folder = Folder::new();
    for arguments in [
        &["tenant", "list"][..],
        &["tenant", "add", "globex"],
        &["tenant", "stats"],
        &["tenant", "pause", "globex"],
        &["tenant", "resume", "globex"],
        &["tenant", "remove", "globex", "--yes"],
        &["token", "new", "acme", "--name", "second"],
        &["token", "list"],
        &["user", "add", "acme", "ada"],
        &["user", "list", "acme"],
        &["user", "show", "acme", "ada"],
        &["group", "add", "acme", "Crew"],
        &["group", "list", "acme"],
        &["check"],
    ] {
        let output = folder.run(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(output.stderr));
        let stdout = text(output.stdout);
        assert!(serde_json::from_str::<Value>(&stdout).is_ok(), "{arguments:?}: {stdout}");
    }
}

#[test]
fn what_destroys_asks_and_where_nobody_can_be_asked_says_how_to_answer() {
    let folder = Folder::new();
    assert!(folder.run(&["user", "add", "acme", "ada"]).status.success());
    assert!(folder.run(&["group", "add", "acme", "Crew"]).status.success());
    let before = std::fs::read(folder.0.path().join("tenants.toml")).unwrap();
    for arguments in [
        &["user", "delete", "acme", "ada"][..],
        &["group", "delete", "acme", "Crew"],
        &["tenant", "remove", "acme"],
    ] {
        let output = folder.run(arguments);
        let stderr = text(output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains("hint: --yes confirms it"), "{arguments:?}: {stderr}");
    }
    assert_eq!(std::fs::read(folder.0.path().join("tenants.toml")).unwrap(), before);
    assert!(folder.run(&["user", "show", "acme", "ada"]).status.success());
    assert!(folder.run(&["group", "show", "acme", "Crew"]).status.success());
}

#[test]
fn nothing_is_coloured_where_there_is_no_terminal_or_no_color_is_set() {
    let folder = Folder::new();
    for arguments in [&["tenant", "list"][..], &["tenant", "list", "--config", "gone.toml"], &["--help"], &[]]
    {
        for variable in [("NO_COLOR", "1"), ("TERM", "xterm-256color")] {
            let output = folder.command(arguments).env(variable.0, variable.1).output().unwrap();
            let shown = [output.stdout, output.stderr].concat();
            assert!(!shown.contains(&0x1b), "{arguments:?}: {}", text(shown.clone()));
        }
    }
}

#[test]
fn a_reader_that_goes_ends_a_command_quietly() {
    let folder = Folder::new();
    assert!(folder.run(&["user", "add", "acme", "ada"]).status.success());
    for arguments in [
        &["user", "list", "acme"][..],
        &["user", "list", "acme", "--json"],
        &["tenant", "list"],
        &["tenant", "stats"],
        &["token", "list"],
        &["check"],
    ] {
        let mut child =
            folder.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // As `head` does it once it has what it wants.
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let status = child.wait().unwrap();
        assert!(!stderr.contains("panic") && !stderr.contains("roken pipe"), "{arguments:?}: {stderr}");
        assert_eq!(status.code(), Some(0), "{arguments:?}: {stderr}");
    }
}
