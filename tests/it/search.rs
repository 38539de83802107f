//! `/.search` (RFC 7644 §3.4.3), and lists of every kind at the root (§3.4.2.1).

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::encode;
use crate::support::{Client, Config, Reply, Server, Tenant, TenantConfig, Token, okta};

const SEARCH: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";

fn people_and_groups() -> Client {
    let client = Tenant::fresh().client();
    let ann = client.create("/Users", json!({ "userName": "ann", "displayName": "b", "title": "x" })).id();
    client.create("/Groups", okta::group("c", &[okta::member(&ann, "ann")]));
    client.create("/Users", json!({ "userName": "bob", okta::ENTERPRISE: { "department": "Sales" } }));
    client.create("/Groups", okta::group("a", &[]));
    client
}

/// userName or displayName of what is shown.
fn names(reply: &Reply) -> Vec<String> {
    let name = |one: &Value| {
        let names = ["userName", "displayName"].map(|name| one[name].as_str());
        names.into_iter().flatten().next().unwrap().to_owned()
    };
    reply.resources().iter().map(name).collect()
}

fn search(client: &Client, path: &str, mut message: Value) -> Reply {
    message["schemas"] = json!([SEARCH]);
    client.post(path, message)
}

#[test]
fn a_search_answers_what_a_get_with_the_same_parameters_answers() {
    let client = people_and_groups();
    for (path, query, message) in [
        ("/Users", "", json!({})),
        ("/Groups", "", json!({})),
        ("/", "", json!({})),
        ("/Users", "filter=title+pr", json!({ "filter": "title pr" })),
        ("/Users", "startIndex=2&count=1", json!({ "startIndex": 2, "count": 1 })),
        ("/Users", "count=0", json!({ "count": 0 })),
        ("/Users", "count=-7&startIndex=-7", json!({ "count": -7, "startIndex": -7 })),
        ("/Users", "count=99999999999999999999", json!({ "count": 1e19 })),
        (
            "/Users",
            "sortBy=userName&sortOrder=descending",
            json!({ "sortBy": "userName", "sortOrder": "descending" }),
        ),
        ("/Users", "attributes=userName,meta.created", json!({ "attributes": ["userName", "meta.created"] })),
        ("/Groups", "excludedAttributes=members", json!({ "excludedAttributes": ["members"] })),
        (
            "/",
            "sortBy=displayName&filter=displayName+pr",
            json!({ "sortBy": "displayName", "filter": "displayName pr" }),
        ),
    ] {
        let got = client.get(&format!("{path}?{query}")).expect(200);
        let found = search(&client, &format!("{}/.search", path.trim_end_matches('/')), message).expect(200);
        assert_eq!(found.json, got.json, "{path}?{query}");
        assert!(found["startIndex"].is_u64());
    }
}

#[test]
fn a_body_that_is_no_search_is_refused_and_so_are_parameters_in_the_address() {
    let client = people_and_groups();
    for path in ["/.search", "/Users/.search", "/Groups/.search"] {
        client.post(path, json!({})).expect_error(400, "invalidSyntax");
        client
            .post(path, json!({ "schemas": [okta::USER], "filter": "id pr" }))
            .expect_error(400, "invalidSyntax");
        client.post(path, json!([])).expect_error(400, "invalidSyntax");
        client.send_with(Method::POST, path, None, &[]).expect_error(400, "invalidSyntax");
        search(&client, path, json!({ "filter": 1 })).expect_error(400, "invalidSyntax");
        search(&client, path, json!({ "filter": "id" })).expect_error(400, "invalidFilter");
        search(&client, path, json!({ "sortBy": "nope" })).expect_error(400, "invalidValue");
        search(&client, path, json!({ "startIndex": "1" })).expect_error(400, "invalidValue");
        search(&client, path, json!({ "count": 1.5 })).expect_error(400, "invalidCount");
        search(&client, &format!("{path}?filter=id+pr"), json!({})).expect_error(400, "invalidSyntax");
        search(&client, &format!("{path}?aadOptscim062020"), json!({})).expect(200);
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let refused = client.send_with(method, path, None, &[]).expect_error(405, "");
            assert_eq!(refused.header("allow"), Some("POST, OPTIONS"));
        }
        let body = Some(json!({ "schemas": [SEARCH] }).to_string().into_bytes());
        client.send_with(Method::POST, path, body, &[("content-type", "text/plain")]).expect_error(415, "");
    }
    client.post("/Schemas/.search", json!({})).expect_error(405, "");
    client.post("/Widgets/.search", json!({})).expect_error(404, "");
}

#[test]
fn a_read_only_token_may_search() {
    let (writer, reader) = (Token::new("writer"), Token::new("reader").read_only());
    let server =
        Server::start(&Config::new().tenant(TenantConfig::new("acme").token(&writer).token(&reader)));
    server.client("acme", &writer).create("/Users", okta::user("a@x.test"));
    let client = server.client("acme", &reader);
    for path in ["/.search", "/Users/.search"] {
        assert_eq!(search(&client, path, json!({})).expect(200)["totalResults"], 1);
    }
    client.get("/").expect(200);
    client.post("/Users", okta::user("b@x.test")).expect_error(403, "");
}

