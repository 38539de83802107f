//! The thirty rules of okta.md §0.2, one test each, in their order.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use ici_scim::clock::Stopwatch;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::okta::{group, look_up, look_up_with_plus, probe, push_group, push_profile, users};
use crate::support::client::{LIST_URN, encode, group_ids};
use crate::support::{Config, Server, Tenant, Token, file, okta, raw};

#[test]
fn rule_01_the_token_is_taken_raw_and_after_bearer_in_any_case() {
    let tenant = Tenant::fresh();
    let token = tenant.token.text();
    for authorization in [
        token.to_owned(),
        format!("Bearer {token}"),
        format!("bearer {token}"),
        format!("BEARER   {token}"),
        format!("bEaReR\t{token}"),
    ] {
        probe(&tenant.client().authorized(&authorization));
    }
}

#[test]
fn rule_02_both_media_types_are_taken_and_scim_json_is_answered() {
    let client = Tenant::fresh().client();
    for (number, content_type) in [
        "application/scim+json",
        "application/scim+json; charset=utf-8",
        "application/scim+json;charset=UTF-8",
        "Application/SCIM+JSON; Charset=utf-8",
        "application/json",
        "application/json; charset=utf-8",
    ]
    .into_iter()
    .enumerate()
    {
        let body = okta::user(&format!("u{number}@x.test")).to_string().into_bytes();
        let headers = [("content-type", content_type), ("accept", "application/scim+json; charset=utf-8")];
        let made = client.send_with(Method::POST, "/Users", Some(body), &headers).expect(201);
        assert_eq!(made.header("content-type"), Some("application/scim+json"));
    }
    // The suites send a Content-Type with a GET that has no body, and all kinds of Accept.
    for accept in ["application/scim+json", "application/json", "*/*", "text/html", ""] {
        let headers = [("accept", accept), ("content-type", "application/scim+json; charset=utf-8")];
        client.send_with(Method::GET, "/Users?startIndex=1&count=2", None, &headers).expect(200);
    }
}

#[test]
fn rule_03_every_answer_is_json_with_schemas_and_numbers() {
    let client = Tenant::fresh().client();
    // Client::send checks every answer of the whole suite; here are the places where it went wrong elsewhere.
    for path in ["/Users?count=0", "/Users?startIndex=7", "/Groups", "/Users?filter=userName%20eq%20%22x%22"]
    {
        let empty = client.get(path).expect(200);
        let text = String::from_utf8(empty.body.clone()).unwrap();
        assert!(text.contains("\"Resources\":[]") && text.contains("\"totalResults\":0"), "{text}");
        assert_eq!(empty["schemas"], json!([LIST_URN]));
    }
    let made = client.create("/Users", okta::user("a@x.test"));
    assert_eq!(made["schemas"], json!([okta::USER]));
    assert_eq!(client.create("/Groups", okta::group("g", &[]))["schemas"], json!([okta::GROUP]));
    client.get("/Nothing").expect_error(404, "");
}

#[test]
fn rule_04_the_probes_answer_200_on_an_empty_directory() {
    let client = Tenant::fresh().client();
    for path in ["/Users?startIndex=1&count=2", "/Groups?startIndex=1&count=100"] {
        let empty = client.get(path).expect(200);
        assert_eq!(
            (&empty["totalResults"], &empty["itemsPerPage"], &empty["startIndex"]),
            (&json!(0), &json!(0), &json!(1))
        );
    }
}

#[test]
fn rule_05_user_name_is_found_in_any_case_however_spelt_and_inactive_too() {
    let client = Tenant::fresh().client();
    let [id] = users(&client, ["Änne.Test+1@Example.invalid"]);
    for round in 0..2 {
        for name in
            ["Änne.Test+1@Example.invalid", "änne.test+1@example.invalid", "ÄNNE.TEST+1@EXAMPLE.INVALID"]
        {
            for reply in [look_up(&client, name), look_up_with_plus(&client, name)] {
                assert_eq!(reply["totalResults"], 1, "round {round}: {name}");
                assert_eq!(reply.resources()[0]["id"], id);
                assert_eq!(reply.resources()[0]["active"], round == 0);
            }
        }
        client.patch(&format!("/Users/{id}"), okta::set_active(false)).expect(200);
    }
}

