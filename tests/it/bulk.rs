//! `/Bulk` (RFC 7644 §3.7): many operations in one message, which may speak of each other's new resources.

use serde_json::{Value, json};

use crate::support::client::{ERROR_URN, group_ids};
use crate::support::{Client, Config, Reply, Server, Tenant, Token, file, okta};

const REQUEST: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
const RESPONSE: &str = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";

fn bulk(client: &Client, operations: Value) -> Reply {
    let reply = client.post("/Bulk", json!({ "schemas": [REQUEST], "Operations": operations })).expect(200);
    assert_eq!(reply["schemas"], json!([RESPONSE]));
    for operation in reply["Operations"].as_array().unwrap() {
        let status: u16 = operation["status"].as_str().unwrap().parse().unwrap();
        assert_eq!(status >= 400, operation["response"]["schemas"] == json!([ERROR_URN]), "{operation}");
        // RFC 7644 §3.7: there, except where a POST failed.
        let is_failed_post = status >= 400 && operation["method"] == "POST";
        assert_eq!(operation["location"].is_string(), !is_failed_post, "{operation}");
    }
    reply
}

fn statuses(reply: &Reply) -> Vec<&str> {
    reply["Operations"].as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect()
}

/// The id at the end of an operation's location.
fn id_of(operation: &Value) -> &str {
    operation["location"].as_str().unwrap().rsplit('/').next().unwrap()
}

#[test]
fn every_method_is_carried_out_in_order() {
    let client = Tenant::fresh().client();
    let [a, b] = ["a@x.test", "b@x.test"].map(|name| client.create("/Users", okta::user(name)).id());
    let mut changed = okta::user("a@x.test");
    changed["title"] = json!("T");
    let reply = bulk(
        &client,
        json!([
            { "method": "POST", "path": "/Users", "bulkId": "new", "data": okta::user("c@x.test") },
            { "method": "PUT", "path": format!("/Users/{a}"), "data": changed },
            { "method": "PATCH", "path": format!("/Users/{a}"), "data": okta::set_active(false) },
            { "method": "DELETE", "path": format!("/Users/{b}") },
        ]),
    );
    assert_eq!(statuses(&reply), ["201", "200", "200", "204"]);
    let made = &reply["Operations"][0];
    assert_eq!(made["bulkId"], "new");
    let user = client.get(&format!("/Users/{}", id_of(made))).expect(200);
    assert_eq!((&user["userName"], &user["meta"]["version"]), (&json!("c@x.test"), &made["version"]));
    let put = client.get(&format!("/Users/{a}"));
    assert_eq!((&put["title"], &put["active"]), (&json!("T"), &json!(false)));
    client.get(&format!("/Users/{b}")).expect_error(404, "");
}

#[test]
fn new_resources_refer_to_each_other_by_bulk_id_forwards_too() {
    let client = Tenant::fresh().client();
    let reply = bulk(
        &client,
        json!([
            { "method": "POST", "path": "/Groups", "bulkId": "g", "data": okta::group("team", &[okta::member("bulkId:u", "")]) },
            { "method": "POST", "path": "/Users", "bulkId": "u", "data": okta::user("a@x.test") },
        ]),
    );
    assert_eq!(statuses(&reply), ["201", "201"]);
    let (group, user) = (id_of(&reply["Operations"][0]), id_of(&reply["Operations"][1]));
    assert_eq!(client.get(&format!("/Groups/{group}")).member_ids(), [user]);
    assert_eq!(group_ids(&client.get(&format!("/Users/{user}")).json), [group]);
}

