//! What the Arrow schema in a file says beyond Parquet's own: time zones, durations, dates with a time, JSON in text.
//!
//! Writers of Arrow store it under `ARROW:schema`: an encapsulated message in base64, whose table is a flatbuffer
//! (<https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format>, `Schema.fbs` and `Message.fbs` in
//! <https://github.com/apache/arrow/tree/main/format>, <https://flatbuffers.dev/internals/>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parquet::file::metadata::FileMetaData;

/// Where the schema is stored.
const KEY: &str = "ARROW:schema";

/// Largest nesting depth of fields.
const MAX_DEPTH: usize = 64;

/// A field of the Arrow schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hint {
    name: String,
    pub(super) of: Arrow,
    /// Whether text is JSON: the extension type `arrow.json`.
    pub(super) is_json: bool,
    children: Vec<Hint>,
}

/// The Arrow types that are not Parquet's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Arrow {
    Text,
    /// A date that counts milliseconds.
    Date64,
    Time(Unit),
    Timestamp(Unit, Option<String>),
    Duration(Unit),
    #[default]
    Other,
}

/// What a time is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Day,
    Second,
    Milli,
    Micro,
    Nano,
}

impl Unit {
    fn of(number: i16) -> Option<Self> {
        [Self::Second, Self::Milli, Self::Micro, Self::Nano]
            .get(usize::try_from(number).ok()?)
            .copied()
    }
}

impl Hint {
    /// The schema of a file, as a struct of its columns; `None` if there is none.
    pub(super) fn of_file(metadata: &FileMetaData) -> Result<Option<Self>, String> {
        let pairs = metadata.key_value_metadata().into_iter().flatten();
        let stored = pairs.filter(|pair| pair.key == KEY);
        let Some(text) = stored.filter_map(|pair| pair.value.as_deref()).next_back() else {
            return Ok(None);
        };
        let message = STANDARD
            .decode(text)
            .map_err(|error| format!("`{KEY}` is no base64: {error}"))?;
        // The length before the message is absent in files of 2019 and before.
        let message = match message.strip_prefix(&[255; 4]) {
            Some(rest) if rest.len() > 4 => &rest[4..],
            _ => &message[..],
        };
        let schema = schema(message).ok_or_else(|| format!("`{KEY}` is no Arrow schema"))?;
        Ok(Some(schema))
    }

    /// The child at a place, if it has this name.
    pub(super) fn named(&self, index: usize, name: &str) -> Option<&Self> {
        self.children.get(index).filter(|child| child.name == name)
    }

    /// The item of a list, or the entries of a map.
    pub(super) fn item(&self) -> Option<&Self> {
        self.children.first()
    }

    /// The key and the value of a map's entries.
    pub(super) fn child(&self, index: usize) -> Option<&Self> {
        self.children.get(index)
    }
}

/// The columns of a message with a schema.
fn schema(message: &[u8]) -> Option<Hint> {
    const SCHEMA: u8 = 1;
    let message = Table::at(message, follow(message, 0)?)?;
    if message.byte(1)? != SCHEMA {
        return None;
    }
    let schema = message.table(2)?;
    // No field has fewer bytes. Tables may be shared, so the depth alone would not end it.
    let mut left = message.data.len() / 8;
    Some(Hint {
        children: fields(&schema, 1, MAX_DEPTH, &mut left)?,
        ..Hint::default()
    })
}

fn fields(parent: &Table<'_>, index: usize, depth: usize, left: &mut usize) -> Option<Vec<Hint>> {
    let children = parent.tables(index).unwrap_or_default();
    *left = left.checked_sub(children.len())?;
    let depth = depth.checked_sub(1)?;
    children
        .into_iter()
        .map(|at| field(&Table::at(parent.data, at)?, depth, left))
        .collect()
}

fn field(field: &Table<'_>, depth: usize, left: &mut usize) -> Option<Hint> {
    let metadata = field.tables(6).unwrap_or_default();
    let mut metadata = metadata.into_iter().filter_map(|at| Table::at(field.data, at));
    let is_json = metadata
        .any(|pair| pair.text(0) == Some("ARROW:extension:name") && pair.text(1) == Some("arrow.json"));
    Some(Hint {
        name: field.text(0).unwrap_or_default().to_owned(),
        of: arrow_type(field),
        is_json,
        children: fields(field, 5, depth, left)?,
    })
}

/// The type of a field; of a dictionary, the type of its values.
fn arrow_type(field: &Table<'_>) -> Arrow {
    let Some(of) = field.table(3) else {
        return Arrow::Other;
    };
    let unit = |default| Unit::of(of.short(0).unwrap_or(default));
    // The numbers are those of `Type` in `Schema.fbs`.
    let found = match field.byte(2) {
        Some(5 | 20 | 24) => Some(Arrow::Text),
        Some(8) => of.short(0).is_none_or(|unit| unit == 1).then_some(Arrow::Date64),
        Some(9) => unit(1).map(Arrow::Time),
        Some(10) => unit(0).map(|unit| Arrow::Timestamp(unit, of.text(1).map(str::to_owned))),
        Some(18) => unit(1).map(Arrow::Duration),
        _ => None,
    };
    found.unwrap_or_default()
}