#[test]
fn rule_06_a_create_echoes_the_user_and_a_second_one_is_409() {
    let client = Tenant::fresh().client();
    let mut sent = okta::user("Camel.Case@X.test");
    sent["password"] = json!("a");
    sent["id"] = json!("my-own-id");
    sent["groups"] = json!([{ "value": "no-such-group" }]);
    let made = client.create("/Users", sent.clone());
    assert_eq!(made["userName"], "Camel.Case@X.test");
    assert_ne!(made["id"], "my-own-id");
    assert_eq!(made["groups"], json!([]));
    for name in ["Camel.Case@X.test", "camel.case@x.test"] {
        sent["userName"] = json!(name);
        let refused = client.post("/Users", sent.clone()).expect_error(409, "uniqueness");
        assert_eq!(refused["status"], "409");
    }
    // A client's id must not pick a resource either.
    let mut other = okta::user("other@x.test");
    other["id"] = made["id"].clone();
    assert_ne!(client.create("/Users", other)["id"], made["id"]);
    assert_eq!(client.get(&format!("/Users/{}", made.id())).json, made.json);
}

#[test]
fn rule_07_put_takes_what_get_gave_and_leaves_id_meta_and_groups_alone() {
    let client = Tenant::fresh().client();
    let [id] = users(&client, ["a@x.test"]);
    let made = client.create("/Groups", okta::group("g", &[okta::member(&id, "a@x.test")])).id();
    let path = format!("/Users/{id}");
    let before = client.get(&path);
    assert_eq!(client.put(&path, before.json.clone()).expect(200).json, before.json);
    for groups in [json!([]), json!(null), json!([{ "value": "x", "display": "y", "type": "direct" }])] {
        let mut echo = before.json.clone();
        echo["groups"] = groups;
        echo["id"] = json!("another");
        echo["meta"] =
            json!({ "resourceType": "Group", "created": "1999-01-01T00:00:00Z", "version": "W/\"x\"" });
        assert_eq!(client.put(&path, echo).expect(200).json, before.json);
    }
    assert_eq!(group(&client, &made).member_ids(), [id]);
}

#[test]
fn rule_08_pathless_active_false_is_taken_twice_and_the_user_stays() {
    let client = Tenant::fresh().client();
    let [id] = users(&client, ["a@x.test"]);
    let path = format!("/Users/{id}");
    for _ in 0..2 {
        let gone = client.patch(&path, okta::set_active(false)).expect(200);
        assert_eq!((gone.id(), &gone["active"]), (id.clone(), &json!(false)));
    }
    assert_eq!(client.get(&path).expect(200)["active"], false);
    assert_eq!(probe(&client)["totalResults"], 1);
}

#[test]
fn rule_09_a_deactivated_user_keeps_id_attributes_and_memberships() {
    let client = Tenant::fresh().client();
    let mut sent = okta::user("a@x.test");
    sent[okta::ENTERPRISE] = json!({ "department": "Eng", "manager": { "value": "00u1" } });
    sent["urn:okta:scim2headerauth:1.0:user:custom"] = json!({ "shoe": 42 });
    let made = client.create("/Users", sent);
    let id = client.create("/Groups", okta::group("g", &[okta::member(&made.id(), "a@x.test")])).id();
    let path = format!("/Users/{}", made.id());
    let mut before = client.get(&path).without_meta();
    let gone = client.patch(&path, okta::set_active(false)).expect(200);
    before["active"] = json!(false);
    assert_eq!(gone.without_meta(), before);
    assert_eq!(group(&client, &id).member_ids(), [made.id()]);
    let back = client.patch(&path, okta::set_active(true)).expect(200);
    before["active"] = json!(true);
    assert_eq!(back.without_meta(), before);
}

#[test]
fn rule_10_user_name_changes_by_put_while_id_and_external_id_stay() {
    let client = Tenant::fresh().client();
    let [id, _] = users(&client, ["old@x.test", "taken@x.test"]);
    for name in ["new@x.test", "NEW@x.test", "old@x.test"] {
        let put = push_profile(&client, &id, |user| user["userName"] = json!(name));
        assert_eq!((put.id(), &put["userName"]), (id.clone(), &json!(name)));
        assert_eq!(put["externalId"], okta::external_id("old@x.test"));
        assert_eq!(look_up(&client, name).resources()[0]["id"], id);
    }
    let path = format!("/Users/{id}");
    let mut echo = client.get(&path).json;
    echo["userName"] = json!("Taken@x.test");
    client.put(&path, echo).expect_error(409, "uniqueness");
    assert_eq!(client.get(&path)["userName"], "old@x.test");
}

