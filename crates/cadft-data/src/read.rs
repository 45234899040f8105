//! Opens data files and streams their records, independent of the kind of file.
//!
//! The kind of file is detected from its name (`.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv`, `.parquet`), otherwise
//! from its first bytes. gzip and Zstandard are detected from the first bytes. Only one record is in memory at a time,
//! and one page of each column of a Parquet file. Reading continues after a malformed record, so that all problems of a file are
//! found.

mod caught;
mod compressed;
mod csv;
mod json;
mod jsonl;
mod kind;
mod parquet;
mod rows;

use std::fs::File;
use std::io::{self, BufRead, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use ::parquet::file::reader::ChunkReader;
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::error::{DataError, Problem, Problems};
use crate::format::{Cells, Shape, Wrong};
use crate::row::{Place, Row};
pub(crate) use caught::caught;
use compressed::{Text, peek, without_suffix};
use csv::Csv;
use json::JsonArray;
use jsonl::JsonLines;
pub(crate) use kind::of_name as unread_kind;
use parquet::Parquet;
pub(crate) use rows::FileRows;

/// Largest size of a record in bytes; a longer record is refused.
pub(crate) const MAX_RECORD_BYTES: usize = 64 << 20;

/// A record of a file, before its format is known.
pub(crate) struct Record {
    /// The line of the record, or its row number.
    number: usize,
    fields: Map<String, Value>,
    /// Invalid values; they matter only if their columns are used.
    bad: Vec<BadValue>,
}

/// A value that cannot be used.
struct BadValue {
    column: String,
    /// What is wrong, and the place within the column.
    message: String,
}

/// A problem of a file, before the file's name is added.
pub(crate) struct Fault {
    place: Place,
    wrong: Wrong,
}

impl Fault {
    fn new(place: Place, message: String) -> Self {
        let wrong = Wrong::Value(message);
        Self { place, wrong }
    }
}

type Records = Box<dyn Iterator<Item = Result<Record, Fault>> + Send>;

/// An opened file.
pub(crate) struct Opened {
    records: Records,
    cells: Cells,
    /// Converts the number of a record to a place.
    place: fn(usize) -> Place,
}

/// Reads the rows of one file of any kind and format.
///
/// # Errors
/// [`DataError::Io`] if the file cannot be opened, [`DataError::Invalid`] with all problems of the file.
pub fn read_file(path: &Path) -> Result<Vec<Row>, DataError> {
    let io_error = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let name = path.display().to_string();
    let shape = Arc::new(Shape::default());
    let opened = open(path, &shape).map_err(io_error)?;
    collect(FileRows::new(&name, 0, opened, shape))
}

/// Parses the rows of a file in memory. `name` is the path in messages, and decides the kind of file as in
/// [`read_file`].
///
/// # Errors
/// [`DataError::Invalid`] with all problems of the file.
///
/// # Examples
/// ```
/// use cadft_data::{Content, parse_file};
///
/// let rows = parse_file("data.jsonl", br#"{"prompt": "1 + 1 = ", "completion": "2"}"#)?;
/// assert_eq!(rows.len(), 1);
/// assert!(matches!(rows[0].content, Content::PromptCompletion { .. }));
/// # Ok::<(), cadft_data::DataError>(())
/// ```
pub fn parse_file(name: &str, bytes: &[u8]) -> Result<Vec<Row>, DataError> {
    let shape = Arc::new(Shape::default());
    let bytes = Bytes::copy_from_slice(bytes);
    let opened = opened(name, bytes.clone(), Box::new(Cursor::new(bytes)), &shape);
    collect(FileRows::new(name, 0, opened, shape))
}

/// Collects all rows, or the first problems.
pub(crate) fn collect(rows: impl Iterator<Item = Result<Row, Problem>>) -> Result<Vec<Row>, DataError> {
    let (mut good, mut problems) = (Vec::new(), Problems::default());
    for row in rows {
        match row {
            Ok(row) if problems.is_empty() => good.push(row),
            Ok(_) => {}
            Err(problem) => problems.push(problem),
        }
    }
    problems.or(good)
}

/// Opens a file or a pipe.
///
/// # Errors
/// The I/O error if the file cannot be opened. Malformed content is reported record by record.
pub(crate) fn open(path: &Path, shape: &Shape) -> io::Result<Opened> {
    // Checked before opening: opening a device may have an effect.
    let is_file = is_file(path)?;
    let file = File::open(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let text = file.try_clone()?;
    if !is_file && is_parquet(without_suffix(&name.to_lowercase()).0) {
        let message = "Parquet is read from its end, which a pipe cannot do; write it to a file first";
        return Err(io::Error::new(io::ErrorKind::NotSeekable, message));
    }
    Ok(opened(&name, file, Box::new(text), shape))
}

/// Whether a path is a regular file (true) or a pipe (false).
///
/// # Errors
/// If the path is a directory or a device, which may have no end.
pub(crate) fn is_file(path: &Path) -> io::Result<bool> {
    let file_type = path.metadata()?.file_type();
    if file_type.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if file_type.is_char_device() || file_type.is_block_device() {
            let message = "this is a device, and not a file or a pipe";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    }
    Ok(file_type.is_file())
}

fn is_parquet(name: &str) -> bool {
    name.ends_with(".parquet") || name.ends_with(".pq")
}

/// The records of an input that can be read both as Parquet and as a stream.
fn opened<P: ChunkReader + 'static>(
    name: &str,
    input: P,
    stream: Box<dyn Read + Send>,
    shape: &Shape,
) -> Opened {
    records(name, input, stream, shape).unwrap_or_else(|fault| Opened {
        records: Box::new(std::iter::once(Err(fault))),
        cells: Cells::Typed,
        place: Place::Line,
    })
}

fn records<P: ChunkReader + 'static>(
    name: &str,
    input: P,
    stream: Box<dyn Read + Send>,
    shape: &Shape,
) -> Result<Opened, Fault> {
    let whole = |error: io::Error| Fault::new(Place::File, cut_short(&error));
    let name = name.to_lowercase();
    let (name, is_compressed) = without_suffix(&name);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    if is_parquet(name) {
        if is_compressed {
            let message = "Parquet within gzip or Zstandard is not read; unpack the file first";
            return Err(Fault::new(Place::File, message.to_owned()));
        }
        let start = usize::try_from(input.len()).unwrap_or(usize::MAX).min(kind::HEAD);
        let head = input.get_bytes(0, start).unwrap_or_default();
        if let Some(message) = kind::of_bytes(&head) {
            return Err(Fault::new(Place::File, message));
        }
        let records = Parquet::new(input, &|column| shape.reads(column))?;
        return Ok(Opened {
            records: Box::new(records),
            cells: Cells::Typed,
            place: Place::Row,
        });
    }
    let (head, text) = peek::<4>(compressed::text(stream, is_compressed).map_err(whole)?).map_err(whole)?;
    if head.starts_with(b"PAR1") {
        let message = "this is Parquet; the name of a Parquet file ends in `.parquet`";
        return Err(Fault::new(Place::File, message.to_owned()));
    }
    if let Some(hint) = kind::of_name(name).filter(|_| !head.trim_ascii_start().starts_with(b"{")) {
        let message = format!("its ending says that this is no file of rows; {hint}");
        return Err(Fault::new(Place::File, message));
    }
    let (records, cells): (Records, _) = match extension {
        "csv" => (Box::new(Csv::new(text, b',')), Cells::Text),
        "tsv" => (Box::new(Csv::new(text, b'\t')), Cells::Text),
        "json" => (json(text).map_err(whole)?, Cells::Typed),
        _ => (Box::new(JsonLines::new(text)), Cells::Typed),
    };
    Ok(Opened {
        records,
        cells,
        place: Place::Line,
    })
}

/// The records of a `.json` file: a list of objects, or JSON Lines.
fn json(mut text: Text) -> io::Result<Records> {
    // Blank lines at the start are kept, for correct line numbers.
    let mut start = Vec::new();
    while start.trim_ascii().is_empty() {
        if text.by_ref().take(1 << 16).read_until(b'\n', &mut start)? == 0 {
            break;
        }
    }
    let first = start.trim_ascii();
    let is_list = first.starts_with(b"[");
    if first == b"{" {
        let message =
            "one object over several lines; what is read is a list of objects, or one object a line";
        let line = start.iter().filter(|&&byte| byte == b'\n').count();
        let fault = Fault::new(Place::Line(line), message.to_owned());
        return Ok(Box::new(std::iter::once(Err(fault))));
    }
    let text = Cursor::new(start).chain(text);
    Ok(if is_list {
        Box::new(JsonArray::new(text))
    } else {
        Box::new(JsonLines::new(text))
    })
}

/// The message for a file that cannot be read to its end.
fn cut_short(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            format!("the file is cut short: {error}")
        }
        _ => format!("cannot be read: {error}"),
    }
}
