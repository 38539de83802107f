//! Every refusal, on every path, is a SCIM Error that an administrator can act on; `Reply::checked` looks at the
//! shape of each.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::raw::{self, Connection};
use crate::support::{Config, Server, Tenant, Token, okta, until};

#[test]
fn there_is_a_404_at_every_address_where_nothing_is() {
    let client = Tenant::fresh().client();
    for path in [
        "/users",
        "/Widgets",
        "/Users/1/2",
        "/Users/1/groups/2",
        "/Schemas/a/b",
        "/%ff",
        "/Users%2F1",
        "/favicon.ico",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            client.send_with(method, path, None, &[]).expect_error(404, "");
        }
    }
    let server = Server::shared();
    for target in
        ["/", "/scim", "/scim/v2", "/scim/v2/", "/scim/vx/t001/Users", "/metrics", "*", "/%", "/a?b=%", "//"]
    {
        raw::exchange(server.address(), raw::request("GET", target, &[])).expect_error(404, "");
    }
}

#[test]
fn a_method_that_an_address_does_not_take_is_405_with_the_ones_it_takes() {
    let client = Tenant::fresh().client();
    let id = client.create("/Users", okta::user("a@x.test")).id();
    let (one, collection) = (format!("/Users/{id}"), "/Users".to_owned());
    let discovery = "/ServiceProviderConfig".to_owned();
    for (path, methods, takes) in [
        (&one, ["POST", "LOCK", "TRACE", "PURGE"], ["GET", "PUT", "PATCH", "DELETE"].as_slice()),
        (&collection, ["PUT", "PATCH", "DELETE", "LOCK"], &["GET", "POST"]),
        (&discovery, ["POST", "PUT", "PATCH", "DELETE"], &["GET"]),
    ] {
        for method in methods {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let refused = client.send_with(method.clone(), path, None, &[]).expect_error(405, "");
            let allow: Vec<&str> = refused.header("allow").unwrap().split(", ").collect();
            assert!(takes.iter().all(|method| allow.contains(method)), "{path}: {allow:?}");
            assert!(!allow.contains(&method.as_str()));
        }
    }
    assert_eq!(client.get(&one).status, 200);
}

#[test]
fn what_is_not_offered_says_so() {
    let client = Tenant::fresh().client();
    client.post("/Me", json!({})).expect_error(501, "");
}

#[test]
fn a_body_of_another_type_is_415() {
    let client = Tenant::fresh().client();
    let body = || Some(okta::user("a@x.test").to_string().into_bytes());
    for kind in [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
    ] {
        client.send_with(Method::POST, "/Users", body(), &[("content-type", kind)]).expect_error(415, "");
    }
    assert_eq!(client.get("/Users")["totalResults"], 0);
}

#[test]
fn a_body_that_is_no_json_is_400_and_is_not_repeated() {
    let client = Tenant::fresh().client();
    for body in [
        "",
        " ",
        "{",
        "{\"userName\":\"marker-4711\"",
        "{\"userName\":\"marker-4711\"} x",
        "not json marker-4711",
        "{'userName':'marker-4711'}",
        "{\"userName\":\"\\ud800\"}",
        "{\"userName\":\"marker-4711\",}",
        "[1,2",
        "nul",
        "\u{0}",
    ] {
        let refused = client
            .send_with(Method::POST, "/Users", Some(body.into()), &[])
            .expect_error(400, "invalidSyntax");
        assert!(!refused.detail().contains("4711"), "{refused}");
    }
    let not_utf8 = b"{\"userName\":\"\xff\xfe\"}".to_vec();
    client.send_with(Method::POST, "/Users", Some(not_utf8), &[]).expect_error(400, "invalidSyntax");
}

#[test]
fn json_that_is_too_deep_is_400() {
    let client = Tenant::fresh().client();
    let nested =
        |depth: usize| format!("{{\"userName\":\"a\",\"x\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    for depth in [40, 100_000, 1_000_000] {
        let refused = client.send_with(Method::POST, "/Users", Some(nested(depth).into_bytes()), &[]);
        assert!(refused.expect_error(400, "invalidSyntax").detail().contains("32"));
    }
    client.send_with(Method::POST, "/Users", Some(nested(20).into_bytes()), &[]).expect(201);
}