#[test]
fn rule_11_a_group_is_created_with_members_that_have_no_type() {
    let client = Tenant::fresh().client();
    let [a] = users(&client, ["a@x.test"]);
    let made = client.create("/Groups", okta::group("g", &[okta::member(&a, "a@x.test")]));
    assert!(!made.id().is_empty());
    let reference = format!("{}/Users/{a}", client.base());
    assert_eq!(
        made["members"],
        json!([{ "value": a, "$ref": reference, "display": "a@x.test", "type": "User" }])
    );
}

#[test]
fn rule_12_every_form_of_group_patch_is_taken_twice() {
    let client = Tenant::fresh().client();
    let [a, b] = users(&client, ["a@x.test", "b@x.test"]);
    let (member_a, member_b) = (okta::member(&a, "a@x.test"), okta::member(&b, "b@x.test"));
    let id = client.create("/Groups", okta::group("g", &[])).id();
    let both = {
        let mut both = vec![a.clone(), b.clone()];
        both.sort();
        both
    };
    let cases: Vec<(Value, Vec<String>)> = vec![
        (json!([{ "op": "replace", "value": { "id": id, "displayName": "h" } }]), vec![]),
        (json!([okta::add_members(std::slice::from_ref(&member_a))]), vec![a.clone()]),
        (json!([okta::add_members(&[member_a.clone(), member_b.clone()])]), both.clone()),
        (json!([okta::remove_member(&a)]), vec![b.clone()]),
        (json!([okta::replace_members(&[member_a.clone(), member_b.clone()])]), both.clone()),
        (json!([okta::replace_members(&[])]), vec![]),
        (json!([{ "op": "replace", "value": { "members": [member_b] } }]), vec![b.clone()]),
        (json!([{ "op": "add", "value": { "members": [member_a] } }]), both),
        (json!([okta::remove_member(&b), okta::add_members(&[member_a]), okta::remove_member(&b)]), vec![a]),
        (json!([{ "op": "replace", "value": { "members": [] } }]), vec![]),
    ];
    for (operations, expected) in cases {
        for _ in 0..2 {
            let changed = client.patch(&format!("/Groups/{id}"), okta::patch(operations.clone())).expect(200);
            assert_eq!(changed.member_ids(), expected, "{operations}");
            assert_eq!((changed.id(), &changed["displayName"]), (id.clone(), &json!("h")));
        }
    }
}

#[test]
fn rule_13_adding_a_present_member_and_removing_an_absent_one_answer_200_without_a_change() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let [a, b] = users(&client, ["a@x.test", "b@x.test"]);
    let made = client.create("/Groups", okta::group("g", &[okta::member(&a, "a@x.test")]));
    let events = file::events(&tenant.file());
    for operation in [
        okta::add_members(&[okta::member(&a, "a@x.test")]),
        okta::remove_member(&b),
        okta::remove_member("no-such-id"),
    ] {
        let same =
            client.patch(&format!("/Groups/{}", made.id()), okta::patch(json!([operation]))).expect(200);
        assert_eq!(same.json, made.json);
    }
    assert_eq!(file::events(&tenant.file()), events);
}

#[test]
fn rule_14_changes_of_one_group_at_once_lose_nothing() {
    let client = Tenant::fresh().client();
    let people: Vec<String> =
        (0..20).map(|n| client.create("/Users", okta::user(&format!("u{n}@x.test"))).id()).collect();
    let id = client.create("/Groups", okta::group("g", &[])).id();
    let change =
        |operations: Value| client.patch(&format!("/Groups/{id}"), okta::patch(operations)).expect(200);
    thread::scope(|scope| {
        for person in &people {
            scope.spawn(|| change(json!([okta::add_members(&[okta::member(person, "")])])));
        }
    });
    assert_eq!(group(&client, &id)["members"].as_array().unwrap().len(), 20);
    thread::scope(|scope| {
        for person in &people[..10] {
            scope.spawn(|| change(json!([okta::remove_member(person)])));
        }
        scope.spawn(|| change(json!([{ "op": "replace", "value": { "id": id, "displayName": "renamed" } }])));
    });
    let mut left = people[10..].to_vec();
    left.sort();
    let after = group(&client, &id);
    assert_eq!((after.member_ids(), &after["displayName"]), (left, &json!("renamed")));
}

