//! The ids of resources: UUIDs that say where their resource lies.
//!
//! A table keyed by a random id is found by two B-trees, that of the ids and that of the rows. Nearly every request has an
//! id, so an id of ours carries the row's number: `seq`, then 74 random bits, in a UUID of version 8, which is for such uses
//! (RFC 9562 §5.8). Ids that follow each other lie next to each other in the index, too, so that a create changes one page of
//! it and not a random one. What an id says is a hint: the row must have the id, and where it has not, the index tells.
//! Ids from before are of version 4 and found by the index.

use std::str::FromStr;

use rusqlite::OptionalExtension;
use uuid::Uuid;

use crate::store::{Error, WriteTx};

/// Bits of an id that are the row's number: the field `custom_a`.
const SEQ_BITS: u32 = 48;

/// The position of the version in the text of a UUID, and what version 8 is there.
const VERSION: (usize, u8) = (14, b'8');

impl WriteTx<'_> {
    /// An id for the resource that is inserted next, never given before and never again.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn new_id(&self) -> Result<String, Error> {
        // What AUTOINCREMENT goes by; a file without any resource has no such row.
        let mut statement = self.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'resources'")?;
        let last: Option<i64> = statement.query_row([], |row| row.get(0)).optional()?;
        Ok(id_of(last.unwrap_or(0).saturating_add(1)))
    }
}

/// An id for the row of this number.
fn id_of(seq: i64) -> String {
    let random = Uuid::new_v4();
    let place = u64::try_from(seq).ok().filter(|seq| seq >> SEQ_BITS == 0);
    // A number that has no room gives an id that is found by the index.
    let id = place.map_or(random, |seq| {
        let mut bytes = random.into_bytes();
        bytes[..6].copy_from_slice(&seq.to_be_bytes()[2..]);
        Uuid::new_v8(bytes)
    });
    id.to_string()
}

