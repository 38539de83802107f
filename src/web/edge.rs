//! What happens to every request, whatever it asks: an id, one log line, a net for panics.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::{FutureExt, Stream};
use tokio::time::Instant;
use warp::Reply as _;

use crate::clock::Stopwatch;
#[cfg(feature = "otlp")]
use crate::clock::SystemClock;
use crate::config::TenantName;
#[cfg(feature = "otlp")]
use crate::metrics::spans::{Begun, Finished};
use crate::scim::Error;
use crate::scim::route::Route;
use crate::tenants::{Caller, Trail};
#[cfg(feature = "otlp")]
use crate::web::Head;
use crate::web::reply::Reply;
use crate::web::{Peer, Request, Site};

/// Answers a request.
pub(super) async fn answer<S, B, E>(site: Arc<Site>, request: Request<S>) -> warp::reply::Response
where
    S: Stream<Item = Result<B, E>> + Send + Unpin + 'static,
    B: Buf + Send,
    E: Send,
{
    let mut closing = Closing { site, record: Record::begin(Arc::clone(&request.head.peer)) };
    let Closing { site, record } = &mut closing;
    #[cfg(feature = "otlp")]
    record.begin_span(site, &request.head);
    let request_id = record.request_id;
    let mut reply = survive(request_id, pin!(crate::web::scim::answer(site, request, record))).await;
    reply.name_request(request_id.as_str());
    reply.close_by(closing);
    // A response now, since it is smaller than what it is made of, and moved by each filter on its way out.
    reply.into_response()
}

