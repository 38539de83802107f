//! Start, reload, stop, death: what a client and an operator see of each.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};

use crate::support::raw::{self, Connection};
use crate::support::server::{BINARY, clean_environment, run_to_end};
use crate::support::{Client, Config, Server, TenantConfig, Token, okta, until};

/// A POST of a user whose body is half sent.
fn half_sent(server: &Server, token: &Token, user_name: &str) -> (Connection, String) {
    let body = okta::user(user_name).to_string();
    let (first, second) = body.split_at(body.len() / 2);
    let length = body.len().to_string();
    let headers = [
        ("Authorization", token.text()),
        ("Content-Type", "application/scim+json"),
        ("Content-Length", length.as_str()),
        ("Expect", "100-continue"),
    ];
    let mut connection = Connection::open(server.address());
    connection.send(raw::request("POST", "/scim/v2/acme/Users", &headers));
    assert!(connection.is_to_continue(), "the server waits for the body");
    connection.send(first);
    (connection, second.to_owned())
}

#[test]
fn a_stop_answers_what_is_in_flight_and_refuses_what_is_new() {
    for signal in ["TERM", "INT"] {
        let token = Token::new("okta");
        let server = Server::start(&Config::acme(&token));
        let client = server.client("acme", &token);
        client.get("/Users").expect(200);
        let mut idle = Connection::open(server.address());
        idle.send(raw::request("GET", "/scim/v2/acme/Users", &[("Authorization", token.text())]));
        idle.answer().expect("an answer").expect(200);
        let (mut connection, rest) = half_sent(&server, &token, "in-flight@x.test");

        server.signal(signal);
        server.log().wait_for_message("stopping");
        until("new connections are refused", || TcpStream::connect(server.address()).is_err());
        assert!(idle.is_closed(), "an idle connection does not hold the stop up");
        connection.send(rest);
        connection.answer().expect("an answer").expect(201);
        let file = server.tenant_file("acme");
        let kept = std::fs::metadata(&file).is_ok();
        assert!(kept && server.ended().success(), "{signal}");
    }
}

#[test]
fn a_stop_does_not_wait_longer_than_stop_s() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token).limit("stop_s", 1));
    let (connection, _) = half_sent(&server, &token, "never@x.test");
    server.client("acme", &token).get("/Users").expect(200);
    assert!(server.stop().success());
    drop(connection);
}

#[test]
fn a_hangup_takes_the_file_into_service_and_reports_a_bad_one() {
    let (old, new) = (Token::new("old"), Token::new("new"));
    let server = Server::start(&Config::acme(&old));
    server.write_config(&Config::acme(&new).text());
    server.signal("HUP");
    until("the new token is taken", || server.client("acme", &new).get("/Users").status == 200);
    server.client("acme", &old).get("/Users").expect(401);

    server.write_config("[server]\nlisten = 7\n");
    server.signal("HUP");
    let report =
        server.log().wait_for("the fault", |line| line.contains("tenants.toml:2").then(|| line.to_owned()));
    assert!(report.contains("server.listen") && report.contains("expected"), "{report}");
    server.client("acme", &new).get("/Users").expect(200);
    assert!(server.stop().success());
}

#[test]
fn a_port_that_is_taken_is_one_clear_sentence_with_the_flag_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tenants.toml");
    std::fs::write(&config, Config::acme(&Token::new("okta")).text()).unwrap();
    let output = run_to_end(
        Command::new(BINARY).args(["serve", "--listen", &address.to_string(), "--config"]).arg(&config),
    );
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(&address.port().to_string()) && stderr.contains("--listen"), "{stderr}");
    assert!(!stderr.contains("panic"), "{stderr}");
}

#[test]
fn a_server_does_not_start_on_a_wrong_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tenants.toml");
    for (text, named) in
        [("[server]\nlissten = 1\n", "lissten"), ("[tenants.A_b]\n", "A_b"), ("nonsense", "tenants.toml:1")]
    {
        std::fs::write(&config, text).unwrap();
        let output = run_to_end(
            Command::new(BINARY).args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&config),
        );
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(named) && stderr.contains("tenants.toml"), "{stderr}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_however_durable_it_is() {
    for durability in ["full", "normal"] {
        what_was_acknowledged_survives_a_kill(durability);
    }
}

fn what_was_acknowledged_survives_a_kill(durability: &str) {
    let token = Token::new("okta");
    let config = Config::acme(&token).server("durability", &format!("\"{durability}\""));
    let server = Server::start(&config);
    let client = server.client("acme", &token);
    let acknowledged = Mutex::new(Vec::new());
    let server = thread::scope(|scope| {
        for writer in 0..4 {
            let (client, acknowledged) = (&client, &acknowledged);
            scope.spawn(move || {
                for n in 0.. {
                    let name = format!("u{writer}-{n}@x.test");
                    let Some(status) = client.try_post("/Users", &json!({ "userName": name })) else { break };
                    assert_eq!(status, 201);
                    acknowledged.lock().unwrap().push(name);
                }
            });
        }
        until("some writes are acknowledged", || acknowledged.lock().unwrap().len() > 60);
        server.kill_and_restart(&config)
    });
    let client = server.client("acme", &token);
    let acknowledged = acknowledged.into_inner().unwrap();
    let found = client.get("/Users?count=1000").expect(200);
    let names: Vec<&str> = found.resources().iter().map(|user| user["userName"].as_str().unwrap()).collect();
    for name in &acknowledged {
        assert!(names.contains(&name.as_str()), "{name} was acknowledged and is lost");
    }
    // At most the one write of each writer that was on its way.
    assert!(names.len() <= acknowledged.len() + 4);
    assert_eq!(found["totalResults"], names.len());
}

