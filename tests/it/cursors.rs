//! Paging by cursor (RFC 9865): walks, what a cursor is bound to, and that it holds its place.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, TestRunner};
use serde_json::{Value, json};

use crate::support::client::encode;
use crate::support::{Client, Config, Reply, Server, Tenant, TenantConfig, Token, okta};

fn make(client: &Client, count: usize) -> Vec<String> {
    (0..count).map(|n| client.create("/Users", json!({ "userName": format!("u{n}") })).id()).collect()
}

fn ids(page: &Reply) -> Vec<String> {
    page.resources().iter().map(|user| user["id"].as_str().unwrap().to_owned()).collect()
}

fn next(page: &Reply) -> Option<String> {
    page.json.get("nextCursor").map(|cursor| cursor.as_str().unwrap().to_owned())
}

fn previous(page: &Reply) -> Option<String> {
    page.json.get("previousCursor").map(|cursor| cursor.as_str().unwrap().to_owned())
}

/// The page at a cursor of a list.
fn at(client: &Client, list: &str, cursor: &str) -> Reply {
    client.get(&format!("{list}&cursor={cursor}")).expect(200)
}

#[test]
fn a_walk_forth_and_back_sees_everybody_in_the_same_pages() {
    let client = Tenant::fresh().client();
    let made = make(&client, 7);
    for (list, expected) in [
        ("/Users?count=3", made.clone()),
        ("/Users?count=3&sortBy=userName&sortOrder=descending", made.iter().rev().cloned().collect()),
        ("/Users?count=3&filter=userName%20pr", made.clone()),
        ("/Users?count=3&sortBy=title", made.clone()),
    ] {
        let (mut pages, mut cursor) = (Vec::new(), Some(String::new()));
        while let Some(text) = cursor {
            let page = at(&client, list, &text);
            assert_eq!(page["totalResults"], 7);
            assert!(page.json.get("startIndex").is_none(), "a page by cursor has no place to tell");
            cursor = next(&page);
            if let Some(text) = &cursor {
                // RFC 9865 §2: only characters that stand for themselves in an address.
                assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)));
            }
            assert_eq!(previous(&page).is_none(), pages.is_empty(), "the first page has no previous one");
            pages.push(page);
        }
        assert_eq!(pages.iter().map(|page| ids(page).len()).collect::<Vec<_>>(), [3, 3, 1]);
        assert_eq!(pages.iter().flat_map(ids).collect::<Vec<_>>(), expected);

        let mut page = pages.pop().unwrap();
        while let Some(cursor) = previous(&page) {
            page = at(&client, list, &cursor);
            assert_eq!(ids(&page), ids(&pages.pop().unwrap()));
            assert!(next(&page).is_some());
        }
        assert!(pages.is_empty());
        // And forth again, from what a page reached backward says.
        assert_eq!(ids(&at(&client, list, &next(&page).unwrap())), expected[3..6]);
    }
}

#[test]
fn a_list_that_fits_on_one_page_has_no_cursor_and_a_page_of_nothing_leads_nowhere() {
    let client = Tenant::fresh().client();
    for people in [0, 3] {
        make(&client, people);
        let page = client.get("/Users?cursor=&count=3").expect(200);
        assert_eq!(
            (page["totalResults"].as_u64(), next(&page), previous(&page)),
            (Some(people as u64), None, None)
        );
    }
    for count in ["0", "-5"] {
        let page = client.get(&format!("/Users?cursor&count={count}")).expect(200);
        assert_eq!((&page["totalResults"], &page["itemsPerPage"], next(&page)), (&json!(3), &json!(0), None));
    }
    let page = client.get("/Users?cursor&count=99999999999999999999").expect(200);
    assert_eq!((page.resources().len(), next(&page)), (3, None));
    // One person, by a name that is looked up: still a page by cursor.
    let page = client.get(&format!("/Users?cursor&filter={}", encode("userName eq \"u1\""))).expect(200);
    assert_eq!((page.resources().len(), page.json.get("startIndex")), (1, None));
}

