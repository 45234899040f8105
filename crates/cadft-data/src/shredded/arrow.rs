//! The Arrow schema of a file, as writers of Arrow store it: without it Polars takes columns of JSON for bytes.
//!
//! An encapsulated message in base64, whose tables are a flatbuffer
//! (<https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format>, `Schema.fbs` and `Message.fbs` in
//! <https://github.com/apache/arrow/tree/main/format>, <https://flatbuffers.dev/internals/>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parquet::file::metadata::KeyValue;

use super::Shape;

/// The entry of a file's metadata with the schema of these columns.
pub(super) fn schema(fields: &[(String, Shape)]) -> KeyValue {
    /// `MetadataVersion::V5` and `MessageHeader::Schema`.
    const VERSION: u16 = 4;
    const HEADER: u8 = 1;
    let columns = fields.iter().map(|(name, of)| field(name, of)).collect();
    let schema = Part::Table(vec![(1, Part::Vector(columns))]);
    let message = Part::Table(vec![
        (0, Part::Short(VERSION)),
        (1, Part::Byte(HEADER)),
        (2, schema),
    ]);
    let mut buffer = vec![0; 4];
    let start = message.write(&mut buffer);
    point(&mut buffer, 0, start);
    buffer.resize(buffer.len().next_multiple_of(8), 0);
    let length = buffer.len() as u32;
    let all = [&[255; 4], &length.to_le_bytes()[..], &buffer].concat();
    KeyValue::new("ARROW:schema".to_owned(), STANDARD.encode(all))
}

/// The table of a field.
fn field(name: &str, of: &Shape) -> Part {
    let none = || Part::Table(Vec::new());
    let (number, kind) = match of {
        Shape::Null => (1, none()),
        // 64 bits with a sign.
        Shape::Integer => (2, Part::Table(vec![(0, Part::Int(64)), (1, Part::Byte(1))])),
        // Double precision.
        Shape::Float => (3, Part::Table(vec![(0, Part::Short(2))])),
        Shape::Text | Shape::Json => (5, none()),
        Shape::Flag => (6, none()),
        Shape::List(_) => (12, none()),
        Shape::Struct(_) => (13, none()),
    };
    let children = match of {
        Shape::List(item) => vec![field("item", item)],
        Shape::Struct(fields) => fields.iter().map(|(name, of)| field(name, of)).collect(),
        _ => Vec::new(),
    };
    let mut parts = vec![
        (0, Part::Text(name.to_owned())),
        // It may be null.
        (1, Part::Byte(1)),
        (2, Part::Byte(number)),
        (3, kind),
        (5, Part::Vector(children)),
    ];
    if *of == Shape::Json {
        let pair = |key: &str, value: &str| {
            let part = |text: &str| Part::Text(text.to_owned());
            Part::Table(vec![(0, part(key)), (1, part(value))])
        };
        let pairs = vec![
            pair("ARROW:extension:name", "arrow.json"),
            pair("ARROW:extension:metadata", ""),
        ];
        parts.push((6, Part::Vector(pairs)));
    }
    Part::Table(parts)
}

/// A part of a flatbuffer.
enum Part {
    Byte(u8),
    Short(u16),
    Int(u32),
    Text(String),
    /// Of tables.
    Vector(Vec<Part>),
    /// Values with the numbers of their fields, in their order.
    Table(Vec<(usize, Part)>),
}

impl Part {
    /// Appends a part and what it refers to, and returns its place. Places are multiples of 4.
    fn write(&self, buffer: &mut Vec<u8>) -> usize {
        buffer.resize(buffer.len().next_multiple_of(4), 0);
        match self {
            Self::Byte(value) => append(buffer, &[*value]),
            Self::Short(value) => append(buffer, &value.to_le_bytes()),
            Self::Int(value) => append(buffer, &value.to_le_bytes()),
            Self::Text(text) => {
                let start = append(buffer, &(text.len() as u32).to_le_bytes());
                append(buffer, text.as_bytes());
                append(buffer, &[0]);
                start
            }
            Self::Vector(parts) => {
                let start = append(buffer, &(parts.len() as u32).to_le_bytes());
                buffer.resize(start + 4 + 4 * parts.len(), 0);
                for (index, part) in parts.iter().enumerate() {
                    let target = part.write(buffer);
                    point(buffer, start + 4 + 4 * index, target);
                }
                start
            }
            Self::Table(parts) => table(parts, buffer),
        }
    }
}

/// Appends a table: the list of its values' places, then four bytes for each value.
fn table(parts: &[(usize, Part)], buffer: &mut Vec<u8>) -> usize {
    let numbers = parts.last().map_or(0, |(number, _)| number + 1);
    let list = buffer.len();
    let start = (list + 4 + 2 * numbers).next_multiple_of(4);
    let bytes = 4 + 4 * parts.len();
    buffer.resize(start + bytes, 0);
    let mut set = |at: usize, value: usize| buffer[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
    set(list, 4 + 2 * numbers);
    set(list + 2, bytes);
    for (index, (number, _)) in parts.iter().enumerate() {
        set(list + 4 + 2 * number, 4 + 4 * index);
    }
    buffer[start..start + 4].copy_from_slice(&((start - list) as u32).to_le_bytes());
    for (index, (_, part)) in parts.iter().enumerate() {
        let at = start + 4 + 4 * index;
        match part {
            Part::Byte(value) => buffer[at] = *value,
            Part::Short(value) => buffer[at..at + 2].copy_from_slice(&value.to_le_bytes()),
            Part::Int(value) => buffer[at..at + 4].copy_from_slice(&value.to_le_bytes()),
            _ => {
                let target = part.write(buffer);
                point(buffer, at, target);
            }
        }
    }
    start
}

fn append(buffer: &mut Vec<u8>, bytes: &[u8]) -> usize {
    buffer.extend_from_slice(bytes);
    buffer.len() - bytes.len()
}

/// Writes an offset, which is relative to its own place.
fn point(buffer: &mut [u8], at: usize, target: usize) {
    buffer[at..at + 4].copy_from_slice(&((target - at) as u32).to_le_bytes());
}
