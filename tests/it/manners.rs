//! The manners of HTTP (RFC 9110): methods, media types, addresses, on every kind of address.

use reqwest::Method;
use serde_json::json;

use crate::support::{Client, Reply, Tenant, okta, raw};

const COLLECTION: &str = "GET, HEAD, POST, OPTIONS";
const RESOURCE: &str = "GET, HEAD, PUT, PATCH, DELETE, OPTIONS";
const DISCOVERY: &str = "GET, HEAD, OPTIONS";

/// Every kind of address that takes methods, with the methods that it takes.
fn addresses(user: &str, group: &str) -> Vec<(String, &'static str)> {
    let schema = format!("/Schemas/{}", okta::USER);
    [
        ("/Users", COLLECTION),
        ("/Groups", COLLECTION),
        (&format!("/Users/{user}"), RESOURCE),
        (&format!("/Groups/{group}"), RESOURCE),
        ("/ServiceProviderConfig", DISCOVERY),
        ("/ResourceTypes", DISCOVERY),
        ("/ResourceTypes/User", DISCOVERY),
        ("/Schemas", DISCOVERY),
        (&schema, DISCOVERY),
        ("/Bulk", "POST, OPTIONS"),
        ("/.search", "POST, OPTIONS"),
        ("/Users/.search", "POST, OPTIONS"),
        ("/Groups/.search", "POST, OPTIONS"),
        ("/", DISCOVERY),
    ]
    .map(|(path, allow)| (path.to_owned(), allow))
    .to_vec()
}

fn with_one_of_each() -> (Client, String, String) {
    let client = Tenant::fresh().client();
    let user = client.create("/Users", okta::user("a@x.test")).id();
    let group = client.create("/Groups", okta::group("Crew", &[])).id();
    (client, user, group)
}

fn ask(client: &Client, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    client.send_with(Method::from_bytes(method.as_bytes()).unwrap(), path, None, headers)
}

#[test]
fn head_is_get_without_a_body() {
    let (client, user, group) = with_one_of_each();
    for (path, _) in addresses(&user, &group).iter().filter(|(_, allow)| allow.contains("HEAD")) {
        let plain = [("accept-encoding", "")];
        let (get, head) = (ask(&client, "GET", path, &plain), ask(&client, "HEAD", path, &plain));
        assert_eq!((head.status, head.body.len()), (200, 0), "{head}");
        for name in ["content-type", "content-length", "etag", "location", "content-location", "vary"] {
            assert_eq!(get.header(name), head.header(name), "{path}: {name}");
        }
    }
    assert_eq!(ask(&client, "HEAD", "/Users/none", &[]).status, 404);
}

#[test]
fn what_tells_its_own_address_has_it_in_the_headers() {
    let (client, user, group) = with_one_of_each();
    for (path, _) in addresses(&user, &group) {
        let answer = client.get(&path);
        if let Some(location) = answer["meta"]["location"].as_str() {
            assert_eq!(answer.header("content-location"), Some(location), "{path}");
            assert_eq!(location, format!("{}{path}", client.base()));
        }
    }
    for list in ["/Users", "/Schemas", "/ResourceTypes"] {
        assert_eq!(client.get(list).expect(200).header("content-location"), None, "{list} is no resource");
    }
}

#[test]
fn options_names_the_methods_and_every_other_method_is_refused_with_them() {
    let (client, user, group) = with_one_of_each();
    for (path, allow) in addresses(&user, &group) {
        let options = ask(&client, "OPTIONS", &path, &[]).expect(204);
        assert_eq!((options.header("allow"), options.body.len()), (Some(allow), 0), "{path}");
        let patch = allow.contains("PATCH").then_some("application/scim+json, application/json");
        assert_eq!(options.header("accept-patch"), patch, "{path}");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get"] {
            if !allow.split(", ").any(|allowed| allowed == method) {
                let refused = ask(&client, method, &path, &[]).expect_error(405, "");
                assert_eq!(refused.header("allow"), Some(allow), "{method} {path}");
            }
        }
    }
    ask(&client, "OPTIONS", "/Widgets", &[]).expect_error(404, "");
    ask(&client, "OPTIONS", "/Users", &[("authorization", "wrong")]).expect_error(401, "");
}

