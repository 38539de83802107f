//! Generated series of requests, checked against a model of what the directory should then hold: names are
//! unique, memberships agree in both directions, totals are the number of rows, and what is refused changes
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::client::{encode, group_ids, member_ids};
use crate::support::{Client, Tenant, file, okta};

/// A request, in numbers: which of the resources there are is decided when it is carried out.
#[derive(Clone, Debug)]
enum Step {
    CreateUser { name: usize, upper: bool },
    DeleteUser { user: usize },
    SetActive { user: usize, active: bool },
    RenameUser { user: usize, name: usize, by_put: bool },
    CreateGroup { name: usize, members: Vec<usize> },
    DeleteGroup { group: usize },
    RenameGroup { group: usize, name: usize },
    AddMembers { group: usize, members: Vec<usize> },
    RemoveMembers { group: usize, members: Vec<usize> },
    ReplaceMembers { group: usize, members: Vec<usize>, by_put: bool },
    FailingPatch { group: usize, members: Vec<usize>, at: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..5_usize;
    let which = 0..6_usize;
    let members = || vec(0..6_usize, 0..5);
    prop_oneof![
        4 => (name.clone(), any::<bool>()).prop_map(|(name, upper)| Step::CreateUser { name, upper }),
        1 => which.clone().prop_map(|user| Step::DeleteUser { user }),
        2 => (which.clone(), any::<bool>()).prop_map(|(user, active)| Step::SetActive { user, active }),
        2 => (which.clone(), name.clone(), any::<bool>()).prop_map(|(user, name, by_put)| Step::RenameUser { user, name, by_put }),
        2 => (name.clone(), members()).prop_map(|(name, members)| Step::CreateGroup { name, members }),
        1 => which.clone().prop_map(|group| Step::DeleteGroup { group }),
        1 => (which.clone(), name).prop_map(|(group, name)| Step::RenameGroup { group, name }),
        2 => (which.clone(), members()).prop_map(|(group, members)| Step::AddMembers { group, members }),
        2 => (which.clone(), members()).prop_map(|(group, members)| Step::RemoveMembers { group, members }),
        2 => (which.clone(), members(), any::<bool>())
            .prop_map(|(group, members, by_put)| Step::ReplaceMembers { group, members, by_put }),
        2 => (which, members(), 0..4_usize).prop_map(|(group, members, at)| Step::FailingPatch { group, members, at }),
    ]
}

/// What the directory should hold, in creation order.
#[derive(Default)]
struct Model {
    users: Vec<(String, String, bool)>,
    groups: Vec<(String, String, BTreeSet<String>)>,
}

impl Model {
    fn user(&self, number: usize) -> Option<usize> {
        (!self.users.is_empty()).then(|| number % self.users.len())
    }

    fn group(&self, number: usize) -> Option<usize> {
        (!self.groups.is_empty()).then(|| number % self.groups.len())
    }

