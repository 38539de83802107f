//! Answers as HTTP: status, headers, body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LOCATION,
    CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::config::COMPRESS_BYTES_NEVER;
use crate::directory;
use crate::scim::{Error, Supported};
use crate::tenants::{Answered, Rest};
use crate::web::coding::{Coding, Packed, Packer, STEP_BYTES};
use crate::web::edge::Closing;
use crate::web::negotiation;

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/scim+json");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"ICI SCIM\"");
const MEDIA_TYPES: HeaderValue = HeaderValue::from_static("application/scim+json, application/json");
const CODINGS: HeaderValue = HeaderValue::from_static("gzip");
/// What a PATCH may come as (RFC 5789 §3.1); http has no name for it.
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Room for the headers of most answers, with those that hyper adds.
const HEADERS: usize = 8;

/// An answer on its way to the client.
pub(super) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    rest: Option<Rest>,
    /// Set when the body is packed while it is sent. Boxed: nearly no answer has one, and each would have room for it.
    packer: Option<Box<Packer>>,
    /// Whether only the head is sent.
    is_head: bool,
    /// Whether the answer tells no length and sends no body.
    without_length: bool,
    /// Ends the request when it is dropped: with a rest, when that is sent.
    closing: Option<Closing>,
}

impl Reply {
    /// What the directory answered. Of an answer to HEAD nothing is sent but the head.
    pub(super) fn answer(answered: Answered, is_head: bool) -> Reply {
        let Answered { answer, rest, .. } = answered;
        let mut reply = Reply::new(answer.status, answer.body.unwrap_or_default());
        if let Some(location) = answer.location
            && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(location))
        {
            reply.headers.insert(LOCATION, value);
        }
        // RFC 7643 §3.1: the address of the resource in the body is its Content-Location too.
        if !reply.body.is_empty()
            && let Some(value) = reply.headers.get(LOCATION).cloned()
        {
            reply.headers.insert(CONTENT_LOCATION, value);
        }
        reply.text(ETAG, answer.etag.as_deref());
        // How long the body would be is not known then, and hyper would tell the length of its first part.
        reply.is_head = is_head;
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
        match error.supported {
            Some(Supported::MediaTypes) => {
                reply.headers.insert(ACCEPT, MEDIA_TYPES);
            }
            Some(Supported::ContentCodings) => {
                reply.headers.insert(ACCEPT_ENCODING, CODINGS);
            }
            None => {}
        }
        reply
    }

    /// Adds the address of what was asked for, unless the answer tells one already.
    pub(super) fn locate(&mut self, location: Option<&str>) {
        if location.is_some() && !self.headers.contains_key(LOCATION) {
            self.text(LOCATION, location);
        }
    }

    /// The answer to OPTIONS: the methods that the refusal of it names.
    pub(super) fn options(refusal: &Error) -> Reply {
        let mut reply = Reply::new(204, Vec::new());
        reply.text(ALLOW, refusal.allow);
        if refusal.allow.is_some_and(|allow| allow.contains("PATCH")) {
            reply.headers.insert(ACCEPT_PATCH, MEDIA_TYPES);
        }
        reply
    }

    /// Gives the answer the media type that the client likes best, and packs it where the client takes it so and it has
    /// at least so many bytes. A short one is packed here, a long one while it is sent.
    pub(super) fn suit(&mut self, headers: &HeaderMap, compress_bytes_min: usize) {
        if headers.contains_key(ACCEPT)
            && let Some(wanted) = negotiation::media_type(headers)
            && let Some(held) = self.headers.get_mut(CONTENT_TYPE)
        {
            *held = wanted;
        }
        let in_parts = self.rest.is_some() || self.without_length;
        let is_large =
            self.body.len() >= compress_bytes_min || in_parts && compress_bytes_min < COMPRESS_BYTES_NEVER;
        if is_large {
            self.headers.insert(VARY, HeaderValue::from(ACCEPT_ENCODING));
            if let Some(coding) = negotiation::coding(headers) {
                self.pack(coding);
            }
        }
    }

    fn pack(&mut self, coding: Coding) {
        if self.is_head {
            self.without_length = true;
        } else if self.rest.is_none() && self.body.len() <= STEP_BYTES {
            match Packer::whole(coding, &self.body) {
                Ok(packed) => self.body = packed,
                Err(_) => return,
            }
        } else {
            match Packer::new(coding) {
                Ok(packer) => self.packer = Some(Box::new(packer)),
                Err(_) => return,
            }
        }
        self.headers.insert(CONTENT_ENCODING, coding.header());
    }

    /// Adds the id under which the log knows the request.
    pub(super) fn name_request(&mut self, request_id: &str) {
        self.text(REQUEST_ID, Some(request_id));
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The length of the body in bytes, as far as it is known before it is sent.
    pub(super) fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// Has the request logged and counted: at once, or when all of the answer is sent.
    pub(super) fn close_by(&mut self, mut closing: Closing) {
        if self.rest.is_some() || self.packer.is_some() {
            self.closing = Some(closing);
        } else {
            closing.answered(self.status(), self.body_bytes());
        }
    }

    fn new(status: u16, body: Vec<u8>) -> Reply {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Answers are personal data behind a token: no cache on the way may keep them.
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, MEDIA_TYPE);
        }
        Reply {
            status,
            headers,
            body,
            rest: None,
            packer: None,
            is_head: false,
            without_length: false,
            closing: None,
        }
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
        let mut response = match (self.rest, self.packer) {
            _ if self.without_length => {
                warp::reply::stream(stream::empty::<Result<Vec<u8>, BrokenOff>>()).into_response()
            }
            (None, None) => warp::reply::Response::new(self.body.into()),
            (rest, packer) => {
                let parts = Parts { first: Some(self.body), rest };
                let body = match packer {
                    Some(packer) => Outgoing::Packed(Box::new(Packed::new(parts, *packer))),
                    None => Outgoing::Plain(parts),
                };
                let sending = Sending { body, bytes: 0, status: self.status, closing: self.closing };
                warp::reply::stream(sending).into_response()
            }
        };
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// The parts of a body as they are read.
struct Parts {
    first: Option<Vec<u8>>,
    rest: Option<Rest>,
}

