//! Content codings (RFC 9110 §8.4): packing answers part by part, and unpacking requests under a limit.
//!
//! No step works on more than [`STEP_BYTES`] before others get their turn, so that neither a large answer nor a body
//! made to grow holds up the connections of the same thread. Which coding is wanted is told in `negotiation`.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use flate2::write::GzEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};
use futures_util::Stream;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder as ZstdEncoder;

use crate::directory;
use crate::scim::Error;

/// The most bytes that are packed, or come out of unpacking, in one step: a fraction of a millisecond.
pub(super) const STEP_BYTES: usize = 64 * 1024;

/// Members of a group pack to a sixth in 0.4 ms a step, on the 2 cores of the benchmarks; level 6 takes four times as
/// long for a tenth less, level 1 leaves half as much again.
const GZIP_LEVEL: u32 = 2;
/// Takes half the time of gzip at [`GZIP_LEVEL`].
const ZSTD_LEVEL: i32 = 1;
/// 128 KiB: an answer repeats itself from resource to resource, and a packer is there for each answer on its way.
const ZSTD_WINDOW_LOG: u32 = 17;
/// RFC 1952 knows one window.
const GZIP_WINDOW_BITS: u8 = 15;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// RFC 1952; also taken for a request.
    Gzip,
    /// RFC 8878; for answers alone.
    Zstd,
}

impl Coding {
    /// The coding of that name, in any case (RFC 9110 §8.4.1).
    pub(super) fn named(name: &str) -> Option<Coding> {
        match name {
            _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                Some(Coding::Gzip)
            }
            _ if name.eq_ignore_ascii_case("zstd") => Some(Coding::Zstd),
            _ => None,
        }
    }

    /// Its name as the value of a header.
    pub(super) fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
        })
    }

    /// The coding of a request's body; `None` when it comes as it is.
    ///
    /// # Errors
    /// 415 when it is another one, or there are several.
    pub(super) fn of_body(headers: &HeaderMap) -> Result<Option<Coding>, Error> {
        let mut found = None;
        for value in headers.get_all(CONTENT_ENCODING) {
            let names = value.to_str().unwrap_or("?").split(',').map(str::trim);
            for name in names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity")) {
                match (Coding::named(name), found) {
                    (Some(Coding::Gzip), None) => found = Some(Coding::Gzip),
                    _ => return Err(Error::unsupported_content_coding()),
                }
            }
        }
        Ok(found)
    }
}

/// Packs an answer.
pub(super) enum Packer {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
}

impl Packer {
    /// Begins an answer.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(super) fn new(coding: Coding) -> io::Result<Packer> {
        Ok(match coding {
            Coding::Gzip => Packer::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Zstd => {
                let mut zstd = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL)?;
                zstd.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG))?;
                Packer::Zstd(zstd)
            }
        })
    }

    /// All of a short body, packed.
    pub(super) fn whole(coding: Coding, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut packer = Packer::new(coding)?;
        let mut packed = packer.pack(body)?;
        packed.append(&mut packer.finish()?);
        Ok(packed)
    }

    /// Takes bytes and gives what has come out by now, which may be nothing yet.
    fn pack(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let out = match self {
            Packer::Gzip(gzip) => {
                gzip.write_all(bytes)?;
                gzip.get_mut()
            }
            Packer::Zstd(zstd) => {
                zstd.write_all(bytes)?;
                zstd.get_mut()
            }
        };
        Ok(std::mem::take(out))
    }

    /// What is left to come out.
    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Packer::Gzip(gzip) => gzip.finish(),
            Packer::Zstd(zstd) => zstd.finish(),
        }
    }
}

/// A body's parts, packed as they come.
pub(super) struct Packed<S> {
    parts: S,
    /// None when all is packed.
    packer: Option<Packer>,
    /// The part that is being packed, and how far.
    part: Vec<u8>,
    done: usize,
}

impl<S> Packed<S> {
    pub(super) fn new(parts: S, packer: Packer) -> Packed<S> {
        Packed { parts, packer: Some(packer), part: Vec::new(), done: 0 }
    }
}

