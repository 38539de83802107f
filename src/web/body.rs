//! The body of a request: its media type, reading it under a limit and a deadline, throwing the rest away.
//!
//! warp's own filters are of no use for that: `body::json` refuses `application/scim+json`, and
//! `content_length_limit` refuses chunked bodies. What the body means is decided in the layers below.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use tokio::time::Instant;

use crate::scim::Error;
use crate::web::coding::{self, Coding, Unpacker};

/// Media types taken for a request body: that of RFC 7644 §3.1, and what older clients and the suites send.
const MEDIA_TYPES: [&str; 2] = ["application/scim+json", "application/json"];

/// How much of an unwanted body is read and thrown away, so that the client reads our answer: closing a socket
/// with unread bytes in it makes the client's side drop the answer. 8 MiB is twice the default limit of a body.
const DISCARD_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How long that may take.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);

/// Whether the body may be read as SCIM: upper and lower case and unknown parameters do not matter, and a client that
/// does not name a type is taken at its body.
///
/// # Errors
/// 415 when the type is another one, or its `charset` is not UTF-8 (of which ASCII is a part).
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Error> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let mut parts = value.to_str().unwrap_or("?").split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    if !essence.is_empty() && !MEDIA_TYPES.iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        return Err(Error::unsupported_media_type());
    }
    for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
        let charset = value.trim().trim_matches('"');
        let known = ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known));
        if name.trim().eq_ignore_ascii_case("charset") && !known {
            return Err(Error::unsupported_charset());
        }
    }
    Ok(())
}

/// A body on its way in.
pub(super) struct Body<S> {
    stream: S,
    /// What the client says it will send.
    announced_bytes: Option<u64>,
    /// Whether nothing is left to read.
    ended: bool,
    /// Whether the client holds the body back until it is asked for it.
    held_back: bool,
    bytes_read: u64,
}

