//! How fast one tenant's clients may ask.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use crate::support::{Client, Config, Server, TenantConfig, Token, okta, raw, until};

/// The rate of a tenant whose burst is used up by so many requests.
fn burst_of(burst: u32) -> String {
    format!("{{ per_second = 1, burst = {burst} }}")
}

fn server_with(rate: &str, acme: &Token, globex: &Token) -> Server {
    let config = Config::new()
        .server("rate_limit", rate)
        .tenant(TenantConfig::new("acme").token(acme))
        .tenant(TenantConfig::new("globex").option("rate_limit", "\"off\"").token(globex));
    Server::start(&config)
}

/// Asks until it is refused; the refusal.
fn use_up(client: &Client) -> crate::support::Reply {
    loop {
        let reply = client.get("/Users?count=0");
        if reply.status != 200 {
            return reply;
        }
    }
}

#[test]
fn who_asks_too_fast_is_told_to_wait_whole_seconds_and_goes_on_then() {
    let (acme, globex) = (Token::new("okta"), Token::new("okta"));
    let server = server_with(&burst_of(5), &acme, &globex);
    let client = server.client("acme", &acme);
    let refused = use_up(&client).expect_error(429, "");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.detail().contains("try again in 1 second."), "{refused}");
    // Nothing is done of what is refused, whatever it is.
    let reply = client.post("/Users", okta::user("a@x.test"));
    assert!([201, 429].contains(&reply.status), "{reply}");
    // A tenant of its own setting, and one second later.
    let other = server.client("globex", &globex);
    (0..20).for_each(|_| drop(other.get("/Users?count=0").expect(200)));
    until("a second is over", || client.get("/Users?count=0").status == 200);
}

#[test]
fn strangers_do_not_use_up_a_tenants_requests() {
    let (acme, globex) = (Token::new("okta"), Token::new("okta"));
    let server = server_with("{ per_second = 1, burst = 3 }", &acme, &globex);
    let stranger = server.client("acme", &globex);
    (0..10).for_each(|_| drop(stranger.get("/Users").expect(401)));
    let nobody = server.client_with("acme", None);
    (0..10).for_each(|_| drop(nobody.get("/Users").expect(401)));
    let client = server.client("acme", &acme);
    (0..3).for_each(|_| drop(client.get("/Users?count=0").expect(200)));
}

#[test]
fn requests_at_once_share_one_burst_and_each_refusal_is_whole() {
    let (acme, globex) = (Token::new("okta"), Token::new("okta"));
    let server = server_with(&burst_of(50), &acme, &globex);
    // The token is proved first, so that no refusal is about that.
    server.client("acme", &acme).get("/Users?count=0").expect(200);
    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let client = server.client("acme", &acme);
                for _ in 0..20 {
                    match client.get("/Users?count=0").status {
                        200 => answered.fetch_add(1, Ordering::Relaxed),
                        status => {
                            assert_eq!(status, 429);
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
    });
    let (answered, refused) = (answered.into_inner(), refused.into_inner());
    assert_eq!(answered + refused, 160);
    // 49 are left of the burst, and one more with each second that it took.
    assert!(answered >= 49 && refused > 0, "{answered} answered, {refused} refused");
}

#[test]
fn a_reload_gives_no_new_burst_unless_the_rate_is_another() {
    let acme = Token::new("okta");
    let tenant = || TenantConfig::new("acme").token(&acme);
    let slow = Config::new().server("rate_limit", "{ per_second = 1, burst = 200 }");
    let server = Server::start(&slow.clone().tenant(tenant()));
    let client = server.client("acme", &acme);
    use_up(&client).expect(429);
    server.write_config(&slow.clone().tenant(tenant().option("name", "\"Acme\"")).text());
    server.log().wait_for_message("the changed configuration is in force");
    // At most one for each second that has passed: far from a burst.
    let passed = (0..200).filter(|_| client.get("/Users?count=0").status == 200).count();
    assert!(passed < 100, "{passed}");
    server.write_config(&slow.tenant(tenant().option("rate_limit", "\"off\"")).text());
    until("the tenant's own setting is in force", || {
        (0..20).all(|_| client.get("/Users?count=0").status == 200)
    });
}

#[test]
fn a_body_that_is_refused_leaves_the_connection_usable() {
    let (acme, globex) = (Token::new("okta"), Token::new("okta"));
    let server = server_with(&burst_of(1), &acme, &globex);
    let mut connection = raw::Connection::open(server.address());
    let body = json!({ "userName": "a@x.test" }).to_string();
    let length = body.len().to_string();
    let headers = [
        ("Authorization", acme.text()),
        ("Content-Type", "application/scim+json"),
        ("Content-Length", length.as_str()),
    ];
    let mut statuses = Vec::new();
    for _ in 0..4 {
        connection.send(raw::request("POST", "/scim/v2/acme/Users", &headers));
        connection.send(&body);
        statuses.push(connection.answer().expect("an answer").status);
    }
    assert_eq!(statuses[0], 201);
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn the_usual_rate_is_above_what_okta_sends() {
    let token = Token::new("okta");
    let usual = Config::acme(&token).server("rate_limit", "{ per_second = 500, burst = 1000 }");
    let server = Server::start(&usual);
    let client = server.client("acme", &token);
    // Fifteen requests in two seconds is what was seen of Okta (okta.md §4.6); here they come at once.
    thread::scope(|scope| {
        for writer in 0..4 {
            let client = &client;
            scope.spawn(move || {
                for n in 0..15 {
                    client.create("/Users", okta::user(&format!("u{writer}-{n}@x.test")));
                }
            });
        }
    });
}