/// A table of a flatbuffer.
struct Table<'a> {
    data: &'a [u8],
    at: usize,
    /// Where the places of its values are listed.
    list: usize,
    list_bytes: usize,
}

impl<'a> Table<'a> {
    fn at(data: &'a [u8], at: usize) -> Option<Self> {
        let back = i32::from_le_bytes(bytes(data, at)?);
        let list = usize::try_from(i64::try_from(at).ok()? - i64::from(back)).ok()?;
        let list_bytes = usize::from(u16::from_le_bytes(bytes(data, list)?));
        Some(Self {
            data,
            at,
            list,
            list_bytes,
        })
    }

    /// Where a value is; `None` if it is the default.
    fn value(&self, index: usize) -> Option<usize> {
        let entry = 4 + 2 * index;
        if entry + 2 > self.list_bytes {
            return None;
        }
        let offset = u16::from_le_bytes(bytes(self.data, self.list + entry)?);
        (offset > 0).then(|| self.at + usize::from(offset))
    }

    fn byte(&self, index: usize) -> Option<u8> {
        self.data.get(self.value(index)?).copied()
    }

    fn short(&self, index: usize) -> Option<i16> {
        Some(i16::from_le_bytes(bytes(self.data, self.value(index)?)?))
    }

    fn table(&self, index: usize) -> Option<Self> {
        Self::at(self.data, follow(self.data, self.value(index)?)?)
    }

    /// The start and the length of a string or a vector.
    fn vector(&self, index: usize) -> Option<(usize, usize)> {
        let at = follow(self.data, self.value(index)?)?;
        let length = u32::from_le_bytes(bytes(self.data, at)?);
        Some((at + 4, usize::try_from(length).ok()?))
    }

    fn text(&self, index: usize) -> Option<&'a str> {
        let (start, length) = self.vector(index)?;
        str::from_utf8(self.data.get(start..start.checked_add(length)?)?).ok()
    }

    /// Where the tables of a vector are.
    fn tables(&self, index: usize) -> Option<Vec<usize>> {
        let (start, length) = self.vector(index)?;
        let places = self.data.get(start..start.checked_add(length.checked_mul(4)?)?)?;
        (0..places.len() / 4)
            .map(|index| follow(self.data, start + 4 * index))
            .collect()
    }
}

/// Where an offset points to, which is relative to its own place.
fn follow(data: &[u8], at: usize) -> Option<usize> {
    let offset = u32::from_le_bytes(bytes(data, at)?);
    at.checked_add(usize::try_from(offset).ok()?)
}