#[test]
fn what_fails_is_undone_by_itself_and_fail_on_errors_stops_the_rest() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    client.create("/Users", okta::user("taken@x.test"));
    let operations = json!([
        { "method": "POST", "path": "/Users", "bulkId": "1", "data": okta::user("Taken@x.test") },
        { "method": "PATCH", "path": "/Users/no-such-id", "data": okta::set_active(false) },
        { "method": "POST", "path": "/Users", "bulkId": "2", "data": okta::user("a@x.test") },
        { "method": "POST", "path": "/Nothing", "bulkId": "3", "data": {} },
        { "method": "POST", "path": "/Groups", "bulkId": "4", "data": okta::group("g", &[okta::member("bulkId:1", "")]) },
    ]);
    let first = client
        .post("/Bulk", json!({ "schemas": [REQUEST], "failOnErrors": 1, "Operations": operations }))
        .expect(200);
    assert_eq!(statuses(&first), ["409"], "the rest was not tried");
    assert_eq!(client.get("/Users")["totalResults"], 1);

    let all = bulk(&client, operations);
    // A group cannot have a member that was not made.
    assert_eq!(statuses(&all), ["409", "404", "201", "404", "409"]);
    assert_eq!(all["Operations"][1]["location"], format!("{}/Users/no-such-id", client.base()));
    assert_eq!(all["Operations"][0]["response"]["scimType"], "uniqueness");
    assert_eq!(
        (client.get("/Users")["totalResults"].as_i64(), client.get("/Groups")["totalResults"].as_i64()),
        (Some(2), Some(0))
    );
    assert_eq!(file::events(&tenant.file()), 2);
}

#[test]
fn what_is_no_bulk_request_or_too_large_is_refused_whole() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    for body in [
        json!({}),
        json!([]),
        json!({ "schemas": [REQUEST] }),
        json!({ "schemas": [REQUEST], "Operations": [7] }),
    ] {
        client.post("/Bulk", body).expect_error(400, "invalidSyntax");
    }
    let advertised = client.get("/ServiceProviderConfig");
    let most = advertised["bulk"]["maxOperations"].as_u64().unwrap();
    let operations: Vec<Value> = (0..=most)
        .map(|n| json!({ "method": "POST", "path": "/Users", "bulkId": n.to_string(), "data": { "userName": format!("u{n}") } }))
        .collect();
    let body = |operations: &[Value]| json!({ "schemas": [REQUEST], "Operations": operations });
    client.post("/Bulk", body(&operations)).expect_error(413, "");
    assert_eq!(client.get("/Users")["totalResults"], 0);
    client.post("/Bulk", body(&operations[1..])).expect(200);
    assert_eq!(client.get("/Users")["totalResults"], most);
    assert_eq!(advertised["bulk"]["maxPayloadSize"], 4 * 1024 * 1024);
}

#[test]
fn a_version_that_is_not_the_present_one_is_412() {
    let client = Tenant::fresh().client();
    let made = client.create("/Users", okta::user("a@x.test"));
    let path = format!("/Users/{}", made.id());
    let change = |version: &Value| json!([{ "method": "PATCH", "path": path, "version": version, "data": okta::set_active(false) }]);
    assert_eq!(statuses(&bulk(&client, change(&json!("W/\"no\"")))), ["412"]);
    assert_eq!(statuses(&bulk(&client, change(&made["meta"]["version"]))), ["200"]);
}

fn user_of(client: &Client, operation: &Value) -> Reply {
    client.get(&format!("/Users/{}", id_of(operation))).expect(200)
}

#[test]
fn references_work_in_paths_members_managers_and_patches() {
    let client = Tenant::fresh().client();
    let patch = |operations: Value| json!({ "schemas": [okta::PATCH], "Operations": operations });
    let mut worker = okta::user("worker@x.test");
    worker[okta::ENTERPRISE] = json!({ "manager": { "value": "bulkId:boss" } });
    let reply = bulk(
        &client,
        json!([
            { "method": "PATCH", "path": "/Groups/bulkId:team", "data": patch(json!([
                { "op": "add", "path": "members", "value": [{ "value": "bulkId:boss" }] },
                { "op": "remove", "path": "members[value eq \"bulkId:worker\"]" }])) },
            { "method": "POST", "path": "/Groups", "bulkId": "team", "data": okta::group("team", &[okta::member("bulkId:worker", "")]) },
            { "method": "POST", "path": "/Users", "bulkId": "worker", "data": worker },
            { "method": "POST", "path": "/Users", "bulkId": "boss", "data": okta::user("boss@x.test") },
            { "method": "PUT", "path": "/Users/bulkId:boss", "data": okta::user("chief@x.test") },
            { "method": "POST", "path": "/Users", "bulkId": "gone", "data": okta::user("gone@x.test") },
            { "method": "DELETE", "path": "/Users/bulkId:gone" },
        ]),
    );
    assert_eq!(statuses(&reply), ["200", "201", "201", "201", "200", "201", "204"]);
    let operations = reply["Operations"].as_array().unwrap();
    let (team, boss) = (id_of(&operations[1]), id_of(&operations[3]));
    assert_eq!(client.get(&format!("/Groups/{team}")).member_ids(), [boss]);
    assert_eq!(user_of(&client, &operations[2])[okta::ENTERPRISE]["manager"]["value"], boss);
    assert_eq!(user_of(&client, &operations[3])["userName"], "chief@x.test");
    client.get(&format!("/Users/{}", id_of(&operations[6]))).expect_error(404, "");
}

