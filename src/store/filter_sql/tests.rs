//! The condition selects what matches in memory, by the index that it should, and holds no value of a client.

use super::fragment::after_prefix;
use super::*;
use crate::scim::filter::{Bounds, Filter};
use crate::scim::fold::fold;
use crate::scim::schema::{ENTERPRISE_USER, Schemas};
use crate::scim::{datetime, matching, predicate};
use crate::store::open::{add_functions, migrate};
use proptest::prelude::*;
use proptest::sample::select;
use rusqlite::{Connection, params, params_from_iter};
use serde_json::{Map, Value as Json, json};
use std::sync::{Arc, LazyLock};

mod own;
mod sorted;

const BASE_URL: &str = "https://ici.example/scim/v2/acme";
const CUSTOM: &str = "urn:acme:1.0:User";

fn migrated() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection).unwrap();
    add_functions(&connection).unwrap();
    connection
}

fn bound(kind: Kind, text: &str) -> Predicate {
    let filter = Filter::parse(text, Bounds { bytes_max: 4096, depth_max: 32 }).unwrap();
    predicate::bind(&filter, Schemas::builtin().unwrap().of(kind)).unwrap()
}

fn query(sql: &Sql) -> String {
    let plus = if sql.indexed { "+" } else { "" };
    format!("SELECT r.seq FROM resources AS r WHERE {plus}r.kind = ? AND ({}) ORDER BY r.seq", sql.text)
}

fn values(kind: Kind, sql: &Sql) -> Vec<Value> {
    std::iter::once(Value::Integer(kind_code(kind))).chain(sql.params.iter().cloned()).collect()
}

fn plan(connection: &Connection, kind: Kind, sql: &Sql) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", query(sql))).unwrap();
    let rows =
        statement.query_map(params_from_iter(values(kind, sql)), |row| row.get::<_, String>(3)).unwrap();
    rows.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
}

#[test]
fn every_value_is_bound_and_none_is_in_the_text() {
    let hostile = "x' OR 1=1 --";
    let names = ["userName", "title", "familyName", "type", "display", "urn:", "xyz"];
    for path in
        ["userName", "title", "name.familyName", "emails", "emails.type", "groups.display", "urn:a:b:xyz.xyz"]
    {
        for op in CompareOp::ALL {
            let sql =
                compile(Kind::User, &bound(Kind::User, &format!("{path} {op} \"{hostile}\"")), BASE_URL);
            assert!(!sql.text.contains("OR 1") && !sql.text.contains("or 1"), "{}", sql.text);
            assert_eq!(sql.text.matches('?').count(), sql.params.len());
            assert!(names.iter().all(|name| !sql.text.contains(&format!("\"{name}"))), "{}", sql.text);
        }
    }
}

