//! Reading: one resource, or a page of them, as the answer that goes out.

use crate::directory::{Answer, Error, ReadWork};
use crate::scim::filter::CompareOp;
use crate::scim::message;
use crate::scim::predicate::{Predicate, Target, Test};
use crate::scim::projection::{self, Projection, View};
use crate::scim::query::Query;
use crate::scim::{self, Kind, version};
use crate::store::{ReadTx, Record, Selection};

/// A list of up to this many users without a filter is read in place: the probe of Okta's "Test API Credentials"
/// asks for two.
const SHORT_LIST_RESOURCES_MAX: u32 = 10;

/// `GET /Users/{id}`.
pub(super) fn one(
    kind: Kind,
    id: String,
    projection: Projection,
    if_none_match: Option<String>,
    base_url: String,
) -> ReadWork {
    // A group may have any number of members.
    let short = kind == Kind::User || !projection.shows("members");
    let run = move |tx: &ReadTx<'_>| {
        let record = tx.find(kind, &id)?.ok_or_else(|| unknown(kind))?;
        if if_none_match.as_ref().is_some_and(|header| version::names(header, record.version)) {
            let etag = Some(version::etag(record.version));
            return Ok(Answer { status: 304, body: None, location: None, etag });
        }
        answer(tx, &record, &projection, &base_url, 200)
    };
    ReadWork::new(short, Box::new(run))
}

/// `GET /Users`.
pub(super) fn list(kind: Kind, query: Query, base_url: String) -> ReadWork {
    let few = match &query.filter {
        Some(filter) => selects_one(kind, filter),
        None => query.count <= SHORT_LIST_RESOURCES_MAX,
    };
    let short = few && (kind == Kind::User || !query.projection.shows("members"));
    let run = move |tx: &ReadTx<'_>| {
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
            write(tx, &mut body, record, &query.projection, &base_url)?;
        }
        message::end_list(&mut body);
        Ok(Answer { status: 200, body: Some(body), location: None, etag: None })
    };
    ReadWork::new(short, Box::new(run))
}

/// Whether a filter is an equality with a unique attribute: Okta's existence check.
fn selects_one(kind: Kind, filter: &Predicate) -> bool {
    match filter {
        Predicate::Test {
            target: Target { urn: None, attribute, sub: None, .. },
            test: Test::Compare(CompareOp::Eq, _),
        } => attribute == "id" || attribute == kind.name_attribute(),
        _ => false,
    }
}

/// The refusal for an id that is not there. The id is not repeated: it is the client's own text.
pub(super) fn unknown(kind: Kind) -> scim::Error {
    scim::Error::not_found(format!(
        "There is no {} with this id; it was deleted, or never was in this tenant.",
        kind.noun()
    ))
}

/// The answer that shows a resource.
pub(super) fn answer(
    tx: &ReadTx<'_>,
    record: &Record,
    projection: &Projection,
    base_url: &str,
    status: u16,
) -> Result<Answer, Error> {
    let mut body = Vec::new();
    write(tx, &mut body, record, projection, base_url)?;
    Ok(Answer {
        status,
        body: Some(body),
        location: Some(projection::location(base_url, record.kind, &record.id)),
        etag: Some(version::etag(record.version)),
    })
}

fn write(
    tx: &ReadTx<'_>,
    out: &mut Vec<u8>,
    record: &Record,
    projection: &Projection,
    base_url: &str,
) -> Result<(), Error> {
    let view = View {
        kind: record.kind,
        id: &record.id,
        doc: &record.doc,
        created_ms: record.created_ms,
        modified_ms: record.modified_ms,
        version: record.version,
        base_url,
    };
    projection.write(out, &view, |related| {
        match record.kind {
            Kind::User => tx.each_group_of(record.seq, |id, name| related.push(Kind::Group, id, name))?,
            Kind::Group => tx.each_member_of(record.seq, |kind, id, name| related.push(kind, id, name))?,
        }
        Ok(())
    })
}
