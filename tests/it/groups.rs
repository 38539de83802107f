//! `/Groups`: create, read, replace, delete; members and the `groups` of users, which are two views of one thing.

use std::thread;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::group_ids;
use crate::support::{Client, Config, Server, Tenant, Token, file, okta};

const NOBODY: &str = "5b6c3d0e-0000-4000-8000-000000000000";

fn users<const N: usize>(client: &Client, names: [&str; N]) -> [String; N] {
    names.map(|name| client.create("/Users", json!({ "userName": name })).id())
}

#[test]
fn a_group_may_have_no_members_and_says_so() {
    let client = Tenant::fresh().client();
    for (number, members) in [json!([]), json!(null), json!("")].into_iter().enumerate() {
        let made =
            client.create("/Groups", json!({ "displayName": format!("g{number}"), "members": members }));
        assert_eq!(made["members"], json!([]));
        assert_eq!(client.get(&format!("/Groups/{}", made.id())).json, made.json);
    }
    assert_eq!(client.create("/Groups", json!({ "displayName": "h" }))["members"], json!([]));
}

#[test]
fn members_come_with_value_ref_type_and_display() {
    let client = Tenant::fresh().client();
    let [a] = users(&client, ["ann"]);
    let inner = client.create("/Groups", okta::group("inner", &[])).id();
    let made = client.create(
        "/Groups",
        json!({ "displayName": "g", "externalId": "x1", "members": [
        { "value": a }, { "value": inner, "type": "Group" }] }),
    );
    assert_eq!(made["externalId"], "x1");
    assert_eq!(
        made["members"],
        json!([
            { "value": a, "$ref": format!("{}/Users/{a}", client.base()), "display": "ann", "type": "User" },
            { "value": inner, "$ref": format!("{}/Groups/{inner}", client.base()), "display": "inner", "type": "Group" },
        ])
    );
    let listed = client.get("/Groups").expect(200);
    assert_eq!(listed.resources()[1], made.json);
}

#[test]
fn a_member_twice_is_one_member() {
    let client = Tenant::fresh().client();
    let [a] = users(&client, ["ann"]);
    let twice = json!([{ "value": a, "display": "x" }, { "value": a, "display": "y" }]);
    assert_eq!(client.create("/Groups", json!({ "displayName": "g", "members": twice })).member_ids(), [a]);
}

#[test]
fn a_member_that_does_not_exist_is_named_and_nothing_is_applied() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let [a] = users(&client, ["ann"]);
    let id = client.create("/Groups", okta::group("g", &[])).id();
    let events = file::events(&tenant.file());
    let with_nobody = json!([{ "value": a }, { "value": NOBODY }]);
    let (path, name) = (format!("/Groups/{id}"), "new name");
    let attempts = [
        client.post("/Groups", json!({ "displayName": name, "members": with_nobody })),
        client.put(&path, json!({ "displayName": name, "members": with_nobody })),
        client.patch(
            &path,
            okta::patch(json!([
                { "op": "replace", "path": "displayName", "value": name },
                { "op": "add", "path": "members", "value": with_nobody },
            ])),
        ),
        client.patch(
            &path,
            okta::patch(
                json!([{ "op": "replace", "value": { "displayName": name, "members": with_nobody } }]),
            ),
        ),
    ];
    for refused in attempts {
        assert!(refused.expect_error(400, "invalidValue").detail().contains(NOBODY));
    }
    let group = client.get(&path);
    assert_eq!((&group["displayName"], &group["members"]), (&json!("g"), &json!([])));
    assert_eq!(client.get("/Groups")["totalResults"], 1);
    assert_eq!(file::events(&tenant.file()), events);
}

#[test]
fn groups_of_a_user_are_computed_and_follow_every_change() {
    let client = Tenant::fresh().client();
    let [a] = users(&client, ["ann"]);
    let path = format!("/Users/{a}");
    assert_eq!(client.get(&path)["groups"], json!([]));
    let id = client.create("/Groups", okta::group("Team", &[okta::member(&a, "ann")])).id();
    let expected = json!([{ "value": id, "$ref": format!("{}/Groups/{id}", client.base()), "display": "Team", "type": "direct" }]);
    assert_eq!(client.get(&path)["groups"], expected);
    client.patch(&format!("/Groups/{id}"), okta::rename(&id, "Crew")).expect(200);
    assert_eq!(client.get(&path)["groups"][0]["display"], "Crew");
    client.delete(&format!("/Groups/{id}")).expect(204);
    assert_eq!(client.get(&path)["groups"], json!([]));
}

