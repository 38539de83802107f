//! Tests of the whole of `parse`, with its errors word by word.

use std::path::PathBuf;

use crate::config::parse::DOCUMENT_KEYS;
use crate::config::read::{Section, Source, document};
use crate::config::server::SERVER_KEYS;
use crate::config::tenant::TENANT_KEYS;
use crate::config::token::TOKEN_KEYS;
use crate::config::*;
use crate::scim::Profile;

const HASH: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

/// `HASH`, made different by its salt.
fn hash(number: u32) -> String {
    HASH.replace("c29tZXNhbHQ", &format!("c29tZXNhbHQ{number:05}"))
}

fn problem(text: &str) -> String {
    parse(text, "tenants.toml").unwrap_err().to_string()
}

#[test]
fn an_empty_text_is_all_defaults() {
    let settings = parse("", "tenants.toml").unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.server.limits.body_bytes_max, 4_194_304);
    assert_eq!(parse("\u{feff}# only a comment\r\n", "tenants.toml").unwrap(), settings);
}

#[test]
fn every_key_is_read() {
    let (first, second) = (hash(1), hash(2));
    let text = format!(
        r#"
[server]
listen = "[::]:9000"
public_url = "https://scim.example.com/ici/"
data_dir = "/var/lib/ici"
limits.body_bytes_max = 1_000_000
limits.token_checks_max = 0x2

[tenants.acme]
name = "Acme GmbH & Söhne"
on_recreate = "conflict"
store_passwords = true

[[tenants.acme.tokens]]
name = "okta 2026"
hash = "{first}"
created = 2026-01-02T03:04:05.678Z
expires = "2027-01-02T03:04:05+01:00"
access = "read-only"

[tenants.globex]
tokens = [{{ name = "x", hash = "{second}", expires = 2027-01-02 }}]
"#
    );
    let settings = parse(&text, "tenants.toml").unwrap();
    assert_eq!(settings.server.listen.to_string(), "[::]:9000");
    assert_eq!(settings.server.public_url.as_deref(), Some("https://scim.example.com/ici"));
    assert_eq!(settings.server.data_dir, PathBuf::from("/var/lib/ici"));
    assert_eq!(settings.server.limits.body_bytes_max, 1_000_000);
    assert_eq!(settings.server.limits.token_checks_max, 2);
    let acme = &settings.tenants["acme"];
    assert_eq!(acme.name.as_deref(), Some("Acme GmbH & Söhne"));
    assert_eq!((acme.on_recreate, acme.store_passwords), (OnRecreate::Conflict, true));
    assert_eq!(&*acme.tokens[0].name, "okta 2026");
    assert_eq!(acme.tokens[0].hash.expose(), first);
    assert_eq!(acme.tokens[0].created_ms, Some(1_767_323_045_678));
    assert_eq!(acme.tokens[0].expires_ms, Some(1_798_855_445_000));
    assert_eq!(acme.tokens[0].access, Access::ReadOnly);
    let globex = &settings.tenants["globex"];
    assert_eq!(globex.tokens[0].expires_ms, Some(1_798_848_000_000));
    assert_eq!(globex.tokens[0].access, Access::ReadWrite);
    assert!(!settings.tenants.contains_key("ACME"));
}

#[test]
fn a_relative_data_folder_lies_beside_the_configuration_file() {
    let mut server = ServerSettings::default();
    let beside = |server: &ServerSettings, file: &str| {
        server.data_dir_beside(std::path::Path::new(file)).display().to_string()
    };
    assert_eq!(beside(&server, "/etc/ici/tenants.toml"), "/etc/ici/data");
    assert_eq!(beside(&server, "tenants.toml"), "data");
    server.data_dir = PathBuf::from("/var/lib/ici");
    assert_eq!(beside(&server, "/etc/ici/tenants.toml"), "/var/lib/ici");
}

