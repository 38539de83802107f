//! What a file is and does, on real files. Who is in which group: `members`.

use super::*;
use crate::scim::Kind;
use crate::scim::query::Part;
use crate::scim::resource::MemberRef;
use proptest::prelude::*;
use rusqlite::params;
use serde_json::{Map, Value, json};

mod members;

/// More time than anything in these tests takes.
const LONG: Duration = Duration::from_secs(60);

fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("t.sqlite"), &Pools::start(), Durability::Full).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn user(name: &str, active: bool) -> Map<String, Value> {
    object(
        json!({ "schemas": [], "userName": name, "active": active, "emails": [{ "value": format!("{name}@X"), "type": "work" }] }),
    )
}

fn write<T>(store: &Store, run: impl Fn(&WriteTx<'_>) -> Result<T, Error>) -> Result<T, Error> {
    store.write(vec![()], |()| LONG, |(), tx| run(tx)).pop().unwrap()
}

fn insert(tx: &WriteTx<'_>, kind: Kind, id: &str, doc: &Map<String, Value>) -> Result<i64, Error> {
    tx.insert(&NewResource { kind, id, now_ms: 1, version: 1, doc, text: &text_of(doc) })
}

fn text_of(doc: &Map<String, Value>) -> String {
    serde_json::to_string(doc).unwrap()
}

fn group(name: &str) -> Map<String, Value> {
    object(json!({ "schemas": [], "displayName": name }))
}

fn member(id: &str) -> MemberRef {
    MemberRef { id: id.to_owned(), display: None }
}

/// Id and display of each member.
fn members(store: &Store, group: i64) -> Vec<(String, String)> {
    let mut members = Vec::new();
    store
        .read(LONG, |tx| {
            tx.each_member_of(group, |_, id, display| {
                members.push((id.to_owned(), display.to_owned()));
                Ok::<_, Error>(())
            })
        })
        .unwrap();
    members
}

fn users(part: &Part, at: PageAt, count: u32) -> Selection<'_> {
    Selection { parts: std::slice::from_ref(part), direction: None, at, count, base_url: "" }
}

fn ids(store: &Store, start_index: u64, count: u32) -> (u64, Vec<String>) {
    let part = Part { kind: Kind::User, filter: None, sort: None };
    let page = store.read(LONG, |tx| tx.page(&users(&part, PageAt::Index(start_index), count))).unwrap();
    (page.total, page.records.into_iter().map(|record| record.id).collect())
}

#[test]
fn a_file_is_made_once_and_opened_again_with_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    write(&open(&folder), |tx| insert(tx, Kind::User, "1", &user("ann", true))).unwrap();
    let record = open(&folder).read(LONG, |tx| tx.find_by_name(Kind::User, "ANN")).unwrap().unwrap();
    assert_eq!((record.id.as_str(), record.name.as_str(), record.active), ("1", "ann", true));
    assert!(open(&folder).quick_check().unwrap().is_empty());
}

#[test]
fn a_new_file_may_be_opened_by_several_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..40 {
        let file = folder.path().join(format!("{number}.sqlite"));
        let together = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            let opening = || {
                together.wait();
                open::prepare_file(&file)
            };
            let opened: Vec<_> = (0..4).map(|_| scope.spawn(opening)).collect();
            for opened in opened {
                assert_eq!(opened.join().unwrap(), Ok(()), "file {number}");
            }
        });
        let store = Store::open(&file, &Pools::start(), Durability::Full).unwrap();
        assert_eq!(store.quick_check(), Ok(Vec::new()));
    }
}

