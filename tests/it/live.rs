//! The configuration as files that are changed while the server serves: one file a tenant, in place, by rename, by
//! a swapped link, by command, and wrong.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use crate::support::raw::{self, Connection};
use crate::support::{Client, Config, SOON, Server, Token, okta, until, until_within};

/// One included file.
fn tenant(name: &str, token: &Token) -> String {
    format!("[tenants.{name}]\n\n[[tenants.{name}.tokens]]\nname = \"okta\"\nhash = \"{}\"\n", token.hash())
}

fn main_text() -> String {
    format!("include = \"tenants.d/*.toml\"\n{}", Config::new().text())
}

/// A server whose tenants come from files of the folder `tenants.d`.
fn started(files: &[(&str, &Token)]) -> Server {
    let server = Server::start(&Config::new());
    let folder = server.folder().join("tenants.d");
    fs::create_dir(&folder).unwrap();
    for (name, token) in files {
        fs::write(folder.join(format!("{name}.toml")), tenant(name, token)).unwrap();
    }
    server.write_config(&main_text());
    for (name, token) in files {
        until("the included tenant answers", || status(&server.client(name, token)) == 200);
    }
    server
}

fn status(client: &Client) -> u16 {
    client.get("/Users").status
}

fn rename_into(server: &Server, name: &str, text: &str) {
    let beside = server.folder().join("beside");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, server.folder().join("tenants.d").join(name)).unwrap();
}

#[test]
fn included_files_come_change_and_go_within_a_second() {
    let (acme, globex, other) = (Token::new("okta"), Token::new("okta"), Token::new("okta"));
    let server = started(&[("acme", &acme)]);
    let (acme_client, globex_client) = (server.client("acme", &acme), server.client("globex", &globex));

    rename_into(&server, "globex.toml", &tenant("globex", &globex));
    until_within(SOON, "a new file is in service", || status(&globex_client) == 200);
    globex_client.create("/Users", okta::user("ada@x.test"));

    // As `>` of a shell writes it: the folder does not change with it.
    fs::write(server.folder().join("tenants.d/globex.toml"), tenant("globex", &other)).unwrap();
    until_within(SOON, "a file that was written in place is in service", || status(&globex_client) == 401);
    let other_client = server.client("globex", &other);
    until_within(SOON, "and its new token", || status(&other_client) == 200);
    assert_eq!(status(&acme_client), 200);

    let unknown = server.client("nobody", &other).get("/Users").expect(401);
    fs::remove_file(server.folder().join("tenants.d/globex.toml")).unwrap();
    until_within(SOON, "a removed file is out of service", || status(&other_client) == 401);
    assert_eq!(other_client.get("/Users").body, unknown.body, "as of a tenant that never was");
    assert!(server.tenant_file("globex").exists(), "what a removed tenant has is kept");

    fs::write(server.folder().join("tenants.d/globex.toml"), tenant("globex", &other)).unwrap();
    until_within(SOON, "the tenant is back", || status(&other_client) == 200);
    assert_eq!(other_client.get("/Users").json["totalResults"], 1);
}

#[test]
fn a_request_in_flight_ends_as_it_began_when_its_tenant_is_taken_out() {
    let (acme, globex) = (Token::new("okta"), Token::new("okta"));
    let server = started(&[("acme", &acme), ("globex", &globex)]);
    let body = okta::user("in-flight@x.test").to_string();
    let length = body.len().to_string();
    let headers = [
        ("Authorization", globex.text()),
        ("Content-Type", "application/scim+json"),
        ("Content-Length", length.as_str()),
    ];
    let (first, second) = body.split_at(body.len() / 2);
    let mut connection = Connection::open(server.address());
    connection.send(raw::request("POST", "/scim/v2/globex/Users", &headers));
    connection.send(first);
    // The server has the first half when it has answered a request that came after it.
    assert_eq!(status(&server.client("globex", &globex)), 200);

    fs::remove_file(server.folder().join("tenants.d/globex.toml")).unwrap();
    until("the tenant is gone for whoever comes now", || status(&server.client("globex", &globex)) == 401);
    connection.send(second);
    connection.answer().expect("an answer").expect(201);
}

