//! `sortBy` and `sortOrder` (RFC 7644 §3.4.2.3). That SQL and memory sort alike is shown in the store's own tests.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use ici_scim::scim::Kind;
use ici_scim::scim::filter::{Bounds, Filter};
use ici_scim::scim::schema::Schemas;
use ici_scim::scim::{fold, matching, predicate};

use crate::support::client::encode;
use crate::support::{Client, Tenant, okta};

/// The names of what a list shows, in its order.
fn names(client: &Client, query: &str) -> Vec<String> {
    let reply = client.get(query).expect(200);
    let name = |resource: &Value| match &resource["userName"] {
        Value::String(name) => name.clone(),
        _ => resource["displayName"].as_str().unwrap().to_owned(),
    };
    reply.resources().iter().map(name).collect()
}

fn people() -> Client {
    let client = Tenant::fresh().client();
    for user in [
        json!({ "userName": "b", "title": "Äx", "externalId": "B", "active": true,
                "name": { "familyName": "Young" }, "emails": [{ "value": "z@x" }, { "value": "a@x", "primary": true }] }),
        json!({ "userName": "A", "title": "az", "externalId": "a", "active": false,
                okta::ENTERPRISE: { "department": "Sales" }, "emails": [{ "value": "M@x" }, { "value": "b@x" }] }),
        json!({ "userName": "c", "title": "Zoo", "displayName": "Cee", "active": true,
                okta::ENTERPRISE: { "department": "art", "manager": { "value": "7" } } }),
    ] {
        client.create("/Users", user);
    }
    client
}

#[test]
fn users_are_sorted_by_any_attribute_and_who_has_none_is_last_or_first() {
    let client = people();
    let department = format!("{}:department", okta::ENTERPRISE);
    let manager = format!("{}:manager", okta::ENTERPRISE);
    for (by, ascending, descending) in [
        ("userName", "A b c", "c b A"),
        ("urn:ietf:params:scim:schemas:core:2.0:User:USERNAME", "A b c", "c b A"),
        // Folded, and by code point: a, z, ä.
        ("title", "A c b", "b c A"),
        // Case matters in an external id.
        ("externalId", "b A c", "c A b"),
        ("displayName", "c b A", "b A c"),
        ("name.familyName", "b A c", "A c b"),
        // The primary one, or the first.
        ("emails", "b A c", "c A b"),
        ("emails.value", "b A c", "c A b"),
        ("active", "A b c", "b c A"),
        (&department, "c A b", "b A c"),
        (&manager, "c b A", "b A c"),
        ("meta.created", "b A c", "c A b"),
        ("nickName", "b A c", "b A c"),
        ("meta.resourceType", "b A c", "b A c"),
    ] {
        let by = encode(by);
        for (query, expected) in [
            (format!("/Users?sortBy={by}"), ascending),
            (format!("/Users?sortBy={by}&sortOrder=ascending"), ascending),
            (format!("/Users?sortBy={by}&sortOrder=Descending"), descending),
        ] {
            // People made in the same millisecond are in order of creation either way.
            if !query.contains("created") {
                assert_eq!(names(&client, &query).join(" "), expected, "{query}");
            }
            let filtered = names(&client, &format!("{query}&filter={}", encode("userName ne \"A\"")));
            let of_filtered: Vec<&str> = expected.split(' ').filter(|name| *name != "A").collect();
            if !query.contains("created") {
                assert_eq!(filtered, of_filtered, "{query}");
            }
        }
    }
    let ids = |order: &str| -> Vec<String> {
        let list = client.get(&format!("/Users?sortBy=id&sortOrder={order}")).expect(200);
        list.resources().iter().map(|user| user["id"].as_str().unwrap().to_owned()).collect()
    };
    assert!(ids("ascending").is_sorted());
    assert!(ids("descending").iter().rev().is_sorted());
    let modified = client.get("/Users?sortBy=meta.lastModified").expect(200);
    assert!(modified.resources().iter().map(|user| user["meta"]["lastModified"].as_str()).is_sorted());
    assert_eq!(names(&client, "/Users?sortOrder=descending"), ["b", "A", "c"], "an order of nothing is none");
}

