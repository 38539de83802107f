//! A connection's stream that fails when the client is too slow, and the count of what the connection is at.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::config::Limits;

/// The head of a request is awaited: from its first byte on, or from the beginning of the connection.
const HEAD: usize = 0;
/// A request is being answered; its own limits hold.
const ANSWERING: usize = 1;
/// The last request is answered and the next has not begun.
const IDLE: usize = 2;

/// Bits of the word that hold the phase; the others count what has happened.
const PHASE: usize = 3;

/// What is sent in several slices and is no longer than this is copied together first: for so few bytes `send` costs
/// less than `writev`.
const COPIED_BYTES_MAX: usize = 4096;

/// What a connection is at: told by what serves its requests, read by its stream.
///
/// With HTTP/1 a connection has one phase. With HTTP/2 many requests are answered at once, so it counts those that
/// are open, and whatever happens to one of them is an event.
#[derive(Default)]
pub(super) struct Progress {
    word: AtomicUsize,
    open: AtomicUsize,
}

impl Progress {
    /// HTTP/1: a request begins to be answered.
    pub(super) fn answering(&self) {
        self.word.store(ANSWERING, Ordering::Relaxed);
    }

    /// HTTP/1: it is answered.
    pub(super) fn idle(&self) {
        self.word.store(IDLE, Ordering::Relaxed);
    }

    /// HTTP/2: one more request is open, until what this gives is dropped.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.event(ANSWERING);
        Open(Arc::clone(self))
    }

    fn event(&self, phase: usize) {
        let count = (self.word.load(Ordering::Relaxed) | PHASE).wrapping_add(1);
        self.word.store(count | phase, Ordering::Relaxed);
    }

    fn word(&self) -> usize {
        self.word.load(Ordering::Relaxed)
    }
}

/// A request of HTTP/2 that is not answered in full.
pub(super) struct Open(Arc<Progress>);

impl Drop for Open {
    fn drop(&mut self) {
        let last = self.0.open.fetch_sub(1, Ordering::Relaxed) == 1;
        self.0.event(if last { IDLE } else { ANSWERING });
    }
}

/// The body of an answer over HTTP/2: its request is open until it is sent, and each part of it is an event.
pub(super) struct Followed<B> {
    pub(super) body: B,
    pub(super) open: Open,
}

impl<B: Body + Unpin> Body for Followed<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.open.0.event(ANSWERING);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that fails when the client is too slow: with the head of a request, with the next request on a kept
/// connection, or with taking the answer.
pub(super) struct Timed<S> {
    stream: S,
    /// What the connection is at; the service sets it too.
    progress: Arc<Progress>,
    /// Until when the client may be silent, and the word of `progress` that this is for.
    silence: Option<(usize, Instant)>,
    /// Wakes the connection at that moment or earlier. It is moved when it has run out and no sooner: setting a
    /// timer anew with every request would cost more than finding the user.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Runs out when the client has taken nothing of an answer for too long.
    stall: Option<Pin<Box<Sleep>>>,
    /// The same for what TLS holds back until it is flushed, and for its farewell.
    flush_stall: Option<Pin<Box<Sleep>>>,
    head_max: Duration,
    idle_max: Duration,
    stall_max: Duration,
    /// HTTP/2: how long nothing may happen to the requests that are open.
    open_max: Option<Duration>,
}

impl<S> Timed<S> {
    /// For HTTP/1.
    pub(super) fn new(stream: S, progress: Arc<Progress>, limits: Limits) -> Timed<S> {
        Timed {
            stream,
            progress,
            silence: None,
            alarm: None,
            stall: None,
            flush_stall: None,
            head_max: Duration::from_secs(limits.header_read_s),
            idle_max: Duration::from_secs(limits.keep_alive_s),
            stall_max: Duration::from_secs(limits.request_s),
            open_max: None,
        }
    }

    /// For HTTP/2. There a client may always send something that is no request, such as a ping, and so bytes say
    /// nothing: what counts is when a request has begun, gone on or ended. A client that takes an answer no
    /// further shows in no write, since it leaves its window shut; the time for a request and then for taking it
    /// bounds that.
    pub(super) fn multiplexed(stream: S, progress: Arc<Progress>, limits: Limits) -> Timed<S> {
        let open_max = Some(Duration::from_secs(2 * limits.request_s));
        Timed { open_max, ..Timed::new(stream, progress, limits) }
    }

