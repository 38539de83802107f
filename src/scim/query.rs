//! The query of a GET (RFC 7644 §3.4.2, §3.9): filter, startIndex, count, attributes, excludedAttributes.
//!
//! Parameters that the RFC does not know are passed over (Entra ID puts the flag `aadOptscim062020` into its
//! addresses); `sortBy` and `sortOrder` too, as RFC 7644 §3.4.2.3 has it for a server without sorting.

use crate::scim::Error;
use crate::scim::filter::{Bounds, Filter};
use crate::scim::predicate::{self, Predicate};
use crate::scim::projection::Projection;
use crate::scim::schema::ResourceSchema;

/// Bounds and defaults of a query, from the settings in force.
#[derive(Clone, Copy, Debug)]
pub struct PageBounds {
    /// The most resources of one answer.
    pub page_resources_max: usize,
    /// How many there are when the client does not say.
    pub page_resources_default: usize,
    /// Bounds of the filter.
    pub filter: Bounds,
}

/// What a list asks for.
#[derive(Clone, Debug)]
pub struct Query {
    /// Which resources; `None` for all.
    pub filter: Option<Predicate>,
    /// The 1-based place of the first resource shown.
    pub start_index: u64,
    /// The most resources shown.
    pub count: u32,
    /// Which attributes are shown.
    pub projection: Projection,
}

/// The parameters as text, each at most once.
#[derive(Debug, Default)]
struct Raw {
    filter: Option<String>,
    start_index: Option<String>,
    count: Option<String>,
    attributes: Option<String>,
    excluded_attributes: Option<String>,
}

impl Raw {
    fn parse(query: &str) -> Result<Raw, Error> {
        let mut raw = Raw::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            let place = match name.as_str() {
                "filter" => &mut raw.filter,
                "startIndex" => &mut raw.start_index,
                "count" => &mut raw.count,
                "attributes" => &mut raw.attributes,
                "excludedAttributes" => &mut raw.excluded_attributes,
                _ => continue,
            };
            if place.replace(decode(value)?).is_some() {
                return Err(Error::invalid_value(format!("The query parameter {name} is there twice.")));
            }
        }
        Ok(raw)
    }

    fn projection(&self) -> Projection {
        Projection::new(self.attributes.as_deref(), self.excluded_attributes.as_deref())
    }
}

/// Okta encodes a blank as `%20` or as `+` (okta.com, SCIM 2.0 reference; both seen on the wire).
fn decode(text: &str) -> Result<String, Error> {
    let blanks = text.replace('+', " ");
    percent_encoding::percent_decode_str(&blanks)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Error::invalid_syntax("The query is not percent-encoded UTF-8."))
}

impl Query {
    /// Reads the raw query of a list.
    ///
    /// # Errors
    /// 400 `invalidFilter` for the filter, `invalidValue` for a number that is none or a repeated parameter.
    pub fn parse(query: &str, schema: &ResourceSchema, bounds: PageBounds) -> Result<Query, Error> {
        let raw = Raw::parse(query)?;
        let filter = match raw.filter.as_deref().map(str::trim) {
            None | Some("") => None,
            Some(text) => Some(predicate::bind(&Filter::parse(text, bounds.filter)?, schema)?),
        };
        // RFC 7644 §3.4.2.4: a startIndex below 1 is 1, a negative count is 0.
        let start_index = number("startIndex", raw.start_index.as_deref())?.unwrap_or(1).max(1);
        let count = number("count", raw.count.as_deref())?
            .map_or(bounds.page_resources_default, |count| {
                usize::try_from(count.max(0)).unwrap_or(usize::MAX)
            })
            .min(bounds.page_resources_max);
        Ok(Query {
            filter,
            start_index: u64::try_from(start_index).unwrap_or(1),
            count: u32::try_from(count).unwrap_or(0),
            projection: raw.projection(),
        })
    }
}

/// Reads the raw query of a request for one resource: only which attributes are shown.
///
/// # Errors
/// 400 when a parameter is there twice or not UTF-8.
pub fn projection_of(query: &str) -> Result<Projection, Error> {
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

/// A whole number; one too large for the machine is as large as it gets.
fn number(name: &str, text: Option<&str>) -> Result<Option<i64>, Error> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::invalid_value(format!("{name} must be a whole number.")));
    }
    Ok(Some(text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::Kind;
    use crate::scim::schema::Schemas;

    fn parse(query: &str) -> Result<Query, Error> {
        let bounds = PageBounds {
            page_resources_max: 1000,
            page_resources_default: 100,
            filter: Bounds { bytes_max: 4096, depth_max: 32 },
        };
        Query::parse(query, Schemas::builtin().unwrap().of(Kind::User), bounds)
    }

    #[test]
    fn both_of_oktas_spellings_of_a_filter_are_the_same() {
        let a = parse("filter=userName%20eq%20%22test.user%40okta.local%22&startIndex=1&count=100").unwrap();
        let b = parse("count=100&filter=userName+eq+%22test.user%40okta.local%22&startIndex=1").unwrap();
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
        assert!(a.filter.is_some());
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
            assert_eq!((parsed.start_index, parsed.count), (start_index, count), "{query}");
        }
        assert_eq!(parse("count=ten").unwrap_err().detail, "count must be a whole number.");
    }

    #[test]
    fn a_repeated_parameter_is_refused_and_an_unknown_one_passed_over() {
        assert!(parse("count=1&count=2").is_err());
        assert!(parse("aadOptscim062020&sortBy=userName").is_ok());
        assert!(parse("filter=%ff").is_err());
    }
}
