//! Backups made, checked and put back by the real program beside a running server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ici_scim::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::support::{Client, Config, Server, Token, file, okta, until};

fn user(name: &str) -> Value {
    json!({ "userName": name })
}

/// The standard output of a command that does its work, as JSON.
fn json_of(server: &Server, arguments: &[&str]) -> Value {
    let output = server.run(arguments.iter().copied().chain(["--json"]));
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a command that fails says, with its exit code.
fn refused(server: &Server, arguments: &[&str]) -> (i32, String) {
    let output = server.run(arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn started() -> (Server, Token, Client) {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let client = server.client("acme", &token);
    (server, token, client)
}

fn back_up(server: &Server, to: &str) -> PathBuf {
    PathBuf::from(json_of(server, &["backup", "acme", "--to", to])["file"].as_str().unwrap())
}

fn folder_of(server: &Server, name: &str) -> String {
    server.folder().join(name).display().to_string()
}

#[test]
fn a_backup_tells_what_is_in_it_and_other_programs_can_check_it() {
    let (server, _, client) = started();
    let ada = client.create("/Users", user("ada@x.test")).id();
    client.create("/Users", json!({ "userName": "bob@x.test", "active": false }));
    client.create("/Groups", json!({ "displayName": "G", "members": [{ "value": ada }] }));
    let to = folder_of(&server, "backups");
    let made = json_of(&server, &["backup", "acme", "--to", &to]);
    assert_eq!((&made["users"], &made["groups"], &made["memberships"]), (&json!(2), &json!(1), &json!(1)));
    let path = PathBuf::from(made["file"].as_str().unwrap());
    assert!(path.starts_with(Path::new(&to).join("acme")));
    let manifest: Value =
        serde_json::from_slice(&fs::read(format!("{}.json", path.display())).unwrap()).unwrap();
    assert_eq!(manifest["tenant"], "acme");
    assert_eq!(manifest["events"], 3);
    assert_eq!(manifest["schemaVersion"], file::number(&server.tenant_file("acme"), "PRAGMA user_version"));
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict"])
        .arg(format!("{}.sha256", path.display()))
        .current_dir(path.parent().unwrap())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let unpacked = zstd::stream::decode_all(fs::File::open(&path).unwrap()).unwrap();
    assert!(unpacked.starts_with(b"SQLite format 3\0"));
    use std::os::unix::fs::PermissionsExt;
    for path in [path.clone(), PathBuf::from(format!("{}.json", path.display()))] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let left: Vec<_> =
        fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    let listed = json_of(&server, &["backup", "list", &to]);
    assert_eq!((listed[0]["state"].as_str(), listed[0]["file"].as_str()), (Some("good"), path.to_str()));
    assert!(server.run_well(["backup", "verify", &to]).contains("good"));
}

#[test]
fn what_was_deleted_is_not_in_a_backup() {
    let (server, _, client) = started();
    let secret = "very.secret.person@x.test";
    let id = client.create("/Users", json!({ "userName": "x", "title": secret })).id();
    client.delete(&format!("/Users/{id}")).expect(204);
    let path = back_up(&server, &folder_of(&server, "backups"));
    let unpacked = zstd::stream::decode_all(fs::File::open(path).unwrap()).unwrap();
    assert!(!file::holds(&unpacked, secret));
}

#[test]
fn a_restore_brings_back_what_the_backup_has_while_the_server_serves() {
    let (server, _, client) = started();
    let ada = client.create("/Users", user("ada@x.test")).id();
    let group = client.create("/Groups", json!({ "displayName": "G", "members": [{ "value": ada }] })).id();
    let to = folder_of(&server, "backups");
    back_up(&server, &to);
    client.delete(&format!("/Users/{ada}")).expect(204);
    client.create("/Users", user("late@x.test"));
    let (code, said) = refused(&server, &["restore", "acme", &to]);
    assert!(code == 2 && said.contains("--yes"), "{code} {said}");
    let restored = json_of(&server, &["restore", "acme", &to, "--yes"]);
    assert_eq!((&restored["users"], &restored["groups"]), (&json!(1), &json!(1)));
    // The very next requests, on connections and statements that were there before.
    assert_eq!(client.get(&format!("/Users/{ada}")).expect(200)["userName"], "ada@x.test");
    let members = client.get(&format!("/Groups/{group}")).expect(200).member_ids();
    assert_eq!(members, std::slice::from_ref(&ada));
    assert_eq!(client.get("/Users?filter=userName%20eq%20%22late@x.test%22").expect(200)["totalResults"], 0);
    client.create("/Users", user("late@x.test"));
    // What was there is kept aside and can be restored in its turn.
    let aside = restored["replaced"].as_str().unwrap();
    assert_eq!(file::number(Path::new(aside), "SELECT count(*) FROM resources WHERE kind = 1"), 1);
    let (code, said) = refused(&server, &["restore", "acme", aside, "--yes"]);
    assert!(code == 1 && said.contains("--without-manifest"), "{code} {said}");
    json_of(&server, &["restore", "acme", aside, "--yes", "--without-manifest"]);
    client.get(&format!("/Users/{ada}")).expect(404);
}

#[test]
fn no_version_and_no_event_means_two_things_after_a_restore() {
    let (server, _, client) = started();
    let id = client.create("/Users", user("ada@x.test")).id();
    let to = folder_of(&server, "backups");
    back_up(&server, &to);
    let set = |title: &str| {
        let body = json!({ "Operations": [{ "op": "replace", "value": { "title": title } }] });
        client.patch(&format!("/Users/{id}"), body).expect(200)["meta"]["version"].clone()
    };
    let lost: Vec<Value> = (0..5).map(|turn| set(&format!("lost {turn}"))).collect();
    let events = "SELECT max(seq) FROM events";
    let before = file::number(&server.tenant_file("acme"), events);
    json_of(&server, &["restore", "acme", &to, "--yes"]);
    let version = set("new");
    assert!(!lost.contains(&version), "{version} in {lost:?}");
    assert_eq!(file::number(&server.tenant_file("acme"), events), before + 1);
}

#[test]
fn restores_under_load_lose_nothing_that_was_acknowledged() {
    let (server, token, client) = started();
    client.create("/Users", user("first@x.test"));
    let to = folder_of(&server, "backups");
    back_up(&server, &to);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (client, stop) = (server.client("acme", &token), Arc::clone(&stop));
            thread::spawn(move || {
                let mut made = Vec::new();
                for turn in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let name = format!("w{writer}-{turn}@x.test");
                    let reply = client.post("/Users", user(&name));
                    match reply.status {
                        201 => made.push(name),
                        // Held back for the moment, as the answer says.
                        429 | 503 => {}
                        _ => panic!("{reply}"),
                    }
                    // Reads never fail.
                    client.get("/Users?count=2").expect(200);
                }
                made
            })
        })
        .collect();
    let mut kept = Vec::new();
    for _ in 0..4 {
        let count = || file::number(&server.tenant_file("acme"), "SELECT count(*) FROM resources");
        until("the writers have written", || count() > 20);
        let restored = json_of(&server, &["restore", "acme", &to, "--yes"]);
        kept.push(PathBuf::from(restored["replaced"].as_str().unwrap()));
    }
    stop.store(true, Ordering::SeqCst);
    let made: Vec<String> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    assert!(made.len() > 60, "{}", made.len());
    kept.push(server.tenant_file("acme"));
    let names = "SELECT name FROM resources WHERE kind = 1";
    let there: Vec<String> = kept.iter().flat_map(|path| file::texts(path, names)).collect();
    for name in &made {
        assert_eq!(there.iter().filter(|known| *known == name).count(), 1, "{name}");
    }
    let live = server.tenant_file("acme");
    assert_eq!(file::texts(&live, "PRAGMA integrity_check"), ["ok"]);
    assert_eq!(
        file::number(&live, "SELECT (SELECT count(*) FROM resources) - (SELECT sum(n) FROM spans)"),
        0
    );
}

