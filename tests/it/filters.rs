//! Filters over HTTP (RFC 7644 §3.4.2.2): every operator, every kind of attribute, what is refused and how. That
//! SQL and memory agree on generated filters is tested in the store; here is what a client sees.

use serde_json::{Value, json};

use crate::support::client::{encode, encode_with_plus};
use crate::support::{Client, Tenant, okta};

const CUSTOM: &str = "urn:x:1.0:user";

/// Five users and two groups that differ in every attribute that is asked for.
fn people() -> Client {
    let client = Tenant::fresh().client();
    let users = [
        json!({ "userName": "ann@x.test", "externalId": "E1", "displayName": "Ann", "title": "Boss", "active": true,
                "name": { "givenName": "Ann", "familyName": "Älpler" },
                "emails": [{ "value": "ann@x.test", "type": "work", "primary": true }, { "value": "ann@home.test", "type": "home" }],
                okta::ENTERPRISE: { "department": "Eng", "manager": { "value": "m1", "displayName": "Max" } },
                CUSTOM: { "shoe": 42, "flag": true, "note": "Left" } }),
        json!({ "userName": "Bob@x.test", "externalId": "e1", "displayName": "Bob", "title": "Boss", "active": false,
                "emails": [{ "value": "bob@home.test", "type": "home", "primary": true }],
                okta::ENTERPRISE: { "department": "eng" }, CUSTOM: { "shoe": 43 } }),
        json!({ "userName": "cid", "displayName": "Cid \"the\" \\ Kid", "roles": [{ "value": "admin", "type": "X" }] }),
        json!({ "userName": "dan_50%", "nickName": "D*", "emails": [{ "value": "dan@x.test", "type": "work" }] }),
        json!({ "userName": "eve", "preferredLanguage": "de" }),
    ];
    let [ann, bob] = [0, 1].map(|n: usize| client.create("/Users", users[n].clone()).id());
    for user in &users[2..] {
        client.create("/Users", user.clone());
    }
    client.create("/Groups", okta::group("Staff", &[okta::member(&ann, "Ann"), okta::member(&bob, "Bob")]));
    client.create("/Groups", json!({ "displayName": "Empty", "externalId": "g-1" }));
    client
}

/// The first letters of the users that a filter selects, in list order.
fn letters(client: &Client, filter: &str) -> String {
    let found = client.find("/Users", filter);
    found.iter().map(|user| user["userName"].as_str().unwrap()[..1].to_lowercase()).collect()
}

fn check(client: &Client, cases: &[(&str, &str)]) {
    for (filter, expected) in cases {
        assert_eq!(letters(client, filter), *expected, "{filter}");
    }
}

#[test]
fn every_operator_selects_what_it_should() {
    check(
        &people(),
        &[
            ("userName eq \"bob@X.test\"", "b"),
            ("userName ne \"bob@x.test\"", "acde"),
            ("userName co \"X.TEST\"", "ab"),
            ("userName sw \"A\"", "a"),
            ("userName ew \"x.test\"", "ab"),
            ("userName gt \"bob@x.test\"", "cde"),
            ("userName ge \"bob@x.test\"", "bcde"),
            ("userName lt \"BOB@x.test\"", "a"),
            ("userName le \"bob@x.test\"", "ab"),
            ("title pr", "ab"),
            ("not (title pr)", "cde"),
            ("userName co \"_50%\"", "d"),
            ("userName co \"%\"", "d"),
            ("nickName eq \"D*\"", "d"),
            ("userName sw \"\"", "abcde"),
        ],
    );
}

#[test]
fn and_or_not_and_brackets_bind_as_the_rfc_says() {
    check(
        &people(),
        &[
            ("title eq \"boss\" and active eq true", "a"),
            ("userName eq \"eve\" or title pr and active eq false", "be"),
            ("(userName eq \"eve\" or title pr) and active eq false", "b"),
            ("not (active eq true) or userName sw \"e\"", "be"),
            ("title pr and not (userName sw \"a\" or userName sw \"b\")", ""),
            ("NOT (title PR) AND userName SW \"c\"", "c"),
            ("(((userName eq \"eve\")))", "e"),
        ],
    );
}

#[test]
fn text_is_compared_in_one_form_whatever_its_bytes() {
    let client = Tenant::fresh().client();
    // e with an accent, as one character and as two.
    client.create("/Users", json!({ "userName": "re\u{301}my", "displayName": "Straße" }));
    for filter in [
        "userName eq \"r\u{e9}my\"",
        "userName eq \"RE\u{301}MY\"",
        "userName sw \"R\u{c9}\"",
        "displayName eq \"STRASSE\"",
        "displayName co \"ss\"",
    ] {
        assert_eq!(client.find("/Users", filter).len(), 1, "{filter}");
    }
}

