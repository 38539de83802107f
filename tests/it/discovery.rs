//! `/ServiceProviderConfig`, `/ResourceTypes`, `/Schemas` (RFC 7643 §5 to §7): what is said there is true.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::encode;
use crate::support::{Tenant, okta};

#[test]
fn the_service_provider_config_says_what_is_so() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let config = client.get("/ServiceProviderConfig").expect(200);
    assert_eq!(config["schemas"], json!(["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"]));
    assert_eq!(config["meta"]["location"], format!("{}/ServiceProviderConfig", client.base()));
    for feature in ["patch", "bulk", "filter", "changePassword", "sort", "etag"] {
        assert!(config[feature]["supported"].is_boolean(), "{feature}");
    }
    for (group, number) in [("bulk", "maxOperations"), ("bulk", "maxPayloadSize"), ("filter", "maxResults")] {
        assert!(config[group][number].is_u64(), "{number}");
    }
    for scheme in config["authenticationSchemes"].as_array().unwrap() {
        assert!(["type", "name", "description"].iter().all(|key| scheme[key].is_string()), "{scheme}");
    }

    // Each flag by a request that depends on it.
    let id = client.create("/Users", okta::user("a@x.test")).id();
    let patch = client.patch(&format!("/Users/{id}"), okta::set_active(false)).status;
    assert_eq!(config["patch"]["supported"], patch == 200);
    let filter = client.get(&format!("/Users?filter={}", encode("userName eq \"A@x.test\"")));
    assert_eq!(config["filter"]["supported"], filter["totalResults"] == 1);
    assert_eq!(config["etag"]["supported"], client.get(&format!("/Users/{id}")).header("etag").is_some());
    let operation = json!({ "method": "DELETE", "path": format!("/Users/{id}") });
    let request = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
    let bulk = client.post("/Bulk", json!({ "schemas": [request], "Operations": [operation] })).status;
    assert_eq!(config["bulk"]["supported"], bulk == 200);
    assert_eq!(config["changePassword"]["supported"], false);
    let keeping = Tenant::keeping_passwords().client();
    assert_eq!(keeping.get("/ServiceProviderConfig")["changePassword"]["supported"], true);
}

#[test]
fn sorting_and_paging_are_as_advertised() {
    let client = Tenant::fresh().client();
    for name in ["b", "c", "a"] {
        client.create("/Users", json!({ "userName": name }));
    }
    let config = client.get("/ServiceProviderConfig").expect(200);
    assert_eq!(config["sort"]["supported"], true);
    let listed = client.get("/Users?sortBy=userName").expect(200);
    let names: Vec<&Value> = listed.resources().iter().map(|user| &user["userName"]).collect();
    assert_eq!(names, ["a", "b", "c"]);

    // RFC 9865 §4. No cursorTimeout: cursors do not run out.
    let pagination = &config["pagination"];
    assert_eq!(
        *pagination,
        json!({ "cursor": true, "index": true, "defaultPaginationMethod": "index", "defaultPageSize": 100,
                "maxPageSize": 1000 })
    );
    assert_eq!(pagination["maxPageSize"], config["filter"]["maxResults"]);
    let by_default = client.get("/Users?count=1").expect(200);
    assert!(by_default["startIndex"].is_u64() && by_default.json.get("nextCursor").is_none());
    assert!(client.get("/Users?cursor&count=1").expect(200)["nextCursor"].is_string());
}

#[test]
fn resource_types_are_listed_and_each_has_its_place() {
    let client = Tenant::fresh().client();
    let list = client.get("/ResourceTypes").expect(200);
    assert_eq!(list["totalResults"], 2);
    for kind in list.resources() {
        assert_eq!(kind["schemas"], json!(["urn:ietf:params:scim:schemas:core:2.0:ResourceType"]));
        assert_eq!(kind["id"], kind["name"]);
        let path = format!("/ResourceTypes/{}", kind["id"].as_str().unwrap());
        assert_eq!(client.get(&path).expect(200).json, *kind);
        assert_eq!(kind["meta"]["location"], format!("{}{path}", client.base()));
        // What it names is there.
        client.get(kind["endpoint"].as_str().unwrap()).expect(200);
        client.get(&format!("/Schemas/{}", kind["schema"].as_str().unwrap())).expect(200);
        for extension in kind["schemaExtensions"].as_array().unwrap() {
            client.get(&format!("/Schemas/{}", extension["schema"].as_str().unwrap())).expect(200);
        }
    }
    client.get("/ResourceTypes/Device").expect_error(404, "");
}

