//! startIndex and count (RFC 7644 §3.4.2.4) at their edges. Whole walks are in `okta::import`.

use serde_json::json;

use crate::support::{Tenant, okta};

#[test]
fn start_and_count_out_of_range_are_brought_into_it() {
    let client = Tenant::fresh().client();
    for n in 0..12 {
        client.create("/Users", okta::user(&format!("u{n}@x.test")));
    }
    for (query, start, items) in [
        ("", 1, 12),
        ("startIndex=0", 1, 12),
        ("startIndex=-3&count=2", 1, 2),
        ("count=0", 1, 0),
        ("count=-1", 1, 0),
        ("startIndex=12", 12, 1),
        ("startIndex=13", 13, 0),
        ("startIndex=5&count=3", 5, 3),
        ("startIndex=11&count=100", 11, 2),
        ("count=99999999999999999999", 1, 12),
        ("startIndex=1&count=5&sortBy=userName&sortOrder=descending", 1, 5),
        ("&&startIndex=2&unknown=x&count=1&", 2, 1),
    ] {
        let page = client.get(&format!("/Users?{query}")).expect(200);
        assert_eq!(
            (&page["totalResults"], &page["startIndex"], &page["itemsPerPage"]),
            (&json!(12), &json!(start), &json!(items)),
            "{query}"
        );
    }
}

#[test]
fn what_is_no_number_is_refused_by_name() {
    let client = Tenant::fresh().client();
    for (query, kind, named) in [
        ("count=ten", "invalidCount", "count"),
        ("startIndex=1.5", "invalidValue", "startIndex"),
        ("count=1&count=2", "invalidValue", "count"),
        ("startIndex=0x1", "invalidValue", "startIndex"),
    ] {
        let refused = client.get(&format!("/Users?{query}")).expect_error(400, kind);
        assert!(refused.detail().contains(named), "{refused}");
    }
}

#[test]
fn a_page_without_count_has_the_default_and_none_has_more_than_the_most() {
    use crate::support::{Config, Server, Token};
    let token = Token::new("okta");
    let config = Config::acme(&token).limit("page_resources_max", 100).limit("page_resources_default", 7);
    let server = Server::start(&config);
    let client = server.client("acme", &token);
    for n in 0..103 {
        client.create("/Users", json!({ "userName": format!("u{n}") }));
    }
    assert_eq!(client.get("/Users").expect(200)["itemsPerPage"], 7);
    let most = client.get("/Users?count=5000").expect(200);
    assert_eq!((&most["itemsPerPage"], &most["totalResults"]), (&json!(100), &json!(103)));
    assert_eq!(client.get("/ServiceProviderConfig")["filter"]["maxResults"], 100, "advertised is enforced");
}

#[test]
fn a_list_follows_deletions_without_gaps() {
    let client = Tenant::fresh().client();
    let made: Vec<String> =
        (0..30).map(|n| client.create("/Users", json!({ "userName": format!("u{n}") })).id()).collect();
    for id in made.iter().step_by(3) {
        client.delete(&format!("/Users/{id}")).expect(204);
    }
    let left: Vec<&String> = made.iter().enumerate().filter(|(n, _)| n % 3 != 0).map(|(_, id)| id).collect();
    let page = client.get("/Users?startIndex=6&count=10").expect(200);
    assert_eq!(page["totalResults"], left.len());
    let shown: Vec<&str> = page.resources().iter().map(|user| user["id"].as_str().unwrap()).collect();
    assert_eq!(shown, left[5..15].iter().map(|id| id.as_str()).collect::<Vec<_>>());
}
