//! What happens to every request, whatever it asks: an id, one log line, a net for panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::{FutureExt, Stream};
use tokio::time::Instant;

use crate::clock::Stopwatch;
use crate::config::TenantName;
use crate::scim::Error;
use crate::tenants::Caller;
use crate::web::reply::Reply;
use crate::web::{Request, Site};

/// Answers a request.
pub(super) async fn answer<S, B, E>(site: Arc<Site>, request: Request<S>) -> Reply
where
    S: Stream<Item = Result<B, E>> + Send + Unpin + 'static,
    B: Buf + Send,
    E: Send,
{
    let mut record = Record::begin();
    let request_id = record.request_id;
    let reply = survive(request_id.as_str(), crate::web::scim::answer(&site, request, &mut record)).await;
    reply.with_request_id(request_id.as_str()).logged_by(record)
}

/// Turns a panic into a 500. The hook of `telemetry` has logged where it happened; its text may hold anything and
/// is shown to nobody.
async fn survive(request_id: &str, answering: impl Future<Output = Reply>) -> Reply {
    AssertUnwindSafe(answering).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(request_id, "the request failed by a panic");
        Reply::refusal(&Error::internal(request_id))
    })
}

/// The id of a request: 32 hexadecimal digits of ours.
#[derive(Clone, Copy)]
struct RequestId([u8; uuid::fmt::Simple::LENGTH]);

impl RequestId {
    fn new() -> RequestId {
        let mut digits = [0; uuid::fmt::Simple::LENGTH];
        uuid::Uuid::new_v4().simple().encode_lower(&mut digits);
        RequestId(digits)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What the log is told about a request: never its path, query, body or anybody's name.
///
/// Written when it is dropped, so that a request is logged too whose client has gone, or which
/// the stopping server cut off.
pub(super) struct Record {
    request_id: RequestId,
    stopwatch: Stopwatch,
    /// Only after the token was found right: before, the path may hold anything.
    caller: Option<(TenantName, Arc<str>)>,
    route: Option<&'static str>,
    status: Option<u16>,
    bytes_in: u64,
    bytes_out: usize,
}

impl Record {
    fn begin() -> Record {
        Record {
            request_id: RequestId::new(),
            stopwatch: Stopwatch::start(),
            caller: None,
            route: None,
            status: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// The id of the request: 32 hexadecimal digits of ours.
    pub(super) fn request_id(&self) -> &str {
        self.request_id.as_str()
    }

    /// The instant `after` the request began.
    pub(super) fn deadline(&self, after: Duration) -> Instant {
        Instant::from_std(self.stopwatch.started()) + after
    }

    /// Notes who asks.
    pub(super) fn set_caller(&mut self, caller: &Caller) {
        self.caller = Some((caller.tenant.clone(), Arc::clone(&caller.token)));
    }

    /// Notes what is asked, by a name of ours.
    pub(super) fn set_route(&mut self, route: &'static str) {
        self.route = Some(route);
    }

    /// Notes how much of the body was read.
    pub(super) fn set_bytes_in(&mut self, bytes: u64) {
        self.bytes_in = bytes;
    }

    /// Logs why the server could not answer; the client learns only the request's id.
    pub(super) fn log_reason(&self, reason: &str) {
        tracing::error!(request_id = self.request_id(), tenant = self.tenant(), reason, "the request failed");
    }

    /// Notes what was answered, when all of it is sent as far as we know.
    pub(super) fn answered(&mut self, status: u16, bytes_out: usize) {
        self.status = Some(status);
        self.bytes_out = bytes_out;
    }

    fn tenant(&self) -> Option<&str> {
        self.caller.as_ref().map(|(tenant, _)| tenant.as_str())
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration_us = u64::try_from(self.stopwatch.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            request_id = self.request_id(),
            tenant = self.tenant(),
            token = self.caller.as_ref().map(|(_, token)| &**token),
            route = self.route,
            status = self.status,
            duration_us,
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            "{}",
            if self.status.is_some() {
                "request"
            } else {
                "request abandoned before it was answered in full"
            }
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::Reply as _;

    #[tokio::test]
    async fn a_panic_is_a_500_that_shows_the_request_id_and_nothing_of_the_panic() {
        let reply = survive("0123abcd", async { panic!("ici_secret of mia@example.com") }).await;
        assert_eq!(reply.status(), 500);
        let body =
            http_body_util::BodyExt::collect(reply.into_response().into_body()).await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("0123abcd") && !text.contains("secret") && !text.contains("mia"), "{text}");
    }
}
