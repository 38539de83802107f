//! Versions (RFC 7644 §3.14, RFC 9110 §13): who writes on the ground of what was read loses nobody's change.

use std::sync::Barrier;
use std::thread;

use reqwest::Method;
use serde_json::json;

use crate::support::{Client, Tenant, okta};

const ROUNDS: usize = 40;

fn set_title(client: &Client, path: &str, title: &str, header: &str, tag: &str) -> u16 {
    let body = okta::patch(json!([{ "op": "replace", "path": "title", "value": title }]));
    client.send_with(Method::PATCH, path, Some(body.to_string().into_bytes()), &[(header, tag)]).status
}

#[test]
fn of_two_writers_who_read_the_same_version_exactly_one_wins_each_round() {
    let client = Tenant::fresh().client();
    let path = format!("/Users/{}", client.create("/Users", okta::user("a@x.test")).id());
    let start = Barrier::new(2);
    let writer = |name: &'static str| {
        let (client, path, start) = (client.clone(), &path, &start);
        move || -> Vec<u16> {
            let round = |round: usize| {
                start.wait();
                let tag = client.get(path).header("etag").unwrap().to_owned();
                // Both have read before either writes.
                start.wait();
                let status = set_title(&client, path, &format!("{name} {round}"), "if-match", &tag);
                start.wait();
                if status == 200 {
                    assert_eq!(
                        client.get(path)["title"],
                        format!("{name} {round}"),
                        "the winner's change stands"
                    );
                }
                status
            };
            (0..ROUNDS).map(round).collect()
        }
    };
    let (one, other) = thread::scope(|scope| {
        let (one, other) = (scope.spawn(writer("one")), scope.spawn(writer("other")));
        (one.join().unwrap(), other.join().unwrap())
    });
    for round in one.into_iter().zip(other) {
        assert!([(200, 412), (412, 200)].contains(&round), "{round:?}");
    }
}

#[test]
fn if_match_takes_a_star_a_list_and_weak_and_strong_tags() {
    let client = Tenant::fresh().client();
    let path = format!("/Users/{}", client.create("/Users", okta::user("a@x.test")).id());
    let mut title = 0;
    let mut patch = |form: &dyn Fn(&str) -> String| {
        title += 1;
        let tag = client.get(&path).header("etag").unwrap().to_owned();
        set_title(&client, &path, &title.to_string(), "if-match", &form(&tag))
    };
    let strong = |tag: &str| tag.trim_start_matches("W/").to_owned();
    assert_eq!(patch(&|_| "*".to_owned()), 200);
    assert_eq!(patch(&|tag| tag.to_owned()), 200);
    assert_eq!(patch(&strong), 200);
    assert_eq!(patch(&|tag| format!("W/\"0\", {tag}")), 200);
    assert_eq!(patch(&|tag| format!("\"0\",{}", strong(tag))), 200);
    for stale in ["W/\"0\"", "\"0\", \"no\"", "\"\""] {
        assert_eq!(patch(&|_| stale.to_owned()), 412, "{stale}");
    }
}

#[test]
fn preconditions_hold_for_every_method_and_what_is_gone_is_404() {
    let client = Tenant::fresh().client();
    let made = client.create("/Users", okta::user("a@x.test"));
    let path = format!("/Users/{}", made.id());
    let tag = made.header("etag").unwrap();
    let put = || Some(okta::user("a@x.test").to_string().into_bytes());
    let patch = || Some(okta::set_active(false).to_string().into_bytes());
    let writes = || [(Method::PUT, put()), (Method::PATCH, patch()), (Method::DELETE, None)];
    for (method, body) in writes() {
        client.send_with(method, &path, body, &[("if-match", "W/\"0\"")]).expect_error(412, "");
    }
    // RFC 9110 §13.1.2: for other methods than GET and HEAD it is 412.
    for (method, body) in writes() {
        client
            .send_with(method.clone(), &path, body.clone(), &[("if-none-match", "*")])
            .expect_error(412, "");
        client.send_with(method, &path, body, &[("if-none-match", tag)]).expect_error(412, "");
    }
    client.send_with(Method::PATCH, &path, patch(), &[("if-none-match", "W/\"0\"")]).expect(200);
    client.send_with(Method::GET, &path, None, &[("if-none-match", "*")]).expect(304);
    client.send_with(Method::GET, &path, None, &[("if-match", "W/\"0\"")]).expect_error(412, "");
    client.send_with(Method::GET, &path, None, &[("if-match", "*")]).expect(200);
    // A POST makes something new, which has no version to compare with.
    let body = Some(okta::user("b@x.test").to_string().into_bytes());
    client.send_with(Method::POST, "/Users", body, &[("if-none-match", "*"), ("if-match", tag)]).expect(201);
    client.send_with(Method::DELETE, &path, None, &[("if-match", "*")]).expect(204);
    for (method, body) in writes() {
        client.send_with(method, &path, body, &[("if-match", tag)]).expect_error(404, "");
    }
}
