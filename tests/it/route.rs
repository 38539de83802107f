//! `ici-scim route` and `server.node`: which machine serves which tenant. The proxies themselves are tried by
//! `.ci/route` and `.ci/move`, since they must be installed for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::server::{BINARY, run_to_end};
use crate::support::{Config, Server, TenantConfig, Token, okta, until};

struct Folder(TempDir);

const NODES: &str = "[nodes.n1]\naddress = \"10.0.0.11:8080\"\nops = \"10.0.0.11:9090\"\n\n[nodes.n2]\naddress = \"10.0.0.12:8080\"\n";

impl Folder {
    fn with(tenants: &str, nodes: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        std::fs::write(folder.file("tenants.toml"), tenants).unwrap();
        std::fs::write(folder.file("nodes.toml"), nodes).unwrap();
        folder
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(BINARY);
        command.args(["route", "--nodes", "nodes.toml"]).args(arguments).current_dir(self.0.path());
        let output = run_to_end(&mut command);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn done(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {err}");
        out
    }

    fn places(&self) -> BTreeMap<String, (String, String)> {
        let told: Value = serde_json::from_str(&self.done(&["--places", "--json"])).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let tenants = told["tenants"].as_array().unwrap().iter();
        tenants.map(|one| (text(&one["tenant"]), (text(&one["node"]), text(&one["by"])))).collect()
    }
}

#[test]
fn a_tenant_is_where_it_is_told_to_be_and_else_where_the_hash_puts_it() {
    let tenants = "[tenants.acme]\nnode = \"n2\"\n[tenants.globex]\n[tenants.initech]\n";
    let folder = Folder::with(tenants, &format!("{NODES}\n[tenants]\nglobex = \"n1\"\n"));
    let places = folder.places();
    assert_eq!(places["acme"], ("n2".to_owned(), "tenants.toml".to_owned()));
    assert_eq!(places["globex"], ("n1".to_owned(), "nodes.toml".to_owned()));
    assert_eq!(places["initech"].1, "hash");
    let table = folder.done(&["--places"]);
    assert!(table.starts_with("TENANT "), "{table}");
}

#[test]
fn a_pinned_tenant_stays_when_nodes_come_and_go() {
    let tenants: String = (0..60).map(|number| format!("[tenants.t{number}]\n")).collect();
    let folder = Folder::with(&tenants, NODES);
    let before = folder.places();
    assert!(before.values().any(|(node, _)| node == "n1") && before.values().any(|(node, _)| node == "n2"));
    let pinned = folder.done(&["--pin"]);
    assert_eq!(pinned.lines().count(), 60);
    std::fs::write(folder.file("nodes.toml"), format!("{NODES}\n[nodes.n3]\naddress = \"10.0.0.13:8080\"\n"))
        .unwrap();
    for (tenant, (node, by)) in folder.places() {
        assert_eq!((node, by.as_str()), (before[&tenant].0.clone(), "tenants.toml"), "{tenant}");
    }
    assert_eq!(folder.done(&["--pin"]), "", "a second time there is nothing to pin");
}

#[test]
fn contradictions_are_refused_before_a_proxy_gets_them() {
    let cases = [
        (
            "[tenants.acme]\nnode = \"n2\"\n",
            "[tenants]\nacme = \"n1\"\n",
            "its table names node n2, and nodes.toml names n1",
        ),
        ("[tenants.acme]\nnode = \"n9\"\n", "", "node n9, which nodes.toml does not have"),
        ("[tenants.acme]\n", "[tenants]\nglobex = \"n1\"\n", "globex, which the configuration does not have"),
        ("[tenants.acme]\nnode = \"N2\"\n", "", "tenants.acme.node: expected the name of a node"),
        (
            "[tenants.acme]\n",
            "[tenants]\nacme = \"n9\"\n",
            "nodes.toml:8: tenants.acme: expected the name of a node that",
        ),
    ];
    for (tenants, nodes, expected) in cases {
        let folder = Folder::with(tenants, &format!("{NODES}{nodes}"));
        let (code, out, err) = folder.run(&["--format", "haproxy"]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(expected), "{err}");
    }
    let folder = Folder::with("[tenants.acme]\n", &format!("[proxy]\ncertificate = \"/c.pem\"\n{NODES}"));
    assert!(folder.run(&["--format", "nginx"]).2.contains("nginx needs both"));
    assert_eq!(folder.run(&["--format", "haproxy"]).0, 0);
    assert!(folder.run(&["--format", "haproxy", "--dir", "here"]).2.contains("an absolute path"));
    assert_eq!(folder.run(&[]).0, 2);
}

#[test]
fn the_files_of_a_proxy_are_written_whole_with_a_map_of_ten_thousand() {
    let tenants: String = (0..10_000).map(|number| format!("[tenants.t{number}]\n")).collect();
    let folder = Folder::with(&tenants, NODES);
    let dir = folder.file("route").display().to_string();
    for (format, files) in [
        ("haproxy", &["ici-scim-haproxy.cfg", "ici-scim-tenants.map", "ici-scim-down.http"][..]),
        ("nginx", &["ici-scim-nginx.conf", "ici-scim-tenants.map"]),
    ] {
        let printed = folder.done(&["--format", format, "--dir", &dir]);
        assert!(printed.lines().count() < 120, "one line for each tenant belongs into the map");
        let written = folder.done(&["--format", format, "--dir", &dir, "--write"]);
        assert_eq!(written.lines().count(), files.len());
        assert_eq!(std::fs::read_to_string(folder.file("route").join(files[0])).unwrap(), printed);
        let map = std::fs::read_to_string(folder.file("route").join(files[1])).unwrap();
        assert_eq!(map.lines().count(), 10_000);
    }
}

#[test]
fn a_node_serves_only_the_tenants_that_name_it() {
    let token = Token::new("okta");
    let tenants = ["acme", "globex", "initech"].map(|name| (name, Token::new("okta")));
    let with = |globex: &str| {
        let mut config = Config::new().server("node", "\"n1\"");
        for (name, token) in &tenants {
            let tenant = TenantConfig::new(name).token(token);
            config = config.tenant(match *name {
                "acme" => tenant.option("node", "\"n1\""),
                "globex" => tenant.option("node", &format!("\"{globex}\"")),
                _ => tenant,
            });
        }
        config
    };
    let server = Server::start(&with("n2"));
    let [acme, globex, initech] = tenants.each_ref().map(|(name, token)| server.client(name, token));
    acme.create("/Users", okta::user("ada@example.com"));
    for elsewhere in [&globex, &initech] {
        let refused = elsewhere.post("/Users", okta::user("ada@example.com")).expect_error(429, "");
        assert_eq!(refused.header("retry-after"), Some("30"));
        assert_eq!(refused.detail(), "This tenant is served by another machine; try again.");
    }
    assert!(!server.tenant_file("globex").exists(), "no file is made for a tenant of another node");
    // Who has no token learns nothing of it.
    server.client("globex", &token).get("/Users").expect_error(401, "");
    // The tenant moves here: the configuration is live.
    server.write_config(&with("n1").text());
    until("globex is served", || globex.get("/Users").status == 200);
    assert_eq!(globex.get("/Users").expect(200)["totalResults"], json!(0));
}