    fn members(&self, numbers: &[usize]) -> BTreeSet<String> {
        numbers.iter().filter_map(|number| self.user(*number)).map(|at| self.users[at].0.clone()).collect()
    }
}

fn user_name(number: usize) -> String {
    format!("übung{number}@x.test")
}

fn refs(ids: &BTreeSet<String>) -> Vec<Value> {
    ids.iter().map(|id| okta::member(id, "")).collect()
}

/// Carries a step out, in the directory and in the model.
fn take(step: &Step, client: &Client, model: &mut Model) {
    match step {
        Step::CreateUser { name, upper } => create_user(client, model, *name, *upper),
        Step::DeleteUser { user } => {
            let Some(at) = model.user(*user) else { return };
            let (id, ..) = model.users.remove(at);
            client.delete(&format!("/Users/{id}")).expect(204);
            model.groups.iter_mut().for_each(|(_, _, members)| {
                members.remove(&id);
            });
        }
        Step::SetActive { user, active } => {
            let Some(at) = model.user(*user) else { return };
            model.users[at].2 = *active;
            client.patch(&format!("/Users/{}", model.users[at].0), okta::set_active(*active)).expect(200);
        }
        Step::RenameUser { user, name, by_put } => rename_user(client, model, *user, *name, *by_put),
        Step::CreateGroup { name, members } => {
            let members = model.members(members);
            let name = format!("g{name}");
            let reply = client.post("/Groups", okta::group(&name, &refs(&members)));
            if model.groups.iter().any(|(_, taken, _)| *taken == name) {
                reply.expect_error(409, "uniqueness");
            } else {
                model.groups.push((reply.expect(201).id(), name, members));
            }
        }
        Step::DeleteGroup { group } => {
            let Some(at) = model.group(*group) else { return };
            client.delete(&format!("/Groups/{}", model.groups.remove(at).0)).expect(204);
        }
        Step::RenameGroup { group, name } => {
            let Some(at) = model.group(*group) else { return };
            let (id, name) = (model.groups[at].0.clone(), format!("g{name}"));
            let reply = client.patch(&format!("/Groups/{id}"), okta::rename(&id, &name.to_uppercase()));
            if model.groups.iter().any(|(other, taken, _)| *other != id && *taken == name) {
                reply.expect_error(409, "uniqueness");
            } else {
                reply.expect(200);
                model.groups[at].1 = name;
            }
        }
        Step::AddMembers { group, members } => {
            let Some(at) = model.group(*group) else { return };
            let members = model.members(members);
            change_group(client, model, at, json!([okta::add_members(&refs(&members))]));
            model.groups[at].2.extend(members);
        }
        Step::RemoveMembers { group, members } => {
            let Some(at) = model.group(*group) else { return };
            let members = model.members(members);
            let operations: Vec<Value> = members.iter().map(|id| okta::remove_member(id)).collect();
            if !operations.is_empty() {
                change_group(client, model, at, json!(operations));
            }
            model.groups[at].2.retain(|id| !members.contains(id));
        }
        Step::ReplaceMembers { group, members, by_put } => {
            let Some(at) = model.group(*group) else { return };
            let members = model.members(members);
            if *by_put {
                let body = okta::group(&model.groups[at].1, &refs(&members));
                client.put(&format!("/Groups/{}", model.groups[at].0), body).expect(200);
            } else {
                change_group(client, model, at, json!([okta::replace_members(&refs(&members))]));
            }
            model.groups[at].2 = members;
        }
        Step::FailingPatch { group, members, at } => failing_patch(client, model, *group, members, *at),
    }
}

fn create_user(client: &Client, model: &mut Model, name: usize, upper: bool) {
    let name = user_name(name);
    let sent = if upper { name.to_uppercase() } else { name.clone() };
    let reply = client.post("/Users", json!({ "userName": sent }));
    match model.users.iter_mut().find(|(_, taken, _)| *taken == name) {
        Some((_, _, true)) => {
            reply.expect_error(409, "uniqueness");
        }
        Some((id, _, active)) => {
            assert_eq!(reply.expect(201).id(), *id);
            *active = true;
        }
        None => model.users.push((reply.expect(201).id(), name, true)),
    }
}

fn rename_user(client: &Client, model: &mut Model, user: usize, name: usize, by_put: bool) {
    let Some(at) = model.user(user) else { return };
    let (id, name) = (model.users[at].0.clone(), user_name(name));
    let path = format!("/Users/{id}");
    let reply = if by_put {
        client.put(&path, json!({ "userName": name, "groups": [] }))
    } else {
        client.patch(&path, okta::patch(json!([{ "op": "replace", "path": "userName", "value": name }])))
    };
    if model.users.iter().any(|(other, taken, _)| *other != id && *taken == name) {
        reply.expect_error(409, "uniqueness");
    } else {
        reply.expect(200);
        model.users[at].1 = name;
    }
}

fn change_group(client: &Client, model: &Model, at: usize, operations: Value) {
    client.patch(&format!("/Groups/{}", model.groups[at].0), okta::patch(operations)).expect(200);
}

/// Good operations with one among them that cannot be carried out.
fn failing_patch(client: &Client, model: &Model, group: usize, members: &[usize], at: usize) {
    let Some(which) = model.group(group) else { return };
    let path = format!("/Groups/{}", model.groups[which].0);
    let before = client.get(&path).json;
    let mut operations = vec![
        okta::add_members(&refs(&model.members(members))),
        json!({ "op": "replace", "path": "displayName", "value": "never" }),
        okta::replace_members(&[]),
    ];
    operations.insert(at.min(operations.len()), okta::add_members(&[okta::member("no-such-id", "")]));
    client.patch(&path, okta::patch(json!(operations))).expect_error(400, "invalidValue");
    assert_eq!(client.get(&path).json, before);
}

/// The directory is what the model says, seen from every side.
fn check(tenant: &Tenant, client: &Client, model: &Model) {
    let users = client.get("/Users?count=1000").expect(200);
    let groups = client.get("/Groups?count=1000").expect(200);
    let told: Vec<_> = users
        .resources()
        .iter()
        .map(|user| {
            (
                user["id"].as_str().unwrap(),
                user["userName"].as_str().unwrap().to_lowercase(),
                user["active"].as_bool().unwrap(),
            )
        })
        .collect();
    let expected: Vec<_> =
        model.users.iter().map(|(id, name, active)| (id.as_str(), name.clone(), *active)).collect();
    assert_eq!(told, expected);
    let names: BTreeSet<_> = told.iter().map(|(_, name, _)| name).collect();
    assert_eq!(names.len(), told.len(), "names are unique");

    let mut groups_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    assert_eq!(groups.resources().len(), model.groups.len());
    for (group, (id, name, members)) in groups.resources().iter().zip(&model.groups) {
        assert_eq!(
            (group["id"].as_str().unwrap(), group["displayName"].as_str().unwrap().to_lowercase()),
            (id.as_str(), name.clone())
        );
        assert_eq!(member_ids(group), members.iter().cloned().collect::<Vec<_>>());
        for member in members {
            groups_of.entry(member).or_default().push(id.clone());
        }
    }
    for user in users.resources() {
        let mut expected = groups_of.remove(user["id"].as_str().unwrap()).unwrap_or_default();
        expected.sort();
        assert_eq!(group_ids(user), expected);
    }
    for (kind, reply) in [(1, &users), (2, &groups)] {
        let rows =
            file::number(&tenant.file(), &format!("SELECT count(*) FROM resources WHERE kind = {kind}"));
        assert_eq!(reply["totalResults"].as_i64(), Some(rows));
        for table in ["positions", "spans"] {
            let counted = format!("SELECT coalesce(sum(n), 0) FROM {table} WHERE kind = {kind}");
            assert_eq!(file::number(&tenant.file(), &counted), rows, "{table}");
        }
    }
    let inactive = model.users.iter().filter(|(_, _, active)| !active).count();
    assert_eq!(client.get("/Users?filter=active%20eq%20false&count=0")["totalResults"], inactive);
}

fn empty(client: &Client) {
    for kind in ["Users", "Groups"] {
        for one in client.get(&format!("/{kind}?count=1000")).expect(200).resources() {
            client.delete(&format!("/{kind}/{}", one["id"].as_str().unwrap())).expect(204);
        }
    }
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() })
}

