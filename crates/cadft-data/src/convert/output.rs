//! The files to which rows are written: under a temporary name, renamed when they are complete.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use cadft_files::NewFile;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value};

use super::parquet::{Parquet, Problem, Schema};
use crate::error::DataError;
use crate::format::Cells;

/// The kind of a file, from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    layout: Layout,
    packing: Packing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Lines,
    List,
    Table(u8),
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Kind {
    pub(super) fn of(path: &Path) -> Result<Self, DataError> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let (name, packing) = match name.rsplit_once('.') {
            Some((name, "gz")) => (name.to_owned(), Packing::Gzip),
            Some((name, "zst")) => (name.to_owned(), Packing::Zstd),
            _ => (name, Packing::None),
        };
        let layout = match (name.rsplit_once('.').map(|(_, extension)| extension), packing) {
            (Some("jsonl" | "ndjson"), _) => Layout::Lines,
            (Some("json"), _) => Layout::List,
            (Some("csv"), _) => Layout::Table(b','),
            (Some("tsv"), _) => Layout::Table(b'\t'),
            (Some("parquet"), Packing::None) => Layout::Parquet,
            _ => {
                return Err(DataError::Source {
                    path: path.display().to_string(),
                    message: "the ending says no kind of file that can be written".to_owned(),
                    hint: "one of .jsonl, .json, .csv and .tsv, each also with .gz or .zst, or .parquet"
                        .to_owned(),
                });
            }
        };
        Ok(Self { layout, packing })
    }

    /// How values are read from this kind of file.
    pub(super) fn reads(self) -> Cells {
        match self.layout {
            Layout::Table(_) => Cells::Text,
            _ => Cells::Typed,
        }
    }

    /// The values of a record as this kind of file stores them.
    pub(super) fn cells(self, mut record: Map<String, Value>) -> Map<String, Value> {
        if let Layout::Table(_) = self.layout {
            for value in record.values_mut().filter(|value| !value.is_string()) {
                *value = Value::String(value.to_string());
            }
        }
        record
    }
}

/// A file under construction.
pub(super) struct Output {
    path: PathBuf,
    file: NewFile,
    writer: Writer,
    columns: Vec<String>,
    rows: usize,
}

enum Writer {
    Lines(Packed),
    List(Packed),
    Table(Box<csv::Writer<Packed>>),
    Parquet(Box<Parquet>),
}

impl Output {
    pub(super) fn create(path: &Path, kind: Kind, schema: &Schema) -> Result<Self, DataError> {
        let error = |source: io::Error| DataError::Write {
            path: path.to_owned(),
            source: source.into(),
        };
        let new = NewFile::create(path).map_err(error)?;
        let file = new.handle().map_err(error)?;
        let columns = schema.columns();
        let writer = match kind.layout {
            Layout::Lines => Writer::Lines(packed(file, kind.packing).map_err(error)?),
            Layout::List => Writer::List(packed(file, kind.packing).map_err(error)?),
            Layout::Table(delimiter) => {
                let out = packed(file, kind.packing).map_err(error)?;
                let mut table = csv::WriterBuilder::new().delimiter(delimiter).from_writer(out);
                table
                    .write_record(&columns)
                    .map_err(|problem| error(problem.into()))?;
                Writer::Table(Box::new(table))
            }
            Layout::Parquet => Writer::Parquet(Box::new(
                Parquet::new(file, schema).map_err(|source| failed(path, source))?,
            )),
        };
        Ok(Self {
            path: path.to_owned(),
            file: new,
            writer,
            columns,
            rows: 0,
        })
    }

    pub(super) fn write(&mut self, record: Map<String, Value>) -> Result<(), DataError> {
        let separator: &[u8] = if self.rows == 0 { b"[\n" } else { b",\n" };
        self.rows += 1;
        let written: Result<(), Problem> = match &mut self.writer {
            Writer::Lines(out) => json(out, &record)
                .and_then(|()| out.write_all(b"\n"))
                .map_err(Into::into),
            Writer::List(out) => out
                .write_all(separator)
                .and_then(|()| json(out, &record))
                .map_err(Into::into),
            Writer::Table(table) => {
                let cell = |column: &String| record.get(column).and_then(Value::as_str).unwrap_or_default();
                table
                    .write_record(self.columns.iter().map(cell))
                    .map_err(Into::into)
            }
            Writer::Parquet(parquet) => parquet.write(record),
        };
        written.map_err(|source| failed(&self.path, source))
    }

    /// Closes the file and renames it.
    pub(super) fn finish(self) -> Result<(), DataError> {
        let path = self.path;
        let finished: Result<(), Problem> = match self.writer {
            Writer::Lines(out) => out.finish().map_err(Into::into),
            Writer::List(mut out) => out
                .write_all(b"\n]\n")
                .and_then(|()| out.finish())
                .map_err(Into::into),
            Writer::Table(table) => table
                .into_inner()
                .map_err(|error| io::Error::other(error.to_string()))
                .and_then(Packed::finish)
                .map_err(Into::into),
            Writer::Parquet(parquet) => parquet.finish(),
        };
        finished.map_err(|source| failed(&path, source))?;
        self.file.finish().map_err(|error| failed(&path, error.into()))
    }
}

fn failed(path: &Path, source: Problem) -> DataError {
    DataError::Write {
        path: path.to_owned(),
        source,
    }
}

fn json(out: &mut impl Write, record: &Map<String, Value>) -> io::Result<()> {
    serde_json::to_writer(out, record).map_err(io::Error::from)
}

/// A file with its compression. It must be finished explicitly: errors on dropping are lost.
enum Packed {
    None(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

fn packed(file: File, packing: Packing) -> io::Result<Packed> {
    let out = BufWriter::new(file);
    Ok(match packing {
        Packing::None => Packed::None(out),
        Packing::Gzip => Packed::Gzip(GzEncoder::new(out, Compression::default())),
        Packing::Zstd => Packed::Zstd(zstd::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?),
    })
}

impl Packed {
    fn finish(self) -> io::Result<()> {
        let mut out = match self {
            Self::None(out) => out,
            Self::Gzip(out) => out.finish()?,
            Self::Zstd(out) => out.finish()?,
        };
        out.flush()
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
        }
    }
}
