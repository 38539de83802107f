//! The way of a SCIM request: token, address, body, directory. The token comes first, so that whoever has none
//! learns nothing from any other part of the request.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use http::HeaderMap;
use http::header::{AUTHORIZATION, IF_MATCH, IF_NONE_MATCH};
use tokio::time::Instant;

use crate::config::Access;
use crate::directory::Ask;
use crate::scim::endpoint::Operation;
use crate::scim::{Error, Kind, projection, quirks};
use crate::tenants::{Answered, Caller, Refusal, Snapshot};
use crate::web::body::Body;
use crate::web::coding::Coding;
use crate::web::edge::Record;
use crate::web::peer::Origin;
use crate::web::reply::Reply;
use crate::web::{Head, Request, Site, address, body, negotiation};

/// What a client is told to wait when the server was too slow: long enough for a burst to pass, short enough
/// for a person who waits at Okta's screen.
const RETRY_AFTER_S: u32 = 5;

/// What a client is told to wait when it has come to a machine that does not serve its tenant: as a rule the tenant is
/// moving, and the way to it changes soon.
const ELSEWHERE_S: u32 = 30;

/// Answers a request.
pub(super) async fn answer<S, B, E>(site: &Site, request: Request<S>, record: &mut Record) -> Reply
where
    S: Stream<Item = Result<B, E>> + Send + Unpin + 'static,
    B: Buf + Send,
    E: Send,
{
    let Request { head, body } = request;
    let mut body = Body::new(body, &head.headers, head.body_is_empty);
    // One snapshot from start to end: a reload in between changes nothing for this request.
    let snapshot = site.tenants.current();
    let origin = Origin::of(&head.peer, &head.headers, &snapshot.settings().server.trusted_proxies);
    record.set_forwarded_for(origin.forwarded_for);
    let asked = Asked { head: &head, origin };
    let mut located = None;
    let outcome = asked.answer(site, &snapshot, &mut body, record, &mut located).await;
    record.set_bytes_in(body.bytes_read());
    body.discard();
    let mut reply = match outcome {
        Ok(answered) => Reply::answer(answered, head.method == http::Method::HEAD),
        Err(error) if error.status == 405 && head.method == http::Method::OPTIONS => Reply::options(&error),
        Err(error) => Reply::refusal(&error),
    };
    reply.locate(located.as_deref());
    reply.suit(&head.headers, snapshot.settings().server.limits.compress_bytes_min);
    reply
}

/// A request without its body.
struct Asked<'a> {
    head: &'a Head,
    origin: Origin<'a>,
}

