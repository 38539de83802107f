//! A group that is too large to be held is sent while it is read: the whole of it, or visibly not.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::raw::{self, Connection};
use crate::support::{Client, Config, Server, Token, okta};

/// Enough for an answer of some parts of 64 KiB each.
const MEMBERS: usize = 2_000;
const OPERATIONS: usize = 1_000;
const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// Creates users and a group of all of them.
fn large_group(client: &Client) -> (String, BTreeSet<String>) {
    let mut ids = Vec::new();
    for from in (0..MEMBERS).step_by(OPERATIONS) {
        let operations: Vec<Value> = (from..from + OPERATIONS)
            .map(|n| json!({ "method": "POST", "path": "/Users", "bulkId": format!("u{n}"), "data": { "userName": format!("u{n}") } }))
            .collect();
        let schemas = ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"];
        let made = client.post("/Bulk", json!({ "schemas": schemas, "Operations": operations })).expect(200);
        let locations = made.json["Operations"].as_array().unwrap().iter();
        ids.extend(
            locations.map(|made| made["location"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()),
        );
    }
    let members: Vec<Value> = ids.iter().map(|id| json!({ "value": id })).collect();
    let group = client.create("/Groups?attributes=displayName", okta::group("everybody", &members)).id();
    (group, ids.into_iter().collect())
}

fn server() -> (Server, Client, Token) {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let client = server.client("acme", &token);
    (server, client, token)
}

#[test]
fn all_of_a_large_group_is_sent_and_the_log_tells_how_much() {
    let (server, client, _) = server();
    let (group, ids) = large_group(&client);
    let path = format!("/Groups/{group}");
    // Packed, the log would tell how much that was.
    let answer = client.send_with(Method::GET, &path, None, &[("accept-encoding", "")]).expect(200);
    assert!(answer.body.len() > 4 * 64 * 1024, "{} bytes are no large answer", answer.body.len());
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    assert_eq!(answer.header("etag"), answer.json["meta"]["version"].as_str());
    let members: BTreeSet<String> = answer.member_ids().into_iter().collect();
    assert_eq!((answer.member_ids().len(), members), (MEMBERS, ids));

    let logged = server.log().wait_for("the request", |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["route"] == "read_group" && event["status"] == 200).then_some(event)
    });
    assert_eq!(logged["bytes_out"], answer.body.len());

    // The same in a list, which is as large.
    let listed = client.get("/Groups").expect(200);
    assert_eq!(listed.header("transfer-encoding"), Some("chunked"));
    assert_eq!(listed.resources(), std::slice::from_ref(&answer.json));
    let members = client.get(&format!("{path}?attributes=members")).expect(200);
    assert_eq!(members.json["members"], answer.json["members"]);

    // A version that the client has already is not sent again, however large.
    let tag = answer.header("etag").unwrap();
    client.send_with(Method::GET, &path, None, &[("If-None-Match", tag)]).expect(304);
    let head = client.send_with(Method::HEAD, &path, None, &[]).expect(200);
    assert_eq!((head.header("etag"), head.header("content-length"), head.body.len()), (Some(tag), None, 0));
}

#[test]
fn a_client_that_leaves_in_the_middle_ends_the_reading_and_harms_nobody() {
    let (server, client, token) = server();
    let (group, _) = large_group(&client);
    // More than a hop for each of the tenant's threads: a reading that did not end would stop all others.
    for _ in 0..20 {
        let mut connection = Connection::open(server.address());
        let asked =
            raw::request("GET", &format!("/scim/v2/acme/Groups/{group}"), &[("Authorization", token.text())]);
        connection.send(asked);
        assert!(connection.takes("HTTP/1.1 200 OK\r\n"));
    }
    assert_eq!(client.get(&format!("/Groups/{group}")).expect(200).member_ids().len(), MEMBERS);
    assert!(server.stop().success());
}

#[test]
fn members_that_sixteen_writers_add_to_one_group_at_once_are_all_there_both_ways() {
    const WRITERS: usize = 16;
    const EACH: usize = 8;
    let (server, client, token) = server();
    let users: Vec<String> = (0..WRITERS * EACH)
        .map(|n| client.create("/Users", json!({ "userName": format!("u{n}@x.test") })).id())
        .collect();
    let group = client.create("/Groups", okta::group("crowd", &[])).id();
    let path = format!("/Groups/{group}");
    std::thread::scope(|scope| {
        for own in users.chunks(EACH) {
            let (client, path) = (server.client("acme", &token), &path);
            scope.spawn(move || {
                for user in own {
                    let add = json!([{ "op": "add", "path": "members", "value": [{ "value": user }] }]);
                    let body = json!({ "schemas": [PATCH_OP], "Operations": add });
                    client.patch(path, body).expect(200);
                }
            });
        }
    });
    let members: BTreeSet<String> = client.get(&path).expect(200).member_ids().into_iter().collect();
    assert_eq!(members, users.iter().cloned().collect());
    for user in &users {
        let shown = client.get(&format!("/Users/{user}")).expect(200);
        assert_eq!(shown["groups"][0]["value"], json!(group));
    }
}
