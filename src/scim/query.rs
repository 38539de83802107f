//! What a list asks for, in the query of a GET (RFC 7644 §3.4.2, §3.9, RFC 9865 §2) or in a SearchRequest (RFC 7644
//! §3.4.3): filter, sorting, a page by index or by cursor, attributes.
//!
//! Parameters that the RFCs do not know are passed over (Entra ID puts the flag `aadOptscim062020` into its
//! addresses).

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value;

use crate::scim::filter::{Bounds, Filter};
use crate::scim::predicate::{self, Predicate, Target};
use crate::scim::projection::Projection;
use crate::scim::schema::ResourceSchema;
use crate::scim::sort::{self, Direction};
use crate::scim::{Error, Kind, Profile, quirks};

/// The URN of the SearchRequest message, RFC 7644 §3.4.3.
pub const SEARCH_URN: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";

/// Bounds and defaults of a query, from the settings in force.
#[derive(Clone, Copy, Debug)]
pub struct PageBounds {
    /// The most resources of one answer.
    pub page_resources_max: usize,
    /// How many there are when the client does not say.
    pub page_resources_default: usize,
    /// Bounds of the filter.
    pub filter: Bounds,
    /// What is forgiven.
    pub profile: Profile,
}

/// What a list asks for.
#[derive(Clone, Debug)]
pub struct Query {
    searched: Searched,
    /// The endpoint of the catalog that is listed; `None` for users and groups.
    catalog: Option<String>,
    /// Which way it is sorted; `None` for the order of creation.
    pub direction: Option<Direction>,
    /// Which page.
    pub paging: Paging,
    /// The most resources shown.
    pub count: u32,
    /// What the client gave as the count, at least 0.
    pub count_asked: Option<i64>,
    /// Which attributes are shown.
    pub projection: Projection,
}

/// The kinds that are searched. Nearly every query is of one, which then takes no room of its own.
#[derive(Clone, Debug)]
enum Searched {
    One(Part),
    All(Vec<Part>),
}

/// What is asked of one kind of resource.
#[derive(Clone, Debug)]
pub struct Part {
    /// The kind.
    pub kind: Kind,
    /// Which resources; `None` for all.
    pub filter: Option<Predicate>,
    /// What they are sorted by; `None` when the query is not sorted, or the kind has no such attribute.
    pub sort: Option<Target>,
}

/// Which page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paging {
    /// From the resource at this place, counted from 1 (RFC 7644 §3.4.2.4).
    Index(u64),
    /// From where this cursor stands; from the beginning when it is empty (RFC 9865 §2).
    Cursor(String),
}

impl Paging {
    /// Whether the page is told by its place.
    pub fn is_by_index(&self) -> bool {
        matches!(self, Paging::Index(_))
    }
}

/// The parameters, each at most once.
#[derive(Debug, Default)]
struct Raw {
    filter: Option<String>,
    sort_by: Option<String>,
    sort_order: Option<String>,
    start_index: Option<String>,
    count: Option<String>,
    cursor: Option<String>,
    attributes: Option<String>,
    excluded_attributes: Option<String>,
}

