//! HTTP as clients and the proxies before this server really speak it.

use reqwest::Method;
use serde_json::json;

use crate::support::raw::{self, Connection};
use crate::support::{Config, Server, Tenant, TenantConfig, Token, okta, until};

/// The head of a POST to the tenant, with further headers.
fn post_head(tenant: &Tenant, more: &[(&str, &str)]) -> String {
    let mut headers = vec![("Authorization", tenant.token.text()), ("Content-Type", "application/scim+json")];
    headers.extend_from_slice(more);
    raw::request("POST", &format!("/scim/v2/{}/Users", tenant.name), &headers)
}

#[test]
fn a_client_that_waits_for_continue_is_told_to_go_on() {
    let tenant = Tenant::fresh();
    let body = okta::user("a@x.test").to_string();
    let length = body.len().to_string();
    let mut connection = Connection::open(tenant.server.address());
    connection.send(post_head(&tenant, &[("Content-Length", &length), ("Expect", "100-continue")]));
    assert!(connection.is_to_continue());
    connection.send(body);
    connection.answer().expect("an answer").expect(201);

    // And not asked for the body when it is refused anyway.
    let mut connection = Connection::open(tenant.server.address());
    let refused = [("Content-Length", "10"), ("Expect", "100-continue"), ("Authorization", "second")];
    connection.send(post_head(&tenant, &refused));
    connection.answer().expect("an answer").expect(401);
}

#[test]
fn several_requests_on_one_connection_are_answered_in_order() {
    let tenant = Tenant::fresh();
    let mut all = String::new();
    for n in 0..5 {
        let body = json!({ "userName": format!("u{n}") }).to_string();
        all += &post_head(&tenant, &[("Content-Length", &body.len().to_string())]);
        all += &body;
    }
    let mut connection = Connection::open(tenant.server.address());
    connection.send(all);
    for n in 0..5 {
        assert_eq!(connection.answer().expect("an answer").expect(201)["userName"], format!("u{n}"));
    }
}

#[test]
fn a_refusal_in_the_middle_leaves_the_connection_usable() {
    let tenant = Tenant::fresh();
    let mut connection = Connection::open(tenant.server.address());
    for (kind, status) in [("text/plain", 415), ("application/scim+json", 201)] {
        let body = okta::user("a@x.test").to_string();
        let length = body.len().to_string();
        let headers = [
            ("Authorization", tenant.token.text()),
            ("Content-Type", kind),
            ("Content-Length", length.as_str()),
        ];
        connection.send(raw::request("POST", &format!("/scim/v2/{}/Users", tenant.name), &headers) + &body);
        connection.answer().expect("an answer").expect(status);
    }
}

#[test]
fn old_and_absolute_requests_are_answered() {
    let tenant = Tenant::fresh();
    let (path, token) = (format!("/scim/v2/{}/Users", tenant.name), tenant.token.text());
    let old = format!("GET {path} HTTP/1.0\r\nAuthorization: {token}\r\n\r\n");
    raw::exchange(tenant.server.address(), old).expect(200);
    let absolute =
        format!("GET http://proxy.test{path} HTTP/1.1\r\nHost: proxy.test\r\nAuthorization: {token}\r\n\r\n");
    raw::exchange(tenant.server.address(), absolute).expect(200);
}

#[test]
fn a_body_may_come_chunked_byte_by_byte() {
    let tenant = Tenant::fresh();
    let mut connection = Connection::open(tenant.server.address());
    connection.send(post_head(&tenant, &[("Transfer-Encoding", "chunked")]));
    for byte in okta::user("zoë@x.test").to_string().bytes() {
        connection.send([b"1\r\n".as_slice(), &[byte], b"\r\n"].concat());
    }
    connection.send("0\r\n\r\n");
    assert_eq!(connection.answer().expect("an answer").expect(201)["userName"], "zoë@x.test");
}

#[test]
fn addresses_in_answers_follow_the_host_that_was_asked() {
    let tenant = Tenant::fresh();
    let target = format!("/scim/v2/{}/ServiceProviderConfig", tenant.name);
    let reply = raw::exchange(
        tenant.server.address(),
        raw::request("GET", &target, &[("Authorization", tenant.token.text())]),
    );
    assert_eq!(reply["meta"]["location"], format!("http://scim.test{target}"));
}

#[test]
fn a_change_of_limits_and_options_is_in_force_and_advertised_without_a_restart() {
    let token = Token::new("okta");
    let tenant = || TenantConfig::new("acme").token(&token);
    let server = Server::start(&Config::new().tenant(tenant()));
    let client = server.client("acme", &token);
    let id = client.create("/Users", okta::user("a@x.test")).id();
    client.patch(&format!("/Users/{id}"), okta::set_active(false)).expect(200);
    assert_eq!(client.get("/ServiceProviderConfig")["filter"]["maxResults"], 1000);

    let changed = Config::new()
        .limit("page_resources_max", 100)
        .limit("body_bytes_max", 65_536)
        .tenant(tenant().option("on_recreate", "\"conflict\"").option("store_passwords", "true"));
    server.write_config(&changed.text());
    until("the new limits are in force", || {
        client.get("/ServiceProviderConfig")["filter"]["maxResults"] == 100
    });
    let config = client.get("/ServiceProviderConfig");
    assert_eq!(config["bulk"]["maxPayloadSize"], 65_536);
    assert_eq!(config["changePassword"]["supported"], true);
    let large = json!({ "userName": "b", "note": "x".repeat(70_000) });
    client.post("/Users", large).expect_error(413, "");
    client.post("/Users", okta::user("a@x.test")).expect_error(409, "uniqueness");
}

#[test]
fn an_answer_is_not_for_caches_and_has_an_id_of_its_own() {
    let client = Tenant::fresh().client();
    let (first, second) = (client.get("/Users"), client.get("/Users"));
    assert_eq!(first.header("cache-control"), Some("no-store"));
    let ids = [&first, &second].map(|reply| reply.header("x-request-id").unwrap().to_owned());
    assert_ne!(ids[0], ids[1]);
    let foreign = client.send_with(Method::GET, "/Users", None, &[("x-request-id", "mine")]);
    assert_ne!(foreign.header("x-request-id"), Some("mine"));
}
