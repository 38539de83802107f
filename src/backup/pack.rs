//! A file packed and unpacked by zstd as a stream, with the checksums of both forms taken on the way. Memory is
//! bounded by the window of the compression level, whatever the size of the file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

/// The compression level: zstd's own default. Higher ones take several times as long for a few per cent.
const LEVEL: i32 = 3;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// The first bytes of what zstd has packed.
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// The length of a stream and the checksum of its bytes, in lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// Both forms of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) packed: Sum,
    pub(super) plain: Sum,
}

/// Counts and sums up what passes through.
struct Summing<T> {
    inner: T,
    bytes: u64,
    hash: Sha256,
}

impl<T> Summing<T> {
    fn new(inner: T) -> Summing<T> {
        Summing { inner, bytes: 0, hash: Sha256::new() }
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(0);
    }

    fn sum(self) -> Sum {
        let digits = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Sum { bytes: self.bytes, sha256: digits }
    }
}

impl<T: Write> Write for Summing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.pass(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Summing<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.pass(&into[..read]);
        Ok(read)
    }
}

/// Whether a file begins as a packed one does.
pub(super) fn is_packed(file: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    File::open(file)?.take(4).read_to_end(&mut first)?;
    Ok(first == MAGIC)
}

/// Packs `plain` into `packed`, and has it written through to the disk.
pub(super) fn pack(plain: &Path, packed: &File) -> io::Result<Sums> {
    let mut from = Summing::new(File::open(plain)?);
    let mut encoder = zstd::stream::write::Encoder::new(Summing::new(packed), LEVEL)?;
    encoder.include_checksum(true)?;
    copy(&mut from, &mut encoder, u64::MAX)?;
    let to = encoder.finish()?;
    packed.sync_all()?;
    Ok(Sums { packed: to.sum(), plain: from.sum() })
}

/// Unpacks `packed` into `to`, which gets at most `bytes_max`.
///
/// # Errors
/// When it cannot be read, is damaged, or holds more than that.
pub(super) fn unpack(packed: &Path, to: impl Write, bytes_max: u64) -> io::Result<Sums> {
    let file = io::BufReader::with_capacity(BUFFER_BYTES, Summing::new(File::open(packed)?));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
    let mut to = Summing::new(to);
    copy(&mut decoder, &mut to, bytes_max)?;
    to.flush()?;
    Ok(Sums { packed: decoder.finish().into_inner().sum(), plain: to.sum() })
}

fn copy(from: &mut impl Read, to: &mut impl Write, bytes_max: u64) -> io::Result<()> {
    let (mut buffer, mut left) = (vec![0; BUFFER_BYTES], bytes_max);
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        left = left
            .checked_sub(u64::try_from(read).unwrap_or(u64::MAX))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it holds more than it should"))?;
        to.write_all(&buffer[..read])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_unpacks_to_the_same_with_the_sums_that_others_find() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, packed) = (folder.path().join("plain"), folder.path().join("packed"));
        let content: Vec<u8> = (0..1_000_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        std::fs::write(&plain, &content).unwrap();
        let sums = pack(&plain, &File::create(&packed).unwrap()).unwrap();
        assert_eq!(
            (sums.plain.bytes, sums.packed.bytes),
            (4_000_000, std::fs::metadata(&packed).unwrap().len())
        );
        assert!(sums.packed.bytes < 1_000_000);
        let mut out = Vec::new();
        assert_eq!(unpack(&packed, &mut out, 4_000_000).unwrap(), sums);
        assert_eq!(out, content);
        assert!(unpack(&packed, io::sink(), 3_999_999).is_err());
        assert!(is_packed(&packed).unwrap() && !is_packed(&plain).unwrap());
        // FIPS 180-2, appendix B.1.
        let mut abc = Summing::new(io::sink());
        abc.write_all(b"abc").unwrap();
        assert_eq!(abc.sum().sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_damaged_or_cut_one_does_not_unpack() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, packed) = (folder.path().join("plain"), folder.path().join("packed"));
        std::fs::write(&plain, b"a word ".repeat(50_000)).unwrap();
        pack(&plain, &File::create(&packed).unwrap()).unwrap();
        let whole = std::fs::read(&packed).unwrap();
        std::fs::write(&packed, &whole[..whole.len() - 5]).unwrap();
        assert!(unpack(&packed, io::sink(), u64::MAX).is_err());
        let mut changed = whole.clone();
        let last = changed.len() - 1;
        changed[last] ^= 1;
        std::fs::write(&packed, changed).unwrap();
        assert!(unpack(&packed, io::sink(), u64::MAX).is_err());
    }
}
