//! The client: HTTP/1.1 with kept connections, written by hand so that it costs the machine little. It shares two
//! cores with the server that it measures.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// What is read at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// How much of the answer to a request that failed is shown.
const SHOWN_BYTES: usize = 300;

/// One connection; a request waits for the answer to the one before.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The first bytes of the last answer that was not a success.
    failure: Vec<u8>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// HTTP status.
    pub(crate) status: u16,
    /// Names and values, as sent.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub(crate) body: Vec<u8>,
}

/// How the end of a body is known.
#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
}

struct Head {
    status: u16,
    framing: Framing,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: vec![0; BUFFER_BYTES], failure: Vec::new() })
    }

    /// Sends a request and reads the answer to its end; gives the status.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        Ok(self.run(request, None).await?.status)
    }

    /// What the server said to the last request that failed.
    pub(crate) fn failure(&self) -> String {
        String::from_utf8_lossy(&self.failure).into_owned()
    }

    /// Sends a request and keeps the answer.
    pub(crate) async fn fetch(&mut self, request: &[u8]) -> Result<Fetched> {
        let mut kept = Kept::default();
        let head = self.run(request, Some(&mut kept)).await?;
        let text = String::from_utf8_lossy(&kept.head).into_owned();
        let headers = text.lines().skip(1).filter_map(|line| line.split_once(':'));
        let headers =
            headers.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
        Ok(Fetched { status: head.status, headers, body: kept.body })
    }

    async fn run(&mut self, request: &[u8], mut kept: Option<&mut Kept>) -> Result<Head> {
        self.send(request).await.context("sending a request")?;
        let mut filled = 0;
        let body_at = loop {
            filled += self.receive(filled).await?;
            if let Some(end) = self.buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(filled < self.buffer.len(), "the head of an answer is too long");
        };
        let head = Head::parse(&self.buffer[..body_at])?;
        if let Some(kept) = kept.as_deref_mut() {
            kept.head.extend_from_slice(&self.buffer[..body_at]);
        }
        if !(200..300).contains(&head.status) {
            self.failure.clear();
            self.failure.extend_from_slice(&self.buffer[body_at..filled.min(body_at + SHOWN_BYTES)]);
        }
        let mut body = Body::new(head.framing);
        let mut from = body_at;
        loop {
            body.take(&self.buffer[from..filled], kept.as_deref_mut().map(|kept| &mut kept.body))?;
            if body.is_complete() {
                return Ok(head);
            }
            from = 0;
            filled = self.receive(0).await?;
        }
    }

    async fn send(&self, mut request: &[u8]) -> io::Result<()> {
        while !request.is_empty() {
            match self.stream.try_write(request) {
                Ok(sent) => request = &request[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what there is, behind what the buffer holds already.
    async fn receive(&mut self, filled: usize) -> Result<usize> {
        let Connection { stream, buffer, .. } = self;
        // Not `try_read`: this way tokio spares the second system call that finds nothing more to read.
        let read = poll_fn(|cx| {
            let mut into = ReadBuf::new(&mut buffer[filled..]);
            Pin::new(&mut *stream).poll_read(cx, &mut into).map_ok(|()| into.filled().len())
        });
        let count = read.await.context("reading an answer")?;
        ensure!(count > 0, "the server closed the connection in the middle of an answer");
        Ok(count)
    }
}

#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Head {
    fn parse(head: &[u8]) -> Result<Head> {
        let status = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        let status = status.and_then(|digits| digits.parse().ok()).context("an answer without a status")?;
        // 204 and 304 have no body and need not say so.
        let mut framing = Framing::Length(0);
        for line in head.split(|byte| *byte == b'\n').skip(1) {
            if let Some(value) = value_of(line, "content-length") {
                framing = Framing::Length(value.parse().context("Content-Length")?);
            } else if value_of(line, "transfer-encoding").is_some_and(|value| value.ends_with("chunked")) {
                framing = Framing::Chunked;
            }
        }
        Ok(Head { status, framing })
    }
}

fn value_of<'a>(line: &'a [u8], name: &str) -> Option<&'a str> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name.as_bytes()).then(|| std::str::from_utf8(value).ok().map(str::trim))?
}

/// The body as it comes in.
enum Body {
    /// So many bytes are still to come.
    Length(usize),
    Chunked(Chunk),
}

enum Chunk {
    /// The line with the size of a chunk, as far as it was read.
    Size(Vec<u8>),
    /// So many bytes of the chunk, with the line end behind it, are still to come.
    Data(usize),
    /// The lines behind the last chunk; holds the length of the present one.
    Trailer(usize),
    Complete,
}

impl Body {
    fn new(framing: Framing) -> Body {
        match framing {
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunk::Size(Vec::new())),
        }
    }

    fn is_complete(&self) -> bool {
        matches!(self, Body::Length(0) | Body::Chunked(Chunk::Complete))
    }

    fn take(&mut self, bytes: &[u8], mut kept: Option<&mut Vec<u8>>) -> Result<()> {
        match self {
            Body::Length(left) => {
                *left = left.checked_sub(bytes.len()).context("an answer is longer than it says")?;
                if let Some(kept) = kept {
                    kept.extend_from_slice(bytes);
                }
                Ok(())
            }
            Body::Chunked(chunk) => {
                let mut bytes = bytes;
                while let Some(first) = bytes.first().copied() {
                    let used = chunk.take(first, bytes, kept.as_deref_mut())?;
                    bytes = &bytes[used..];
                }
                Ok(())
            }
        }
    }
}

impl Chunk {
    /// Takes some of `bytes`, which begin with `first`; gives how many.
    fn take(&mut self, first: u8, bytes: &[u8], kept: Option<&mut Vec<u8>>) -> Result<usize> {
        match self {
            Chunk::Size(line) if first != b'\n' => line.push(first),
            Chunk::Size(line) => {
                let text = String::from_utf8_lossy(line).into_owned();
                let digits = text.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(digits, 16).context("the size of a chunk")?;
                *self = if size == 0 { Chunk::Trailer(0) } else { Chunk::Data(size + 2) };
            }
            Chunk::Data(left) => {
                let used = bytes.len().min(*left);
                if let Some(kept) = kept {
                    kept.extend_from_slice(&bytes[..used.min(left.saturating_sub(2))]);
                }
                *left -= used;
                if *left == 0 {
                    *self = Chunk::Size(Vec::new());
                }
                return Ok(used);
            }
            Chunk::Trailer(0) if first == b'\n' => *self = Chunk::Complete,
            Chunk::Trailer(length) if first == b'\n' => *length = 0,
            Chunk::Trailer(_) if first == b'\r' => {}
            Chunk::Trailer(length) => *length += 1,
            Chunk::Complete => bail!("an answer is longer than it says"),
        }
        Ok(1)
    }
}

/// Sends one request on a connection of its own.
pub(crate) fn fetch(address: SocketAddr, request: &[u8]) -> Result<Fetched> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Connection::open(address).await?.fetch(request).await })
}
