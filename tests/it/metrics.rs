//! `/metrics`: what is told there is true, bounded, and holds nothing that is nobody's business.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::ops::{address_of, ask};
use crate::support::{Config, Server, TenantConfig, Token, okta, until};

/// The samples by name and labels.
fn scrape(server: &Server) -> BTreeMap<String, f64> {
    let (status, head, text) = ask(address_of(server), "GET", "/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| line.rsplit_once(' ').unwrap());
    samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

fn value(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    *samples.get(name).unwrap_or_else(|| panic!("no {name}"))
}

/// The names of samples that may be told, by the lines that declare a metric.
fn declared(server: &Server) -> BTreeSet<String> {
    let (_, _, text) = ask(address_of(server), "GET", "/metrics");
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let suffixes = |kind: &str| match kind {
        "counter" => vec!["_total"],
        "info" => vec!["_info"],
        "histogram" => vec!["_bucket", "_sum", "_count"],
        _ => vec![""],
    };
    kinds
        .flat_map(|(name, kind)| suffixes(kind).into_iter().map(move |suffix| format!("{name}{suffix}")))
        .collect()
}

/// Every word of a text that could be a metric's name.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    words.filter(|word| word.starts_with("ici_scim_") || word.starts_with("process_")).collect()
}

#[test]
fn the_dashboard_the_alerts_and_the_page_name_what_is_told_and_the_page_all_of_it() {
    let read =
        |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let told = declared(&Server::start(&Config::new()));
    for path in ["packaging/grafana/ici-scim.json", "packaging/prometheus/alerts.yml"] {
        let text = read(path);
        let names = named(&text);
        assert!(names.len() > 10, "{path}");
        for name in names {
            assert!(told.contains(name), "{path} names {name}");
        }
    }
    let page = read("docs/operations.md");
    let told: BTreeSet<&str> = told
        .iter()
        .filter(|name| name.starts_with("ici_scim_") && !name.ends_with("_sum") && !name.ends_with("_count"))
        .map(|name| name.strip_suffix("_bucket").unwrap_or(name))
        .collect();
    let section = page.split("\n### Metrics\n").nth(1).unwrap().split("\n### ").next().unwrap();
    let listed: BTreeSet<&str> =
        named(section).into_iter().filter(|name| name.starts_with("ici_scim_")).collect();
    assert_eq!(listed, told);
}

#[test]
fn requests_are_counted_by_tenant_route_and_status_when_they_are_over() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let client = server.client("acme", &token);
    let id = client.create("/Users", okta::user("mia@x.test")).id();
    for _ in 0..3 {
        client.get(&format!("/Users/{id}")).expect(200);
    }
    client.get("/Users/none").expect(404);
    client.get("/Users?startIndex=1&count=2").expect(200);
    server.client("acme", &Token::new("other")).get("/Users").expect(401);
    server.client("nobody", &token).get("/Users").expect(401);
    server.client_with("acme", None).get("/Users").expect(401);
    let request = |route: &str, status: &str| {
        format!("ici_scim_requests_total{{tenant=\"acme\",route=\"{route}\",status=\"{status}\"}}")
    };
    // A request is counted after its answer was sent.
    until("all are counted", || {
        scrape(&server).get("ici_scim_requests_total{tenant=\"_none\",route=\"_none\",status=\"401\"}")
            == Some(&3.0)
    });
    let samples = scrape(&server);
    assert_eq!(value(&samples, &request("create_user", "201")), 1.0);
    assert_eq!(value(&samples, &request("read_user", "200")), 3.0);
    assert_eq!(value(&samples, &request("read_user", "404")), 1.0);
    assert_eq!(value(&samples, &request("list_users", "200")), 1.0);
    assert_eq!(value(&samples, "ici_scim_tokens_refused_total{tenant=\"acme\"}"), 1.0);
    assert_eq!(value(&samples, "ici_scim_request_duration_seconds_count{route=\"read_user\"}"), 4.0);
    assert_eq!(
        value(&samples, "ici_scim_request_duration_seconds_bucket{le=\"+Inf\",route=\"read_user\"}"),
        4.0
    );
    assert_eq!(value(&samples, "ici_scim_commit_writes_sum"), 1.0);
    assert_eq!(value(&samples, "ici_scim_commit_duration_seconds_count"), 1.0);
    assert_eq!(value(&samples, "ici_scim_write_queue_wait_seconds_count"), 1.0);
    // The token that is right, one of another tenant's and one where there is no tenant.
    assert_eq!(value(&samples, "ici_scim_token_check_duration_seconds_count"), 3.0);
    assert_eq!(value(&samples, "ici_scim_tenants_open"), 1.0);
    assert!(value(&samples, "process_resident_memory_bytes") > 1e6);
    assert!(value(&samples, "process_open_fds") > 5.0);
    assert!(value(&samples, "process_start_time_seconds") > 1.6e9);
    let (_, _, text) = ask(address_of(&server), "GET", "/metrics");
    for hidden in ["mia", "x.test", &id, token.text(), token.hash(), "nobody"] {
        assert!(!text.contains(hidden), "{hidden}");
    }
}