#[test]
fn a_backup_is_one_moment_whatever_is_written_meanwhile() {
    let (server, token, client) = started();
    let group = client.create("/Groups", json!({ "displayName": "All" })).id();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (client, stop) = (server.client("acme", &token), Arc::clone(&stop));
        thread::spawn(move || {
            let mut turn = 0;
            while !stop.load(Ordering::SeqCst) {
                let id = client.create("/Users", user(&format!("u{turn}@x.test"))).id();
                let add =
                    json!({ "Operations": [{ "op": "add", "path": "members", "value": [{ "value": id }] }] });
                client.patch(&format!("/Groups/{group}"), add);
                turn += 1;
            }
        })
    };
    for _ in 0..5 {
        let made = json_of(&server, &["backup", "acme", "--to", &folder_of(&server, "backups")]);
        let (users, members) = (made["users"].as_u64().unwrap(), made["memberships"].as_u64().unwrap());
        assert!(users == members || users == members + 1, "{made}");
    }
    stop.store(true, Ordering::SeqCst);
    writer.join().unwrap();
    // All of one second or more, each with a name of its own.
    assert_eq!(
        json_of(&server, &["backup", "list", &folder_of(&server, "backups")]).as_array().unwrap().len(),
        5
    );
}

#[test]
fn what_is_no_good_backup_is_not_restored_and_the_tenant_stays_as_it_is() {
    let (server, _, client) = started();
    client.create("/Users", json!({ "userName": "ada@x.test", "title": "t".repeat(20_000) }));
    let to = folder_of(&server, "backups");
    let path = back_up(&server, &to);
    let name = path.to_str().unwrap();
    client.create("/Users", user("bob@x.test"));
    let good = fs::read(&path).unwrap();
    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 0xff;
    for bad in [changed, good[..good.len() - 1].to_vec(), Vec::new(), b"nonsense".to_vec()] {
        fs::write(&path, bad).unwrap();
        let (code, said) = refused(&server, &["restore", "acme", name, "--yes"]);
        assert!(code == 1 && said.contains("hint:"), "{code} {said}");
        let (code, said) = refused(&server, &["backup", "verify", &to]);
        assert!(code == 1 && said.contains("1 of 1 backups are not good"), "{code} {said}");
    }
    // A good file of another content under the manifest.
    fs::write(&path, zstd::stream::encode_all(&b"SQLite format 3\0 and no more"[..], 3).unwrap()).unwrap();
    assert_eq!(refused(&server, &["restore", "acme", name, "--yes"]).0, 1);
    // What is not there is not called damaged.
    let (code, said) = refused(&server, &["backup", "verify", "nowhere"]);
    assert!(code == 1 && said.contains("cannot read nowhere") && !said.contains("not good"), "{said}");
    fs::write(&path, good).unwrap();
    fs::rename(format!("{name}.json"), format!("{name}.away")).unwrap();
    let (code, said) = refused(&server, &["restore", "acme", name, "--yes"]);
    assert!(code == 1 && said.contains("no manifest"), "{said}");
    assert_eq!(client.get("/Users").expect(200)["totalResults"], 2);
    assert!(!server.folder().join("data/replaced").exists());
    let left = fs::read_dir(server.folder().join("data")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("backup")));
}

