//! The "SCIM 2.0 Test App (Header Auth)" and the OIN apps made from it, step by step (okta.md §2 to §5.1):
//! profiles by GET and PUT, active and password by path-less PATCH, groups by PATCH.

use std::thread;

use serde_json::json;

use crate::okta::{group, look_up, look_up_group, look_up_with_plus, probe, push_group, push_profile, users};
use crate::support::client::group_ids;
use crate::support::{Tenant, okta};

#[test]
fn testing_the_credentials_and_saving_with_import_groups_finds_an_empty_directory() {
    let client = Tenant::fresh().client();
    let empty = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": 0, "startIndex": 1, "itemsPerPage": 0, "Resources": [],
    });
    assert_eq!(probe(&client).json, empty);
    assert_eq!(client.get("/Groups?startIndex=1&count=100").expect(200).json, empty);
}

#[test]
fn assigning_a_person_looks_them_up_and_creates_them() {
    let client = Tenant::fresh().client();
    assert_eq!(look_up(&client, "test.user@okta.local")["totalResults"], 0);

    let sent = okta::user("test.user@okta.local");
    let made = client.create("/Users", sent.clone());
    for kept in ["userName", "name", "emails", "displayName", "locale", "externalId", "active", "groups"] {
        assert_eq!(made[kept], sent[kept], "{kept}");
    }
    assert_eq!(made["schemas"], json!([okta::USER]));
    assert_eq!(made["meta"]["resourceType"], "User");
    assert_eq!(made["meta"]["created"], made["meta"]["lastModified"]);

    for reply in
        [look_up(&client, "test.user@okta.local"), look_up_with_plus(&client, "Test.User@OKTA.local")]
    {
        assert_eq!(reply.resources(), std::slice::from_ref(&made.json));
    }
    client.post("/Users", sent).expect_error(409, "uniqueness");
}

#[test]
fn assigning_three_people_at_once_makes_three() {
    let client = Tenant::fresh().client();
    thread::scope(|scope| {
        for name in ["user-1@example.invalid", "user-2@example.invalid", "user-3@example.invalid"] {
            let client = &client;
            scope.spawn(move || {
                assert_eq!(look_up(client, name)["totalResults"], 0);
                client.create("/Users", okta::user(name));
            });
        }
    });
    assert_eq!(probe(&client)["totalResults"], 3);
}

#[test]
fn linking_a_person_who_is_there_already_reads_and_puts_them_twice_without_a_change() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let made = client.create("/Users", okta::user("here@example.invalid"));
    let id = look_up(&client, "here@example.invalid").resources()[0]["id"].clone();
    assert_eq!(id, made["id"]);
    for _ in 0..2 {
        let put = push_profile(&client, &made.id(), |_| {});
        assert_eq!(put.json, made.json, "an echo is no change, so neither version nor lastModified move");
    }
}

#[test]
fn a_profile_push_changes_user_name_first_and_the_mail_later() {
    let client = Tenant::fresh().client();
    let [id] = users(&client, ["user-2@example.invalid"]);
    let before = client.get(&format!("/Users/{id}")).json;
    let renamed = push_profile(&client, &id, |user| user["userName"] = json!("user-7@example.invalid"));
    assert_eq!(renamed["userName"], "user-7@example.invalid");
    assert_eq!((&renamed["id"], &renamed["externalId"]), (&before["id"], &before["externalId"]));
    assert_eq!(renamed["emails"], before["emails"], "the mail follows in another push");
    assert_eq!(look_up(&client, "user-2@example.invalid")["totalResults"], 0);
    assert_eq!(look_up(&client, "USER-7@example.invalid").resources()[0]["id"], id);

    let mailed = push_profile(&client, &id, |user| {
        user["emails"] = json!([{ "primary": true, "type": "work", "value": "user-7@example.invalid" }]);
    });
    assert_eq!(mailed["emails"][0]["value"], "user-7@example.invalid");
    assert_ne!(mailed["meta"]["version"], renamed["meta"]["version"]);
}