#[test]
fn answers_are_in_the_media_type_that_the_client_likes_best() {
    let client = Tenant::fresh().client();
    for (accept, kind) in [
        ("", "application/scim+json"),
        ("*/*", "application/scim+json"),
        ("application/scim+json;charset=UTF-8", "application/scim+json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/scim+json"),
        ("application/json", "application/json"),
    ] {
        for path in ["/Users", "/Users/none", "/ServiceProviderConfig"] {
            let reply = ask(&client, "GET", path, &[("accept", accept)]);
            assert_eq!(reply.header("content-type"), Some(kind), "{accept} {reply}");
        }
    }
}

#[test]
fn who_takes_no_json_is_told_so_before_anything_is_done() {
    let xml = [("accept", "application/xml")];
    ask(&Tenant::fresh().client(), "GET", "/Users", &xml).expect(200);
    let client = Tenant::strict().client();
    ask(&client, "GET", "/Users", &xml).expect_error(406, "");
    let body = okta::user("a@x.test").to_string().into_bytes();
    client.send_with(Method::POST, "/Users", Some(body.clone()), &xml).expect_error(406, "");
    assert_eq!(client.get("/Users")["totalResults"], 0);
    let id = client.send_with(Method::POST, "/Users", Some(body), &[]).expect(201).id();
    // What answers nothing has no media type.
    ask(&client, "DELETE", &format!("/Users/{id}"), &xml).expect(204);
}

#[test]
fn a_body_is_json_in_utf_8_or_refused_with_what_would_do() {
    let client = Tenant::fresh().client();
    let post = |kind: &str, name: &str| {
        let body = json!({ "userName": name }).to_string().into_bytes();
        client.send_with(Method::POST, "/Users", Some(body), &[("content-type", kind)])
    };
    for (name, kind) in [
        ("a", "application/json"),
        ("b", "Application/SCIM+JSON;CHARSET=\"utf-8\""),
        ("c", "application/json; charset=UTF8"),
        ("d", ""),
    ] {
        post(kind, name).expect(201);
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
        let refused = post(kind, "e").expect_error(415, "");
        assert_eq!(refused.header("accept"), Some("application/scim+json, application/json"));
        assert_eq!(refused.header("accept-encoding"), None, "{kind}: it was not the coding");
    }
}

#[test]
fn slashes_too_many_and_encoded_characters_lead_to_the_same_place() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let id = client.create("/Users", okta::user("a@x.test")).id();
    let encoded = format!("%{:02x}{}", id.as_bytes()[0], &id[1..]);
    for path in [
        format!("/Users/{id}/"),
        format!("//Users//{id}//"),
        format!("/%55sers/{id}"),
        format!("/Users/{encoded}"),
        format!("/Users/{id}?"),
    ] {
        assert_eq!(ask(&client, "GET", &path, &[]).expect(200).id(), id, "{path}");
    }
    // An encoded slash is a character of the segment and parts nothing.
    for path in [format!("/Users%2F{id}"), format!("/Users/{id}%2F")] {
        ask(&client, "GET", &path, &[]).expect_error(404, "");
    }
    // Dots do not climb; a client may make them do so, but the server does not.
    let climbing = format!("/scim/v2/{}/Users/../Users", tenant.name);
    let request = raw::request("GET", &climbing, &[("Authorization", tenant.token.text())]);
    raw::exchange(tenant.server.address(), request).expect_error(404, "");
    let name = format!("%{:02X}{}", tenant.name.as_bytes()[0], &tenant.name[1..]);
    for (name, status) in [(name, 200), (format!("{}%2F", tenant.name), 401), ("%ff".to_owned(), 401)] {
        let target = format!("/scim/v2/{name}/Users");
        let request = raw::request("GET", &target, &[("Authorization", tenant.token.text())]);
        raw::exchange(tenant.server.address(), request).expect(status);
    }
}

#[test]
fn a_parameter_may_be_encoded_or_unknown_but_not_there_twice() {
    let client = Tenant::fresh().client();
    client.create("/Users", okta::user("a+b@x.test"));
    for query in [
        "filter=userName%20eq%20%22a%2bb@x.test%22",
        "filter=userName+eq+%22a%2Bb%40x.test%22",
        "%66ilter=userName eq \"a%2Bb@x.test\"",
        "x=1&x=2&aadOptscim062020=&filter=userName+eq+%22a%2Bb%40x.test%22&",
    ] {
        assert_eq!(client.get(&format!("/Users?{query}")).expect(200)["totalResults"], 1, "{query}");
    }
    client.get("/Users?count=1&%63ount=2").expect_error(400, "invalidValue");
    client.get("/Users?filter=%ff").expect_error(400, "invalidSyntax");
}