#[test]
fn a_backup_of_another_tenant_needs_a_word_more() {
    let token = Token::new("okta");
    let config =
        Config::acme(&token).tenant(crate::support::TenantConfig::new("globex").token(&Token::new("x")));
    let server = Server::start(&config);
    server.client("acme", &token).create("/Users", user("ada@x.test"));
    let path = back_up(&server, &folder_of(&server, "backups"));
    let path = path.to_str().unwrap();
    let (code, said) = refused(&server, &["restore", "globex", path, "--yes"]);
    assert!(code == 1 && said.contains("a backup of tenant acme, not of globex"), "{said}");
    let (code, said) = refused(&server, &["restore", "globex", &folder_of(&server, "backups"), "--yes"]);
    assert!(code == 1 && said.contains("no good backup of tenant globex"), "{said}");
    assert!(!server.tenant_file("globex").exists());
    json_of(&server, &["restore", "globex", path, "--yes", "--from-other-tenant"]);
    assert!(server.run_well(["user", "list", "globex"]).contains("ada@x.test"));
}

#[test]
fn a_tenant_comes_back_whose_file_is_gone_or_cannot_be_read() {
    let (server, token, client) = started();
    client.create("/Users", user("ada@x.test"));
    let to = folder_of(&server, "backups");
    back_up(&server, &to);
    let live = server.tenant_file("acme");
    // Over the file that the server has open.
    fs::write(&live, vec![0x55; 64 * 1024]).unwrap();
    let said = server.run(["restore", "acme", &to, "--yes"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let found = |client: &Client| {
        let reply = client.get("/Users");
        reply.status == 200 && reply["totalResults"] == 1
    };
    until("the server has the new file", || found(&client));
    // What it has in memory of the old one may serve it for a second or two.
    let mut turn = 0;
    let there = "SELECT count(*) FROM resources WHERE kind = 1";
    until("what is written is in the new file", || {
        turn += 1;
        client.post("/Users", user(&format!("bob{turn}@x.test")));
        file::number(&live, there) > 1
    });
    // Without a server, and without a file.
    let config = Config::acme(&token);
    let server = server.stop_and_restart(&config, || {
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{end}", live.display()));
        }
    });
    json_of(&server, &["restore", "acme", &to, "--yes"]);
    // And once more, before anybody has opened the file that this has made.
    json_of(&server, &["restore", "acme", &to, "--yes"]);
    assert!(found(&server.client("acme", &token)));
}

#[test]
fn a_backup_of_an_older_version_is_brought_up_to_date() {
    let (server, _, client) = started();
    let folder = server.folder().join("old.sqlite");
    let old = file::open_to_write(&folder);
    for migration in ["0001_init.sql", "0002_entries.sql"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/tenant").join(migration);
        old.execute_batch(&fs::read_to_string(path).unwrap()).unwrap();
    }
    old.execute_batch(
        "PRAGMA application_id = 0x49434931; PRAGMA user_version = 2;
         INSERT INTO resources (kind, id, name, name_key, created_ms, modified_ms, version, doc) VALUES
             (1, '2819c223-7f76-453a-919d-413861904646', 'Old@x.test', 'old@x.test', 1, 1, 1,
              '{\"schemas\":[\"urn:ietf:params:scim:schemas:core:2.0:User\"],\"userName\":\"Old@x.test\",\"active\":true}');",
    )
    .unwrap();
    drop(old);
    client.create("/Users", user("ada@x.test"));
    let path = folder.to_str().unwrap();
    let restored = json_of(&server, &["restore", "acme", path, "--yes", "--without-manifest"]);
    assert_eq!(restored["users"], 1);
    assert_eq!(file::number(&server.tenant_file("acme"), "PRAGMA user_version"), 6);
    let reply = client.get("/Users?sortBy=userName&count=5").expect(200);
    assert_eq!(
        (&reply["totalResults"], &reply["Resources"][0]["userName"]),
        (&json!(1), &json!("Old@x.test"))
    );
}

#[test]
fn old_backups_go_by_the_rule_and_what_is_no_backup_stays() {
    let (server, _, client) = started();
    client.create("/Users", user("ada@x.test"));
    let to = folder_of(&server, "backups");
    // Both that are made here are to be of one day.
    let day = || SystemClock.now_ms() / 86_400_000;
    until("it is not just midnight", || (SystemClock.now_ms() + 10_000) / 86_400_000 == day());
    let first = back_up(&server, &to);
    let folder = first.parent().unwrap().to_owned();
    // As if made long ago: one good one, and one of which half is lost.
    let age = |day: &str| {
        let name = format!("acme.{}T030000Z.sqlite.zst", day.replace('-', ""));
        let mut manifest: Value =
            serde_json::from_slice(&fs::read(format!("{}.json", first.display())).unwrap()).unwrap();
        manifest["file"] = json!(name);
        manifest["time"] = json!(format!("{day}T03:00:00Z"));
        fs::copy(&first, folder.join(&name)).unwrap();
        fs::write(folder.join(format!("{name}.json")), manifest.to_string()).unwrap();
        folder.join(name)
    };
    let (old, older, half) = (age("2020-01-02"), age("2020-01-01"), age("2019-01-01"));
    fs::write(&half, "half").unwrap();
    let foreign = folder.join("acme.20180101T030000Z.sqlite.zst");
    fs::write(&foreign, "somebody's").unwrap();
    let made = json_of(&server, &["backup", "acme", "--to", &to, "--keep", "2d"]);
    let deleted: Vec<&str> =
        made["deleted"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    assert!(deleted.contains(&older.to_str().unwrap()), "{deleted:?}");
    assert!(old.exists() && half.exists() && foreign.exists());
    assert!(!older.exists() && !PathBuf::from(format!("{}.json", older.display())).exists());
    assert!(Path::new(made["file"].as_str().unwrap()).exists());
    let listed = json_of(&server, &["backup", "list", &to]);
    assert!(listed.as_array().unwrap().iter().any(|row| row["state"] == "damaged"));
}

#[test]
fn the_server_backs_up_by_itself_from_the_moment_the_configuration_says_so() {
    let token = Token::new("okta");
    let config = Config::acme(&token);
    let server = Server::start(&config);
    server.client("acme", &token).create("/Users", okta::user("ada@x.test"));
    let list = || json_of(&server, &["backup", "list", &folder_of(&server, "backups")]);
    let with = |lines: &str| format!("{}\n[server.backup]\n{lines}\n", config.text());
    // To a file, where no folder can be.
    fs::write(server.folder().join("in-the-way"), "").unwrap();
    let ready = || crate::ops::ready(crate::ops::address_of(&server)).1;
    assert_eq!((&ready()["ready"], &ready()["backups"]), (&json!(true), &Value::Null));
    server.write_config(&with("to = \"in-the-way\"\nevery = \"1m\""));
    server.log().wait_for_message("a backup failed");
    until("the failure is told, which takes nobody out of service", || {
        ready()["backups"] == json!({ "tenants": 0, "oldest": null, "missing": 1, "failing": 1 })
            && ready()["ready"] == true
    });
    server.write_config(&with("to = \"backups\"\nat = \"03:00\"\nkeep = \"7d\""));
    server.log().wait_for_message("backed up");
    assert_eq!(list().as_array().unwrap().len(), 1);
    assert_eq!(list()[0]["users"], 1);
    until("the backup is told", || {
        ready()["backups"] == json!({ "tenants": 1, "oldest": list()[0]["time"], "missing": 0, "failing": 0 })
    });
    let log = server.log().text();
    assert!(!log.contains("ada"), "{log}");
}

#[test]
fn all_tenants_are_backed_up_and_one_that_cannot_be_is_named() {
    let token = Token::new("okta");
    let config = Config::acme(&token)
        .tenant(crate::support::TenantConfig::new("globex").token(&Token::new("x")))
        .tenant(crate::support::TenantConfig::new("never-used").token(&Token::new("y")));
    let server = Server::start(&config);
    server.client("acme", &token).create("/Users", user("ada@x.test"));
    server.run_well(["user", "add", "globex", "bob"]);
    let to = folder_of(&server, "backups");
    let all = json_of(&server, &["backup", "--all", "--to", &to]);
    let names: Vec<&str> =
        all.as_array().unwrap().iter().map(|row| row["tenant"].as_str().unwrap()).collect();
    assert_eq!(names, ["acme", "globex"]);
    let (code, said) = refused(&server, &["backup", "never-used", "--to", &to]);
    assert!(code == 1 && said.contains("no file yet"), "{said}");
    // The table, without --json: what let go and what has nothing to back up is told beside it.
    let (code, said) = refused(&server, &["backup", "--all", "--to", &to, "--keep", "1d"]);
    assert!(code == 0 && said.contains("without a backup: never-used"), "{said}");
    assert!(said.contains("that --keep lets go: 2 deleted"), "{said}");
    fs::write(server.tenant_file("globex"), "no database").unwrap();
    let (code, said) = refused(&server, &["backup", "--all", "--to", &to]);
    assert!(code == 1 && said.contains("tenant globex is not backed up"), "{said}");
    assert!(said.contains("1 of 2 tenants are not backed up"), "{said}");
    let (code, said) = refused(&server, &["backup", "acme"]);
    assert!(code == 2 && said.contains("--to DIR"), "{said}");
}
