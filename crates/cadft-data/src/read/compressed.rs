//! Files as streams of text: gzip and Zstandard taken off, the byte order mark too.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// A stream of text.
pub(super) type Text = Box<dyn BufRead + Send>;

const GZIP: &[u8] = b"\x1F\x8B";
const ZSTD: &[u8] = b"\x28\xB5\x2F\xFD";
const BUFFER: usize = 1 << 16;

/// The name of a file without `.gz` or `.zst`, and whether it had one.
pub(super) fn without_suffix(name: &str) -> (&str, bool) {
    [".gz", ".gzip", ".zst", ".zstd"]
        .into_iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .map_or((name, false), |name| (name, true))
}

/// Takes compression and byte order mark off, whatever the file is called.
///
/// # Errors
/// What reading the first bytes gives, and a description of bytes that are no UTF-8 text.
pub(super) fn text(reader: Box<dyn Read + Send>, is_named_compressed: bool) -> io::Result<Text> {
    let (head, reader) = peek::<4>(Box::new(BufReader::with_capacity(BUFFER, reader)))?;
    let reader: Text = if head.starts_with(GZIP) {
        Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(reader)))
    } else if head.starts_with(ZSTD) {
        let decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
        Box::new(BufReader::with_capacity(BUFFER, decoder))
    } else if is_named_compressed {
        return Err(invalid("neither gzip nor Zstandard, as its name says"));
    } else {
        reader
    };
    let (head, mut reader) = peek::<4>(reader)?;
    if head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF") {
        return Err(invalid("the text is UTF-16; save it as UTF-8"));
    }
    if head.starts_with(b"\xEF\xBB\xBF") {
        io::copy(&mut reader.by_ref().take(3), &mut io::sink())?;
    }
    Ok(reader)
}

/// The first bytes of a stream, and the whole stream.
pub(super) fn peek<const N: usize>(mut reader: Text) -> io::Result<(Vec<u8>, Text)> {
    let mut head = Vec::with_capacity(N);
    reader.by_ref().take(N as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(reader))))
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}