#[test]
fn a_reference_to_what_the_request_does_not_make_is_refused_by_itself() {
    let client = Tenant::fresh().client();
    let operations = json!([
        { "method": "POST", "path": "/Groups", "bulkId": "h", "data": okta::group("h", &[okta::member("bulkId:nobody", "")]) },
        { "method": "PATCH", "path": "/Users/bulkId:nobody", "data": okta::set_active(false) },
        { "method": "POST", "path": "/Users", "data": okta::user("a@x.test") },
        { "method": "POST", "path": "/Users", "bulkId": "named", "data": { "userName": "bulkId:nobody" } },
    ]);
    let reply = client.post("/Bulk", json!({ "schemas": [REQUEST], "Operations": operations })).expect(200);
    assert_eq!(statuses(&reply), ["400", "400", "400", "201"]);
    for operation in &reply["Operations"].as_array().unwrap()[..3] {
        assert_eq!(operation["response"]["scimType"], "invalidValue");
        assert!(operation["response"]["detail"].as_str().unwrap().contains("bulkId"), "{operation}");
    }
}

#[test]
fn two_operations_with_one_bulk_id_refuse_the_request() {
    let client = Tenant::fresh().client();
    let create = |name: &str| json!({ "method": "POST", "path": "/Users", "bulkId": "same", "data": okta::user(name) });
    let operations = json!([create("a@x.test"), create("b@x.test")]);
    let refused = client.post("/Bulk", json!({ "schemas": [REQUEST], "Operations": operations }));
    refused.expect_error(400, "invalidValue");
    assert_eq!(client.get("/Users")["totalResults"], 0);
}

#[test]
fn many_operations_are_one_commit() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let client = server.client("acme", &token);
    client.create("/Users", okta::user("first@x.test"));
    let before = file::commits_in_log(&server.tenant_file("acme"));
    let operations: Vec<Value> = (0..50)
        .map(|n| json!({ "method": "POST", "path": "/Users", "bulkId": n.to_string(), "data": { "userName": format!("u{n}") } }))
        .collect();
    let reply = bulk(&client, json!(operations));
    assert!(statuses(&reply).iter().all(|status| *status == "201"));
    assert_eq!(file::commits_in_log(&server.tenant_file("acme")) - before, 1);
}

#[test]
fn passwords_of_a_bulk_request_are_hashed_and_kept() {
    let tenant = Tenant::keeping_passwords();
    let client = tenant.client();
    let with_password = |name: &str| json!({ "userName": name, "password": "S3cret-for-test" });
    let reply = bulk(
        &client,
        json!([
            { "method": "POST", "path": "/Users", "bulkId": "a", "data": with_password("a@x.test") },
            { "method": "POST", "path": "/Users", "bulkId": "b", "data": { "userName": "b@x.test" } },
            { "method": "PATCH", "path": "/Users/bulkId:b", "data": okta::patch(json!([{ "op": "replace", "value": { "password": "S3cret-for-test" } }])) },
        ]),
    );
    assert_eq!(statuses(&reply), ["201", "201", "200"]);
    let hashes = file::texts(&tenant.file(), "SELECT hash FROM passwords");
    assert_eq!(hashes.len(), 2);
    assert!(hashes.iter().all(|hash| hash.starts_with("$argon2id$")));
}
