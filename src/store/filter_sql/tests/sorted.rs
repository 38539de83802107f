//! Sorted pages, found by index or by place, are those of the plain reading in memory.

use std::collections::HashMap;

use super::*;
use crate::scim::query::{PageBounds, Query};
use crate::scim::sort::{self, Direction, Key};
use crate::store::list::{Page, PageAt, Selection};
use crate::store::sorted::List;
use crate::store::{ReadTx, Snapshot};

fn asked(kinds: &[Kind], query: &str) -> Query {
    static SCHEMAS: LazyLock<Arc<Schemas>> = LazyLock::new(|| Schemas::builtin().unwrap());
    let schemas: Vec<_> = kinds.iter().map(|kind| SCHEMAS.of(*kind)).collect();
    let filter = Bounds { bytes_max: 1 << 20, depth_max: 64 };
    let bounds = PageBounds {
        page_resources_max: 1000,
        page_resources_default: 100,
        filter,
        profile: crate::scim::Profile::Okta,
    };
    Query::parse(query, &schemas, bounds).unwrap()
}

fn selection(query: &Query, at: PageAt, count: u32) -> Selection<'_> {
    Selection { parts: query.parts(), direction: query.direction, at, count, base_url: BASE_URL }
}

fn page(connection: &Connection, selection: &Selection<'_>) -> Page {
    ReadTx::new(connection, Snapshot::None).page(selection).unwrap()
}

fn ids(page: &Page) -> Vec<&str> {
    page.records.iter().map(|record| record.id.as_str()).collect()
}

fn explain(connection: &Connection, statement: &str) -> String {
    // What is bound does not change a plan; there are no statistics.
    let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
    let nothing = vec![Value::Null; explained.parameter_count()];
    let rows = explained.query_map(params_from_iter(nothing), |row| row.get::<_, String>(3)).unwrap();
    rows.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
}

#[test]
fn a_list_is_sorted_by_an_index_where_there_is_one() {
    let connection = migrated();
    for (kind, by, index) in [
        (Kind::User, "userName", "resources_by_name (kind=?)"),
        (Kind::Group, "displayName", "resources_by_name (kind=?)"),
        (Kind::User, "displayName", "resources_by_display (kind=?)"),
        (Kind::User, "externalId", "resources_by_external_id (kind=?)"),
        (Kind::Group, "externalId", "resources_by_external_id (kind=?)"),
        (Kind::User, "meta.created", "resources_by_created (kind=?)"),
        (Kind::Group, "meta.lastModified", "resources_by_modified (kind=?)"),
        (Kind::User, "id", "sqlite_autoindex_resources_1"),
    ] {
        for filter in ["", "&filter=title+co+%22x%22", "&filter=active+eq+true"] {
            if !filter.is_empty() && kind == Kind::Group {
                continue;
            }
            for (order, backward) in [("ascending", false), ("descending", false), ("ascending", true)] {
                let query = asked(&[kind], &format!("sortBy={by}&sortOrder={order}{filter}"));
                let list = List::of(&selection(&query, PageAt::Index(1), 10));
                let direction = query.direction.unwrap();
                let plan = explain(&connection, &list.statement("1", &list.whole_order(direction, backward)));
                assert!(plan.contains(index), "{by} {order}{filter}\n{plan}");
                // Those of the same key may have to be put in order among themselves.
                let plan = plan.replace("USE TEMP B-TREE FOR LAST TERM OF ORDER BY", "");
                assert!(!plan.contains("TEMP B-TREE"), "{by} {order}{filter}\n{plan}");
            }
        }
    }
}

#[test]
fn a_page_of_a_sorted_list_begins_in_the_index_at_its_place() {
    let connection = migrated();
    for (by, key, at) in [
        ("userName", Key::Text("x".to_owned()), "resources_by_name (kind=? AND name_key>?)"),
        ("displayName", Key::Text("x".to_owned()), "resources_by_display (kind=? AND display_key>?)"),
        ("externalId", Key::Text("x".to_owned()), "resources_by_external_id (kind=? AND external_id>?)"),
        ("externalId", Key::Absent, "resources_by_external_id (kind=? AND external_id=? AND rowid>?)"),
        ("meta.created", Key::Whole(5), "resources_by_created (kind=? AND created_ms>?)"),
        ("id", Key::Text("x".to_owned()), "sqlite_autoindex_resources_1 (id>?)"),
    ] {
        let query = asked(&[Kind::User], &format!("sortBy={by}"));
        let list = List::of(&selection(&query, PageAt::Index(1), 10));
        let run = list.runs(Direction::Ascending, false, &key, 7).remove(0);
        let plan = explain(&connection, &list.statement(&run.condition, &run.order));
        assert!(plan.contains(at) && !plan.contains("TEMP B-TREE"), "{by}\n{plan}");
    }
}

