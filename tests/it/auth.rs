//! Who may ask: tokens in every form, all wrong cases alike, rotation while the server runs, and the bound on
//! what guessing may cost.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ici_scim::clock::{Clock as _, Stopwatch, SystemClock};
use ici_scim::scim::datetime;
use ici_scim::secret::TokenText;
use reqwest::Method;
use serde_json::json;

use crate::support::{
    Client, Config, Reply, SOON, Server, Tenant, TenantConfig, Token, okta, raw, until, until_within,
};

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn the_token_is_taken_raw_as_bearer_and_as_a_basic_password() {
    let tenant = Tenant::fresh();
    let token = tenant.token.text();
    for authorization in [
        token.to_owned(),
        format!("Bearer {token}"),
        format!("bearer {token}"),
        format!("BEARER \t {token}"),
        format!("  Bearer   {token}  "),
        basic("okta", token),
        basic("", token),
        basic("a user with : in it is not possible", token),
        basic("x", token).replace("Basic", "bAsIc"),
    ] {
        let reply = tenant.client().authorized(&authorization).get("/Users");
        let colon_in_user = authorization.contains(&STANDARD.encode("a user with :")[..16]);
        assert_eq!(reply.status, if colon_in_user { 401 } else { 200 }, "{authorization}");
    }
}

/// What a client can see of an answer, without what is different each time.
fn seen(reply: &Reply) -> (u16, Vec<u8>, BTreeSet<(String, String)>) {
    let changing = ["date", "x-request-id"];
    let headers = reply.headers.iter().filter(|(name, _)| !changing.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (reply.status, reply.body.clone(), headers.collect())
}

#[test]
fn every_wrong_case_is_one_and_the_same_401() {
    let right = Token::new("okta");
    let other = Token::new("okta");
    let expired = Token::new("expired").with("expires", "2020-01-01");
    let server = Server::start(
        &Config::new()
            .tenant(TenantConfig::new("acme").token(&right).token(&expired))
            .tenant(TenantConfig::new("globex").token(&other))
            .tenant(TenantConfig::new("empty")),
    );
    let unknown = TokenText::generate().unwrap().expose().to_owned();
    let get =
        |tenant: &str, authorization: Option<&str>| server.client_with(tenant, authorization).get("/Users");
    assert_eq!(get("acme", Some(right.text())).status, 200);
    let expected = seen(&get("acme", None));
    assert_eq!(expected.0, 401);

    let mistyped = right.text().replacen(|c: char| c.is_ascii_digit(), "x", 1);
    for (what, tenant, authorization) in [
        ("an empty header", "acme", ""),
        ("the word alone", "acme", "Bearer"),
        ("the word and a blank", "acme", "Bearer "),
        ("the suite's", "acme", "non-token"),
        ("a well-formed token that nobody has", "acme", &unknown),
        ("a mistyped one", "acme", &mistyped),
        ("another tenant's", "acme", other.text()),
        ("an expired one", "acme", expired.text()),
        ("a hash", "acme", right.hash()),
        ("two tokens", "acme", &format!("{} {}", right.text(), right.text())),
        ("in lower case", "acme", &right.text().to_lowercase()),
        ("a long text", "acme", &"x".repeat(8_000)),
        ("no base64", "acme", "Basic %%%"),
        ("base64 of nothing", "acme", "Basic "),
        ("as the user name", "acme", &basic(right.text(), "")),
        ("an unknown scheme", "acme", &format!("Digest {}", right.text())),
        ("an unknown tenant", "nobody", right.text()),
        ("a tenant without tokens", "empty", right.text()),
        ("upper case", "ACME", right.text()),
        ("a NUL", "%00", right.text()),
        ("a NUL at the end", "acme%00", right.text()),
        ("an encoded slash", "..%2facme", right.text()),
        ("an encoded blank", "acme%20", right.text()),
        ("a file", "acme.sqlite", right.text()),
        ("an underscore", "ac_me", right.text()),
        ("a long name", &"a".repeat(64), right.text()),
        ("not UTF-8", "%ff%fe", right.text()),
    ] {
        assert_eq!(seen(&get(tenant, Some(authorization))), expected, "{what}");
    }
    // What an HTTP library would tidy up or refuse to send.
    for (what, target, authorization) in [
        ("dots", "/scim/v2/../Users", right.text()),
        ("dots and a tenant", "/scim/v2/../acme/Users", right.text()),
        ("encoded dots", "/scim/v2/%2e%2e/Users", right.text()),
        ("bytes above 127", "/scim/v2/acme/Users", "\u{e9}\u{fffd}"),
    ] {
        let reply =
            raw::exchange(server.address(), raw::request("GET", target, &[("Authorization", authorization)]));
        assert_eq!(seen(&reply), expected, "{what}");
    }
    // A file for a tenant that is not there would be a way to fill the disk.
    let entries = std::fs::read_dir(server.folder().join("data")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: Vec<String> = names.filter(|name| name.ends_with(".sqlite")).collect();
    assert_eq!(files, ["acme.sqlite"]);
}

#[test]
fn wrong_tokens_take_the_same_time_whether_the_tenant_is_there_or_not() {
    // A token as the product makes it, at full cost: 20 ms and more, which would show.
    let right = Token::new("cheap");
    let server = Server::start(&Config::acme(&right));
    let issued = server.run_well(["token", "new", "acme", "--name", "full"]);
    server.run_well(["token", "revoke", "acme", "cheap"]);
    let client = server.client_with("acme", Some(issued.trim()));
    until("the new token is taken", || client.get("/Users").status == 200);

    let times = || {
        let mut quickest = [Duration::MAX; 2];
        for _ in 0..9 {
            for (tenant, quickest) in ["acme", "nobody"].into_iter().zip(&mut quickest) {
                let unknown = TokenText::generate().unwrap();
                let watch = Stopwatch::start();
                server.client_with(tenant, Some(unknown.expose())).get("/Users").expect(401);
                *quickest = watch.elapsed().min(*quickest);
            }
        }
        quickest.map(|time| time.as_secs_f64())
    };
    // Refusals come in steps; on a busy machine one side may come a step later nine times. If it took longer, it always
    // would.
    let is_alike = |[there, not_there]: [f64; 2]| (0.5..2.0).contains(&(there / not_there));
    assert!((0..5).any(|_| is_alike(times())), "the tenant shows by the time that a refusal takes");
}

#[test]
fn a_known_token_costs_no_argon2() {
    let server = Server::start(&Config::acme(&Token::new("cheap")));
    let issued = server.run_well(["token", "new", "acme", "--name", "full"]);
    let client = server.client_with("acme", Some(issued.trim()));
    until("the new token is taken", || client.get("/Users").status == 200);
    let quickest = (0..20)
        .map(|_| {
            let watch = Stopwatch::start();
            client.get("/ServiceProviderConfig").expect(200);
            watch.elapsed()
        })
        .min();
    assert!(quickest < Some(Duration::from_millis(10)), "{quickest:?}");
}

#[test]
fn guessing_is_bounded_and_does_not_keep_known_clients_waiting() {
    let server = Server::start(&Config::acme(&Token::new("cheap")));
    let issued = server.run_well(["token", "new", "acme", "--name", "full"]);
    let client = server.client_with("acme", Some(issued.trim()));
    until("the new token is taken", || client.get("/Users").status == 200);

    let enough = AtomicBool::new(false);
    let (refused, times) = thread::scope(|scope| {
        let guessers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut refused = 0;
                    while !enough.load(Ordering::Relaxed) {
                        let guess = TokenText::generate().unwrap();
                        let reply = server.client_with("acme", Some(guess.expose())).get("/Users");
                        assert!(matches!(reply.status, 401 | 429), "{reply}");
                        if reply.status == 429 {
                            reply.header("retry-after").unwrap().parse::<u32>().unwrap();
                        }
                        refused += 1;
                    }
                    refused
                })
            })
            .collect();
        let mut times: Vec<Duration> = (0..40)
            .map(|_| {
                let watch = Stopwatch::start();
                client.get("/Users").expect(200);
                watch.elapsed()
            })
            .collect();
        times.sort();
        enough.store(true, Ordering::Relaxed);
        (guessers.into_iter().map(|guesser| guesser.join().unwrap()).sum::<u32>(), times)
    });
    assert!(refused > 0);
    // If they stood in the line of those who guess, all would wait.
    assert!(times[20] < Duration::from_secs(1), "{times:?}");
}

