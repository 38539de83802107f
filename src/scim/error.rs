//! The SCIM Error message (RFC 7644 §3.12): one constructor per case of the RFC.
//!
//! `detail` is what an Okta administrator reads in Okta's task list, so it is one sentence that says what to
//! do and holds no secret. What only the log may hear belongs to the layers above.

use serde_json::{Value, json};

use crate::scim::Kind;

/// The URN of the Error message, RFC 7644 §3.12.
pub const ERROR_URN: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// The detail error keywords of RFC 7644 §3.12, table 9, and of RFC 9865 §2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScimType {
    /// The filter is not of the grammar, or compares what cannot be compared.
    InvalidFilter,
    /// The answer would be larger than the server is willing to give.
    TooMany,
    /// A unique value is taken.
    Uniqueness,
    /// The change is not allowed by the attribute's mutability.
    Mutability,
    /// The request body is not JSON or not of the message's schema.
    InvalidSyntax,
    /// A PATCH path is not of the grammar.
    InvalidPath,
    /// A PATCH path selects nothing.
    NoTarget,
    /// A required value is missing, or a value does not fit its type.
    InvalidValue,
    /// The protocol version is not supported.
    InvalidVers,
    /// The request would put sensitive data into a URI.
    Sensitive,
    /// A cursor is none of ours, or one of another query (RFC 9865 §2.1).
    InvalidCursor,
    /// A cursor was one of ours and leads nowhere any more (RFC 9865 §2.1).
    ExpiredCursor,
    /// `count` is no number, or another than that of the query's first page (RFC 9865 §2.1).
    InvalidCount,
}

impl ScimType {
    /// The keyword as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ScimType::InvalidFilter => "invalidFilter",
            ScimType::TooMany => "tooMany",
            ScimType::Uniqueness => "uniqueness",
            ScimType::Mutability => "mutability",
            ScimType::InvalidSyntax => "invalidSyntax",
            ScimType::InvalidPath => "invalidPath",
            ScimType::NoTarget => "noTarget",
            ScimType::InvalidValue => "invalidValue",
            ScimType::InvalidVers => "invalidVers",
            ScimType::Sensitive => "sensitive",
            ScimType::InvalidCursor => "invalidCursor",
            ScimType::ExpiredCursor => "expiredCursor",
            ScimType::InvalidCount => "invalidCount",
        }
    }
}

/// A refusal as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// HTTP status.
    pub status: u16,
    /// The RFC's keyword, where it defines one for the case.
    pub scim_type: Option<ScimType>,
    /// One sentence for the administrator.
    pub detail: String,
    /// Whole seconds for `Retry-After`; Okta reads only integers there.
    pub retry_after_s: Option<u32>,
    /// The methods for `Allow`, with 405 only.
    pub allow: Option<&'static str>,
    /// What would have been taken in place of what was sent, with 415 only.
    pub supported: Option<Supported>,
}

/// What a 415 is about (RFC 9110 §15.5.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supported {
    /// The media type.
    MediaTypes,
    /// The content coding.
    ContentCodings,
}

impl Error {
    fn new(status: u16, scim_type: Option<ScimType>, detail: impl Into<String>) -> Error {
        Error { status, scim_type, detail: detail.into(), retry_after_s: None, allow: None, supported: None }
    }

    /// 400 `invalidFilter`.
    pub fn invalid_filter(detail: impl Into<String>) -> Error {
        Error::new(400, Some(ScimType::InvalidFilter), detail)
    }

    /// 400 `invalidSyntax`.
    pub fn invalid_syntax(detail: impl Into<String>) -> Error {
        Error::new(400, Some(ScimType::InvalidSyntax), detail)
    }

    /// 400 `invalidPath`.
    pub fn invalid_path(detail: impl Into<String>) -> Error {
        Error::new(400, Some(ScimType::InvalidPath), detail)
    }

    /// 400 `invalidValue`.
    pub fn invalid_value(detail: impl Into<String>) -> Error {
        Error::new(400, Some(ScimType::InvalidValue), detail)
    }

    /// 400 `noTarget`.
    pub fn no_target(detail: impl Into<String>) -> Error {
        Error::new(400, Some(ScimType::NoTarget), detail)
    }

    /// 400 `mutability`.
    pub fn mutability(detail: impl Into<String>) -> Error {
        Error::new(400, Some(ScimType::Mutability), detail)
    }

    /// 400 `tooMany`.
    pub fn too_many(detail: impl Into<String>) -> Error {
        Error::new(400, Some(ScimType::TooMany), detail)
    }

    /// 400 `invalidVers`
    pub fn invalid_vers() -> Error {
        let detail = "This server speaks SCIM 2.0; a Base URL ends in /scim/v2/ and the tenant's name.";
        Error::new(400, Some(ScimType::InvalidVers), detail)
    }

    /// 400 `sensitive`
    pub fn sensitive(detail: impl Into<String>) -> Error {
        Error::new(400, Some(ScimType::Sensitive), detail)
    }

    /// 400 `invalidCursor`.
    pub fn invalid_cursor(detail: impl Into<String>) -> Error {
        Error::new(400, Some(ScimType::InvalidCursor), detail)
    }

    /// 400 `expiredCursor`.
    pub fn expired_cursor(detail: impl Into<String>) -> Error {
        Error::new(400, Some(ScimType::ExpiredCursor), detail)
    }

    /// 400 `invalidCount`.
    pub fn invalid_count(detail: impl Into<String>) -> Error {
        Error::new(400, Some(ScimType::InvalidCount), detail)
    }

    /// 400 without a keyword: the request itself is wrong, not its SCIM content.
    pub fn bad_request(detail: impl Into<String>) -> Error {
        Error::new(400, None, detail)
    }