#[test]
fn a_body_that_is_too_large_is_413_announced_or_chunked() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token).limit("body_bytes_max", 65_536));
    let client = server.client("acme", &token);
    let fits = json!({ "userName": "fits", "note": "x".repeat(60_000) }).to_string();
    client.send_with(Method::POST, "/Users", Some(fits.into_bytes()), &[]).expect(201);
    let large = json!({ "userName": "large", "note": "x".repeat(70_000) }).to_string();
    let refused = client.send_with(Method::POST, "/Users", Some(large.clone().into_bytes()), &[]);
    assert!(refused.expect_error(413, "").detail().contains("65536"));

    let chunked = [
        ("Authorization", token.text()),
        ("Content-Type", "application/scim+json"),
        ("Transfer-Encoding", "chunked"),
    ];
    let send_chunked = |body: &str| {
        let mut connection = Connection::open(server.address());
        connection.send(raw::request("POST", "/scim/v2/acme/Users", &chunked));
        for chunk in body.as_bytes().chunks(8_000) {
            if !connection.try_send([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()) {
                break;
            }
        }
        connection.try_send("0\r\n\r\n");
        connection.answer().expect("an answer")
    };
    send_chunked(&large).expect_error(413, "");
    send_chunked(&json!({ "userName": "chunked" }).to_string()).expect(201);

    // Announced only: the answer does not wait for the body.
    let announced = [
        ("Authorization", token.text()),
        ("Content-Type", "application/scim+json"),
        ("Content-Length", "999999999"),
    ];
    raw::exchange(server.address(), raw::request("POST", "/scim/v2/acme/Users", &announced))
        .expect_error(413, "");
    assert_eq!(client.get("/Users")["totalResults"], 2);
}

#[test]
fn a_body_that_does_not_come_is_408_and_a_head_that_does_not_come_ends_the_connection() {
    let token = Token::new("okta");
    let server = Server::start(
        &Config::acme(&token).limit("request_s", 1).limit("header_read_s", 1).limit("keep_alive_s", 1),
    );
    // The first request makes the tenant's file, which may take a second.
    let ask = raw::request("GET", "/scim/v2/acme/Users", &[("Authorization", token.text())]);
    until("the file is there", || raw::exchange(server.address(), &ask).status == 200);
    // Three clients wait at once, so that the test takes a second and not three.
    let mut slow_head = Connection::open(server.address());
    slow_head.send("GET /scim/v2/acme/Users HTTP/1.1\r\nHost: x\r\n");
    let mut idle = Connection::open(server.address());
    idle.send(raw::request("GET", "/scim/v2/acme/Users", &[("Authorization", token.text())]));
    idle.answer().expect("an answer").expect(200);

    let headers =
        [("Authorization", token.text()), ("Content-Type", "application/json"), ("Content-Length", "100")];
    let mut slow_body = Connection::open(server.address());
    slow_body.send(raw::request("POST", "/scim/v2/acme/Users", &headers));
    slow_body.send("{\"userName\":");
    slow_body.answer().expect("an answer").expect_error(408, "");
    assert!(slow_head.is_closed() && idle.is_closed());
    assert_eq!(server.client("acme", &token).get("/Users")["totalResults"], 0);
}

#[test]
fn more_connections_than_allowed_wait_their_turn() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token).limit("connections_max", 8));
    let request = raw::request("GET", "/scim/v2/acme/Users", &[("Authorization", token.text())]);
    let mut held: Vec<Connection> = (0..8)
        .map(|_| {
            let mut connection = Connection::open(server.address());
            connection.send(&request);
            connection.answer().expect("an answer").expect(200);
            connection
        })
        .collect();
    let mut ninth = Connection::open(server.address());
    ninth.send(&request);
    assert!(!ninth.is_answered_within(Duration::from_millis(200)), "there is no slot for it");
    held.pop();
    ninth.answer().expect("an answer").expect(200);
}

#[test]
fn nonsense_in_place_of_http_does_no_harm() {
    let server = Server::shared();
    for bytes in [
        "\r\n\r\n",
        "GET\r\n\r\n",
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut connection = Connection::open(server.address());
        connection.send(bytes);
        connection.finish();
    }
    Tenant::fresh().client().get("/Users").expect(200);
}

#[test]
fn two_authorizations_or_a_strange_host_are_not_believed() {
    let tenant = Tenant::fresh();
    let target = format!("/scim/v2/{}/ServiceProviderConfig", tenant.name);
    let twice = [("Authorization", tenant.token.text()), ("Authorization", "Bearer x")];
    raw::exchange(tenant.server.address(), raw::request("GET", &target, &twice)).expect_error(401, "");
    for host in ["evil\" onload=\"x", "a/b", "a b", ""] {
        let text = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {}\r\n\r\n",
            tenant.token.text()
        );
        let reply = raw::exchange(tenant.server.address(), text);
        if reply.status == 200 {
            let location = reply["meta"]["location"].as_str().unwrap();
            assert!(location.starts_with(&format!("http://{}/", tenant.server.address())), "{location}");
        }
    }
}

