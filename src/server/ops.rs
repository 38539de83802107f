//! What a machine asks of a running server, on an address of its own: does the process answer (`/healthz`), may it
//! be sent requests (`/readyz`), and how has it been (`/metrics`).
//!
//! There is no token here: who reaches the address may read it. Nothing on it tells of a tenant's users.

use std::convert::Infallible;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::clock::{Clock, SystemClock};
use crate::metrics::{self, Page};
use crate::scim::datetime;
use crate::server::{Tls, process};
use crate::tenants::Tenants;

/// Most connections at once: a machine or two asks, and not more often than every few seconds.
const CONNECTIONS_MAX: usize = 16;
/// How long a connection has for the head of a request, and each request for its answer.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a loop that serves connections may take to run one more task before it counts as stuck.
const LOOP_TIME_MAX: Duration = Duration::from_secs(5);
/// Memory for the bytes of a request that are not yet understood; hyper takes no less.
const BUFFER_BYTES_MAX: usize = 8 * 1024;
/// As much as is written to see whether the data folder takes anything: what SQLite writes at once.
const PAGE_BYTES: usize = 4096;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OPENMETRICS: HeaderValue = HeaderValue::from_static(metrics::MEDIA_TYPE);
const PLAIN_METRICS: HeaderValue = HeaderValue::from_static(metrics::PLAIN_MEDIA_TYPE);

/// What the answers are made from.
pub struct Ops {
    tenants: Arc<Tenants>,
    /// The loops that serve connections.
    loops: Vec<Handle>,
    stopping: AtomicBool,
    /// One text of the metrics at a time: ten thousand tenants' takes memory.
    telling: Semaphore,
    started_ms: i64,
    /// What the server ends TLS with, if it does.
    tls: Option<Arc<Tls>>,
}

impl Ops {
    /// For a server of these tenants, whose connections are served by `loops`.
    pub fn new(tenants: Arc<Tenants>, loops: &super::Loops, tls: Option<Arc<Tls>>) -> Arc<Ops> {
        Arc::new(Ops {
            tenants,
            loops: loops.handles(),
            stopping: AtomicBool::new(false),
            telling: Semaphore::new(1),
            started_ms: SystemClock.now_ms(),
            tls,
        })
    }

