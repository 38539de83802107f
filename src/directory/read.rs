//! Reading: one resource, or a page of them, as the answer that goes out.

use std::sync::Arc;

use crate::directory::parts::Parts;
use crate::directory::{Answer, Error, ReadWork};
use crate::scim::filter::CompareOp;
use crate::scim::message;
use crate::scim::predicate::{Operand, Predicate, Target, Test};
use crate::scim::projection::{self, Projection, Relation, View};
use crate::scim::query::Query;
use crate::scim::schema::Schemas;
use crate::scim::{self, Kind, version};
use crate::store::{Key, ReadTx, Seen, Selection};

/// A list of up to this many users without a filter is read in place: the probe of Okta's "Test API Credentials"
/// asks for two.
const SHORT_LIST_RESOURCES_MAX: u32 = 10;

/// `GET /Users/{id}`.
pub(super) fn one(
    kind: Kind,
    schemas: Arc<Schemas>,
    id: String,
    projection: Projection,
    if_none_match: Option<String>,
    base_url: String,
) -> ReadWork {
    // A group may have any number of members.
    let short = kind == Kind::User || !projection.shows("members");
    let run = move |tx: &ReadTx<'_>, parts: &mut Parts<'_>| {
        let answer = tx.with_one(kind, Key::Id(&id), |seen| {
            if if_none_match.as_ref().is_some_and(|header| version::names(header, seen.version)) {
                let etag = Some(version::etag(seen.version));
                return Ok(Answer { status: 304, body: None, location: None, etag });
            }
            Show { tx, schemas: &schemas, projection: &projection, base_url: &base_url }
                .answer(seen, 200, parts)
        })?;
        answer.ok_or_else(|| unknown(kind).into())
    };
    ReadWork::new(short, Box::new(run))
}

/// `GET /Users`.
pub(super) fn list(kind: Kind, schemas: Arc<Schemas>, query: Query, base_url: String) -> ReadWork {
    let few = match &query.filter {
        Some(filter) => selects_one(kind, filter).is_some(),
        None => query.count <= SHORT_LIST_RESOURCES_MAX,
    };
    let short = few && (kind == Kind::User || !query.projection.shows("members"));
    let run = move |tx: &ReadTx<'_>, parts: &mut Parts<'_>| {
        let show = Show { tx, schemas: &schemas, projection: &query.projection, base_url: &base_url };
        if let Some(key) = query.filter.as_ref().and_then(|filter| selects_one(kind, filter)) {
            return show.look_up(kind, key, &query, parts);
        }
        let page = tx.page(&Selection {
            kind,
            filter: query.filter.as_ref(),
            start_index: query.start_index,
            count: query.count,
            base_url: &base_url,
        })?;
        let mut body = Vec::with_capacity(256 + page.records.len() * 1024);
        message::begin_list(&mut body, page.total, query.start_index, page.records.len());
        for (index, record) in page.records.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            show.write(&mut body, &record.seen(), parts, &Answer::list)?;
            parts.offer(&mut body, Answer::list)?;
        }
        message::end_list(&mut body);
        Ok(Answer { body: Some(body), ..Answer::list() })
    };
    ReadWork::new(short, Box::new(run))
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
        query: &Query,
        parts: &mut Parts<'_>,
    ) -> Result<Answer, Error> {
        let on_page = query.start_index <= 1 && query.count > 0;
        let body = self.tx.with_one(kind, key, |seen| {
            let mut body = Vec::with_capacity(1024 + seen.doc.len());
            message::begin_list(&mut body, 1, query.start_index, usize::from(on_page));
            if on_page {
                self.write(&mut body, seen, parts, &Answer::list)?;
            }
            Ok::<_, Error>(body)
        })?;
        let mut body = body.unwrap_or_else(|| {
            let mut body = Vec::with_capacity(256);
            message::begin_list(&mut body, 0, query.start_index, 0);
            body
        });
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
