//! One column of a group of rows: its levels and values in order, a few in memory at a time.
//!
//! The decoder of the values sees pages without levels. It would otherwise decode all levels and values of a record at
//! once, and a record of a few bytes can have billions of them.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Encoding, Type as Physical};
use parquet::column::page::{Page, PageReader};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{
    BoolType, ByteArrayType, DataType, DoubleType, FixedLenByteArrayType, FloatType, Int32Type, Int64Type,
    Int96Type,
};
use parquet::schema::types::ColumnDescriptor;

use super::delta::check_lengths;
use super::levels::Levels;
use super::scalar::Raw;
use super::slot::Slot;

/// Largest number of levels that are decoded together.
const CHUNK: usize = 1024;

/// The same for values that share prefixes: each may be as long as its page.
const SHARED_CHUNK: usize = 4;

/// Largest number of values of a dictionary. The decoder keeps a reference to each.
const MAX_DICTIONARY: u32 = 1 << 22;

/// Repetition and definition level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) repetition: u16,
    pub(super) definition: u16,
}

/// A column of a group of rows.
pub(super) struct Column {
    pages: Box<dyn PageReader>,
    /// The page that the decoder of the values gets next.
    next_page: Slot,
    values: Values,
    max: Level,
    least_bytes: usize,
    page: Option<PageLevels>,
    /// The levels that are decoded, and the next of them.
    repetitions: Vec<u16>,
    definitions: Vec<u16>,
    next: usize,
    next_value: usize,
    has_begun: bool,
    dictionary_bytes: usize,
    page_bytes: usize,
}

/// The levels of a page that are not decoded yet. Without a kind of levels, all are 0.
struct PageLevels {
    repetitions: Option<Levels>,
    definitions: Option<Levels>,
    left: u64,
    chunk: usize,
}

impl Column {
    /// The column that `descriptor` describes, with its pages in this group.
    pub(super) fn new(descriptor: &ColumnDescriptor, pages: Box<dyn PageReader>) -> Self {
        let level = |level: i16| u16::try_from(level).unwrap_or(0);
        let flat = ColumnDescriptor::new(descriptor.self_type_ptr(), 0, 0, descriptor.path().clone());
        let next_page = Slot::default();
        let reader = get_column_reader(Arc::new(flat), Box::new(next_page.clone()));
        let least_bytes = match descriptor.physical_type() {
            // A dictionary of flags is not allowed.
            Physical::BOOLEAN => usize::MAX,
            Physical::INT32 | Physical::FLOAT | Physical::BYTE_ARRAY => 4,
            Physical::INT64 | Physical::DOUBLE => 8,
            Physical::INT96 => 12,
            Physical::FIXED_LEN_BYTE_ARRAY => usize::try_from(descriptor.type_length()).unwrap_or(1).max(1),
        };
        Self {
            pages,
            next_page,
            values: Values::new(reader),
            max: Level {
                repetition: level(descriptor.max_rep_level()),
                definition: level(descriptor.max_def_level()),
            },
            least_bytes,
            page: None,
            repetitions: Vec::new(),
            definitions: Vec::new(),
            next: 0,
            next_value: 0,
            has_begun: false,
            dictionary_bytes: 0,
            page_bytes: 0,
        }
    }

    /// Number of bytes of pages that are in memory.
    pub(super) fn held_bytes(&self) -> u64 {
        self.dictionary_bytes as u64 + self.page_bytes as u64
    }