impl<S> Stream for Packed<S>
where
    S: Stream<Item = Result<Vec<u8>, directory::Error>> + Unpin,
{
    type Item = Result<Vec<u8>, directory::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(packer) = &mut this.packer else { return Poll::Ready(None) };
        if this.done == this.part.len() {
            match ready!(Pin::new(&mut this.parts).poll_next(cx)) {
                Some(Ok(part)) => (this.part, this.done) = (part, 0),
                Some(Err(error)) => {
                    // What came before is not to pass for the whole: no end is written.
                    this.packer = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    let last = this.packer.take().map(Packer::finish).transpose();
                    return Poll::Ready(last.map_err(failed).transpose());
                }
            }
        }
        let until = this.part.len().min(this.done + STEP_BYTES);
        let packed = packer.pack(&this.part[this.done..until]).map_err(failed)?;
        this.done = until;
        if packed.is_empty() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(packed)))
    }
}

fn failed(error: io::Error) -> directory::Error {
    directory::Error::Internal { reason: format!("packing an answer: {error}") }
}

/// Unpacks the body of a request, which is gzip.
pub(super) struct Unpacker {
    gzip: Decompress,
    /// Where a step's bytes come out.
    room: Box<[u8]>,
    /// Whether something has come, and whether it stands at an end.
    begun: bool,
    ended: bool,
}

impl Unpacker {
    pub(super) fn new() -> Unpacker {
        let gzip = Decompress::new_gzip(GZIP_WINDOW_BITS);
        Unpacker { gzip, room: vec![0; STEP_BYTES].into_boxed_slice(), begun: false, ended: false }
    }

    /// Whether the body stands at an end: nothing of it is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.ended || !self.begun
    }

    /// Unpacks all of `input` into `whole`, with a turn for others after each step.
    ///
    /// # Errors
    /// 413 as soon as `whole` is larger than `bytes_max`, 400 when the bytes are not of the coding.
    pub(super) async fn unpack(
        &mut self,
        mut input: &[u8],
        whole: &mut BytesMut,
        bytes_max: usize,
    ) -> Result<(), Error> {
        loop {
            let (taken, given) = self.step(input).map_err(|_| broken())?;
            whole.extend_from_slice(&self.room[..given]);
            if whole.len() > bytes_max {
                return Err(Error::payload_too_large(bytes_max));
            }
            input = &input[taken..];
            if input.is_empty() && given < self.room.len() {
                return Ok(());
            }
            if taken == 0 && given == 0 {
                return Err(broken());
            }
            tokio::task::yield_now().await;
        }
    }

    /// How many bytes were taken and how many came out.
    fn step(&mut self, input: &[u8]) -> io::Result<(usize, usize)> {
        if input.is_empty() && self.is_complete() {
            return Ok((0, 0));
        }
        self.begun = true;
        if self.ended {
            // Members may follow each other (RFC 1952 §2.2).
            self.gzip = Decompress::new_gzip(GZIP_WINDOW_BITS);
        }
        let (taken, given) = (self.gzip.total_in(), self.gzip.total_out());
        let status = self.gzip.decompress(input, &mut self.room, FlushDecompress::None)?;
        self.ended = status == Status::StreamEnd;
        let count = |after: u64, before: u64| usize::try_from(after - before).unwrap_or(usize::MAX);
        Ok((count(self.gzip.total_in(), taken), count(self.gzip.total_out(), given)))
    }
}

