//! Traces: a collector of a few lines, and the real program that sends to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use ici_scim::clock::Stopwatch;
use serde_json::{Value, json};

use crate::support::raw;
use crate::support::server::{BINARY, clean_environment};
use crate::support::{Config, PATIENCE, Server, Token};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// Takes what is sent and answers each with `status`: where it listens, and head and body of each.
fn collector(status: &'static str) -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (taken, all) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
            let head = head.to_ascii_lowercase();
            let Some((_, length)) = head.split_once("content-length: ") else { continue };
            let mut body = vec![0; length.lines().next().unwrap().parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            let _ = taken.send((head, serde_json::from_slice(&body).unwrap()));
        }
    });
    (endpoint, all)
}

/// The spans of all bodies until there are `count`.
fn spans(all: &Receiver<(String, Value)>, count: usize) -> Vec<Value> {
    let mut spans = Vec::new();
    while spans.len() < count {
        let (_, body) = all.recv_timeout(PATIENCE).unwrap();
        let sent = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
        spans.extend(sent.as_array().unwrap().iter().cloned());
    }
    spans
}

fn attribute<'v>(holder: &'v Value, name: &str) -> &'v Value {
    let all = holder["attributes"].as_array().unwrap();
    all.iter().find(|attribute| attribute["key"] == name).map_or(&Value::Null, |found| &found["value"])
}

/// Lists users with a filter, as part of a client's trace.
fn ask(server: &Server, token: &str, flags: &str) -> String {
    let traceparent = format!("00-{TRACE}-{SPAN}-{flags}");
    let headers = [("Authorization", token), ("traceparent", traceparent.as_str())];
    let target = "/scim/v2/acme/Users?filter=userName%20eq%20%22mia%40example.com%22";
    let reply = raw::exchange(server.address(), raw::request("GET", target, &headers)).expect(200);
    reply.header("x-request-id").unwrap().to_owned()
}

#[test]
fn a_request_is_a_span_of_the_clients_trace_and_holds_nothing_that_is_secret() {
    let (endpoint, all) = collector("200 OK");
    let token = Token::new("okta");
    let server = Server::start_with(
        &Config::acme(&token),
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=for%20the%20collector"),
            ("OTEL_SERVICE_NAME", "scim-test"),
        ],
    );
    let request_id = ask(&server, token.text(), "01");
    let (head, body) = all.recv_timeout(PATIENCE).unwrap();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    assert!(head.contains("x-api-key: for the collector\r\n"), "{head}");
    let resource = &body["resourceSpans"][0]["resource"];
    assert_eq!(attribute(resource, "service.name"), &json!({ "stringValue": "scim-test" }));
    let sent = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(sent.as_array().unwrap().len(), 1);
    let span = &sent[0];
    assert_eq!((&span["traceId"], &span["parentSpanId"]), (&json!(TRACE), &json!(SPAN)));
    assert_eq!((&span["kind"], &span["name"]), (&json!(2), &json!("GET list_users")));
    for (name, value) in [
        ("http.request.method", json!({ "stringValue": "GET" })),
        ("http.route", json!({ "stringValue": "list_users" })),
        ("http.response.status_code", json!({ "intValue": "200" })),
        ("ici.tenant", json!({ "stringValue": "acme" })),
        ("ici.request_id", json!({ "stringValue": request_id })),
    ] {
        assert_eq!(attribute(span, name), &value, "{name}");
    }
    let ns = |name: &str| -> u64 { span[name].as_str().unwrap().parse().unwrap() };
    assert!(ns("startTimeUnixNano") < ns("endTimeUnixNano"));
    let text = body.to_string();
    for secret in [token.text(), token.hash(), "mia", "example.com", "userName", "/scim/v2"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let (log, _) = server.stop_and_take_log();
    assert!(!log.contains("for the collector"), "{log}");
}

#[test]
fn the_clients_flag_decides_and_a_stop_sends_what_waits() {
    let (endpoint, all) = collector("200 OK");
    let token = Token::new("okta");
    let environment = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str())];
    let server = Server::start_with(&Config::acme(&token), &environment);
    ask(&server, token.text(), "00");
    let own = server.client("acme", &token).get("/Users").expect(200);
    let refused = server.client_with("acme", None).get("/Users").expect(401);
    assert!(server.stop().success());
    let spans = spans(&all, 2);
    let ids: Vec<&Value> = spans.iter().map(|span| &span["traceId"]).collect();
    // Without a trace of the client, the request's id is the trace's.
    assert_eq!(ids, [&json!(own.header("x-request-id")), &json!(refused.header("x-request-id"))]);
    assert!(spans.iter().all(|span| span.get("parentSpanId").is_none()));
    assert_eq!(attribute(&spans[1], "ici.tenant"), &Value::Null);
    assert!(all.try_recv().is_err());
}

#[test]
fn a_collector_that_is_gone_or_stands_still_does_no_harm() {
    let token = Token::new("okta");
    // Takes connections, in the system's queue, and never answers.
    let still = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("http://{address}");
    let server = Server::start_with(&Config::acme(&token), &[("OTEL_EXPORTER_OTLP_ENDPOINT", &gone)]);
    ask(&server, token.text(), "01");
    let told = server.log().wait_for_message("traces cannot be sent and are lost until they can");
    assert!(told["reason"].as_str().unwrap().contains("refused"), "{told}");
    ask(&server, token.text(), "01");
    let (log, status) = server.stop_and_take_log();
    assert!(status.success());
    assert_eq!(log.matches("traces cannot be sent").count(), 1, "{log}");

    let still = format!("http://{}", still.local_addr().unwrap());
    let server = Server::start_with(&Config::acme(&token), &[("OTEL_EXPORTER_OTLP_ENDPOINT", &still)]);
    ask(&server, token.text(), "01");
    let watch = Stopwatch::start();
    assert!(server.stop().success());
    assert!(watch.elapsed().as_secs() < 5, "{:?}", watch.elapsed());
}

#[test]
fn a_collector_that_refuses_is_told_of_with_its_status() {
    let (endpoint, all) = collector("503 Service Unavailable");
    let token = Token::new("okta");
    let server = Server::start_with(&Config::acme(&token), &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    ask(&server, token.text(), "01");
    spans(&all, 1);
    let told = server.log().wait_for_message("traces cannot be sent and are lost until they can");
    assert_eq!(told["reason"], "the collector answered 503");
    assert!(server.stop().success());
}

#[test]
fn nothing_is_traced_unless_it_is_said_where_to_and_a_wrong_variable_is_named() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    server.client("acme", &token).get("/Users").expect(200);
    let config = server.config_file();
    let mut command = std::process::Command::new(BINARY);
    clean_environment(&mut command);
    let output = command
        .args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "off", "--data-dir"])
        .arg(server.folder().join("other"))
        .arg("--config")
        .arg(&config)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:secret@127.0.0.1:4318")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && !stderr.contains("secret"), "{stderr}");
    let (log, _) = server.stop_and_take_log();
    assert!(!log.contains("traced"), "{log}");
}