#[test]
fn the_filters_of_okta_are_served_from_an_index() {
    let connection = migrated();
    let by_name = "n USING COVERING INDEX resources_by_name (kind=? AND name_key";
    for (kind, filter, found_by) in [
        (Kind::User, r#"userName eq "x""#, by_name),
        (Kind::User, r#"userName sw "x""#, by_name),
        (Kind::User, r#"userName gt "x""#, by_name),
        (Kind::User, r#"userName le "x""#, by_name),
        (Kind::Group, r#"displayName eq "x""#, by_name),
        (Kind::Group, r#"displayName sw "x""#, by_name),
        (Kind::User, r#"userName eq "x" and active eq true"#, by_name),
        (Kind::User, r#"active eq true and userName eq "x""#, by_name),
        (Kind::User, r#"userName eq "x" and title eq "y" and not (nickName pr)"#, by_name),
        (Kind::User, r#"displayName eq "x""#, "resources_by_display (kind=? AND display_key=?)"),
        (
            Kind::User,
            r#"displayName sw "x""#,
            "resources_by_display (kind=? AND display_key>? AND display_key<?)",
        ),
        (Kind::User, r#"externalId eq "x""#, "resources_by_external_id (kind=? AND external_id=?)"),
        (Kind::Group, r#"externalId eq "x""#, "resources_by_external_id (kind=? AND external_id=?)"),
        (
            Kind::User,
            r#"externalId eq "x" and active eq true"#,
            "resources_by_external_id (kind=? AND external_id=?)",
        ),
        (Kind::User, r#"id eq "x""#, "sqlite_autoindex_resources_1 (id=?)"),
        (Kind::User, "active eq false", "resources_by_active (kind=? AND active=?)"),
        (Kind::User, r#"active eq true and title eq "x""#, "resources_by_active (kind=? AND active=?)"),
        (
            Kind::User,
            r#"meta.created gt "2026-01-01T00:00:00Z""#,
            "resources_by_created (kind=? AND created_ms>?)",
        ),
        (
            Kind::Group,
            r#"meta.lastModified ge "2026-01-01T00:00:00Z""#,
            "resources_by_modified (kind=? AND modified_ms>?)",
        ),
        (Kind::User, r#"emails.value eq "x""#, "emails_by_value (value_key=?)"),
        (Kind::User, r#"emails eq "x""#, "emails_by_value (value_key=?)"),
        (Kind::User, r#"emails.value sw "x""#, "emails_by_value (value_key>? AND value_key<?)"),
        (Kind::User, r#"emails[type eq "work"].value eq "x""#, "emails_by_value (value_key=?)"),
        (
            Kind::User,
            r#"emails[type eq "work" and value sw "x"]"#,
            "emails_by_value (value_key>? AND value_key<?)",
        ),
        (Kind::User, r#"emails.value eq "x" and active eq true"#, "emails_by_value (value_key=?)"),
        (Kind::Group, r#"members.value eq "x""#, "m USING COVERING INDEX members_by_member (member=?)"),
        (Kind::Group, r#"members eq "x""#, "m USING COVERING INDEX members_by_member (member=?)"),
        (Kind::Group, r#"members[value eq "x"]"#, "m USING COVERING INDEX members_by_member (member=?)"),
        (Kind::User, r#"groups.value eq "x""#, "m USING PRIMARY KEY (grp=?)"),
        (
            Kind::User,
            r#"groups.value eq "x" and externalId eq "y""#,
            "resources_by_external_id (kind=? AND external_id=?)",
        ),
        (Kind::User, r#"emails sw "x" and emails eq "y""#, "emails_by_value (value_key=?)"),
        (Kind::User, r#"groups eq "x" and active eq true"#, "m USING PRIMARY KEY (grp=?)"),
    ] {
        let sql = compile(kind, &bound(kind, filter), BASE_URL);
        let plan = plan(&connection, kind, &sql);
        assert!(sql.indexed, "{filter}");
        assert!(plan.contains(found_by), "{filter}\n{}\n{plan}", sql.text);
        assert!(!plan.contains("SCAN r"), "{filter}\n{plan}");
    }
}

#[test]
fn alternatives_are_served_from_an_index_each() {
    let connection = migrated();
    let filter = r#"userName eq "x" or externalId eq "x" or (emails eq "x" and active eq true) or id eq "x""#;
    let sql = compile(Kind::User, &bound(Kind::User, filter), BASE_URL);
    let plan = plan(&connection, Kind::User, &sql);
    assert!(plan.contains("MULTI-INDEX OR") && !plan.contains("SCAN"), "{plan}");
    for index in ["by_name", "by_external_id", "emails_by_value", "autoindex_resources_1"] {
        assert!(plan.contains(index), "{plan}");
    }
}

#[test]
fn what_no_index_serves_walks_one_kind_in_order() {
    let connection = migrated();
    for filter in [
        r#"title eq "x""#,
        r#"userName co "x""#,
        r#"userName ne "x""#,
        r#"userName eq "x" or title eq "x""#,
        r#"not (id eq "x")"#,
        "emails pr",
    ] {
        let sql = compile(Kind::User, &bound(Kind::User, filter), BASE_URL);
        assert!(!sql.indexed, "{filter}");
        let plan = plan(&connection, Kind::User, &sql);
        assert!(plan.starts_with("SEARCH r USING INDEX resources_by_kind (kind=?)"), "{filter}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE FOR ORDER BY"), "{filter}\n{plan}");
    }
}

#[test]
fn the_longest_and_the_deepest_filters_are_prepared() {
    let connection = migrated();
    for part in ["title pr", "userName eq \"x\"", "emails[a eq 1]", "urn:a:b:c.d eq 1"] {
        let part = part.replace("emails[a eq 1]", "emails[primary eq true]");
        for joint in [" or ", " and "] {
            let count = 4096 / (part.len() + joint.len());
            let text = vec![part.as_str(); count].join(joint);
            let sql = compile(Kind::User, &bound(Kind::User, &text), BASE_URL);
            connection.prepare(&query(&sql)).unwrap();
        }
        let deep = format!("{}{part}{}", "not (".repeat(31), ")".repeat(31));
        let sql = compile(Kind::User, &bound(Kind::User, &deep), BASE_URL);
        connection.prepare(&query(&sql)).unwrap();
    }
}

#[test]
fn a_prefix_ends_before_the_next_text() {
    assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
    assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
    assert_eq!(after_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
    assert_eq!(after_prefix("\u{10ffff}"), None);
}

/// A directory in a database, and the same as clients see it.
struct Directory {
    connection: Connection,
    users: Vec<Json>,
    groups: Vec<Json>,
}

/// A document, when it was made and changed, and its version.
type Made = (Map<String, Json>, i64, i64, i64);

impl Directory {
    /// `links` are places of groups and members; a member past the users is a group.
    fn new(users: &[Made], groups: &[Made], links: &[(usize, usize, Option<String>)]) -> Directory {
        let connection = migrated();
        let put = |kind: Kind, all: &[Made]| -> Vec<(i64, Json)> {
            all.iter().enumerate().map(|(at, made)| put(&connection, kind, at, made)).collect()
        };
        let (mut users, mut groups) = (put(Kind::User, users), put(Kind::Group, groups));
        // In the order in which they are shown: oldest first.
        let all = users.len() + groups.len();
        let mut links: Vec<_> = links
            .iter()
            .map(|(group, member, display)| (group % groups.len(), member % all, display))
            .collect();
        links.sort_by_key(|(group, member, _)| (*group, *member));
        for (group, member, display) in links {
            let (member_seq, seen) = users.iter().chain(&groups).nth(member).unwrap().clone();
            let (group_seq, owner) = groups[group].clone();
            let new = connection
                .execute(
                    "INSERT OR IGNORE INTO members VALUES (?, ?, ?)",
                    params![group_seq, member_seq, display],
                )
                .unwrap();
            if new == 0 {
                continue;
            }
            let (kind, name) =
                if member < users.len() { (Kind::User, "userName") } else { (Kind::Group, "displayName") };
            groups[group].1["members"].as_array_mut().unwrap().push(json!({
                "value": seen["id"], "$ref": seen["meta"]["location"], "type": kind.name(),
                "display": display.clone().map_or(seen[name].clone(), Json::from),
            }));
            if kind == Kind::User {
                users[member].1["groups"].as_array_mut().unwrap().push(json!({
                    "value": owner["id"], "$ref": owner["meta"]["location"], "type": "direct",
                    "display": owner["displayName"],
                }));
            }
        }
        add_indirect(&mut users, &groups);
        let shown = |all: Vec<(i64, Json)>| all.into_iter().map(|(_, resource)| resource).collect();
        Directory { connection, users: shown(users), groups: shown(groups) }
    }

    fn selected(&self, kind: Kind, sql: &Sql) -> Vec<String> {
        let query = format!("SELECT id FROM resources WHERE seq IN ({})", query(sql));
        let mut statement = self.connection.prepare(&query).unwrap();
        let rows = statement.query_map(params_from_iter(values(kind, sql)), |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    fn matching(&self, kind: Kind, predicate: &Predicate) -> Vec<String> {
        let all = if kind == Kind::User { &self.users } else { &self.groups };
        let matching = all.iter().filter(|resource| matching::matches(predicate, resource));
        matching.map(|resource| resource["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// Adds the groups that users belong to without being a member, plainly: as long as one is found.
fn add_indirect(users: &mut [(i64, Json)], groups: &[(i64, Json)]) {
    let has = |list: &Json, id: &Json| list.as_array().unwrap().iter().any(|one| one["value"] == *id);
    for (_, user) in users {
        while let Some((_, owner)) = groups.iter().find(|(_, owner)| {
            let inside = |held: &Json| has(&owner["members"], &held["value"]);
            !has(&user["groups"], &owner["id"]) && user["groups"].as_array().unwrap().iter().any(inside)
        }) {
            let indirect = json!({
                "value": owner["id"], "$ref": owner["meta"]["location"], "type": "indirect",
                "display": owner["displayName"],
            });
            user["groups"].as_array_mut().unwrap().push(indirect);
        }
    }
}

fn put(
    connection: &Connection,
    kind: Kind,
    at: usize,
    (doc, created, modified, version): &Made,
) -> (i64, Json) {
    let mut doc = doc.clone();
    let id = format!("{}{at}", kind.noun());
    let name = format!("{}{at}", doc[kind.name_attribute()].as_str().unwrap());
    doc.insert(kind.name_attribute().to_owned(), json!(name));
    let text = |name: &str| doc.get(name).and_then(Json::as_str);
    let display = (kind == Kind::User).then(|| text("displayName").map(fold));
    connection
        .execute(
            "INSERT INTO resources (kind, id, name, name_key, display_key, external_id, active, created_ms,
             modified_ms, version, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                kind_code(kind),
                id,
                name,
                fold(&name),
                display.flatten(),
                text("externalId"),
                kind == Kind::Group || doc.get("active") == Some(&json!(true)),
                created,
                modified,
                version,
                Json::from(doc.clone()).to_string(),
            ],
        )
        .unwrap();
    let seq = connection.last_insert_rowid();
    for email in doc.get("emails").and_then(Json::as_array).into_iter().flatten() {
        let text = |name: &str| email.get(name).and_then(Json::as_str).map(fold);
        if let Some(value) = text("value") {
            connection
                .execute("INSERT INTO emails VALUES (?, ?, ?)", params![seq, value, text("type")])
                .unwrap();
        }
    }
    let mut shown = Json::from(doc);
    shown["id"] = json!(id);
    shown["meta"] = json!({
        "resourceType": kind.name(), "created": datetime::format(*created), "lastModified": datetime::format(*modified),
        "location": format!("{BASE_URL}/{}/{id}", kind.endpoint()), "version": format!("W/\"{version}\""),
    });
    shown[if kind == Kind::User { "groups" } else { "members" }] = json!([]);
    (seq, shown)
}

const WORDS: &[&str] = &[
    "Ann",
    "ann",
    "ANNE",
    "n",
    "work",
    "Work",
    "Ä",
    "ä",
    "A\u{308}",
    "straße",
    "STRASSE",
    "ss",
    "12",
    "1",
    "true",
    "x y",
    "\"q\"",
    "%",
    "\\",
    "'",
    "\u{10ffff}",
    "😀",
    "urn:x",
    "",
];

fn word() -> impl Strategy<Value = String> {
    select(WORDS).prop_map(str::to_owned)
}

fn full_word() -> impl Strategy<Value = String> {
    select(&WORDS[..WORDS.len() - 1]).prop_map(str::to_owned)
}

const NUMBERS: &[&str] = &[
    "0",
    "-0.0",
    "1",
    "12",
    "1.0",
    "2.5",
    "-3",
    "0.1",
    "1e2",
    "9007199254740992",
    "9007199254740993",
    "18446744073709551615",
    "9223372036854775807",
    "1.7976931348623157e308",
    "0.30000000000000004",
    "5e-324",
    "123456789.12345679",
];

fn number() -> impl Strategy<Value = String> {
    select(NUMBERS).prop_map(str::to_owned)
}

fn anything() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        4 => word().prop_map(Json::from),
        2 => number().prop_map(|text| serde_json::from_str(&text).unwrap()),
        1 => any::<bool>().prop_map(Json::from),
        1 => Just(Json::Null),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let key = select(vec!["id", "ID", "value", "$ref", "o\"dd", "a.b", "", "k"]).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            prop::collection::vec((key, inner), 0..3)
                .prop_map(|all| Json::from(all.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// An object with each of these keys or without it.
fn object(keys: Vec<(&'static str, BoxedStrategy<Json>)>) -> BoxedStrategy<Json> {
    let members: Vec<_> = keys
        .into_iter()
        .map(|(key, value)| {
            prop::option::of(value).prop_map(move |value| value.map(|value| (key.to_owned(), value)))
        })
        .collect();
    members.prop_map(|all| Json::from(all.into_iter().flatten().collect::<Map<_, _>>())).boxed()
}

fn text() -> BoxedStrategy<Json> {
    word().prop_map(Json::from).boxed()
}

fn list(element: BoxedStrategy<Json>) -> BoxedStrategy<Json> {
    prop::collection::vec(element, 0..3).prop_map(Json::from).boxed()
}

fn doc(kind: Kind) -> BoxedStrategy<Map<String, Json>> {
    let flag = || any::<bool>().prop_map(Json::from).boxed();
    let entry = || {
        let value = full_word().prop_map(Json::from).boxed();
        list(object(vec![("value", value), ("type", text()), ("display", text()), ("primary", flag())]))
    };
    let manager = object(vec![("value", text()), ("displayName", text())]);
    let custom = || {
        let keys = ["size", "SIZE", "tags", "desk", "o\"dd", "a.b", ""];
        let keys: Vec<_> = keys.into_iter().map(|key| (key, anything().boxed())).collect();
        prop_oneof![4 => object(keys), 1 => anything().boxed()].boxed()
    };
    let (required, keys) = match kind {
        Kind::User => (
            "userName",
            vec![
                ("displayName", text()),
                ("title", text()),
                ("name", object(vec![("familyName", text()), ("givenName", text())])),
                ("emails", entry()),
                ("roles", entry()),
                ("addresses", list(object(vec![("region", text())]))),
                (ENTERPRISE_USER, object(vec![("department", text()), ("manager", manager)])),
            ],
        ),
        Kind::Group => ("displayName", Vec::new()),
    };
    let common = vec![
        ("externalId", full_word().prop_map(Json::from).boxed()),
        ("schemas", list(select(vec![CUSTOM, ENTERPRISE_USER, "urn:x"]).prop_map(Json::from).boxed())),
        (CUSTOM, custom()),
        ("URN:acme:1.0:user", custom()),
    ];
    let made = (full_word(), any::<Option<bool>>(), object(keys.into_iter().chain(common).collect()));
    made.prop_map(move |(name, active, rest)| {
        let mut doc: Map<String, Json> = rest.as_object().unwrap().clone();
        doc.insert(required.to_owned(), json!(name));
        if let Some(active) = active.filter(|_| kind == Kind::User) {
            doc.insert("active".to_owned(), json!(active));
        }
        doc
    })
    .boxed()
}

fn made(kind: Kind) -> impl Strategy<Value = Made> {
    (doc(kind), 0..3_i64, 0..3_i64, 1..4_i64)
}

fn texts(kind: Kind) -> Vec<String> {
    let common = "externalId id meta.resourceType meta.location meta.version schemas";
    let own = match kind {
        Kind::User => {
            "userName displayName title name.familyName name.givenName emails emails.value emails.type \
             emails.display roles roles.type addresses.region groups groups.value groups.$ref groups.display groups.type"
        }
        Kind::Group => "displayName members members.value members.$ref members.display members.type",
    };
    let mut paths: Vec<String> =
        common.split_whitespace().chain(own.split_whitespace()).map(str::to_owned).collect();
    if kind == Kind::User {
        paths.extend(
            ["department", "manager", "manager.displayName"].map(|name| format!("{ENTERPRISE_USER}:{name}")),
        );
    }
    paths
}

fn quoted() -> impl Strategy<Value = String> {
    let place = (select(vec!["Users/user", "Groups/group"]), 0..3_u8)
        .prop_map(|(kind, at)| format!("{BASE_URL}/{kind}{at}"));
    prop_oneof![
        8 => word(),
        2 => (full_word(), 0..3_u8).prop_map(|(word, at)| format!("{word}{at}")),
        2 => (select(vec!["user", "group", "User", "Group"]), 0..3_u8).prop_map(|(kind, at)| format!("{kind}{at}")),
        1 => place,
        1 => select(vec!["direct", "indirect", "Group", "W/\"1\"", CUSTOM, BASE_URL]).prop_map(str::to_owned),
    ]
    .prop_map(|text| Json::from(text).to_string())
}

fn op() -> impl Strategy<Value = String> {
    select(CompareOp::ALL.to_vec()).prop_map(|op| op.to_string())
}

fn order() -> impl Strategy<Value = &'static str> {
    select(vec!["eq", "ne", "gt", "ge", "lt", "le"])
}

fn custom_path() -> impl Strategy<Value = String> {
    let names = vec![
        "size",
        "Size",
        "tags",
        "desk",
        "desk.id",
        "size.ID",
        "tags.value",
        "tags.$ref",
        "tags.k",
        "nothing",
    ];
    (select(vec![CUSTOM, "urn:ACME:1.0:User"]), select(names)).prop_map(|(urn, name)| format!("{urn}:{name}"))
}

fn unknown_test(path: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop_oneof![
        4 => (path.clone(), op(), quoted()).prop_map(|(path, op, text)| format!("{path} {op} {text}")),
        3 => (path.clone(), order(), number()).prop_map(|(path, op, number)| format!("{path} {op} {number}")),
        1 => (path.clone(), select(vec!["eq", "ne"]), any::<bool>()).prop_map(|(path, op, flag)| format!("{path} {op} {flag}")),
        1 => path.prop_map(|path| format!("{path} pr")),
    ]
    .boxed()
}

fn in_element(path: &'static str, subs: &[&'static str]) -> BoxedStrategy<String> {
    let sub = select(subs.to_vec());
    let test = prop_oneof![
        4 => (sub.clone(), op(), quoted()).prop_map(|(sub, op, text)| format!("{sub} {op} {text}")),
        1 => sub.prop_map(|sub| format!("{sub} pr")),
    ];
    let test = if subs.contains(&"primary") {
        prop_oneof![4 => test, 1 => select(vec!["primary eq true", "primary ne true"]).prop_map(str::to_owned)].boxed()
    } else {
        test.boxed()
    };
    joined(test, 2).prop_map(move |inner| format!("{path}[{inner}]")).boxed()
}

fn joined(leaf: BoxedStrategy<String>, depth: u32) -> BoxedStrategy<String> {
    leaf.prop_recursive(depth, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" and "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" or "))),
            inner.prop_map(|inner| format!("not ({inner})")),
        ]
    })
    .boxed()
}

fn filter(kind: Kind) -> BoxedStrategy<String> {
    let text =
        (select(texts(kind)), op(), quoted()).prop_map(|(path, op, text)| format!("{path} {op} {text}"));
    let present = select(texts(kind)).prop_map(|path| format!("{path} pr"));
    let other = vec![
        "meta pr",
        "meta.created pr",
        "urn:acme:1.0:user pr",
        "urn:acme:1.0 pr",
        "meta.version eq null",
        r#"schemas[value ew "User" and not (value eq "urn:x")]"#,
        r#"meta[resourceType eq "User"]"#,
    ];
    let of_kind = match kind {
        Kind::User => vec![
            "active eq true",
            "active ne true",
            "active pr",
            "emails pr",
            "emails.primary eq true",
            "emails.primary ne false",
            "roles pr",
            "name pr",
            "groups pr",
            "addresses pr",
            "schemas pr",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user pr",
            r#"name[familyName sw "a" and not (givenName pr)]"#,
        ],
        Kind::Group => vec!["members pr", "members eq null"],
    };
    let entry = ["value", "type", "display", "primary"];
    let elements = match kind {
        Kind::User => prop_oneof![
            3 => in_element("emails", &entry),
            1 => in_element("roles", &entry),
            1 => in_element("groups", &["value", "display", "type", "$ref"]),
        ]
        .boxed(),
        Kind::Group => in_element("members", &["value", "display", "type", "$ref"]),
    };
    let sub = select(vec!["id", "Value", "$ref", "k", "id.id"]).prop_map(str::to_owned).boxed();
    let custom_elements = (select(vec!["size", "tags", "desk"]), joined(unknown_test(sub), 2));
    let custom_elements = custom_elements.prop_map(|(name, inner)| format!("{CUSTOM}:{name}[{inner}]"));
    let date = (select(vec!["meta.created", "meta.lastModified"]), order(), 0..3_i64);
    let date = date.prop_map(|(path, op, ms)| format!("{path} {op} \"{}\"", datetime::format(ms)));
    let leaf = prop_oneof![
        8 => text,
        2 => present,
        3 => select([other, of_kind].concat()).prop_map(str::to_owned),
        4 => elements,
        5 => unknown_test(custom_path().boxed()),
        3 => custom_elements,
        2 => date,
    ];
    joined(leaf.boxed(), 3)
}

fn read(kind: Kind, text: &str) -> Option<Predicate> {
    let filter = Filter::parse(text, Bounds { bytes_max: 1 << 20, depth_max: 64 }).unwrap();
    static SCHEMAS: LazyLock<Arc<Schemas>> = LazyLock::new(|| Schemas::builtin().unwrap());
    predicate::bind(&filter, SCHEMAS.of(kind)).ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sql_selects_what_matches_in_memory(
        users in prop::collection::vec(made(Kind::User), 1..5),
        groups in prop::collection::vec(made(Kind::Group), 1..4),
        links in prop::collection::vec((0..9_usize, 0..9_usize, prop::option::of(full_word())), 0..9),
        user_filters in prop::collection::vec(filter(Kind::User), 6),
        group_filters in prop::collection::vec(filter(Kind::Group), 4),
    ) {
        let directory = Directory::new(&users, &groups, &links);
        let all = user_filters.into_iter().map(|text| (Kind::User, text));
        for (kind, text) in all.chain(group_filters.into_iter().map(|text| (Kind::Group, text))) {
            let Some(predicate) = read(kind, &text) else { continue };
            let sql = compile(kind, &predicate, BASE_URL);
            let (selected, matching) = (directory.selected(kind, &sql), directory.matching(kind, &predicate));
            prop_assert_eq!(selected, matching, "{}\n{:?}", text, sql);
            if sql.indexed {
                let plan = plan(&directory.connection, kind, &sql);
                prop_assert!(!plan.contains("SCAN r") && !plan.contains("resources_by_kind"), "{}\n{}\n{}", text, sql.text, plan);
            }
        }
    }

    #[test]
    fn sql_chooses_the_members_that_match_in_memory(
        users in prop::collection::vec(made(Kind::User), 1..5),
        groups in prop::collection::vec(made(Kind::Group), 1..3),
        links in prop::collection::vec((0..9_usize, 0..9_usize, prop::option::of(full_word())), 0..9),
        filter in in_element("members", &["value", "display", "type", "$ref"]),
    ) {
        let directory = Directory::new(&users, &groups, &links);
        let inner = filter.strip_prefix("members[").unwrap().strip_suffix(']').unwrap();
        let inner = Filter::parse(inner, Bounds { bytes_max: 1 << 20, depth_max: 64 }).unwrap();
        let schemas = Schemas::builtin().unwrap();
        let members = schemas.of(Kind::Group).attribute("members").unwrap();
        let predicate = predicate::bind_element(&inner, members).unwrap();
        let sql = compile_member(&predicate, BASE_URL);
        for group in &directory.groups {
            let query = format!(
                "SELECT u.id FROM members AS m JOIN resources AS u ON u.seq = m.member
                  WHERE m.grp = (SELECT seq FROM resources WHERE id = ?) AND ({})",
                sql.text
            );
            let id = Value::Text(group["id"].as_str().unwrap().to_owned());
            let values = std::iter::once(id).chain(sql.params.iter().cloned());
            let mut statement = directory.connection.prepare(&query).unwrap();
            let rows = statement.query_map(params_from_iter(values), |row| row.get(0)).unwrap();
            let mut selected: Vec<String> = rows.collect::<Result<_, _>>().unwrap();
            let all = group["members"].as_array().unwrap().iter();
            let matching = all.filter(|member| matching::matches(&predicate, member));
            let mut matching: Vec<_> = matching.map(|member| member["value"].as_str().unwrap().to_owned()).collect();
            selected.sort();
            matching.sort();
            prop_assert_eq!(selected, matching, "{}", filter);
        }
    }
}
