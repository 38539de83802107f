//! Tenants as a whole: paused and resumed, removed and brought back, counted, bounded.

use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::{Client, Config, Server, TenantConfig, Token, okta, raw, until};

fn two_tenants(acme: &Token, globex: &Token) -> Config {
    Config::new()
        .tenant(TenantConfig::new("acme").token(acme))
        .tenant(TenantConfig::new("globex").token(globex))
}

fn acme_with(token: &Token, key: &str, value: &str) -> Config {
    Config::new().tenant(TenantConfig::new("acme").option(key, value).token(token))
}

/// As a number of [`OpenOptionsExt::custom_flags`].
const O_NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

fn stats(server: &Server, tenant: &str) -> Value {
    let rows: Value = serde_json::from_str(&server.run_well(["tenant", "stats", tenant, "--json"])).unwrap();
    rows[0].clone()
}

fn total(client: &Client) -> Value {
    client.get("/Users?count=0").expect(200)["totalResults"].clone()
}

#[test]
fn a_paused_tenant_answers_503_to_who_has_its_token_and_401_to_everybody_else() {
    let (acme, globex) = (Token::new("okta"), Token::new("okta"));
    let server = Server::start(&two_tenants(&acme, &globex));
    let client = server.client("acme", &acme);
    let user = client.create("/Users", okta::user("a@x.test"));
    let stranger = server.client("acme", &globex).get("/Users").expect(401);

    server.run_well(["tenant", "pause", "acme"]);
    assert!(std::fs::read_to_string(server.config_file()).unwrap().contains("paused = true"));
    let refused = client.get("/Users").expect_error(503, "");
    assert_eq!(refused.header("retry-after"), Some("60"));
    assert!(refused.detail().contains("paused"), "{refused}");
    for path in ["/Nothing", "/ServiceProviderConfig", "/Users/1"] {
        client.get(path).expect_error(503, "");
    }
    client.post("/Users", okta::user("b@x.test")).expect_error(503, "");
    client.delete(&format!("/Users/{}", user.id())).expect_error(503, "");
    let same = server.client("acme", &globex).get("/Users").expect(401);
    assert_eq!(same.detail(), stranger.detail());
    server.client("globex", &globex).get("/Users").expect(200);

    server.run_well(["tenant", "resume", "acme"]);
    assert!(!std::fs::read_to_string(server.config_file()).unwrap().contains("paused"));
    assert_eq!(client.get("/Users").expect(200)["totalResults"], 1);
}

#[test]
fn a_pause_can_answer_429_which_okta_repeats_by_itself() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let client = server.client("acme", &token);
    server.run_well(["tenant", "pause", "acme", "--answer", "429"]);
    let refused = client.post("/Users", okta::user("a@x.test")).expect_error(429, "");
    assert_eq!(refused.header("retry-after"), Some("60"));
    assert!(refused.detail().contains("paused"), "{refused}");
    let told: Value = serde_json::from_str(&server.run_well(["tenant", "resume", "acme", "--json"])).unwrap();
    assert_eq!(told, json!({ "tenant": "acme", "paused": false, "server": "taken" }));
    client.create("/Users", okta::user("a@x.test"));
}

