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

mod directory;
mod generated;
mod own;
mod sorted;

use directory::{Directory, Made, put};
use generated::*;

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