#[test]
fn a_faulty_file_among_many_changes_nothing_and_is_told_with_its_line() {
    let (acme, globex) = (Token::new("okta"), Token::new("okta"));
    let server = started(&[("acme", &acme)]);
    let told = |what: &str| {
        server.log().wait_for(what, |line| line.contains(what).then(|| line.to_owned()));
    };
    // Together with a right one, which must not be taken either.
    rename_into(&server, "broken.toml", "[tenants.broken]\n\nprofle = \"entra\"\n");
    rename_into(&server, "globex.toml", &tenant("globex", &globex));
    told("tenants.d/broken.toml:3: tenants.broken.profle: unknown key");
    assert_eq!(status(&server.client("globex", &globex)), 401, "all or nothing");
    assert_eq!(status(&server.client("acme", &acme)), 200);

    // The same tenant twice: both places are named.
    rename_into(&server, "broken.toml", &format!("# moved\n{}", tenant("acme", &Token::new("okta"))));
    told("broken.toml:2: tenants.acme: expected a tenant of its own");
    told("acme.toml:1 has it too");

    // The same token twice.
    rename_into(&server, "broken.toml", &tenant("broken", &acme));
    told("broken.toml:5: tenants.broken.tokens[0].hash: expected a hash of its own");
    assert!(!server.log().text().contains(acme.hash()), "no hash in the log");

    // Somebody is about to write it, and somebody forgot what belongs into the main file.
    rename_into(&server, "broken.toml", "");
    told("broken.toml is empty");
    rename_into(&server, "broken.toml", "[server]\nlisten = \"127.0.0.1:1\"\n");
    told("broken.toml:1: server: expected in the main file only");
    let check = server.run(["check"]);
    assert_eq!(check.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&check.stderr).contains("broken.toml:1: server"));

    fs::remove_file(server.folder().join("tenants.d/broken.toml")).unwrap();
    until("what is right is taken", || status(&server.client("globex", &globex)) == 200);
}

#[test]
fn a_folder_that_has_gone_or_is_empty_removes_nobody() {
    let acme = Token::new("okta");
    let server = started(&[("acme", &acme)]);
    let (folder, aside) = (server.folder().join("tenants.d"), server.folder().join("aside"));
    fs::rename(&folder, &aside).unwrap();
    server
        .log()
        .wait_for("the missing folder", |line| line.contains("tenants.d cannot be read").then_some(()));
    fs::create_dir(&folder).unwrap();
    server.log().wait_for("the empty folder", |line| line.contains("finds no file any more").then_some(()));
    assert_eq!(status(&server.client("acme", &acme)), 200);
    // With the include goes what it brought.
    server.write_config(&Config::new().text());
    until_within(SOON, "the tenant is gone", || status(&server.client("acme", &acme)) == 401);
}

/// A version of the folder as Kubernetes mounts it.
fn version(folder: &Path, name: &str, files: &[(&str, &Token)]) {
    fs::create_dir(folder.join(name)).unwrap();
    for (tenant_name, token) in files {
        fs::write(folder.join(name).join(format!("{tenant_name}.toml")), tenant(tenant_name, token)).unwrap();
    }
}