#[test]
fn a_log_that_nobody_reads_any_more_does_not_end_the_server() {
    let token = Token::new("okta");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tenants.toml");
    std::fs::write(&config, Config::acme(&token).text()).unwrap();
    let mut command = Command::new(BINARY);
    clean_environment(&mut command);
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&config);
    let mut server = command.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let listening = events.find(|event| event["message"] == "listening").unwrap();
    // The reader goes: a log shipper that was restarted, a terminal that was closed.
    drop(events);
    let base = format!("http://{}/scim/v2/acme", listening["address"].as_str().unwrap());
    let client = Client::new(base, Some(token.text()));
    let statuses: Vec<Option<u16>> =
        (0..3).map(|n| client.try_post("/Users", &json!({ "userName": format!("u{n}") }))).collect();
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(statuses, [Some(201); 3]);
}

#[test]
fn a_foreign_file_in_the_place_of_a_tenants_is_refused_and_left_alone() {
    let (token, other) = (Token::new("okta"), Token::new("okta"));
    let server = Server::start(
        &Config::new()
            .tenant(TenantConfig::new("acme").token(&token))
            .tenant(TenantConfig::new("globex").token(&other)),
    );
    let file = server.tenant_file("acme");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let foreign = rusqlite::Connection::open(&file).unwrap();
    foreign.execute_batch("CREATE TABLE accounts (x); INSERT INTO accounts VALUES (1);").unwrap();
    drop(foreign);
    let before = std::fs::read(&file).unwrap();

    let refused = server.client("acme", &token).get("/Users").expect_error(503, "");
    assert!(refused.header("retry-after").unwrap().parse::<u32>().is_ok());
    assert!(!refused.detail().contains("sqlite"), "{refused}");
    server.log().wait_for("the reason", |line| {
        (line.contains("acme.sqlite") && line.contains("ERROR")).then_some(())
    });
    assert_eq!(std::fs::read(&file).unwrap(), before);
    server.client("globex", &other).get("/Users").expect(200);
}

#[test]
fn tenants_beyond_the_open_ones_are_closed_and_opened_again() {
    let tokens: Vec<Token> = (0..6).map(|_| Token::new("okta")).collect();
    let mut config = Config::new().limit("open_tenants_max", 2);
    for (number, token) in tokens.iter().enumerate() {
        config = config.tenant(TenantConfig::new(&format!("t{number}")).token(token));
    }
    let server = Server::start(&config);
    let clients: Vec<_> =
        tokens.iter().enumerate().map(|(n, token)| server.client(&format!("t{n}"), token)).collect();
    thread::scope(|scope| {
        for client in &clients {
            scope.spawn(move || {
                for round in 0..8 {
                    client.create("/Users", json!({ "userName": format!("u{round}") }));
                    assert_eq!(client.get("/Users").expect(200)["totalResults"], round + 1);
                }
            });
        }
    });
}

#[test]
fn a_tenant_that_is_open_and_idle_has_no_thread() {
    const TENANTS: usize = 40;
    let tokens: Vec<Token> = (0..TENANTS).map(|_| Token::new("okta")).collect();
    let mut config = Config::new();
    for (number, token) in tokens.iter().enumerate() {
        config = config.tenant(TenantConfig::new(&format!("t{number}")).token(token));
    }
    let server = Server::start(&config);
    let make = |number: usize| {
        let client = server.client(&format!("t{number}"), &tokens[number]);
        client.create("/Users", json!({ "userName": "ann@x.test" }));
        client.get("/Users?filter=title%20co%20%22x%22").expect(200);
    };
    // Those that any tenant needs, and that are there for all: for what blocks, pools, timers.
    make(0);
    let first = threads(&server);
    (1..TENANTS).for_each(make);
    let all = threads(&server);
    assert!(all < first + TENANTS / 2, "{first} threads with one tenant, {all} with {TENANTS}");
}

fn threads(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", server.process_id())).unwrap().count()
}

#[test]
fn addresses_in_answers_follow_the_public_url() {
    let token = Token::new("okta");
    let server =
        Server::start(&Config::acme(&token).server("public_url", "\"https://scim.example.com/ici/\""));
    let made = server.client("acme", &token).create("/Users", okta::user("a@x.test"));
    let location = format!("https://scim.example.com/ici/scim/v2/acme/Users/{}", made.id());
    assert_eq!(made["meta"]["location"], location);
    assert_eq!(made.header("location"), Some(location.as_str()));
}
