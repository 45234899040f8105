//! How a recipe spells an objective: `objective = "dft"` or `[objective.cadft]` with settings.

use super::AnyObjective;
use schemars::{Schema, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

impl<'de> Deserialize<'de> for AnyObjective {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}

struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = AnyObjective;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the name of an objective or one table of its settings")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<AnyObjective, E> {
        AnyObjective::from_name(name).ok_or_else(|| E::unknown_variant(name, AnyObjective::NAMES))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnyObjective, A::Error> {
        let Some(name) = map.next_key::<String>()? else {
            return Err(A::Error::custom("no objective is named"));
        };
        let objective = AnyObjective::read_settings(&name, &mut map)?;
        match map.next_key::<String>()? {
            Some(second) => Err(A::Error::custom(format!(
                "two objectives are named, `{name}` and `{second}`"
            ))),
            None => Ok(objective),
        }
    }
}

/// Readers of settings that are finite and at least 0, one a key, as a message names it.
macro_rules! non_negative {
    ($($key:ident),+) => {
        $(pub(super) fn $key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
            let value = f64::deserialize(deserializer)?;
            if value.is_finite() && value >= 0.0 {
                return Ok(value);
            }
            let key = stringify!($key);
            Err(D::Error::custom(format!("`{key}` must be finite and at least 0, not `{value}`")))
        })+
    };
}

non_negative!(alpha, lambda, temperature);

/// A `beta` that something is divided by.
pub(super) fn positive_beta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(D::Error::custom(format!(
            "`beta` must be finite and above 0, not `{value}`"
        )))
    }
}

/// The JSON Schema of an objective: a name, or one table under a name.
pub(super) fn schema(names: &[&str], settings: Vec<(&str, Schema)>) -> Schema {
    let mut forms = vec![json_schema!({ "type": "string", "enum": names })];
    for (name, settings) in settings {
        forms.push(json_schema!({
            "type": "object",
            "properties": { (name): settings },
            "required": [name],
            "additionalProperties": false,
        }));
    }
    json_schema!({
        "description": "The objective: a name, or one table of settings under that name.",
        "oneOf": forms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cadft, Gate, Objective, Statistics};

    #[derive(serde::Deserialize, serde::Serialize, Debug, PartialEq)]
    struct Recipe {
        objective: AnyObjective,
    }

    fn read(text: &str) -> Result<AnyObjective, String> {
        toml::from_str::<Recipe>(text)
            .map(|r| r.objective)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn every_member_is_read_by_name_and_written_back() {
        for name in AnyObjective::NAMES {
            let objective = read(&format!("objective = \"{name}\"")).unwrap();
            assert_eq!(objective.name(), *name);
            let text = toml::to_string(&Recipe {
                objective: objective.clone(),
            })
            .unwrap();
            assert_eq!(read(&text).unwrap(), objective, "{text}");
        }
    }

    #[test]
    fn settings_of_cadft_are_read_and_default_to_the_paper() {
        let objective =
            read("[objective.cadft]\nbeta = 2.0\ngate = \"nll\"\nstatistics = \"running\"").unwrap();
        let AnyObjective::Cadft(Cadft { gate, compatibility }) = objective else {
            panic!("not cadft")
        };
        assert_eq!(gate, Gate::Nll);
        assert_eq!(
            (compatibility.beta, compatibility.statistics),
            (2.0, Statistics::Running)
        );
        let default = AnyObjective::from_name("cadft").unwrap();
        assert_eq!(default.compatibility().unwrap().beta, 1.0);
        assert_eq!(default.compatibility().unwrap().statistics, Statistics::Exact);
    }

    #[test]
    fn unknown_names_and_keys_are_refused() {
        assert!(read("objective = \"dtf\"").unwrap_err().contains("dft"));
        assert!(
            read("[objective.cadft]\nbeta2 = 1.0")
                .unwrap_err()
                .contains("beta2")
        );
        assert!(
            read("[objective.dft]\n[objective.nll]")
                .unwrap_err()
                .contains("two objectives")
        );
        assert!(read("[objective]").unwrap_err().contains("no objective"));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        assert!(
            read("[objective.cadft]\nbeta = -1.0")
                .unwrap_err()
                .contains("beta")
        );
        assert!(
            read("[objective.cadft]\nstatistics-decay = 1.0")
                .unwrap_err()
                .contains("decay")
        );
        for (key, value) in [
            ("power.alpha", "nan"),
            ("eaft.alpha", "-1"),
            ("asft.lambda", "-0.1"),
            ("iw-sft.temperature", "inf"),
            ("idft.beta", "0"),
        ] {
            let (_, name) = key.split_once('.').unwrap();
            let error = read(&format!("objective.{key} = {value}")).unwrap_err();
            assert!(error.contains(&format!("`{name}` must be finite")), "{error}");
        }
    }
}
