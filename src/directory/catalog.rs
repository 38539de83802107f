//! Catalogs of entitlements and roles: shown to clients, changed by the operator, and what users may be given held
//! against them.

use std::cmp::Ordering;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::directory::leading::At;
use crate::directory::{Answer, Directory, Error, Options, ReadWork};
use crate::scim::catalog::{self, Catalog, Entry};
use crate::scim::projection::Projection;
use crate::scim::query::{Paging, Query};
use crate::scim::schema::Schemas;
use crate::scim::sort::{self, Direction, Key};
use crate::scim::{self, matching, message};
use crate::store::{PutEntry, ReadTx, WriteTx};

/// How much of an id that does not exist is repeated to the client.
const ID_CHARS_SHOWN_MAX: usize = 64;

/// The catalog at an endpoint.
pub(super) fn at<'a>(schemas: &'a Schemas, endpoint: &str) -> Result<&'a Catalog, scim::Error> {
    let found = schemas.catalogs().iter().find(|catalog| catalog.endpoint == endpoint);
    found.ok_or_else(|| scim::Error::not_found("There is nothing at this address."))
}

/// `GET /Licenses` and `POST /Licenses/.search`. A catalog is small, so it is filtered and sorted here.
pub(super) fn list(catalog: Catalog, query: Query, base_url: String) -> ReadWork {
    let query = query.of_catalog(&catalog.endpoint);
    let run = move |tx: &ReadTx<'_>, schemas: &Schemas| {
        let found = matching_entries(tx, &catalog, &query, &base_url)?;
        let total = u64::try_from(found.len()).unwrap_or(u64::MAX);
        let count = usize::try_from(query.count).unwrap_or(usize::MAX);
        let mut body = Vec::with_capacity(256 + count.min(found.len()) * 512);
        let page = match &query.paging {
            Paging::Index(start_index) => {
                let first = usize::try_from(start_index.saturating_sub(1)).unwrap_or(usize::MAX);
                let page: Vec<Found> = found.into_iter().skip(first).take(count).collect();
                message::begin_list(&mut body, total, *start_index, page.len());
                page
            }
            Paging::Cursor(cursor) => {
                let at = At::read(tx, &query, cursor)?;
                let (page, more) = page_at(&at, &query, found)?;
                let end = |found: &Found| (found.key.clone(), found.seq);
                let ends = page.first().zip(page.last()).map(|(first, last)| [end(first), end(last)]);
                let (previous, next) = at.leading(ends.as_ref(), more);
                message::begin_list_by_cursor(
                    &mut body,
                    total,
                    page.len(),
                    previous.as_deref(),
                    next.as_deref(),
                );
                page
            }
        };
        let schema = schemas.of_catalog(&catalog);
        for (index, found) in page.into_iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(shown(&query.projection, found.resource, &schema).to_string().as_bytes());
        }
        message::end_list(&mut body);
        Ok(Answer { body: Some(body), ..Answer::list() })
    };
    ReadWork::new(false, Box::new(move |tx, schemas, _| run(tx, schemas)))
}

/// An entry that fulfils a filter.
struct Found {
    key: Key,
    seq: i64,
    resource: Value,
}

/// The entries that fulfil the filter, in list order.
fn matching_entries(
    tx: &ReadTx<'_>,
    catalog: &Catalog,
    query: &Query,
    base_url: &str,
) -> Result<Vec<Found>, Error> {
    let [part, ..] = query.parts() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (seq, entry) in tx.entries(&catalog.name)? {
        let resource = Value::Object(catalog.resource(&entry, base_url));
        if part.filter.as_ref().is_none_or(|filter| matching::matches(filter, &resource)) {
            let key = part.sort.as_ref().map_or(Key::Absent, |target| sort::key_of(target, &resource));
            found.push(Found { key, seq, resource });
        }
    }
    // They come in order of creation, which a stable sort keeps among equals.
    match query.direction {
        None => {}
        Some(Direction::Ascending) => found.sort_by(|left, right| left.key.compare(&right.key)),
        Some(Direction::Descending) => found.sort_by(|left, right| right.key.compare(&left.key)),
    }
    Ok(found)
}

/// The page at a cursor, and whether there is more in its direction.
fn page_at(at: &At<'_>, query: &Query, mut found: Vec<Found>) -> Result<(Vec<Found>, bool), Error> {
    let key_of = |seq| {
        let there = found.iter().find(|found| found.seq == seq);
        Ok(there.map_or(Key::Absent, |found| found.key.clone()))
    };
    let place = at.place(key_of)?;
    let count = usize::try_from(query.count).unwrap_or(usize::MAX);
    if let Some((key, seq)) = place {
        found.retain(|found| {
            let by_key = match query.direction {
                None => Ordering::Equal,
                Some(Direction::Ascending) => found.key.compare(&key),
                Some(Direction::Descending) => key.compare(&found.key),
            };
            let side = by_key.then(found.seq.cmp(&seq));
            side == if at.backward() { Ordering::Less } else { Ordering::Greater }
        });
    }
    let more = found.len() > count;
    if at.backward() {
        found.drain(..found.len().saturating_sub(count));
    } else {
        found.truncate(count);
    }
    Ok((found, more))
}