#[test]
fn a_profile_push_with_groups_in_it_moves_nobody() {
    let client = Tenant::fresh().client();
    let [id] = users(&client, ["a@x.test"]);
    let made = client.create("/Groups", okta::group("g", &[okta::member(&id, "a@x.test")])).id();
    push_profile(&client, &id, |user| user["title"] = json!("Engineer"));
    push_profile(&client, &id, |user| user["groups"] = json!([]));
    push_profile(&client, &id, |user| user["groups"] = json!([{ "value": "another", "display": "x" }]));
    assert_eq!(group(&client, &made).member_ids(), [id.as_str()]);
    assert_eq!(group_ids(&client.get(&format!("/Users/{id}")).json), [made]);
}

#[test]
fn unassigning_deactivates_and_assigning_again_brings_the_same_person_back() {
    let client = Tenant::fresh().client();
    let [id] = users(&client, ["back@x.test"]);
    let made = client.create("/Groups", okta::group("g", &[okta::member(&id, "back@x.test")])).id();
    let path = format!("/Users/{id}");
    for round in 0..3 {
        // No GET before it, and a duplicate now and then.
        for _ in 0..=round {
            let gone = client.patch(&path, okta::set_active(false)).expect(200);
            assert_eq!(gone["active"], false);
        }
        let found = look_up(&client, "back@x.test");
        assert_eq!(
            (&found.resources()[0]["id"], &found.resources()[0]["active"]),
            (&json!(id), &json!(false))
        );
        client.patch(&path, okta::set_active(true)).expect(200);
        let back = push_profile(&client, &id, |user| user["title"] = json!(format!("round {round}")));
        assert_eq!((&back["id"], &back["active"]), (&json!(id), &json!(true)));
    }
    assert_eq!(group(&client, &made).member_ids(), [id]);
}

#[test]
fn a_deactivation_that_is_repeated_changes_nothing_the_second_time() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let [id] = users(&client, ["a@x.test"]);
    let path = format!("/Users/{id}");
    let first = client.patch(&path, okta::set_active(false)).expect(200);
    let second = client.patch(&path, okta::set_active(false)).expect(200);
    assert_eq!(first.json, second.json);
}

#[test]
fn a_person_whom_okta_posts_again_after_a_deactivation_comes_back() {
    let client = Tenant::fresh().client();
    let [id] = users(&client, ["again@x.test"]);
    let made = client.create("/Groups", okta::group("g", &[okta::member(&id, "again@x.test")])).id();
    client.patch(&format!("/Users/{id}"), okta::set_active(false)).expect(200);
    let mut sent = okta::user("Again@x.test");
    sent["title"] = json!("New");
    let back = client.create("/Users", sent);
    assert_eq!(back.id(), id);
    assert_eq!(
        (&back["active"], &back["title"], &back["userName"]),
        (&json!(true), &json!("New"), &json!("Again@x.test"))
    );
    assert_eq!(group_ids(&back.json), [made]);
}

#[test]
fn a_password_that_is_synced_by_patch_or_put_is_taken_and_never_shown() {
    let client = Tenant::fresh().client();
    let [id] = users(&client, ["p@x.test"]);
    let operation = json!([{ "op": "replace", "value": { "password": "N3w-secret" } }]);
    let reply = client.patch(&format!("/Users/{id}"), okta::patch(operation));
    assert!(matches!(reply.status, 200 | 204), "{reply}");
    push_profile(&client, &id, |user| user["password"] = json!("TkdF-secret"));
}

#[test]
fn pushing_a_group_posts_it_and_then_adds_the_same_members_again() {
    let client = Tenant::fresh().client();
    let [a, b] = users(&client, ["user-3@x.test", "user-1@x.test"]);
    let members = [okta::member(&a, "user-3@x.test"), okta::member(&b, "user-1@x.test")];
    let made = client.create("/Groups", okta::group("test", &members));
    let id = made.id();
    for (member, sent) in made["members"].as_array().unwrap().iter().zip(&members) {
        assert_eq!((&member["value"], &member["display"]), (&sent["value"], &sent["display"]));
        assert_eq!(member["type"], "User");
    }

    let again =
        client.patch(&format!("/Groups/{id}"), okta::patch(json!([okta::add_members(&members)]))).expect(200);
    assert_eq!(again.json, made.json);
    assert_eq!(group_ids(&client.get(&format!("/Users/{a}")).json), [id]);
}

