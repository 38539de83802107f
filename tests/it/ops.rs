//! What a machine is told of a running server: `/healthz`, `/readyz`, `ici-scim health`, slow requests in the log.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use crate::support::raw::{self, Connection};
use crate::support::server::{BINARY, clean_environment, run_to_end};
use crate::support::{Config, PATIENCE, Server, Token, okta, until};

/// Where a server serves health and metrics.
pub(crate) fn address_of(server: &Server) -> SocketAddr {
    let told = server.log().wait_for_message("health and metrics are served");
    told["address"].as_str().unwrap().parse().unwrap()
}

/// Status, head and body of what is answered.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: ops\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// Status and body of `/readyz`.
pub(crate) fn ready(address: SocketAddr) -> (u16, Value) {
    let (status, head, body) = ask(address, "GET", "/readyz");
    assert!(head.contains("content-type: application/json"), "{head}");
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn a_server_that_serves_is_healthy_and_ready() {
    let server = Server::start(&Config::acme(&Token::new("okta")));
    let address = address_of(&server);
    assert!(address.ip().is_loopback());
    let (status, head, body) = ask(address, "GET", "/healthz");
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    assert!(head.contains("cache-control: no-store"), "{head}");
    let (status, body) = ready(address);
    assert_eq!((status, &body["ready"], &body["stopping"]), (200, &true.into(), &false.into()));
    assert_eq!(body["configuration"]["state"], "in_force");
    assert_eq!(body["configuration"]["problem"], Value::Null);
    assert_eq!(body["data_dir"]["writable"], true);

    let (status, _, body) = ask(address, "HEAD", "/healthz");
    assert_eq!((status, body.as_str()), (200, ""));
    let (status, head, _) = ask(address, "POST", "/readyz");
    assert!(status == 405 && head.contains("allow: get, head"), "{status} {head}");
    assert_eq!(ask(address, "GET", "/scim/v2/acme/Users").0, 404);
    // And nothing of it is to be had where tenants are served.
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(
            server.client_with("acme", None).at(format!("http://{}", server.address())).get(path).status,
            404
        );
    }
}

#[test]
fn a_faulty_configuration_is_told_with_its_line_and_takes_nobody_out_of_service() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let address = address_of(&server);
    server.write_config("[server]\nlisten = 7\n");
    until("the fault is told", || ready(address).1["configuration"]["state"] == "faulty");
    let (status, body) = ready(address);
    assert_eq!((status, &body["ready"]), (200, &true.into()));
    let problem = body["configuration"]["problem"].as_str().unwrap();
    assert!(problem.contains("tenants.toml:2: server.listen: expected an address"), "{problem}");
    server.client("acme", &token).get("/Users").expect(200);
    server.write_config(&Config::acme(&token).text());
    until("the fault is over", || ready(address).1["configuration"]["state"] == "in_force");
}

#[test]
fn a_data_folder_that_takes_nothing_and_a_stop_are_not_ready() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let address = address_of(&server);
    // A folder that is gone takes nothing, whoever runs this.
    let data = server.folder().join("data");
    let aside = server.folder().join("aside");
    std::fs::rename(&data, &aside).unwrap();
    let (status, body) = ready(address);
    assert_eq!((status, &body["data_dir"]["writable"]), (503, &false.into()));
    assert!(body["data_dir"]["problem"].is_string());
    assert_eq!(ask(address, "GET", "/healthz").0, 200, "that is no reason to restart it");
    std::fs::rename(&aside, &data).unwrap();
    assert_eq!(ready(address).0, 200);

    // A request in flight holds the stop up.
    let mut connection = Connection::open(server.address());
    let headers = [
        ("Authorization", token.text()),
        ("Content-Type", "application/scim+json"),
        ("Content-Length", "2"),
        ("Expect", "100-continue"),
    ];
    connection.send(raw::request("POST", "/scim/v2/acme/Users", &headers));
    assert!(connection.is_to_continue(), "the server waits for the body");
    server.signal("TERM");
    until("it is not ready any more", || ready(address).0 == 503);
    let (_, body) = ready(address);
    assert_eq!((&body["ready"], &body["stopping"]), (&false.into(), &true.into()));
    connection.send("{}");
    connection.answer().expect("an answer").expect(400);
    assert!(server.ended().success());
}

#[test]
fn the_command_asks_the_server_of_its_configuration() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let token = Token::new("okta");
    let config = Config::acme(&token).server("ops_listen", &format!("\"{free}\""));
    let server = Server::start_with(&config, &[("ICI_SCIM_OPS_LISTEN", &free.to_string())]);
    assert_eq!(address_of(&server), free);
    assert_eq!(server.run_well(["health"]), "ok\n");
    assert!(server.run_well(["health", "--ready"]).contains("\"ready\": true"));
    let json: Value = serde_json::from_str(&server.run_well(["health", "--ready", "--json"])).unwrap();
    assert_eq!((&json["status"], &json["answer"]["ready"]), (&200.into(), &true.into()));
    let url = format!("http://{free}/nowhere");
    let output = server.run(["health", "--url", &url]);
    assert_eq!(output.status.code(), Some(1));

    server.signal("TERM");
    until("nobody answers", || TcpStream::connect(free).is_err());
    let output = server.run(["health"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("no answer from http://127.0.0.1:") && stderr.contains("hint:"), "{stderr}");
}

