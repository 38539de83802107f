//! An answer, as far as a diagnosis needs it. Pure.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

/// Longest text of an answer that is repeated to a person, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// An answer to one request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Method, path and query, as a person would look for it in a log.
    pub asked: String,
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, unpacked.
    pub body: Bytes,
    /// The body as JSON, null when it is none.
    pub json: Value,
    /// The time until the whole answer was there, in milliseconds.
    pub duration_ms: u64,
}

/// What the body of an answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// Nothing.
    Empty,
    /// JSON of any kind.
    Json,
    /// A page for browsers.
    Html,
    /// Anything else.
    Text,
}

impl Answer {
    /// An answer of these parts.
    pub fn new(asked: String, status: u16, headers: HeaderMap, body: Bytes, duration_ms: u64) -> Answer {
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { asked, status, headers, body, json, duration_ms }
    }

    /// What the body looks like, whatever its media type says.
    pub fn kind(&self) -> BodyKind {
        let text = self.body.trim_ascii_start();
        if text.is_empty() {
            BodyKind::Empty
        } else if text.first() == Some(&b'<') {
            BodyKind::Html
        } else if self.json.is_null() {
            BodyKind::Text
        } else {
            BodyKind::Json
        }
    }

    /// A header field as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The media type without its parameters, in lower case.
    pub fn media_type(&self) -> Option<String> {
        let text = self.header("content-type")?.split(';').next()?.trim().to_ascii_lowercase();
        Some(text).filter(|text| !text.is_empty())
    }

    /// `detail` of a SCIM error, or the message of other APIs; one line, cut where it gets long.
    pub fn detail(&self) -> Option<String> {
        let found = ["detail", "message", "error_description", "error", "title"]
            .iter()
            .find_map(|key| self.json.get(*key)?.as_str());
        found.map(shown)
    }
}

/// A text from outside for a person: one line, cut where it gets long.
pub(super) fn shown(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHOWN_CHARS_MAX {
        return line;
    }
    line.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Answer::new("GET /Users".to_owned(), 200, HeaderMap::new(), body, 1)
    }

    #[test]
    fn a_body_is_told_by_what_it_is() {
        let kinds = [
            ("", BodyKind::Empty),
            (" \r\n", BodyKind::Empty),
            ("{}", BodyKind::Json),
            ("[]", BodyKind::Json),
            ("\n<!doctype html>", BodyKind::Html),
            ("<html>", BodyKind::Html),
            ("Not Found", BodyKind::Text),
        ];
        for (body, kind) in kinds {
            assert_eq!(answer(body).kind(), kind, "{body:?}");
        }
    }

    #[test]
    fn the_reason_of_an_error_is_found_in_scim_and_in_others() {
        assert_eq!(answer(r#"{"detail":"No.\nNever."}"#).detail().as_deref(), Some("No. Never."));
        assert_eq!(answer(r#"{"message":"no"}"#).detail().as_deref(), Some("no"));
        assert_eq!(answer(r#"{"detail":7}"#).detail(), None);
        let long = answer(&format!("{{\"detail\":\"{}\"}}", "ä".repeat(900))).detail().unwrap();
        assert_eq!(long.chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