    /// The next level; `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<Level>, String> {
        if self.next == self.definitions.len() && !self.fill()? {
            return Ok(None);
        }
        Ok(Some(Level {
            repetition: self.repetitions[self.next],
            definition: self.definitions[self.next],
        }))
    }

    /// Steps over the next level, and returns its value if it has one.
    pub(super) fn take(&mut self) -> Result<Option<Raw<'_>>, String> {
        let level = self
            .peek()?
            .ok_or_else(|| "a column has fewer values than its rows".to_owned())?;
        self.next += 1;
        self.has_begun = true;
        if level.definition < self.max.definition {
            return Ok(None);
        }
        self.next_value += 1;
        Ok(self.values.get(self.next_value - 1))
    }

    /// Begins a row.
    pub(super) fn begin(&mut self) {
        self.has_begun = false;
    }

    /// Steps over what is left of the row.
    pub(super) fn end(&mut self) -> Result<(), String> {
        if !self.has_begun {
            self.take()?;
        }
        while self.peek()?.is_some_and(|level| level.repetition > 0) {
            self.take()?;
        }
        Ok(())
    }

    /// Decodes the next levels with their values. Returns whether there are any.
    fn fill(&mut self) -> Result<bool, String> {
        while self.page.as_ref().is_none_or(|page| page.left == 0) {
            if !self.load()? {
                return Ok(false);
            }
        }
        let Some(page) = &mut self.page else {
            return Ok(false);
        };
        let count = usize::try_from(page.left).unwrap_or(usize::MAX).min(page.chunk);
        page.left -= count as u64;
        self.repetitions.clear();
        self.definitions.clear();
        self.next = 0;
        self.next_value = 0;
        for (levels, out) in [
            (&mut page.repetitions, &mut self.repetitions),
            (&mut page.definitions, &mut self.definitions),
        ] {
            match levels {
                Some(levels) => levels.take(count, out)?,
                None => out.resize(count, 0),
            }
        }
        let largest = self.max.definition;
        let values = self.definitions.iter().filter(|&&level| level == largest).count();
        self.values.read(values)?;
        Ok(true)
    }

    /// Loads the next page. Returns whether there was one.
    fn load(&mut self) -> Result<bool, String> {
        let page = self.pages.get_next_page().map_err(|error| error.to_string())?;
        let (whole, count, encoding) = match &page {
            None => return Ok(false),
            Some(Page::DictionaryPage { buf, num_values, .. }) => {
                let bytes = (*num_values as usize).saturating_mul(self.least_bytes);
                if bytes > buf.len() {
                    return Err("a dictionary claims more values than it has".to_owned());
                }
                if *num_values > MAX_DICTIONARY {
                    return Err(format!("a dictionary of more than {MAX_DICTIONARY} values"));
                }
                self.dictionary_bytes = buf.len();
                self.next_page.put(page);
                return Ok(true);
            }
            Some(
                Page::DataPage {
                    buf,
                    num_values,
                    encoding,
                    ..
                }
                | Page::DataPageV2 {
                    buf,
                    num_values,
                    encoding,
                    ..
                },
            ) => (buf.clone(), *num_values, *encoding),
        };
        self.page_bytes = whole.len();
        let (repetitions, definitions, data) = match &page {
            Some(Page::DataPageV2 {
                rep_levels_byte_len,
                def_levels_byte_len,
                ..
            }) => self.second(&whole, [*rep_levels_byte_len, *def_levels_byte_len]),
            Some(Page::DataPage {
                rep_level_encoding,
                def_level_encoding,
                ..
            }) => self.first(&whole, [*rep_level_encoding, *def_level_encoding], count),
            _ => return Ok(true),
        }?;
        let values = match &definitions {
            Some(levels) => levels.largest(u64::from(count))?,
            None => u64::from(count),
        };
        check_lengths(encoding, &data, values)?;
        if values > 0 {
            self.next_page.put(Some(Page::DataPage {
                buf: data,
                num_values: values as u32,
                encoding,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            }));
        }
        self.page = Some(PageLevels {
            repetitions,
            definitions,
            left: u64::from(count),
            chunk: if encoding == Encoding::DELTA_BYTE_ARRAY {
                SHARED_CHUNK
            } else {
                CHUNK
            },
        });
        Ok(true)
    }

    /// The levels and values of a page of version 2. `lengths` are the bytes of its levels.
    fn second(&self, whole: &Bytes, lengths: [u32; 2]) -> Result<Parts, String> {
        let [first, second] = lengths.map(|length| length as usize);
        let end = first.saturating_add(second);
        if end > whole.len() {
            return Err(too_short());
        }
        let levels = |max: u16, data: Bytes| (max > 0).then(|| Levels::runs(data, max));
        Ok((
            levels(self.max.repetition, whole.slice(..first)),
            levels(self.max.definition, whole.slice(first..end)),
            whole.slice(end..),
        ))
    }

    /// The levels and values of a page of version 1. `encodings` are those of its levels.
    #[expect(deprecated, reason = "older files have packed levels")]
    fn first(&self, whole: &Bytes, encodings: [Encoding; 2], count: u32) -> Result<Parts, String> {
        let mut rest = whole.clone();
        let mut parts = [None, None];
        let maxima = [self.max.repetition, self.max.definition];
        for ((max, encoding), part) in maxima.into_iter().zip(encodings).zip(&mut parts) {
            if max == 0 {
                continue;
            }
            let (levels, end) = match encoding {
                Encoding::RLE => {
                    let length = rest.get(..4).and_then(|bytes| bytes.try_into().ok());
                    let length = length.map(u32::from_le_bytes).ok_or_else(too_short)? as usize;
                    let end = length.checked_add(4).filter(|&end| end <= rest.len());
                    let end = end.ok_or_else(too_short)?;
                    (Levels::runs(rest.slice(4..end), max), end)
                }
                Encoding::BIT_PACKED => Levels::packed(&rest, max, count)?,
                other => return Err(format!("levels are encoded as {other}")),
            };
            *part = Some(levels);
            rest = rest.slice(end..);
        }
        let [repetitions, definitions] = parts;
        Ok((repetitions, definitions, rest))
    }
}

