//! The life of a token: made, rotated while pushes go on, verified, warned of, used, and named in every event.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use ici_scim::clock::{Clock as _, SystemClock};
use ici_scim::scim::datetime;
use serde_json::{Value, json};

use crate::support::server::{BINARY, clean_environment};
use crate::support::{Config, SOON, Server, TenantConfig, Token, file, okta, until, until_within};

const DAY_MS: i64 = 24 * 3_600_000;

/// An instant from now, as TOML writes it.
fn in_ms(ms: i64) -> String {
    format!("\"{}\"", datetime::format(SystemClock.now_ms() + ms))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn tokens(server: &Server) -> Vec<Value> {
    let listed = server.run_well(["token", "list", "acme", "--json"]);
    serde_json::from_str::<Vec<Value>>(&listed).unwrap()
}

fn token_named(server: &Server, name: &str) -> Value {
    tokens(server).into_iter().find(|token| token["name"] == name).unwrap_or(Value::Null)
}

/// The instant of a token's key, in milliseconds.
fn ms(token: &Value, key: &str) -> i64 {
    datetime::parse(token[key].as_str().unwrap()).unwrap()
}

/// What docs/tokens.md tells minute by minute: Okta pushes with the old token until its administrator has entered the
/// new one, then with that; none of its pushes fails, and the old token ends by itself.
#[test]
fn a_rotation_while_okta_pushes_fails_no_push() {
    let old = Token::new("okta");
    let server = Server::start(&Config::acme(&old));
    server.client("acme", &old).get("/Users").expect(200);
    // What stands in Okta's field "API Token" at each moment.
    let in_okta = std::sync::Mutex::new(old.text().to_owned());
    let (done, pushed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let enough = |count: usize| {
        let start = pushed.load(Ordering::SeqCst);
        until("pushes go on", || pushed.load(Ordering::SeqCst) >= start + count);
    };
    let name = thread::scope(|scope| {
        let pushes = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let number = pushed.load(Ordering::SeqCst);
                let entered = in_okta.lock().unwrap().clone();
                let okta_app = server.client_with("acme", Some(&entered));
                let id = okta_app.create("/Users", okta::user(&format!("user{number}@x.test"))).id();
                okta_app.patch(&format!("/Users/{id}"), okta::set_active(false)).expect(200);
                pushed.fetch_add(1, Ordering::SeqCst);
            }
        });
        enough(5);
        // 09:00: the operator.
        let printed = server.run_well(["token", "rotate", "acme", "okta", "--overlap", "7d"]);
        let new = printed.trim().to_owned();
        // 09:01: the administrator presses "Test API Credentials" with the new one, while Okta pushes with the old.
        let probe = server.client_with("acme", Some(&new));
        until_within(SOON, "the new token is in service", || {
            probe.get("/Users?startIndex=1&count=1").status == 200
        });
        enough(5);
        // 09:02: "Save".
        in_okta.lock().unwrap().clone_from(&new);
        enough(5);
        let name = tokens(&server).iter().map(|token| token["name"].clone()).find(|name| name != "okta");
        let name = name.unwrap().as_str().unwrap().to_owned();
        // The old one's last use lies behind, the new one's goes on: the old one may go before its time.
        server.run_well(["token", "revoke", "acme", "okta"]);
        until("the old one is refused", || server.client("acme", &old).get("/Users").status == 401);
        enough(5);
        done.store(true, Ordering::SeqCst);
        pushes.join().unwrap();
        name
    });
    assert!(name.starts_with("okta-20"), "{name}");
    let events = file::open(&server.tenant_file("acme"));
    let by = |actor: &str| -> i64 {
        events.query_row("SELECT count(*) FROM events WHERE actor = ?1", [actor], |row| row.get(0)).unwrap()
    };
    assert!(by("token:okta") >= 20 && by(&format!("token:{name}")) >= 20);
    let all: i64 = events.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(
        by("token:okta") + by(&format!("token:{name}")),
        all,
        "every push is there, by one or the other"
    );
    let refused = server.log().requests().iter().filter(|line| line["status"] == 401).count();
    assert!(refused <= 100, "only the asking of this test was refused");
}