#[test]
fn when_a_pause_is_in_force_no_write_is_done_any_more_and_the_file_is_closed() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let acknowledged = Mutex::new(Vec::<String>::new());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..8 {
            let (acknowledged, over, server, token) = (&acknowledged, &over, &server, &token);
            scope.spawn(move || {
                let client = server.client("acme", token);
                for n in 0.. {
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                    let name = format!("u{writer}-{n}@x.test");
                    match client.try_post("/Users", &json!({ "userName": name })) {
                        Some(201) => acknowledged.lock().unwrap().push(name),
                        answer => assert_eq!(answer, Some(503)),
                    }
                }
            });
        }
        for _ in 0..3 {
            let before = acknowledged.lock().unwrap().len();
            until("writes go on", || acknowledged.lock().unwrap().len() > before + 20);
            server.run_well(["tenant", "pause", "acme"]);
            // SQLite takes its log away when the last connection is closed.
            let file = server.tenant_file("acme");
            assert!(!file.with_extension("sqlite-wal").exists(), "the file is closed");
            let copy = server.folder().join("copy.sqlite");
            std::fs::copy(&file, &copy).unwrap();
            let copied = rusqlite::Connection::open(&copy).unwrap();
            let mut names = copied.prepare("SELECT name FROM resources").unwrap();
            let names: Vec<String> =
                names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            // Whoever was answered 201 hears of it a moment later.
            until("every write of the copy is acknowledged", || {
                acknowledged.lock().unwrap().len() == names.len()
            });
            assert!(acknowledged.lock().unwrap().iter().all(|name| names.contains(name)));
            let size = std::fs::metadata(&file).unwrap().len();
            server.client("acme", &token).get("/Users").expect(503);
            assert_eq!(std::fs::metadata(&file).unwrap().len(), size);
            server.run_well(["tenant", "resume", "acme"]);
        }
        over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_pause_waits_for_the_server_and_says_when_it_does_not_follow() {
    let token = Token::new("okta");
    let config = Config::acme(&token);
    let server = Server::start(&config);
    // Another fault in the way: the server keeps what it has.
    let broken = config.text().replacen("[tenants.acme]\n", "[tenants.acme]\nschemas = [\"gone.json\"]\n", 1);
    server.write_config(&broken);
    server.log().wait_for_message("faulty");
    let output = server.run(["tenant", "pause", "acme"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("gone.json") && stderr.contains("hint:"), "{stderr}");
    server.client("acme", &token).get("/Users").expect(200);

    server.write_config(&config.text());
    let output = server.run(["tenant", "pause", "acme", "--no-wait"]);
    assert!(output.status.success());
    until("the pause is in force", || server.client("acme", &token).get("/Users").status == 503);
}

#[test]
fn without_a_server_a_pause_is_one_line_of_the_configuration() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    server.client("acme", &token).create("/Users", okta::user("a@x.test"));
    let server = server.stop_and_restart(&acme_with(&token, "paused", "true"), || ());
    server.client("acme", &token).get("/Users").expect(503);
    // The operator's own commands work.
    assert!(server.run_well(["user", "list", "acme"]).contains("a@x.test"));
}

#[test]
fn a_removed_tenant_is_out_of_the_way_and_can_be_brought_back() {
    let (acme, globex) = (Token::new("okta"), Token::new("okta"));
    let server = Server::start(&two_tenants(&acme, &globex));
    let client = server.client("acme", &acme);
    let user = client.create("/Users", okta::user("a@x.test"));
    let before = std::fs::read_to_string(server.config_file()).unwrap();

    // Nobody is asked where there is no terminal, and nothing is done.
    let output = server.run(["tenant", "remove", "acme"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("--yes"), "{stderr}");
    assert_eq!(std::fs::read_to_string(server.config_file()).unwrap(), before);

    let told: Value =
        serde_json::from_str(&server.run_well(["tenant", "remove", "acme", "--yes", "--json"])).unwrap();
    assert_eq!(told["server"], "taken");
    assert!(!server.tenant_file("acme").exists());
    let place = std::path::PathBuf::from(told["movedTo"].as_str().unwrap());
    assert!(place.starts_with(server.folder().join("data/removed")));
    assert!(place.join("acme.sqlite").exists());
    let refused = client.get("/Users").expect(401);
    assert_eq!(refused.detail(), server.client("never-there", &acme).get("/Users").expect(401).detail());
    assert!(!server.tenant_file("acme").exists(), "a refused request makes no file");
    server.client("globex", &globex).get("/Users").expect(200);

    let back = told["bringBack"].as_str().unwrap();
    let done = std::process::Command::new("sh").args(["-ec", back]).output().unwrap();
    assert!(done.status.success(), "{back}: {}", String::from_utf8_lossy(&done.stderr));
    until("the tenant is back", || client.get("/Users").status == 200);
    client.get(&format!("/Users/{}", user.id())).expect(200);
}

#[test]
fn a_request_that_is_on_its_way_is_answered_before_a_pause_is_in_force() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let body = okta::user("in-flight@x.test").to_string();
    let length = body.len().to_string();
    let headers = [
        ("Authorization", token.text()),
        ("Content-Type", "application/scim+json"),
        ("Content-Length", length.as_str()),
    ];
    let (first, second) = body.split_at(body.len() / 2);
    let mut connection = raw::Connection::open(server.address());
    connection.send(raw::request("POST", "/scim/v2/acme/Users", &headers));
    connection.send(first);
    // The server has the first half when it has answered a request that came after it.
    server.client("acme", &token).get("/Users").expect(200);
    let output = server.run(["tenant", "pause", "acme", "--wait", "1"]);
    assert_eq!(output.status.code(), Some(1), "it is waited for");
    until("the pause is in force", || server.client("acme", &token).get("/Users").status == 503);
    connection.send(second);
    connection.answer().expect("an answer").expect(201);
    server.run_well(["tenant", "pause", "acme"]);
    assert!(!server.tenant_file("acme").with_extension("sqlite-wal").exists(), "the file is closed");
}

