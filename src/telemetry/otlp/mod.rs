//! Traces, with the feature `otlp`: a span for each request, sent to a collector as OTLP in JSON over HTTP, at a place
//! that the standard environment variables name. Nothing is sent unless they do.
//!
//! Threads of its own take the requests from a bounded queue and send them many at once: a collector that is slow, or
//! gone, costs its spans and nothing else. What is traced is decided in `metrics::spans`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::runtime::Runtime;

use crate::clock::Stopwatch;
use crate::metrics::Metrics;
use crate::metrics::spans::Finished;

mod payload;
mod settings;

use settings::Settings;

/// The most requests that wait to be sent, and those of one batch.
const WAITING_MAX: usize = 4096;
const BATCH_MAX: usize = 512;

/// How long a batch is gathered that does not get full.
const GATHERING: Duration = Duration::from_secs(2);

/// How long the end of the program waits for the last spans to be sent.
const LAST_SPANS_MAX: Duration = Duration::from_secs(1);

/// The most bytes of a collector's answer that are read; it is empty as a rule.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Deepest cause of an error that is told.
const CAUSES_MAX: usize = 8;

/// Sends the last spans when it is dropped, within a second.
#[must_use = "dropped at once, it ends the traces"]
pub struct LastSpans {
    ending: Arc<AtomicBool>,
    queue: SyncSender<Option<Finished>>,
    ended: Receiver<()>,
}

impl Drop for LastSpans {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // Wakes it; if there is no room, it is awake.
        let _ = self.queue.try_send(None);
        // It says nothing: its end of the channel goes when all is sent.
        let _ = self.ended.recv_timeout(LAST_SPANS_MAX);
    }
}

/// Starts sending what is counted by these metrics, if the environment says where to.
///
/// # Errors
/// One sentence, when a variable is wrong or the system gives no thread.
pub fn start(metrics: &Arc<Metrics>) -> Result<Option<LastSpans>, String> {
    let get = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let Some(settings) = settings::read(get)? else { return Ok(None) };
    let failed = |error: &dyn std::error::Error| format!("traces cannot be sent: {error}");
    let (queue, waiting) = mpsc::sync_channel(WAITING_MAX);
    let (sampler, collector) = (settings.sampler, settings.endpoint.authority().map(ToString::to_string));
    let mut exporter = Exporter::new(settings, Arc::clone(metrics)).map_err(|error| failed(&*error))?;
    let ending = Arc::new(AtomicBool::new(false));
    let (theirs, (at_end, ended)) = (Arc::clone(&ending), mpsc::channel());
    let run = move || {
        exporter.run(&waiting, &theirs);
        exporter.runtime.shutdown_background();
        drop::<mpsc::Sender<()>>(at_end);
    };
    std::thread::Builder::new().name("otlp".to_owned()).spawn(run).map_err(|error| failed(&error))?;
    metrics.spans.start(sampler, queue.clone());
    tracing::info!(collector, "requests are traced");
    Ok(Some(LastSpans { ending, queue, ended }))
}

struct Exporter {
    settings: Settings,
    metrics: Arc<Metrics>,
    /// Looks after the connections, also while nothing is sent.
    runtime: Runtime,
    client: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Whether spans are being lost, and that was told.
    failing: bool,
    /// Spans that were lost since all was well.
    lost: u64,
}

impl Exporter {
    fn new(settings: Settings, metrics: Arc<Metrics>) -> Result<Exporter, Box<dyn std::error::Error>> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otlp-net")
            .enable_all()
            .build()?;
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .build();
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(15))
            .build(connector);
        Ok(Exporter { settings, metrics, runtime, client, failing: false, lost: 0 })
    }

    /// Sends what comes, until it is told that this is the end; then what still waits.
    fn run(&mut self, waiting: &Receiver<Option<Finished>>, ending: &AtomicBool) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while gather(waiting, &mut batch) && !ending.load(Ordering::SeqCst) {
            self.send(&mut batch, self.settings.timeout);
        }
        let watch = Stopwatch::start();
        loop {
            let room = BATCH_MAX.saturating_sub(batch.len());
            batch.extend(waiting.try_iter().flatten().take(room));
            let left = LAST_SPANS_MAX.saturating_sub(watch.elapsed());
            if batch.is_empty() || left.is_zero() {
                break;
            }
            self.send(&mut batch, left);
        }
        if self.lost > 0 {
            tracing::warn!(spans = self.lost, "traces were lost");
        }
    }

    fn send(&mut self, batch: &mut Vec<Finished>, within: Duration) {
        let id = || getrandom::u64().unwrap_or_default();
        let body = payload::of(&self.settings.resource, batch, id);
        let posting = async { tokio::time::timeout(within, self.post(body)).await };
        let sent = self.runtime.block_on(posting).unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let overflow = self.metrics.spans.take_lost();
        let unsent = if sent.is_err() { u64::try_from(batch.len()).unwrap_or(u64::MAX) } else { 0 };
        batch.clear();
        self.lost = self.lost.saturating_add(overflow).saturating_add(unsent);
        let full = || (overflow > 0).then(|| "there are more than can be sent".to_owned());
        self.tell(sent.err().or_else(full));
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), String> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.settings.endpoint.clone();
        *request.headers_mut() = self.settings.headers.clone();
        let answer = self.client.request(request).await.map_err(|error| causes(&error))?;
        let status = answer.status();
        // Read to its end, so that the connection can be used again; what it says may repeat what was sent.
        let _ = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        if status.is_success() { Ok(()) } else { Err(format!("the collector answered {}", status.as_u16())) }
    }

    /// Logs when spans begin to be lost, and when that is over.
    fn tell(&mut self, problem: Option<String>) {
        match problem {
            Some(reason) if !self.failing => {
                tracing::warn!(reason, "traces cannot be sent and are lost until they can");
                self.failing = true;
            }
            None if self.failing => {
                tracing::info!(lost = self.lost, "traces are sent again");
                (self.failing, self.lost) = (false, 0);
            }
            _ => {}
        }
    }
}

/// Waits for a request, then a while for more; false when this is the end.
fn gather(waiting: &Receiver<Option<Finished>>, batch: &mut Vec<Finished>) -> bool {
    let Ok(Some(first)) = waiting.recv() else { return false };
    batch.push(first);
    let watch = Stopwatch::start();
    while batch.len() < BATCH_MAX {
        match waiting.recv_timeout(GATHERING.saturating_sub(watch.elapsed())) {
            Ok(Some(request)) => batch.push(request),
            Err(RecvTimeoutError::Timeout) => break,
            Ok(None) | Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}

/// An error with its causes, as one line.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |error| error.source()).take(CAUSES_MAX);
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