#[test]
fn schemas_describe_every_attribute_in_full() {
    fn check(attribute: &Value, of: &str) {
        let name = attribute["name"].as_str().unwrap_or_else(|| panic!("{of}: {attribute}"));
        let place = format!("{of}.{name}");
        let kind = attribute["type"].as_str().unwrap();
        let one_of = |key: &str, known: &[&str]| {
            assert!(attribute[key].as_str().is_some_and(|value| known.contains(&value)), "{place}: {key}");
        };
        one_of(
            "type",
            &["string", "boolean", "decimal", "integer", "dateTime", "binary", "reference", "complex"],
        );
        one_of("mutability", &["readOnly", "readWrite", "immutable", "writeOnly"]);
        one_of("returned", &["always", "never", "default", "request"]);
        for key in ["multiValued", "required"] {
            assert!(attribute[key].is_boolean(), "{place}: {key}");
        }
        assert!(attribute["description"].as_str().is_some_and(|text| !text.is_empty()), "{place}");
        assert_eq!(attribute.get("subAttributes").is_some(), kind == "complex", "{place}");
        assert_eq!(attribute.get("referenceTypes").is_some(), kind == "reference", "{place}");
        for sub in attribute["subAttributes"].as_array().unwrap_or(&Vec::new()) {
            check(sub, &place);
        }
    }
    let client = Tenant::fresh().client();
    let list = client.get("/Schemas").expect(200);
    let ids: HashSet<&str> = list.resources().iter().map(|schema| schema["id"].as_str().unwrap()).collect();
    let own = ["ServiceProviderConfig", "ResourceType", "Schema"]
        .map(|name| format!("urn:ietf:params:scim:schemas:core:2.0:{name}"));
    let resources = [okta::USER, okta::GROUP, okta::ENTERPRISE];
    assert_eq!(ids, resources.into_iter().chain(own.iter().map(String::as_str)).collect());
    for schema in list.resources() {
        let id = schema["id"].as_str().unwrap();
        assert_eq!(client.get(&format!("/Schemas/{id}")).expect(200).json, *schema);
        assert_eq!(schema["meta"]["location"], format!("{}/Schemas/{id}", client.base()));
        for attribute in schema["attributes"].as_array().unwrap() {
            check(attribute, id);
        }
    }
    client.get("/Schemas/urn:none").expect_error(404, "");
}

#[test]
fn a_filter_on_discovery_is_403() {
    // RFC 7644 §4: "If a "filter" is provided, the service provider SHOULD respond with HTTP status code 403".
    let client = Tenant::fresh().client();
    for path in ["/ServiceProviderConfig", "/ResourceTypes", "/Schemas"] {
        let reply = client.get(&format!("{path}?filter=id%20pr"));
        assert!(matches!(reply.status, 403), "{reply}");
    }
}

#[test]
fn the_limits_that_are_advertised_are_enforced() {
    let client = Tenant::fresh().client();
    let config = client.get("/ServiceProviderConfig");
    let most = config["filter"]["maxResults"].as_u64().unwrap();
    assert_eq!(most, 1000);
    // What no message has a place for is enforced all the same: see `paging`, `filters`, `errors`.
    let operation = json!({ "op": "replace", "path": "title", "value": "x" });
    let id = client.create("/Users", okta::user("a@x.test")).id();
    let path = format!("/Users/{id}");
    client.patch(&path, okta::patch(json!(vec![operation.clone(); 2000]))).expect(200);
    let refused = client.patch(&path, okta::patch(json!(vec![operation; 2001])));
    assert!(matches!(refused.status, 400 | 413) && refused.detail().contains("2000"), "{refused}");
}

#[test]
fn head_answers_like_get_without_a_body() {
    let client = Tenant::fresh().client();
    let id = client.create("/Users", okta::user("a@x.test")).id();
    for path in ["/ServiceProviderConfig".to_owned(), "/Users".to_owned(), format!("/Users/{id}")] {
        let got = client.get(&path).expect(200);
        let head = client.send_with(Method::HEAD, &path, None, &[]).expect(200);
        assert!(head.body.is_empty());
        assert_eq!(head.header("content-type"), got.header("content-type"));
        assert_eq!(head.header("etag"), got.header("etag"));
    }
}