#[test]
fn groups_are_sorted_by_their_names_and_members() {
    let client = people();
    let users = client.get("/Users").expect(200);
    let id = |at: usize| users.resources()[at]["id"].as_str().unwrap().to_owned();
    client.create("/Groups", okta::group("y", &[okta::member(&id(2), "c")]));
    client.create("/Groups", okta::group("X", &[okta::member(&id(0), "b"), okta::member(&id(1), "A")]));
    client.create("/Groups", okta::group("z", &[]));
    assert_eq!(names(&client, "/Groups?sortBy=displayName"), ["X", "y", "z"]);
    assert_eq!(names(&client, "/Groups?sortBy=members.display"), ["X", "y", "z"]);
    assert_eq!(names(&client, "/Groups?sortBy=members.display&sortOrder=descending"), ["z", "y", "X"]);
    assert_eq!(names(&client, "/Users?sortBy=groups.display"), ["b", "A", "c"]);
    assert_eq!(names(&client, "/Users?sortBy=groups.display&sortOrder=descending"), ["c", "b", "A"]);
}

#[test]
fn attributes_that_no_schema_knows_are_sorted_by_as_what_they_are() {
    let client = Tenant::fresh().client();
    for (name, size) in
        [("a", json!("XL")), ("b", json!(10)), ("c", json!(9.5)), ("d", json!("m")), ("e", json!(null))]
    {
        client.create("/Users", json!({ "userName": name, "urn:acme:1.0:User": { "size": size } }));
    }
    assert_eq!(names(&client, "/Users?sortBy=urn:acme:1.0:user:SIZE"), ["c", "b", "d", "a", "e"]);
}

#[test]
fn what_cannot_be_sorted_by_is_refused_by_name() {
    let client = Tenant::fresh().client();
    for (query, named) in [
        ("/Users?sortBy=nope", "nope"),
        ("/Users?sortBy=name", "name.formatted"),
        ("/Users?sortBy=password", "password"),
        ("/Users?sortBy=members", "members"),
        ("/Groups?sortBy=userName", "userName"),
        ("/Users?sortBy=userName%20desc", "sortBy"),
        ("/Users?sortBy=userName&sortOrder=down", "sortOrder"),
        ("/Users?sortBy=userName&sortBy=id", "sortBy"),
    ] {
        let refused = client.get(query).expect_error(400, "invalidValue");
        assert!(refused.detail().contains(named), "{refused}");
    }
    client.get("/Users?sortBy=").expect(200);
}

const WORDS: [&str; 7] = ["Ann", "ann", "Äpfel", "zoo", "Straße", "STRASSE", "12"];

/// A person in words: which of them are the title, the family name and the e-mail addresses, and whether active.
type Person = (Option<usize>, Option<usize>, Vec<(usize, bool)>, bool);

fn person(at: usize, (title, family, emails, active): &Person) -> Value {
    let mut user = json!({ "userName": format!("{}{at}", WORDS[at % WORDS.len()]), "active": active });
    if let Some(title) = title {
        user["title"] = json!(WORDS[*title]);
    }
    if let Some(family) = family {
        user["name"] = json!({ "familyName": WORDS[*family] });
    }
    let only = emails.iter().position(|(_, primary)| *primary);
    let emails = emails.iter().enumerate().map(|(at, (word, _))| {
        json!({ "value": format!("{}@{at}.test", WORDS[*word]), "type": format!("t{at}"), "primary": only == Some(at) })
    });
    user["emails"] = emails.collect();
    user
}

/// The key of a person, read plainly: by hand for each attribute, and with nothing of the program but its folding.
fn plain_key(by: &str, user: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(fold::fold);
    match by {
        "userName" | "title" => text(&user[by]),
        "id" => user["id"].as_str().map(str::to_owned),
        "name.familyName" => text(&user["name"]["familyName"]),
        "emails" => {
            let all = user["emails"].as_array()?;
            let chosen = all.iter().find(|email| email["primary"] == true).or_else(|| all.first());
            text(&chosen?["value"])
        }
        "active" => user["active"].as_bool().map(|active| u8::from(active).to_string()),
        // All are written alike, so that the order of texts is that of instants.
        "meta.created" => user["meta"]["created"].as_str().map(str::to_owned),
        _ => panic!("no such key"),
    }
}

