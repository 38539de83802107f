//! What happens when something breaks underneath: the process, the disk, a file, a second server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use ici_scim::clock::Stopwatch;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::file;
use crate::support::server::{BINARY, run_to_end};
use crate::support::{Client, Config, Server, TenantConfig, Token, okta, until};

/// A request to a server that may die at any moment: status and body, if an answer came.
fn attempt(client: &Client, token: &Token, method: Method, path: &str, body: &Value) -> Option<(u16, Value)> {
    let http = crate::support::http().build().unwrap();
    let request = http
        .request(method, format!("{}{path}", client.base()))
        .header("authorization", token.text())
        .header("content-type", "application/scim+json");
    let request = if body.is_null() { request } else { request.body(body.to_string()) };
    let response = request.send().ok()?;
    let status = response.status().as_u16();
    let text = response.text().ok()?;
    Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

/// What the server has acknowledged: it must be there after every death.
#[derive(Default)]
struct Acknowledged {
    /// Title by user id; `None` for a user that was deleted.
    titles: HashMap<String, Option<String>>,
    members: Vec<String>,
}

/// One writer: makes a user, changes it, puts it into the group, sometimes deletes it; by bulk, too.
fn write_until_dead(
    client: &Client,
    token: &Token,
    group: &str,
    name: &str,
    known: &Mutex<Acknowledged>,
    count: &AtomicUsize,
) {
    for turn in 0.. {
        let user = json!({ "userName": format!("{name}-{turn}@x.test"), "title": "new" });
        let made = if turn % 3 == 2 {
            let bulk = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": [
                { "method": "POST", "path": "/Users", "bulkId": "u", "data": user },
                { "method": "PATCH", "path": format!("/Groups/{group}"), "data": { "Operations": [
                    { "op": "add", "path": "members", "value": [{ "value": "bulkId:u" }] }] } }] });
            let Some((200, answer)) = attempt(client, token, Method::POST, "/Bulk", &bulk) else { return };
            let location = answer["Operations"][0]["location"].as_str().unwrap();
            let id = location.rsplit('/').next().unwrap().to_owned();
            known.lock().unwrap().members.push(id.clone());
            id
        } else {
            let Some((201, answer)) = attempt(client, token, Method::POST, "/Users", &user) else { return };
            answer["id"].as_str().unwrap().to_owned()
        };
        known.lock().unwrap().titles.insert(made.clone(), Some("new".to_owned()));
        count.fetch_add(1, Ordering::SeqCst);
        let path = format!("/Users/{made}");
        if turn % 4 == 1 {
            // Whether the deletion came through is not known until it is acknowledged.
            known.lock().unwrap().titles.remove(&made);
            known.lock().unwrap().members.retain(|id| *id != made);
            let Some((204, _)) = attempt(client, token, Method::DELETE, &path, &Value::Null) else { return };
            known.lock().unwrap().titles.insert(made, None);
            continue;
        }
        let title = format!("title {turn}");
        let patch = json!({ "Operations": [{ "op": "replace", "value": { "title": title } }] });
        known.lock().unwrap().titles.remove(&made);
        let Some((200, _)) = attempt(client, token, Method::PATCH, &path, &patch) else { return };
        known.lock().unwrap().titles.insert(made.clone(), Some(title));
        let add = json!({ "Operations": [{ "op": "add", "path": "members", "value": [{ "value": made }] }] });
        let Some((200 | 204, _)) = attempt(client, token, Method::PATCH, &format!("/Groups/{group}"), &add)
        else {
            return;
        };
        known.lock().unwrap().members.push(made);
        count.fetch_add(1, Ordering::SeqCst);
    }
}