#[test]
fn rule_15_put_replaces_a_groups_name_and_members() {
    let client = Tenant::fresh().client();
    let [a, b] = users(&client, ["a@x.test", "b@x.test"]);
    let id = client.create("/Groups", okta::group("old", &[okta::member(&a, "a@x.test")])).id();
    let body = json!({ "schemas": [okta::GROUP], "id": id, "displayName": "new", "members": [okta::member(&b, "b@x.test")] });
    let put = client.put(&format!("/Groups/{id}"), body).expect(200);
    assert_eq!((put.id(), put.member_ids(), &put["displayName"]), (id, vec![b], &json!("new")));
    assert_eq!(group_ids(&client.get(&format!("/Users/{a}")).json), [""; 0]);
}

#[test]
fn rule_16_a_deleted_group_is_gone_and_its_name_makes_a_new_one() {
    let client = Tenant::fresh().client();
    let first = client.create("/Groups", okta::group("Name", &[])).id();
    client.delete(&format!("/Groups/{first}")).expect(204);
    client.get(&format!("/Groups/{first}")).expect_error(404, "");
    client.patch(&format!("/Groups/{first}"), okta::rename(&first, "x")).expect_error(404, "");
    let second = client.create("/Groups", okta::group("Name", &[])).id();
    assert_ne!(first, second);
}