/// The refusal of a body that is not of the coding that it names.
pub(super) fn broken() -> Error {
    Error::bad_request("The request body is not of the coding that the header Content-Encoding names.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};

    const CODINGS: [Coding; 2] = [Coding::Gzip, Coding::Zstd];

    async fn unpacked(
        coding: Coding,
        packed: &[u8],
        chunk: usize,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Error> {
        if coding == Coding::Zstd {
            // No request comes so; what a client makes of an answer is read by the library.
            return zstd::stream::decode_all(packed).map_err(|_| broken());
        }
        let mut unpacker = Unpacker::new();
        let mut whole = BytesMut::new();
        for chunk in packed.chunks(chunk) {
            unpacker.unpack(chunk, &mut whole, bytes_max).await?;
        }
        if unpacker.is_complete() { Ok(whole.to_vec()) } else { Err(broken()) }
    }

    fn text(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|n| b"{\"userName\":\"abc\"}"[(n * 7 + n / 100) % 18]).collect()
    }

    #[tokio::test]
    async fn what_is_packed_unpacks_to_itself_in_chunks_of_any_size() {
        for coding in CODINGS {
            for bytes in [0, 1, 100, STEP_BYTES, 3 * STEP_BYTES + 1] {
                let body = text(bytes);
                let packed = Packer::whole(coding, &body).unwrap();
                for chunk in [1, 7, 1000, usize::MAX / 2] {
                    let whole = unpacked(coding, &packed, chunk, bytes).await.unwrap();
                    assert!(whole == body, "{coding:?} {bytes} {chunk}");
                }
            }
        }
    }

    #[tokio::test]
    async fn several_members_are_one_body() {
        for coding in CODINGS {
            let mut packed = Packer::whole(coding, b"one ").unwrap();
            packed.extend(Packer::whole(coding, b"body").unwrap());
            for chunk in [1, 1000] {
                assert_eq!(unpacked(coding, &packed, chunk, 100).await.unwrap(), b"one body");
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_grows_past_the_limit_is_refused_before_it_is_held() {
        for coding in [Coding::Gzip] {
            let bomb = Packer::whole(coding, &vec![b' '; 64 * 1024 * 1024]).unwrap();
            assert!(bomb.len() < 512 * 1024);
            let mut unpacker = Unpacker::new();
            let mut whole = BytesMut::new();
            let refused = unpacker.unpack(&bomb, &mut whole, 100_000).await.unwrap_err();
            assert_eq!(refused.status, 413);
            assert!(whole.len() <= 100_000 + STEP_BYTES, "{coding:?}: {}", whole.len());
        }
    }

    #[tokio::test]
    async fn what_is_cut_short_or_is_not_of_the_coding_is_refused() {
        for coding in [Coding::Gzip] {
            let packed = Packer::whole(coding, &text(1000)).unwrap();
            for length in 1..packed.len() {
                let cut = unpacked(coding, &packed[..length], 64, 10_000).await;
                assert_eq!(cut.unwrap_err().status, 400, "{coding:?} {length}");
            }
            for foreign in [&b"{\"userName\":\"a\"}"[..], b"\x1f", b"\x1f\x8b\x08", &[0; 100]] {
                assert_eq!(unpacked(coding, foreign, 64, 10_000).await.unwrap_err().status, 400);
            }
            let trailing = [packed.as_slice(), b"more"].concat();
            assert_eq!(unpacked(coding, &trailing, 64, 10_000).await.unwrap_err().status, 400);
        }
    }

    #[tokio::test]
    async fn parts_are_packed_as_they_come_and_one_that_fails_leaves_no_end() {
        for coding in CODINGS {
            let parts = [text(10), Vec::new(), text(5 * STEP_BYTES), text(77)];
            let stream = stream::iter(parts.clone().map(Ok));
            let packed: Vec<_> = Packed::new(stream, Packer::new(coding).unwrap()).collect().await;
            let packed = packed.into_iter().collect::<Result<Vec<_>, _>>().unwrap().concat();
            assert!(unpacked(coding, &packed, 1000, usize::MAX).await.unwrap() == parts.concat());

            let broken = directory::Error::Internal { reason: "x".to_owned() };
            let stream = stream::iter([Ok(text(100_000)), Err(broken), Ok(text(10))]);
            let packed: Vec<_> = Packed::new(stream, Packer::new(coding).unwrap()).collect().await;
            assert!(packed.last().unwrap().is_err());
            let sent: Vec<u8> = packed.into_iter().filter_map(Result::ok).flatten().collect();
            assert!(unpacked(coding, &sent, 1000, usize::MAX).await.is_err() || sent.is_empty());
        }
    }

    #[test]
    fn the_coding_of_a_body_is_known_or_refused() {
        let of = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(line));
            }
            Coding::of_body(&headers).map_err(|error| error.status)
        };
        for (lines, expected) in [
            (&[][..], Ok(None)),
            (&["identity"], Ok(None)),
            (&[""], Ok(None)),
            (&["GZip"], Ok(Some(Coding::Gzip))),
            (&["x-gzip, identity"], Ok(Some(Coding::Gzip))),
            (&["deflate"], Err(415)),
            (&["br"], Err(415)),
            (&["gzip, gzip"], Err(415)),
            (&["gzip", "x-gzip"], Err(415)),
            (&["zstd"], Err(415)),
        ] {
            assert_eq!(of(lines), expected, "{lines:?}");
        }
    }
}