impl<S, B, E> Body<S>
where
    S: Stream<Item = Result<B, E>> + Send + Unpin + 'static,
    B: Buf,
{
    /// Wraps the stream of a request with these headers. `is_empty` says that no body follows; what no header
    /// announces follows all the same in HTTP/2, whose frames tell where it ends.
    pub(super) fn new(stream: S, headers: &HeaderMap, is_empty: bool) -> Body<S> {
        let announced_bytes = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Body {
            stream,
            announced_bytes,
            ended: is_empty,
            held_back: headers.contains_key(EXPECT),
            bytes_read: 0,
        }
    }

    /// The bytes read so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Reads the whole body, and unpacks it where it comes in a coding.
    ///
    /// # Errors
    /// 413 as soon as it is known to be larger than `bytes_max`, packed or unpacked, at once when the client says so
    /// itself; 408 when it has not arrived by the deadline; 400 when it breaks off or is not of the coding.
    pub(super) async fn read(
        &mut self,
        coding: Option<Coding>,
        bytes_max: usize,
        deadline: Instant,
    ) -> Result<Bytes, Error> {
        let too_large = |bytes: u64| usize::try_from(bytes).map_or(true, |bytes| bytes > bytes_max);
        if self.announced_bytes.is_some_and(too_large) {
            return Err(Error::payload_too_large(bytes_max));
        }
        // Memory is taken as bytes arrive, not as they are announced.
        let mut whole = BytesMut::new();
        let mut unpacker = coding.map(|_| Unpacker::new());
        while !self.ended {
            let next = tokio::time::timeout_at(deadline, self.stream.next()).await;
            match next.map_err(|_| Error::request_timeout())? {
                None => self.ended = true,
                Some(Err(_)) => {
                    self.ended = true;
                    return Err(Error::bad_request("The request body broke off."));
                }
                Some(Ok(mut chunk)) => {
                    self.bytes_read += chunk.remaining() as u64;
                    if too_large(self.bytes_read) {
                        return Err(Error::payload_too_large(bytes_max));
                    }
                    while chunk.has_remaining() {
                        let part = chunk.chunk();
                        let length = part.len();
                        match &mut unpacker {
                            None => whole.extend_from_slice(part),
                            Some(unpacker) => unpacker.unpack(part, &mut whole, bytes_max).await?,
                        }
                        chunk.advance(length);
                    }
                }
            }
        }
        match unpacker {
            Some(unpacker) if !unpacker.is_complete() => Err(coding::broken()),
            _ => Ok(whole.freeze()),
        }
    }

    /// Throws away what nobody wants, within bounds and without keeping the answer waiting.
    pub(super) fn discard(mut self) {
        if self.ended || self.held_back {
            return;
        }
        tokio::spawn(tokio::time::timeout(DISCARD_TIME_MAX, async move {
            let mut discarded: u64 = 0;
            while let Some(Ok(chunk)) = self.stream.next().await {
                discarded += chunk.remaining() as u64;
                if discarded > DISCARD_BYTES_MAX {
                    break;
                }
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http::HeaderValue;
    use http::header::TRANSFER_ENCODING;

    fn headers(pairs: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn far() -> Instant {
        Instant::from_std(crate::clock::Stopwatch::start().started()) + Duration::from_secs(3600)
    }

    async fn read(
        pairs: &[(http::HeaderName, &'static str)],
        chunks: &[&'static str],
    ) -> Result<Bytes, Error> {
        let chunks: Vec<_> =
            chunks.iter().map(|chunk| Ok::<_, ()>(Bytes::from_static(chunk.as_bytes()))).collect();
        Body::new(stream::iter(chunks), &headers(pairs), pairs.is_empty()).read(None, 8, far()).await
    }

    #[test]
    fn both_media_types_are_taken_in_any_case_and_with_parameters() {
        for good in [
            "application/scim+json",
            "application/json",
            "Application/SCIM+JSON; charset=UTF-8",
            "application/json;charset=utf-8",
            " application/json ",
            "application/scim+json; charset=\"UTF-8\"; profile=x",
            "application/json; charset=us-ascii",
            "",
        ] {
            let mut map = HeaderMap::new();
            map.insert(CONTENT_TYPE, HeaderValue::from_str(good).unwrap());
            assert_eq!(check_media_type(&map), Ok(()), "{good}");
        }
        assert_eq!(check_media_type(&HeaderMap::new()), Ok(()));
        for bad in [
            "text/plain",
            "application/xml",
            "application/json-patch+json",
            "json",
            "*/*",
            "application/scim+json; charset=iso-8859-1",
            "application/json;charset=UTF-16",
        ] {
            let refused = check_media_type(&headers(&[(CONTENT_TYPE, bad)])).unwrap_err();
            assert_eq!(refused.status, 415, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_body_comes_whole_whether_announced_or_chunked() {
        assert_eq!(read(&[(CONTENT_LENGTH, "4")], &["ab", "cd"]).await.unwrap(), "abcd");
        assert_eq!(read(&[(TRANSFER_ENCODING, "chunked")], &["ab", "cdefgh"]).await.unwrap(), "abcdefgh");
        assert_eq!(read(&[], &[]).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_when_announced_and_when_it_grows_past_it() {
        assert_eq!(read(&[(CONTENT_LENGTH, "9")], &[]).await.unwrap_err().status, 413);
        let chunked = read(&[(TRANSFER_ENCODING, "chunked")], &["abcde", "fghi"]).await;
        assert_eq!(chunked.unwrap_err().status, 413);
        assert_eq!(read(&[(CONTENT_LENGTH, "99999999999999999999")], &["x"]).await.unwrap(), "x");
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_408_and_one_that_breaks_off_is_400() {
        let announced = headers(&[(CONTENT_LENGTH, "4")]);
        let past = Instant::from_std(crate::clock::Stopwatch::start().started());
        let mut slow = Body::new(stream::pending::<Result<Bytes, ()>>(), &announced, false);
        assert_eq!(slow.read(None, 8, past).await.unwrap_err().status, 408);
        let mut broken = Body::new(stream::iter([Ok(Bytes::from_static(b"ab")), Err(())]), &announced, false);
        assert_eq!(broken.read(None, 8, far()).await.unwrap_err().status, 400);
    }
}