#[test]
fn a_member_without_a_name_of_its_own_here_follows_the_users_name() {
    let client = Tenant::fresh().client();
    let [a, b] = users(&client, ["ann", "bob"]);
    let id = client
        .create(
            "/Groups",
            json!({ "displayName": "g", "members": [{ "value": a }, { "value": b, "display": "Bobby" }] }),
        )
        .id();
    for (user, name) in [(&a, "ann2"), (&b, "bob2")] {
        client
            .patch(
                &format!("/Users/{user}"),
                okta::patch(json!([{ "op": "replace", "path": "userName", "value": name }])),
            )
            .expect(200);
    }
    let group = client.get(&format!("/Groups/{id}"));
    assert_eq!(
        (&group["members"][0]["display"], &group["members"][1]["display"]),
        (&json!("ann2"), &json!("Bobby"))
    );
}

#[test]
fn display_names_are_unique_ignoring_case() {
    let client = Tenant::fresh().client();
    let id = client.create("/Groups", okta::group("Größe", &[])).id();
    for same in ["Größe", "größe", "GRÖSSE"] {
        client.post("/Groups", okta::group(same, &[])).expect_error(409, "uniqueness");
    }
    let other = client.create("/Groups", okta::group("Other", &[])).id();
    client.patch(&format!("/Groups/{other}"), okta::rename(&other, "GRÖSSE")).expect_error(409, "uniqueness");
    client.patch(&format!("/Groups/{id}"), okta::rename(&id, "GRÖSSE")).expect(200);
    // A user and a group may have one name.
    client.create("/Users", json!({ "userName": "Other" }));
}

#[test]
fn two_creates_of_one_name_at_once_make_one_group() {
    let client = Tenant::fresh().client();
    let mut statuses: Vec<u16> = thread::scope(|scope| {
        let posts: Vec<_> =
            (0..4).map(|_| scope.spawn(|| client.post("/Groups", okta::group("one", &[])).status)).collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409]);
}

#[test]
fn a_group_without_a_display_name_is_refused() {
    let client = Tenant::fresh().client();
    for body in [json!({}), json!({ "displayName": "" }), json!({ "displayName": null, "members": [] })] {
        assert!(
            client.post("/Groups", body).expect_error(400, "invalidValue").detail().contains("displayName")
        );
    }
    client.post("/Groups", json!({ "displayName": "g", "members": [7] })).expect_error(400, "invalidValue");
    client
        .post("/Groups", json!({ "displayName": "g", "members": [{ "value": 7 }] }))
        .expect_error(400, "invalidValue");
    client
        .post("/Groups", json!({ "schemas": [okta::USER], "displayName": "g" }))
        .expect_error(400, "invalidSyntax");
}

#[test]
fn unknown_attributes_and_extensions_of_groups_are_kept() {
    let client = Tenant::fresh().client();
    let made = client.create(
        "/Groups",
        json!({
            "displayName": "g", "description": "d", "urn:okta:custom:group:1.0": { "description": "e" },
        }),
    );
    assert_eq!(
        (&made["description"], &made["urn:okta:custom:group:1.0"]),
        (&json!("d"), &json!({ "description": "e" }))
    );
    let renamed = client.patch(&format!("/Groups/{}", made.id()), okta::rename(&made.id(), "h")).expect(200);
    assert_eq!(renamed["urn:okta:custom:group:1.0"], json!({ "description": "e" }));
}