fn bytes<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shredded::{Shape, Shredded};
    use bytes::Bytes;
    use parquet::file::properties::WriterProperties;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    /// The schema that pyarrow 26 writes for columns `dict` (a dictionary of text), `date64`, `time32s`, `tz_off`, `dur_s`,
    /// `maplist` (text to lists of timestamps) and `json`.
    const PYARROW: &str = "\
        /////0ADAAAQAAAAAAAKAAwABgAFAAgACgAAAAABBAAEAAAADP3//wQAAAAHAAAAwAIAAIQCAAA8AgAA9AEAAMQBAADIAAAA\
        GAAAAAAAEgAYAAgABgAHAAwAAAAQABQAEgAAAAAAAQUUAAAAnAAAAAgAAAAUAAAAAAAAAAQAAABqc29uAAAAAAIAAABIAAAA\
        BAAAAMj///8YAAAABAAAAAoAAABhcnJvdy5qc29uAAAUAAAAQVJST1c6ZXh0ZW5zaW9uOm5hbWUAAAAACAAMAAQACAAIAAAA\
        EAAAAAQAAAAAAAAAAAAAABgAAABBUlJPVzpleHRlbnNpb246bWV0YWRhdGEAAAAAzP3//2T+//8AAAERFAAAABwAAAAEAAAA\
        AQAAABQAAAAHAAAAbWFwbGlzdAD4/f//aP///wAAAA0YAAAAIAAAAAQAAAACAAAAkAAAABQAAAAHAAAAZW50cmllcwAo/v//\
        wP7//wAAAQwUAAAAHAAAAAQAAAABAAAAFAAAAAUAAAB2YWx1ZQAAAFT+///s/v//AAABChAAAAAYAAAABAAAAAAAAAAEAAAA\
        aXRlbQAAAABk////AAACAAQAAAAGAAAAKzAxOjAwAAAQABQACAAAAAcADAAAABAAEAAAAAAAAAUQAAAAFAAAAAQAAAAAAAAA\
        AwAAAGtleQDE/v//XP///wAAARIQAAAAGAAAAAQAAAAAAAAABQAAAGR1cl9zAAAAjv///wAAAACI////AAABChAAAAAgAAAA\
        BAAAAAAAAAAGAAAAdHpfb2ZmAAAIAAwABgAIAAgAAAAAAAIABAAAAAYAAAArMDU6MzAAAMz///8AAAEJEAAAACAAAAAEAAAA\
        AAAAAAcAAAB0aW1lMzJzAAAABgAIAAYABgAAAAAAAAAQABQACAAGAAcADAAAABAAEAAAAAAAAQgQAAAAGAAAAAQAAAAAAAAA\
        BgAAAGRhdGU2NAAAoP///xAAGAAIAAYABwAMABAAFAAQAAAAAAABBRQAAABEAAAAIAAAAAQAAAAAAAAABAAAAGRpY3QAAAAA\
        CAAIAAAABAAIAAAADAAAAAgADAAIAAcACAAAAAAAAAEgAAAABAAEAAQAAAAAAAAA";

    fn message() -> Vec<u8> {
        STANDARD.decode(PYARROW).unwrap()[8..].to_vec()
    }

    #[test]
    fn the_types_of_a_schema_of_pyarrow_are_found() {
        let root = schema(&message()).unwrap();
        let of = |index, name| &root.named(index, name).unwrap().of;
        assert_eq!(*of(0, "dict"), Arrow::Text);
        assert_eq!(*of(1, "date64"), Arrow::Date64);
        assert_eq!(*of(2, "time32s"), Arrow::Time(Unit::Second));
        let timestamp = |unit, zone: &str| Arrow::Timestamp(unit, Some(zone.to_owned()));
        assert_eq!(*of(3, "tz_off"), timestamp(Unit::Micro, "+05:30"));
        assert_eq!(*of(4, "dur_s"), Arrow::Duration(Unit::Second));
        let entries = root.named(5, "maplist").unwrap().item().unwrap();
        assert_eq!(entries.child(0).unwrap().of, Arrow::Text);
        let items = entries.child(1).unwrap().item().unwrap();
        assert_eq!(items.of, timestamp(Unit::Micro, "+01:00"));
        let json = root.named(6, "json").unwrap();
        assert!(json.is_json && json.of == Arrow::Text);
        assert!(!root.named(0, "dict").unwrap().is_json);
        assert_eq!((root.named(7, "json"), root.named(0, "json")), (None, None));
    }

    #[test]
    fn the_schema_of_our_own_files_is_read() {
        let turn = Shape::Struct(vec![
            ("role".to_owned(), Shape::Text),
            ("any".to_owned(), Shape::Json),
            ("none".to_owned(), Shape::Null),
        ]);
        let columns = vec![
            ("messages".to_owned(), Shape::List(Box::new(turn))),
            ("weight".to_owned(), Shape::Float),
        ];
        let mut bytes = Vec::new();
        let file = Shredded::new(&mut bytes, columns, WriterProperties::default()).unwrap();
        file.finish().unwrap();
        let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
        let root = Hint::of_file(reader.metadata().file_metadata()).unwrap().unwrap();
        assert_eq!(root.named(1, "weight").unwrap().of, Arrow::Other);
        let turn = root.named(0, "messages").unwrap().item().unwrap();
        let [role, any, none] =
            [(0, "role"), (1, "any"), (2, "none")].map(|(index, name)| turn.named(index, name).unwrap());
        assert_eq!((&role.of, role.is_json), (&Arrow::Text, false));
        assert_eq!((&any.of, any.is_json), (&Arrow::Text, true));
        assert_eq!((&none.of, none.is_json), (&Arrow::Other, false));
        assert_eq!((turn.name.as_str(), turn.children.len()), ("item", 3));
    }

    #[test]
    fn damaged_schemas_are_read_in_part_or_refused_without_a_panic() {
        let message = message();
        for end in 0..message.len() {
            let _ = schema(&message[..end]);
        }
        for at in 0..message.len() {
            for new in [0, 1, 4, 127, 255] {
                let mut changed = message.clone();
                changed[at] = new;
                let _ = schema(&changed);
            }
        }
        assert_eq!(schema(b""), None);
    }

    #[test]
    fn fields_that_share_their_children_end() {
        // Fields that have the next one as their child twice; the last has none.
        let chain = |length: usize| {
            let places = [16_u16, 8, 0, 0, 0, 0, 0, 4];
            let mut data: Vec<u8> = places.iter().flat_map(|word| word.to_le_bytes()).collect();
            for _ in 0..length {
                let at = u32::try_from(data.len()).unwrap();
                for word in [at, 4, 2, 8, 4] {
                    data.extend(word.to_le_bytes());
                }
            }
            data.extend((-4_i32).to_le_bytes());
            data.extend([4, 0, 4, 0]);
            let mut left = data.len() / 8;
            field(&Table::at(&data, 16).unwrap(), MAX_DEPTH, &mut left)
        };
        assert_eq!(chain(2).unwrap().children.len(), 2);
        assert_eq!(chain(60), None);
    }
}
