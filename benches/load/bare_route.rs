//! A floor: a bare warp route that answers the same bytes, in a process of its own, served by the same loop of
//! hyper as the server (`src/server.rs`), with neither token check nor SQLite nor log.

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
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use warp::Filter;

use crate::http::Fetched;

/// Writes an answer of the server where the bare route finds it; it then answers below `/scim/v2/NAME/`.
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

/// Serves the answers in a folder until the process is killed.
pub(crate) fn serve(folder: &Path) -> Result<()> {
    let mut answers = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_stem().and_then(|stem| stem.to_str()).context("name")?.to_owned();
            answers.insert(name, Answer::read(&fs::read_to_string(&path)?)?);
        }
    }
    let answers = Arc::new(answers);
    let leaf = warp::path!("scim" / "v2" / String / ..).and(warp::get()).map(move |name: String| {
        answers.get(&name).map_or_else(warp::reply::Response::default, Answer::response)
    });
    let service = TowerToHyperService::new(warp::service(leaf));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        eprintln!("{}", json!({ "address": listener.local_addr()?.to_string() }));
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
