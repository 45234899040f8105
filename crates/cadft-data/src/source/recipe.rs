//! A source in a recipe: a path, or a table with a path.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::Source;
use crate::format::{Columns, Format};

/// The table.
#[derive(serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Table {
    /// A file, a directory, a glob such as `data/*.jsonl.gz`, or `hf://datasets/OWNER/NAME[@REVISION][/FILE]`.
    path: String,
    /// The format of every row. If it is absent, the keys of each row decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
    /// How often its rows are drawn, in proportion to those of the other sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    /// The split of a directory whose files are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    split: Option<String>,
    /// The configuration that is read, one of those in the data set's `README.md`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<String>,
    /// Column names that differ from the keys of the format, such as `{ instruction = "question", output = "answer" }`.
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
            config,
        } = self.clone();
        let table = Table {
            path,
            format,
            weight,
            split,
            config,
            columns,
        };
        table.serialize(serializer)
    }
}

impl JsonSchema for Source {
    fn schema_name() -> Cow<'static, str> {
        "Source".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A path, or a table with a `path`.",
            "anyOf": [{ "type": "string" }, generator.subschema_for::<Table>()],
        })
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
            config,
            columns,
        } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Source {
            path,
            format,
            columns,
            weight,
            split,
            config,
        })
    }
}