    /// 401. One and the same for every reason, so that nothing can be learned from it.
    pub fn unauthorized() -> Error {
        Error::new(
            401,
            None,
            "Missing or invalid API token; enter the token of this tenant in the API Token field.",
        )
    }

    /// 403.
    pub fn forbidden(detail: impl Into<String>) -> Error {
        Error::new(403, None, detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Error {
        Error::new(404, None, detail)
    }

    /// 405 with the methods that the address takes.
    pub fn method_not_allowed(method: &str, allow: &'static str) -> Error {
        let mut error =
            Error::new(405, None, format!("{method} is not possible at this address; it takes {allow}."));
        error.allow = Some(allow);
        error
    }

    /// 409 `uniqueness`.
    pub fn uniqueness(detail: impl Into<String>) -> Error {
        Error::new(409, Some(ScimType::Uniqueness), detail)
    }

    /// 409 without a keyword: what is asked for contradicts itself or what there is.
    pub fn conflict(detail: impl Into<String>) -> Error {
        Error::new(409, None, detail)
    }

    /// 412: the version in If-Match is not the present one.
    pub fn precondition_failed(detail: impl Into<String>) -> Error {
        Error::new(412, None, detail)
    }

    /// 413.
    pub fn payload_too_large(bytes_max: usize) -> Error {
        Error::new(413, None, format!("The request body is larger than the {bytes_max} bytes allowed."))
    }

    /// 413: the request has more operations than allowed; `what` begins the sentence.
    pub fn too_many_operations(what: &str, operations_max: usize) -> Error {
        let detail =
            format!("{what} may have at most {operations_max} operations; send the rest in another.");
        Error::new(413, None, detail)
    }

    /// 413: a resource would become larger than it may be.
    pub fn resource_too_large(kind: Kind, bytes_max: usize) -> Error {
        let noun = kind.noun();
        Error::new(
            413,
            None,
            format!(
                "The {noun} would be larger than the {bytes_max} bytes allowed for one; leave attributes out or shorten them."
            ),
        )
    }

    /// 415.
    pub fn unsupported_media_type() -> Error {
        let mut error = Error::new(
            415,
            None,
            "The request body must be sent as application/scim+json or application/json.",
        );
        error.supported = Some(Supported::MediaTypes);
        error
    }

    /// 415: the body is in another encoding of text than UTF-8 (RFC 7644 §3.1).
    pub fn unsupported_charset() -> Error {
        let mut error = Error::unsupported_media_type();
        error.detail = "The request body must be in UTF-8; its charset names another encoding.".to_owned();
        error
    }

    /// 415: the body is packed in another way than is understood.
    pub fn unsupported_content_coding() -> Error {
        let mut error = Error::new(
            415,
            None,
            "The request body must be sent as it is or packed once, by gzip; its Content-Encoding says otherwise.",
        );
        error.supported = Some(Supported::ContentCodings);
        error
    }

    /// 406: the client takes nothing that could be answered.
    pub fn not_acceptable() -> Error {
        Error::new(
            406,
            None,
            "Answers are application/scim+json or application/json, and the header Accept takes neither.",
        )
    }

    /// 408: the body did not arrive in time.
    pub fn request_timeout() -> Error {
        Error::new(408, None, "The request body did not arrive in time.")
    }

    /// 429 with the seconds to wait.
    pub fn too_many_requests(retry_after_s: u32) -> Error {
        let mut error =
            Error::new(429, None, format!("Too many requests; try again in {retry_after_s} seconds."));
        error.retry_after_s = Some(retry_after_s);
        error
    }

    /// 429: the tenant is asked faster than it may be, with the seconds to wait.
    pub fn too_fast(retry_after_s: u32) -> Error {
        let seconds = if retry_after_s == 1 { "second" } else { "seconds" };
        let detail = format!(
            "More requests came for this tenant than it takes; try again in {retry_after_s} {seconds}."
        );
        Error { detail, ..Error::too_many_requests(retry_after_s) }
    }

    /// 500: shows nothing but the id under which the log tells what happened.
    pub fn internal(request_id: &str) -> Error {
        Error::new(
            500,
            None,
            format!(
                "Something went wrong on the server; its operator finds the reason under request id {request_id}."
            ),
        )
    }

    /// 501.
    pub fn not_implemented(detail: impl Into<String>) -> Error {
        Error::new(501, None, detail)
    }

    /// 503 with the seconds to wait.
    pub fn unavailable(detail: impl Into<String>, retry_after_s: u32) -> Error {
        let mut error = Error::new(503, None, detail);
        error.retry_after_s = Some(retry_after_s);
        error
    }

    /// The message as JSON; `status` is a string (RFC 7644 §3.12).
    pub fn to_json(&self) -> Value {
        let mut body = json!({ "schemas": [ERROR_URN] });
        if let Some(scim_type) = self.scim_type {
            body["scimType"] = json!(scim_type.as_str());
        }
        body["detail"] = json!(self.detail);
        body["status"] = json!(self.status.to_string());
        body
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_the_rfcs_shape_and_a_status_in_quotes() {
        assert_eq!(
            Error::uniqueness("taken").to_json(),
            json!({ "schemas": [ERROR_URN], "scimType": "uniqueness", "detail": "taken", "status": "409" })
        );
        assert_eq!(
            Error::not_found("gone").to_json(),
            json!({ "schemas": [ERROR_URN], "detail": "gone", "status": "404" })
        );
    }

    #[test]
    fn waiting_is_said_in_whole_seconds() {
        assert_eq!(Error::too_many_requests(30).retry_after_s, Some(30));
        assert_eq!(Error::unavailable("busy", 5).retry_after_s, Some(5));
    }
}
