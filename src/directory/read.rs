//! Reading: one resource, or a page of them, as the answer that goes out.

use crate::directory::leading::At;
use crate::directory::parts::Parts;
use crate::directory::{Answer, Error, ReadWork};
use crate::scim::filter::CompareOp;
use crate::scim::message;
use crate::scim::predicate::{Operand, Predicate, Target, Test};
use crate::scim::projection::{self, Projection, Relation, View};
use crate::scim::query::{Paging, Part, Query};
use crate::scim::schema::Schemas;
use crate::scim::{self, Kind, version};
use crate::store::{Key, Page, PageAt, ReadTx, Seen, Selection};

/// A list of up to this many users without a filter is read in place: the probe of Okta's "Test API Credentials"
/// asks for two.
const SHORT_LIST_RESOURCES_MAX: u32 = 10;

/// `GET /Users/{id}`.
pub(super) fn one(
    kind: Kind,
    id: String,
    projection: Projection,
    if_match: Option<String>,
    if_none_match: Option<String>,
    base_url: String,
) -> ReadWork {
    // A group may have any number of members.
    let short = kind == Kind::User || !projection.shows("members");
    let run = move |tx: &ReadTx<'_>, schemas: &Schemas, parts: &mut Parts<'_>| {
        let answer = tx.with_one(kind, Key::Id(&id), |seen| {
            version::check_if_match(if_match.as_deref(), seen.version)?;
            if if_none_match.as_ref().is_some_and(|header| version::names(header, seen.version)) {
                let etag = Some(version::etag(seen.version));
                return Ok(Answer { status: 304, body: None, location: None, etag });
            }
            Show { tx, schemas, projection: &projection, base_url: &base_url }.answer(seen, 200, parts)
        })?;
        answer.ok_or_else(|| unknown(kind).into())
    };
    ReadWork::new(short, Box::new(run))
}

/// `GET /Users`, `GET /`, and `/.search` below either.
pub(super) fn list(query: Query, base_url: String) -> ReadWork {
    let short = is_short(&query);
    let run = move |tx: &ReadTx<'_>, schemas: &Schemas, parts: &mut Parts<'_>| {
        let show = Show { tx, schemas, projection: &query.projection, base_url: &base_url };
        match (&query.paging, query.parts()) {
            (Paging::Index(start_index), [Part { kind, filter: Some(filter), .. }]) => {
                if let Some(key) = selects_one(*kind, filter) {
                    return show.look_up(*kind, key, *start_index, query.count > 0, parts);
                }
                if let Some(external_id) = selects_by_client(filter)
                    && let Some(found) = show.look_up_few(&query, *kind, external_id, *start_index, parts)?
                {
                    return Ok(found);
                }
                show.page_from(&query, *start_index, parts)
            }
            (Paging::Index(start_index), _) => show.page_from(&query, *start_index, parts),
            (Paging::Cursor(cursor), _) => show.page_at(&query, cursor, parts),
        }
    };
    ReadWork::new(short, Box::new(run))
}

/// Whether a list touches no more rows than may be read in place.
fn is_short(query: &Query) -> bool {
    let [Part { kind, filter, .. }] = query.parts() else { return false };
    let few = match filter {
        Some(filter) => query.paging.is_by_index() && selects_few(*kind, filter),
        None => query.direction.is_none() && query.count <= SHORT_LIST_RESOURCES_MAX,
    };
    few && (*kind == Kind::User || !query.projection.shows("members"))
}

/// Whether a filter is an equality that an index serves and few fulfil; where there are many after all, the bound on
/// a short read ends it.
fn selects_few(kind: Kind, filter: &Predicate) -> bool {
    selects_by_client(filter).is_some() || selects_one(kind, filter).is_some()
}

/// The external id that a filter names when it is an equality with one.
fn selects_by_client(filter: &Predicate) -> Option<&str> {
    match filter {
        Predicate::Test {
            target: Target { urn: None, attribute, sub: None, case_exact: true, .. },
            test: Test::Compare(CompareOp::Eq, Operand::Text(text)),
        } if attribute == "externalId" => Some(text),
        _ => None,
    }
}

/// What a filter names when it is an equality with a unique attribute.
fn selects_one(kind: Kind, filter: &Predicate) -> Option<Key<'_>> {
    let Predicate::Test {
        target: Target { urn: None, attribute, sub: None, case_exact, .. },
        test: Test::Compare(CompareOp::Eq, Operand::Text(text)),
    } = filter
    else {
        return None;
    };
    match case_exact {
        true if attribute == "id" => Some(Key::Id(text)),
        false if attribute == kind.name_attribute() => Some(Key::FoldedName(text)),
        _ => None,
    }
}

/// The refusal for an id that is not there. The id is not repeated: it is the client's own text.
pub(super) fn unknown(kind: Kind) -> scim::Error {
    scim::Error::not_found(format!(
        "There is no {} with this id; it was deleted, or never was in this tenant.",
        kind.noun()
    ))
}

/// How resources are shown to one client.
pub(super) struct Show<'a, 'c> {
    pub(super) tx: &'a ReadTx<'c>,
    pub(super) schemas: &'a Schemas,
    pub(super) projection: &'a Projection,
    pub(super) base_url: &'a str,
}

impl Show<'_, '_> {
    /// The answer that shows a resource.
    pub(super) fn answer(
        &self,
        seen: &Seen<'_>,
        status: u16,
        parts: &mut Parts<'_>,
    ) -> Result<Answer, Error> {
        let head = || Answer {
            status,
            body: None,
            location: Some(projection::location(self.base_url, seen.kind, seen.id)),
            etag: Some(version::etag(seen.version)),
        };
        let mut body = Vec::new();
        self.write(&mut body, seen, parts, &head)?;
        Ok(Answer { body: Some(body), ..head() })
    }