#[test]
fn any_series_of_requests_keeps_names_unique_memberships_both_ways_and_totals_true() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let outcome = runner(40).run(&vec(step(), 1..30), |steps| {
        empty(&client);
        let mut model = Model::default();
        for step in &steps {
            take(step, &client, &mut model);
        }
        check(&tenant, &client, &model);
        Ok(())
    });
    outcome.unwrap();
}

/// Operations on a user that are all well.
fn good_operation() -> impl Strategy<Value = Value> {
    let text = || "[a-zA-Z0-9 äß@.'\"\\\\]{1,12}";
    prop_oneof![
        text().prop_map(|value| json!({ "op": "replace", "path": "title", "value": value })),
        text().prop_map(
            |value| json!({ "op": "add", "value": { "nickName": value, "name.givenName": value } })
        ),
        text().prop_map(
            |value| json!({ "op": "add", "path": "emails", "value": [{ "value": value, "primary": true }] })
        ),
        text().prop_map(
            |value| json!({ "op": "replace", "path": "emails[type eq \"work\"].value", "value": value })
        ),
        any::<bool>().prop_map(|active| json!({ "op": "replace", "value": { "active": active } })),
        Just(json!({ "op": "remove", "path": "emails" })),
        Just(json!({ "op": "remove", "path": "title" })),
        text().prop_map(|value| json!({ "op": "add", "path": "urn:x:1.0:user:note", "value": value })),
    ]
}