    /// From now on the server is not ready: it stops, and takes no new connections.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Answers whoever connects, for as long as it is polled.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(super::ACCEPT_PAUSE).await;
                continue;
            };
            let ops = Arc::clone(&self);
            tokio::spawn(async move {
                ops.connection(stream).await;
                drop(place);
            });
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(move |request| {
            let ops = Arc::clone(&self);
            async move { Ok::<_, Infallible>(ops.answer(&request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIME_MAX).max_buf_size(BUFFER_BYTES_MAX);
        // One request a connection: a place is not to be held by who asks once a minute.
        http.keep_alive(false);
        let serving = http.serve_connection(TokioIo::new(stream), service);
        // The end of a connection is the client's business.
        let _ = tokio::time::timeout(2 * REQUEST_TIME_MAX, serving).await;
    }

    async fn answer(self: &Arc<Self>, request: &Request<Incoming>) -> Response<String> {
        let answer = match request.uri().path() {
            "/healthz" => self.healthz().await,
            "/readyz" => self.readyz().await,
            "/metrics" => self.metrics(wants_plain(request.headers())).await,
            _ => answer(
                StatusCode::NOT_FOUND,
                TEXT,
                "There is /healthz, /readyz and /metrics here. SCIM is served on another address.\n"
                    .to_owned(),
            ),
        };
        if matches!(*request.method(), Method::GET | Method::HEAD) || answer.status() == StatusCode::NOT_FOUND
        {
            return answer;
        }
        let mut refusal =
            answer_of(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are understood here.\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        refusal
    }

    /// Whether every thread that serves connections still gets to its tasks.
    async fn healthz(&self) -> Response<String> {
        for one in &self.loops {
            let asked = one.spawn(async {});
            if tokio::time::timeout(LOOP_TIME_MAX, asked).await.is_err() {
                return answer_of(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "A thread that serves connections is stuck.\n",
                );
            }
        }
        answer_of(StatusCode::OK, "ok\n")
    }

    /// Whether requests may be sent here. A faulty configuration file is told and is no reason to say no: the one
    /// before it stays in force, and a typing mistake must not take every tenant out of service.
    async fn readyz(self: &Arc<Self>) -> Response<String> {
        let ops = Arc::clone(self);
        let data_dir = tokio::task::spawn_blocking(move || {
            takes_a_page(ops.tenants.data_dir()).map_err(|error| error.to_string())
        });
        let data_dir = data_dir.await.unwrap_or_else(|_| Err("it could not be looked at".to_owned()));
        let stopping = self.stopping.load(Ordering::Relaxed);
        let ready = !stopping && data_dir.is_ok();
        let body = json!({
            "ready": ready,
            "stopping": stopping,
            "data_dir": { "writable": data_dir.is_ok(), "problem": data_dir.err() },
            "configuration": configuration(&self.tenants),
            "backups": backups(&self.tenants),
        });
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        answer(status, JSON, format!("{body:#}\n"))
    }

    async fn metrics(self: &Arc<Self>, plain: bool) -> Response<String> {
        // The semaphore is never closed.
        let _place = self.telling.acquire().await;
        let ops = Arc::clone(self);
        let told = tokio::task::spawn_blocking(move || {
            let text = metrics::text(move |page| ops.tell(page))?;
            Ok::<_, std::fmt::Error>(if plain { metrics::plain(&text) } else { text })
        });
        match told.await {
            Ok(Ok(text)) => answer(StatusCode::OK, if plain { PLAIN_METRICS } else { OPENMETRICS }, text),
            _ => answer_of(StatusCode::INTERNAL_SERVER_ERROR, "The metrics cannot be written.\n"),
        }
    }

    fn tell(&self, page: &mut Page<'_>) -> std::fmt::Result {
        self.tenants.tell(page)?;
        let ready = !self.stopping.load(Ordering::Relaxed);
        page.gauge("ici_scim_serving", "1 until the server begins to stop", f64::from(u8::from(ready)))?;
        let ends_ms = self.tls.as_ref().and_then(|tls| tls.presented.not_after_ms());
        page.gauge_if(
            "ici_scim_certificate_expiry_timestamp_seconds",
            "When the certificate in force ends, in seconds since 1970",
            ends_ms
                .and_then(|ends_ms| u64::try_from(ends_ms).ok())
                .map(|ends_ms| metrics::whole(ends_ms) / 1e3),
        )?;
        process::tell(page, self.started_ms)
    }
}

/// Whether a client asks for the form that Prometheus had before OpenMetrics, and not for that one too.
fn wants_plain(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let (mut plain, mut openmetrics) = (false, false);
    for value in accepted {
        plain |= value.contains("text/plain");
        openmetrics |= value.contains("application/openmetrics-text");
    }
    plain && !openmetrics
}

/// What is in force of the configuration, and what is wrong with the file as it is now.
fn configuration(tenants: &Tenants) -> Value {
    let status = tenants.config_status();
    json!({
        "state": if status.fault.is_none() { "in_force" } else { "faulty" },
        "read": datetime::format(status.read_ms),
        "faulty_since": status.fault.as_ref().map(|fault| datetime::format(fault.since_ms)),
        "problem": status.fault.map(|fault| fault.problem),
    })
}

/// How the backups stand that the configuration asks for, of all tenants together; `null` where it asks for none.
fn backups(tenants: &Tenants) -> Value {
    if tenants.snapshot().settings().server.backup.is_none() {
        return Value::Null;
    }
    let of = tenants.backups();
    let oldest_ms = of.values().filter_map(|status| status.newest_ms).min();
    json!({
        "tenants": of.values().filter(|status| status.newest_ms.is_some()).count(),
        "oldest": oldest_ms.map(datetime::format),
        "missing": of.values().filter(|status| status.newest_ms.is_none()).count(),
        "failing": of.values().filter(|status| status.failed_ms.is_some()).count(),
    })
}

/// Writes a page into a file without a name in the folder, which is gone when this returns.
fn takes_a_page(folder: &Path) -> std::io::Result<()> {
    tempfile::tempfile_in(folder)?.write_all(&[0; PAGE_BYTES])
}

fn answer_of(status: StatusCode, text: &str) -> Response<String> {
    answer(status, TEXT, text.to_owned())
}

fn answer(status: StatusCode, media_type: HeaderValue, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