#[test]
fn a_filter_with_a_better_index_is_not_walked_in_order() {
    let connection = migrated();
    for by in ["userName", "id", "title", "meta.created"] {
        let query = asked(&[Kind::User], &format!("sortBy={by}&filter=emails+eq+%22x%22"));
        let list = List::of(&selection(&query, PageAt::Index(1), 10));
        let plan = explain(&connection, &list.statement("1", &list.whole_order(Direction::Ascending, false)));
        assert!(plan.contains("emails_by_value (value_key=?)") && !plan.contains("SCAN r"), "{by}\n{plan}");
    }
}

#[test]
fn every_value_of_a_sort_is_bound() {
    for by in ["title", "emails.display", "urn:a:b:xyz.uvw", "groups.display", "meta.location"] {
        let query = asked(&[Kind::User], &format!("sortBy={by}&filter=nickName+co+%22hostile%22"));
        let list = List::of(&selection(&query, PageAt::Index(1), 10));
        let text = list.statement("1", "1");
        for word in ["hostile", "title", "display\"", "xyz", "uvw", BASE_URL] {
            assert!(!text.contains(word), "{text}");
        }
    }
}

fn sort_by(kinds: &[Kind]) -> BoxedStrategy<String> {
    let mut names: Vec<String> = kinds.iter().flat_map(|kind| texts(*kind)).collect();
    let times = ["meta.created", "meta.lastModified"];
    names.extend(times.map(str::to_owned));
    names.extend(
        ["size", "SIZE", "tags", "desk.id", "tags.value", "size.k"].map(|name| format!("{CUSTOM}:{name}")),
    );
    if kinds.contains(&Kind::User) {
        names.extend(["active", "emails.primary", "roles.primary"].map(str::to_owned));
    }
    select(names).boxed()
}

/// The plain reading of a query: the ids in list order.
fn plainly(directory: &Directory, kinds: &[Kind], query: &Query) -> Vec<String> {
    let mut found = Vec::new();
    for (kind, part) in kinds.iter().zip(query.parts()) {
        let all = if *kind == Kind::User { &directory.users } else { &directory.groups };
        for resource in all {
            if part.filter.as_ref().is_none_or(|filter| matching::matches(filter, resource)) {
                let key = part.sort.as_ref().map_or(Key::Absent, |target| sort::key_of(target, resource));
                found.push((key, resource["id"].as_str().unwrap().to_owned()));
            }
        }
    }
    match query.direction {
        None => {}
        Some(Direction::Ascending) => found.sort_by(|(left, _), (right, _)| left.compare(right)),
        Some(Direction::Descending) => found.sort_by(|(left, _), (right, _)| right.compare(left)),
    }
    found.into_iter().map(|(_, id)| id).collect()
}