#[test]
fn errors_name_file_line_key_and_what_was_expected() {
    for (text, expected) in [
        (
            "[server]\nlisten = 8080",
            "tenants.toml:2: server.listen: expected an address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\", or a socket file, such as \"unix:/run/ici-scim/scim.sock\", found a whole number",
        ),
        (
            "[server]\n\nlisten = \"localhost:8080\"",
            "tenants.toml:3: server.listen: expected an address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\", or a socket file, such as \"unix:/run/ici-scim/scim.sock\"",
        ),
        (
            "[server]\nlisen = 1\nhuh = 2",
            "tenants.toml:2: server.lisen: unknown key; the keys known here are listen, trusted_proxies, public_url, data_dir, durability, node, ops_listen, metrics_tenants_max, slow_request_ms, rate_limit, tls, backup, limits",
        ),
        ("[sever]", "tenants.toml:1: sever: unknown key; the keys known here are include, server, tenants"),
        ("server = 1", "tenants.toml:1: server: expected a table, found a whole number"),
        ("[server]\ndata_dir = \"\"", "tenants.toml:2: server.data_dir: expected the path of a folder"),
        (
            "[server.limits]\nrequest_s = 0",
            "tenants.toml:2: server.limits.request_s: expected a whole number from 1 to 300, found another one",
        ),
        (
            "[server.limits]\nrequest_s = \"1\"",
            "tenants.toml:2: server.limits.request_s: expected a whole number from 1 to 300, found a text",
        ),
        (
            "[server.limits]\nrequest_s = 99999999999999999999",
            "tenants.toml:2: server.limits.request_s: expected a whole number from 1 to 300, found another one",
        ),
        (
            "[server.limits]\npage_resources_max = 100\npage_resources_default = 101",
            "tenants.toml:3: server.limits.page_resources_default: expected page_resources_default to be at most page_resources_max",
        ),
        (
            "[tenants.Acme]",
            "tenants.toml:1: tenants.Acme: expected a tenant name of 1 to 63 characters from a-z, 0-9 and, not at the ends, \"-\"",
        ),
        ("[tenants]\nacme = 1", "tenants.toml:2: tenants.acme: expected a table, found a whole number"),
        (
            "[tenants.acme]\nstore_passwords = \"yes\"",
            "tenants.toml:2: tenants.acme.store_passwords: expected true or false, found a text",
        ),
        (
            "[tenants.acme]\non_recreate = \"reuse\"",
            "tenants.toml:2: tenants.acme.on_recreate: expected \"reactivate\" or \"conflict\"",
        ),
        (
            "[tenants.acme]\nname = \"\"",
            "tenants.toml:2: tenants.acme.name: expected a name of 1 to 200 characters on one line",
        ),
        (
            "[tenants.acme.tokens]\nname = \"x\"",
            "tenants.toml:1: tenants.acme.tokens: expected an array of tables, found a table",
        ),
        (
            "[[tenants.acme.tokens]]",
            "tenants.toml:1: tenants.acme.tokens[0].name: missing; expected a name of 1 to 64 letters, digits, blanks, \".\", \"_\" and \"-\"",
        ),
        (
            "\n[[tenants.acme.tokens]]\nname = \"x\"",
            "tenants.toml:2: tenants.acme.tokens[0].hash: missing; expected an Argon2id hash, as 'ici-scim token new' writes it",
        ),
        (
            "[[tenants.acme.tokens]]\nname = \"x\"\nhash = \"hunter2\"",
            "tenants.toml:3: tenants.acme.tokens[0].hash: expected an Argon2id hash in PHC form (\"$argon2id$...\"), as 'ici-scim token new' writes it",
        ),
    ] {
        assert_eq!(problem(text), expected);
    }
}

#[test]
fn faults_of_toml_itself_name_the_line() {
    assert_eq!(
        problem("a = 1\nb = \n"),
        "tenants.toml:2: not TOML: string values must be quoted, expected literal string"
    );
    assert_eq!(problem("[tenants.acme]\n[tenants.acme]\n"), "tenants.toml:2: not TOML: duplicate key");
    assert!(problem("[tenants.acme]\nname = \"x").starts_with("tenants.toml:2: not TOML: "));
}

fn token_problem(lines: &str) -> String {
    let text = format!("[[tenants.a.tokens]]\nname = \"x\"\nhash = \"{HASH}\"\n{lines}");
    problem(&text)
}