/// Everything acknowledged is there, nothing is half done, the file is sound.
fn check_survivors(server: &Server, token: &Token, group: &str, known: &Acknowledged) {
    let client = server.client("acme", token);
    for (id, title) in &known.titles {
        let reply = client.get(&format!("/Users/{id}"));
        match title {
            None => assert_eq!(reply.status, 404, "a deleted user is back: {reply}"),
            Some(title) => {
                assert_eq!(reply["title"], json!(title), "an acknowledged change is lost: {reply}")
            }
        }
    }
    let members = client.get(&format!("/Groups/{group}")).expect(200).member_ids();
    for id in &known.members {
        assert!(members.contains(id), "an acknowledged member is lost: {id}");
    }
    let path = server.tenant_file("acme");
    let sound: String = file::open(&path).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    // Every version is the number of an event about that resource, so no change is without its event.
    let orphans = "SELECT count(*) FROM resources AS r WHERE NOT EXISTS
                     (SELECT 1 FROM events AS e WHERE e.seq = r.version)";
    assert_eq!(file::number(&path, orphans), 0);
    for table in ["positions", "spans"] {
        let counted = format!("SELECT (SELECT count(*) FROM resources) - (SELECT sum(n) FROM {table})");
        assert_eq!(file::number(&path, &counted), 0, "{table}");
    }
    assert_eq!(file::number(&path, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
}

#[test]
fn no_acknowledged_write_is_lost_and_none_is_half_done_in_thirty_kills() {
    let token = Token::new("okta");
    let config = Config::acme(&token).limit("page_resources_max", 10_000);
    let mut server = Server::start(&config);
    let group = server.client("acme", &token).create("/Groups", json!({ "displayName": "All" })).id();
    let known = Arc::new(Mutex::new(Acknowledged::default()));
    for round in 0..30 {
        let count = Arc::new(AtomicUsize::new(0));
        let client = server.client("acme", &token);
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (client, token, group) = (client.clone(), token.clone(), group.clone());
                let (known, count) = (Arc::clone(&known), Arc::clone(&count));
                thread::spawn(move || {
                    write_until_dead(&client, &token, &group, &format!("{round}-{writer}"), &known, &count);
                })
            })
            .collect();
        // A different moment each time, with all writers under way.
        until("some writes are acknowledged", || count.load(Ordering::SeqCst) >= 6 + round % 7);
        server = server.kill_and_restart(&config);
        for writer in writers {
            writer.join().unwrap();
        }
        check_survivors(&server, &token, &group, &known.lock().unwrap());
    }
    let known = known.lock().unwrap();
    assert!(known.titles.len() > 100 && known.members.len() > 60, "the writers did write");
    assert!(known.titles.values().any(Option::is_none), "some users were deleted");
}

#[test]
fn a_file_that_cannot_be_used_stops_its_tenant_and_no_other() {
    let (acme, globex, initech) = (Token::new("a"), Token::new("g"), Token::new("i"));
    let config = Config::new()
        .tenant(TenantConfig::new("acme").token(&acme))
        .tenant(TenantConfig::new("globex").token(&globex))
        .tenant(TenantConfig::new("initech").token(&initech));
    let server = Server::start(&config);
    let data = server.folder().join("data");
    std::fs::write(
        data.join("acme.sqlite"),
        "this was never a database, and is long enough to see it".repeat(20),
    )
    .unwrap();
    rusqlite::Connection::open(data.join("globex.sqlite"))
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x)")
        .unwrap();

    for (tenant, token) in [("acme", &acme), ("globex", &globex)] {
        let reply = server.client(tenant, token).get("/Users").expect_error(503, "");
        assert!(reply.header("retry-after").is_some_and(|wait| wait.parse::<u32>().is_ok()), "{reply}");
        assert!(!reply.detail().contains("sqlite"), "{reply}: the file is no business of the client's");
        server
            .log()
            .wait_for("the file's name", |line| line.contains(&format!("{tenant}.sqlite")).then_some(()));
    }
    server.client("initech", &initech).get("/Users").expect(200);
    let check = server.run(["check"]);
    let told = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(!check.status.success() && told.contains("acme") && told.contains("globex"), "{told}");

    // It comes back by itself when the file is well again.
    std::fs::remove_file(data.join("acme.sqlite")).unwrap();
    server.client("acme", &acme).get("/Users").expect(200);
}