#[test]
fn rule_17_the_order_is_stable_and_a_page_past_the_end_is_empty() {
    let client = Tenant::fresh().client();
    let made: Vec<String> =
        (0..7).map(|n| client.create("/Users", okta::user(&format!("u{}@x.test", 9 - n))).id()).collect();
    // A change must not move anybody.
    client.patch(&format!("/Users/{}", made[2]), okta::set_active(false)).expect(200);
    let walk = || -> Vec<String> {
        let page = |start: usize| client.get(&format!("/Users?startIndex={start}&count=3")).expect(200);
        let pages = [1, 4, 7].map(page);
        pages
            .iter()
            .flat_map(|page| page.resources())
            .map(|user| user["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(walk(), made);
    assert_eq!(walk(), made);
    let past = client.get("/Users?startIndex=101&count=100").expect(200);
    assert_eq!(
        (&past["totalResults"], &past["Resources"], &past["startIndex"]),
        (&json!(7), &json!([]), &json!(101))
    );
}

#[test]
fn rule_18_items_per_page_is_what_was_returned() {
    let client = Tenant::fresh().client();
    users(&client, ["a@x.test", "b@x.test"]);
    for (query, items) in [
        ("startIndex=1&count=100", 2),
        ("startIndex=101&count=100", 0),
        ("startIndex=2&count=100", 1),
        ("startIndex=1&count=1", 1),
        ("count=0", 0),
    ] {
        let page = client.get(&format!("/Users?{query}")).expect(200);
        assert_eq!((&page["itemsPerPage"], &page["totalResults"]), (&json!(items), &json!(2)), "{query}");
    }
}

#[test]
fn rule_19_an_imported_user_has_all_that_okta_needs() {
    let client = Tenant::fresh().client();
    users(&client, ["a@x.test"]);
    let page = client.get("/Users?startIndex=1&count=100").expect(200);
    let user = &page.resources()[0];
    for text in [
        &user["id"],
        &user["userName"],
        &user["name"]["givenName"],
        &user["name"]["familyName"],
        &user["emails"][0]["value"],
    ] {
        assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{user}");
    }
    assert_eq!((&user["active"], &user["emails"][0]["primary"]), (&json!(true), &json!(true)));
    assert_eq!(user["schemas"], json!([okta::USER]));
}

#[test]
fn rule_20_a_wrong_or_missing_token_is_401_before_anything_else_is_looked_at() {
    let tenant = Tenant::fresh();
    let nobody = tenant.server.client_with(&tenant.name, None);
    let wrong = nobody.authorized("non-token");
    for client in [&nobody, &wrong] {
        let refused = client.get("/Users?startIndex=1&count=2").expect_error(401, "");
        assert_eq!(refused.header("www-authenticate").map(|value| value.starts_with("Bearer")), Some(true));
        // Neither address, method, query nor body is judged.
        for (method, path) in [
            (Method::GET, "/Nothing"),
            (Method::DELETE, "/Users"),
            (Method::GET, "/Users?filter=not+a+filter"),
            (Method::PUT, "/Users/no-such-id"),
        ] {
            let body = (method == Method::PUT).then(|| b"{ this is no JSON".to_vec());
            let other = client.send_with(method, path, body, &[("content-type", "text/plain")]);
            assert_eq!((other.status, &other.body), (401, &refused.body), "{path}");
        }
    }
}

#[test]
fn rule_21_unknown_ids_are_404_errors() {
    let client = Tenant::fresh().client();
    for kind in ["Users", "Groups"] {
        for id in [
            "00919288221112222",
            "5b6c3d0e-0000-4000-8000-000000000000",
            "%20",
            "a'b;--",
            "%F0%9F%98%80",
            &"x".repeat(3000),
        ] {
            let path = format!("/{kind}/{id}");
            client.get(&path).expect_error(404, "");
            client
                .patch(&path, okta::patch(json!([{ "op": "replace", "value": { "displayName": "x" } }])))
                .expect_error(404, "");
            let body = if kind == "Users" { okta::user("a@x.test") } else { okta::group("g", &[]) };
            client.put(&path, body).expect_error(404, "");
            client.delete(&path).expect_error(404, "");
        }
    }
    // An id is of one kind.
    let [id] = users(&client, ["a@x.test"]);
    client.get(&format!("/Groups/{id}")).expect_error(404, "");
}

#[test]
fn rule_22_overload_is_429_with_retry_after_in_whole_seconds() {
    let token = Token::new("okta");
    let config = Config::acme(&token).limit("write_queue_max", 1);
    let server = Server::start(&config);
    let client = server.client("acme", &token);
    users(&client, ["first@x.test"]);

    // Somebody holds the file's write lock, so that writes pile up.
    let holder = Connection::open(server.tenant_file("acme")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let replies = thread::scope(|scope| {
        let writers: Vec<_> = (0..6)
            .map(|n| {
                let client = &client;
                scope.spawn(move || client.post("/Users", okta::user(&format!("u{n}@x.test"))))
            })
            .collect();
        // Reads go on meanwhile.
        assert_eq!(probe(&client)["totalResults"], 1);
        crate::support::until("a write is refused", || {
            server.log().requests().iter().any(|line| line["status"] == 429)
        });
        holder.execute_batch("ROLLBACK").unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 429).collect();
    assert!(!refused.is_empty());
    for reply in refused {
        let seconds: u32 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{reply}");
    }
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    assert!(replies.iter().all(|reply| matches!(reply.status, 201 | 429)), "{replies:?}");
    assert_eq!(probe(&client)["totalResults"], 1 + made, "what was refused was not done");
    users(&client, ["after@x.test"]);
}

#[test]
fn rule_23_answers_come_in_well_under_a_second() {
    let client = Tenant::fresh().client();
    let [a] = users(&client, ["a@x.test"]);
    let id = client.create("/Groups", okta::group("g", &[okta::member(&a, "a@x.test")])).id();
    // The suite gives /Groups 600 ms; the best of a few, since other tests run beside this one.
    let quickest = |what: &dyn Fn()| {
        (0..5)
            .map(|_| {
                let watch = Stopwatch::start();
                what();
                watch.elapsed()
            })
            .min()
            .unwrap()
    };
    let limit = Duration::from_millis(300);
    assert!(
        quickest(&|| {
            client.get("/Groups?startIndex=1&count=100").expect(200);
        }) < limit
    );
    assert!(
        quickest(&|| {
            look_up(&client, "a@x.test");
        }) < limit
    );
    assert!(
        quickest(&|| {
            push_profile(&client, &a, |user| user["title"] = json!("x"));
        }) < limit
    );
    assert!(
        quickest(&|| {
            push_group(&client, &id, "g", json!([okta::remove_member(&a)]));
        }) < limit
    );
}

#[test]
fn rule_24_unknown_extensions_and_custom_attributes_are_kept_and_given_back() {
    let client = Tenant::fresh().client();
    let custom = "urn:okta:scim2headerauth:1.0:user:custom";
    let mut sent = okta::user("a@x.test");
    sent[custom] = json!({ "shoe": 42, "tags": ["a", "b"], "deep": { "er": [{ "x": true }] } });
    sent["favouriteColour"] = json!("blue");
    sent["roles"] = json!([{ "type": "X", "value": "admin" }]);
    let made = client.create("/Users", sent.clone());
    for key in [custom, "favouriteColour", "roles"] {
        assert_eq!(made[key], sent[key], "{key}");
    }
    assert_eq!(made["schemas"], json!([okta::USER, custom]));
    let put = push_profile(&client, &made.id(), |user| user[custom]["shoe"] = json!(43));
    assert_eq!(put[custom], json!({ "shoe": 43, "tags": ["a", "b"], "deep": { "er": [{ "x": true }] } }));

    let mut pushed = okta::group("g", &[]);
    pushed["urn:okta:custom:group:1.0"] = json!({ "description": "of no use" });
    assert_eq!(
        client.create("/Groups", pushed.clone())["urn:okta:custom:group:1.0"],
        pushed["urn:okta:custom:group:1.0"]
    );
}

#[test]
fn rule_25_null_empty_text_and_empty_lists_unassign_and_are_no_error() {
    let client = Tenant::fresh().client();
    let mut sent = okta::user("a@x.test");
    sent["title"] = json!("T");
    sent["nickName"] = json!("N");
    sent[okta::ENTERPRISE] = json!({ "department": "D" });
    let id = client.create("/Users", sent).id();
    let path = format!("/Users/{id}");
    let cleared = push_profile(&client, &id, |user| {
        user["title"] = json!("");
        user["nickName"] = json!(null);
        user["emails"] = json!([]);
        user["phoneNumbers"] = json!([{ "value": null, "type": "work" }, { "value": "" }]);
        user["name"]["givenName"] = json!(null);
        user[okta::ENTERPRISE] = json!({ "department": "" });
    });
    for gone in ["title", "nickName", "emails", "phoneNumbers", okta::ENTERPRISE] {
        assert_eq!(cleared.json.get(gone), None, "{gone}");
    }
    assert_eq!(cleared["name"], json!({ "familyName": "User" }));
    let operations = json!([{ "op": "replace", "value": { "locale": "", "displayName": null, "name": { "familyName": "" } } }]);
    let cleared = client.patch(&path, okta::patch(operations)).expect(200);
    for gone in ["locale", "displayName", "name"] {
        assert_eq!(cleared.json.get(gone), None, "{gone}");
    }
    let members = json!({ "displayName": "g", "members": [{ "value": id, "display": null }] });
    assert_eq!(client.create("/Groups", members).member_ids(), [id]);
}

#[test]
fn rule_26_discovery_is_right_though_okta_mostly_does_not_read_it() {
    let client = Tenant::fresh().client();
    assert_eq!(client.get("/ServiceProviderConfig").expect(200)["patch"]["supported"], true);
    let schemas = client.get("/Schemas").expect(200);
    let ids: HashSet<&str> =
        schemas.resources().iter().map(|schema| schema["id"].as_str().unwrap()).collect();
    assert!(ids.is_superset(&HashSet::from([okta::USER, okta::GROUP, okta::ENTERPRISE])));
    let types = client.get("/ResourceTypes").expect(200);
    let user = types.resources().iter().find(|kind| kind["name"] == "User").unwrap();
    assert_eq!(
        (&user["id"], &user["endpoint"], &user["schema"]),
        (&json!("User"), &json!("/Users"), &json!(okta::USER))
    );
    assert_eq!(user["schemaExtensions"], json!([{ "schema": okta::ENTERPRISE, "required": false }]));
}

#[test]
fn rule_27_the_detail_is_one_clear_sentence_without_secrets() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let [id] = users(&client, ["secret.person@x.test"]);
    let details = [
        client.authorized("ici_wrong-secret").get("/Users").expect(401),
        client.post("/Users", okta::user("secret.person@x.test")).expect(409),
        client.post("/Users", json!({ "password": "hunter2-secret" })).expect(400),
        client.post("/Users", json!({ "userName": "b@x.test", "active": "secret" })).expect(400),
        client.get("/Users/secret.person").expect(404),
        client
            .patch(
                &format!("/Users/{id}"),
                okta::patch(json!([{ "op": "replace", "path": "active", "value": "secret" }])),
            )
            .expect(400),
        client.get(&format!("/Users?filter={}", encode("userName eq"))).expect(400),
    ];
    // Reply::checked has seen that each is one sentence.
    for reply in &details {
        let detail = reply.detail();
        assert!((20..400).contains(&detail.len()), "{detail}");
        assert!(!detail.contains("secret") && !detail.contains(tenant.token.text()), "{detail}");
    }
}

#[test]
fn rule_28_the_tenant_is_in_the_path_and_slashes_too_many_do_no_harm() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let [id] = users(&client, ["a@x.test"]);
    let root = format!("http://{}", tenant.server.address());
    for base in [
        format!("{root}/scim/v2/{}", tenant.name),
        format!("{root}/scim/v2/{}/", tenant.name),
        format!("{root}//scim//v2//{}//", tenant.name),
    ] {
        let sloppy = client.at(base);
        assert_eq!(probe(&sloppy)["totalResults"], 1);
        sloppy.get(&format!("/Users/{id}/")).expect(200);
        sloppy.get(&format!("//Users//{id}")).expect(200);
        let made = sloppy.create("/Users/", okta::user("sloppy@x.test"));
        let location = made.header("location").unwrap();
        assert!(!location.trim_start_matches("http://").contains("//"), "{location}");
        sloppy.delete(&format!("/Users/{}", made.id())).expect(204);
        assert_eq!(sloppy.get("").expect(200)["totalResults"], 1);
    }
    // Okta takes no underscore in a Base URL; nothing of ours has one.
    assert!(!tenant.name.contains('_'));
}

#[test]
fn rule_29_every_write_can_be_repeated() {
    let client = Tenant::fresh().client();
    let [a] = users(&client, ["a@x.test"]);
    let made = client.create("/Groups", okta::group("g", &[okta::member(&a, "a@x.test")]));
    let (user, group) = (format!("/Users/{a}"), format!("/Groups/{}", made.id()));
    let echo = client.get(&user).json;
    let repeated: [&dyn Fn() -> u16; 6] = [
        &|| client.put(&user, echo.clone()).status,
        &|| client.patch(&user, okta::set_active(false)).status,
        &|| client.patch(&group, okta::rename(&made.id(), "g")).status,
        &|| {
            client
                .patch(&group, okta::patch(json!([okta::add_members(&[okta::member(&a, "a@x.test")])])))
                .status
        },
        &|| client.patch(&group, okta::patch(json!([okta::remove_member(&a)]))).status,
        &|| client.patch(&group, okta::patch(json!([okta::replace_members(&[])]))).status,
    ];
    for write in repeated {
        assert_eq!((write(), write(), write()), (200, 200, 200));
    }
    client.patch(&user, okta::set_active(true)).expect(200);
    for _ in 0..3 {
        client.post("/Users", okta::user("a@x.test")).expect_error(409, "uniqueness");
        client.post("/Groups", okta::group("G", &[])).expect_error(409, "uniqueness");
    }
}

#[test]
fn rule_30_every_request_is_a_line_of_the_log() {
    let token = Token::new("okta key");
    let server = Server::start(&Config::acme(&token));
    let client = server.client("acme", &token);
    let [id] = users(&client, ["a@x.test"]);
    client.get(&format!("/Users/{id}")).expect(200);
    client.get("/Users/no-such-id").expect(404);
    client.patch(&format!("/Users/{id}"), okta::set_active(false)).expect(200);
    client.authorized("wrong").get("/Users").expect(401);
    raw::exchange(server.address(), raw::request("GET", "/", &[])).expect(404);

    let expected = [
        (Some("acme"), 201),
        (Some("acme"), 200),
        (Some("acme"), 404),
        (Some("acme"), 200),
        (None, 401),
        (None, 404),
    ];
    crate::support::until("six requests are logged", || server.log().requests().len() >= expected.len());
    let lines = server.log().requests();
    let told: Vec<_> =
        lines.iter().map(|line| (line["tenant"].as_str(), line["status"].as_u64().unwrap())).collect();
    assert_eq!(told, expected);
    let ids: HashSet<&str> = lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), expected.len(), "each request has an id of its own");
    assert_eq!(lines[0]["token"], "okta key");
    assert!(lines.iter().all(|line| line["duration_us"].is_u64()));
    assert!(lines[0]["route"].as_str().is_some_and(|route| route.contains("user")));
}