#[test]
fn a_pushed_group_is_renamed_and_its_members_come_and_go() {
    let client = Tenant::fresh().client();
    let [a, b, c] = users(&client, ["a@x.test", "b@x.test", "c@x.test"]);
    let id = client.create("/Groups", okta::group("test", &[okta::member(&a, "a@x.test")])).id();

    let path = format!("/Groups/{id}");
    let renamed = client.patch(&path, okta::rename(&id, "test-renamed")).expect(200);
    assert_eq!((renamed.id(), &renamed["displayName"]), (id.clone(), &json!("test-renamed")));
    assert_eq!(renamed.member_ids(), [a.as_str()]);

    let added =
        push_group(&client, &id, "test-renamed", json!([okta::add_members(&[okta::member(&b, "b@x.test")])]));
    assert_eq!(added["members"].as_array().unwrap().len(), 2);
    let removed = push_group(&client, &id, "test-renamed", json!([okta::remove_member(&a)]));
    assert_eq!(removed.member_ids(), [b.as_str()]);
    let both = json!([okta::remove_member(&b), okta::add_members(&[okta::member(&c, "c@x.test")])]);
    assert_eq!(push_group(&client, &id, "test-renamed", both).member_ids(), [c.as_str()]);
    assert_eq!(group(&client, &id).member_ids(), [c]);
}

#[test]
fn push_now_replaces_all_members_with_a_list_an_empty_one_and_without_a_path() {
    let client = Tenant::fresh().client();
    let [a, b] = users(&client, ["a@x.test", "b@x.test"]);
    let (a, b) = (okta::member(&a, "a@x.test"), okta::member(&b, "b@x.test"));
    let id = client.create("/Groups", okta::group("full", &[])).id();
    let both = push_group(&client, &id, "full", json!([okta::replace_members(&[a.clone(), b.clone()])]));
    assert_eq!(both["members"].as_array().unwrap().len(), 2);
    let one = push_group(&client, &id, "full", json!([okta::replace_members(std::slice::from_ref(&a))]));
    assert_eq!(one.member_ids(), [a["value"].as_str().unwrap()]);
    let none = push_group(&client, &id, "full", json!([okta::replace_members(&[])]));
    assert_eq!(none["members"], json!([]));

    let pathless = json!([{ "op": "replace", "value": { "members": [b] } }]);
    assert_eq!(push_group(&client, &id, "full", pathless).member_ids(), [b["value"].as_str().unwrap()]);
    let with_name =
        json!([{ "op": "replace", "value": { "id": id, "displayName": "fuller", "members": [a] } }]);
    let reply = push_group(&client, &id, "full", with_name);
    assert_eq!(reply["displayName"], "fuller");
    assert_eq!(reply.member_ids(), [a["value"].as_str().unwrap()]);
}

#[test]
fn an_empty_group_is_pushed_and_filled() {
    let client = Tenant::fresh().client();
    let [a] = users(&client, ["a@x.test"]);
    let made = client.create("/Groups", okta::group("empty", &[]));
    assert_eq!(made["members"], json!([]));
    let filled =
        push_group(&client, &made.id(), "empty", json!([okta::add_members(&[okta::member(&a, "a@x.test")])]));
    assert_eq!(filled.member_ids(), [a]);
}

#[test]
fn a_group_that_is_there_already_is_linked_and_keeps_its_members_until_push_now() {
    let client = Tenant::fresh().client();
    let [own, pushed] = users(&client, ["own@x.test", "pushed@x.test"]);
    let id = client.create("/Groups", okta::group("Test SCIMv2", &[okta::member(&own, "own@x.test")])).id();
    let found = look_up_group(&client, "test scimv2");
    assert_eq!(found.resources()[0]["id"], id);
    let linked = push_group(
        &client,
        &id,
        "Test SCIMv2",
        json!([okta::add_members(&[okta::member(&pushed, "pushed@x.test")])]),
    );
    assert_eq!(linked["members"].as_array().unwrap().len(), 2);
    let now = push_group(
        &client,
        &id,
        "Test SCIMv2",
        json!([okta::replace_members(&[okta::member(&pushed, "pushed@x.test")])]),
    );
    assert_eq!(now.member_ids(), [pushed]);
}