impl Raw {
    fn parse(query: &str) -> Result<Raw, Error> {
        let mut raw = Raw::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            let place = match &*name {
                "filter" => &mut raw.filter,
                "sortBy" => &mut raw.sort_by,
                "sortOrder" => &mut raw.sort_order,
                "startIndex" => &mut raw.start_index,
                "count" => &mut raw.count,
                "cursor" => &mut raw.cursor,
                "attributes" => &mut raw.attributes,
                "excludedAttributes" => &mut raw.excluded_attributes,
                _ => continue,
            };
            if place.replace(decode(value)?.into_owned()).is_some() {
                return Err(Error::invalid_value(format!("The query parameter {name} is there twice.")));
            }
        }
        Ok(raw)
    }

    fn from_message(message: Value) -> Result<Raw, Error> {
        let Value::Object(members) = message else {
            return Err(Error::invalid_syntax("The request body must be a SearchRequest message."));
        };
        let mut raw = Raw::default();
        let mut named = false;
        for (name, value) in members {
            // An attribute that is null is one that is not there (RFC 7643 §2.5).
            if value.is_null() {
                continue;
            }
            let place = match name.to_ascii_lowercase().as_str() {
                "schemas" => {
                    let listed = value.as_array().into_iter().flatten().filter_map(Value::as_str);
                    named = listed.into_iter().any(|urn| urn.eq_ignore_ascii_case(SEARCH_URN));
                    continue;
                }
                "startindex" => {
                    raw.start_index = Some(whole(&value).ok_or_else(no_start_index)?);
                    continue;
                }
                "count" => {
                    raw.count = Some(whole(&value).ok_or_else(no_count)?);
                    continue;
                }
                "attributes" => {
                    raw.attributes = Some(names(&name, value)?);
                    continue;
                }
                "excludedattributes" => {
                    raw.excluded_attributes = Some(names(&name, value)?);
                    continue;
                }
                "filter" => &mut raw.filter,
                "sortby" => &mut raw.sort_by,
                "sortorder" => &mut raw.sort_order,
                "cursor" => &mut raw.cursor,
                _ => continue,
            };
            let Value::String(text) = value else {
                return Err(Error::invalid_syntax(format!("{name} of a SearchRequest must be a string.")));
            };
            *place = Some(text);
        }
        if named {
            Ok(raw)
        } else {
            Err(Error::invalid_syntax(format!("The schemas of a search must name {SEARCH_URN}.")))
        }
    }

    fn projection(&self) -> Projection {
        Projection::new(self.attributes.as_deref(), self.excluded_attributes.as_deref())
    }

    /// Whether there is anything that a list or a resource would be shown by.
    fn is_empty(&self) -> bool {
        [
            &self.filter,
            &self.sort_by,
            &self.sort_order,
            &self.start_index,
            &self.count,
            &self.cursor,
            &self.attributes,
            &self.excluded_attributes,
        ]
        .into_iter()
        .all(Option::is_none)
    }

    fn query(self, schemas: &[&ResourceSchema], bounds: PageBounds) -> Result<Query, Error> {
        let filter = match self.filter.as_deref().map(str::trim) {
            None => None,
            Some("") => {
                quirks::takes_empty_filters(bounds.profile)?;
                None
            }
            Some(text) => Some(Filter::parse(text, bounds.filter)?),
        };
        let direction = Direction::parse(self.sort_order.as_deref())?;
        let sort_by = self.sort_by.as_deref().filter(|text| !text.trim().is_empty());
        let mut sort = match sort_by {
            None => Vec::new(),
            Some(text) => sort::bind(text, schemas, bounds.filter)?,
        };
        let projection = self.projection();
        let start_index = number(self.start_index.as_deref()).map_err(|()| no_start_index())?;
        let count_asked = number(self.count.as_deref()).map_err(|()| no_count())?;
        let paging = match (self.cursor, start_index) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid_value(
                    "cursor and startIndex are two ways to choose a page; send one of them.",
                ));
            }
            (Some(cursor), None) => Paging::Cursor(cursor),
            // RFC 7644 §3.4.2.4: a startIndex below 1 is 1.
            (None, start_index) => Paging::Index(u64::try_from(start_index.unwrap_or(1).max(1)).unwrap_or(1)),
        };
        let searched = match schemas {
            [schema] => Searched::One(Part {
                kind: schema.kind,
                filter: filter.map(|filter| predicate::bind(&filter, schema)).transpose()?,
                sort: sort.pop().flatten(),
            }),
            _ => {
                let mut sort = sort.into_iter();
                let parts = schemas.iter().map(|schema| {
                    let bind = |filter| predicate::bind_among(filter, schema, schemas);
                    let filter = filter.as_ref().map(bind).transpose()?;
                    Ok(Part { kind: schema.kind, filter, sort: sort.next().flatten() })
                });
                Searched::All(parts.collect::<Result<_, Error>>()?)
            }
        };
        // RFC 7644 §3.4.2.4, RFC 9865 §2: a negative count is 0. One above the most that a page holds is answered
        // with a page of that size, which both allow.
        let count_asked = count_asked.map(|count| count.max(0));
        let count = count_asked
            .map_or(bounds.page_resources_default, |count| usize::try_from(count).unwrap_or(usize::MAX))
            .min(bounds.page_resources_max);
        Ok(Query {
            searched,
            catalog: None,
            direction: sort_by.map(|_| direction),
            paging,
            count: u32::try_from(count).unwrap_or(0),
            count_asked,
            projection,
        })
    }
}

