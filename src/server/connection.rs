//! One connection: its handshake, its version of HTTP, its limits.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::Limits;
use crate::server::socket::Accepted;
use crate::server::timed::{Followed, Progress, Timed};
use crate::server::tls;
use crate::web::Peer;

/// Memory for the bytes of a connection that are read and not yet understood; a request whose head is larger is
/// answered 431. 1,024 connections may so take 64 MiB.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// HTTP/2: the largest head of a request; 431 beyond, as in HTTP/1.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// HTTP/2: requests of a connection at once; a client that has more to ask waits, as it is told.
const STREAMS_MAX: u32 = 100;
/// HTTP/2: bytes of a request's body, and of all bodies of a connection, that may be on the way before they are read.
/// 1,024 connections may so take 256 MiB; hyper would let them take four times that.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// HTTP/2: bytes of an answer that wait for the client to take them.
const SEND_BYTES_MAX: usize = 128 * 1024;

/// What answers the requests of every connection: see [`crate::web::service`].
pub trait Web:
    Service<
        (Arc<Peer>, hyper::Request<Incoming>),
        Response = hyper::Response<Self::Answer>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
    /// The body of an answer.
    type Answer: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;
}

impl<S, B> Web for S
where
    S: Service<
            (Arc<Peer>, hyper::Request<Incoming>),
            Response = hyper::Response<B>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
{
    type Answer = B;
}

/// Tells a connection that the server is stopping.
pub(super) type Stopping = watch::Receiver<bool>;

/// Serves a connection until it ends; once the server is stopping, to the end of the requests that are being answered.
/// `handshakes` is what TLS goes by, where it is spoken.
pub(super) async fn serve<W: Web>(
    accepted: Accepted,
    web: W,
    limits: Limits,
    handshakes: Option<Arc<ServerConfig>>,
    stopping: Stopping,
) {
    match accepted {
        Accepted::Unix(stream) => {
            let Ok(stream) = UnixStream::from_std(stream) else { return };
            http_1(stream, web, Arc::new(Peer::local()), limits, stopping).await;
        }
        Accepted::Tcp(stream, address) => {
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            // An answer is written in one go; waiting to fill a packet would only hold it back.
            let _ = stream.set_nodelay(true);
            let peer = Arc::new(Peer::at(address, handshakes.is_some()));
            match handshakes {
                None => http_1(stream, web, peer, limits, stopping).await,
                // Boxed: most of it is TLS, of which a plain connection has nothing.
                Some(handshakes) => {
                    Box::pin(secured(stream, handshakes, web, peer, limits, stopping)).await;
                }
            }
        }
    }
}

async fn secured<W: Web>(
    stream: TcpStream,
    handshakes: Arc<ServerConfig>,
    web: W,
    peer: Arc<Peer>,
    limits: Limits,
    mut stopping: Stopping,
) {
    let within = Duration::from_secs(limits.header_read_s);
    let handshake = tokio::time::timeout(within, TlsAcceptor::from(handshakes).accept(stream));
    // Too slow, gone, or not speaking TLS: the client's business.
    let stream = tokio::select! {
        shaken = handshake => match shaken {
            Ok(Ok(stream)) => stream,
            _ => return,
        },
        _ = stopping.wait_for(|stopping| *stopping) => return,
    };
    match stream.get_ref().1.alpn_protocol() {
        Some(tls::H2) => http_2(stream, web, peer, limits, stopping).await,
        // It has seen the certificate, and that was all (RFC 8737 §3).
        Some(tls::ACME_TLS) => {}
        _ => http_1(stream, web, peer, limits, stopping).await,
    }
}

async fn http_1<S, W: Web>(stream: S, web: W, peer: Arc<Peer>, limits: Limits, stopping: Stopping)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let progress = Arc::new(Progress::default());
    let stream = Timed::new(stream, Arc::clone(&progress), limits);
    let service = service_fn(move |request| {
        progress.answering();
        let answering = web.call((Arc::clone(&peer), request));
        let progress = Arc::clone(&progress);
        async move {
            let answer = answering.await;
            others_have_their_turn().await;
            progress.idle();
            answer
        }
    });
    let mut http = http1::Builder::new();
    // hyper's own time-out does not tell an idle connection from a head that trickles in; `Timed` does.
    http.header_read_timeout(None).max_buf_size(BUFFER_BYTES_MAX);
    // The end of a connection is the client's business: gone, too slow, or not speaking HTTP.
    let _ = to_the_end(http.serve_connection(TokioIo::new(stream), service), stopping).await;
}

async fn http_2<S, W: Web>(stream: S, web: W, peer: Arc<Peer>, limits: Limits, stopping: Stopping)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let progress = Arc::new(Progress::default());
    let stream = Timed::multiplexed(stream, Arc::clone(&progress), limits);
    let service = service_fn(move |request| {
        let open = progress.open();
        let answering = web.call((Arc::clone(&peer), request));
        async move {
            let answer = answering.await?;
            Ok::<_, Infallible>(answer.map(|body| Followed { body, open }))
        }
    });
    // Requests are answered on the loop of their connection, since that is where this runs.
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX);
    let _ = to_the_end(http.serve_connection(TokioIo::new(stream), service), stopping).await;
}

/// Serves a connection to its end; once the server is stopping, to the end of the requests that are being answered.
///
/// Whether it is stopping is asked by a look at a number. To be told of it, a connection waits in a list that has one
/// lock; it goes there once and not with every request.
async fn to_the_end<C: GracefulConnection>(connection: C, mut stopping: Stopping) -> Result<(), C::Error> {
    let number = stopping.clone();
    let mut told = pin!(stopping.wait_for(|stopping| *stopping));
    let mut connection = pin!(connection);
    let (mut waiting, mut is_told) = (None::<Waker>, false);
    poll_fn(move |cx| {
        let waits = waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        // An error says that nobody is there to tell any more.
        if !is_told && (!waits || number.has_changed().unwrap_or(true)) {
            is_told = told.as_mut().poll(cx).is_ready();
            waiting = Some(cx.waker().clone());
            if is_told {
                connection.as_mut().graceful_shutdown();
            }
        }
        connection.as_mut().poll(cx)
    })
    .await
}

/// Ends when every task that is ready on this loop has been run once.
///
/// Before an answer is written, the requests that have come on other connections are answered too. The answers then go
/// out one after the other, and a client that has several connections, or a network card, is woken once for all of
/// them: that costs more than an answer does. What an answer loses is the others' time. Alone it loses nothing.
fn others_have_their_turn() -> impl Future<Output = ()> {
    let mut had_it = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut had_it, true) {
            return Poll::Ready(());
        }
        // To the end of the loop's queue. tokio's `yield_now` would also ask the system what has become ready.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn every_ready_task_is_run_before_one_that_lets_the_others_have_their_turn() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (tasks, log) = (tokio::task::LocalSet::new(), std::rc::Rc::new(RefCell::new(Vec::new())));
        for name in ["a", "b", "c"] {
            let log = std::rc::Rc::clone(&log);
            tasks.spawn_local(async move {
                log.borrow_mut().push(format!("{name} is ready"));
                others_have_their_turn().await;
                log.borrow_mut().push(format!("{name} writes"));
            });
        }
        runtime.block_on(tasks);
        let expected = ["a is ready", "b is ready", "c is ready", "a writes", "b writes", "c writes"];
        assert_eq!(*log.borrow(), expected);
    }
}
