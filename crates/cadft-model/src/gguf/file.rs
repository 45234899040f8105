//! The GGUF container: header, metadata and tensor table, read from a mapped file with all accesses checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cadft_files::Action;
use memmap2::Mmap;

use super::quant::GgmlType;
use crate::error::ModelError;
use crate::shown::cut;

/// The type id of strings in the metadata.
const TEXT: u32 = 8;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    List(List),
}

/// A list in the metadata. It stays in the file, and its elements are read on demand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct List {
    kind: u32,
    count: u64,
    start: usize,
}

/// The shape and type of a tensor, and its place in the file.
#[derive(Clone, Debug)]
pub(super) struct TensorInfo {
    /// Slowest dimension first.
    pub(super) shape: Vec<usize>,
    pub(super) kind: GgmlType,
    start: usize,
    bytes: usize,
}

/// An open GGUF file.
pub(super) struct GgufFile {
    pub(super) path: PathBuf,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, Value>,
    bytes: Mmap,
}

impl GgufFile {
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let file = crate::file::open(path)?;
        // SAFETY: the mapping is read-only and lives no longer than the import; a program that truncates the file
        // meanwhile breaks it, as it would break any reader of a mapped file.
        let bytes =
            unsafe { Mmap::map(&file) }.map_err(|source| ModelError::io(Action::Map, path, source))?;
        let (metadata, tensors) = parse(&bytes).map_err(|problem| ModelError::gguf(path, problem))?;
        Ok(Self {
            path: path.to_owned(),
            tensors,
            metadata,
            bytes,
        })
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    pub(super) fn unsigned(&self, key: &str) -> Result<Option<u64>, ModelError> {
        self.typed(key, "an unsigned integer", |value| match *value {
            Value::Unsigned(number) => Some(number),
            Value::Signed(number) => number.try_into().ok(),
            _ => None,
        })
    }

    pub(super) fn float(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.typed(key, "a number", |value| match *value {
            Value::Float(number) => Some(number),
            _ => None,
        })
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.typed(key, "a boolean", |value| match *value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        })
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.typed(key, "a string", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, ModelError> {
        self.typed(key, "a list of strings", |value| match value {
            Value::List(List {
                kind: TEXT,
                count,
                start,
            }) => {
                let mut cursor = Cursor {
                    bytes: &self.bytes,
                    at: *start,
                };
                (0..*count).map(|_| cursor.borrowed_text().ok()).collect()
            }
            _ => None,
        })
    }

    /// The elements of a list in their order.
    pub(super) fn elements(&self, list: List) -> impl Iterator<Item = Value> + '_ {
        let mut cursor = Cursor {
            bytes: &self.bytes,
            at: list.start,
        };
        (0..list.count).map_while(move |_| cursor.value(list.kind).ok())
    }

    /// The value of a required key; an error if it is absent.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, ModelError> {
        value.ok_or_else(|| ModelError::gguf(&self.path, format!("metadata `{key}` is missing")))
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        read(value)
            .map(Some)
            .ok_or_else(|| ModelError::gguf(&self.path, format!("metadata `{key}` is not {expected}")))
    }

    /// The values of a tensor of this file, dequantised.
    pub(super) fn values(&self, info: &TensorInfo) -> Vec<f32> {
        info.kind.decode(&self.bytes[info.start..info.start + info.bytes])
    }
}

type Contents = (BTreeMap<String, Value>, BTreeMap<String, TensorInfo>);