#[test]
fn a_deleted_group_leaves_its_members_and_no_trace_in_them() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let [a, b] = users(&client, ["ann", "bob"]);
    let id =
        client.create("/Groups", okta::group("g", &[okta::member(&a, "ann"), okta::member(&b, "bob")])).id();
    let outer = client.create("/Groups", okta::group("outer", &[okta::member(&id, "g")])).id();
    client.delete(&format!("/Groups/{id}")).expect(204);
    assert_eq!(client.get("/Users")["totalResults"], 2);
    assert_eq!(group_ids(&client.get(&format!("/Users/{a}")).json), [""; 0]);
    assert_eq!(client.get(&format!("/Groups/{outer}"))["members"], json!([]));
    assert_eq!(file::number(&tenant.file(), "SELECT count(*) FROM members"), 0);
}

#[test]
fn members_may_be_left_out_of_an_answer() {
    let client = Tenant::fresh().client();
    let [a] = users(&client, ["ann"]);
    let id = client.create("/Groups", okta::group("g", &[okta::member(&a, "ann")])).id();
    let path = format!("/Groups/{id}");
    assert_eq!(
        client.get(&format!("{path}?excludedAttributes=members")).expect(200).json.get("members"),
        None
    );
    let listed = client.get("/Groups?excludedAttributes=members").expect(200);
    assert_eq!(listed.resources()[0].get("members"), None);
    let named = client.get(&format!("{path}?attributes=displayName")).expect(200);
    assert_eq!(named.json, json!({ "schemas": [okta::GROUP], "id": id, "displayName": "g" }));
    let values = client.get(&format!("{path}?attributes=members.value")).expect(200);
    assert_eq!(values["members"], json!([{ "value": a }]));
}

#[test]
fn a_groups_version_moves_with_its_members_and_only_then() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let [a] = users(&client, ["ann"]);
    let made = client.create("/Groups", okta::group("g", &[]));
    let path = format!("/Groups/{}", made.id());
    let add = okta::patch(json!([okta::add_members(&[okta::member(&a, "ann")])]));
    let added = client.patch(&path, add.clone()).expect(200);
    assert_ne!(added["meta"]["version"], made["meta"]["version"]);
    let events = file::events(&tenant.file());
    let same = [
        client.patch(&path, add),
        client.put(&path, added.json.clone()),
        client.patch(&path, okta::patch(json!([okta::replace_members(&[okta::member(&a, "ann")])]))),
        client.patch(&path, okta::rename(&made.id(), "g")),
    ];
    for reply in same {
        assert_eq!(reply.expect(200).json, added.json);
    }
    assert_eq!(file::events(&tenant.file()), events);
    let unchanged =
        client.send_with(Method::GET, &path, None, &[("if-none-match", added.header("etag").unwrap())]);
    assert_eq!(unchanged.status, 304);
}

/// The groups of a user as shown: names and types.
fn groups_of(client: &Client, user: &str) -> Vec<(String, String)> {
    let shown = client.get(&format!("/Users/{user}")).expect(200);
    let text = |group: &Value, name: &str| group[name].as_str().unwrap().to_owned();
    shown["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| (text(group, "display"), text(group, "type")))
        .collect()
}

fn typed(groups: &[(&str, &str)]) -> Vec<(String, String)> {
    groups.iter().map(|(name, how)| ((*name).to_owned(), (*how).to_owned())).collect()
}

#[test]
fn the_groups_of_a_user_are_direct_and_indirect_however_deep_and_filters_agree() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let [ann, bob] = users(&client, ["ann", "bob"]);
    let team = client.create("/Groups", okta::group("team", &[okta::member(&ann, "ann")])).id();
    let department = client.create("/Groups", okta::group("department", &[okta::member(&team, "team")])).id();
    let company = client
        .create(
            "/Groups",
            okta::group("company", &[okta::member(&department, ""), okta::member(&bob, "bob")]),
        )
        .id();
    assert_eq!(
        groups_of(&client, &ann),
        typed(&[("team", "direct"), ("department", "indirect"), ("company", "indirect")])
    );
    assert_eq!(groups_of(&client, &bob), typed(&[("company", "direct")]));
    let inner = &client.get(&format!("/Groups/{department}"))["members"][0];
    assert_eq!((&inner["type"], &inner["display"]), (&json!("Group"), &json!("team")));
    assert_eq!(
        client.get(&format!("/Groups/{company}")).member_ids().len(),
        2,
        "members are the group's own"
    );

    let found = |filter: &str| -> Vec<String> {
        let found = client.find("/Users", filter);
        found.iter().map(|user| user["userName"].as_str().unwrap().to_owned()).collect()
    };
    for (filter, expected) in [
        (format!("groups.value eq \"{company}\""), vec!["ann", "bob"]),
        (format!("groups.value eq \"{team}\""), vec!["ann"]),
        (format!("groups[value eq \"{company}\" and type eq \"direct\"]"), vec!["bob"]),
        ("groups[type eq \"indirect\"]".to_owned(), vec!["ann"]),
        ("groups.display eq \"Department\"".to_owned(), vec!["ann"]),
        ("groups pr".to_owned(), vec!["ann", "bob"]),
    ] {
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(found(&filter), expected, "{filter}");
    }
    let listed = client.get("/Users").expect(200);
    assert_eq!(listed.resources()[0]["groups"], client.get(&format!("/Users/{ann}"))["groups"]);
    let effective = file::texts(
        &tenant.file(),
        &format!("SELECT group_name || ' ' || type FROM memberships_all WHERE user_id = '{ann}' ORDER BY 1"),
    );
    assert_eq!(effective, ["company indirect", "department indirect", "team direct"]);

    client.delete(&format!("/Groups/{department}")).expect(204);
    assert_eq!(groups_of(&client, &ann), typed(&[("team", "direct")]));
}