#[test]
fn case_counts_where_the_schema_says_so() {
    check(
        &people(),
        &[
            ("externalId eq \"E1\"", "a"),
            ("externalId eq \"e1\"", "b"),
            ("externalId sw \"E\"", "a"),
            ("name.familyName eq \"äLPLER\"", "a"),
            ("displayName eq \"ANN\"", "a"),
            (&format!("{}:department eq \"ENG\"", okta::ENTERPRISE), "ab"),
            (&format!("{}:manager.value eq \"M1\"", okta::ENTERPRISE), ""),
            ("USERNAME eq \"eve\"", "e"),
            ("NAME.GIVENNAME eq \"ann\"", "a"),
        ],
    );
}

#[test]
fn multi_valued_attributes_match_by_any_element_and_value_paths_by_one() {
    check(
        &people(),
        &[
            ("emails.value ew \"home.test\"", "ab"),
            ("emails co \"home\"", "ab"),
            ("emails eq \"DAN@x.test\"", "d"),
            ("emails.type eq \"work\" and emails.value co \"home\"", "a"),
            ("emails[type eq \"work\" and value co \"home\"]", ""),
            ("emails[type eq \"work\"]", "ad"),
            ("emails[type eq \"work\"].value eq \"dan@x.test\"", "d"),
            ("emails[primary eq true].value ew \"home.test\"", "b"),
            ("emails[not (type eq \"home\")]", "ad"),
            ("emails pr", "abd"),
            ("emails.primary eq true", "ab"),
            ("roles[type eq \"X\" and value eq \"admin\"]", "c"),
            ("not (emails pr)", "ce"),
            ("emails.type ne \"home\"", "cde"),
        ],
    );
}

#[test]
fn extensions_known_and_unknown_are_asked_by_urn() {
    let manager = |rest: &str| format!("{}:manager{rest}", okta::ENTERPRISE);
    check(
        &people(),
        &[
            (&manager(".displayName co \"AX\""), "a"),
            (&manager(" eq \"m1\""), "a"),
            (&manager(" pr"), "a"),
            (&format!("{}:userName eq \"EVE\"", okta::USER), "e"),
            (&format!("{}:emails.value eq \"dan@x.test\"", okta::USER), "d"),
            (&format!("{CUSTOM}:shoe gt 42"), "b"),
            (&format!("{CUSTOM}:shoe le 43"), "ab"),
            (&format!("{CUSTOM}:flag eq true"), "a"),
            (&format!("{CUSTOM}:note eq \"LEFT\""), "a"),
            (&format!("{CUSTOM}:note pr"), "a"),
            ("urn:nobody:has:this pr", ""),
        ],
    );
}

#[test]
fn ids_groups_meta_null_and_quoting() {
    let client = people();
    let everybody = client.get("/Users").expect(200);
    let ann = &everybody.resources()[0];
    let created = ann["meta"]["created"].as_str().unwrap();
    let group = client.get("/Groups").resources()[0]["id"].as_str().unwrap().to_owned();
    check(
        &client,
        &[
            (&format!("id eq \"{}\"", ann["id"].as_str().unwrap()), "a"),
            (&format!("id ne \"{}\"", ann["id"].as_str().unwrap()), "bcde"),
            (&format!("groups eq \"{group}\""), "ab"),
            (&format!("groups.value eq \"{group}\" and title pr"), "ab"),
            ("groups.display eq \"STAFF\"", "ab"),
            ("groups[display sw \"s\" and type eq \"direct\"]", "ab"),
            ("not (groups pr)", "cde"),
            ("title eq null", "cde"),
            ("title ne null", "ab"),
            (&format!("meta.created ge \"{created}\""), "abcde"),
            (&format!("meta.created lt \"{created}\""), ""),
            ("meta.lastModified gt \"2020-01-01T00:00:00+02:00\"", "abcde"),
            ("meta.resourceType eq \"User\"", "abcde"),
            ("active eq \"False\"", "b"),
            ("active ne true", "b"),
            ("displayName eq \"cid \\\"the\\\" \\\\ kid\"", "c"),
            ("displayName eq \"\\u0041nn\"", "a"),
        ],
    );
}