/// Filter and sort, plainly.
fn plain(users: &[Value], by: &str, descending: bool, filter: &str) -> Vec<String> {
    let schemas = Schemas::builtin().unwrap();
    let filter = (!filter.is_empty()).then(|| {
        let filter = Filter::parse(filter, Bounds { bytes_max: 1000, depth_max: 9 }).unwrap();
        predicate::bind(&filter, schemas.of(Kind::User)).unwrap()
    });
    let matching =
        users.iter().filter(|user| filter.as_ref().is_none_or(|filter| matching::matches(filter, user)));
    let (mut with, without): (Vec<_>, Vec<_>) =
        matching.map(|user| (plain_key(by, user), user)).partition(|(key, _)| key.is_some());
    // A stable sort: who has the same key stays in order of creation.
    if descending {
        with.sort_by(|(left, _), (right, _)| right.cmp(left));
    } else {
        with.sort_by(|(left, _), (right, _)| left.cmp(right));
    }
    let all = if descending { [without, with] } else { [with, without] };
    all.concat().into_iter().map(|(_, user)| user["id"].as_str().unwrap().to_owned()).collect()
}

/// The ids on one page after another; `next` gives the query of the page after an answer.
fn walk(
    client: &Client,
    first: String,
    mut next: impl FnMut(&Value, usize) -> Option<String>,
) -> Vec<String> {
    let (mut met, mut query) = (Vec::new(), Some(first));
    while let Some(asked) = query {
        let page = client.get(&asked).expect(200);
        met.extend(page.resources().iter().map(|user| user["id"].as_str().unwrap().to_owned()));
        query = next(&page.json, met.len());
        assert!(met.len() <= 100, "the walk does not end");
    }
    met
}

#[test]
fn an_index_walk_a_cursor_walk_and_a_plain_model_agree() {
    let client = Tenant::fresh().client();
    let word = || 0..WORDS.len();
    let people = vec(
        (
            prop::option::of(word()),
            prop::option::of(word()),
            vec((word(), any::<bool>()), 0..3),
            any::<bool>(),
        ),
        1..12,
    );
    let by = prop::sample::select(std::vec![
        "userName",
        "title",
        "name.familyName",
        "emails",
        "active",
        "meta.created",
        "id"
    ]);
    let filter = prop::sample::select(std::vec![
        "",
        "title pr",
        "not (title co \"a\")",
        "active eq true",
        "emails[primary eq true]",
        "userName sw \"a\"",
    ]);
    let lists = vec((by, any::<bool>(), filter, 1..5_usize), 6);
    let mut runner = TestRunner::new(Config {
        cases: 16,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    });
    let outcome = runner.run(&(people, lists), |(people, lists)| {
        for user in client.get("/Users?count=1000").expect(200).resources() {
            client.delete(&format!("/Users/{}", user["id"].as_str().unwrap())).expect(204);
        }
        for (at, one) in people.iter().enumerate() {
            client.create("/Users", person(at, one));
        }
        let users = client.get("/Users").expect(200).resources().to_vec();
        for (by, descending, filter, count) in lists {
            let expected = plain(&users, by, descending, filter);
            let order = if descending { "descending" } else { "ascending" };
            let list =
                format!("/Users?sortBy={by}&sortOrder={order}&count={count}&filter={}", encode(filter));
            let by_index = walk(&client, list.clone(), |page, met| {
                let more = met < usize::try_from(page["totalResults"].as_u64().unwrap()).unwrap();
                more.then(|| format!("{list}&startIndex={}", met + 1))
            });
            prop_assert_eq!(&by_index, &expected, "{}", list);
            let by_cursor = walk(&client, format!("{list}&cursor"), |page, _| {
                page["nextCursor"].as_str().map(|cursor| format!("{list}&cursor={cursor}"))
            });
            prop_assert_eq!(&by_cursor, &expected, "{}", list);
        }
        Ok(())
    });
    outcome.unwrap();
}