fn swap(folder: &Path, to: &str) {
    symlink(to, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[test]
fn a_swapped_link_as_kubernetes_does_it_is_one_change() {
    let (acme, globex, next) = (Token::new("okta"), Token::new("okta"), Token::new("okta"));
    let server = Server::start(&Config::new());
    let folder = server.folder().join("tenants.d");
    fs::create_dir(&folder).unwrap();
    version(&folder, "..2026_01", &[("acme", &acme), ("globex", &globex)]);
    swap(&folder, "..2026_01");
    for name in ["acme.toml", "globex.toml"] {
        symlink(format!("..data/{name}"), folder.join(name)).unwrap();
    }
    server.write_config(&main_text());
    until("both are served", || {
        status(&server.client("acme", &acme)) == 200 && status(&server.client("globex", &globex)) == 200
    });
    // Tokens change places: half of the change would be two tokens with the same hash.
    version(&folder, "..2026_02", &[("acme", &next), ("globex", &acme)]);
    swap(&folder, "..2026_02");
    until_within(SOON, "the swap is in service", || status(&server.client("acme", &next)) == 200);
    assert_eq!(status(&server.client("globex", &acme)), 200);
    assert_eq!(status(&server.client("globex", &globex)), 401);

    // And where the whole folder is a link.
    let elsewhere = server.folder().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    version(&elsewhere, "one", &[("acme", &globex)]);
    symlink(elsewhere.join("one"), server.folder().join("new.d")).unwrap();
    fs::rename(&folder, server.folder().join("old.d")).unwrap();
    fs::rename(server.folder().join("new.d"), &folder).unwrap();
    until_within(SOON, "the linked folder is in service", || status(&server.client("acme", &globex)) == 200);
    assert!(!server.log().text().contains("expected a hash of its own"));
}

#[test]
fn commands_edit_the_file_in_which_the_tenant_lives() {
    let acme = Token::new("okta");
    let server = started(&[("acme", &acme)]);
    let read = |name: &str| fs::read_to_string(server.folder().join(name)).unwrap();
    fs::set_permissions(server.config_file(), fs::Permissions::from_mode(0o640)).unwrap();

    let added = server.run(["tenant", "add", "globex", "--name", "Globex"]);
    assert!(String::from_utf8_lossy(&added.stderr).contains("tenants.d/globex.toml"));
    assert_eq!(read("tenants.d/globex.toml"), "[tenants.globex]\nname = \"Globex\"\n");
    let mode = fs::metadata(server.folder().join("tenants.d/globex.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "whoever may read the main file may read this one");
    assert_eq!(read("tenants.toml"), main_text());
    assert_eq!(server.run(["tenant", "add", "acme"]).status.code(), Some(1));
    assert!(!server.folder().join("data/acme.toml").exists());

    let text = server.run_well(["token", "new", "globex", "--name", "okta"]);
    assert!(read("tenants.d/globex.toml").contains("[[tenants.globex.tokens]]"));
    let client = server.client_with("globex", Some(text.trim()));
    until_within(SOON, "the new token is in service", || status(&client) == 200);
    server.run_well(["token", "revoke", "acme", "okta"]);
    assert_eq!(read("tenants.d/acme.toml"), "[tenants.acme]\n\n");
    until_within(SOON, "the revoked token is refused", || status(&server.client("acme", &acme)) == 401);
    let unknown = server.run(["token", "new", "nobody", "--name", "okta"]);
    let words = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(words.contains("acme, globex"), "{words}");
    assert_eq!(read("tenants.toml"), main_text());
}

#[test]
fn a_hangup_takes_all_files_at_once() {
    let (acme, globex) = (Token::new("okta"), Token::new("okta"));
    let server = started(&[("acme", &acme)]);
    rename_into(&server, "globex.toml", &tenant("globex", &globex));
    server.signal("HUP");
    until("the new tenant answers", || status(&server.client("globex", &globex)) == 200);
    assert_eq!(status(&server.client("acme", &acme)), 200);
}

/// Processor time of a process so far, in clock ticks of 10 ms.
fn cpu_ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn of_thousands_of_files_one_that_changes_is_noticed_and_the_others_cost_little() {
    const COUNT: usize = 3_000;
    let (acme, new) = (Token::new("okta"), Token::new("okta"));
    let server = started(&[("acme", &acme)]);
    for number in 0..COUNT {
        let name = format!("t{number:05}");
        fs::write(server.folder().join(format!("tenants.d/{name}.toml")), format!("[tenants.{name}]\n"))
            .unwrap();
    }
    let last = format!("t{:05}", COUNT - 1);
    let marker = Token::new("okta");
    rename_into(&server, "z.toml", &tenant("z", &marker));
    until("all are known to the program", || status(&server.client("z", &marker)) == 200);
    // In place, which the folder itself does not show.
    fs::write(server.folder().join(format!("tenants.d/{last}.toml")), tenant(&last, &new)).unwrap();
    let took =
        until("a file that is written in place is noticed", || status(&server.client(&last, &new)) == 200);
    assert_eq!(status(&server.client("acme", &acme)), 200);

    // Looks at rest: a second of them must not take a tenth of a second of a processor, be it as busy as it may.
    let before = cpu_ticks(server.process_id());
    let watch = ici_scim::clock::Stopwatch::start();
    until("two seconds have gone", || {
        std::thread::park_timeout(Duration::from_millis(100));
        watch.elapsed() >= Duration::from_secs(2)
    });
    let spent = cpu_ticks(server.process_id()) - before;
    assert!(spent < 20, "{spent} ticks of 10 ms in two seconds; noticed after {took:?}");
}