#[test]
fn a_tenant_of_an_included_file_is_paused_and_removed_there() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let folder = server.folder().join("tenants.d");
    std::fs::create_dir(&folder).unwrap();
    let included = folder.join("globex.toml");
    std::fs::write(&included, "# Globex\n[tenants.globex]\nname = \"Globex\"\n").unwrap();
    let main = format!("include = \"tenants.d/*.toml\"\n{}", Config::acme(&token).text());
    server.write_config(&main);
    until("the included tenant is there", || server.run_well(["tenant", "list"]).contains("globex"));
    server.run_well(["tenant", "pause", "globex"]);
    assert!(std::fs::read_to_string(&included).unwrap().contains("paused = true"));
    let told: Value =
        serde_json::from_str(&server.run_well(["tenant", "remove", "globex", "--yes", "--json"])).unwrap();
    assert_eq!(told["server"], "taken");
    assert_eq!(std::fs::read_to_string(server.config_file()).unwrap(), main);
    assert!(!std::fs::read_to_string(&included).unwrap().contains("[tenants.globex]"));
    let back = told["bringBack"].as_str().unwrap();
    assert!(std::process::Command::new("sh").args(["-ec", back]).status().unwrap().success());
    assert!(server.run_well(["tenant", "list"]).contains("Globex"));
    server.run_well(["check"]);
}

#[test]
fn an_unknown_tenant_is_not_paused_resumed_or_removed() {
    let server = Server::start(&Config::acme(&Token::new("okta")));
    for arguments in [
        &["tenant", "pause", "acne"][..],
        &["tenant", "resume", "acne"],
        &["tenant", "remove", "acne", "--yes"],
        &["tenant", "stats", "acne"],
    ] {
        let output = server.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("acne") && stderr.contains("hint:"), "{stderr}");
    }
    assert!(!server.folder().join("data/removed").exists());
}

#[test]
fn stats_count_what_there_is_and_tell_when_a_client_last_came() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let none = stats(&server, "acme");
    assert_eq!(
        none,
        json!({
            "name": "acme", "paused": false, "state": "in service", "users": 0, "activeUsers": 0, "maxUsers": null, "groups": 0,
            "memberships": 0, "lastPush": null, "lastImport": null, "bytes": 0,
        })
    );
    assert!(!server.tenant_file("acme").exists(), "looking makes no file");

    server.run_well(["user", "add", "acme", "operator@x.test"]);
    assert_eq!(stats(&server, "acme")["lastPush"], Value::Null, "the operator is no client");
    let client = server.client("acme", &token);
    let ids: Vec<String> =
        (0..3).map(|n| client.create("/Users", okta::user(&format!("u{n}@x.test"))).id()).collect();
    let members: Vec<Value> = ids.iter().map(|id| okta::member(id, "somebody")).collect();
    client.create("/Groups", okta::group("Crew", &members));
    client.patch(&format!("/Users/{}", ids[0]), okta::set_active(false)).expect(200);
    // A look-up is no import.
    client.get("/Users?filter=userName%20eq%20%22u1@x.test%22").expect(200);
    let some = stats(&server, "acme");
    assert_eq!((&some["users"], &some["activeUsers"]), (&json!(4), &json!(3)));
    assert_eq!((&some["groups"], &some["memberships"]), (&json!(1), &json!(3)));
    assert!(some["lastPush"].is_string() && some["bytes"].as_u64().unwrap() > 4096, "{some}");
    assert_eq!(some["lastImport"], Value::Null);

    client.get("/Users?startIndex=1&count=100").expect(200);
    until("the import is written down", || stats(&server, "acme")["lastImport"].is_string());
    // It outlives the server.
    let server = server.stop_and_restart(&Config::acme(&token), || ());
    assert!(stats(&server, "acme")["lastImport"].is_string());
    let table = server.run_well(["tenant", "stats"]);
    assert!(table.starts_with("TENANT") && table.contains("LAST IMPORT") && table.contains("in service"));
}

