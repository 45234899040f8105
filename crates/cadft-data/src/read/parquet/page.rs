//! Stops Parquet pages from filling the memory: a page of a few bytes can claim to unpack to gigabytes.
//!
//! The decoder reads the header of a page with `get_read`, and its bytes with `get_bytes`. Both are checked before the
//! decoder gets them.

mod header;

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};

use header::Header;

/// Largest number of unpacked page bytes for a batch of rows.
const MAX_BYTES: u64 = 384 << 20;

/// Largest number of bytes of a page whose values share prefixes with previous values: each value may unpack to all of
/// them.
const MAX_SHARED_BYTES: u64 = 16 << 20;

/// Largest number of unpacked bytes of the current pages and dictionaries of all columns.
const MAX_HELD_BYTES: u64 = 512 << 20;

/// Largest number of values of a list column in a row group: all of them may be in one row.
const MAX_VALUES: u64 = 1 << 25;

/// Largest size of the metadata at the end of a file.
const MAX_FOOTER_BYTES: u64 = 64 << 20;

/// Refuses a file whose metadata would not fit in memory.
pub(super) fn check_footer(input: &impl ChunkReader) -> std::result::Result<(), String> {
    let Some(start) = input.len().checked_sub(8) else {
        return Ok(());
    };
    let Ok(bytes) = input.get_bytes(start, 4) else {
        return Ok(());
    };
    let length = <[u8; 4]>::try_from(&bytes[..]).map_or(0, u32::from_le_bytes);
    if u64::from(length) > MAX_FOOTER_BYTES && u64::from(length) <= start {
        let limit = MAX_FOOTER_BYTES >> 20;
        return Err(format!(
            "its description of columns and groups of rows is longer than {limit} MiB; write it in fewer groups"
        ));
    }
    Ok(())
}

/// Refuses a group of rows with a list of too many values, by what the file says of it.
pub(super) fn check_group(group: &RowGroupMetaData) -> std::result::Result<(), String> {
    let mut lists = group.columns().iter().filter(|column| has_lists(column));
    if lists.any(|column| column.num_values().unsigned_abs() > MAX_VALUES) {
        return Err(too_many());
    }
    Ok(())
}

/// Refuses to keep too many bytes of pages, one of each column.
pub(super) fn check_held(bytes: u64) -> std::result::Result<(), String> {
    if bytes > MAX_HELD_BYTES {
        let limit = MAX_HELD_BYTES >> 20;
        return Err(format!(
            "one page of each column unpacks to more than {limit} MiB in all"
        ));
    }
    Ok(())
}

fn has_lists(column: &ColumnChunkMetaData) -> bool {
    column.column_descr().max_rep_level() > 0
}

fn too_many() -> String {
    format!("a group of rows has a column of more than {MAX_VALUES} values; write it in smaller groups")
}

/// A file whose pages are checked before they are unpacked.
pub(super) struct Guarded<R> {
    input: R,
    chunks: Vec<Chunk>,
    unpacked: Arc<AtomicU64>,
    last: Mutex<Last>,
}

/// The last header that was read.
#[derive(Clone, Copy, Default)]
struct Last {
    header: Header,
    /// The end of the header, where its page starts; `None` after the page was read.
    end: Option<u64>,
}

/// The pages of one column in one row group.
struct Chunk {
    start: u64,
    end: u64,
    compression: Compression,
    has_lists: bool,
    values: AtomicU64,
}

impl<R: ChunkReader> Guarded<R> {
    pub(super) fn new(input: R, metadata: &ParquetMetaData) -> Self {
        let columns = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
        let mut chunks: Vec<_> = columns
            .map(|column| {
                let (start, length) = column.byte_range();
                Chunk {
                    start,
                    end: start.saturating_add(length),
                    compression: column.compression(),
                    has_lists: has_lists(column),
                    values: AtomicU64::new(0),
                }
            })
            .collect();
        chunks.sort_by_key(|chunk| chunk.start);
        Self {
            input,
            chunks,
            unpacked: Arc::default(),
            last: Mutex::default(),
        }
    }

    /// The counter of unpacked bytes; it is reset to 0 before every batch.
    pub(super) fn unpacked(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.unpacked)
    }

    fn chunk(&self, at: u64) -> Option<&Chunk> {
        let next = self.chunks.partition_point(|chunk| chunk.start <= at);
        self.chunks[..next].last().filter(|chunk| at < chunk.end)
    }

    fn check_header(&self, start: u64, header: Header) -> Result<()> {
        if header.shares_bytes && header.unpacked > MAX_SHARED_BYTES {
            return Err(too_large(
                "a page of values that share their beginnings",
                MAX_SHARED_BYTES,
            ));
        }
        let unpacked = self.unpacked.fetch_add(header.unpacked, Ordering::Relaxed);
        if unpacked.saturating_add(header.unpacked) > MAX_BYTES {
            return Err(too_large("the pages of a few rows", MAX_BYTES));
        }
        if let Some(chunk) = self.chunk(start).filter(|chunk| chunk.has_lists) {
            let values = chunk.values.fetch_add(header.values, Ordering::Relaxed);
            if values.saturating_add(header.values) > MAX_VALUES {
                return Err(ParquetError::General(too_many()));
            }
        }
        Ok(())
    }

    fn last(&self) -> Last {
        self.last.lock().map(|last| *last).unwrap_or_default()
    }

    /// Unpacks a page without keeping the result, if the decoder would not stop at the length given in the header.
    fn check_page(&self, start: u64, page: &Bytes) -> Result<()> {
        let Some(chunk) = self.chunk(start) else {
            return Ok(());
        };
        let Last { header, .. } = self.last();
        let packed = page.get(header.levels..).unwrap_or_default();
        let unpacked = match chunk.compression {
            Compression::GZIP(_) => count(MultiGzDecoder::new(packed), header.unpacked),
            Compression::BROTLI(_) => count(brotli::Decompressor::new(packed, 1 << 16), header.unpacked),
            Compression::LZ4 => count(lz4_flex::frame::FrameDecoder::new(packed), header.unpacked),
            _ => return Ok(()),
        };
        if unpacked > header.unpacked {
            return Err(ParquetError::General(
                "a page unpacks to more than it says".to_owned(),
            ));
        }
        Ok(())
    }
}

/// Number of bytes in a stream, at most `limit + 1`. Damaged streams are left to the decoder.
fn count(stream: impl Read, limit: u64) -> u64 {
    io::copy(&mut stream.take(limit + 1), &mut io::sink()).unwrap_or(0)
}

fn too_large(what: &str, limit: u64) -> ParquetError {
    ParquetError::General(format!("{what} unpack to more than {} MiB", limit >> 20))
}

impl<R: ChunkReader> Length for Guarded<R> {
    fn len(&self) -> u64 {
        self.input.len()
    }
}

impl<R: ChunkReader> ChunkReader for Guarded<R> {
    type T = R::T;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        // After reading a header, the decoder requests its page in the same way as a header.
        if self.last().end != Some(start) {
            let (header, length) = Header::read(self.input.get_read(start)?)
                .map_err(|error| ParquetError::General(format!("no page header: {error}")))?;
            self.check_header(start, header)?;
            if let Ok(mut last) = self.last.lock() {
                let end = start.checked_add(length);
                *last = Last { header, end };
            }
        }
        self.input.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let page = self.input.get_bytes(start, length)?;
        if let Ok(mut last) = self.last.lock() {
            last.end = None;
        }
        self.check_page(start, &page)?;
        Ok(page)
    }
}