#[test]
fn a_file_with_damaged_pages_stops_its_tenant_and_no_other_and_check_tells_it() {
    let (acme, globex) = (Token::new("a"), Token::new("g"));
    let config = Config::new()
        .tenant(TenantConfig::new("acme").token(&acme))
        .tenant(TenantConfig::new("globex").token(&globex));
    let server = Server::start(&config);
    for (tenant, token) in [("acme", &acme), ("globex", &globex)] {
        let client = server.client(tenant, token);
        for number in 0..40 {
            let user = json!({ "userName": format!("user{number}@x.test"), "title": "t".repeat(1000) });
            client.create("/Users", user);
        }
    }
    let path = server.tenant_file("acme");
    let server = server.stop_and_restart(&config, || {
        // The first page, with what tells whose file it is, stays; everything behind it is lost.
        let mut bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() > 10 * 4096, "there are pages to damage");
        bytes[4096..].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
    });
    let client = server.client("acme", &acme);
    for path in ["/Users", "/Users?filter=userName%20eq%20%22user7%40x.test%22"] {
        let reply = client.get(path).expect_error(503, "");
        assert!(!reply.detail().contains("malformed"), "{reply}: the file is no business of the client's");
    }
    client.post("/Users", json!({ "userName": "new@x.test" })).expect_error(503, "");
    server.log().wait_for("what is wrong", |line| line.contains("malformed").then_some(()));
    let listed = server.client("globex", &globex).get("/Users").expect(200);
    assert_eq!(listed["totalResults"], 40);
    let check = server.run(["check"]);
    let told = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(!check.status.success() && told.contains("acme"), "{told}");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_by_name() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let mut other = std::process::Command::new(BINARY);
    // No user may make a file there, not even root.
    other
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", "/proc", "--config"])
        .arg(server.config_file());
    let output = run_to_end(&mut other);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("the data folder /proc cannot be used"), "{told}");
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_and_commands_are_not() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let mut second = std::process::Command::new(BINARY);
    second.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(server.config_file());
    let output = run_to_end(&mut second);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("another ici-scim serves the data folder"), "{told}");
    server.run_well(["user", "add", "acme", "ann@x.test"]);
    assert_eq!(server.client("acme", &token).get("/Users").expect(200)["totalResults"], 1);
}

#[test]
fn the_folder_is_free_only_when_a_server_that_stops_slowly_can_commit_no_more() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token).limit("stop_s", 1));
    let client = server.client("acme", &token);
    client.create("/Users", json!({ "userName": "ann@x.test" }));
    let lock = std::fs::File::open(server.folder().join("data/.server.lock")).unwrap();
    assert!(lock.try_lock().is_err(), "a server that runs has the folder");
    // The write waits for this for longer than stop_s.
    let held = rusqlite::Connection::open(server.tenant_file("acme")).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    let late = thread::spawn(move || client.try_post("/Users", &json!({ "userName": "late@x.test" })));
    server.signal("TERM");
    server.log().wait_for_message("stopped");
    // The process may have ended by now, and its place at its process table with it; else it has the folder still.
    let process = std::path::PathBuf::from(format!("/proc/{}", server.process_id()));
    let taken = lock.try_lock().is_err();
    assert!(taken || !process.join("fd").read_dir().is_ok_and(|mut open| open.next().is_some()));
    drop(held);
    assert!(server.ended().success());
    assert!(lock.try_lock().is_ok(), "the lock ends with the process");
    assert_ne!(late.join().unwrap(), Some(201), "what was cut off was not acknowledged");
}

