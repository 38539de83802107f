//! What RFC 7644 asks of a service provider and no other test shows. `docs/conformance.md` names them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{ERROR_URN, LIST_URN, encode};
use crate::support::{Client, Tenant, okta};

#[test]
fn a_401_names_the_scheme() {
    let tenant = Tenant::fresh();
    for authorization in ["Bearer nonsense", "Basic bm9ib2R5OnNlY3JldA==", "Digest a=b"] {
        let refused = tenant.client().authorized(authorization).get("/Users").expect_error(401, "");
        assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer realm="));
    }
    let without = tenant.client().send_with(Method::GET, "/Users", None, &[("authorization", "")]);
    assert!(without.expect_error(401, "").header("www-authenticate").is_some());
}

#[test]
fn no_answer_sets_a_cookie() {
    let client = Tenant::fresh().client();
    for path in ["/Users", "/Users/none", "/ServiceProviderConfig"] {
        assert_eq!(client.get(path).header("set-cookie"), None);
    }
}

#[test]
fn messages_are_no_schemas() {
    let client = Tenant::fresh().client();
    for schema in client.get("/Schemas").expect(200).resources() {
        assert!(!schema["id"].as_str().unwrap().contains(":api:"), "{}", schema["id"]);
    }
    for message in ["ListResponse", "SearchRequest", "PatchOp", "BulkRequest", "BulkResponse", "Error"] {
        let urn = format!("urn:ietf:params:scim:api:messages:2.0:{message}");
        client.get(&format!("/Schemas/{urn}")).expect_error(404, "");
    }
}

#[test]
fn neither_put_nor_patch_makes_a_resource() {
    let client = Tenant::fresh().client();
    let id = "2819c223-7f76-453a-919d-413861904646";
    let title = json!([{ "op": "add", "path": "externalId", "value": "x" }]);
    for (path, body) in [("Users", okta::user("a@x.test")), ("Groups", okta::group("g", &[]))] {
        client.put(&format!("/{path}/{id}"), body).expect_error(404, "");
        client.patch(&format!("/{path}/{id}"), okta::patch(title.clone())).expect_error(404, "");
        assert_eq!(client.get(&format!("/{path}"))["totalResults"], 0);
    }
}

#[test]
fn read_only_attributes_of_a_body_are_ignored() {
    let client = Tenant::fresh().client();
    let body = json!({
        "schemas": [okta::USER], "userName": "a@x.test", "id": "mine", "groups": [{ "value": "none" }],
        "meta": { "created": "2001-01-01T00:00:00Z" },
    });
    let made = client.create("/Users", body.clone());
    assert_ne!(made["id"], "mine");
    assert_eq!(made["groups"], json!([]));
    let put = client.put(&format!("/Users/{}", made.id()), body).expect(200);
    assert_eq!(put.json, made.json);
}

#[test]
fn unknown_query_parameters_are_ignored() {
    let client = Tenant::fresh().client();
    let id = client.create("/Users", okta::user("a@x.test")).id();
    for path in ["/Users", "/ServiceProviderConfig", "/Schemas", &format!("/Users/{id}")] {
        let plain = client.get(path).expect(200);
        for query in ["aadOptscim062020", "unknown=1&unknown=2", "=", "&&", "x=%20"] {
            assert_eq!(client.get(&format!("{path}?{query}")).expect(200).json, plain.json, "{query}");
        }
    }
}

#[test]
fn a_list_has_the_form_of_the_rfc() {
    let client = Tenant::fresh().client();
    let empty = client.get("/Users?filter=userName%20pr").expect(200);
    assert_eq!((&empty["schemas"], &empty["totalResults"]), (&json!([LIST_URN]), &json!(0)));
    for number in 0..5 {
        client.create("/Users", okta::user(&format!("u{number}@x.test")));
    }
    let page = client.get("/Users?startIndex=2&count=2").expect(200);
    assert_eq!(
        (&page["totalResults"], &page["startIndex"], &page["itemsPerPage"]),
        (&json!(5), &json!(2), &json!(2))
    );
    assert_eq!(page.resources().len(), 2);
    let beyond = client.get("/Users?startIndex=6&count=2").expect(200);
    assert_eq!((&beyond["totalResults"], beyond.resources().len()), (&json!(5), 0));
}