/// `GET /Licenses/{id}`
pub(super) fn one(catalog: Catalog, id: String, projection: Projection, base_url: String) -> ReadWork {
    let run = move |tx: &ReadTx<'_>, schemas: &Schemas| {
        let Some((_, entry)) = tx.entry(&id)?.filter(|(name, _)| *name == catalog.name) else {
            let sentence = format!("There is no {} with this id in this tenant.", catalog.name);
            return Err(scim::Error::not_found(sentence).into());
        };
        let resource = Value::Object(catalog.resource(&entry, &base_url));
        let location = resource["meta"]["location"].as_str().map(str::to_owned);
        let answer = Answer::json(&shown(&projection, resource, &schemas.of_catalog(&catalog)));
        Ok(Answer { location, ..answer })
    };
    ReadWork::new(true, Box::new(move |tx, schemas, _| run(tx, schemas)))
}

fn shown(projection: &Projection, resource: Value, schema: &scim::schema::ResourceSchema) -> Value {
    match resource {
        Value::Object(resource) if !projection.is_everything() => {
            Value::Object(projection.apply(resource, schema))
        }
        other => other,
    }
}

/// Refuses entitlements and roles that a user did not have before and that are in no catalog, where the tenant asks
/// for that. A class without a catalog is free.
pub(super) fn check_given(
    tx: &WriteTx<'_>,
    schemas: &Schemas,
    options: &Options,
    before: Option<&Map<String, Value>>,
    after: &Map<String, Value>,
) -> Result<(), Error> {
    if !options.check_entitlements {
        return Ok(());
    }
    for (class, named) in catalog::named_anew(before, after) {
        let mut catalogs = schemas.catalogs().iter().filter(|catalog| catalog.class == class).peekable();
        if catalogs.peek().is_none() {
            continue;
        }
        let held = tx.entry(&named.value)?.map(|(catalog, _)| catalog);
        let is_of = |catalog: &Catalog| {
            let typed = class == catalog::Class::Role
                || named.catalog.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(&catalog.name));
            typed && held.as_ref() == Some(&catalog.name)
        };
        if !catalogs.any(is_of) {
            let id: String =
                named.value.chars().filter(|c| !c.is_control()).take(ID_CHARS_SHOWN_MAX).collect();
            return Err(scim::Error::invalid_value(format!(
                "There is no {} {id} in this tenant, or it is of another type; import the app's entitlements again and choose one of them.",
                class.noun()
            ))
            .into());
        }
    }
    Ok(())
}

/// What became of an entry that was put into a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is new.
    Added,
    /// It was there and is changed.
    Changed,
    /// It was there as it is.
    Same,
}

impl Directory {
    /// Puts an entry into a catalog, or changes the one of that id. Blocks.
    ///
    /// # Errors
    /// What is wrong with the entry, that another catalog has the id, or that the file cannot be used.
    pub fn put_entry(
        &self,
        catalog: &Catalog,
        id: &str,
        display_name: &str,
        description: Option<&str>,
    ) -> Result<Put, Error> {
        catalog::check_entry(id, display_name, description)?;
        let now_ms = self.shared.clock.now_ms();
        self.write_alone(|tx| {
            let held = tx.entry(id)?;
            if let Some((other, _)) = held.as_ref().filter(|(other, _)| *other != catalog.name) {
                return Err(
                    scim::Error::uniqueness(format!("The id {id} is that of a {other} already.")).into()
                );
            }
            let same = |held: &Entry| {
                held.display_name == display_name && held.description.as_deref() == description
            };
            match held {
                Some((_, held)) if same(&held) => return Ok(Put::Same),
                None if tx.count_entries()? >= catalog::ENTRIES_MAX => {
                    let sentence =
                        format!("A tenant has at most {} entitlements and roles.", catalog::ENTRIES_MAX);
                    return Err(scim::Error::invalid_value(sentence).into());
                }
                _ => {}
            }
            let put = PutEntry { catalog: &catalog.name, id, display_name, description, now_ms };
            tx.put_entry(&put)?;
            Ok(if held.is_some() { Put::Changed } else { Put::Added })
        })
    }

    /// Takes an entry out of a catalog; who has been given it keeps it. Blocks.
    ///
    /// # Errors
    /// 404 when there is none, or the file cannot be used.
    pub fn remove_entry(&self, catalogs: &[&Catalog], id: &str) -> Result<(), Error> {
        self.write_alone(|tx| {
            let held = tx.entry(id)?.map(|(catalog, _)| catalog);
            if !catalogs.iter().any(|catalog| held.as_ref() == Some(&catalog.name)) {
                return Err(scim::Error::not_found(format!("There is none with the id {id}.")).into());
            }
            Ok(tx.remove_entry(id)?)
        })
    }

    /// The entries of a catalog, in the order in which they were added. Blocks.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn entries(&self, catalog: &Catalog) -> Result<Vec<Entry>, Error> {
        self.store.read(Duration::MAX, |tx| {
            Ok(tx.entries(&catalog.name)?.into_iter().map(|(_, entry)| entry).collect())
        })
    }

    fn write_alone<T>(&self, write: impl Fn(&WriteTx<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut answers = self.store.write(vec![()], |()| Duration::MAX, |(), tx| write(tx));
        answers.pop().unwrap_or_else(|| Err(Error::Internal { reason: "a write gave no answer".to_owned() }))
    }
}
