//! HTTP: the only module that names `warp`.
//!
//! One leaf filter takes every request, whatever its method and path, and hands it to plain functions: `edge`
//! gives it an id, a log line and a net for panics, `scim` walks it through token, address, body and directory.
//! Outcomes are replies, never rejections: warp turns a rejection into a 405 when a sibling route has another
//! method, and prints the text of one that nobody recovers to the client.
//!
//! What is stored and what SCIM means does not belong here; nor do sockets, see `server`.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Uri};
use hyper::body::{Body as _, Incoming};
use hyper::service::Service;
use warp::{Filter, Reply as _};

use crate::tenants::Tenants;

mod edge;
mod scim;
mod address;
mod peer;
pub mod redirect;
mod body;
mod reply;
mod negotiation;
mod coding;

pub use peer::Peer;

/// What every request is answered from.
struct Site {
    tenants: Arc<Tenants>,
    /// Where the listener is bound, or a name for it: the host of last resort for `Location` and `$ref`.
    listening: Arc<str>,
}

/// A request as it came, its body still on the way.
struct Request<S> {
    head: Arc<Head>,
    body: S,
}

/// The head of a request. It is taken past warp's filters as a whole: each of those copies a part of it.
struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    /// Who is at the other end of the connection.
    peer: Arc<Peer>,
    /// Whether it is known already that no body follows.
    body_is_empty: bool,
}

impl Head {
    /// The path, percent-encoded as sent.
    fn path(&self) -> &str {
        self.uri.path()
    }

    /// The query without the question mark; empty when there is none.
    fn query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }
}

/// The service that answers the requests of every connection; each comes with who is at the connection's other end.
///
/// `listening` is the address of the bound listener, or a name for it; resources are addressed by it when neither
/// `public_url` is set nor the request names a usable host.
pub fn service(
    tenants: Arc<Tenants>,
    listening: String,
) -> impl Service<
    (Arc<Peer>, hyper::Request<Incoming>),
    Response = warp::reply::Response,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static {
    Leaf { site: Arc::new(Site { tenants, listening: Arc::from(listening) }) }
}

/// Hands a request to the filter, its head as a whole.
struct Leaf {
    site: Arc<Site>,
}

impl Clone for Leaf {
    /// For another connection. It has a count of its own of who holds the site: with one count for all, every
    /// request would have to wait until the other processors let go of the place where it lies.
    fn clone(&self) -> Leaf {
        let Site { tenants, listening } = &*self.site;
        Leaf { site: Arc::new(Site { tenants: Arc::clone(tenants), listening: Arc::clone(listening) }) }
    }
}

impl Service<(Arc<Peer>, hyper::Request<Incoming>)> for Leaf {
    type Response = warp::reply::Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<warp::reply::Response, Infallible>>;

    fn call(&self, (peer, mut request): (Arc<Peer>, hyper::Request<Incoming>)) -> Self::Future {
        let head = Head {
            method: request.method().clone(),
            // Leaves `/`: warp panics over `CONNECT host:port`, which has no path.
            uri: std::mem::take(request.uri_mut()),
            headers: std::mem::take(request.headers_mut()),
            peer,
            body_is_empty: request.body().is_end_stream(),
        };
        let (site, head) = (Arc::clone(&self.site), Arc::new(head));
        // Made anew for each request, which costs nothing: what it holds comes past warp's look-up by type. What
        // answers is boxed, since each filter around it moves it.
        let leaf = warp::body::stream()
            .then(move |body| {
                Box::pin(edge::answer(Arc::clone(&site), Request { head: Arc::clone(&head), body }))
            })
            .recover(rejected);
        // As a tower service, which is what warp makes of a filter: made one of hyper's, it and the request would be
        // moved twice more.
        Box::pin(tower_service::Service::call(&mut warp::service(leaf), request))
    }
}

/// The leaf rejects nothing; should warp do so of its own accord, the client still gets a SCIM Error.
async fn rejected(_: warp::Rejection) -> Result<warp::reply::Response, Infallible> {
    Ok(reply::Reply::refusal(&crate::scim::Error::bad_request("The request cannot be read as HTTP."))
        .into_response())
}