#[test]
fn token_names_and_hashes_are_unique() {
    let second = hash(2);
    assert_eq!(
        token_problem(&format!("[[tenants.a.tokens]]\nname = \"x\"\nhash = \"{second}\"")),
        "tenants.toml:5: tenants.a.tokens[1].name: expected a name that no other token of this tenant has"
    );
    for tenant in ["a", "b"] {
        let index = usize::from(tenant == "a");
        assert_eq!(
            token_problem(&format!("[[tenants.{tenant}.tokens]]\nname = \"y\"\nhash = \"{HASH}\"")),
            format!(
                "tenants.toml:6: tenants.{tenant}.tokens[{index}].hash: expected a hash of its own; tenants.a.tokens[0].hash is the same"
            )
        );
    }
    let other_tenant = format!(
        "[[tenants.a.tokens]]\nname = \"x\"\nhash = \"{HASH}\"\n[[tenants.b.tokens]]\nname = \"x\"\nhash = \"{second}\""
    );
    assert_eq!(parse(&other_tenant, "").unwrap().tenants.len(), 2);
}

#[test]
fn wrong_token_keys_are_refused() {
    for wrong in ["", " x", "x ", "a@b", "a/b", "a\\nb", &"x".repeat(65)] {
        let text = format!("[[tenants.a.tokens]]\nname = \"{wrong}\"\nhash = \"{HASH}\"");
        assert!(
            problem(&text).starts_with("tenants.toml:2: tenants.a.tokens[0].name: expected"),
            "{wrong:?}"
        );
    }
    for wrong in ["2027-01-02T03:04:05", "03:04:05", "1", "\"soon\"", "\"2027-13-01\"", "\"\""] {
        let found = token_problem(&format!("expires = {wrong}"));
        assert!(found.starts_with("tenants.toml:4: tenants.a.tokens[0].expires: expected a date"), "{found}");
    }
    assert_eq!(
        token_problem("created = 2027-01-02\nexpires = 2027-01-02"),
        "tenants.toml:5: tenants.a.tokens[0].expires: expected a time after that of created"
    );
    assert_eq!(
        token_problem("access = \"write\""),
        "tenants.toml:4: tenants.a.tokens[0].access: expected \"read-write\" or \"read-only\""
    );
    assert_eq!(
        token_problem("user = \"ada\""),
        "tenants.toml:4: tenants.a.tokens[0].user: expected the id of a user, such as \"2819c223-7f76-453a-919d-413861904646\""
    );
    assert_eq!(
        token_problem("token = \"ici_secret\""),
        "tenants.toml:4: tenants.a.tokens[0].token: unknown key; the keys known here are name, hash, created, expires, access, user"
    );
}

#[test]
fn a_tenant_has_at_most_sixteen_tokens() {
    let tokens = |count: u32| -> String {
        let token = |n| format!("[[tenants.a.tokens]]\nname = \"t{n}\"\nhash = \"{}\"\n", hash(n));
        (0..count).map(token).collect()
    };
    assert_eq!(parse(&tokens(16), "").unwrap().tenants["a"].tokens.len(), 16);
    assert_eq!(problem(&tokens(17)), "tenants.toml:1: tenants.a.tokens: expected at most 16 tokens");
}

#[test]
fn public_urls_are_checked_and_lose_their_last_slash() {
    for (text, kept) in [
        ("https://scim.example.com", "https://scim.example.com"),
        ("https://scim.example.com//", "https://scim.example.com"),
        ("http://127.0.0.1:8080/a/b/", "http://127.0.0.1:8080/a/b"),
        ("HTTPS://[::1]:8443", "HTTPS://[::1]:8443"),
    ] {
        assert_eq!(public_url(text).unwrap(), kept);
    }
    assert!(public_url("https://my_host.example.com").unwrap_err().contains("underscore"));
    assert!(public_url("https://a/scim/v2").unwrap_err().contains("/scim/v2"));
    assert!(public_url("https://a/?x=1").unwrap_err().contains('?'));
    assert!(public_url("https://a/#x").unwrap_err().contains('#'));
    for wrong in [
        "",
        "scim.example.com",
        "//a",
        "/a",
        "ftp://a",
        "https://",
        "https:///a",
        "https://a b",
        "https://u:p@a",
        "https://a:99999",
        "https://a:",
        "https://a:x",
        "https://ä.example.com",
        "https://a\n",
        &format!("https://{}", "a".repeat(900)),
    ] {
        assert!(public_url(wrong).unwrap_err().starts_with("expected a URL with https://"), "{wrong}");
    }
}