/// The number of the row that an id of ours says; `None` when it says none. It may be no row's, or another's.
pub(super) fn seq_in(id: &str) -> Option<i64> {
    let (at, version) = VERSION;
    if id.as_bytes().get(at) != Some(&version) {
        return None;
    }
    let bytes = Uuid::from_str(id).ok()?.into_bytes();
    let mut seq = [0; 8];
    seq[2..].copy_from_slice(&bytes[..6]);
    Some(i64::from_be_bytes(seq))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Durability;
    use crate::scim::Kind;
    use crate::scim::resource::MemberRef;
    use crate::store::{BadMember, Key, MemberChanges, NewResource, Pools, Statements, Store};
    use proptest::prelude::*;
    use serde_json::json;
    use std::time::Duration;

    proptest! {
        #[test]
        fn an_id_says_the_number_that_it_was_made_for(seq in 0_i64..1 << SEQ_BITS) {
            let id = id_of(seq);
            prop_assert_eq!(seq_in(&id), Some(seq));
            prop_assert_eq!(Uuid::from_str(&id).unwrap().get_version_num(), 8);
            prop_assert!(id != id_of(seq));
        }

        #[test]
        fn any_text_says_a_number_of_48_bits_or_none(text in ".{0,40}|[0-9a-fA-F-]{36}") {
            prop_assert!(seq_in(&text).is_none_or(|seq| (0..1 << SEQ_BITS).contains(&seq)));
        }
    }

    #[test]
    fn ids_without_room_for_the_number_and_those_of_other_versions_say_none() {
        for id in [id_of(1 << SEQ_BITS), id_of(i64::MAX), id_of(-1), Uuid::new_v4().to_string()] {
            assert_eq!((id.len(), seq_in(&id)), (36, None));
        }
        assert_eq!(seq_in(""), None);
    }

    fn open(folder: &tempfile::TempDir) -> Store {
        Store::open(&folder.path().join("t.sqlite"), &Pools::start(), Durability::Full).unwrap()
    }

    /// Adds a user under the id that is given, or under a new one; gives its id and number.
    fn add(store: &Store, name: &str, id: Option<&str>) -> (String, i64) {
        let text = json!({ "schemas": [], "userName": name }).to_string();
        let doc = serde_json::from_str(&text).unwrap();
        let job = |(), tx: &WriteTx<'_>| {
            let id = id.map_or_else(|| tx.new_id(), |id| Ok(id.to_owned()))?;
            let new =
                NewResource { kind: Kind::User, id: &id, now_ms: 1, version: 1, doc: &doc, text: &text };
            let seq = tx.insert(&new)?;
            Ok::<_, Error>((id, seq))
        };
        store.write(vec![()], |()| Duration::from_secs(60), job).pop().unwrap().unwrap()
    }

    /// The number of the row that each way of asking finds for an id.
    fn found(store: &Store, kind: Kind, id: &str) -> Option<i64> {
        store
            .read(Duration::MAX, |tx| {
                let seen = tx.with_one(kind, Key::Id(id), |seen| Ok::<_, Error>(seen.seq))?;
                assert_eq!(tx.find(kind, id)?.map(|found| found.seq), seen);
                Ok::<_, Error>(seen)
            })
            .unwrap()
    }

    #[test]
    fn a_new_id_says_where_the_row_will_lie_also_when_others_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        for number in 1..=3 {
            let (id, seq) = add(&store, &format!("u{number}"), None);
            assert_eq!((seq, seq_in(&id)), (number, Some(number)));
            assert_eq!(found(&store, Kind::User, &id), Some(number));
            assert_eq!(found(&store, Kind::Group, &id), None);
        }
        let last = store.read(Duration::MAX, |tx| tx.find_by_name(Kind::User, "u3")).unwrap().unwrap();
        let delete = |(), tx: &WriteTx<'_>| tx.delete(&last, 2, 2);
        store.write(vec![()], |()| Duration::from_secs(60), delete).pop().unwrap().unwrap();
        let (id, seq) = add(&store, "u4", None);
        assert_eq!((seq, seq_in(&id)), (4, Some(4)));
        assert_eq!(found(&store, Kind::User, &last.id), None);
    }

    #[test]
    fn an_id_that_says_another_row_or_none_is_found_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let (first, _) = add(&store, "first", None);
        let of_before = Uuid::new_v4().to_string();
        for (name, id, seq) in [("a", &*of_before, 2), ("b", &*id_of(1), 3), ("c", &*id_of(999), 4)] {
            assert_eq!(add(&store, name, Some(id)), (id.to_owned(), seq));
            assert_eq!(found(&store, Kind::User, id), Some(seq), "{name}");
        }
        assert_eq!(found(&store, Kind::User, &first), Some(1));
        for id in [&*id_of(1), &*id_of(7), &first.to_uppercase(), &format!("{first} "), ""] {
            assert_eq!(found(&store, Kind::User, id), None, "{id:?}");
        }
        // Members are found as resources are.
        let group = add(&store, "g", None).1;
        let known = [first, of_before].map(|id| MemberRef { id, display: None });
        let unknown = MemberRef { id: id_of(1), display: None };
        let job = |members: Vec<MemberRef>, tx: &WriteTx<'_>| {
            tx.add_members(group, &members, &mut MemberChanges::default())
        };
        let jobs = vec![known.to_vec(), vec![unknown.clone()]];
        let added: Vec<_> = store.write(jobs, |_| Duration::from_secs(60), job);
        assert_eq!(added, [Ok(Ok(())), Ok(Err(BadMember::Unknown(unknown.id)))]);
    }

    #[test]
    fn an_id_of_ours_is_read_by_the_rows_own_tree_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let (id, _) = add(&store, "ann", None);
        let statements = Statements::default();
        store
            .read(Duration::MAX, |tx| {
                tx.keep_statements(&statements);
                tx.with_one(Kind::User, Key::Id(&id), |_| Ok::<_, Error>(()))?;
                tx.find(Kind::User, &id).map(drop)
            })
            .unwrap();
        let plan = store.plan(&statements).unwrap();
        assert!(plan.contains("SEARCH resources USING INTEGER PRIMARY KEY (rowid=?)"), "{plan}");
        assert!(!plan.contains("sqlite_autoindex_resources"), "{plan}");
    }

    #[test]
    fn later_ids_are_greater() {
        let ids: Vec<String> = (1..300).map(id_of).collect();
        assert!(ids.is_sorted());
    }
}
