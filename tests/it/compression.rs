//! Packed answers and packed requests (RFC 9110 §8.4).

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Config, Reply, Server, Tenant, Token, file, okta};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn get(client: &Client, path: &str, accept_encoding: &str) -> Reply {
    client.send_with(Method::GET, path, None, &[("accept-encoding", accept_encoding)])
}

fn post(client: &Client, body: Vec<u8>, coding: &str) -> Reply {
    client.send_with(Method::POST, "/Users", Some(body), &[("content-encoding", coding)])
}

fn people(client: &Client, count: usize) {
    let operations: Vec<Value> = (0..count)
        .map(|n| {
            let user = okta::user(&format!("user-{n}@x.test"));
            json!({ "method": "POST", "path": "/Users", "bulkId": n.to_string(), "data": user })
        })
        .collect();
    let schemas = ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"];
    client.post("/Bulk", json!({ "schemas": schemas, "Operations": operations })).expect(200);
}

#[test]
fn a_large_answer_is_packed_as_the_client_takes_it_and_a_small_one_never() {
    let client = Tenant::fresh().client();
    people(&client, 300);
    let plain = get(&client, "/Users?count=300", "").expect(200);
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
    assert!(plain.body.len() > 64 * 1024, "large enough to be packed while it is sent");
    for (accept, coding) in [
        ("gzip,deflate", Some("gzip")),
        ("br;q=1.0, gzip;q=0.5", Some("gzip")),
        ("*", Some("gzip")),
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("zstd;q=0.1, gzip;q=0.2", Some("gzip")),
        ("br", None),
        ("gzip;q=0", None),
    ] {
        for count in [20, 300] {
            let packed = get(&client, &format!("/Users?count={count}"), accept).expect(200);
            assert_eq!(packed.header("content-encoding"), coding, "{accept} {count}");
            assert_eq!(packed.header("vary"), Some("accept-encoding"));
            if count == 300 {
                assert_eq!(packed.body, plain.body);
            }
            assert_eq!(packed["itemsPerPage"], count);
        }
    }
    let id = plain.resources()[0]["id"].as_str().unwrap();
    for path in [&*format!("/Users/{id}"), "/Users?count=1"] {
        let small = get(&client, path, "gzip").expect(200);
        assert_eq!((small.header("content-encoding"), small.header("vary")), (None, None), "{small}");
        assert!(small.header("content-length").is_some());
    }
}

#[test]
fn a_group_that_is_sent_while_it_is_read_is_packed_on_the_way() {
    let client = Tenant::fresh().client();
    people(&client, 1000);
    let users = client.get("/Users?count=1000&attributes=userName").expect(200);
    let members: Vec<Value> = users.resources().iter().map(|user| json!({ "value": user["id"] })).collect();
    let id = client.create("/Groups", okta::group("All", &members)).id();
    let path = format!("/Groups/{id}");
    let plain = get(&client, &path, "").expect(200);
    for coding in ["gzip", "zstd"] {
        let packed = get(&client, &path, coding).expect(200);
        assert_eq!(packed.header("content-encoding"), Some(coding));
        assert_eq!(packed.header("etag"), plain.header("etag"), "the version is weak, and the same");
        assert_eq!(packed.body, plain.body);
    }
    let head = client.send_with(Method::HEAD, &path, None, &[("accept-encoding", "gzip")]);
    assert_eq!((head.status, head.header("content-encoding")), (200, Some("gzip")));
    assert_eq!(head.header("content-length"), None);
}

#[test]
fn the_size_from_which_on_answers_are_packed_is_a_setting() {
    let token = Token::new("okta");
    for (bytes, coding) in [(256, Some("gzip")), (1 << 30, None)] {
        let server = Server::start(&Config::acme(&token).limit("compress_bytes_min", bytes));
        let client = server.client("acme", &token);
        assert_eq!(get(&client, "/Schemas", "gzip").expect(200).header("content-encoding"), coding);
        people(&client, 300);
        let users = get(&client, "/Users?count=300", "gzip").expect(200);
        assert_eq!(users.header("content-encoding"), coding);
    }
}

#[test]
fn a_packed_body_is_read_as_if_it_came_plain() {
    let client = Tenant::fresh().client();
    let body = |name: &str| okta::user(name).to_string().into_bytes();
    post(&client, gzip(&body("a@x.test")), "gzip").expect(201);
    post(&client, gzip(&body("b@x.test")), "X-GZIP").expect(201);
    post(&client, gzip(&body("c@x.test")), "identity, gzip").expect(201);
    post(&client, body("d@x.test"), "identity").expect(201);
    assert_eq!(client.get("/Users")["totalResults"], 4);
    let id = client.find("/Users", "userName eq \"a@x.test\"")[0]["id"].as_str().unwrap().to_owned();
    let patch = gzip(okta::set_active(false).to_string().as_bytes());
    let path = format!("/Users/{id}");
    let patched = client.send_with(Method::PATCH, &path, Some(patch), &[("content-encoding", "gzip")]);
    assert_eq!(patched.expect(200)["active"], false);
}

#[test]
fn another_coding_or_a_body_that_is_not_of_it_is_refused() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let body = okta::user("a@x.test").to_string().into_bytes();
    for coding in ["deflate", "br", "gzip, gzip", "zstd"] {
        let refused = post(&client, body.clone(), coding).expect_error(415, "");
        assert_eq!(refused.header("accept-encoding"), Some("gzip"), "{coding}");
        assert_eq!(refused.header("accept"), None, "it was not the media type");
    }
    let (mut short, mut long) = (gzip(&body), gzip(&body));
    short.truncate(short.len() - 1);
    long.extend(b"more");
    for (sent, coding) in [(body.clone(), "gzip"), (short, "gzip"), (long, "gzip")] {
        let refused = post(&client, sent, coding).expect_error(400, "");
        assert!(refused.detail().contains("Content-Encoding"), "{refused}");
    }
    post(&client, gzip(b"{"), "gzip").expect_error(400, "invalidSyntax");
    assert_eq!(file::events(&tenant.file()), 0);
}

#[test]
fn a_body_made_to_grow_is_refused_at_the_limit_of_what_it_grows_to() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token).limit("body_bytes_max", 100_000));
    let client = server.client("acme", &token);
    let user = |bytes: usize| {
        let mut user = json!({ "userName": "a", "note": "" });
        user["note"] = json!("x".repeat(bytes - user.to_string().len()));
        user.to_string().into_bytes()
    };
    let bomb = vec![b' '; 50_000_000];
    let packed = gzip(&bomb);
    assert!(packed.len() < 100_000, "small enough to be taken in");
    post(&client, packed, "gzip").expect_error(413, "");
    post(&client, gzip(&user(100_001)), "gzip").expect_error(413, "");
    // Twice packed is packed once, and then no JSON.
    post(&client, gzip(&gzip(&user(100))), "gzip").expect_error(400, "invalidSyntax");
    post(&client, gzip(&user(100_000)), "gzip").expect(201);
    client.get("/Users").expect(200);
}
