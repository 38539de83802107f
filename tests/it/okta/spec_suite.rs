//! The steps of Okta's published suites for integrations ("SPEC" and "CRUD", okta.md §0.1), as far as okta.md tells
//! them.

use reqwest::Method;
use serde_json::json;

use crate::support::client::encode;
use crate::support::{Client, Reply, Tenant, okta};

/// A request as the suites send it: `Content-Type` on a GET too, `application/json` on a POST.
fn suite_get(client: &Client, path: &str) -> Reply {
    let headers = [
        ("accept", "application/scim+json; charset=utf-8"),
        ("content-type", "application/scim+json; charset=utf-8"),
        ("user-agent", "OKTA SCIM Integration"),
    ];
    client.send_with(Method::GET, path, None, &headers)
}

fn suite_post(client: &Client, path: &str, body: &serde_json::Value) -> Reply {
    let headers = [
        ("accept", "application/scim+json; charset=utf-8"),
        ("content-type", "application/json"),
        ("user-agent", "OKTA SCIM Integration"),
    ];
    client.send_with(Method::POST, path, Some(body.to_string().into_bytes()), &headers)
}

#[test]
fn the_first_page_of_users_has_all_that_the_suite_looks_at() {
    let client = Tenant::fresh().client();
    client.create("/Users", okta::user("seed@x.test"));
    let page = suite_get(&client, "/Users?count=1&startIndex=1").expect(200);
    assert_eq!(page["itemsPerPage"], 1);
    assert_eq!(page["startIndex"], 1);
    assert!(page["totalResults"].as_u64().unwrap() >= 1);
    let first = &page.resources()[0];
    for value in [
        &first["id"],
        &first["name"]["familyName"],
        &first["name"]["givenName"],
        &first["userName"],
        &first["emails"][0]["value"],
    ] {
        assert!(value.as_str().is_some_and(|text| !text.is_empty()), "{page}");
    }
    assert_eq!(first["active"], true);
    assert!(
        page["schemas"]
            .as_array()
            .unwrap()
            .iter()
            .any(|urn| urn == "urn:ietf:params:scim:api:messages:2.0:ListResponse")
    );
}

#[test]
fn a_user_is_read_by_id_and_an_unknown_id_is_404_with_the_status_as_text() {
    let client = Tenant::fresh().client();
    let made = client.create("/Users", okta::user("seed@x.test"));
    assert_eq!(suite_get(&client, &format!("/Users/{}", made.id())).expect(200)["id"], made["id"]);
    let missing = suite_get(&client, "/Users/00919288221112222").expect_error(404, "");
    assert_eq!(missing["status"], "404");
    assert_eq!(missing["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]));
}

#[test]
fn a_random_user_name_is_not_found_and_the_numbers_are_whole() {
    let client = Tenant::fresh().client();
    let filter = encode("userName eq \"Runscope700Xyz@atko.com\"");
    let none = suite_get(&client, &format!("/Users?filter={filter}")).expect(200);
    assert_eq!(none["totalResults"], 0);
    assert_eq!(none["Resources"], json!([]));
}

#[test]
fn a_user_is_created_found_by_the_upper_cased_name_and_not_created_twice() {
    let client = Tenant::fresh().client();
    let body = json!({
        "schemas": [okta::USER],
        "userName": "Runscope300Abc@atko.com",
        "name": { "givenName": "Runscope", "familyName": "Abc" },
        "emails": [{ "primary": true, "value": "Runscope300Abc@atko.com", "type": "work" }],
        "displayName": "Runscope Abc",
        "active": true,
    });
    let made = suite_post(&client, "/Users", &body).expect(201);
    assert_eq!(made["userName"], "Runscope300Abc@atko.com");
    assert_eq!(made["name"]["familyName"], "Abc");
    assert_eq!(made["active"], true);
    assert_eq!(made["schemas"], json!([okta::USER]));
    suite_post(&client, "/Users", &body).expect_error(409, "uniqueness");
    let filter = encode("userName eq \"RUNSCOPE300ABC@ATKO.COM\"");
    assert_eq!(suite_get(&client, &format!("/Users?filter={filter}")).expect(200)["totalResults"], 1);
}

#[test]
fn a_bad_credential_is_401() {
    let client = Tenant::fresh().client().authorized("non-token");
    let refused = suite_get(&client, "/Groups").expect_error(401, "");
    assert_eq!(refused["status"], "401");
}

#[test]
fn groups_answer_and_the_crud_of_a_user_comes_round() {
    let client = Tenant::fresh().client();
    suite_get(&client, "/Groups").expect(200);
    let made = suite_post(&client, "/Users", &okta::user("crud@x.test")).expect(201);
    let path = format!("/Users/{}", made.id());
    let mut changed = suite_get(&client, &path).expect(200).json;
    changed["name"]["familyName"] = json!("Updated");
    assert_eq!(client.put(&path, changed).expect(200)["name"]["familyName"], "Updated");
    // Deactivated, the user must still be read and found: steps 10 and 18.
    client.patch(&path, okta::set_active(false)).expect(200);
    assert_eq!(suite_get(&client, &path).expect(200)["active"], false);
    let filter = encode("userName eq \"crud@x.test\"");
    assert_eq!(
        suite_get(&client, &format!("/Users?filter={filter}&startIndex=1&count=100"))["totalResults"],
        1
    );
    assert_eq!(client.patch(&path, okta::set_active(true)).expect(200)["active"], true);
}

#[test]
fn a_group_is_created_patched_and_shows_the_member_as_it_was_sent() {
    let client = Tenant::fresh().client();
    let user = client.create("/Users", okta::user("member@x.test")).id();
    let made = suite_post(&client, "/Groups", &okta::group("Test SCIMv2", &[])).expect(201);
    let member = okta::member(&user, "Display As Sent");
    let operations = json!([{ "op": "add", "path": "members", "value": [member] }]);
    let patched = client.patch(&format!("/Groups/{}", made.id()), okta::patch(operations)).expect(200);
    assert_eq!(patched["members"][0]["value"], user);
    assert_eq!(patched["members"][0]["display"], "Display As Sent");
}