#[test]
fn a_flood_of_guesses_from_one_network_does_not_keep_out_who_has_not_been_seen_yet() {
    let config = Config::acme(&Token::new("cheap")).server("trusted_proxies", "[\"127.0.0.1\"]");
    let server = Server::start(&config);
    // With hashes as in service, so that guesses wait.
    let issued = ["a", "b", "c", "d"].map(|name| server.run_well(["token", "new", "acme", "--name", name]));
    let clients = issued.map(|token| server.client_with("acme", Some(token.trim())));
    let [unseen @ .., last] = &clients;
    until("the new tokens are taken", || last.get("/Users").status == 200);
    let from = |client: &Client, address: &str| {
        client.send_with(Method::GET, "/Users", None, &[("x-forwarded-for", address)])
    };
    let (enough, turned_away) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        // More than can wait, all from one place.
        for _ in 0..96 {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let guess = TokenText::generate().unwrap();
                    let reply = from(&server.client_with("acme", Some(guess.expose())), "192.0.2.1");
                    assert!(matches!(reply.status, 401 | 429), "{reply}");
                    turned_away.fetch_or(reply.status == 429, Ordering::Relaxed);
                }
            });
        }
        let _enough = Enough(&enough);
        until("so many wait that others are turned away", || turned_away.load(Ordering::Relaxed));
        for client in unseen {
            let reply = from(client, "198.51.100.7");
            assert_eq!(reply.status, 200, "{reply}");
        }
    });
}