/// Operations that are refused whatever went before them.
fn bad_operation() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!({ "op": "replace", "path": "userName", "value": "taken" }),
        json!({ "op": "replace", "path": "userName", "value": "" }),
        json!({ "op": "replace", "path": "id", "value": "x" }),
        json!({ "op": "remove", "path": "userName" }),
        json!({ "op": "remove" }),
        json!({ "op": "remove", "path": "ims[type eq \"none\"]" }),
        json!({ "op": "replace", "path": "active", "value": "perhaps" }),
        json!({ "op": "add", "path": "emails[", "value": "x" }),
        json!({ "op": "nonsense", "path": "title", "value": "x" }),
    ])
}

#[test]
fn a_patch_that_fails_anywhere_changes_nothing_at_all() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    client.create("/Users", json!({ "userName": "Taken" }));
    let id = client.create("/Users", okta::user("patient@x.test")).id();
    let path = format!("/Users/{id}");
    let series = (vec(good_operation(), 0..6), bad_operation(), vec(good_operation(), 0..3));
    let outcome = runner(60).run(&series, |(before, bad, after)| {
        let state = client.get(&path).json;
        let events = file::events(&tenant.file());
        let taken = bad["value"] == "taken";
        let operations: Vec<&Value> = before.iter().chain([&bad]).chain(&after).collect();
        let refused = client.patch(&path, okta::patch(json!(operations)));
        prop_assert_eq!(refused.status, if taken { 409 } else { 400 }, "{}", refused);
        prop_assert_eq!(client.get(&path).json, state);
        prop_assert_eq!(file::events(&tenant.file()), events);
        // The good ones by themselves are carried out, so that the next case begins elsewhere.
        if !before.is_empty() {
            client.patch(&path, okta::patch(json!(before))).expect(200);
        }
        Ok(())
    });
    outcome.unwrap();
}

/// JSON of every shape.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!("")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let key = prop_oneof![
            "[a-zA-Z$]{1,6}",
            Just("value".to_owned()),
            Just("primary".to_owned()),
            Just("type".to_owned()),
            Just("schemas".to_owned()),
            Just("urn:x:1.0:y".to_owned()),
        ];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key, inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

#[test]
fn whatever_is_sent_is_taken_or_refused_and_what_is_taken_comes_back_the_same_twice() {
    let client = Tenant::fresh().client();
    let attribute = prop::sample::select(vec![
        "userName",
        "name",
        "emails",
        "active",
        "title",
        "roles",
        "addresses",
        "x509Certificates",
        "password",
        okta::ENTERPRISE,
        "urn:x:1.0:y",
        "other",
        "groups",
        "meta",
        "externalId",
        "schemas",
        "displayName",
    ]);
    let outcome = runner(150).run(&vec((attribute, any_json()), 1..5), |pairs| {
        for user in client.get("/Users").resources() {
            client.delete(&format!("/Users/{}", user["id"].as_str().unwrap())).expect(204);
        }
        let mut body = okta::user("a@x.test");
        for (name, value) in pairs {
            body[name] = value;
        }
        let reply = client.post("/Users", body.clone());
        prop_assert!(matches!(reply.status, 201 | 400), "{}: {}", body, reply);
        if reply.status == 201 {
            let path = format!("/Users/{}", reply.id());
            let read = client.get(&path).json;
            prop_assert_eq!(&read, &reply.json);
            let put = client.put(&path, read.clone());
            prop_assert_eq!(&put.json, &read, "an echo is no change: {}", put);
        }
        Ok(())
    });
    outcome.unwrap();
}

