//! What happens when something breaks underneath: the process, the disk, a file, a second server.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use ici_scim::clock::Stopwatch;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::group_ids;
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

/// What the server has acknowledged: it must be so after every death. What is asked for and not answered yet is in none
/// of these, since nobody knows.
#[derive(Default)]
struct Acknowledged {
    /// Users that were made, whatever became of them.
    made: HashSet<String>,
    /// Title by user id; `None` for a user that was deleted.
    titles: HashMap<String, Option<String>>,
    /// Whether a user is a member.
    members: HashMap<String, bool>,
    /// Bulk requests; members that were taken out; members that were deleted.
    bulks: usize,
    removals: usize,
    deletions: usize,
}

/// The start of the names of users who are made and put into the group by one bulk request.
const BY_BULK: &str = "bulk-";

/// One writer of a server that may die at any moment.
struct Writer<'a> {
    client: &'a Client,
    token: &'a Token,
    group: &'a str,
    known: &'a Mutex<Acknowledged>,
    count: &'a AtomicUsize,
}

impl Writer<'_> {
    /// What was answered with one of these; `None` when there was no answer, since the server is dead.
    fn ask(&self, method: Method, path: &str, body: &Value, statuses: &[u16]) -> Option<Value> {
        let (status, answer) = attempt(self.client, self.token, method, path, body)?;
        assert!(statuses.contains(&status), "{path} was answered {status}: {answer}");
        self.count.fetch_add(1, Ordering::SeqCst);
        Some(answer)
    }

    fn known(&self) -> MutexGuard<'_, Acknowledged> {
        self.known.lock().unwrap()
    }

    /// Makes users, changes them, puts them into the group and takes some out again or deletes them, until there is no
    /// answer. Every third is made and put into the group by one bulk request.
    fn write_until_dead(&self, name: &str, first: usize) -> Option<()> {
        for turn in first.. {
            let made = if turn % 3 == 2 { self.bulk(name, turn)? } else { self.make(name, turn)? };
            let title = format!("title {turn}");
            self.known().titles.remove(&made);
            let patch = json!({ "Operations": [{ "op": "replace", "value": { "title": title } }] });
            self.ask(Method::PATCH, &format!("/Users/{made}"), &patch, &[200])?;
            self.known().titles.insert(made.clone(), Some(title));
            if turn % 3 != 2 {
                self.put_in(&made)?;
            }
            match turn % 4 {
                1 => self.delete(&made)?,
                2 => self.take_out(&made)?,
                _ => {}
            }
        }
        None
    }

    fn make(&self, name: &str, turn: usize) -> Option<String> {
        let user = json!({ "userName": format!("{name}-{turn}@x.test"), "title": "new" });
        let answer = self.ask(Method::POST, "/Users", &user, &[201])?;
        let id = answer["id"].as_str().unwrap().to_owned();
        let mut known = self.known();
        known.made.insert(id.clone());
        known.titles.insert(id.clone(), Some("new".to_owned()));
        Some(id)
    }

    fn bulk(&self, name: &str, turn: usize) -> Option<String> {
        let user = json!({ "userName": format!("{BY_BULK}{name}-{turn}@x.test"), "title": "new" });
        let bulk = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": [
            { "method": "POST", "path": "/Users", "bulkId": "u", "data": user },
            { "method": "PATCH", "path": format!("/Groups/{}", self.group), "data": { "Operations": [
                { "op": "add", "path": "members", "value": [{ "value": "bulkId:u" }] }] } }] });
        let answer = self.ask(Method::POST, "/Bulk", &bulk, &[200])?;
        let location = answer["Operations"][0]["location"].as_str().unwrap();
        let id = location.rsplit('/').next().unwrap().to_owned();
        let mut known = self.known();
        known.bulks += 1;
        known.made.insert(id.clone());
        known.titles.insert(id.clone(), Some("new".to_owned()));
        known.members.insert(id.clone(), true);
        Some(id)
    }

    fn put_in(&self, id: &str) -> Option<()> {
        self.change_group(&json!({ "op": "add", "path": "members", "value": [{ "value": id }] }))?;
        self.known().members.insert(id.to_owned(), true);
        Some(())
    }

    fn take_out(&self, id: &str) -> Option<()> {
        self.known().members.remove(id);
        self.change_group(&json!({ "op": "remove", "path": format!("members[value eq \"{id}\"]") }))?;
        let mut known = self.known();
        known.removals += 1;
        known.members.insert(id.to_owned(), false);
        Some(())
    }

    fn change_group(&self, operation: &Value) -> Option<Value> {
        let patch = json!({ "Operations": [operation] });
        self.ask(Method::PATCH, &format!("/Groups/{}", self.group), &patch, &[200, 204])
    }

    fn delete(&self, id: &str) -> Option<()> {
        let mut known = self.known();
        known.titles.remove(id);
        known.members.remove(id);
        drop(known);
        self.ask(Method::DELETE, &format!("/Users/{id}"), &Value::Null, &[204])?;
        let mut known = self.known();
        known.deletions += 1;
        known.titles.insert(id.to_owned(), None);
        known.members.insert(id.to_owned(), false);
        Some(())
    }
}