    /// A list of nobody or one: Okta's existence check.
    fn look_up(
        &self,
        kind: Kind,
        key: Key<'_>,
        start_index: u64,
        has_room: bool,
        parts: &mut Parts<'_>,
    ) -> Result<Answer, Error> {
        let on_page = start_index <= 1 && has_room;
        let body = self.tx.with_one(kind, key, |seen| {
            let mut body = Vec::with_capacity(1024 + seen.doc.len());
            message::begin_list(&mut body, 1, start_index, usize::from(on_page));
            if on_page {
                self.write(&mut body, seen, parts, &Answer::list)?;
            }
            Ok::<_, Error>(body)
        })?;
        let mut body = body.unwrap_or_else(|| {
            let mut body = Vec::with_capacity(256);
            message::begin_list(&mut body, 0, start_index, 0);
            body
        });
        message::end_list(&mut body);
        Ok(Answer { body: Some(body), ..Answer::list() })
    }

    /// A list of those with an external id, as a rule nobody or one. `None` where the general way is the right one:
    /// there are more than a few, or their members would be too many to be held.
    fn look_up_few(
        &self,
        query: &Query,
        kind: Kind,
        external_id: &str,
        start_index: u64,
        parts: &mut Parts<'_>,
    ) -> Result<Option<Answer>, Error> {
        if query.direction.is_some() || kind == Kind::Group && query.projection.shows("members") {
            return Ok(None);
        }
        let (mut total, mut items) = (0_u32, 0_u32);
        let mut resources = Vec::new();
        self.tx.each_with_external_id(kind, external_id, |seen| {
            let on_page = u64::from(total) >= start_index.saturating_sub(1) && items < query.count;
            if on_page && total < SHORT_LIST_RESOURCES_MAX {
                if items > 0 {
                    resources.push(b',');
                }
                self.write(&mut resources, seen, parts, &Answer::list)?;
                items += 1;
            }
            total += 1;
            Ok::<_, Error>(total <= SHORT_LIST_RESOURCES_MAX)
        })?;
        if total > SHORT_LIST_RESOURCES_MAX {
            return Ok(None);
        }
        // How many there are is told before them, and known after them.
        let mut body = Vec::with_capacity(256 + resources.len());
        message::begin_list(&mut body, total.into(), start_index, items as usize);
        body.extend_from_slice(&resources);
        message::end_list(&mut body);
        Ok(Some(Answer { body: Some(body), ..Answer::list() }))
    }

    /// The page that begins at a place counted from 1.
    fn page_from(&self, query: &Query, start_index: u64, parts: &mut Parts<'_>) -> Result<Answer, Error> {
        let page = self.tx.page(&self.selection(query, PageAt::Index(start_index)))?;
        let mut body = Vec::with_capacity(256 + page.records.len() * 1024);
        message::begin_list(&mut body, page.total, start_index, page.records.len());
        self.listed(body, &page, parts)
    }

    /// The page at a cursor, with the cursors that lead on from it.
    fn page_at(&self, query: &Query, cursor: &str, parts: &mut Parts<'_>) -> Result<Answer, Error> {
        let at = At::read(self.tx, query, cursor)?;
        let present = |seq| Ok(self.tx.sort_key(&self.selection(query, PageAt::Index(1)), seq)?);
        let (backward, place) = (at.backward(), at.place(present)?);
        let page = self.tx.page(&self.selection(query, PageAt::Place { backward, place }))?;
        let (previous, next) = at.leading(page.ends.as_ref(), page.more);
        let mut body = Vec::with_capacity(512 + page.records.len() * 1024);
        let items = page.records.len();
        message::begin_list_by_cursor(&mut body, page.total, items, previous.as_deref(), next.as_deref());
        self.listed(body, &page, parts)
    }

    fn selection<'q>(&'q self, query: &'q Query, at: PageAt) -> Selection<'q> {
        Selection {
            parts: query.parts(),
            direction: query.direction,
            at,
            count: query.count,
            base_url: self.base_url,
        }
    }

    /// A list that has been begun, with the page in it.
    fn listed(&self, mut body: Vec<u8>, page: &Page, parts: &mut Parts<'_>) -> Result<Answer, Error> {
        for (index, record) in page.records.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            self.write(&mut body, &record.seen(), parts, &Answer::list)?;
            parts.offer(&mut body, Answer::list)?;
        }
        message::end_list(&mut body);
        Ok(Answer { body: Some(body), ..Answer::list() })
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        seen: &Seen<'_>,
        parts: &mut Parts<'_>,
        head: &dyn Fn() -> Answer,
    ) -> Result<(), Error> {
        let view = View {
            kind: seen.kind,
            schema: self.schemas.of(seen.kind),
            id: seen.id,
            doc: seen.doc,
            created_ms: seen.created_ms,
            modified_ms: seen.modified_ms,
            version: seen.version,
            base_url: self.base_url,
        };
        self.projection.write(out, &view, |related| {
            match seen.kind {
                Kind::User if !seen.in_groups => {}
                Kind::User => {
                    self.tx.each_group_of(seen.seq, |direct, id, name| {
                        related.push(if direct { Relation::Direct } else { Relation::Indirect }, id, name);
                    })?;
                }
                Kind::Group => self.tx.each_member_of(seen.seq, |kind, id, name| {
                    related.push(Relation::Member(kind), id, name);
                    related.written().map_or(Ok(()), |written| parts.offer(written, head))
                })?,
            }
            Ok(())
        })
    }
}