/// Paths of every kind: good, bad, and strange.
fn any_path() -> impl Strategy<Value = Option<String>> {
    let name = || {
        prop::sample::select(vec![
            "userName",
            "title",
            "name",
            "name.givenName",
            "emails",
            "emails.value",
            "emails.primary",
            "roles",
            "addresses",
            "active",
            "externalId",
            "password",
            "groups",
            "id",
            "meta",
            "schemas",
            "other",
            "other.sub",
            okta::ENTERPRISE,
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value",
            "urn:ietf:params:scim:schemas:core:2.0:User:emails",
            "urn:x:1.0:y",
            "urn:x:1.0:y:z",
            "urn:x:1.0:y:z.w",
        ])
    };
    let filter = prop::sample::select(vec![
        "",
        "[type eq \"work\"]",
        "[type eq \"home\"].value",
        "[value pr].display",
        "[primary eq true]",
        "[not (type eq \"work\")].primary",
        "[value co \"x\" and type ne null]",
        "[x eq 1]",
    ]);
    prop_oneof![
        1 => Just(None),
        8 => (name(), filter).prop_map(|(name, filter)| Some(format!("{name}{filter}"))),
        1 => "\\PC{0,12}".prop_map(Some),
    ]
}

#[test]
fn whatever_patch_is_sent_is_taken_or_refused_and_leaves_a_resource_that_can_be_put_back() {
    let client = Tenant::fresh().client();
    let operation = (prop::sample::select(vec!["add", "replace", "remove", "Add"]), any_path(), any_json());
    let outcome = runner(150).run(&vec(operation, 1..4), |operations| {
        empty(&client);
        let made = client.create("/Users", okta::user("patient@x.test"));
        let path = format!("/Users/{}", made.id());
        let operations: Vec<Value> = operations
            .into_iter()
            .map(|(op, path, value)| json!({ "op": op, "path": path, "value": value }))
            .collect();
        let reply = client.patch(&path, okta::patch(json!(operations)));
        prop_assert!(matches!(reply.status, 200 | 400), "{:?}: {}", operations, reply);
        let after = client.get(&path).json;
        prop_assert_eq!(&after, if reply.status == 200 { &reply.json } else { &made.json });
        // Who has no `active` left may not log in, and a PUT without it says so: the one echo that is a change.
        prop_assume!(after.get("active").is_some());
        let put = client.put(&path, after.clone());
        prop_assert_eq!(&put.json, &after, "an echo is no change: {}", put);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn whatever_filter_is_sent_is_answered_or_refused() {
    let client = Tenant::fresh().client();
    client.create("/Users", okta::user("a@x.test"));
    let words = vec![
        "userName",
        "emails",
        "emails.value",
        "name",
        "active",
        "meta.created",
        "groups",
        "groups.$ref",
        "id",
        "password",
        "urn:x:1.0:y:z",
        okta::ENTERPRISE,
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value",
        "eq",
        "ne",
        "co",
        "sw",
        "ew",
        "gt",
        "ge",
        "lt",
        "le",
        "pr",
        "and",
        "or",
        "not",
        "(",
        ")",
        "[",
        "]",
        "].value",
        "\"a\"",
        "\"\"",
        "true",
        "null",
        "12",
        "-1.5e3",
        "\"2026-01-01T00:00:00Z\"",
        "\"",
        "\\",
        ".",
        ":",
        "ä",
        "emails[type",
    ];
    let soup = vec(prop::sample::select(words), 1..10).prop_map(|words| words.join(" "));
    let outcome = runner(300).run(&prop_oneof![3 => soup, 1 => "\\PC{0,40}"], |filter| {
        for kind in ["Users", "Groups"] {
            let reply = client.get(&format!("/{kind}?filter={}", encode(&filter)));
            prop_assert!(matches!(reply.status, 200 | 400), "{}: {}", filter, reply);
        }
        Ok(())
    });
    outcome.unwrap();
}
