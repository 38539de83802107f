//! HTTP: the only module that names `warp`.
//!
//! One leaf filter takes every request, whatever its method and path, and hands it to plain functions: `edge`
//! gives it an id, a log line and a net for panics, `scim` walks it through token, address, body and directory.
//! Outcomes are replies, never rejections: warp turns a rejection into a 405 when a sibling route has another
//! method, and prints the text of one that nobody recovers to the client.
//!
//! What is stored and what SCIM means does not belong here; nor do sockets, see `server`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Uri};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::service::TowerToHyperService;
use warp::Filter;

use crate::tenants::Tenants;

mod edge;
mod scim;
mod address;
mod body;
mod reply;
mod negotiation;
mod coding;

/// What every request is answered from.
struct Site {
    tenants: Arc<Tenants>,
    /// Where the listener is bound: the address of last resort for `Location` and `$ref`.
    listening: SocketAddr,
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

/// The service that answers the requests of every connection.
///
/// `listening` is the address of the bound listener; resources are addressed by it when neither `public_url` is
/// set nor the request names a usable host.
pub fn service(
    tenants: Arc<Tenants>,
    listening: SocketAddr,
) -> impl Service<hyper::Request<Incoming>, Response = warp::reply::Response, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let site = Arc::new(Site { tenants, listening });
    let leaf = warp::ext::get::<Arc<Head>>()
        .and(warp::body::stream())
        .then(move |head, body| edge::answer(Arc::clone(&site), Request { head, body }))
        .recover(rejected);
    let service = TowerToHyperService::new(warp::service(leaf));
    service_fn(move |mut request: hyper::Request<Incoming>| {
        let head = Head {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: std::mem::take(request.headers_mut()),
        };
        request.extensions_mut().insert(Arc::new(head));
        // `CONNECT host:port` has no path, and warp panics over that.
        if request.uri().path_and_query().is_none() {
            *request.uri_mut() = Uri::from_static("/");
        }
        service.call(request)
    })
}

/// The leaf rejects nothing; should warp do so of its own accord, the client still gets a SCIM Error.
async fn rejected(_: warp::Rejection) -> Result<reply::Reply, Infallible> {
    Ok(reply::Reply::refusal(&crate::scim::Error::bad_request("The request cannot be read as HTTP.")))
}