/// Tells others to stop when it is dropped, also by a panic.
struct Enough<'a>(&'a AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_read_only_token_reads_everything_and_writes_nothing() {
    let (writer, reader) = (Token::new("writer"), Token::new("reader").read_only());
    let server =
        Server::start(&Config::new().tenant(TenantConfig::new("acme").token(&writer).token(&reader)));
    let id = server.client("acme", &writer).create("/Users", okta::user("a@x.test")).id();
    let client = server.client("acme", &reader);
    let path = format!("/Users/{id}");
    for path in ["/Users", "/Groups", "/Schemas", "/ResourceTypes", "/ServiceProviderConfig", &path] {
        client.get(path).expect(200);
    }
    client.post("/Users", okta::user("b@x.test")).expect_error(403, "");
    client.put(&path, okta::user("b@x.test")).expect_error(403, "");
    client.patch(&path, okta::set_active(false)).expect_error(403, "");
    client.delete(&path).expect_error(403, "");
    client.post("/Groups", json!("not even looked at")).expect_error(403, "");
    assert_eq!(client.get(&path)["active"], true);
}

#[test]
fn several_tokens_live_side_by_side() {
    let tokens = [Token::new("old"), Token::new("new").with("expires", "2999-12-31T23:59:59Z")];
    let server =
        Server::start(&Config::new().tenant(TenantConfig::new("acme").token(&tokens[0]).token(&tokens[1])));
    for token in &tokens {
        server.client("acme", token).get("/Users").expect(200);
    }
}

#[test]
fn a_token_stops_at_its_time() {
    let expires_ms = SystemClock.now_ms() + 2_000;
    let token = Token::new("short").with("expires", &datetime::format(expires_ms));
    let server = Server::start(&Config::acme(&token));
    let client = server.client("acme", &token);
    // However slow the machine, each answer is right for its moment.
    until("the token has expired", || {
        let asked_ms = SystemClock.now_ms();
        match client.get("/Users").status {
            200 => assert!(asked_ms < expires_ms),
            401 => assert!(SystemClock.now_ms() >= expires_ms),
            other => panic!("{other}"),
        }
        asked_ms >= expires_ms
    });
}

#[test]
fn a_changed_file_is_in_service_soon() {
    let (old, new) = (Token::new("old"), Token::new("new"));
    let before = Config::acme(&old);
    let server = Server::start(&before);
    let (first, second) = (server.client("acme", &old), server.client("acme", &new));
    first.get("/Users").expect(200);
    second.get("/Users").expect(401);

    // Rotation: the new beside the old, then the old gone.
    server.write_config(&Config::new().tenant(TenantConfig::new("acme").token(&old).token(&new)).text());
    until_within(SOON, "the new token is taken", || second.get("/Users").status == 200);
    first.get("/Users").expect(200);
    server.write_config(&Config::acme(&new).text());
    until_within(SOON, "the old token is refused", || first.get("/Users").status == 401);
    second.get("/Users").expect(200);

    // A file that an editor writes in place, and a tenant that comes and goes.
    std::fs::write(
        server.config_file(),
        Config::acme(&new).tenant(TenantConfig::new("globex").token(&old)).text(),
    )
    .unwrap();
    let globex = server.client("globex", &old);
    until_within(SOON, "the new tenant answers", || globex.get("/Users").status == 200);
    server.write_config(&Config::acme(&new).text());
    until_within(SOON, "the tenant is gone", || globex.get("/Users").status == 401);
}

#[test]
fn a_token_revoked_by_command_stops_soon() {
    let (token, other) = (Token::new("okta"), Token::new("other"));
    let server = Server::start(&Config::new().tenant(TenantConfig::new("acme").token(&token).token(&other)));
    let client = server.client("acme", &token);
    client.get("/Users").expect(200);
    server.run_well(["token", "revoke", "acme", "okta"]);
    until_within(SOON, "the token is refused", || client.get("/Users").status == 401);
    server.client("acme", &other).get("/Users").expect(200);
}

#[test]
fn a_bad_file_changes_nothing_and_is_reported() {
    let token = Token::new("okta");
    let good = Config::acme(&token);
    let server = Server::start(&good);
    let client = server.client("acme", &token);
    for (number, bad) in [
        "this is no TOML".to_owned(),
        format!("{}\n[tenants.acme.nonsense]\n", good.text()),
        good.text().replace("$argon2id$", "$argon2i$"),
    ]
    .into_iter()
    .enumerate()
    {
        server.write_config(&bad);
        until("the fault is reported", || {
            let text = server.log().text();
            text.lines()
                .filter(|line| {
                    line.contains("tenants.toml") && (line.contains("WARN") || line.contains("ERROR"))
                })
                .count()
                > number
        });
        client.get("/Users").expect(200);
    }
    std::fs::remove_file(server.config_file()).unwrap();
    client.get("/Users").expect(200);
    // And a good one after that is taken.
    let new = Token::new("new");
    server.write_config(&Config::acme(&new).text());
    until("the new token is taken", || server.client("acme", &new).get("/Users").status == 200);
}
