//! The server: a listener, the limits of a connection, the order of stopping.
//!
//! It neither binds nor decides when to stop; both are handed in, so that tests take a free port and end when
//! they like. What a request means is for `web`.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use crate::config::Limits;
use crate::metrics::Metrics;
use crate::tenants::Tenants;

mod loops;
mod ops;
mod process;

pub use loops::Loops;
pub use ops::Ops;

/// Memory for the bytes of a connection that are read and not yet understood; a request whose head is larger is
/// answered 431. 1,024 connections may so take 64 MiB.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long to wait after a connection could not be accepted: file descriptors come back as others end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is ready, then stops: the listener is closed first, so that new connections are
/// refused; idle ones are closed; requests in flight are answered, for `stop_s` at most.
///
/// `connections_max` and `stop_s` are those in force at the start, the limits of a connection those in force when
/// it is accepted.
///
/// # Errors
/// When the listener cannot tell its address. A connection that cannot be accepted is logged and does not end
/// the server.
pub async fn run(
    listener: TcpListener,
    tenants: Arc<Tenants>,
    loops: &Loops,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let limits = tenants.snapshot().settings().server.limits;
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let service = crate::web::service(Arc::clone(&tenants), listener.local_addr()?);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut failing = false;
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        // A slot first: who cannot be served waits in the system's queue, at no cost to us.
        let accepting = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accepting => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                // Out of this runtime's poll; the loop that serves it takes it into its own.
                let Ok(stream) = stream.into_std() else { continue };
                let limits = tenants.snapshot().settings().server.limits;
                let open = Open::count(tenants.metrics());
                let connection = serve(stream, service.clone(), limits, graceful.watcher());
                loops.spawn(&mut connections, async move {
                    connection.await;
                    drop((open, slot));
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(reason = %error.kind(), "connections cannot be accepted for now");
                }
                tokio::select! {
                    () = &mut shutdown => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    stop(graceful, connections, Duration::from_secs(limits.stop_s)).await;
    Ok(())
}

async fn stop(graceful: GracefulShutdown, mut connections: JoinSet<()>, within: Duration) {
    tracing::info!(connections = graceful.count(), "stopping: answering the requests in flight");
    if tokio::time::timeout(within, graceful.shutdown()).await.is_err() {
        while connections.try_join_next().is_some() {}
        tracing::warn!(connections = connections.len(), "cut off what was not answered within stop_s");
    }
    connections.shutdown().await;
    tracing::info!("stopped");
}

/// Counts a connection as open until it is dropped.
struct Open(Arc<Metrics>);

impl Open {
    fn count(metrics: &Arc<Metrics>) -> Open {
        metrics.connections.add_one();
        Open(Arc::clone(metrics))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections_ended.add_one();
    }
}

/// Serves one connection under its limits, until it ends or `watcher` says to stop.
async fn serve<S, B>(stream: std::net::TcpStream, service: S, limits: Limits, watcher: Watcher)
where
    S: Service<hyper::Request<Incoming>, Response = hyper::Response<B>, Error = Infallible, Future: Send>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    // An answer is written in one go; waiting to fill a packet would only hold it back.
    let _ = stream.set_nodelay(true);
    let phase = Arc::new(AtomicU8::new(HEAD));
    let stream = Timed::new(stream, Arc::clone(&phase), limits);
    let service = service_fn(move |request| {
        phase.store(ANSWERING, Ordering::Relaxed);
        let answering = service.call(request);
        let phase = Arc::clone(&phase);
        async move {
            let answer = answering.await;
            phase.store(IDLE, Ordering::Relaxed);
            answer
        }
    });
    let mut http = http1::Builder::new();
    // hyper's own time-out does not tell an idle connection from a head that trickles in; `Timed` does.
    http.header_read_timeout(None).max_buf_size(BUFFER_BYTES_MAX);
    // The end of a connection is the client's business: gone, too slow, or not speaking HTTP.
    let _ = watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await;
}

/// The head of a request is awaited: from its first byte on, or from the beginning of the connection.
const HEAD: u8 = 0;
/// A request is being answered; its own limits hold.
const ANSWERING: u8 = 1;
/// The last request is answered and the next has not begun.
const IDLE: u8 = 2;

/// A stream that fails when the client is too slow: with the head of a request, with the next request on a kept
/// connection, or with taking the answer.
struct Timed {
    stream: TcpStream,
    /// What the connection is at; the service sets it too.
    phase: Arc<AtomicU8>,
    /// Until when the client may be silent in a phase.
    silence: Option<(u8, Instant)>,
    /// Wakes the connection at that moment or earlier. It is moved when it has run out and no sooner: setting a
    /// timer anew with every request would cost more than finding the user.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Runs out when the client has taken nothing of an answer for too long.
    stall: Option<Pin<Box<Sleep>>>,
    head_max: Duration,
    idle_max: Duration,
    stall_max: Duration,
}

impl Timed {
    fn new(stream: TcpStream, phase: Arc<AtomicU8>, limits: Limits) -> Timed {
        Timed {
            stream,
            phase,
            silence: None,
            alarm: None,
            stall: None,
            head_max: Duration::from_secs(limits.header_read_s),
            idle_max: Duration::from_secs(limits.keep_alive_s),
            stall_max: Duration::from_secs(limits.request_s),
        }
    }

    /// Nothing came. Fails when that has been so for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let phase = self.phase.load(Ordering::Relaxed);
        let most = match phase {
            HEAD => self.head_max,
            IDLE => self.idle_max,
            _ => return Poll::Pending,
        };
        let until = match self.silence {
            Some((set_for, until)) if set_for == phase => until,
            _ => self.silence.insert((phase, Instant::now() + most)).1,
        };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if alarm.deadline() > until {
            alarm.as_mut().reset(until);
        }
        ready!(alarm.as_mut().poll(cx));
        while alarm.deadline() < until {
            alarm.as_mut().reset(until);
            ready!(alarm.as_mut().poll(cx));
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Something came: after a pause, the first bytes of the next request.
    fn heard(&mut self) {
        if self.phase.compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.silence = None;
        }
    }

    /// Passes on the result of a write; fails when nothing could be written for too long.
    fn written(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.stall = None;
            // A client that still takes the last answer is not idle.
            self.silence = self.silence.take().filter(|(set_for, _)| *set_for != IDLE);
            return result;
        }
        let most = self.stall_max;
        ready!(self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(most))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                if buffer.filled().len() > before {
                    self.heard();
                }
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_silence(cx),
        }
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // After an answer hyper does not read until something comes, so nothing but this starts the clock of an
        // idle connection. That it has run out is told at the read that it leads to.
        if self.phase.load(Ordering::Relaxed) == IDLE {
            let _ = self.poll_silence(cx);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The signals that ask the server to stop: SIGTERM and SIGINT (Ctrl-C).
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// A file that may not grow is an error of the write, not the end of the process; see `setrlimit(2)`.
    _file_size: Signal,
}

/// `SIGXFSZ` on Linux and the BSDs.
const FILE_SIZE_SIGNAL: i32 = 25;

impl StopSignals {
    /// Takes the signals over from the system, which would end the process at once.
    ///
    /// # Errors
    /// When the system does not let us. Needs a running tokio runtime.
    pub fn listen() -> io::Result<StopSignals> {
        Ok(StopSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_size: signal(SignalKind::from_raw(FILE_SIZE_SIGNAL))?,
        })
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Reads the configuration anew at every SIGHUP, for as long as the runtime lives.
///
/// # Errors
/// When the system does not let us take the signal. Needs a running tokio runtime.
pub fn reload_on_hangup(tenants: Arc<Tenants>) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let tenants = Arc::clone(&tenants);
            // Reading a file blocks. What came of it is logged by `tenants`.
            let _ = tokio::task::spawn_blocking(move || tenants.reload()).await;
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// A client's stream and ours, with limits that run out at once.
    async fn pair(phase: u8) -> (TcpStream, Timed) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let limits = Limits { header_read_s: 0, keep_alive_s: 0, request_s: 0, ..Limits::default() };
        (client, Timed::new(stream, Arc::new(AtomicU8::new(phase)), limits))
    }

    async fn read(timed: &mut Timed) -> io::Result<usize> {
        let mut bytes = [0; 16];
        let mut buffer = ReadBuf::new(&mut bytes);
        poll_fn(|cx| Pin::new(&mut *timed).poll_read(cx, &mut buffer)).await?;
        Ok(buffer.filled().len())
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_and_an_idle_connection_run_out() {
        for phase in [HEAD, IDLE] {
            let (_client, mut timed) = pair(phase).await;
            assert_eq!(read(&mut timed).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test]
    async fn while_a_request_is_answered_silence_does_not_run_out() {
        let (_client, mut timed) = pair(ANSWERING).await;
        let once = poll_fn(|cx| Poll::Ready(timed.poll_silence(cx).is_pending())).await;
        assert!(once && timed.silence.is_none());
    }

    #[tokio::test]
    async fn the_first_byte_after_a_pause_begins_a_head() {
        let (client, mut timed) = pair(IDLE).await;
        timed.idle_max = Duration::from_secs(3600);
        client.writable().await.unwrap();
        assert_eq!(client.try_write(b"G").unwrap(), 1);
        assert_eq!(read(&mut timed).await.unwrap(), 1);
        assert_eq!(timed.phase.load(Ordering::Relaxed), HEAD);
        assert_eq!(read(&mut timed).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_an_answer_runs_out() {
        let (_client, mut timed) = pair(IDLE).await;
        let bytes = vec![0; 1024 * 1024];
        let error = loop {
            match poll_fn(|cx| Pin::new(&mut timed).poll_write(cx, &bytes)).await {
                Ok(written) => assert!(written > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