#[test]
fn a_file_of_the_first_version_is_brought_up_to_date_and_keeps_its_key_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.sqlite");
    {
        let connection = Connection::open(&file).unwrap();
        connection.execute_batch(include_str!("../../schema/tenant/0001_init.sql")).unwrap();
        connection
            .execute_batch(
                "INSERT INTO resources (kind, id, name, name_key, external_id, created_ms, modified_ms, version, doc)
                 VALUES (1, '1', 'Ann', 'ann', 'x', 1, 1, 1, '{\"schemas\":[],\"userName\":\"Ann\"}');
                 PRAGMA application_id = 0x49434931; PRAGMA user_version = 1;",
            )
            .unwrap();
    }
    let key = open(&folder).read(LONG, |tx| tx.cursor_key()).unwrap();
    let store = open(&folder);
    assert_eq!(store.read(LONG, |tx| tx.cursor_key()).unwrap(), key);
    assert!(store.read(LONG, |tx| tx.find_by_name(Kind::User, "ANN")).unwrap().is_some());
    let another = tempfile::tempdir().unwrap();
    assert_ne!(open(&another).read(LONG, |tx| tx.cursor_key()).unwrap(), key);
    assert!(key.iter().any(|byte| *byte != key[0]), "a key is random");
}

#[test]
fn a_read_that_is_short_every_time_is_never_handed_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    write(&store, |tx| insert(tx, Kind::User, "1", &user("ann", true))).unwrap();
    // SQLite counts the steps of a kept statement through all of its runs.
    for _ in 0..2_000 {
        let found = store.read_short(|tx| tx.find_by_name(Kind::User, "ann"));
        assert!(found.unwrap().unwrap().is_some());
    }
}

#[test]
fn a_short_read_that_turns_out_long_is_handed_back_and_the_connection_is_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    write(&store, |tx| insert(tx, Kind::User, "1", &user("ann", true))).unwrap();
    let found = store.read_short(|tx| tx.find_by_name(Kind::User, "ann")).unwrap().unwrap();
    assert_eq!(found.unwrap().id, "1");
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000) SELECT count(*) FROM n";
    let count = |tx: &ReadTx<'_>| -> Result<i64, Error> {
        Ok(tx.connection.query_row(endless, [], |row| row.get(0))?)
    };
    assert_eq!(store.read_short(count), Err(NotShort));
    assert_eq!(store.read(LONG, count), Ok(1_000_000));
    assert_eq!(store.read(Duration::ZERO, count), Err(Error::TooLong));
    let held: Vec<_> = (0..READERS_MAX).map(|_| store.readers.get().unwrap()).collect();
    assert_eq!(store.read_short(count), Err(NotShort), "no connection is free");
    drop(held);
}

#[test]
fn a_foreign_file_and_a_newer_one_are_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.sqlite");
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE x (y); PRAGMA user_version = 1").unwrap();
    let before = std::fs::read(&file).unwrap();
    assert!(matches!(
        Store::open(&file, &Pools::start(), Durability::Full),
        Err(Error::Foreign { application_id: 0, .. })
    ));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    std::fs::remove_file(&file).unwrap();
    drop(open(&folder));
    Connection::open(&file).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    assert!(matches!(
        Store::open(&file, &Pools::start(), Durability::Full),
        Err(Error::Newer { found: 99, .. })
    ));
    std::fs::write(&file, b"this is no database, and long enough to tell so from its header alone").unwrap();
    assert!(Store::open(&file, &Pools::start(), Durability::Full).is_err());
}

#[test]
fn connections_have_the_settings_that_durability_and_safety_need() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let pragma = |pool: &Connections, name: &str| -> String {
        let connection = pool.get().unwrap();
        connection
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0))
            .map(|value| format!("{value:?}"))
            .unwrap()
    };
    assert_eq!(pragma(&store.writer, "synchronous"), "Integer(2)");
    let relaxed = Store::open(&folder.path().join("n.sqlite"), &Pools::start(), Durability::Normal).unwrap();
    assert_eq!(pragma(&relaxed.writer, "synchronous"), "Integer(1)");
    for pool in [&store.readers, &store.writer] {
        assert_eq!(pragma(pool, "journal_mode"), "Text(\"wal\")");
        assert_eq!(pragma(pool, "foreign_keys"), "Integer(1)");
        assert_eq!(pragma(pool, "trusted_schema"), "Integer(0)");
    }
    assert_eq!(pragma(&store.readers, "query_only"), "Integer(1)");
}