#[test]
fn paging_by_index_stays_the_default_and_the_two_are_not_mixed() {
    let client = Tenant::fresh().client();
    make(&client, 3);
    let page = client.get("/Users?count=2").expect(200);
    assert_eq!((&page["startIndex"], next(&page)), (&json!(1), None));
    for query in ["cursor&startIndex=1", "startIndex=2&cursor=abc"] {
        let refused = client.get(&format!("/Users?{query}")).expect_error(400, "invalidValue");
        assert!(refused.detail().contains("startIndex"), "{refused}");
    }
}

#[test]
fn a_cursor_is_refused_by_every_query_but_its_own() {
    let (a, b) = (Tenant::fresh().client(), Tenant::fresh().client());
    make(&a, 5);
    make(&b, 5);
    let list = "/Users?count=2&filter=userName%20sw%20%22U%22&sortBy=userName";
    let cursor = next(&a.get(&format!("{list}&cursor")).expect(200)).unwrap();
    at(&a, list, &cursor);
    // The same query in other words, as the RFC's own example has it.
    at(&a, "/Users?filter=USERNAME+sw+%22u%22&sortBy=username&sortOrder=ascending&count=2", &cursor);
    for other in [
        "/Users?count=2&sortBy=userName",
        "/Users?count=2&filter=userName%20sw%20%22U%22",
        "/Users?count=2&filter=userName%20sw%20%22V%22&sortBy=userName",
        "/Users?count=2&filter=userName%20sw%20%22U%22&sortBy=userName&sortOrder=descending",
        "/Users?count=2&filter=userName%20sw%20%22U%22&sortBy=id",
        "/Groups?count=2",
        "/?count=2&filter=userName%20sw%20%22U%22&sortBy=userName",
    ] {
        a.get(&format!("{other}&cursor={cursor}")).expect_error(400, "invalidCursor");
    }
    b.get(&format!("{list}&cursor={cursor}")).expect_error(400, "invalidCursor");
    let mut forged = cursor.clone().into_bytes();
    forged[20] = if forged[20] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    for text in [forged.as_str(), "abc", "%2F", &cursor[..cursor.len() - 2], &"A".repeat(3000)] {
        a.get(&format!("{list}&cursor={text}")).expect_error(400, "invalidCursor");
    }
    for count in ["3", "0", "", "-1"] {
        let other = list.replace("count=2", &format!("count={count}"));
        a.get(&format!("{other}&cursor={cursor}")).expect_error(400, "invalidCount");
    }
    a.get(&format!("{}&cursor={cursor}", list.replace("count=2", "count=two")))
        .expect_error(400, "invalidCount");
}

#[test]
fn a_cursor_survives_a_restart_and_dies_with_the_tenants_file() {
    let (acme, globex) = (Token::new("okta"), Token::new("okta"));
    let config = Config::new()
        .tenant(TenantConfig::new("acme").token(&acme))
        .tenant(TenantConfig::new("globex").token(&globex));
    let server = Server::start(&config);
    let client = server.client("acme", &acme);
    let made = make(&client, 5);
    let list = "/Users?count=2&sortBy=meta.created";
    let cursor = next(&client.get(&format!("{list}&cursor")).expect(200)).unwrap();

    let server = server.kill_and_restart(&config);
    let client = server.client("acme", &acme);
    assert_eq!(ids(&at(&client, list, &cursor)), made[2..4]);

    assert!(server.folder().join("data").is_dir());
    let file = server.tenant_file("acme");
    let server = {
        // The file goes while nobody has it open.
        let beside = ["", "-wal", "-shm"].map(|end| format!("{}{end}", file.display()));
        let server = server.kill_and_restart(&config);
        beside.iter().for_each(|file| drop(std::fs::remove_file(file)));
        server
    };
    let client = server.client("acme", &acme);
    make(&client, 5);
    client.get(&format!("{list}&cursor={cursor}")).expect_error(400, "invalidCursor");
}

