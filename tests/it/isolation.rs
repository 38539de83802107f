//! Tenants are apart: with the same names in both, nothing of one is seen, named or changed by way of the other.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::encode;
use crate::support::{Client, Config, Server, TenantConfig, Token, file, okta};

struct Side {
    client: Client,
    token: Token,
    user: String,
    group: String,
    before: Value,
}

impl Side {
    fn new(server: &Server, name: &str, token: &Token) -> Side {
        let client = server.client(name, token);
        let user = client.create("/Users", okta::user("same@x.test")).id();
        let group = client.create("/Groups", okta::group("same", &[okta::member(&user, "same@x.test")])).id();
        let mut side = Side { client, token: token.clone(), user, group, before: Value::Null };
        side.before = side.state();
        side
    }

    fn state(&self) -> Value {
        json!([self.client.get("/Users").expect(200).json, self.client.get("/Groups").expect(200).json])
    }
}

fn two() -> (Server, Side, Side) {
    let (a, b) = (Token::new("okta"), Token::new("okta"));
    let config = Config::new()
        .tenant(TenantConfig::new("acme").token(&a))
        .tenant(TenantConfig::new("globex").token(&b));
    let server = Server::start(&config);
    let (acme, globex) = (Side::new(&server, "acme", &a), Side::new(&server, "globex", &b));
    (server, acme, globex)
}

#[test]
fn the_same_names_live_in_both_and_each_sees_its_own() {
    let (_server, acme, globex) = two();
    assert_ne!(acme.user, globex.user);
    for side in [&acme, &globex] {
        let found = side.client.find("/Users", "userName eq \"same@x.test\"");
        assert_eq!((found.len(), found[0]["id"].as_str()), (1, Some(side.user.as_str())));
        assert_eq!(side.client.get("/Users")["totalResults"], 1);
        assert_eq!(side.client.get(&format!("/Groups/{}", side.group)).member_ids(), [side.user.as_str()]);
    }
}

#[test]
fn every_route_with_the_other_tenants_id_is_404_and_changes_nothing() {
    let (_server, acme, globex) = two();
    let (user, group) = (format!("/Users/{}", globex.user), format!("/Groups/{}", globex.group));
    for path in [&user, &group] {
        acme.client.get(path).expect_error(404, "");
        acme.client.delete(path).expect_error(404, "");
    }
    acme.client.put(&user, okta::user("new@x.test")).expect_error(404, "");
    acme.client.put(&group, okta::group("new", &[])).expect_error(404, "");
    acme.client.patch(&user, okta::set_active(false)).expect_error(404, "");
    acme.client.patch(&group, okta::rename(&globex.group, "new")).expect_error(404, "");
    for filter in [format!("id eq \"{}\"", globex.user), format!("groups eq \"{}\"", globex.group)] {
        assert_eq!(acme.client.find("/Users", &filter), [] as [Value; 0]);
    }
    assert_eq!(acme.client.find("/Groups", &format!("members eq \"{}\"", globex.user)), [] as [Value; 0]);
    // Nobody of the other tenant becomes a member.
    let stranger = [okta::member(&globex.user, "same@x.test")];
    let path = format!("/Groups/{}", acme.group);
    acme.client
        .patch(&path, okta::patch(json!([okta::add_members(&stranger)])))
        .expect_error(400, "invalidValue");
    acme.client.post("/Groups", okta::group("x", &stranger)).expect_error(400, "invalidValue");
    assert_eq!((acme.state(), globex.state()), (acme.before.clone(), globex.before.clone()));
}

#[test]
fn every_route_with_the_other_tenants_token_is_401_and_changes_nothing() {
    let (server, acme, globex) = two();
    let crossed = server.client("globex", &acme.token);
    let (user, group) = (format!("/Users/{}", globex.user), format!("/Groups/{}", globex.group));
    let body = |path: &str| {
        if path.starts_with("/Users") { okta::user("new@x.test") } else { okta::group("new", &[]) }
    };
    for path in [
        "/Users",
        "/Groups",
        "/ServiceProviderConfig",
        "/ResourceTypes",
        "/Schemas",
        "/Bulk",
        "/Me",
        "",
        &user,
        &group,
    ] {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let body = method.as_str().starts_with('P').then(|| body(path).to_string().into_bytes());
            let refused = crossed.send_with(method.clone(), path, body, &[]);
            assert_eq!(refused.status, 401, "{method} {path}");
        }
    }
    crossed.get(&format!("/Users?filter={}", encode("userName eq \"same@x.test\""))).expect_error(401, "");
    assert_eq!((acme.state(), globex.state()), (acme.before.clone(), globex.before.clone()));
}

#[test]
fn a_path_cannot_climb_into_another_tenant() {
    use crate::support::raw;
    let (server, acme, globex) = two();
    for target in [
        "/scim/v2/acme/../globex/Users",
        "/scim/v2/acme/%2e%2e/globex/Users",
        "/scim/v2/acme/..%2fglobex/Users",
        "/scim/v2/acme//..//globex//Users",
    ] {
        let reply = raw::exchange(
            server.address(),
            raw::request("GET", target, &[("Authorization", acme.token.text())]),
        );
        assert_eq!(reply.status, 404, "{target}: {reply}");
    }
    assert_eq!(globex.state(), globex.before);
}

#[test]
fn each_tenant_is_a_file_of_its_own_that_knows_nothing_of_the_other() {
    let (server, acme, globex) = two();
    acme.client.create("/Users", okta::user("only-in-acme@x.test"));
    let files = ["acme", "globex"].map(|name| file::bytes(&server.tenant_file(name)));
    assert!(file::holds(&files[0], "only-in-acme@x.test") && !file::holds(&files[1], "only-in-acme@x.test"));
    assert!(file::holds(&files[1], &globex.user) && !file::holds(&files[0], &globex.user));
    for name in ["acme", "globex"] {
        let file = server.tenant_file(name);
        assert_eq!(file::number(&file, "SELECT count(*) FROM resources"), if name == "acme" { 3 } else { 2 });
    }
}