/// Everything acknowledged is there, nothing is half done, the file is sound.
fn check_survivors(server: &Server, token: &Token, group: &str, known: &Acknowledged) {
    let client = server.client("acme", token);
    let listed = client.get("/Users?count=10000").expect(200);
    let users: HashMap<&str, &Value> =
        listed.resources().iter().map(|user| (user["id"].as_str().unwrap(), user)).collect();
    assert_eq!(listed["totalResults"], users.len());
    for (id, title) in &known.titles {
        let found = users.get(id.as_str()).map(|user| &user["title"]);
        match title {
            None => assert_eq!(found, None, "a deleted user is back: {id}"),
            Some(title) => assert_eq!(found, Some(&json!(title)), "an acknowledged change is lost: {id}"),
        }
    }
    let members = client.get(&format!("/Groups/{group}")).expect(200).member_ids();
    for (id, is_member) in &known.members {
        assert_eq!(members.contains(id), *is_member, "an acknowledged change of members is lost: {id}");
    }
    // A membership is the same from both sides, and of somebody who is there.
    assert!(members.iter().all(|id| users.contains_key(id.as_str())), "a member is nobody");
    for (id, user) in &users {
        let is_member = members.iter().any(|member| member == id);
        assert_eq!(group_ids(user), if is_member { vec![group] } else { vec![] }, "{user}");
        // Of a bulk request that was not answered either all came through or nothing.
        if user["userName"].as_str().unwrap().starts_with(BY_BULK) && !known.made.contains(*id) {
            assert!(is_member, "a bulk request is half done: {user}");
        }
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
                    let asks = Writer {
                        client: &client,
                        token: &token,
                        group: &group,
                        known: &known,
                        count: &count,
                    };
                    // Each begins with another kind of write.
                    asks.write_until_dead(&format!("{round}-{writer}"), writer * 3 + round);
                })
            })
            .collect();
        // A different moment each time, with all writers under way.
        until("some writes are acknowledged", || count.load(Ordering::SeqCst) >= 24 + round % 17);
        server = server.kill_and_restart(&config);
        for writer in writers {
            writer.join().unwrap();
        }
        check_survivors(&server, &token, &group, &known.lock().unwrap());
    }
    let known = known.lock().unwrap();
    let (made, bulks, removals, deletions) = (known.made.len(), known.bulks, known.removals, known.deletions);
    assert!(
        made > 200 && bulks > 60 && removals > 40 && deletions > 40,
        "{made} {bulks} {removals} {deletions}"
    );
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
    server.log().wait_for("the reason", |line| {
        (line.contains("the request failed") && line.contains("disk")).then_some(())
    });
    assert_eq!(client.get("/Users").expect(200)["totalResults"], 1);
    limit("unlimited");
    client.create("/Users", large);
    assert_eq!(client.get("/Users").expect(200)["totalResults"], 2);
}

/// A server with two tenants, and their tokens.
fn busy_and_quick() -> (Server, Token, Token) {
    let (busy, quick) = (Token::new("busy"), Token::new("quick"));
    let config = Config::new()
        .tenant(TenantConfig::new("busy").token(&busy))
        .tenant(TenantConfig::new("quick").token(&quick));
    let server = Server::start(&config);
    (server, busy, quick)
}

#[test]
fn one_tenants_waiting_writes_do_not_hold_up_anothers() {
    let (server, busy, quick) = busy_and_quick();
    let (waiting, writer) = (server.client("busy", &busy), server.client("quick", &quick));
    waiting.create("/Users", json!({ "userName": "first@x.test" }));
    let answered = AtomicUsize::new(0);
    // Another program has the lock, so that every write of the busy tenant waits.
    let held = rusqlite::Connection::open(server.tenant_file("busy")).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    thread::scope(|scope| {
        for number in 0..16 {
            let (waiting, answered) = (&waiting, &answered);
            scope.spawn(move || {
                let status = waiting.try_post("/Users", &json!({ "userName": format!("u{number}@x.test") }));
                answered.fetch_add(1, Ordering::SeqCst);
                // Those that waited for too long are told so.
                assert!(matches!(status, Some(201 | 429 | 503)), "{status:?}");
            });
        }
        for number in 0..20 {
            writer.create("/Users", json!({ "userName": format!("u{number}@x.test") }));
        }
        assert_eq!(answered.load(Ordering::SeqCst), 0, "the others were done before one that waits");
        held.execute_batch("ROLLBACK").unwrap();
    });
    assert_eq!(answered.load(Ordering::SeqCst), 16);
}

#[test]
fn one_tenants_slow_scans_do_not_hold_up_anothers_look_ups() {
    let (server, busy, quick) = busy_and_quick();
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
    let term = |n: usize| format!("title%20co%20%22no{n}%22%20or%20nickName%20ew%20%22y{n}%22");
    let scan = format!("/Users?filter={}&count=1", (0..20).map(term).collect::<Vec<_>>().join("%20or%20"));
    // By itself, on a machine that does nothing else: less than each of them takes below.
    let alone = Stopwatch::start();
    client.get(&scan).expect(200);
    let alone = alone.elapsed();
    let over = Arc::new(AtomicUsize::new(0));
    let scans: Vec<_> = (0..6)
        .map(|_| {
            let (client, over, scan) = (server.client("busy", &busy), Arc::clone(&over), scan.clone());
            thread::spawn(move || {
                let mut scans = 0;
                while over.load(Ordering::SeqCst) == 0 || scans < 2 {
                    client.get(&scan).expect(200);
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
    assert!(times[50] < alone, "half of the look-ups took more than {:?}, a scan {alone:?}", times[50]);
}