#[test]
fn a_faulty_configuration_does_not_keep_the_command_from_asking() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = Config::acme(&Token::new("okta")).server("ops_listen", &format!("\"{free}\""));
    let server = Server::start_with(&config, &[("ICI_SCIM_OPS_LISTEN", &free.to_string())]);
    for fault in ["[tenants.globex]\nprofle = 1\n", "[tenants.\n"] {
        server.write_config(&format!("{}\n{fault}", config.text()));
        until("the fault is told", || ready(free).1["configuration"]["state"] == "faulty");
        let output = server.run(["health"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(0), b"ok\n".as_slice()),
            "{stderr}"
        );
        assert!(stderr.contains("warning: ") && stderr.contains("tenants.toml:"), "{stderr}");
        assert!(server.run_well(["health", "--ready"]).contains("\"state\": \"faulty\""));
        // And back: the log says that it is over.
        server.write_config(&config.text());
        server.log().wait_for_message("the configuration is right again, and the one that is in force");
        until("the fault is gone", || ready(free).1["configuration"]["state"] == "in_force");
    }
    assert!(!server.log().text().contains("the configuration was read again"), "nobody has asked");
    server.signal("HUP");
    server.log().wait_for_message("the configuration was read again and is the one that is in force");
}

#[test]
fn it_can_be_off_and_the_command_says_so() {
    let config = Config::acme(&Token::new("okta")).server("ops_listen", "\"off\"");
    let server = Server::start_with(&config, &[("ICI_SCIM_OPS_LISTEN", "off")]);
    assert!(!server.log().text().contains("health and metrics"));
    let output = server.run(["health"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ops_listen is \"off\""));
}

#[test]
fn a_taken_address_stops_the_start_only_where_somebody_chose_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tenants.toml");
    std::fs::write(&file, Config::new().server("ops_listen", &format!("\"{address}\"")).text()).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(BINARY);
    clean_environment(&mut command);
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&file);
    let output = run_to_end(&mut command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("for health and metrics") && stderr.contains("--ops-listen"), "{stderr}");

    // The default one is taken now, by us or by somebody else, who may let it go before the server asks for it.
    let told = (0..20).find_map(|_| {
        let _default = TcpListener::bind("127.0.0.1:8081");
        let server = Server::start_without_ops(&Config::acme(&Token::new("okta")));
        server.log().wait_for("health and metrics", |line| {
            let told: Value = serde_json::from_str(line).ok()?;
            let message = told["message"].as_str()?;
            let is_refused = message.starts_with("health and metrics are not served");
            (is_refused || message == "health and metrics are served")
                .then(|| is_refused.then_some(told.clone()))
        })
    });
    let told = told.expect("one start that finds the address taken");
    assert_eq!((&told["level"], &told["address"]), (&"WARN".into(), &"127.0.0.1:8081".into()));
}

#[test]
fn a_slow_request_is_logged_with_the_plan_of_its_queries_and_without_a_value() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token).server("slow_request_ms", "1"));
    let client = server.client("acme", &token);
    let operations: Vec<Value> = (0..200)
        .map(|number| {
            let data = okta::user(&format!("slow{number}@x.test"));
            serde_json::json!({ "method": "POST", "path": "/Users", "bulkId": number.to_string(), "data": data })
        })
        .collect();
    let bulk = serde_json::json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations
    });
    let slow = |id: &str| -> Option<Value> {
        let text = server.log().text();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.into_iter().find(|event| event["message"] == "slow request" && event["request_id"] == id)
    };
    let reply = client.post("/Bulk", bulk).expect(200);
    let id = reply.header("x-request-id").unwrap().to_owned();
    until("the write is logged as slow", || slow(&id).is_some());
    let told = slow(&id).unwrap();
    assert_eq!(
        (&told["level"], &told["tenant"], &told["route"]),
        (&"WARN".into(), &"acme".into(), &"bulk".into())
    );
    assert!(told["duration_us"].as_u64().unwrap() >= 1000);
    assert!(told["plan"].as_str().unwrap().contains("USING INDEX"), "{told}");

    // How long a list takes is not ours to say: one of them is slow enough.
    let mut ids = Vec::new();
    let filter = "title%20co%20%22hushhush%22%20or%20nickName%20ew%20%22hushhush%22";
    until("a list is logged as slow", || {
        let reply = client.get(&format!("/Users?filter={filter}")).expect(200);
        ids.push(reply.header("x-request-id").unwrap().to_owned());
        ids.iter().any(|id| slow(id).is_some())
    });
    let told = ids.iter().find_map(|id| slow(id)).unwrap();
    assert_eq!(told["route"], "list_users");
    assert!(told["plan"].as_str().unwrap().contains("resources"), "{told}");
    let text = server.log().text();
    assert!(!text.contains("hushhush") && !text.contains("x.test"), "no value is logged");
}

#[test]
fn no_request_is_slow_where_that_is_off() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token).server("slow_request_ms", "0"));
    let client = server.client("acme", &token);
    client.create("/Users", okta::user("mia@x.test"));
    let (log, _) = {
        client.get("/Users").expect(200);
        server.stop_and_take_log()
    };
    assert!(!log.contains("slow request"), "{log}");
}