#[test]
fn new_files_are_for_the_servers_user_alone_and_old_ones_keep_their_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    write(&store, |tx| insert(tx, Kind::User, "1", &user("ann", true))).unwrap();
    let mode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("t.sqlite"), mode("t.sqlite-wal"), mode("t.sqlite-shm")], [0o600; 3]);
    drop(store);
    std::fs::set_permissions(folder.path().join("t.sqlite"), PermissionsExt::from_mode(0o660)).unwrap();
    drop(open(&folder));
    assert_eq!(mode("t.sqlite"), 0o660);
}

#[test]
fn the_log_of_one_large_write_is_not_kept_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let log_bytes = || std::fs::metadata(folder.path().join("t.sqlite-wal")).unwrap().len();
    let note = "x".repeat(1 << 20);
    write(&store, |tx| {
        for number in 0..20 {
            let doc = object(json!({ "schemas": [], "userName": format!("u{number}"), "note": note }));
            insert(tx, Kind::User, &number.to_string(), &doc)?;
        }
        Ok(())
    })
    .unwrap();
    let large = log_bytes();
    assert!(large > 20 << 20, "{large}");
    // It was copied back behind that write, and begins anew with the next.
    write(&store, |tx| insert(tx, Kind::User, "small", &user("small", true))).unwrap();
    assert!(log_bytes() <= 16 << 20, "{}", log_bytes());
}

#[test]
fn a_job_that_fails_undoes_itself_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let answers: Vec<Result<i64, Error>> = store.write(
        vec!["1", "2", "3"],
        |_| LONG,
        |id, tx| {
            let seq = insert(tx, Kind::User, id, &user(id, true))?;
            if id == "2" { Err(Error::Busy) } else { Ok(seq) }
        },
    );
    assert!(answers[0].is_ok() && answers[1].is_err() && answers[2].is_ok());
    assert_eq!(ids(&store, 1, 10), (2, vec!["1".to_owned(), "3".to_owned()]));
}

#[test]
fn a_job_whose_time_is_over_ends_at_its_next_look_and_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let group = write(&store, |tx| insert(tx, Kind::Group, "g", &group("g"))).unwrap();
    let time = |id: &&str| if *id == "late" { Duration::ZERO } else { LONG };
    let answers: Vec<Result<(), Error>> = store.write(vec!["1", "late", "2"], time, |id, tx| {
        insert(tx, Kind::User, id, &user(id, true))?;
        tx.add_members(group, &[member(id)], &mut MemberChanges::default())?.map_err(|_| Error::Busy)
    });
    assert_eq!(answers, [Ok(()), Err(Error::WriteTooLong), Ok(())]);
    assert_eq!(members(&store, group).len(), 2);
    assert_eq!(ids(&store, 1, 10).0, 2);
}

#[test]
fn on_a_full_disk_writes_fail_whole_reads_go_on_and_writes_resume_with_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    write(&store, |tx| insert(tx, Kind::User, "1", &user("ann", true))).unwrap();
    let limit =
        |pages: i64| store.writer.get().unwrap().pragma_update(None, "max_page_count", pages).unwrap();
    limit(1);
    let much = "x".repeat(100_000);
    let answers: Vec<Result<i64, Error>> = store.write(
        vec!["2", "3"],
        |_| LONG,
        |id, tx| {
            let mut doc = user(id, true);
            doc.insert("title".to_owned(), json!(much));
            insert(tx, Kind::User, id, &doc)
        },
    );
    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Full | Error::GivenUp))), "{answers:?}");
    assert_eq!(ids(&store, 1, 10), (1, vec!["1".to_owned()]));
    limit(1_000_000);
    write(&store, |tx| insert(tx, Kind::User, "2", &user("bob", true))).unwrap();
    assert_eq!(ids(&store, 1, 10).0, 2);
    assert!(store.quick_check().unwrap().is_empty());
}

