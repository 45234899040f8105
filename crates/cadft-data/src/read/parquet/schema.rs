//! The columns of a file as values with parts: what is a list, a struct or a map, and from which level on it is there.
//!
//! The rules, also those for older files, are those of
//! <https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#nested-types>. The levels are Dremel's: see
//! `shredded.rs`, which writes them.

use std::ops::Range;

use parquet::basic::{ConvertedType, LogicalType, Repetition};
use parquet::schema::types::{SchemaDescriptor, Type};

use super::hint::Hint;
use super::scalar::{Scalar, unread};

/// Largest nesting depth of a column.
const MAX_DEPTH: usize = 100;

/// A value of every row, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    /// The columns of its parts, of those that are read.
    pub(super) columns: Range<usize>,
    /// The smallest definition level at which it is not null.
    pub(super) definition: u16,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Scalar(Scalar),
    Struct(Vec<Field>),
    List(Box<Field>, Repeated),
    /// Key and value.
    Map(Box<[Field; 2]>, Repeated),
}

/// The levels of the items of a list or a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeated {
    /// The repetition level of all items but the first.
    pub(super) repetition: u16,
    /// The smallest definition level at which there is an item.
    pub(super) definition: u16,
}

/// The columns of a file.
#[derive(Debug, Default)]
pub(super) struct Schema {
    pub(super) fields: Vec<Field>,
    /// For each column that is read, its place in the file.
    pub(super) leaves: Vec<usize>,
    /// Names of other columns.
    pub(super) others: Vec<String>,
    /// Columns whose values cannot be in a row, with a reason.
    pub(super) refused: Vec<(String, String)>,
}

impl Schema {
    /// The columns for which `is_wanted` is true.
    pub(super) fn new(
        descriptor: &SchemaDescriptor,
        hint: Option<&Hint>,
        is_wanted: &dyn Fn(&str) -> bool,
    ) -> Self {
        let mut schema = Self::default();
        let (mut first, mut place) = (0, 0);
        for (index, root) in descriptor.root_schema().get_fields().iter().enumerate() {
            let width = leaves(root);
            let start = place;
            place += width;
            // A group without columns has no values.
            if width == 0 {
                continue;
            }
            if !is_wanted(root.name()) {
                schema.others.push(root.name().to_owned());
                continue;
            }
            let hint = hint.and_then(|hint| hint.named(index, root.name()));
            let mut walk = Walk { next: first };
            match walk.field(root, hint, Levels::default()) {
                Ok(field) => {
                    schema.fields.push(field);
                    schema.leaves.extend(start..place);
                    first += width;
                }
                Err(reason) => schema.refused.push((root.name().to_owned(), reason)),
            }
        }
        schema
    }
}

/// Number of columns of a type.
fn leaves(of: &Type) -> usize {
    if of.is_primitive() {
        1
    } else {
        of.get_fields().iter().map(|field| leaves(field)).sum()
    }
}

/// The levels around a type.
#[derive(Clone, Copy, Default)]
struct Levels {
    definition: u16,
    repetition: u16,
    depth: usize,
}

impl Levels {
    fn optional(self, of: &Type) -> Self {
        let more = u16::from(repetition(of) == Repetition::OPTIONAL);
        Self {
            definition: self.definition + more,
            ..self
        }
    }

    fn repeated(self) -> (Self, Repeated) {
        let levels = Self {
            definition: self.definition + 1,
            repetition: self.repetition + 1,
            ..self
        };
        let Self {
            repetition,
            definition,
            ..
        } = levels;
        (
            levels,
            Repeated {
                repetition,
                definition,
            },
        )
    }
}

fn repetition(of: &Type) -> Repetition {
    let info = of.get_basic_info();
    if info.has_repetition() {
        info.repetition()
    } else {
        Repetition::REQUIRED
    }
}

struct Walk {
    /// The next column.
    next: usize,
}

impl Walk {
    /// A type as its parent sees it.
    fn field(&mut self, of: &Type, hint: Option<&Hint>, levels: Levels) -> Result<Field, String> {
        if repetition(of) != Repetition::REPEATED {
            return self.single(of, hint, levels.optional(of));
        }
        // An older list, without a group around it.
        let (start, outside) = (self.next, levels.definition);
        let (levels, repeated) = levels.repeated();
        let item = self.single(of, hint.and_then(Hint::item), levels)?;
        Ok(self.list(of, start, outside, item, repeated))
    }