#[test]
fn what_has_no_order_is_not_compared_by_order() {
    let client = Tenant::fresh().client();
    for operator in ["gt", "ge", "lt", "le"] {
        for filter in [
            format!("active {operator} true"),
            format!("emails.primary {operator} false"),
            format!("emails[primary {operator} false]"),
            format!("x509Certificates.value {operator} \"YQ==\""),
        ] {
            client.get(&format!("/Users?filter={}", encode(&filter))).expect_error(400, "invalidFilter");
        }
    }
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn attributes_and_excluded_attributes_hold_in_every_answer() {
    let client = Tenant::fresh().client();
    let some = "attributes=title,name.givenName,emails.value";
    let without = "excludedAttributes=title,name.givenName,meta,id,schemas,groups";
    let user = |name: &str| {
        json!({
            "schemas": [okta::USER], "userName": name, "title": "t", "active": true,
            "name": { "givenName": "A", "familyName": "B" }, "emails": [{ "value": "a@x.test", "type": "work" }],
        })
    };
    let check_some = |shown: &Value| {
        assert_eq!(keys(shown), ["emails", "id", "name", "schemas", "title"], "{shown}");
        assert_eq!(
            (&shown["name"], &shown["emails"]),
            (&json!({ "givenName": "A" }), &json!([{ "value": "a@x.test" }]))
        );
    };
    let check_without = |shown: &Value| {
        assert_eq!(keys(shown), ["active", "emails", "id", "name", "schemas", "userName"], "{shown}");
        assert_eq!(shown["name"], json!({ "familyName": "B" }));
    };
    let made = client.create(&format!("/Users?{some}"), user("a@x.test"));
    check_some(&made.json);
    check_without(&client.create(&format!("/Users?{without}"), user("b@x.test")).json);
    let path = format!("/Users/{}", made.id());
    let change = |value: &str| okta::patch(json!([{ "op": "replace", "path": "nickName", "value": value }]));
    check_some(&client.get(&format!("{path}?{some}")).expect(200).json);
    check_without(&client.get(&format!("{path}?{without}")).expect(200).json);
    check_some(&client.patch(&format!("{path}?{some}"), change("n")).expect(200).json);
    check_some(&client.put(&format!("{path}?{some}"), user("a@x.test")).expect(200).json);
    check_without(&client.put(&format!("{path}?{without}"), user("a@x.test")).expect(200).json);
    for one in client.get(&format!("/Users?{some}")).expect(200).resources() {
        check_some(one);
    }
    for one in client.get(&format!("/Users?{without}")).expect(200).resources() {
        check_without(one);
    }
}

#[test]
fn schemas_follow_a_patch() {
    let client = Tenant::fresh().client();
    let path = format!("/Users/{}", client.create("/Users", okta::user("a@x.test")).id());
    let number = format!("{}:employeeNumber", okta::ENTERPRISE);
    let add = json!([{ "op": "add", "path": number, "value": "7" }]);
    let added = client.patch(&path, okta::patch(add)).expect(200);
    assert_eq!(added["schemas"], json!([okta::USER, okta::ENTERPRISE]));
    let remove = json!([{ "op": "remove", "path": number }]);
    let removed = client.patch(&path, okta::patch(remove)).expect(200);
    assert_eq!(removed["schemas"], json!([okta::USER]));
}

#[test]
fn a_patch_asked_for_attributes_answers_200() {
    let client = Tenant::fresh().client();
    let path = format!("/Groups/{}", client.create("/Groups", okta::group("g", &[])).id());
    let add = okta::patch(json!([{ "op": "replace", "path": "displayName", "value": "h" }]));
    let shown = client.patch(&format!("{path}?attributes=displayName"), add).expect(200);
    assert_eq!(
        (keys(&shown.json), &shown["displayName"]),
        (vec!["displayName", "id", "schemas"], &json!("h"))
    );
}

#[test]
fn each_operation_of_a_bulk_request_has_its_result() {
    let client = Tenant::fresh().client();
    let id = client.create("/Users", okta::user("a@x.test")).id();
    let path = format!("/Users/{id}");
    let operations = json!([
        { "method": "POST", "path": "/Users", "bulkId": "new", "data": okta::user("b@x.test") },
        { "method": "POST", "path": "/Users", "bulkId": "taken", "data": okta::user("a@x.test") },
        { "method": "PUT", "path": path, "data": { "schemas": [okta::USER] } },
        { "method": "PATCH", "path": path, "data": okta::patch(json!([{ "op": "remove", "path": "userName" }])) },
        { "method": "DELETE", "path": "/Users/none" },
        { "method": "DELETE", "path": path },
    ]);
    let request =
        json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations });
    let answer = client.post("/Bulk", request).expect(200);
    assert_eq!(answer["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:BulkResponse"]));
    let results = answer["Operations"].as_array().unwrap();
    let statuses: Vec<&str> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["201", "409", "400", "400", "404", "204"]);
    for (result, operation) in results.iter().zip(operations.as_array().unwrap()) {
        assert_eq!(result["method"], operation["method"]);
        assert_eq!(result["bulkId"], operation["bulkId"]);
        if result["status"].as_str() >= Some("400") {
            assert_eq!(result["response"]["schemas"], json!([ERROR_URN]), "{result}");
            assert_eq!(result["response"]["status"], result["status"]);
        }
        // §3.7.3: all but a POST that failed have one.
        let failed_post = result["method"] == "POST" && result["status"] != "201";
        assert_eq!(result["location"].is_string(), !failed_post, "{result}");
    }
    assert_eq!(results[2]["location"], format!("{}{path}", client.base()));
}