#[test]
fn deleting_a_pushed_group_and_pushing_it_again_gives_a_new_one() {
    let client = Tenant::fresh().client();
    let [a] = users(&client, ["a@x.test"]);
    let members = [okta::member(&a, "a@x.test")];
    let first = client.create("/Groups", okta::group("twice", &members)).id();
    group(&client, &first);
    client.delete(&format!("/Groups/{first}")).expect(204);
    client.get(&format!("/Groups/{first}")).expect_error(404, "");
    client.delete(&format!("/Groups/{first}")).expect_error(404, "");
    assert_eq!(look_up_group(&client, "twice")["totalResults"], 0);
    let second = client.create("/Groups", okta::group("twice", &members)).id();
    assert_ne!(first, second);
    assert_eq!(group_ids(&client.get(&format!("/Users/{a}")).json), [second]);
}

#[test]
fn groups_whose_changes_are_interleaved_all_come_out_right() {
    let client = Tenant::fresh().client();
    let people: Vec<String> =
        (0..12).map(|n| client.create("/Users", okta::user(&format!("u{n}@x.test"))).id()).collect();
    let groups: Vec<String> =
        (0..3).map(|n| client.create("/Groups", okta::group(&format!("g{n}"), &[])).id()).collect();
    // Each person is pushed into each group by a request of its own, all at once.
    thread::scope(|scope| {
        for (number, id) in groups.iter().enumerate() {
            for person in &people {
                let (client, name) = (&client, format!("g{number}"));
                scope.spawn(move || {
                    push_group(client, id, &name, json!([okta::add_members(&[okta::member(person, "")])]));
                });
            }
        }
    });
    let mut everybody = people.clone();
    everybody.sort();
    for id in &groups {
        assert_eq!(group(&client, id).member_ids(), everybody);
    }
    for person in &people {
        assert_eq!(group_ids(&client.get(&format!("/Users/{person}")).json).len(), 3);
    }
}

#[test]
fn a_member_who_was_not_pushed_yet_is_named_and_the_rest_waits() {
    let client = Tenant::fresh().client();
    let [a] = users(&client, ["a@x.test"]);
    let id = client.create("/Groups", okta::group("early", &[])).id();
    let unknown = "5b6c3d0e-0000-4000-8000-000000000000";
    let members = [okta::member(&a, "a@x.test"), okta::member(unknown, "late@x.test")];
    let refused = client
        .patch(&format!("/Groups/{id}"), okta::patch(json!([okta::add_members(&members)])))
        .expect_error(400, "invalidValue");
    assert!(refused.detail().contains(unknown), "{refused}");
    assert_eq!(group(&client, &id)["members"], json!([]), "all of a request or none");
}

#[test]
fn a_push_in_batches_of_a_thousand_arrives_whole_and_large_groups_are_answered_204() {
    let client = Tenant::fresh().client();
    let people: Vec<String> = thread::scope(|scope| {
        let makers: Vec<_> = (0..8)
            .map(|maker| {
                let client = &client;
                let make = move |n| client.create("/Users", okta::user(&format!("u{maker}-{n}@x.test"))).id();
                scope.spawn(move || (0..150).map(make).collect::<Vec<_>>())
            })
            .collect();
        makers.into_iter().flat_map(|maker| maker.join().unwrap()).collect()
    });
    let members: Vec<_> = people.iter().map(|id| okta::member(id, "")).collect();
    let id = client.create("/Groups", okta::group("large", &[])).id();
    let path = format!("/Groups/{id}");

    let first = client.patch(&path, okta::patch(json!([okta::add_members(&members[..1000])]))).expect(200);
    assert_eq!(first["members"].as_array().unwrap().len(), 1000);
    let rest = client.patch(&path, okta::patch(json!([okta::add_members(&members[1000..])]))).expect(204);
    assert!(rest.header("etag").is_some() && rest.json.is_null());
    let asked =
        client.patch(&format!("{path}?excludedAttributes=members"), okta::rename(&id, "larger")).expect(200);
    assert_eq!((&asked["displayName"], asked.json.get("members")), (&json!("larger"), None));

    // Operations by the thousand, one member each.
    let removals: Vec<_> = people[..1000].iter().map(|id| okta::remove_member(id)).collect();
    client.patch(&path, okta::patch(json!(removals))).expect(200);
    let mut left = people[1000..].to_vec();
    left.sort();
    assert_eq!(group(&client, &id).member_ids(), left);
}
