//! How a recipe writes an objective: `objective = "dft"`, or `[objective.cadft]` with settings. Token gates work alike.

use super::Gate;
use schemars::{Schema, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// An item that a recipe gives by name, or as one table of settings under its name.
pub(super) trait Named: Sized {
    /// The kind of item, for messages.
    const KIND: &str;
    /// Every valid name.
    const NAMES: &[&str];

    /// The item with this name and its default settings; `None` for an unknown name.
    fn from_name(name: &str) -> Option<Self>;

    /// Reads the settings of the item with this name.
    fn read_settings<'de, A: MapAccess<'de>>(name: &str, map: &mut A) -> Result<Self, A::Error>;
}

/// Reads a name, or one table of settings under a name.
pub(super) fn read<'de, T: Named, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(NameOrTable(PhantomData))
}

struct NameOrTable<T>(PhantomData<T>);

impl<'de, T: Named> Visitor<'de> for NameOrTable<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name of one {} or one table of its settings", T::KIND)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<T, E> {
        T::from_name(name).ok_or_else(|| E::unknown_variant(name, T::NAMES))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let Some(name) = map.next_key::<String>()? else {
            return Err(A::Error::custom(format!("no {} is named", T::KIND)));
        };
        let read = T::read_settings(&name, &mut map)?;
        match map.next_key::<String>()? {
            Some(second) => Err(A::Error::custom(format!(
                "two {}s are named, `{name}` and `{second}`",
                T::KIND
            ))),
            None => Ok(read),
        }
    }
}

/// Writes a gate as its name if all its settings are the defaults, otherwise as a table.
pub(super) fn name_or_table<S: Serializer>(gate: &Gate, serializer: S) -> Result<S::Ok, S::Error> {
    if Gate::from_name(gate.name()).as_ref() == Some(gate) {
        serializer.serialize_str(gate.name())
    } else {
        gate.serialize(serializer)
    }
}

/// Defines deserialisers of numbers, each with its key, its range, and the range in words for the message.
macro_rules! readers {
    ($($reader:ident: $key:literal, $range:expr, $words:literal;)+) => {
        $(pub(super) fn $reader<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
            in_range(f64::deserialize(deserializer)?, $key, $range, $words)
        })+
    };
}

readers! {
    alpha: "alpha", |x| x >= 0.0, "finite and at least 0";
    lambda: "lambda", |x| x >= 0.0, "finite and at least 0";
    temperature: "temperature", |x| x >= 0.0, "finite and at least 0";
    positive_beta: "beta", |x| x > 0.0, "finite and above 0";
    floor: "floor", |x| (0.0..1.0).contains(&x), "at least 0 and below 1";
    threshold: "threshold", |x| (0.0..1.0).contains(&x), "at least 0 and below 1";
    closed_threshold: "threshold", |x| (0.0..=1.0).contains(&x), "at least 0 and at most 1";
    open_threshold: "threshold", |x| x > 0.0 && x < 1.0, "above 0 and below 1";
    clip: "clip", |x| x >= 0.0, "finite and at least 0";
    top: "top", |x| x > 0.0 && x <= 1.0, "above 0 and at most 1";
    lambda_of_one: "lambda", |x| (0.0..=1.0).contains(&x), "at least 0 and at most 1";
}

/// Reads an optional `temperature`, a divisor: finite and above 0.
pub(super) fn optional_temperature<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<f64>, D::Error> {
    let value = f64::deserialize(deserializer)?;
    in_range(value, "temperature", |x| x > 0.0, "finite and above 0").map(Some)
}

/// Reads a count `k` of at least 1.
pub(super) fn k<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    match u8::deserialize(deserializer)? {
        0 => Err(D::Error::custom("`k` must be at least 1, not `0`")),
        k => Ok(k),
    }
}

/// A number of steps, `every`, of which there is at least one.
pub(super) fn every<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom("`every` must be at least 1, not `0`")),
        every => Ok(every),
    }
}

/// Returns the value if it is finite and in its range.
fn in_range<E: Error>(value: f64, key: &str, range: impl Fn(f64) -> bool, words: &str) -> Result<f64, E> {
    if value.is_finite() && range(value) {
        Ok(value)
    } else {
        Err(E::custom(format!("`{key}` must be {words}, not `{value}`")))
    }
}

