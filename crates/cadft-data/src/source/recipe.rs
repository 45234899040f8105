//! A source in a recipe: a path, or a table with a path.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::Source;
use crate::format::{Columns, Format};

/// The table.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    split: Option<String>,
    #[serde(default, skip_serializing_if = "Columns::is_empty")]
    columns: Columns,
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::new(self.path.as_str()) {
            return serializer.serialize_str(&self.path);
        }
        let Self {
            path,
            format,
            columns,
            weight,
            split,
        } = self.clone();
        let table = Table {
            path,
            format,
            weight,
            split,
            columns,
        };
        table.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, or a table with a `path`")
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<Source, E> {
        Ok(Source::new(path))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
        let Table {
            path,
            format,
            weight,
            split,
            columns,
        } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Source {
            path,
            format,
            columns,
            weight,
            split,
        })
    }
}