/// Turns a panic into a 500. The hook of `telemetry` has logged where it happened; its text may hold anything and
/// is shown to nobody.
async fn survive(request_id: RequestId, answering: Pin<&mut impl Future<Output = Reply>>) -> Reply {
    AssertUnwindSafe(answering).catch_unwind().await.unwrap_or_else(|_| {
        let request_id = request_id.as_str();
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

/// Logs and counts a request when it is dropped, so that one is told of too whose client has gone, or which the
/// stopping server cut off.
pub(super) struct Closing {
    site: Arc<Site>,
    record: Record,
}

impl Closing {
    /// Notes what was answered, when all of it is sent as far as we know.
    pub(super) fn answered(&mut self, status: u16, bytes_out: usize) {
        self.record.status = Some(status);
        self.record.bytes_out = bytes_out;
    }

    /// Logs why the server could not answer; the client learns only the request's id.
    pub(super) fn log_reason(&self, reason: &str) {
        self.record.log_reason(reason);
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let record = &mut self.record;
        let duration = record.stopwatch.elapsed();
        record.log(duration);
        let tenant = record.caller.as_ref().map(|caller| &*caller.counters);
        self.site.tenants.metrics().request(tenant, record.route, record.status, duration);
        #[cfg(feature = "otlp")]
        record.end_span(&self.site, duration);
        if record.slow_ms > 0 && duration >= Duration::from_millis(record.slow_ms) {
            record.log_slow(duration);
        }
    }
}

/// What is known of a request: never its path, query, body or anybody's name.
pub(super) struct Record {
    request_id: RequestId,
    stopwatch: Stopwatch,
    peer: Arc<Peer>,
    /// The client behind a trusted proxy.
    forwarded_for: Option<IpAddr>,
    /// Only after the token was found right: before, the path may hold anything.
    caller: Option<Arc<Caller>>,
    route: Option<Route>,
    status: Option<u16>,
    bytes_in: u64,
    bytes_out: usize,
    /// From how many milliseconds on it is logged as slow; 0 for never.
    slow_ms: u64,
    trail: Trail,
    /// What is known of it for a trace, if it is to be traced.
    #[cfg(feature = "otlp")]
    span: Option<Begun>,
}

impl Record {
    fn begin(peer: Arc<Peer>) -> Record {
        Record {
            request_id: RequestId::new(),
            stopwatch: Stopwatch::start(),
            peer,
            forwarded_for: None,
            caller: None,
            route: None,
            status: None,
            bytes_in: 0,
            bytes_out: 0,
            slow_ms: 0,
            trail: Trail::default(),
            #[cfg(feature = "otlp")]
            span: None,
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

    /// Notes for whom a trusted proxy asks.
    pub(super) fn set_forwarded_for(&mut self, client: Option<IpAddr>) {
        self.forwarded_for = client;
    }

    /// Notes who asks.
    pub(super) fn set_caller(&mut self, caller: &Arc<Caller>) {
        self.caller = Some(Arc::clone(caller));
    }

    /// Notes what is asked, by a name of ours.
    pub(super) fn set_route(&mut self, route: Route) {
        self.route = Some(route);
    }

    /// Notes from how many milliseconds on it is to be logged as slow; 0 for never.
    pub(super) fn set_slow_ms(&mut self, slow_ms: u64) {
        self.slow_ms = slow_ms;
    }

    /// What it leaves behind in its tenant's directory.
    pub(super) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Notes how much of the body was read.
    pub(super) fn set_bytes_in(&mut self, bytes: u64) {
        self.bytes_in = bytes;
    }

    /// Logs why the server could not answer; the client learns only the request's id.
    pub(super) fn log_reason(&self, reason: &str) {
        tracing::error!(request_id = self.request_id(), tenant = self.tenant(), reason, "the request failed");
    }

    fn tenant(&self) -> Option<&str> {
        self.caller.as_ref().map(|caller| caller.tenant.as_str())
    }

    /// Logs it once more, with how SQLite went about it.
    fn log_slow(&mut self, duration: Duration) {
        let (request_id, route) = (self.request_id, self.route.map(Route::label));
        let tenant = self.caller.as_ref().map(|caller| caller.tenant.clone());
        let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        std::mem::take(&mut self.trail).explain(move |plan| {
            let (request_id, tenant) = (request_id.as_str(), tenant.as_ref().map(TenantName::as_str));
            tracing::warn!(request_id, tenant, route, duration_us, plan, "slow request");
        });
    }

    fn log(&self, duration: Duration) {
        let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let forwarded_for = self.forwarded_for.map(|client| client.to_string());
        tracing::info!(
            message = match self.status {
                Some(_) => "request",
                None => "request abandoned before it was answered in full",
            },
            request_id = self.request_id(),
            client = forwarded_for.as_deref().unwrap_or(self.peer.text()),
            tenant = self.tenant(),
            token = self.caller.as_ref().map(|caller| &*caller.token),
            route = self.route.map(Route::label),
            status = self.status,
            duration_us,
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
        );
    }
}

#[cfg(feature = "otlp")]
impl Record {
    /// Notes whether the request is to be traced, and as part of which trace.
    fn begin_span(&mut self, site: &Site, head: &Head) {
        let mut sent = head.headers.get_all("traceparent").iter();
        let parent = match (sent.next(), sent.next()) {
            (Some(parent), None) => Some(parent.as_bytes()),
            _ => None,
        };
        self.span = site.tenants.metrics().spans.begin(head.method.as_str(), parent, self.request_id.0);
    }

    /// Hands it over to be traced.
    fn end_span(&mut self, site: &Site, duration: Duration) {
        let Some(begun) = self.span.take() else { return };
        site.tenants.metrics().spans.finish(Finished {
            begun,
            ended_ns: SystemClock::now_ns(),
            duration,
            route: self.route,
            status: self.status,
            tenant: self.caller.as_ref().map(|caller| caller.tenant.clone()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_500_that_shows_the_request_id_and_nothing_of_the_panic() {
        let reply =
            survive(RequestId([b'a'; 32]), pin!(async { panic!("ici_secret of mia@example.com") })).await;
        assert_eq!(reply.status(), 500);
        let body =
            http_body_util::BodyExt::collect(reply.into_response().into_body()).await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            text.contains(&"a".repeat(32)) && !text.contains("secret") && !text.contains("mia"),
            "{text}"
        );
    }

    #[test]
    fn what_is_kept_of_a_request_while_it_is_answered_is_small() {
        type Empty = futures_util::stream::Empty<Result<bytes::Bytes, std::convert::Infallible>>;
        fn bytes_of<F>(_: fn(Arc<Site>, Request<Empty>) -> F) -> usize {
            size_of::<F>()
        }
        // It is written and read for each request. What grows it is a future that is awaited without being boxed.
        let bytes = bytes_of(answer);
        assert!(bytes <= 2560, "{bytes}");
    }
}
