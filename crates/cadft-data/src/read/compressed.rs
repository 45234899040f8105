//! Files as streams of text, with gzip or Zstandard compression and the byte order mark removed.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::kind::{self, HEAD};

/// A stream of text.
pub(super) type Text = Box<dyn BufRead + Send>;

const GZIP: &[u8] = b"\x1F\x8B";
const ZSTD: &[u8] = b"\x28\xB5\x2F\xFD";
const BUFFER: usize = 1 << 16;

/// Largest ratio of unpacked to packed size.
const MAX_RATIO: u64 = 200;

/// Largest window of Zstandard: that of `zstd --long=31`.
const MAX_WINDOW_LOG: u32 = 31;

/// The file name without a compression suffix, and whether it had one.
pub(super) fn without_suffix(name: &str) -> (&str, bool) {
    [".gz", ".gzip", ".zst", ".zstd"]
        .into_iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .map_or((name, false), |name| (name, true))
}

/// Removes compression and byte order mark, whatever the name of the file is.
///
/// # Errors
/// Any error of reading the first bytes, and a description of bytes that are not UTF-8 text.
pub(super) fn text(reader: Box<dyn Read + Send>, is_named_compressed: bool) -> io::Result<Text> {
    let packed = Arc::new(AtomicU64::new(0));
    let reader = Counted {
        reader,
        read: Arc::clone(&packed),
    };
    let (head, reader) = peek::<HEAD>(Box::new(BufReader::with_capacity(BUFFER, reader)))?;
    refuse_other(&head)?;
    let reader: Text = if head.starts_with(GZIP) {
        unpacked(MultiGzDecoder::new(reader), packed)
    } else if head.starts_with(ZSTD) || is_skippable(&head) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
        decoder.window_log_max(MAX_WINDOW_LOG)?;
        unpacked(decoder, packed)
    } else if is_named_compressed {
        return Err(invalid("neither gzip nor Zstandard, as its name says"));
    } else {
        reader
    };
    let (head, mut reader) = peek::<HEAD>(reader)?;
    refuse_other(&head)?;
    if head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF") {
        return Err(invalid("the text is UTF-16; save it as UTF-8"));
    }
    if head.starts_with(b"\xEF\xBB\xBF") {
        io::copy(&mut reader.by_ref().take(3), &mut io::sink())?;
    }
    Ok(reader)
}

/// Whether `unpacked` bytes are far more than text can unpack to: a small file must not fill the memory.
pub(super) fn is_bomb(packed: u64, unpacked: u64) -> bool {
    const SMALL: u64 = 256 << 20;
    unpacked > SMALL && unpacked / MAX_RATIO > packed
}

/// The message for such a file.
pub(super) fn bomb() -> String {
    format!(
        "it unpacks to more than {MAX_RATIO} times its size, as no text does; unpack it to see what it holds"
    )
}

/// The output of a decoder, with an error if it is far too large.
fn unpacked(decoder: impl Read + Send + 'static, packed: Arc<AtomicU64>) -> Text {
    let bounded = Bounded {
        decoder,
        packed,
        unpacked: 0,
    };
    Box::new(BufReader::with_capacity(BUFFER, bounded))
}

/// Counts the bytes that are read.
struct Counted<R> {
    reader: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

struct Bounded<R> {
    decoder: R,
    packed: Arc<AtomicU64>,
    unpacked: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.unpacked += count as u64;
        if is_bomb(self.packed.load(Ordering::Relaxed), self.unpacked) {
            return Err(invalid(&bomb()));
        }
        Ok(count)
    }
}

/// The first bytes of a stream, and a stream that still contains them.
pub(super) fn peek<const N: usize>(mut reader: Text) -> io::Result<(Vec<u8>, Text)> {
    let mut head = Vec::with_capacity(N);
    reader.by_ref().take(N as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(reader))))
}

/// Whether a file begins with a Zstandard frame without data, as `pzstd` writes.
fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..])
}

/// Refuses a file that is not text with a message about its kind, instead of many malformed rows.
fn refuse_other(head: &[u8]) -> io::Result<()> {
    match kind::of_bytes(head) {
        Some(message) => Err(invalid(&message)),
        None => Ok(()),
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}
