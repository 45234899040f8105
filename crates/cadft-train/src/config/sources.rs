//! Sources in a recipe: a list of sources, or a single one.

use cadft_data::Source;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Reads a list of sources. A single source is read as a list of one.
pub(super) fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Source>, D::Error> {
    deserializer.deserialize_any(OneOrMore)
}

/// The written form, for the schema only.
pub(super) struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Vec<Source>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, a table with a `path`, or a list of them")
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<Self::Value, E> {
        Ok(vec![Source::new(path)])
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(vec![Source::deserialize(MapAccessDeserializer::new(map))?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sources: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(sources))
    }
}

impl JsonSchema for OneOrMore {
    fn schema_name() -> Cow<'static, str> {
        "Sources".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "anyOf": [generator.subschema_for::<Vec<Source>>(), generator.subschema_for::<Source>()],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Holder {
        #[serde(deserialize_with = "one_or_more")]
        train: Vec<Source>,
    }

    fn read(text: &str) -> Result<Vec<Source>, toml::de::Error> {
        toml::from_str::<Holder>(text).map(|holder| holder.train)
    }

    #[test]
    fn one_source_is_a_list_of_one() {
        let one = read("train = [\"a.jsonl\"]").unwrap();
        assert_eq!(read("train = \"a.jsonl\"").unwrap(), one);
        assert_eq!(read("train = { path = \"a.jsonl\" }").unwrap(), one);
        assert_eq!(read("train = []").unwrap(), []);
        let error = read("train = 3").unwrap_err().to_string();
        assert!(error.contains("a path, a table"), "{error}");
        let error = read("train = { pth = \"a\" }").unwrap_err().to_string();
        assert!(error.contains("unknown field `pth`"), "{error}");
    }
}
