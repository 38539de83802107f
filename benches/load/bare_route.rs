//! Two floors: one warp route that answers the bytes of the server's answers, with neither token check nor SQLite nor
//! log, in a process of its own.
//!
//! The bare one is what warp gives to anybody: tokio's scheduler for several threads, hyper as it comes. The other is
//! the same route, served as the server serves its own (`ici_scim::server`): a loop for each processor, answers that
//! wait for each other and go out by one call, the limits of a connection. The bounds are on the first; how far the
//! server is from the second is what SCIM costs. Allocator and client are the same for all three.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use ici_scim::clock::SystemClock;
use ici_scim::config;
use ici_scim::server::{self, Entrance, Listener, Loops};
use ici_scim::tenants::{Overrides, Tenants};
use ici_scim::web::Peer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use warp::Filter;

use crate::http::Fetched;

/// Where both listen.
const LISTEN: &str = "127.0.0.1:0";

/// Writes an answer of the server where the routes find it; they then answer below `/scim/v2/NAME/`.
pub(crate) fn keep(folder: &Path, name: &str, answer: &Fetched) -> Result<()> {
    let headers: Vec<_> = answer.headers.iter().filter(|(name, _)| !made_by_hyper(name)).collect();
    let body = String::from_utf8(answer.body.clone()).context("an answer is no text")?;
    let kept = json!({ "status": answer.status, "headers": headers, "body": body });
    Ok(fs::write(folder.join(format!("{name}.json")), kept.to_string())?)
}

fn made_by_hyper(name: &str) -> bool {
    ["content-length", "date", "transfer-encoding"].iter().any(|made| name.eq_ignore_ascii_case(made))
}

struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl Answer {
    fn read(text: &str) -> Result<Answer> {
        let kept: Value = serde_json::from_str(text)?;
        let status =
            kept["status"].as_u64().and_then(|status| u16::try_from(status).ok()).context("status")?;
        let mut headers = Vec::new();
        for header in kept["headers"].as_array().context("headers")? {
            let part = |index: usize| header[index].as_str().context("header");
            headers.push((part(0)?.parse()?, part(1)?.parse()?));
        }
        let body = kept["body"].as_str().context("body")?.to_owned();
        Ok(Answer { status: StatusCode::from_u16(status)?, headers, body: Bytes::from(body) })
    }

    fn response(&self) -> warp::reply::Response {
        let mut response = warp::reply::Response::new(self.body.clone().into());
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers.iter().cloned());
        response
    }
}

/// The route that answers what is in a folder.
fn route(
    folder: &Path,
) -> Result<impl Filter<Extract = (warp::reply::Response,), Error = warp::Rejection> + Clone + use<>> {
    let mut answers = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_stem().and_then(|stem| stem.to_str()).context("name")?.to_owned();
            answers.insert(name, Answer::read(&fs::read_to_string(&path)?)?);
        }
    }
    let answers = Arc::new(answers);
    Ok(warp::path!("scim" / "v2" / String / ..).and(warp::get()).map(move |name: String| {
        answers.get(&name).map_or_else(warp::reply::Response::default, Answer::response)
    }))
}

/// As the server's log tells it.
fn tell(address: std::net::SocketAddr) {
    eprintln!("{}", json!({ "address": address.to_string() }));
}

/// Serves the answers in a folder as warp does it, until the process is killed.
pub(crate) fn serve(folder: &Path) -> Result<()> {
    let service = TowerToHyperService::new(warp::service(route(folder)?));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(LISTEN).await?;
        tell(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            let service = service.clone();
            tokio::spawn(async move { connection(stream, service).await });
        }
    })
}

async fn connection<S>(stream: TcpStream, service: S)
where
    S: Service<hyper::Request<Incoming>, Response = warp::reply::Response, Error = Infallible, Future: Send>,
{
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.header_read_timeout(None);
    let service = service_fn(move |request| service.call(request));
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// A route to which it does not matter who asks.
#[derive(Clone)]
struct Anybody<S>(S);

impl<S: Service<hyper::Request<Incoming>>> Service<(Arc<Peer>, hyper::Request<Incoming>)> for Anybody<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, (_, request): (Arc<Peer>, hyper::Request<Incoming>)) -> S::Future {
        self.0.call(request)
    }
}

/// Serves the same by the loops of the server, with its settings as they are without a configuration, until the
/// process is killed.
pub(crate) fn serve_by_own_loops(folder: &Path) -> Result<()> {
    let web = Anybody(TowerToHyperService::new(warp::service(route(folder)?)));
    let file = folder.join("tenants.toml");
    let settings = config::parse("", "the settings of the route")?;
    // As `ici-scim serve` does it: a thread that accepts, and the loops.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let tenants = Tenants::new(file, settings, Overrides::default(), Arc::new(SystemClock))?;
        let listener = TcpListener::bind(LISTEN).await?;
        tell(listener.local_addr()?);
        let entrance = Entrance { listeners: vec![Listener::Tcp(listener)], tls: None, redirect: None };
        let loops = Loops::start()?;
        Ok(server::run_with(entrance, |_| web, tenants, &loops, std::future::pending()).await?)
    })
}