    /// Nothing came. Fails when that has been so for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let word = self.progress.word();
        let most = match (word & PHASE, self.open_max) {
            (HEAD, _) => self.head_max,
            (IDLE, _) => self.idle_max,
            (_, Some(open_max)) => open_max,
            (_, None) => return Poll::Pending,
        };
        let until = match self.silence {
            Some((set_for, until)) if set_for == word => until,
            _ => self.silence.insert((word, Instant::now() + most)).1,
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
        if self.open_max.is_none()
            && self.progress.word.compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.silence = None;
        }
    }

    /// Passes on the result of a write; fails when nothing could be written for too long.
    fn written(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.stall = None;
            if self.open_max.is_none() {
                // A client that still takes the last answer is not idle.
                self.silence = self.silence.take().filter(|(set_for, _)| *set_for != IDLE);
            }
            return result;
        }
        let most = self.stall_max;
        ready!(self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(most))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The same for a flush.
    fn flushed(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if result.is_ready() {
            self.flush_stall = None;
            return result;
        }
        let most = self.stall_max;
        ready!(self.flush_stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(most))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        if slices.len() > 1 && bytes <= COPIED_BYTES_MAX {
            let mut together = Vec::with_capacity(bytes);
            slices.iter().for_each(|slice| together.extend_from_slice(slice));
            let result = Pin::new(&mut self.stream).poll_write(cx, &together);
            return self.written(cx, result);
        }
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // After an answer hyper does not read until something comes, so nothing but this starts the clock of an
        // idle connection. That it has run out is told at the read that it leads to.
        if self.progress.word() & PHASE == IDLE {
            let _ = self.poll_silence(cx);
        }
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.flushed(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.flushed(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::net::{TcpListener, TcpStream};

    /// A client's stream and ours, with limits that run out at once.
    async fn pair(phase: usize) -> (TcpStream, Timed<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let progress = Arc::new(Progress::default());
        progress.word.store(phase, Ordering::Relaxed);
        (client, Timed::new(stream, progress, at_once()))
    }

    fn at_once() -> Limits {
        Limits { header_read_s: 0, keep_alive_s: 0, request_s: 0, ..Limits::default() }
    }

    async fn read<S: AsyncRead + Unpin>(timed: &mut Timed<S>) -> io::Result<usize> {
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
        assert_eq!(timed.progress.word(), HEAD);
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

    /// A stream that takes writes and never gets rid of them, as TLS over a full socket.
    struct Stuck;

    impl AsyncWrite for Stuck {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_flush_and_a_farewell_that_do_not_go_out_run_out() {
        let mut timed = Timed::new(Stuck, Arc::new(Progress::default()), at_once());
        let flushed = poll_fn(|cx| Pin::new(&mut timed).poll_flush(cx)).await;
        assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut timed = Timed::new(Stuck, Arc::new(Progress::default()), at_once());
        let closed = poll_fn(|cx| Pin::new(&mut timed).poll_shutdown(cx)).await;
        assert_eq!(closed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn with_http_2_what_counts_is_what_happens_to_requests() {
        let (_client, server) = tokio::io::duplex(64);
        let progress = Arc::new(Progress::default());
        let limits = Limits { header_read_s: 10, keep_alive_s: 75, request_s: 30, ..Limits::default() };
        let mut timed = Timed::multiplexed(server, Arc::clone(&progress), limits);
        let start = Instant::now();
        let (first, second) = (progress.open(), progress.open());
        drop(first);
        // One is open yet, and nothing happens to it.
        let error = read(&mut timed).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 60));
        drop(second);
        let start = Instant::now();
        assert!(read(&mut timed).await.is_err());
        assert_eq!((progress.word() & PHASE, start.elapsed().as_secs()), (IDLE, 75));
    }

    #[tokio::test(start_paused = true)]
    async fn with_http_2_pings_keep_no_idle_connection_open() {
        let (mut client, server) = tokio::io::duplex(64);
        let progress = Arc::new(Progress::default());
        drop(progress.open());
        let mut timed = Timed::multiplexed(server, progress, Limits::default());
        let start = Instant::now();
        let pinging = async {
            use tokio::io::AsyncWriteExt as _;
            loop {
                tokio::time::sleep(Duration::from_secs(20)).await;
                if client.write_all(b"ping").await.is_err() {
                    break;
                }
            }
        };
        let reading = async { while read(&mut timed).await.is_ok() {} };
        tokio::select! { () = pinging => {}, () = reading => {} }
        assert_eq!(start.elapsed().as_secs(), 75);
    }

    #[tokio::test]
    async fn slices_arrive_in_their_order_whether_they_are_copied_together_or_not() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut client, mut timed) = pair(ANSWERING).await;
        let long = vec![b'x'; COPIED_BYTES_MAX + 1];
        for body in [&b"body"[..], &long] {
            let sent = [b"head", body].concat();
            let mut slices = [io::IoSlice::new(b"head"), io::IoSlice::new(body)];
            let wrote = timed.write_vectored(&slices).await.unwrap();
            assert!(wrote > 0);
            let mut rest = &mut slices[..];
            io::IoSlice::advance_slices(&mut rest, wrote);
            for slice in rest {
                timed.write_all(slice).await.unwrap();
            }
            let mut received = vec![0; sent.len()];
            client.read_exact(&mut received).await.unwrap();
            assert_eq!(received, sent);
        }
    }
}