/// Okta encodes a blank as `%20` or as `+` (okta.com, SCIM 2.0 reference; both seen on the wire).
fn decode(text: &str) -> Result<Cow<'_, str>, Error> {
    let is_coded = |byte: &u8| matches!(byte, b'%' | b'+');
    if !text.as_bytes().iter().any(is_coded) {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(is_coded) {
        decoded.extend_from_slice(&rest[..at]);
        let (byte, length) = match &rest[at..] {
            [b'%', high, low, ..] => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [b'+', ..] => (b' ', 1),
            _ => (b'%', 1),
        };
        decoded.push(byte);
        rest = &rest[at + length..];
    }
    decoded.extend_from_slice(rest);
    let decoded = String::from_utf8(decoded);
    decoded.map(Cow::Owned).map_err(|_| Error::invalid_syntax("The query is not percent-encoded UTF-8."))
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

impl Query {
    /// Reads the raw query of a list of the kinds that have these schemas: one, or all that there are.
    ///
    /// # Errors
    /// 400 `invalidFilter` for the filter, `invalidCount` for the count, else `invalidValue`: an attribute that cannot
    /// be sorted by, a number that is none, a repeated parameter, an index together with a cursor.
    pub fn parse(query: &str, schemas: &[&ResourceSchema], bounds: PageBounds) -> Result<Query, Error> {
        Raw::parse(query)?.query(schemas, bounds)
    }

    /// Reads a SearchRequest (RFC 7644 §3.4.3), which says in a body what a list otherwise says in its address. The
    /// address may then say nothing of it: of two filters one would be passed over.
    ///
    /// # Errors
    /// As [`Query::parse`], and 400 `invalidSyntax` when the body is no such message.
    pub fn from_message(
        message: Value,
        query: &str,
        schemas: &[&ResourceSchema],
        bounds: PageBounds,
    ) -> Result<Query, Error> {
        if !Raw::parse(query)?.is_empty() {
            return Err(Error::invalid_syntax(
                "A search says everything in its body; there may be no parameters in its address.",
            ));
        }
        Raw::from_message(message)?.query(schemas, bounds)
    }

    /// The same query, of a catalog of entitlements or roles.
    pub fn of_catalog(self, endpoint: &str) -> Query {
        Query { catalog: Some(endpoint.to_owned()), ..self }
    }

    /// What is asked of each kind that is searched; there is at least one.
    pub fn parts(&self) -> &[Part] {
        match &self.searched {
            Searched::One(part) => std::slice::from_ref(part),
            Searched::All(parts) => parts,
        }
    }

    /// A digest of what must stay the same from page to page: what is searched, by which filter, in which order.
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut text = String::new();
        // Writing to a String cannot fail. The bound filter stands for every way of writing it.
        let _ = write!(text, "{:?}", (self.parts(), &self.catalog, self.direction));
        let hash = blake3::hash(text.as_bytes());
        std::array::from_fn(|at| hash.as_bytes()[at])
    }
}

/// Reads the raw query of a request for one resource: only which attributes are shown.
///
/// # Errors
/// 400 when a parameter is there twice or not UTF-8.
pub fn projection_of(query: &str) -> Result<Projection, Error> {
    if query.is_empty() {
        return Ok(Projection::default());
    }
    Ok(Raw::parse(query)?.projection())
}

/// Discovery is not searched (RFC 7644 §4: a filter is answered 403).
///
/// # Errors
/// 403 when there is a filter, 400 when the query is not UTF-8.
pub fn refuse_filter(query: &str) -> Result<(), Error> {
    match Raw::parse(query)?.filter {
        Some(_) => Err(Error::forbidden(
            "Schemas, resource types and the service provider's configuration take no filter.",
        )),
        None => Ok(()),
    }
}

