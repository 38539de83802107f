//! `/Me` (RFC 7644 §3.11): the user that a token stands for, and nothing for all other tokens.

use reqwest::Method;
use serde_json::json;

use crate::support::client::group_ids;
use crate::support::{Client, Config, Server, Tenant, TenantConfig, Token, okta, until};

/// A server with a user, a client whose token stands for the user, and one whose token stands for nobody.
struct Own {
    _server: Server,
    other: Client,
    me: Client,
    id: String,
}

fn own(restrict: impl Fn(Token) -> Token) -> Own {
    let plain = Token::new("okta");
    let server = Server::start(&Config::acme(&plain));
    let other = server.client("acme", &plain);
    let id = other.create("/Users", okta::user("ada@x.test")).id();
    let bound = restrict(Token::new("ada").with("user", &format!("\"{id}\"")));
    let tenant = TenantConfig::new("acme").token(&plain).token(&bound);
    server.write_config(&Config::new().tenant(tenant).text());
    server.signal("HUP");
    let me = server.client("acme", &bound);
    until("the token is taken", || me.get("/Users").status == 200);
    Own { _server: server, other, me, id }
}

#[test]
fn me_is_the_user_that_the_token_stands_for_with_the_users_own_address() {
    let Own { _server, other, me, id } = own(|token| token);
    let path = format!("/Users/{id}");
    let address = format!("{}{path}", me.base());
    let group = other.create("/Groups", okta::group("g", &[okta::member(&id, "")])).id();

    let shown = me.get("/Me").expect(200);
    assert_eq!(shown.json, other.get(&path).json);
    assert_eq!(
        (shown.header("location"), shown["meta"]["location"].as_str()),
        (Some(&*address), Some(&*address))
    );
    assert_eq!(group_ids(&shown.json), [group]);
    let head = me.send_with(Method::HEAD, "/Me", None, &[]).expect(200);
    assert_eq!((head.header("etag"), head.body.len()), (shown.header("etag"), 0));
    assert_eq!(me.get("/Me?attributes=userName").expect(200).json.get("name"), None);

    let tag = shown.header("etag").unwrap().to_owned();
    let same = me.send_with(Method::GET, "/Me", None, &[("if-none-match", &tag)]).expect(304);
    assert_eq!(same.header("location"), Some(&*address));
    let title = okta::patch(json!([{ "op": "replace", "path": "title", "value": "Countess" }]));
    let patched = me.patch("/Me", title.clone()).expect(200);
    assert_eq!((patched.header("location"), &patched["title"]), (Some(&*address), &json!("Countess")));
    let stale =
        me.send_with(Method::PATCH, "/Me", Some(title.to_string().into_bytes()), &[("if-match", &tag)]);
    assert_eq!(stale.expect_error(412, "").header("location"), Some(&*address));
    let put = me.put("/Me", okta::user("ada@x.test")).expect(200);
    assert_eq!((put.header("location"), put.json.get("title")), (Some(&*address), None));
    assert_eq!(other.get(&path).json, put.json);

    let refused = me.post("/Me", okta::user("new@x.test")).expect_error(403, "");
    assert_eq!(refused.header("location"), Some(&*address));
    let gone = me.delete("/Me").expect(204);
    assert_eq!(gone.header("location"), Some(&*address));
    me.get("/Me").expect_error(404, "");
    other.get(&path).expect_error(404, "");
}

#[test]
fn a_token_that_stands_for_nobody_has_no_me_and_a_read_only_one_may_only_read_it() {
    let client = Tenant::fresh().client();
    for (method, body) in [
        (Method::GET, None),
        (Method::POST, Some(okta::user("a@x.test"))),
        (Method::PUT, Some(okta::user("a@x.test"))),
        (Method::PATCH, Some(okta::set_active(false))),
        (Method::DELETE, None),
    ] {
        let refused = client.send_with(method, "/Me", body.map(|body| body.to_string().into_bytes()), &[]);
        assert_eq!(refused.expect_error(501, "").header("location"), None);
    }
    let Own { _server, me, .. } = own(Token::read_only);
    me.get("/Me").expect(200);
    me.patch("/Me", okta::set_active(false)).expect_error(403, "");
    me.delete("/Me").expect_error(403, "");
}
