//! Answers as HTTP: status, headers, body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, stream};
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::scim::Error;
use crate::tenants::{Answered, Rest};
use crate::web::edge::Record;

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/scim+json");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"ICI SCIM\"");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Room for the headers of most answers, with those that hyper adds.
const HEADERS: usize = 8;

/// An answer on its way to the client.
pub(super) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    rest: Option<Rest>,
    /// Whether the answer tells no length and sends no body.
    without_length: bool,
    /// Logs the request when it is dropped: with a rest, when that is sent.
    record: Option<Record>,
}

impl Reply {
    /// What the directory answered. Of an answer to HEAD nothing is sent but the head.
    pub(super) fn answer(answered: Answered, is_head: bool) -> Reply {
        let Answered { answer, rest, .. } = answered;
        let mut reply = Reply::new(answer.status, answer.body.unwrap_or_default());
        reply.text(LOCATION, answer.location.as_deref());
        reply.text(ETAG, answer.etag.as_deref());
        // How long the body would be is not known then, and hyper would tell the length of its first part.
        reply.without_length = is_head && rest.is_some();
        reply.rest = rest.filter(|_| !is_head);
        reply
    }

    /// A refusal as a SCIM Error, with the headers that belong to its status.
    pub(super) fn refusal(error: &Error) -> Reply {
        let mut reply = Reply::new(error.status, error.to_json().to_string().into_bytes());
        reply.text(ALLOW, error.allow);
        if let Some(seconds) = error.retry_after_s {
            reply.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match error.status {
            401 => {
                reply.headers.insert(WWW_AUTHENTICATE, CHALLENGE);
            }
            // The rest of the body may still come; RFC 9110 §15.5.9 asks to say that we do not wait for it.
            408 => {
                reply.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        reply
    }

    /// Adds the id under which the log knows the request.
    pub(super) fn with_request_id(mut self, request_id: &str) -> Reply {
        self.text(REQUEST_ID, Some(request_id));
        self
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The length of the body in bytes, as far as it is known before it is sent.
    pub(super) fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// Has the request logged: at once, or when all of the answer is sent.
    pub(super) fn logged_by(mut self, mut record: Record) -> Reply {
        if self.rest.is_some() {
            self.record = Some(record);
        } else {
            record.answered(self.status(), self.body_bytes());
        }
        self
    }

    fn new(status: u16, body: Vec<u8>) -> Reply {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Answers are personal data behind a token: no cache on the way may keep them.
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, MEDIA_TYPE);
        }
        Reply { status, headers, body, rest: None, without_length: false, record: None }
    }

    /// Adds a header; a text that no header can hold is left out.
    fn text(&mut self, name: HeaderName, text: Option<&str>) {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
            self.headers.insert(name, value);
        }
    }
}

impl warp::Reply for Reply {
    fn into_response(self) -> warp::reply::Response {
        // hyper adds Content-Length, and leaves the body of an answer to HEAD unsent.
        let mut response = match self.rest {
            None if self.without_length => {
                warp::reply::stream(stream::empty::<Result<Vec<u8>, BrokenOff>>()).into_response()
            }
            None => warp::reply::Response::new(self.body.into()),
            Some(rest) => {
                let first = Some(self.body);
                warp::reply::stream(Sending {
                    first,
                    rest,
                    bytes: 0,
                    status: self.status,
                    record: self.record,
                })
                .into_response()
            }
        };
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A body that is sent while it is being read; its request is logged when this is dropped.
struct Sending {
    first: Option<Vec<u8>>,
    rest: Rest,
    bytes: usize,
    status: StatusCode,
    record: Option<Record>,
}

/// An answer broke off; hyper then closes the connection, so that the client does not take a part for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
struct BrokenOff;

impl Stream for Sending {
    type Item = Result<Vec<u8>, BrokenOff>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => ready!(Pin::new(&mut self.rest).poll_next(cx)),
        };
        Poll::Ready(match next {
            Some(Ok(part)) => {
                self.bytes += part.len();
                Some(Ok(part))
            }
            Some(Err(error)) => {
                if let Some(record) = &self.record {
                    record.log_reason(error.reason().unwrap_or("the answer broke off"));
                }
                Some(Err(BrokenOff))
            }
            None => {
                let (status, bytes) = (self.status.as_u16(), self.bytes);
                if let Some(mut record) = self.record.take() {
                    record.answered(status, bytes);
                }
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Answer;
    use warp::Reply as _;

    fn header<'a>(response: &'a warp::reply::Response, name: &str) -> Option<&'a str> {
        response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn an_answer_carries_its_type_place_and_version_and_is_not_cached() {
        let answer = Answer {
            status: 201,
            body: Some(b"{}".to_vec()),
            location: Some("http://a.example/scim/v2/acme/Users/1".into()),
            etag: Some("W/\"1\"".into()),
        };
        let response = Reply::answer(answer.into(), false).with_request_id("abc").into_response();
        assert_eq!(response.status(), 201);
        assert_eq!(header(&response, "content-type"), Some("application/scim+json"));
        assert_eq!(header(&response, "location"), Some("http://a.example/scim/v2/acme/Users/1"));
        assert_eq!(header(&response, "etag"), Some("W/\"1\""));
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
        assert_eq!(header(&response, "x-request-id"), Some("abc"));
    }

    #[test]
    fn an_answer_without_a_body_names_no_type() {
        let answer = Answer { status: 204, body: None, location: None, etag: None };
        let response = Reply::answer(answer.into(), false).into_response();
        assert_eq!(response.status(), 204);
        assert_eq!(header(&response, "content-type"), None);
    }

    #[test]
    fn refusals_carry_the_headers_of_their_status() {
        let refused = |error: Error| Reply::refusal(&error).into_response();
        let unauthorized = refused(Error::unauthorized());
        assert_eq!(header(&unauthorized, "www-authenticate"), Some("Bearer realm=\"ICI SCIM\""));
        assert_eq!(header(&unauthorized, "content-type"), Some("application/scim+json"));
        assert_eq!(
            header(&refused(Error::method_not_allowed("PUT", "GET, HEAD")), "allow"),
            Some("GET, HEAD")
        );
        assert_eq!(header(&refused(Error::too_many_requests(7)), "retry-after"), Some("7"));
        assert_eq!(header(&refused(Error::request_timeout()), "connection"), Some("close"));
    }

    #[test]
    fn a_line_break_cannot_smuggle_in_a_header() {
        let answer =
            Answer { status: 200, body: None, location: Some("http://a\r\nX: y".into()), etag: None };
        assert_eq!(header(&Reply::answer(answer.into(), false).into_response(), "location"), None);
    }
}