fn parse(bytes: &[u8]) -> Result<Contents, String> {
    let mut cursor = Cursor { bytes, at: 0 };
    if cursor.take(4)? != b"GGUF" {
        return Err("this is not a GGUF file".to_owned());
    }
    let version = cursor.u32()?;
    if !(2..=3).contains(&version) {
        return Err(format!(
            "version `{version}`; supported: `2`, `3` (little-endian)"
        ));
    }
    let (tensor_count, metadata_count) = (cursor.u64()?, cursor.u64()?);
    let mut metadata = BTreeMap::new();
    for _ in 0..metadata_count {
        let key = cursor.text()?;
        let kind = cursor.u32()?;
        let value = cursor.value(kind)?;
        if metadata.contains_key(&key) {
            return Err(format!("metadata `{}` appears twice", cut(&key)));
        }
        metadata.insert(key, value);
    }
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        tensors.push(cursor.tensor()?);
    }
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(&Value::Unsigned(alignment @ 1..=65536)) => usize::try_from(alignment).unwrap_or(32),
        Some(other) => return Err(format!("metadata `general.alignment` is `{other:?}`")),
    };
    let data = cursor.at.next_multiple_of(alignment);
    let mut placed = BTreeMap::new();
    for (name, mut info) in tensors {
        let end = data
            .checked_add(info.start)
            .and_then(|start| start.checked_add(info.bytes));
        if end.is_none_or(|end| end > bytes.len()) {
            return Err(format!("the file is truncated: tensor `{name}` ends beyond it"));
        }
        info.start += data;
        if placed.insert(name.clone(), info).is_some() {
            return Err(format!("tensor `{name}` appears twice"));
        }
    }
    Ok((metadata, placed))
}

/// Reads little-endian values; an error at the end of the bytes.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let taken = self
            .at
            .checked_add(count)
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or_else(|| format!("the file is truncated at byte `{}`", self.bytes.len()))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn size(&mut self) -> Result<usize, String> {
        let size = self.u64()?;
        usize::try_from(size).map_err(|_| format!("size `{size}` is too large"))
    }

    fn text(&mut self) -> Result<String, String> {
        self.borrowed_text().map(str::to_owned)
    }

    fn borrowed_text(&mut self) -> Result<&'a str, String> {
        let length = self.size()?;
        let at = self.at;
        std::str::from_utf8(self.take(length)?).map_err(|_| format!("the string at byte `{at}` is not UTF-8"))
    }

    /// Reads the header of a list and skips its elements.
    fn list(&mut self) -> Result<List, String> {
        let (kind, count) = (self.u32()?, self.u64()?);
        let list = List {
            kind,
            count,
            start: self.at,
        };
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            TEXT => {
                (0..count).try_for_each(|_| self.borrowed_text().map(|_| ()))?;
                return Ok(list);
            }
            9 => return Err(format!("nested lists are not supported (byte `{}`)", self.at)),
            other => {
                return Err(format!(
                    "metadata type `{other}` at byte `{}` is unknown",
                    self.at
                ));
            }
        };
        let bytes = usize::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(width));
        self.take(bytes.unwrap_or(usize::MAX))?;
        Ok(list)
    }

    fn value(&mut self, kind: u32) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::Unsigned(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(shortest(f32::from_le_bytes(self.array()?))),
            7 => Value::Bool(self.array::<1>()? != [0]),
            TEXT => Value::Text(self.text()?),
            9 => Value::List(self.list()?),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => {
                return Err(format!(
                    "metadata type `{other}` at byte `{}` is unknown",
                    self.at
                ));
            }
        })
    }

    /// A tensor's name and description; its place is relative to the start of the data.
    fn tensor(&mut self) -> Result<(String, TensorInfo), String> {
        let name = self.text()?;
        let rank = self.u32()?;
        if !(1..=4).contains(&rank) {
            return Err(format!("tensor `{name}` has rank `{rank}`"));
        }
        let mut shape = (0..rank).map(|_| self.size()).collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        let kind = GgmlType::from_id(self.u32()?).map_err(|problem| format!("tensor `{name}`: {problem}"))?;
        let start = self.size()?;
        let bytes = kind.bytes(&shape).ok_or_else(|| {
            format!(
                "tensor `{name}`: shape `{shape:?}` does not fit `{}` blocks",
                kind.name()
            )
        })?;
        Ok((
            name,
            TensorInfo {
                shape,
                kind,
                start,
                bytes,
            },
        ))
    }
}

/// The f64 with the shortest decimal form of an f32, so that 1e-5 stays 1e-5.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}