fn no_start_index() -> Error {
    Error::invalid_value("startIndex must be a whole number.")
}

fn no_count() -> Error {
    Error::invalid_count("count must be a whole number.")
}

/// A whole number; one too large for the machine is as large as it gets.
fn number(text: Option<&str>) -> Result<Option<i64>, ()> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(());
    }
    Ok(Some(text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX })))
}

/// A whole number in JSON, as the digits that a query would have; `1e2` is one.
fn whole(value: &Value) -> Option<String> {
    let number = value.as_number()?;
    if number.is_i64() || number.is_u64() {
        return Some(number.to_string());
    }
    number.as_f64().filter(|float| float.fract() == 0.0).map(|float| format!("{float:.0}"))
}

/// A list of names as the text that a query would have.
fn names(name: &str, value: Value) -> Result<String, Error> {
    let no = || Error::invalid_syntax(format!("{name} of a SearchRequest must be a list of strings."));
    match value {
        // Some clients send them as they would in a query.
        Value::String(text) => Ok(text),
        Value::Array(listed) => {
            let texts = listed.iter().map(|one| one.as_str().ok_or_else(no));
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        _ => Err(no()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::schema::Schemas;
    use serde_json::json;

    fn parse(query: &str) -> Result<Query, Error> {
        let bounds = PageBounds {
            page_resources_max: 1000,
            page_resources_default: 100,
            filter: Bounds { bytes_max: 4096, depth_max: 32 },
            profile: Profile::Okta,
        };
        Query::parse(query, &[Schemas::builtin().unwrap().of(Kind::User)], bounds)
    }

    #[test]
    fn both_of_oktas_spellings_of_a_filter_are_the_same() {
        let a = parse("filter=userName%20eq%20%22test.user%40okta.local%22&startIndex=1&count=100").unwrap();
        let b = parse("count=100&filter=userName+eq+%22test.user%40okta.local%22&startIndex=1").unwrap();
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
        assert!(a.parts()[0].filter.is_some());
        assert_eq!(a.fingerprint(), b.fingerprint());
    }

    #[test]
    fn numbers_out_of_range_are_brought_into_it_and_no_numbers_refused() {
        for (query, start_index, count) in [
            ("", 1, 100),
            ("startIndex=0&count=0", 1, 0),
            ("startIndex=-5&count=-1", 1, 0),
            ("startIndex=101&count=5000", 101, 1000),
            ("startIndex=99999999999999999999&count=99999999999999999999", u64::MAX / 2, 1000),
            ("startIndex=&count=", 1, 100),
        ] {
            let parsed = parse(query).unwrap();
            assert_eq!((parsed.paging, parsed.count), (Paging::Index(start_index), count), "{query}");
        }
        assert_eq!(parse("count=ten").unwrap_err(), Error::invalid_count("count must be a whole number."));
        assert_eq!(
            parse("startIndex=x").unwrap_err(),
            Error::invalid_value("startIndex must be a whole number.")
        );
    }

    #[test]
    fn a_repeated_parameter_is_refused_and_an_unknown_one_passed_over() {
        assert!(parse("count=1&count=2").is_err());
        assert!(parse("aadOptscim062020").is_ok());
        assert!(parse("filter=%ff").is_err());
    }

    #[test]
    fn a_cursor_without_a_value_begins_and_one_with_an_index_is_refused() {
        assert_eq!(parse("cursor&count=10").unwrap().paging, Paging::Cursor(String::new()));
        assert_eq!(parse("cursor=abc").unwrap().paging, Paging::Cursor("abc".to_owned()));
        assert_eq!(parse("cursor=&startIndex=").unwrap().paging, Paging::Cursor(String::new()));
        assert!(parse("cursor=&startIndex=1").unwrap_err().detail.contains("send one of them"));
    }

    #[test]
    fn the_fingerprint_is_of_what_is_asked_and_not_of_how_it_is_written() {
        let of = |query: &str| parse(query).unwrap().fingerprint();
        let same = of("filter=userName%20sw%20%22J%22&sortBy=name.familyName");
        assert_eq!(same, of("sortBy=NAME.familyname&count=5&sortOrder=ascending&filter=username+sw+%22j%22"));
        for other in [
            "filter=userName%20sw%20%22K%22&sortBy=name.familyName",
            "filter=userName%20sw%20%22J%22",
            "filter=userName%20sw%20%22J%22&sortBy=name.givenName",
            "filter=userName%20sw%20%22J%22&sortBy=name.familyName&sortOrder=descending",
            "sortBy=name.familyName",
        ] {
            assert_ne!(same, of(other), "{other}");
        }
    }

    fn search(message: Value) -> Result<Query, Error> {
        let schemas = Schemas::builtin().unwrap();
        let bounds = PageBounds {
            page_resources_max: 1000,
            page_resources_default: 100,
            filter: Bounds { bytes_max: 4096, depth_max: 32 },
            profile: Profile::Okta,
        };
        Query::from_message(message, "", &[schemas.of(Kind::User)], bounds)
    }

    #[test]
    fn a_search_request_says_what_a_query_says() {
        let message = search(json!({
            "schemas": [SEARCH_URN], "attributes": ["userName", "name.givenName"], "excludedAttributes": null,
            "Filter": "userName sw \"J\"", "sortBy": "title", "sortOrder": "descending", "startIndex": 3, "count": 5
        }));
        let query = parse(
            "attributes=userName,name.givenName&filter=userName+sw+%22J%22&sortBy=title&sortOrder=descending&startIndex=3&count=5",
        );
        let (message, query) = (message.unwrap(), query.unwrap());
        assert_eq!(message.fingerprint(), query.fingerprint());
        assert_eq!(
            (message.paging, message.count, message.count_asked, message.projection),
            (query.paging, query.count, query.count_asked, query.projection)
        );
        let cursor = search(json!({ "schemas": [SEARCH_URN], "cursor": "", "startIndex": null })).unwrap();
        assert_eq!((cursor.paging, cursor.count), (Paging::Cursor(String::new()), 100));
        for (count, expected) in
            [(json!(-3), 0), (json!(1e2), 100), (json!(1e300), 1000), (json!(u64::MAX), 1000)]
        {
            assert_eq!(search(json!({ "schemas": [SEARCH_URN], "count": count })).unwrap().count, expected);
        }
    }

    #[test]
    fn a_body_that_is_no_search_request_is_refused() {
        for (message, detail) in [
            (json!([]), "The request body must be a SearchRequest message."),
            (
                json!({ "filter": "userName pr" }),
                "The schemas of a search must name urn:ietf:params:scim:api:messages:2.0:SearchRequest.",
            ),
            (
                json!({ "schemas": [crate::scim::message::LIST_URN] }),
                "The schemas of a search must name urn:ietf:params:scim:api:messages:2.0:SearchRequest.",
            ),
            (
                json!({ "schemas": [SEARCH_URN], "attributes": [1] }),
                "attributes of a SearchRequest must be a list of strings.",
            ),
            (json!({ "schemas": [SEARCH_URN], "filter": 1 }), "filter of a SearchRequest must be a string."),
        ] {
            assert_eq!(search(message).unwrap_err(), Error::invalid_syntax(detail));
        }
        let error = search(json!({ "schemas": [SEARCH_URN], "count": "5" })).unwrap_err();
        assert_eq!(error, Error::invalid_count("count must be a whole number."));
        let schemas = Schemas::builtin().unwrap();
        let bounds = PageBounds {
            page_resources_max: 1,
            page_resources_default: 1,
            filter: Bounds { bytes_max: 1, depth_max: 1 },
            profile: Profile::Okta,
        };
        let message = json!({ "schemas": [SEARCH_URN] });
        let twice = Query::from_message(message, "filter=x", &[schemas.of(Kind::User)], bounds);
        assert!(twice.unwrap_err().detail.contains("no parameters in its address"));
    }

    proptest::proptest! {
        #[test]
        fn a_query_is_decoded_as_a_library_decodes_it(text in "[a%+2Ff0-9é]{0,16}") {
            let blanks = text.replace('+', " ");
            let library = percent_encoding::percent_decode_str(&blanks).decode_utf8();
            proptest::prop_assert_eq!(decode(&text).ok(), library.ok());
        }
    }
}