#[test]
fn a_cursor_shows_no_name_and_one_at_a_long_value_expires_with_it() {
    let client = Tenant::fresh().client();
    let long = "x".repeat(5000);
    let ids: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            client.create("/Users", json!({ "userName": name, "title": format!("{long}{name}") })).id()
        })
        .collect();
    let list = "/Users?count=1&sortBy=title";
    let first = client.get(&format!("{list}&cursor")).expect(200);
    let cursor = next(&first).unwrap();
    assert!(cursor.len() < 200, "{cursor}");
    assert_eq!(self::ids(&at(&client, list, &cursor)), ids[1..2]);
    let second = next(&at(&client, list, &cursor)).unwrap();
    assert_eq!(self::ids(&at(&client, list, &second)), ids[2..3]);
    let title = json!([{ "op": "replace", "path": "title", "value": "short" }]);
    client.patch(&format!("/Users/{}", ids[0]), okta::patch(title)).expect(200);
    client.get(&format!("{list}&cursor={cursor}")).expect_error(400, "expiredCursor");
    client.delete(&format!("/Users/{}", ids[1])).expect(204);
    client.get(&format!("{list}&cursor={second}")).expect_error(400, "expiredCursor");
}

#[test]
fn a_page_goes_on_from_a_place_whose_resource_is_gone() {
    let client = Tenant::fresh().client();
    let made = make(&client, 6);
    for sort in ["", "&sortBy=userName", "&sortBy=title", "&filter=userName+pr"] {
        let list = format!("/Users?count=2{sort}");
        let first = client.get(&format!("{list}&cursor")).expect(200);
        assert_eq!(ids(&first), made[..2], "{list}");
        assert_eq!(ids(&at(&client, &list, &next(&first).unwrap())), made[2..4]);
    }
    let list = "/Users?count=2";
    let second = at(&client, list, &next(&client.get("/Users?count=2&cursor").expect(200)).unwrap());
    for id in &made[1..4] {
        client.delete(&format!("/Users/{id}")).expect(204);
    }
    let third = at(&client, list, &next(&second).unwrap());
    assert_eq!((ids(&third), next(&third)), (made[4..].to_vec(), None));
    let back = at(&client, list, &previous(&second).unwrap());
    assert_eq!((ids(&back), previous(&back)), (made[..1].to_vec(), None));
    for id in [&made[0], &made[4], &made[5]] {
        client.delete(&format!("/Users/{id}")).expect(204);
    }
    // Nobody is left on either side: empty pages, the last and the first of a list of nothing.
    let nobody = at(&client, list, &next(&second).unwrap());
    assert_eq!((ids(&nobody).len(), next(&nobody)), (0, None));
    let nobody = at(&client, list, &previous(&nobody).unwrap());
    assert_eq!((ids(&nobody).len(), next(&nobody), previous(&nobody)), (0, None, None));
}

/// What somebody does while somebody else walks.
#[derive(Clone, Debug)]
enum Change {
    Create,
    Delete(usize),
    Touch(usize),
}