/// Each keyword of RFC 7644 §3.12, table 9, with a request that is answered with it.
#[test]
fn each_scim_type_of_the_rfc_is_the_answer_to_something() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let id = client.create("/Users", okta::user("ann@x.test")).id();
    let path = format!("/Users/{id}");
    let patch = |operation: serde_json::Value| client.patch(&path, okta::patch(json!([operation])));
    let get = |filter: &str| client.get(&format!("/Users?filter={}", crate::support::client::encode(filter)));
    let v1 = client.at(format!("http://{}/scim/v1/{}", tenant.server.address(), tenant.name));
    let replies = [
        ("invalidFilter", 400, get("userName is \"ann\"")),
        ("uniqueness", 409, client.post("/Users", okta::user("ANN@x.test"))),
        ("mutability", 400, patch(json!({ "op": "replace", "path": "id", "value": "mine" }))),
        ("invalidSyntax", 400, client.post("/Users", json!(["ann"]))),
        ("invalidPath", 400, patch(json!({ "op": "remove", "path": "emails[" }))),
        ("noTarget", 400, patch(json!({ "op": "remove", "path": "emails[type eq \"none\"]" }))),
        ("invalidValue", 400, patch(json!({ "op": "replace", "path": "active", "value": "maybe" }))),
        ("invalidVers", 400, v1.get("/Users")),
        ("sensitive", 400, get("password eq \"hunter2\"")),
        ("tooMany", 400, too_many()),
    ];
    for (scim_type, status, reply) in replies {
        reply.expect_error(status, scim_type);
    }
    // In a body it is in no address, and only cannot be searched.
    let search = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
        "filter": "password eq \"hunter2\"",
    });
    client.post("/Users/.search", search).expect_error(400, "invalidFilter");
}

/// A filter that would have to look into everybody for longer than a request may take.
fn too_many() -> crate::support::Reply {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token).limit("request_s", 2));
    let client = server.client("acme", &token);
    client.create("/Users", okta::user("first@x.test"));
    let file = crate::support::file::open_to_write(&server.tenant_file("acme"));
    file.execute_batch(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 50000)
         INSERT INTO resources (kind, id, name, name_key, created_ms, modified_ms, version, doc)
         SELECT kind, id || n, name || n, name_key || n, created_ms, modified_ms, version, doc FROM resources, n",
    )
    .unwrap();
    let parts: Vec<String> =
        (0..60).map(|n| format!("emails[value co \"none{n}\" and type ew \"x\"]")).collect();
    client.get(&format!("/Users?filter={}", crate::support::client::encode(&parts.join(" or "))))
}

#[test]
fn an_attribute_that_is_named_twice_is_refused_whatever_the_case() {
    let client = Tenant::fresh().client();
    let id = client.create("/Users", okta::user("ann@x.test")).id();
    let send = |method: Method, path: &str, body: &str| {
        client.send_with(method, path, Some(body.as_bytes().to_vec()), &[])
    };
    for body in [
        r#"{"userName":"b@x.test","USERNAME":"c@x.test"}"#,
        r#"{"userName":"b@x.test","userName":"c@x.test"}"#,
        r#"{"userName":"b@x.test","name":{"givenName":"a","GIVENNAME":"b"}}"#,
        r#"{"userName":"b@x.test","urn:x:1.0:Y":{"a":{"b":1,"B":2}}}"#,
    ] {
        send(Method::POST, "/Users", body).expect_error(400, "invalidSyntax");
    }
    let path = format!("/Users/{id}");
    for body in [
        r#"{"Operations":[{"op":"replace","value":{"title":"a","TITLE":"b"}}]}"#,
        r#"{"Operations":[{"op":"replace","path":"name","value":{"givenName":"a","givenname":"b"}}]}"#,
        r#"{"Operations":[{"op":"add","OP":"remove","path":"title","value":"a"}]}"#,
    ] {
        let refused = send(Method::PATCH, &path, body).expect_error(400, "invalidSyntax");
        assert!(refused.detail().contains("is there twice"), "{refused}");
    }
    assert_eq!(client.get(&path)["meta"]["version"], client.get(&path).header("etag").unwrap());
    assert_eq!(client.get(&path).json.get("title"), None);
}