#[test]
fn utf8_is_the_encoding() {
    let client = Tenant::fresh().client();
    let name = "Zoë 李 😀";
    let made = client.create("/Users", json!({ "schemas": [okta::USER], "userName": name }));
    assert_eq!(made["userName"], name);
    assert!(String::from_utf8(made.body.clone()).unwrap().contains(name), "written as it is");
    let latin = b"{\"userName\":\"Zo\xeb\"}".to_vec();
    client.send_with(Method::POST, "/Users", Some(latin), &[]).expect_error(400, "invalidSyntax");
}

#[test]
fn both_media_types_may_be_asked_for() {
    let client = Tenant::fresh().client();
    for accept in ["application/scim+json", "application/json", "*/*", "application/*;q=0.5", ""] {
        let answer = client.send_with(Method::GET, "/Users", None, &[("accept", accept)]).expect(200);
        assert!(answer["Resources"].is_array(), "{accept}");
    }
}

fn refusals(client: &Client, id: &str) -> Vec<(crate::support::Reply, u16, &'static str)> {
    let path = format!("/Users/{id}");
    let patch = |operation: Value| client.patch(&path, okta::patch(json!([operation])));
    vec![
        (client.get("/Users?filter=userName"), 400, "invalidFilter"),
        (client.post("/Users", okta::user("a@x.test")), 409, "uniqueness"),
        (client.post("/Users", json!([])), 400, "invalidSyntax"),
        (client.post("/Users", json!({ "schemas": [okta::USER] })), 400, "invalidValue"),
        (patch(json!({ "op": "remove", "path": "id" })), 400, "mutability"),
        (patch(json!({ "op": "replace", "path": "name[", "value": "x" })), 400, "invalidPath"),
        (patch(json!({ "op": "remove", "path": "emails[value eq \"none\"]" })), 400, "noTarget"),
        (client.get("/Users/none"), 404, ""),
        (client.delete("/Users"), 405, ""),
        (client.send_with(Method::DELETE, &path, None, &[("if-match", "W/\"none\"")]), 412, ""),
        (client.authorized("Bearer nonsense").get("/Users"), 401, ""),
    ]
}

#[test]
fn errors_have_the_form_of_the_rfc_and_their_keyword() {
    let client = Tenant::fresh().client();
    let id = client.create("/Users", okta::user("a@x.test")).id();
    for (reply, status, keyword) in refusals(&client, &id) {
        let reply = reply.expect_error(status, keyword);
        assert_eq!(reply["schemas"], json!([ERROR_URN]));
        assert_eq!(reply["status"], status.to_string());
        assert!(!reply.detail().is_empty());
        let known = ["schemas", "scimType", "detail", "status"];
        assert!(keys(&reply.json).iter().all(|key| known.contains(key)), "{reply}");
    }
}

#[test]
fn another_version_in_the_address_is_refused() {
    let client = Tenant::fresh().client();
    client.get("/Users").expect(200);
    for version in ["/scim/v1/", "/scim/v1.1/", "/scim/v3/"] {
        let other = client.at(client.base().replace("/scim/v2/", version));
        other.get("/Users").expect_error(400, "invalidVers");
    }
    client.at(client.base().replace("/scim/v2/", "/scim/")).get("/Users").expect_error(404, "");
    client.get("/v1/Users").expect_error(404, "");
}

#[test]
fn discovery_ignores_paging_and_refuses_filters() {
    let client = Tenant::fresh().client();
    for path in ["/Schemas", "/ResourceTypes"] {
        let plain = client.get(path).expect(200);
        assert_eq!(plain["schemas"], json!([LIST_URN]));
        assert_eq!(plain["totalResults"], plain.resources().len());
        let query = "startIndex=2&count=1&sortBy=id&sortOrder=descending&attributes=id";
        assert_eq!(client.get(&format!("{path}?{query}")).expect(200).json, plain.json);
        client.get(&format!("{path}?filter=id%20pr")).expect_error(403, "");
    }
}