#[test]
fn stats_ask_again_when_the_server_tells_nothing_since_it_reads_its_configuration() {
    let server = Server::start(&Config::acme(&Token::new("okta")));
    server.signal("STOP");
    let status = format!("/proc/{}/status", server.process_id());
    until("the server stands still", || std::fs::read_to_string(&status).unwrap().contains("T (stopped)"));
    // Its word is a pipe, so that it is known when the command looks at it.
    let (word, next) = (server.folder().join("data/.in-service.json"), server.folder().join("next.json"));
    let _ = std::fs::remove_file(&word);
    assert!(std::process::Command::new("mkfifo").arg(&word).status().unwrap().success());
    std::fs::write(&next, r#"{"inService":["acme"],"problem":null}"#).unwrap();
    thread::scope(|scope| {
        let asked = scope.spawn(|| stats(&server, "acme"));
        let mut told_nothing = None;
        until("the command looks", || {
            // Does not wait for a reader, and cannot be opened without one.
            told_nothing = std::fs::OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&word).ok();
            told_nothing.is_some()
        });
        std::fs::rename(&next, &word).unwrap();
        drop(told_nothing);
        assert_eq!(asked.join().unwrap()["state"], "in service");
    });
    server.signal("CONT");
}

#[test]
fn no_more_users_are_active_than_max_users_says_by_whatever_way() {
    let token = Token::new("okta");
    let server = Server::start(&acme_with(&token, "max_users", "3"));
    let client = server.client("acme", &token);
    let ids: Vec<String> =
        (0..3).map(|n| client.create("/Users", okta::user(&format!("u{n}@x.test"))).id()).collect();
    let refused = client.post("/Users", okta::user("one-more@x.test")).expect_error(403, "");
    assert!(refused.detail().contains("may have 3 active users"), "{refused}");

    // A seat becomes free by a deactivation, and is taken by the next.
    let path = |n: usize| format!("/Users/{}", ids[n]);
    client.patch(&path(0), okta::set_active(false)).expect(200);
    client.create("/Users", okta::user("u3@x.test"));
    client.patch(&path(0), okta::set_active(true)).expect_error(403, "");
    let put = client.get(&path(0)).expect(200).without_meta();
    let mut active = put.clone();
    active["active"] = json!(true);
    client.put(&path(0), active).expect_error(403, "");
    // The way of Okta for who comes back, and that of a person who is made inactive.
    client.post("/Users", okta::user("u0@x.test")).expect_error(403, "");
    client.put(&path(0), put).expect(200);
    client.create("/Users", json!({ "userName": "inactive@x.test", "active": false }));
    // Changes of who is there are none of its business.
    client
        .patch(&path(1), okta::patch(json!([{ "op": "replace", "path": "displayName", "value": "New" }])))
        .expect(200);

    let bulk = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [
            { "method": "DELETE", "path": path(1) },
            { "method": "POST", "path": "/Users", "bulkId": "a", "data": okta::user("b1@x.test") },
            { "method": "POST", "path": "/Users", "bulkId": "b", "data": okta::user("b2@x.test") },
        ],
    });
    let answer = client.post("/Bulk", bulk).expect(200);
    let statuses: Vec<&str> =
        answer["Operations"].as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["204", "201", "403"]);

    let output = server.run(["user", "add", "acme", "operator@x.test"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("may have 3 active users"), "{stderr}");
    assert_eq!(stats(&server, "acme")["activeUsers"], 3);
    assert_eq!(stats(&server, "acme")["maxUsers"], 3);

    // A lower bound takes nobody away, a higher one holds within a second.
    server.write_config(&acme_with(&token, "max_users", "1").text());
    until("the lower bound is in force", || stats(&server, "acme")["maxUsers"] == 1);
    assert_eq!(total(&client), 5);
    server.write_config(&acme_with(&token, "max_users", "4").text());
    until("the higher bound is in force", || {
        client.post("/Users", okta::user("one-more@x.test")).status == 201
    });
    client.post("/Users", okta::user("and-more@x.test")).expect_error(403, "");
}

#[test]
fn writers_at_once_do_not_overrun_max_users() {
    let token = Token::new("okta");
    let server = Server::start(&acme_with(&token, "max_users", "10"));
    let made: usize = thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let client = server.client("acme", &token);
                scope.spawn(move || {
                    let one =
                        |n| client.post("/Users", json!({ "userName": format!("u{writer}-{n}") })).status;
                    (0..5).filter(|n| one(*n) == 201).count()
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    assert_eq!(made, 10);
    assert_eq!(stats(&server, "acme")["activeUsers"], 10);
}