impl Stream for Parts {
    type Item = Result<Vec<u8>, directory::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_next(cx),
            None => Poll::Ready(None),
        }
    }
}

/// The parts of a body as they are sent.
enum Outgoing {
    Plain(Parts),
    Packed(Box<Packed<Parts>>),
}

/// A body that is sent while it is being read or packed; its request is logged when this is dropped.
struct Sending {
    body: Outgoing,
    bytes: usize,
    status: StatusCode,
    closing: Option<Closing>,
}

/// An answer broke off; hyper then closes the connection, so that the client does not take a part for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
struct BrokenOff;

impl Stream for Sending {
    type Item = Result<Vec<u8>, BrokenOff>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(match &mut self.body {
            Outgoing::Plain(parts) => Pin::new(parts).poll_next(cx),
            Outgoing::Packed(packed) => Pin::new(packed).poll_next(cx),
        });
        Poll::Ready(match next {
            Some(Ok(part)) => {
                self.bytes += part.len();
                Some(Ok(part))
            }
            Some(Err(error)) => {
                if let Some(closing) = &self.closing {
                    closing.log_reason(error.reason().unwrap_or("the answer broke off"));
                }
                Some(Err(BrokenOff))
            }
            None => {
                let (status, bytes) = (self.status.as_u16(), self.bytes);
                if let Some(mut closing) = self.closing.take() {
                    closing.answered(status, bytes);
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
        let mut reply = Reply::answer(answer.into(), false);
        reply.name_request("abc");
        let response = reply.into_response();
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