#[test]
fn the_root_lists_both_kinds_in_order_of_creation() {
    let client = people_and_groups();
    for path in ["", "/"] {
        let all = client.get(path).expect(200);
        assert_eq!(
            (&all["totalResults"], names(&all)),
            (&json!(4), vec!["ann".into(), "c".into(), "bob".into(), "a".into()])
        );
        for one in all.resources() {
            let (kind, schema) = match one["meta"]["resourceType"].as_str() {
                Some("User") => ("Users", okta::USER),
                _ => ("Groups", okta::GROUP),
            };
            assert!(one["schemas"].as_array().unwrap().contains(&json!(schema)));
            assert_eq!(
                client.get(&format!("/{kind}/{}", one["id"].as_str().unwrap())).expect(200).json,
                *one
            );
        }
    }
    let page = client.get("/?startIndex=2&count=2").expect(200);
    assert_eq!((&page["totalResults"], names(&page)), (&json!(4), vec!["c".into(), "bob".into()]));
    assert_eq!(client.get("/?count=0").expect(200)["totalResults"], 4);
    assert_eq!(client.get("/?startIndex=5").expect(200)["itemsPerPage"], 0);
    let head = client.send_with(Method::HEAD, "/", None, &[]).expect(200);
    assert!(head.body.is_empty());
    let refused = client.post("/", json!({})).expect_error(405, "");
    assert!(refused.header("allow").is_some_and(|allow| allow.starts_with("GET, HEAD")), "{refused}");
}

#[test]
fn a_filter_at_the_root_takes_attributes_of_either_kind() {
    let client = people_and_groups();
    let department = format!("{}:department eq \"sales\"", okta::ENTERPRISE);
    for (filter, expected) in [
        ("meta.resourceType eq \"User\"", "ann bob"),
        ("meta.resourceType eq \"Group\" or userName eq \"BOB\"", "c bob a"),
        ("displayName pr", "ann c a"),
        ("displayName lt \"c\"", "ann a"),
        ("userName pr", "ann bob"),
        // Who has no such attribute has no value for it (RFC 7644 §3.4.2.1), and `ne` is `not eq`.
        ("userName ne \"ann\"", "c bob a"),
        ("not (members pr)", "ann bob a"),
        ("members pr or groups pr", "ann c"),
        ("groups[display eq \"c\"]", "ann"),
        ("title eq null", "c bob a"),
        ("urn:ietf:params:scim:schemas:core:2.0:Group pr", "c a"),
        ("urn:ietf:params:scim:schemas:core:2.0:User:userName sw \"a\"", "ann"),
        ("schemas eq \"urn:ietf:params:scim:schemas:core:2.0:Group\"", "c a"),
        (&department, "bob"),
    ] {
        let found = client.get(&format!("/?filter={}", encode(filter))).expect(200);
        assert_eq!(names(&found).join(" "), expected, "{filter}");
        assert_eq!(found["totalResults"], found.resources().len());
    }
    for filter in ["nope pr", "name.nope pr", "active eq \"perhaps\"", "members.nope eq \"x\""] {
        let refused = client.get(&format!("/?filter={}", encode(filter))).expect_error(400, "invalidFilter");
        assert!(!filter.starts_with("nope") || refused.detail().contains("User or Group"), "{refused}");
    }
}

#[test]
fn the_root_is_sorted_and_walked_by_cursor() {
    let client = people_and_groups();
    for (sort, expected) in [
        ("sortBy=displayName", "a ann c bob"),
        ("sortBy=displayName&sortOrder=descending", "bob c ann a"),
        ("sortBy=userName", "ann bob c a"),
        ("sortBy=userName&sortOrder=descending", "c a bob ann"),
        ("sortBy=meta.resourceType", "c a ann bob"),
        ("", "ann c bob a"),
        ("filter=id+pr", "ann c bob a"),
    ] {
        assert_eq!(names(&client.get(&format!("/?{sort}")).expect(200)).join(" "), expected, "{sort}");
        let (mut met, mut cursor) = (Vec::new(), Some(String::new()));
        while let Some(text) = cursor {
            let page = client.get(&format!("/?{sort}&count=1&cursor={text}")).expect(200);
            assert_eq!(page["totalResults"], 4);
            met.extend(names(&page));
            cursor = page["nextCursor"].as_str().map(str::to_owned);
        }
        assert_eq!(met.join(" "), expected, "{sort}");
    }
    let refused = client.get("/?sortBy=nope").expect_error(400, "invalidValue");
    assert!(refused.detail().contains("User or Group"), "{refused}");
}

#[test]
fn attributes_at_the_root_are_those_of_each_kind() {
    let client = people_and_groups();
    let shown = client.get("/?attributes=userName,displayName").expect(200);
    assert_eq!(shown.resources()[0]["userName"], "ann");
    assert_eq!(shown.resources()[1]["displayName"], "c");
    assert!(shown.resources().iter().all(|one| one.get("meta").is_none()));
    let users = client.get(&format!("/?attributes={}", okta::USER)).expect(200);
    assert_eq!(users.resources()[0]["title"], "x");
    assert_eq!(users.resources()[1].as_object().unwrap().keys().collect::<Vec<_>>(), ["schemas", "id"]);
    let whole = client.get(&format!("/Users?attributes={}", okta::USER)).expect(200);
    assert_eq!(whole.resources()[1].get("userName"), Some(&json!("bob")));
    assert_eq!(whole.resources()[1].get(okta::ENTERPRISE), None);
}