/// Repetition levels, definition levels, and the encoded values.
type Parts = (Option<Levels>, Option<Levels>, Bytes);

fn too_short() -> String {
    "a page is shorter than its levels".to_owned()
}

/// Some decoded values of a column.
struct Typed<T: DataType> {
    reader: ColumnReaderImpl<T>,
    values: Vec<T::T>,
}

impl<T: DataType> Typed<T> {
    fn new(reader: ColumnReaderImpl<T>) -> Self {
        let values = Vec::new();
        Self { reader, values }
    }

    /// Replaces the values by the next `count`.
    fn read(&mut self, count: usize) -> Result<(), String> {
        self.values.clear();
        if count > 0 {
            let read = self.reader.read_records(count, None, None, &mut self.values);
            read.map_err(|error| error.to_string())?;
        }
        if self.values.len() == count {
            Ok(())
        } else {
            Err("a page has fewer values than it says".to_owned())
        }
    }
}

enum Values {
    Flag(Box<Typed<BoolType>>),
    Int32(Box<Typed<Int32Type>>),
    Int64(Box<Typed<Int64Type>>),
    Int96(Box<Typed<Int96Type>>),
    Float32(Box<Typed<FloatType>>),
    Float64(Box<Typed<DoubleType>>),
    Bytes(Box<Typed<ByteArrayType>>),
    Fixed(Box<Typed<FixedLenByteArrayType>>),
}

impl Values {
    fn new(reader: ColumnReader) -> Self {
        match reader {
            ColumnReader::BoolColumnReader(reader) => Self::Flag(Box::new(Typed::new(reader))),
            ColumnReader::Int32ColumnReader(reader) => Self::Int32(Box::new(Typed::new(reader))),
            ColumnReader::Int64ColumnReader(reader) => Self::Int64(Box::new(Typed::new(reader))),
            ColumnReader::Int96ColumnReader(reader) => Self::Int96(Box::new(Typed::new(reader))),
            ColumnReader::FloatColumnReader(reader) => Self::Float32(Box::new(Typed::new(reader))),
            ColumnReader::DoubleColumnReader(reader) => Self::Float64(Box::new(Typed::new(reader))),
            ColumnReader::ByteArrayColumnReader(reader) => Self::Bytes(Box::new(Typed::new(reader))),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => Self::Fixed(Box::new(Typed::new(reader))),
        }
    }

    fn read(&mut self, count: usize) -> Result<(), String> {
        match self {
            Self::Flag(typed) => typed.read(count),
            Self::Int32(typed) => typed.read(count),
            Self::Int64(typed) => typed.read(count),
            Self::Int96(typed) => typed.read(count),
            Self::Float32(typed) => typed.read(count),
            Self::Float64(typed) => typed.read(count),
            Self::Bytes(typed) => typed.read(count),
            Self::Fixed(typed) => typed.read(count),
        }
    }

    fn get(&self, index: usize) -> Option<Raw<'_>> {
        Some(match self {
            Self::Flag(typed) => Raw::Flag(*typed.values.get(index)?),
            Self::Int32(typed) => Raw::Int32(*typed.values.get(index)?),
            Self::Int64(typed) => Raw::Int64(*typed.values.get(index)?),
            Self::Int96(typed) => Raw::Int96(typed.values.get(index)?.data().try_into().ok()?),
            Self::Float32(typed) => Raw::Float32(*typed.values.get(index)?),
            Self::Float64(typed) => Raw::Float64(*typed.values.get(index)?),
            Self::Bytes(typed) => Raw::Bytes(typed.values.get(index)?.data()),
            Self::Fixed(typed) => Raw::Bytes(typed.values.get(index)?.data()),
        })
    }
}

#[cfg(test)]
mod tests;
