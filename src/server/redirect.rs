//! The plain listener beside HTTPS: it redirects, and shows an ACME server what proves a name to be ours.
//!
//! A connection is answered once and then closed, so that nobody stays; it is no place for traffic.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::server::ACCEPT_PAUSE;
use crate::server::places::Places;
use crate::server::tls::Presented;
use crate::tenants::Tenants;
use crate::web;

/// Most connections at once, and of one address.
const CONNECTIONS_MAX: usize = 256;
const CONNECTIONS_PER_ADDRESS_MAX: usize = 16;
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// At most this often it is told that tokens came in the clear.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What answers are made from.
struct Redirect {
    presented: Arc<Presented>,
    tenants: Arc<Tenants>,
    https_port: u16,
    /// Whether a token came in the clear since it was last told.
    token_seen: AtomicBool,
}

/// Answers until it is dropped.
pub(super) async fn serve(
    listener: TcpListener,
    presented: Arc<Presented>,
    tenants: Arc<Tenants>,
    https_port: u16,
) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "redirecting to HTTPS");
    }
    let redirect = Arc::new(Redirect { presented, tenants, https_port, token_seen: AtomicBool::new(false) });
    let telling = tell_of_tokens(Arc::clone(&redirect));
    let accepting = async {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let places = Places::default();
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await;
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(place) = places.take(peer.ip(), CONNECTIONS_PER_ADDRESS_MAX) {
                        let redirect = Arc::clone(&redirect);
                        connections.spawn(async move {
                            answer(stream, redirect).await;
                            drop((slot, place));
                        });
                    }
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::select! { () = accepting => {}, () = telling => {} }
}

async fn answer(stream: TcpStream, redirect: Arc<Redirect>) {
    let limits = redirect.tenants.snapshot().settings().server.limits;
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = redirect.answer(&request);
        async { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).keep_alive(false).max_buf_size(HEAD_BYTES_MAX);
    let within = Duration::from_secs(limits.header_read_s);
    let _ = tokio::time::timeout(within, http.serve_connection(TokioIo::new(stream), service)).await;
}

impl Redirect {
    fn answer(&self, request: &hyper::Request<Incoming>) -> hyper::Response<String> {
        if let Some(answer) =
            web::redirect::acme_token(request.uri()).and_then(|token| self.presented.answer_for(token))
        {
            return hyper::Response::new(answer);
        }
        if web::redirect::has_token(request.headers()) {
            self.token_seen.store(true, Ordering::Relaxed);
        }
        let snapshot = self.tenants.snapshot();
        let public_url = snapshot.settings().server.public_url.as_deref();
        web::redirect::redirect(request.uri(), request.headers(), public_url, self.https_port)
    }
}

async fn tell_of_tokens(redirect: Arc<Redirect>) {
    let mut times = tokio::time::interval(Duration::from_secs(1));
    let mut told: Option<tokio::time::Instant> = None;
    loop {
        times.tick().await;
        if told.is_none_or(|at| at.elapsed() >= TELL_EVERY)
            && redirect.token_seen.swap(false, Ordering::Relaxed)
        {
            tracing::warn!(
                "a client has sent an Authorization header over plain HTTP, where anybody on the way can read it: \
                 correct its Base URL to https:// and give it a new token"
            );
            told = Some(tokio::time::Instant::now());
        }
    }
}