#[test]
fn of_a_file_that_cannot_be_written_reads_go_on_and_writes_resume_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    write(&store, |tx| insert(tx, Kind::User, "1", &user("ann", true))).unwrap();
    let read_only = |is: bool| store.writer.get().unwrap().pragma_update(None, "query_only", is).unwrap();
    read_only(true);
    let refused = write(&store, |tx| insert(tx, Kind::User, "2", &user("bob", true)));
    assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
    assert_eq!(ids(&store, 1, 10), (1, vec!["1".to_owned()]));
    read_only(false);
    write(&store, |tx| insert(tx, Kind::User, "2", &user("bob", true))).unwrap();
    assert_eq!(ids(&store, 1, 10).0, 2);
}

#[test]
fn a_name_that_is_taken_in_any_case_is_a_conflict_even_beyond_ascii() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    write(&store, |tx| insert(tx, Kind::User, "1", &user("Ünal", true))).unwrap();
    let again = write(&store, |tx| insert(tx, Kind::User, "2", &user("üNAL", true)));
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
    assert_eq!(ids(&store, 1, 10).0, 1);
}

#[test]
fn addresses_are_written_anew_only_where_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let addresses = |tx: &ReadTx<'_>| -> Result<Vec<(i64, String)>, Error> {
        let mut statement = tx.prepare("SELECT rowid, value_key FROM emails WHERE resource = 1")?;
        Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
    };
    let (active, inactive) = (user("ann", true), user("ann", false));
    let (other, none) = (user("bea", false), object(json!({ "schemas": [], "userName": "bea" })));
    write(&store, |tx| {
        insert(tx, Kind::User, "1", &active)?;
        // A row that comes later, so that one which is written anew has another number.
        insert(tx, Kind::User, "2", &user("zoe", true))?;
        let held = tx.find(Kind::User, "1")?.unwrap();
        let mut seen = vec![addresses(tx)?];
        for (before, after) in [(&active, &inactive), (&inactive, &other), (&other, &none), (&none, &active)]
        {
            tx.update(&held, before, after, &text_of(after), 2, 2)?;
            seen.push(addresses(tx)?);
        }
        let address = |rowid, name: &str| vec![(rowid, format!("{name}@x"))];
        assert_eq!(
            seen,
            [address(1, "ann"), address(1, "ann"), address(3, "bea"), vec![], address(3, "ann")]
        );
        Ok(())
    })
    .unwrap();
}

#[test]
fn deleting_a_user_ends_memberships_changes_the_groups_and_leaves_a_tombstone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    write(&store, |tx| {
        insert(tx, Kind::User, "a", &user("a", true))?;
        let seq = insert(tx, Kind::Group, "g", &group("G"))?;
        tx.add_members(seq, &[member("a")], &mut MemberChanges::default())?.unwrap();
        let held = tx.find(Kind::User, "a")?.unwrap();
        tx.delete(&held, 5, 9)?;
        Ok(())
    })
    .unwrap();
    let group = store.read(LONG, |tx| tx.find(Kind::Group, "g")).unwrap().unwrap();
    assert_eq!((group.version, group.modified_ms), (9, 5));
    assert!(members(&store, group.seq).is_empty());
    let connection = store.readers.get().unwrap();
    let count = |table: &str| -> i64 {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("members"), count("emails"), count("tombstones")), (0, 0, 1));
}