    /// A type, whether or not it is repeated. `levels` are those at which it is not null.
    fn single(&mut self, of: &Type, hint: Option<&Hint>, mut levels: Levels) -> Result<Field, String> {
        levels.depth += 1;
        if levels.depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        if of.is_primitive() {
            let kind = Kind::Scalar(Scalar::new(of, hint)?);
            self.next += 1;
            return Ok(self.made(of, self.next - 1, levels.definition, kind));
        }
        let is_repeated = repetition(of) == Repetition::REPEATED;
        match of.get_basic_info().converted_type() {
            ConvertedType::LIST if !is_repeated => self.list_group(of, hint, levels),
            ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE if !is_repeated => {
                self.map_group(of, hint, levels)
            }
            _ => self.group(of, hint, levels),
        }
    }

    fn group(&mut self, of: &Type, hint: Option<&Hint>, levels: Levels) -> Result<Field, String> {
        let start = self.next;
        let mut fields = Vec::new();
        for (index, part) in of.get_fields().iter().enumerate() {
            if leaves(part) > 0 {
                let hint = hint.and_then(|hint| hint.named(index, part.name()));
                fields.push(self.field(part, hint, levels)?);
            }
        }
        if fields.is_empty() {
            return Err(unread("a group without columns"));
        }
        Ok(self.made(of, start, levels.definition, Kind::Struct(fields)))
    }

    /// A group that says it is a list.
    fn list_group(&mut self, of: &Type, hint: Option<&Hint>, levels: Levels) -> Result<Field, String> {
        let [inner] = of.get_fields() else {
            return Err(unread("a list with several parts"));
        };
        if repetition(inner) != Repetition::REPEATED {
            return Err(unread("a list of nothing that is repeated"));
        }
        let hint = hint.and_then(Hint::item);
        let (start, outside) = (self.next, levels.definition);
        let (levels, repeated) = levels.repeated();
        let item = if is_item(of, inner) {
            if inner.is_primitive() {
                self.single(inner, hint, levels)?
            } else {
                self.group(inner, hint, levels)?
            }
        } else {
            self.field(&inner.get_fields()[0], hint, levels)?
        };
        Ok(self.list(of, start, outside, item, repeated))
    }

    /// A group that says it is a map.
    fn map_group(&mut self, of: &Type, hint: Option<&Hint>, levels: Levels) -> Result<Field, String> {
        let [entries] = of.get_fields() else {
            return Err(unread("a map with several parts"));
        };
        if repetition(entries) != Repetition::REPEATED || entries.is_primitive() {
            return Err(unread("a map of nothing that is repeated"));
        }
        let [key, value] = entries.get_fields() else {
            if entries.get_fields().len() == 1 {
                // A map without values is the list of its keys.
                return self.list_group(of, hint, levels);
            }
            return Err(unread("a map whose entries have more than a key and a value"));
        };
        let hint = hint.and_then(Hint::item);
        let start = self.next;
        let (inside, repeated) = levels.repeated();
        let key = self.field(key, hint.and_then(|hint| hint.child(0)), inside)?;
        if !matches!(key.kind, Kind::Scalar(Scalar::Text { is_text: true, .. })) {
            return Err("a map whose keys are no strings".to_owned());
        }
        let value = self.field(value, hint.and_then(|hint| hint.child(1)), inside)?;
        let kind = Kind::Map(Box::new([key, value]), repeated);
        Ok(self.made(of, start, levels.definition, kind))
    }

    fn list(&self, of: &Type, start: usize, definition: u16, item: Field, repeated: Repeated) -> Field {
        self.made(of, start, definition, Kind::List(Box::new(item), repeated))
    }

    fn made(&self, of: &Type, start: usize, definition: u16, kind: Kind) -> Field {
        Field {
            name: of.name().to_owned(),
            columns: start..self.next,
            definition,
            kind,
        }
    }
}

/// Whether what is repeated in a list is an item itself, and not a group around it.
fn is_item(list: &Type, inner: &Type) -> bool {
    if inner.is_primitive() {
        return true;
    }
    let [only] = inner.get_fields() else {
        return true;
    };
    let is_plain = inner.get_basic_info().converted_type() != ConvertedType::LIST
        && !matches!(inner.get_basic_info().logical_type_ref(), Some(LogicalType::List))
        && repetition(only) != Repetition::REPEATED;
    is_plain && (inner.name() == "array" || inner.name() == format!("{}_tuple", list.name()))
}