/// The JSON Schema of a name, or of one table of settings under a name.
pub(super) fn schema<T: Named>(settings: Vec<(&str, Schema)>) -> Schema {
    let mut forms = vec![json_schema!({ "type": "string", "enum": T::NAMES })];
    for (name, settings) in settings {
        forms.push(json_schema!({
            "type": "object",
            "properties": { (name): settings },
            "required": [name],
            "additionalProperties": false,
        }));
    }
    json_schema!({
        "description": format!("The {}: a name, or one table of settings under that name.", T::KIND),
        "oneOf": forms,
    })
}

#[cfg(test)]
mod tests {
    use crate::{AnyObjective, Cadft, Gate, KlSft, Nll, Objective, Power, Profit, Statistics};

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
        assert_eq!(gate, Gate::Nll(Nll {}));
        assert_eq!(
            (compatibility.beta, compatibility.statistics),
            (2.0, Statistics::Running)
        );
        let default = AnyObjective::from_name("cadft").unwrap();
        assert_eq!(default.compatibility().unwrap().beta, 1.0);
        assert_eq!(default.compatibility().unwrap().statistics, Statistics::Exact);
    }

    #[test]
    fn every_gate_of_cadft_is_read_with_its_settings_and_written_back() {
        for name in Gate::NAMES {
            let objective = read(&format!("[objective.cadft]\ngate = \"{name}\"")).unwrap();
            let text = toml::to_string(&Recipe {
                objective: objective.clone(),
            })
            .unwrap();
            assert!(text.contains(&format!("gate = \"{name}\"")), "{text}");
            assert_eq!(read(&text).unwrap(), objective, "{text}");
        }
        let objective = read("[objective.cadft]\nbeta = 2.0\ngate.power.alpha = 0.3").unwrap();
        let AnyObjective::Cadft(cadft) = &objective else {
            panic!("not cadft")
        };
        assert_eq!(cadft.gate, Gate::Power(Power { alpha: 0.3 }));
        let text = toml::to_string(&Recipe {
            objective: objective.clone(),
        })
        .unwrap();
        assert_eq!(read(&text).unwrap(), objective, "{text}");
    }

    #[test]
    fn the_anchor_takes_a_gate_and_a_temperature_may_be_left_out() {
        let objective = read("[objective.kl-sft]\ngate.profit.threshold = 0.2").unwrap();
        let AnyObjective::KlSft(KlSft { gate, lambda }) = &objective else {
            panic!("not kl-sft")
        };
        assert_eq!(*gate, Gate::Profit(Profit { threshold: 0.2 }));
        assert_eq!(*lambda, 0.05);
        for (text, median) in [("", true), ("temperature = 0.5", false)] {
            let objective = read(&format!("[objective.talr]\n{text}")).unwrap();
            assert_eq!(objective.looks_at_median(), median);
            let written = toml::to_string(&Recipe {
                objective: objective.clone(),
            });
            assert_eq!(read(&written.unwrap()).unwrap(), objective);
        }
    }

    #[test]
    fn a_member_with_weights_or_a_reference_is_no_gate() {
        for name in ["cadft", "asft", "iw-sft", "kl-sft"] {
            let error = read(&format!("[objective.cadft]\ngate = \"{name}\"")).unwrap_err();
            assert!(error.contains(name) && error.contains("eaft"), "{error}");
        }
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
        for (key, value) in [
            ("info-sft.threshold", "1"),
            ("profit.threshold", "1.0"),
            ("sed-sft.threshold", "1.1"),
            ("sed-sft.lambda", "2"),
            ("sed-sft.k", "0"),
            ("talr.temperature", "0"),
            ("talr.floor", "1"),
            ("kl-sft.lambda", "-1"),
            ("prift.threshold", "1.1"),
            ("psft.clip", "-0.1"),
            ("psft.every", "0"),
            ("rho.top", "0"),
        ] {
            let (_, name) = key.split_once('.').unwrap();
            let error = read(&format!("objective.{key} = {value}")).unwrap_err();
            assert!(error.contains(&format!("`{name}` must be")), "{error}");
        }
    }
}