#[test]
fn a_rotated_token_keeps_what_it_may_do_and_the_old_one_never_lives_longer() {
    let user = "2819c223-7f76-453a-919d-413861904646";
    let lasting = Token::new("okta-2025-01-01").read_only().with("user", &format!("\"{user}\""));
    let ending = Token::new("ends soon").with("expires", &in_ms(2 * DAY_MS));
    let living =
        Token::new("year").with("created", &in_ms(-300 * DAY_MS)).with("expires", &in_ms(65 * DAY_MS));
    let server = Server::start(
        &Config::new().tenant(TenantConfig::new("acme").token(&lasting).token(&ending).token(&living)),
    );
    let rotated = |arguments: &[&str]| -> Value {
        let output = server.run([&["token", "rotate", "acme"], arguments, &["--json"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let near = |at_ms: i64, days: i64| (at_ms - SystemClock.now_ms() - days * DAY_MS).abs() < DAY_MS / 24;

    let today = || datetime::format(SystemClock.now_ms())[..10].to_owned();
    let before = today();
    let new = rotated(&["okta-2025-01-01"]);
    assert!([before, today()].map(|day| json!(format!("okta-{day}"))).contains(&new["name"]), "{new}");
    assert_eq!(
        (&new["access"], &new["user"], &new["expires"]),
        (&json!("read-only"), &json!(user), &Value::Null)
    );
    assert!(near(ms(&new["replaces"], "expires"), 7));
    assert!(near(ms(&token_named(&server, "okta-2025-01-01"), "expires"), 7));

    let new = rotated(&["ends soon", "--overlap", "2w", "--name", "next", "--expires", "30d"]);
    assert!(near(ms(&new["replaces"], "expires"), 2), "not later than before");
    assert!(near(ms(&token_named(&server, "ends soon"), "expires"), 2));
    assert!(near(ms(&token_named(&server, "next"), "expires"), 30));

    // As long as the old one was to live.
    let new = rotated(&["year", "--overlap", "0"]);
    assert!(near(ms(&new, "expires"), 365), "{new}");
    assert_eq!(token_named(&server, "year"), Value::Null);
    until("it ends at once", || server.client("acme", &living).get("/Users").status == 401);
    let client = server.client_with("acme", new["token"].as_str());
    until("the new one is taken", || client.get("/Users").status == 200);

    for (arguments, code, words) in [
        (["nobody", "okta", "--overlap=7d"], 1, "no tenant nobody"),
        (["acme", "nobody", "--overlap=7d"], 1, "has no token \"nobody\""),
        (["acme", "next", "--overlap=soon"], 2, "--overlap soon"),
        (["acme", "next", "--overlap=7"], 2, "--overlap 7"),
        (["acme", "next", "--overlap=99999999d"], 2, "--overlap 99999999d"),
        (["acme", "next", "--name=next"], 1, "has a token \"next\" already"),
    ] {
        let output = server.run([&["token", "rotate"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    }
}

fn verify(server: &Server, more: &[&str], input: &str) -> Output {
    let mut command = Command::new(BINARY);
    clean_environment(&mut command);
    command.arg("--config").arg(server.config_file()).args(["token", "verify"]).args(more);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn a_token_in_hand_is_told_by_name_and_never_shown() {
    let (right, reader) = (Token::new("okta"), Token::new("reader").read_only());
    let (expired, other) = (Token::new("old").with("expires", "2020-01-01"), Token::new("okta"));
    let server = Server::start(
        &Config::new()
            .tenant(TenantConfig::new("acme").token(&right).token(&reader).token(&expired))
            .tenant(TenantConfig::new("globex").token(&other)),
    );
    for input in
        [right.text().to_owned(), format!("Bearer {}\r\n", right.text()), format!(" {}\n", right.text())]
    {
        let output = verify(&server, &["acme"], &input);
        let table = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && table.lines().nth(1).unwrap().contains("okta"), "{table}");
        assert!(
            table.contains("read-write") && table.contains("never") && table.contains("valid"),
            "{table}"
        );
        assert!(!table.contains(right.text()));
    }
    let told: Value =
        serde_json::from_slice(&verify(&server, &["acme", "--json"], reader.text()).stdout).unwrap();
    assert_eq!(
        (&told["name"], &told["access"], &told["state"]),
        (&json!("reader"), &json!("read-only"), &json!("valid"))
    );
    let output = verify(&server, &["acme"], expired.text());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("expired"));
    for (tenant, input, words) in [
        ("acme", other.text(), "no token of tenant acme"),
        ("acme", "", "is not a token"),
        ("acme", &right.text()[1..], "is not a token"),
        ("acme", &"x".repeat(100_000), "is not a token"),
        ("nobody", right.text(), "no tenant nobody"),
    ] {
        let output = verify(&server, &[tenant], input);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(stderr(&output).contains(words) && output.stdout.is_empty(), "{}", stderr(&output));
        assert!(!stderr(&output).contains(other.text()));
    }
}

#[test]
fn tokens_that_expire_are_told_in_the_log_and_in_the_list() {
    let (soon, past) = (
        Token::new("soon").with("expires", &in_ms(6 * DAY_MS + DAY_MS / 2)),
        Token::new("past").with("expires", "2020-01-01"),
    );
    let (hours, lasting) =
        (Token::new("hours").with("expires", &in_ms(5 * DAY_MS / 24 + 60_000)), Token::new("lasting"));
    let config = Config::new()
        .tenant(TenantConfig::new("acme").token(&soon).token(&past).token(&hours).token(&lasting));
    let server = Server::start(&config);
    let warning = |name: &str| {
        server.log().wait_for(name, |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["token_name"] == name).then_some(event)
        })
    };
    let told = warning("soon");
    assert_eq!((&told["level"], &told["tenant"], &told["days"]), (&json!("WARN"), &json!("acme"), &json!(7)));
    assert!(told["message"].as_str().unwrap().contains("expires soon"));
    assert!(warning("past")["message"].as_str().unwrap().contains("has expired"));
    assert_eq!(warning("hours")["days"], 1);
    assert!(!server.log().text().contains("\"token_name\":\"lasting\""));

    let list = server.run_well(["token", "list", "acme"]);
    let row = |name: &str| list.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(row("soon").contains("expires in 6 days"), "{list}");
    assert!(row("hours").contains("expires in 5 hours"), "{list}");
    assert!(row("past").contains("expired") && row("lasting").contains("valid"), "{list}");
    assert!(!list.contains('\u{1b}'), "colours are for terminals");
}

#[test]
fn the_last_use_of_a_token_is_listed_beside_the_server_and_survives_it() {
    let (used, unused) = (Token::new("used"), Token::new("unused"));
    let config = Config::new().tenant(TenantConfig::new("acme").token(&used).token(&unused));
    let server = Server::start(&config);
    let before_ms = SystemClock.now_ms();
    server.client("acme", &used).get("/Users").expect(200);
    until("the use is listed while the server runs", || !token_named(&server, "used")["lastUsed"].is_null());
    let used_ms = ms(&token_named(&server, "used"), "lastUsed");
    assert!((before_ms - 1000..=SystemClock.now_ms()).contains(&used_ms));
    assert!(token_named(&server, "unused")["lastUsed"].is_null());

    // Neither secret nor anybody's but the owner's.
    let kept = server.folder().join("data/.last-used.json");
    let text = fs::read_to_string(&kept).unwrap();
    assert!(!text.contains("argon2") && !text.contains("ici_"), "{text}");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    // A server that stops writes what it knows; the next one goes on with it.
    server.client("acme", &unused).get("/Users").expect(200);
    let server = server.stop_and_restart(&config, || {});
    assert_eq!(ms(&token_named(&server, "used"), "lastUsed") / 1000, used_ms / 1000);
    assert!(!token_named(&server, "unused")["lastUsed"].is_null());
    server.client("acme", &unused).get("/Users").expect(200);
    let server = server.stop_and_restart(&config, || {});
    assert_eq!(
        ms(&token_named(&server, "used"), "lastUsed") / 1000,
        used_ms / 1000,
        "known though not used again"
    );
    // A broken file is no reason not to start, and is written anew.
    fs::write(&kept, "{").unwrap();
    server.client("acme", &used).get("/Users").expect(200);
    server.stop();
}

#[test]
fn every_event_names_the_token_that_did_it() {
    let (first, second) = (Token::new("first app"), Token::new("second"));
    let server = Server::start(&Config::new().tenant(TenantConfig::new("acme").token(&first).token(&second)));
    let client = server.client("acme", &first);
    let ada = client.create("/Users", okta::user("ada@x.test")).id();
    let user = client.get(&format!("/Users/{ada}")).expect(200).json;
    client.put(&format!("/Users/{ada}"), user).expect(200);
    client.patch(&format!("/Users/{ada}"), okta::set_active(false)).expect(200);
    // POST of who is inactive brings them back.
    client.post("/Users", okta::user("ada@x.test")).expect(201);
    let group = client.create("/Groups", okta::group("Staff", &[okta::member(&ada, "ada@x.test")])).id();
    client.patch(&format!("/Groups/{group}"), okta::patch(json!([okta::remove_member(&ada)]))).expect(200);
    client.delete(&format!("/Groups/{group}")).expect(204);

    let bulk = server.client("acme", &second);
    let operations = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [
            { "method": "POST", "path": "/Users", "bulkId": "b", "data": okta::user("bob@x.test") },
            { "method": "POST", "path": "/Groups", "bulkId": "g",
              "data": okta::group("Team", &[json!({ "value": "bulkId:b" })]) },
            { "method": "PATCH", "path": format!("/Users/{ada}"), "data": okta::set_active(false) },
            { "method": "DELETE", "path": format!("/Users/{ada}") },
        ],
    });
    let answer = bulk.post("/Bulk", operations);
    assert_eq!(answer.status, 200);
    server.run_well(["user", "deactivate", "acme", "bob@x.test"]);

    let events = file::open(&server.tenant_file("acme"));
    let mut rows = events.prepare("SELECT actor, action FROM events ORDER BY seq").unwrap();
    let rows: Vec<(String, String)> =
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    let of = |actor: &str| -> Vec<&str> {
        rows.iter().filter(|(by, _)| by == actor).map(|(_, action)| action.as_str()).collect()
    };
    assert_eq!(of("token:first app").iter().filter(|action| **action == "create").count(), 2);
    for action in ["deactivate", "restore", "update", "delete"] {
        assert!(of("token:first app").contains(&action), "{action}: {rows:?}");
    }
    for action in ["create", "deactivate", "delete"] {
        assert!(of("token:second").contains(&action), "{action}: {rows:?}");
    }
    assert_eq!(of("operator"), ["deactivate"]);
    assert_eq!(of("token:first app").len() + of("token:second").len() + 1, rows.len(), "{rows:?}");
}