#[test]
fn a_walk_sees_everybody_who_was_there_throughout_exactly_once() {
    let client = Tenant::fresh().client();
    let change = prop_oneof![
        2 => Just(Change::Create),
        2 => any::<usize>().prop_map(Change::Delete),
        1 => any::<usize>().prop_map(Change::Touch),
    ];
    let list = prop::sample::select(std::vec![
        "/Users?a=a",
        "/Users?sortBy=userName",
        "/Users?sortBy=userName&sortOrder=descending",
        "/Users?sortBy=meta.created",
        "/Users?filter=userName%20pr",
        "/Users?filter=userName%20pr&sortBy=id&sortOrder=descending",
    ]);
    let case = (list, 1..4_usize, 2..10_usize, vec(change, 0..16), 1..4_usize);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    });
    let mut number = 0;
    let number = std::cell::RefCell::new(&mut number);
    let create = || {
        **number.borrow_mut() += 1;
        // Names in another order than that of creation.
        let name = (**number.borrow() * 7919) % 10_007;
        client.create("/Users", json!({ "userName": format!("u{name:05}") })).id()
    };
    let outcome = runner.run(&case, |(list, count, people, changes, at_once)| {
        for user in client.get("/Users?count=1000").expect(200).resources() {
            client.delete(&format!("/Users/{}", user["id"].as_str().unwrap())).expect(204);
        }
        let mut there: Vec<String> = (0..people).map(|_| create()).collect();
        let mut met: HashMap<String, usize> = HashMap::new();
        let (mut changes, mut cursor) = (changes.into_iter(), Some(String::new()));
        let mut steady = there.clone();
        while let Some(text) = cursor {
            let page = at(&client, &format!("{list}&count={count}"), &text);
            for id in ids(&page) {
                *met.entry(id).or_default() += 1;
            }
            cursor = next(&page);
            for change in changes.by_ref().take(at_once) {
                match change {
                    Change::Create => there.push(create()),
                    Change::Delete(which) if !there.is_empty() => {
                        let id = there.remove(which % there.len());
                        client.delete(&format!("/Users/{id}")).expect(204);
                        steady.retain(|one| *one != id);
                    }
                    Change::Touch(which) if !there.is_empty() => {
                        let title = json!([{ "op": "replace", "path": "title", "value": which.to_string() }]);
                        client
                            .patch(&format!("/Users/{}", there[which % there.len()]), okta::patch(title))
                            .expect(200);
                    }
                    Change::Delete(_) | Change::Touch(_) => {}
                }
            }
        }
        for id in &steady {
            prop_assert_eq!(met.get(id), Some(&1), "{}", list);
        }
        prop_assert!(met.values().all(|times| *times == 1), "nobody is met twice");
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_walk_holds_its_place_beside_a_busy_writer() {
    let client = Tenant::fresh().client();
    let steady = make(&client, 60);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (client, done) = (client.clone(), &done);
                scope.spawn(move || {
                    let mut rounds = 0;
                    while !done.load(Ordering::Relaxed) || rounds < 5 {
                        let name = format!("u{}x{writer}x{rounds}", rounds % 60);
                        let id = client.create("/Users", json!({ "userName": name })).id();
                        client.delete(&format!("/Users/{id}")).expect(204);
                        rounds += 1;
                    }
                })
            })
            .collect();
        for list in [
            "/Users?count=7",
            "/Users?count=7&sortBy=userName",
            "/Users?count=7&sortBy=id&sortOrder=descending",
        ] {
            let (mut met, mut cursor) = (HashMap::<String, usize>::new(), Some(String::new()));
            while let Some(text) = cursor {
                let page = at(&client, list, &text);
                for id in ids(&page) {
                    *met.entry(id).or_default() += 1;
                }
                cursor = next(&page);
            }
            assert!(steady.iter().all(|id| met.get(id) == Some(&1)), "{list}");
        }
        // By place, each page is true at its moment: those who stay, and each writer's one or none.
        for round in 0..60 {
            let start = 1 + 7 * (round % 9);
            let page = client.get(&format!("/Users?startIndex={start}&count=7")).expect(200);
            let total = page["totalResults"].as_u64().unwrap();
            assert!((60..=62).contains(&total), "{page}");
            let found = ids(&page);
            assert_eq!(found.len() as u64, (total + 1 - start.min(total + 1)).min(7), "{page}");
            assert!(found.iter().all(|id| found.iter().filter(|other| *other == id).count() == 1), "{page}");
        }
        done.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
}

#[test]
fn a_search_is_paged_by_cursor_in_its_body() {
    let client = Tenant::fresh().client();
    let made = make(&client, 5);
    let message = |cursor: Value| {
        json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "count": 2, "cursor": cursor,
                "filter": "userName sw \"u\"", "attributes": ["userName"] })
    };
    let first = client.post("/Users/.search", message(json!(""))).expect(200);
    assert_eq!(ids(&first), made[..2]);
    let cursor = next(&first).unwrap();
    let second = client.post("/Users/.search", message(json!(cursor))).expect(200);
    assert_eq!(ids(&second), made[2..4]);
    // A search and a GET that ask the same are the same query.
    assert_eq!(ids(&at(&client, "/Users?count=2&filter=userName%20sw%20%22u%22", &cursor)), made[2..4]);
    client.post("/Users/.search", message(json!("x"))).expect_error(400, "invalidCursor");
    client.post("/Users/.search", message(json!(5))).expect_error(400, "invalidSyntax");
}
