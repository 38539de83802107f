//! The table of jobs at the top of `docs/operations.md`, row by row, as an operator who copies its commands.
//!
//! A row holds commands, which run in the order of the table in one folder with a server that serves it; or lines of
//! `tenants.toml`, which are put where the row says and have to be right.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use toml_edit::{DocumentMut, Item, Table};

use crate::support::server::BINARY;
use crate::support::{Config, Server, Token};

/// What a command begins with that needs more than a folder, and the step of `.ci/run` that tries the same.
const ELSEWHERE: &[(&str, &str)] = &[
    ("sudo apt install", "packages"),
    ("sudo systemctl", "packages"),
    ("systemd-analyze", "packages"),
    ("docker ", "packages"),
];

/// A row of the table.
struct Row {
    job: String,
    /// What stands in backticks in the second column.
    pieces: Vec<String>,
    /// Whether the second column leads to another place.
    leads_on: bool,
}

fn page() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap()
}

/// The rows of the first table of the page.
fn rows(page: &str) -> Vec<Row> {
    let table =
        page.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    table
        .skip(2)
        .filter(|line| !line.starts_with("| **"))
        .map(|line| {
            let line = line.replace("\\|", "\u{1}");
            let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
            assert_eq!(cells.len(), 2, "not two cells: {line}");
            let pieces = cells[1].split('`').skip(1).step_by(2);
            Row {
                job: cells[0].trim().to_owned(),
                pieces: pieces.map(|piece| piece.replace('\u{1}', "|")).collect(),
                leads_on: cells[1].contains("]("),
            }
        })
        .collect()
}

/// An address that nobody has.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Runs a line as the operator's shell would, with the program on the path.
fn shell(folder: &Path, line: &str) -> Output {
    let programs = PathBuf::from(BINARY).parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .env("PATH", path)
        .env_remove("ICI_SCIM_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Whether a piece is for a shell; what is not are lines of `tenants.toml`, or the name of the table that they go to.
fn is_command(piece: &str) -> bool {
    ["ici-scim ", "curl ", "sqlite3 ", "printf ", "cat ", "kill "]
        .iter()
        .any(|program| piece.starts_with(program))
}

/// The table that a row names, as in "under `[tenants.acme]`", and the lines that go there.
fn edit(pieces: &[String]) -> Option<(Vec<String>, Vec<&str>)> {
    let is_table = |piece: &str| piece.starts_with('[') && piece.ends_with(']') && !piece.contains('=');
    let tables: Vec<&String> = pieces.iter().filter(|piece| is_table(piece)).collect();
    let lines: Vec<&str> =
        pieces.iter().filter(|piece| piece.contains('=') && !is_command(piece)).map(String::as_str).collect();
    if lines.is_empty() {
        return None;
    }
    assert!(tables.len() <= 1, "more than one table: {tables:?}");
    let path =
        tables.first().map(|table| table.trim_matches(['[', ']']).split('.').map(str::to_owned).collect());
    Some((path.unwrap_or_default(), lines))
}

/// Puts lines into a table of a configuration, which is made where it is not there.
fn put(text: &str, table: &[String], line: &str) -> String {
    let mut document: DocumentMut = text.parse().unwrap();
    let lines: DocumentMut = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
    let mut into: &mut Table = document.as_table_mut();
    for name in table {
        let item = into.entry(name).or_insert_with(|| Item::Table(Table::new()));
        into = item.as_table_mut().unwrap();
    }
    for (key, value) in lines.iter() {
        into.insert(key, value.clone());
    }
    document.to_string()
}

/// Runs what a row has for a shell, and holds its edit to the checks of the program.
fn do_row(server: &Server, ops: SocketAddr, row: &Row) {
    let folder = server.folder();
    let here = |piece: &str| {
        let asked = piece.replace("127.0.0.1:8080", &server.address().to_string());
        asked.replace("127.0.0.1:8081", &ops.to_string())
    };
    for piece in row.pieces.iter().filter(|piece| is_command(piece)) {
        let output = shell(folder, &here(piece));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {piece}: {}: {said}", row.job, output.status);
        if piece.starts_with("ici-scim ") {
            assert!(!output.stdout.is_empty() || !said.is_empty(), "{}: {piece} says nothing", row.job);
        }
    }
    let Some((table, lines)) = edit(&row.pieces) else { return };
    let mut text = fs::read_to_string(server.config_file()).unwrap();
    if table == ["server", "tls"] && !lines.iter().any(|line| line.starts_with("acme")) {
        // TLS is nothing without a certificate.
        text = put(&text, &table, "cert = \"scim.crt\"\nkey = \"scim.key\"");
    }
    for line in &lines {
        text = put(&text, &table, line);
    }
    fs::write(folder.join("edited.toml"), text).unwrap();
    let output = shell(folder, "ici-scim --config edited.toml check");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(2), "{}: {lines:?}: {said}", row.job);
}

/// What the rows read: a token, a certificate, an included folder, the machines.
fn make_files(folder: &Path, token: &Token) {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("okta.token", token.text());
    let certified = rcgen::generate_simple_self_signed(vec!["scim.example.com".to_owned()]).unwrap();
    write("scim.crt", &certified.cert.pem());
    write("scim.key", &certified.signing_key.serialize_pem());
    fs::create_dir(folder.join("tenants.d")).unwrap();
    write("tenants.d/initech.toml", "[tenants.initech]\n");
    write(
        "nodes.toml",
        "[nodes.n1]\naddress = \"10.0.0.11:8080\"\n[nodes.n2]\naddress = \"10.0.0.12:8080\"\n",
    );
}

#[test]
fn every_row_of_the_table_of_jobs_works_as_it_stands() {
    let page = page();
    let rows = rows(&page);
    assert!(rows.len() >= 45, "only {} rows", rows.len());
    let token = Token::new("okta");
    let ops = free_address();
    let config = Config::acme(&token).server("ops_listen", &format!("\"{ops}\""));
    let server = Server::start_with(&config, &[("ICI_SCIM_OPS_LISTEN", &ops.to_string())]);
    make_files(server.folder(), &token);
    for row in &rows {
        assert!(!row.pieces.is_empty() || row.leads_on, "no command, no edit and no link: {}", row.job);
        if row.pieces.iter().any(|piece| ELSEWHERE.iter().any(|(start, _)| piece.starts_with(start))) {
            continue;
        }
        do_row(&server, ops, row);
    }
}

#[test]
fn what_the_table_leaves_to_another_place_is_a_step_there() {
    let steps = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/run")).unwrap();
    for (start, step) in ELSEWHERE {
        assert!(steps.contains(&format!("\nstep {step} ")), "{start}: no step {step}");
    }
}

#[test]
fn every_section_of_the_page_has_something_to_say() {
    let page = page();
    for section in page.split("\n## ").skip(1) {
        let (heading, text) = section.split_once('\n').unwrap();
        assert!(text.trim().len() > 200, "{heading} is empty");
    }
}