#[test]
fn no_error_repeats_a_value() {
    let secret = "$argon2id$v=19$m=1,t=1,p=1$hunter2";
    for text in [
        format!("[[tenants.a.tokens]]\nname = \"x\"\nhash = \"{secret}\""),
        format!("[[tenants.a.tokens]]\nname = \"{secret}\""),
        format!("[[tenants.a.tokens]]\nname = \"x\"\nhash = \"{secret}"),
        format!("[[tenants.a.tokens]]\nname = \"x\"\nhash = {secret}"),
        format!("[[tenants.a.tokens]]\n{secret}"),
        format!("[server]\npublic_url = \"{secret}\""),
        format!("[server]\nlisten = \"{secret}\""),
        format!("[tenants.a]\non_recreate = \"{secret}\""),
    ] {
        let error = parse(&text, "tenants.toml").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

/// The example as a reader would use it: lines that begin with `#` and no blank are settings.
fn example(with_optional_keys: bool) -> String {
    let text = include_str!("../../tenants.example.toml");
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if with_optional_keys && !rest.starts_with([' ', '#']) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn the_example_file_loads_and_its_defaults_are_the_built_in_ones() {
    let settings = parse(&example(false), "tenants.example.toml").unwrap();
    assert_eq!(settings.server, ServerSettings::default());
    let tenants: Vec<_> = settings.tenants.values().collect();
    assert_eq!(
        tenants,
        [&TenantSettings { name: Some("Acme Corporation".to_owned()), ..Default::default() }]
    );
    let all = parse(&example(true), "tenants.example.toml").unwrap();
    assert_eq!(all.server.limits, Limits::default());
    let tokens = &all.tenants["acme"].tokens;
    assert_eq!(tokens[0].user.as_deref(), Some("2819c223-7f76-453a-919d-413861904646"));
    assert_eq!((tokens[0].access, tokens[1].access), (Access::ReadWrite, Access::ReadOnly));
    assert_eq!(all.server.public_url.as_deref(), Some("https://scim.example.com"));
}

#[test]
fn a_strict_tenant_answers_a_create_of_an_inactive_user_with_a_conflict_unless_told_otherwise() {
    let tenant = |lines: &str| {
        let settings = parse(&format!("[tenants.a]\n{lines}"), "t").unwrap();
        let tenant = &settings.tenants["a"];
        (tenant.profile, tenant.on_recreate)
    };
    assert_eq!(tenant(""), (Profile::Okta, OnRecreate::Reactivate));
    assert_eq!(tenant("profile = \"entra\""), (Profile::Entra, OnRecreate::Reactivate));
    assert_eq!(tenant("profile = \"strict\""), (Profile::Strict, OnRecreate::Conflict));
    let told = "profile = \"strict\"\non_recreate = \"reactivate\"";
    assert_eq!(tenant(told), (Profile::Strict, OnRecreate::Reactivate));
    let error = parse("[tenants.a]\nprofile = \"lax\"", "t").unwrap_err();
    assert_eq!(error.problem, "expected \"okta\" or \"entra\" or \"strict\"");
}

#[test]
fn the_example_file_shows_every_key() {
    let text = example(true);
    let table = document(Source { file: "", text: &text }).unwrap();
    let document = Section::document(Source { file: "", text: &text }, &table);
    let keys = |section: &Section<'_>| -> Vec<String> {
        section.entries().iter().map(|(key, _)| (*key).to_owned()).collect()
    };
    fn sub<'a>(section: &Section<'a>, key: &str) -> Section<'a> {
        section.get(key).unwrap().table().unwrap()
    }
    assert_eq!(keys(&document), DOCUMENT_KEYS);
    assert_eq!(keys(&sub(&document, "server")), SERVER_KEYS);
    assert_eq!(keys(&sub(&sub(&document, "server"), "backup")), ["to", "every", "keep"]);
    assert_eq!(keys(&sub(&sub(&document, "server"), "limits")), Limits::NAMES);
    let acme = sub(&sub(&document, "tenants"), "acme");
    assert_eq!(keys(&acme), TENANT_KEYS);
    assert_eq!(keys(&acme.get("tokens").unwrap().tables().unwrap()[0]), TOKEN_KEYS);
}