#[test]
fn groups_are_filtered_by_name_and_by_member() {
    let client = people();
    let names = |filter: &str| -> Vec<String> {
        client
            .find("/Groups", filter)
            .iter()
            .map(|group| group["displayName"].as_str().unwrap().to_owned())
            .collect()
    };
    let ann = client.find("/Users", "displayName eq \"Ann\"")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(names("displayName eq \"staff\""), ["Staff"]);
    assert_eq!(names(&format!("members eq \"{ann}\"")), ["Staff"]);
    assert_eq!(names(&format!("members.value eq \"{ann}\" and displayName sw \"s\"")), ["Staff"]);
    assert_eq!(names(&format!("members[value eq \"{ann}\" and type eq \"User\"]")), ["Staff"]);
    assert_eq!(names("members pr"), ["Staff"]);
    assert_eq!(names("not (members pr)"), ["Empty"]);
    assert_eq!(names("members.display co \"bob\""), ["Staff"]);
    assert_eq!(names("externalId eq \"g-1\""), ["Empty"]);
}

#[test]
fn a_filter_comes_with_paging_and_projection() {
    let client = people();
    let filter = encode_with_plus("userName pr");
    let page =
        client.get(&format!("/Users?filter={filter}&startIndex=2&count=2&attributes=userName")).expect(200);
    assert_eq!(
        (&page["totalResults"], &page["itemsPerPage"], &page["startIndex"]),
        (&json!(5), &json!(2), &json!(2))
    );
    let names: Vec<&Value> = page.resources().iter().map(|user| &user["userName"]).collect();
    assert_eq!(names, ["Bob@x.test", "cid"]);
    let none = client.get(&format!("/Users?filter={filter}&startIndex=6")).expect(200);
    assert_eq!((&none["totalResults"], &none["Resources"]), (&json!(5), &json!([])));
}

#[test]
fn what_the_grammar_refuses_is_400_with_a_sentence_that_shows_where() {
    let client = people();
    for filter in [
        "userName",
        "userName eq",
        "userName eq bob",
        "userName eq \"bob",
        "userName is \"bob\"",
        "eq \"bob\"",
        "userName eq \"a\" and",
        "userName eq \"a\" userName eq \"b\"",
        "(userName eq \"a\"",
        "userName eq \"a\")",
        "not userName pr",
        "emails[type eq \"work\"",
        "emails[]",
        "emails[emails[type eq \"x\"]]",
        "userName eq \"\\x\"",
        "1abc eq 2",
        "userName eq \"a\" xor title pr",
    ] {
        let refused =
            client.get(&format!("/Users?filter={}", encode(filter))).expect_error(400, "invalidFilter");
        assert!(
            refused.detail().chars().any(|c| c.is_ascii_digit()),
            "no place in {filter}: {}",
            refused.detail()
        );
    }
    for (filter, named) in [
        ("nonsense eq \"x\"", "nonsense"),
        ("name.nonsense eq \"x\"", "nonsense"),
        ("userName.sub eq \"x\"", "userName"),
        (&format!("{}:nonsense eq 1", okta::ENTERPRISE), "nonsense"),
        ("active gt true", "active"),
        ("active co \"t\"", "active"),
        ("meta.created gt \"yesterday\"", "created"),
        ("name eq \"x\"", "name"),
        ("userName eq true", "userName"),
    ] {
        let refused =
            client.get(&format!("/Users?filter={}", encode(filter))).expect_error(400, "invalidFilter");
        assert!(refused.detail().contains(named), "{filter}: {}", refused.detail());
    }
}

#[test]
fn filters_are_bounded_in_length_and_depth() {
    let client = people();
    let deep = |depth: usize| format!("{}userName pr{}", "(".repeat(depth), ")".repeat(depth));
    client.get(&format!("/Users?filter={}", encode(&deep(20)))).expect(200);
    for hostile in [deep(40), deep(2000), format!("userName eq \"{}\"", "x".repeat(5000))] {
        client.get(&format!("/Users?filter={}", encode(&hostile))).expect_error(400, "invalidFilter");
    }
    let many = vec!["userName eq \"x\""; 200].join(" or ");
    client.get(&format!("/Users?filter={}", encode(&many))).expect(200);
}

#[test]
fn a_hostile_literal_is_a_literal() {
    let client = people();
    for literal in ["' OR 1=1 --", "\\\"; DROP TABLE resources; --", "%", "\u{1F600}"] {
        assert_eq!(letters(&client, &format!("userName eq \"{literal}\"")), "");
    }
    assert_eq!(client.get("/Users")["totalResults"], 5);
}