#[test]
fn a_write_that_takes_too_long_is_refused_whole_and_others_go_on() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token).limit("write_ms_max", 100));
    let client = server.client("acme", &token);
    let emails: Vec<Value> =
        (0..1_000).map(|n| json!({ "value": format!("{n}@x.test"), "type": format!("t{n}") })).collect();
    let id = client.create("/Users", json!({ "userName": "ann@x.test", "emails": emails })).id();
    let change = |n: usize| json!({ "op": "replace", "path": format!("emails[type eq \"t{n}\"].display"), "value": "x" });
    let patch = json!({ "schemas": [okta::PATCH], "Operations": (0..40).map(change).collect::<Vec<_>>() });
    let mut operations: Vec<Value> = vec![
        json!({ "method": "POST", "path": "/Users", "bulkId": "b", "data": { "userName": "bob@x.test" } }),
    ];
    operations.resize(900, json!({ "method": "PATCH", "path": format!("/Users/{id}"), "data": patch }));
    let body =
        json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations });
    let before = client.get(&format!("/Users/{id}")).json;
    let refused = client.post("/Bulk", body).expect_error(503, "");
    assert!(
        refused.header("retry-after").is_some()
            && refused["detail"].as_str().unwrap().contains("smaller parts"),
        "{refused}"
    );
    assert_eq!(client.get(&format!("/Users/{id}")).json, before);
    assert_eq!(client.get("/Users").expect(200)["totalResults"], 1);
    client.create("/Users", json!({ "userName": "bob@x.test" }));
}

#[test]
fn a_full_disk_is_told_reads_go_on_and_writes_resume_with_room() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let client = server.client("acme", &token);
    client.create("/Users", json!({ "userName": "ann@x.test" }));
    // No file may grow: what a full disk is to a process. Without the signal, which would end it.
    let limit = |bytes: &str| server.limit_file_size(bytes);
    limit("65536");
    let large = json!({ "userName": "bob@x.test", "title": "x".repeat(200_000) });
    let refused = client.post("/Users", large.clone()).expect_error(503, "");
    assert!(refused.header("retry-after").is_some(), "{refused}");
    assert_eq!(client.get("/Users").expect(200)["totalResults"], 1);
    limit("unlimited");
    client.create("/Users", large);
    assert_eq!(client.get("/Users").expect(200)["totalResults"], 2);
}

#[test]
fn one_tenants_slow_scans_do_not_hold_up_anothers_look_ups() {
    let (busy, quick) = (Token::new("busy"), Token::new("quick"));
    let config = Config::new()
        .tenant(TenantConfig::new("busy").token(&busy))
        .tenant(TenantConfig::new("quick").token(&quick));
    let server = Server::start(&config);
    let operations = |first: usize| -> Value {
        (first..first + 500)
            .map(|n| json!({ "method": "POST", "path": "/Users", "bulkId": n.to_string(), "data": { "userName": format!("u{n}@x.test"), "title": "t".repeat(200) } }))
            .collect()
    };
    let client = server.client("busy", &busy);
    for first in (0..4000).step_by(500) {
        let bulk = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations(first) });
        client.post("/Bulk", bulk).expect(200);
    }
    server.client("quick", &quick).create("/Users", json!({ "userName": "ann@x.test" }));
    let over = Arc::new(AtomicUsize::new(0));
    let scans: Vec<_> = (0..6)
        .map(|_| {
            let (client, over) = (server.client("busy", &busy), Arc::clone(&over));
            thread::spawn(move || {
                let mut scans = 0;
                while over.load(Ordering::SeqCst) == 0 || scans < 2 {
                    client
                        .get("/Users?filter=title%20co%20%22no%22%20or%20nickName%20ew%20%22y%22&count=1")
                        .expect(200);
                    scans += 1;
                }
            })
        })
        .collect();
    let look_up = server.client("quick", &quick);
    let mut times: Vec<_> = (0..100)
        .map(|_| {
            let watch = Stopwatch::start();
            look_up.get("/Users?filter=userName%20eq%20%22ann%40x.test%22").expect(200);
            watch.elapsed()
        })
        .collect();
    over.store(1, Ordering::SeqCst);
    for scan in scans {
        scan.join().unwrap();
    }
    times.sort();
    assert!(times[50].as_millis() < 250, "half of the look-ups took more than {:?}", times[50]);
}
