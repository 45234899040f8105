//! The fields of a message that mark it as trained or not, by the names that tools use.

use serde_json::{Map, Value};

use crate::shown::kind;

/// Fields in which `true` or 1 means trained, and `false` or 0 means context. The first is ours.
pub(crate) const FLAGS: [&str; 7] = [
    "train",
    "weight",
    "training",
    "trainable",
    "loss",
    "loss_mask",
    "loss_scale",
];

/// Fields with another meaning: for parts of a turn, or negated.
const UNKNOWN: [&str; 5] = ["train_detail", "training_detail", "masked", "mask", "ignore_loss"];

/// A field of a message with an unclear value.
pub(crate) struct UnclearFlag {
    pub(crate) key: &'static str,
    pub(crate) message: String,
}

/// Whether the fields mark a message as trained, and the first such field; `None` if there is none.
pub(crate) fn flag(fields: &Map<String, Value>) -> Result<Option<(&'static str, bool)>, UnclearFlag> {
    let mut found: Option<(&'static str, bool)> = None;
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        if let Some(key) = UNKNOWN.into_iter().find(|key| key == name) {
            let message =
                "not understood; say with `train`, true or false, whether the turn is trained".to_owned();
            return Err(UnclearFlag { key, message });
        }
        let Some(key) = FLAGS.into_iter().find(|key| key == name) else {
            continue;
        };
        let says = says(key, value).map_err(|message| UnclearFlag { key, message })?;
        let (first, first_says) = *found.get_or_insert((key, says));
        if first_says != says {
            let message = format!("`{value}`, but `{first}` is `{}`", fields[first]);
            return Err(UnclearFlag { key, message });
        }
    }
    Ok(found)
}

fn says(key: &str, value: &Value) -> Result<bool, String> {
    let number = value
        .as_f64()
        .filter(|&number| key != "train" && (number == 0.0 || number == 1.0));
    match (key, value, number) {
        (_, _, Some(number)) => Ok(number == 1.0),
        ("weight", found, _) => Err(format!("a turn's is 0 or 1, found {found}")),
        (_, Value::Bool(value), _) => Ok(*value),
        ("train", found, _) => Err(format!("expected true or false, found {}", kind(found))),
        (_, found, _) => Err(format!("expected true, false, 0 or 1, found {found}")),
    }
}