#[test]
fn groups_that_contain_each_other_come_to_an_end() {
    let client = Tenant::fresh().client();
    let [ann] = users(&client, ["ann"]);
    let a = client.create("/Groups", okta::group("a", &[okta::member(&ann, "ann")])).id();
    let b = client.create("/Groups", okta::group("b", &[okta::member(&a, "a")])).id();
    client
        .patch(&format!("/Groups/{a}"), okta::patch(json!([okta::add_members(&[okta::member(&b, "b")])])))
        .expect(200);
    assert_eq!(groups_of(&client, &ann), typed(&[("a", "direct"), ("b", "indirect")]));
    for group in [&a, &b] {
        assert_eq!(client.find("/Users", &format!("groups.value eq \"{group}\"")).len(), 1);
    }
    client.patch(&format!("/Groups/{b}"), okta::patch(json!([okta::remove_member(&a)]))).expect(200);
    assert_eq!(groups_of(&client, &ann), typed(&[("a", "direct")]));
}

#[test]
fn a_group_is_no_member_of_itself() {
    let client = Tenant::fresh().client();
    let made = client.create("/Groups", okta::group("a", &[]));
    let path = format!("/Groups/{}", made.id());
    let itself = okta::member(&made.id(), "a");
    let add = okta::patch(json!([okta::add_members(std::slice::from_ref(&itself))]));
    for refused in [client.patch(&path, add), client.put(&path, okta::group("a", &[itself]))] {
        let detail = refused.expect_error(400, "invalidValue")["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("itself"), "{detail}");
    }
    assert_eq!(client.get(&path).json, made.json);
}

/// The number that the system tells of a process under this name, in KiB.
fn kib_of(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_body_with_many_members_takes_little_more_memory_than_its_text() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    let client = server.client("acme", &token);
    let group = client.create("/Groups", okta::group("g", &[])).id();
    let process = server.process_id();
    // Nobody has these ids, so nothing is written; a body of one member makes ready what every request needs.
    let put = |members: usize| {
        let members: Vec<_> = (0..members)
            .map(|at| json!({ "value": format!("5b6c3d0e-0000-4000-8000-{at:012}"), "display": format!("User {at:06}") }))
            .collect();
        let body = json!({ "schemas": [okta::GROUP], "displayName": "g", "members": members });
        let bytes = body.to_string().len() as u64;
        client.put(&format!("/Groups/{group}"), body).expect_error(400, "invalidValue");
        bytes
    };
    put(1);
    let before_kib = kib_of(process, "VmRSS");
    // proc(5): 5 makes the present resident memory the peak.
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
    let text_kib = put(40_000) / 1024;
    let taken_kib = kib_of(process, "VmHWM") - before_kib;
    // As a JSON tree it would be ten times the text.
    assert!(taken_kib < 5 * text_kib, "{taken_kib} KiB for a body of {text_kib} KiB");
}