#[test]
fn tenants_beyond_the_bound_share_a_label_and_a_removed_one_is_told_no_longer() {
    let token = |name: &str| (name.to_owned(), Token::new("okta"));
    let tenants = [token("a"), token("b"), token("c")];
    let config = |count: usize, most: &str| {
        tenants[..count]
            .iter()
            .fold(Config::new().server("metrics_tenants_max", most), |config, (name, token)| {
                config.tenant(TenantConfig::new(name).token(token))
            })
    };
    let server = Server::start(&config(3, "2"));
    for (name, token) in &tenants {
        server.client(name, token).get("/ServiceProviderConfig").expect(200);
    }
    let count = |samples: &BTreeMap<String, f64>, tenant: &str| {
        let label = format!(
            "ici_scim_requests_total{{tenant=\"{tenant}\",route=\"service_provider_config\",status=\"200\"}}"
        );
        samples.get(&label).copied()
    };
    until("all are counted", || count(&scrape(&server), "_other") == Some(1.0));
    let samples = scrape(&server);
    assert_eq!(["a", "b", "c"].map(|name| count(&samples, name)), [Some(1.0), Some(1.0), None]);

    server.write_config(&config(1, "2").text());
    // Counted last of what a reload does.
    let reloads = |result: &str| {
        value(&scrape(&server), &format!("ici_scim_config_reloads_total{{result=\"{result}\"}}"))
    };
    until("two are gone", || reloads("in_force") == 1.0);
    let samples = scrape(&server);
    assert_eq!(value(&samples, "ici_scim_tenants"), 1.0);
    assert_eq!(["a", "b", "_other"].map(|name| count(&samples, name)), [Some(1.0), None, Some(1.0)]);

    server.write_config("nonsense");
    until("the fault is counted", || reloads("faulty") == 1.0);
    assert_eq!(value(&scrape(&server), "ici_scim_config_last_reload_successful"), 0.0);
}

#[test]
fn the_expiry_of_tokens_is_told_soonest_first_and_those_that_are_over_as_a_number() {
    let config = Config::new().server("metrics_tenants_max", "2").tenant(
        TenantConfig::new("acme")
            .token(&Token::new("forever"))
            .token(&Token::new("over").with("expires", "2001-01-01T00:00:00Z"))
            .token(&Token::new("third").with("expires", "2103-01-01T00:00:00Z"))
            .token(&Token::new("second").with("expires", "2102-01-01T00:00:00Z"))
            .token(&Token::new("first").with("expires", "2101-01-01T00:00:00Z")),
    );
    let server = Server::start(&config);
    let samples = scrape(&server);
    let told: Vec<&String> = samples.keys().filter(|name| name.contains("expiry")).collect();
    assert_eq!(
        told,
        [
            "ici_scim_token_expiry_timestamp_seconds{tenant=\"acme\",token=\"first\"}",
            "ici_scim_token_expiry_timestamp_seconds{tenant=\"acme\",token=\"second\"}"
        ]
    );
    assert_eq!(value(&samples, told[0]), 4_133_980_800.0);
    assert_eq!(value(&samples, "ici_scim_tokens_expired"), 1.0);
}