#[test]
fn the_views_for_the_application_show_users_groups_and_memberships() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    write(&store, |tx| {
        insert(tx, Kind::User, "a", &user("ann", false))?;
        let seq = insert(tx, Kind::Group, "g", &group("G"))?;
        tx.add_members(seq, &[member("a")], &mut MemberChanges::default())?.map_err(|_| Error::Busy)
    })
    .unwrap();
    let connection = store.readers.get().unwrap();
    let shown: (String, bool, String) = connection
        .query_row("SELECT user_name, active, email FROM users WHERE id = 'a'", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(shown, ("ann".to_owned(), false, "ann@X".to_owned()));
    let member: String = connection
        .query_row("SELECT member_name FROM memberships WHERE group_name = 'G'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(member, "ann");
}

#[derive(Clone, Debug)]
enum Step {
    Insert(bool),
    Delete(usize),
    Activate(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Insert),
        1 => any::<usize>().prop_map(Step::Delete),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(at, active)| Step::Activate(at, active)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// `positions` and `spans` are kept by triggers; whatever happens, pages and totals are those of a plain walk. Sequence
    /// numbers are spread so that few resources fill many blocks and spans.
    #[test]
    fn pages_and_totals_are_those_of_a_plain_walk(
        steps in prop::collection::vec(step(), 1..60), start_index in 1_u64..70, count in 0_u32..20
    ) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let mut plain: Vec<(String, bool)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            write(&store, |tx| {
                match step {
                    Step::Insert(active) => {
                        insert(tx, Kind::User, &number.to_string(), &user(&number.to_string(), active))?;
                        // Into other blocks, and now and then into another span.
                        let gap = if number % 3 == 0 { 20_000 } else { 300 };
                        tx.connection.execute("UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name = 'resources'", params![gap])?;
                    }
                    Step::Delete(at) if !plain.is_empty() => {
                        let held = tx.find(Kind::User, &plain[at % plain.len()].0)?.unwrap();
                        tx.delete(&held, 1, 1)?;
                    }
                    Step::Activate(at, active) if !plain.is_empty() => {
                        let held = tx.find(Kind::User, &plain[at % plain.len()].0)?.unwrap();
                        let doc = user(&held.name, active);
                        tx.update(&held, &user(&held.name, held.active), &doc, &text_of(&doc), 1, 1)?;
                    }
                    Step::Delete(_) | Step::Activate(..) => {}
                }
                Ok(())
            }).unwrap();
            match step {
                Step::Insert(active) => plain.push((number.to_string(), active)),
                Step::Delete(at) if !plain.is_empty() => { let at = at % plain.len(); plain.remove(at); }
                Step::Activate(at, active) if !plain.is_empty() => { let at = at % plain.len(); plain[at].1 = active; }
                Step::Delete(_) | Step::Activate(..) => {}
            }
        }
        for active in [None, Some(true), Some(false)] {
            let schemas = crate::scim::schema::Schemas::builtin().unwrap();
            let bounds = crate::scim::filter::Bounds { bytes_max: 100, depth_max: 3 };
            let filter = active.map(|active| {
                let filter = crate::scim::filter::Filter::parse(&format!("active eq {active}"), bounds).unwrap();
                crate::scim::predicate::bind(&filter, schemas.of(Kind::User)).unwrap()
            });
            let chosen: Vec<&String> = plain.iter().filter(|(_, is)| active.is_none_or(|active| active == *is)).map(|(id, _)| id).collect();
            let skip = usize::try_from(start_index).unwrap() - 1;
            let expected: Vec<&String> = chosen.iter().skip(skip).take(count as usize).copied().collect();
            let part = Part { kind: Kind::User, filter, sort: None };
            let page = |at| store.read(LONG, |tx| tx.page(&users(&part, at, count))).unwrap();
            let by_index = page(PageAt::Index(start_index));
            prop_assert_eq!(by_index.total, chosen.len() as u64);
            prop_assert_eq!(by_index.records.iter().map(|record| &record.id).collect::<Vec<_>>(), expected);
            for backward in [false, true] {
                let (mut met, mut place) = (Vec::new(), None);
                loop {
                    let page = page(PageAt::Place { backward, place });
                    prop_assert_eq!(page.total, chosen.len() as u64);
                    let mut ids: Vec<String> = page.records.into_iter().map(|record| record.id).collect();
                    if backward { ids.reverse(); }
                    met.extend(ids);
                    let Some([first, last]) = page.ends.filter(|_| page.more) else { break };
                    place = Some(if backward { first } else { last });
                }
                if backward { met.reverse(); }
                if count > 0 { prop_assert_eq!(met.iter().collect::<Vec<_>>(), chosen.clone()); }
            }
        }
    }
}