/// Walks from place to place until there is no more.
fn walked(connection: &Connection, query: &Query, count: u32, backward: bool) -> Vec<String> {
    let (mut pages, mut place) = (Vec::new(), None);
    loop {
        let page = page(connection, &selection(query, PageAt::Place { backward, place }, count));
        pages.push(page.records.iter().map(|record| record.id.clone()).collect::<Vec<_>>());
        if !page.more {
            break;
        }
        let [first, last] = page.ends.unwrap();
        place = Some(if backward { first } else { last });
    }
    if backward {
        pages.reverse();
    }
    pages.concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn index_walk_cursor_walk_and_the_plain_reading_agree(
        users in prop::collection::vec(made(Kind::User), 1..9),
        groups in prop::collection::vec(made(Kind::Group), 1..5),
        links in prop::collection::vec((0..9_usize, 0..9_usize, prop::option::of(full_word())), 0..9),
        lists in prop::collection::vec(
            select(vec![vec![Kind::User], vec![Kind::Group], Kind::ALL.to_vec()]).prop_flat_map(|kinds| {
                let of = kinds[0];
                let sort = prop::option::weighted(0.9, (sort_by(&kinds), select(vec!["ascending", "descending"])));
                (Just(kinds), sort, prop::option::of(filter(of)), 1..6_u32)
            }),
            6,
        ),
    ) {
        let directory = Directory::new(&users, &groups, &links);
        let connection = &directory.connection;
        for (kinds, sort, filter, count) in lists {
            let mut text = sort.map_or_else(String::new, |(by, order)| format!("sortBy={by}&sortOrder={order}"));
            if let Some(filter) = filter {
                let encoded = percent_encoding::utf8_percent_encode(&filter, percent_encoding::NON_ALPHANUMERIC);
                text.push_str(&format!("&filter={encoded}"));
            }
            let schemas: Vec<Arc<Schemas>> = kinds.iter().map(|_| Schemas::builtin().unwrap()).collect();
            let of: Vec<_> = kinds.iter().zip(&schemas).map(|(kind, schemas)| schemas.of(*kind)).collect();
            let bounds = PageBounds {
                page_resources_max: 1000,
                page_resources_default: 100,
                filter: Bounds { bytes_max: 1 << 20, depth_max: 64 }, profile: crate::scim::Profile::Okta };
            let Ok(query) = Query::parse(&text, &of, bounds) else { continue };
            let expected = plainly(&directory, &kinds, &query);
            let all = page(connection, &selection(&query, PageAt::Index(1), 1000));
            prop_assert_eq!(ids(&all), expected.clone(), "{}", &text);
            for start in (1..=expected.len() + 1).step_by(count as usize) {
                let one = page(connection, &selection(&query, PageAt::Index(start as u64), count));
                let shown: Vec<&String> = expected.iter().skip(start - 1).take(count as usize).collect();
                prop_assert_eq!((one.total, ids(&one)), (expected.len() as u64, shown.iter().map(|id| id.as_str()).collect()), "{}", &text);
            }
            prop_assert_eq!(walked(connection, &query, count, false), expected.clone(), "{}", &text);
            prop_assert_eq!(walked(connection, &query, count, true), expected, "{}", &text);
        }
    }

    /// Who is there throughout, and keeps the same key, is met exactly once, whatever comes, goes and changes between
    /// two pages.
    #[test]
    fn a_walk_holds_its_place_while_resources_come_and_go(
        users in prop::collection::vec(made(Kind::User), 4..16),
        by in prop::option::of(select(vec!["userName", "displayName", "externalId", "title", "emails", "meta.created", "id"])),
        descending in any::<bool>(),
        backward in any::<bool>(),
        changes in prop::collection::vec((0..3_u8, any::<usize>(), made(Kind::User)), 1..24),
        count in 1..4_u32,
    ) {
        let directory = Directory::new(&users, &[], &[]);
        let connection = &directory.connection;
        let order = if descending { "descending" } else { "ascending" };
        let text = by.map_or_else(String::new, |by| format!("sortBy={by}&sortOrder={order}"));
        let query = asked(&[Kind::User], &text);
        let mut steady: HashMap<String, usize> =
            plainly(&directory, &[Kind::User], &query).into_iter().map(|id| (id, 0)).collect();
        let (mut place, mut changes, mut made) = (None, changes.into_iter(), 100);
        loop {
            let page = page(connection, &selection(&query, PageAt::Place { backward, place }, count));
            for record in &page.records {
                if let Some(met) = steady.get_mut(&record.id) {
                    *met += 1;
                }
            }
            if !page.more {
                break;
            }
            let [first, last] = page.ends.unwrap();
            place = Some(if backward { first } else { last });
            for (what, which, new) in changes.by_ref().take(2) {
                match what {
                    // Somebody comes.
                    0 => {
                        put(connection, Kind::User, made, &new);
                        made += 1;
                    }
                    // Somebody goes, or takes another key and with it another place.
                    _ => {
                        let mut ids: Vec<String> = steady.keys().cloned().collect();
                        ids.sort();
                        if ids.is_empty() {
                            continue;
                        }
                        let id = &ids[which % ids.len()];
                        steady.remove(id);
                        connection.execute("DELETE FROM resources WHERE id = ?", params![id]).unwrap();
                        if what == 2 {
                            put(connection, Kind::User, made, &new);
                            made += 1;
                        }
                    }
                }
            }
        }
        prop_assert!(steady.values().all(|met| *met == 1), "{} {:?}", text, steady);
    }
}
