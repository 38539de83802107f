//! An app made with Okta's App Integration Wizard, step by step (okta.md §4 and §5.2): everything by GET and PUT.

use std::thread;

use serde_json::{Value, json};

use crate::okta::{group, look_up, look_up_group, probe, push_profile, users};
use crate::support::client::group_ids;
use crate::support::{Client, Reply, Tenant, okta};

/// PUT of a group as this app sends it: with `id`, without `meta`.
fn put_group(client: &Client, id: &str, display_name: &str, members: &[Value]) -> Reply {
    let body = json!({ "schemas": [okta::GROUP], "id": id, "displayName": display_name, "members": members });
    client.put(&format!("/Groups/{id}"), body).expect(200)
}

#[test]
fn the_probe_of_an_app_without_import_groups_asks_for_users_alone() {
    let client = Tenant::fresh().client();
    for _ in 0..3 {
        assert_eq!(probe(&client)["totalResults"], 0);
    }
}

#[test]
fn the_token_comes_with_the_word_bearer() {
    let tenant = Tenant::fresh();
    probe(&tenant.client().authorized(&format!("Bearer {}", tenant.token.text())));
}

#[test]
fn a_person_is_deactivated_and_brought_back_by_put() {
    let client = Tenant::fresh().client();
    let [id] = users(&client, ["a@x.test"]);
    let ids: Vec<String> = ["g1", "g2", "g3"]
        .map(|name| client.create("/Groups", okta::group(name, &[okta::member(&id, "a@x.test")])).id())
        .to_vec();

    let gone = push_profile(&client, &id, |user| user["active"] = json!(false));
    assert_eq!(gone["active"], false);
    let again = push_profile(&client, &id, |user| user["active"] = json!(false));
    assert_eq!(again.json, gone.json);

    // Assigned again: the look-up finds the inactive user, then GET, PUT, GET, PUT, the last with `groups: []`
    // while the person is in three groups.
    let found = look_up(&client, "a@x.test");
    assert_eq!((&found.resources()[0]["id"], &found.resources()[0]["active"]), (&json!(id), &json!(false)));
    push_profile(&client, &id, |user| user["active"] = json!(true));
    let back = push_profile(&client, &id, |user| user["groups"] = json!([]));
    assert_eq!(back["active"], true);
    let mut expected = ids.clone();
    expected.sort();
    assert_eq!(group_ids(&back.json), expected);
    for made in &ids {
        assert_eq!(group(&client, made).member_ids(), [id.as_str()]);
    }
}

#[test]
fn returning_puts_every_group_of_the_person_interleaved() {
    let client = Tenant::fresh().client();
    let [a, b] = users(&client, ["a@x.test", "b@x.test"]);
    let members = [okta::member(&a, "a@x.test"), okta::member(&b, "b@x.test")];
    let names = ["g0", "g1", "g2"];
    let ids = names.map(|name| client.create("/Groups", okta::group(name, &members[..1])).id());
    thread::scope(|scope| {
        for (id, name) in ids.iter().zip(names) {
            for _ in 0..2 {
                let (client, members) = (&client, &members);
                scope.spawn(move || {
                    group(client, id);
                    group(client, id);
                    put_group(client, id, name, members);
                });
            }
        }
    });
    for id in &ids {
        assert_eq!(group(&client, id)["members"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_group_is_looked_up_created_and_put_with_what_it_has() {
    let client = Tenant::fresh().client();
    let [a] = users(&client, ["user-3@x.test"]);
    assert_eq!(look_up_group(&client, "obot-scim")["totalResults"], 0);
    let members = [okta::member(&a, "user-3@x.test")];
    let made = client.create("/Groups", okta::group("obot-scim", &members));
    let id = made.id();
    assert_eq!(group(&client, &id).json, made.json);
    assert_eq!(put_group(&client, &id, "obot-scim", &members).json, made.json, "an echo is no change");
}

#[test]
fn a_group_is_changed_by_put_twice_the_second_time_in_another_order() {
    let client = Tenant::fresh().client();
    let [a, b, c] = users(&client, ["a@x.test", "b@x.test", "c@x.test"]);
    let id = client.create("/Groups", okta::group("old", &[okta::member(&a, "a@x.test")])).id();
    let mut members = [okta::member(&b, "b@x.test"), okta::member(&c, "c@x.test")];

    group(&client, &id);
    group(&client, &id);
    let first = put_group(&client, &id, "obot-scim-new", &members);
    assert_eq!(first["displayName"], "obot-scim-new");
    let mut expected = [b, c];
    expected.sort();
    assert_eq!(first.member_ids(), expected);

    group(&client, &id);
    members.reverse();
    let second = put_group(&client, &id, "obot-scim-new", &members);
    assert_eq!(second["meta"], first["meta"], "the same set in another order is no change");
    assert_eq!(group_ids(&client.get(&format!("/Users/{a}")).json), [""; 0]);
}

#[test]
fn a_group_is_emptied_by_put_with_an_empty_list_or_none() {
    let client = Tenant::fresh().client();
    let [a] = users(&client, ["a@x.test"]);
    let members = [okta::member(&a, "a@x.test")];
    let id = client.create("/Groups", okta::group("g", &members)).id();
    assert_eq!(put_group(&client, &id, "g", &[])["members"], json!([]));
    put_group(&client, &id, "g", &members);
    let none = client.put(&format!("/Groups/{id}"), json!({ "schemas": [okta::GROUP], "displayName": "g" }));
    assert_eq!(none.expect(200)["members"], json!([]));
}

#[test]
fn a_put_that_keeps_the_name_does_not_conflict_with_itself_and_one_that_takes_anothers_does() {
    let client = Tenant::fresh().client();
    let id = client.create("/Groups", okta::group("One", &[])).id();
    client.create("/Groups", okta::group("Two", &[]));
    assert_eq!(put_group(&client, &id, "ONE", &[])["displayName"], "ONE");
    let body = json!({ "schemas": [okta::GROUP], "id": id, "displayName": "two", "members": [] });
    client.put(&format!("/Groups/{id}"), body).expect_error(409, "uniqueness");
    assert_eq!(group(&client, &id)["displayName"], "ONE");
}