impl Asked<'_> {
    /// `located` becomes the permanent address of what has been asked for by another one.
    async fn answer<S, B, E>(
        self,
        site: &Site,
        snapshot: &Arc<Snapshot>,
        body: &mut Body<S>,
        record: &mut Record,
        located: &mut Option<String>,
    ) -> Result<Answered, Error>
    where
        S: Stream<Item = Result<B, E>> + Send + Unpin + 'static,
        B: Buf + Send,
        E: Send,
    {
        let limits = &snapshot.settings().server.limits;
        let deadline = record.deadline(Duration::from_secs(limits.request_s));
        record.set_slow_ms(snapshot.settings().server.ops.slow_request_ms);

        let path = address::fold(self.head.path());
        let Some((tenant, rest)) = address::split(&path) else {
            if address::is_of_another_version(&path) {
                return Err(Error::invalid_vers());
            }
            return Err(Error::not_found(
                "There is nothing at this address; a Base URL ends in /scim/v2/ and the tenant's name.",
            ));
        };
        let tenant = &*address::plain(tenant);
        let caller = self.authenticate(site, snapshot, tenant, deadline, record).await?;
        record.set_caller(&caller);
        if snapshot.settings().is_elsewhere(caller.tenant.as_str()) {
            record.log_reason("the tenant's node is not server.node, so another machine serves it");
            return Err(elsewhere());
        }
        let _entered = snapshot.pass(&caller)?;

        let operation = match snapshot.schemas(&caller.tenant) {
            Some(own) => Operation::resolve_with(self.head.method.as_str(), rest, own.catalogs())?,
            None => Operation::resolve(self.head.method.as_str(), rest)?,
        };
        record.set_route(operation.route());
        let operation = match operation {
            Operation::Me(_) => self.as_user(site, snapshot, &caller, operation, located)?,
            operation => operation,
        };
        if operation.is_write() && caller.access == Access::ReadOnly {
            return Err(Error::forbidden("This API token may only read; enter one that may also write."));
        }
        // What a DELETE answers has no media type.
        if negotiation::media_type(&self.head.headers).is_none()
            && !matches!(operation, Operation::Delete(..))
        {
            let profile = snapshot.options(&caller.tenant).map(|options| options.profile);
            quirks::answers_json_to_everybody(profile.unwrap_or_default())?;
        }
        let body = if operation.has_body() {
            body::check_media_type(&self.head.headers)?;
            let coding = Coding::of_body(&self.head.headers)?;
            // Boxed, so that requests without a body have no room for it.
            Box::pin(body.read(coding, limits.body_bytes_max, deadline)).await?
        } else {
            Bytes::new()
        };

        let ask = Ask {
            operation,
            query: self.head.query().to_owned(),
            body,
            if_match: list(&self.head.headers, IF_MATCH),
            if_none_match: list(&self.head.headers, IF_NONE_MATCH),
            base_url: self.base_url(site, snapshot, &caller),
        };
        match within(deadline, site.tenants.run(snapshot, &caller, ask, record.trail())).await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(error)) => {
                if let Some(reason) = error.reason() {
                    record.log_reason(reason);
                }
                Err(error.to_client(record.request_id()))
            }
            Err(_) => Err(too_slow(record, "the directory did not answer within request_s")),
        }
    }

    fn base_url(&self, site: &Site, snapshot: &Snapshot, caller: &Caller) -> String {
        let public_url = snapshot.settings().server.public_url.as_deref();
        address::base_url(public_url, &self.origin, self.head, &site.listening, caller.tenant.as_str())
    }

    /// What is asked for at `/Me`, of the user that the token stands for. Every answer then tells the user's own
    /// address (RFC 7644 §3.11).
    fn as_user(
        &self,
        site: &Site,
        snapshot: &Snapshot,
        caller: &Caller,
        operation: Operation,
        located: &mut Option<String>,
    ) -> Result<Operation, Error> {
        let id = caller.user.as_deref();
        *located = id.map(|id| projection::location(&self.base_url(site, snapshot, caller), Kind::User, id));
        operation.of_user(id)
    }

    async fn authenticate(
        &self,
        site: &Site,
        snapshot: &Arc<Snapshot>,
        tenant: &str,
        deadline: Instant,
        record: &Record,
    ) -> Result<Arc<Caller>, Error> {
        let authorization = address::only(&self.head.headers, AUTHORIZATION).map(http::HeaderValue::as_bytes);
        if let Some(caller) = site.tenants.recognize(snapshot, tenant, authorization) {
            return Ok(caller);
        }
        // Boxed: it would make every request's future larger.
        let address = self.origin.forwarded_for.or_else(|| self.head.peer.address());
        let checking = Box::pin(site.tenants.authenticate(snapshot, tenant, authorization, address));
        match tokio::time::timeout_at(deadline, checking).await {
            Ok(Ok(caller)) => Ok(caller),
            Ok(Err(Refusal::Unauthorized)) => Err(Error::unauthorized()),
            Ok(Err(Refusal::Busy { retry_after_s })) => Err(Error::too_many_requests(retry_after_s)),
            Err(_) => Err(too_slow(record, "the token was not checked within request_s")),
        }
    }
}

/// As `timeout_at`, but nothing is made ready to wait for what needs no waiting, as nearly all of it.
async fn within<F: Future>(deadline: Instant, future: F) -> Result<F::Output, tokio::time::error::Elapsed> {
    let mut future = pin!(future);
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => tokio::time::timeout_at(deadline, future).await,
    }
}

/// 429, for that is the one refusal after which Okta tries again by itself: as a rule the tenant is moving.
fn elsewhere() -> Error {
    let detail = "This tenant is served by another machine; try again.".to_owned();
    Error { detail, ..Error::too_many_requests(ELSEWHERE_S) }
}

fn too_slow(record: &Record, reason: &str) -> Error {
    record.log_reason(reason);
    Error::unavailable("The server did not manage to answer in time; try again.", RETRY_AFTER_S)
}

/// A header that is a list: several lines of it are one line with commas (RFC 9110 §5.3).
fn list(headers: &HeaderMap, name: http::HeaderName) -> Option<String> {
    headers.get(&name)?;
    let lines: Vec<_> =
        headers.get_all(name).into_iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    Some(lines.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_lines_of_a_list_header_are_one_list() {
        let mut headers = HeaderMap::new();
        assert_eq!(list(&headers, IF_MATCH), None);
        headers.append(IF_MATCH, HeaderValue::from_static("W/\"1\""));
        headers.append(IF_MATCH, HeaderValue::from_static("W/\"2\""));
        assert_eq!(list(&headers, IF_MATCH).as_deref(), Some("W/\"1\", W/\"2\""));
    }
}
