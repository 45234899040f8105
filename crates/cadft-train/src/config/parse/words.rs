//! Rewrites serde's messages about a recipe for users.

use super::names;

/// Parses serde's message about an unknown field or variant: the name, and the expected names.
pub(super) fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field ")?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

/// The message for an unknown key.
pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
    let spelt = key.replace('_', "-");
    let same = known.iter().copied().find(|name| *name == spelt);
    // The name of another program says more than a key of similar letters.
    match same
        .or_else(|| names::suggested(key))
        .or_else(|| nearest(key, known))
    {
        Some(name) => format!("unknown key `{key}`; did you mean `{name}`?"),
        None => format!("unknown key `{key}`; known keys are {}", known.join(", ")),
    }
}

/// Names of a format in which nothing is trained.
const HALVES: [&str; 4] = ["f16", "fp16", "float16", "half"];

/// Values under the names of other programs.
const VALUES: [(&str, &str); 4] = [
    ("bfloat16", "bf16"),
    ("float32", "f32"),
    ("full", "blocks"),
    ("qlora", "lora"),
];

/// Serde's message about a wrong value of `key`, rewritten.
pub(super) fn explained(key: &str, message: String) -> String {
    let variant = message
        .strip_prefix("unknown variant `")
        .and_then(|rest| rest.split('`').next());
    if key == "model.precision" && variant.is_some_and(|name| HALVES.contains(&name)) {
        return "there is no training in `f16`: small gradients vanish in it without a scaled loss, which cadft does not \
                have; use `f32`, or `bf16` where the device has it"
            .to_owned();
    }
    let message = plain(key, suggested(message));
    if key == "objective" && message.starts_with("unknown value") && message.contains("expected") {
        return format!("{message}; a run with an objective of another program is continued by that program");
    }
    message
}

/// Serde's names of types, and the names that users know.
const TYPES: [(&str, &str); 7] = [
    ("f64", "a number"),
    ("usize", "a whole number, 0 or more"),
    ("u64", "a whole number, 0 or more"),
    ("u32", "a whole number, 0 or more"),
    ("a sequence", "a list"),
    ("a boolean", "`true` or `false`"),
    ("a string", "text"),
];

/// Serde's message about a wrong type, without programming terms.
fn plain(key: &str, message: String) -> String {
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        return format!("unknown value {rest}");
    }
    let rest = (message.strip_prefix("invalid type: ")).or_else(|| message.strip_prefix("invalid value: "));
    let Some((found, expected)) = rest.and_then(|rest| rest.split_once(", expected ")) else {
        return message;
    };
    let known = TYPES.iter().find(|(name, _)| *name == expected);
    let choices: Vec<_> = names::choices(key)
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    let expected = match known {
        Some((_, words)) => (*words).to_owned(),
        // Of a choice, serde says how it is encoded.
        None if expected.starts_with("string") && !choices.is_empty() => {
            return format!("expected one of {}", choices.join(", "));
        }
        None => expected.to_owned(),
    };
    // In `string "x"` or `integer `3``, the value alone is enough.
    let found = (found.split_once(' ')).map_or(found, |(_, value)| value);
    format!("found {found}, expected {expected}")
}

/// Serde's message about an unknown variant, with a suggestion; other messages unchanged.
fn suggested(message: String) -> String {
    let Some(rest) = message.strip_prefix("unknown variant ") else {
        return message;
    };
    let names: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    match names
        .split_first()
        .and_then(|(name, known)| Some((name, nearest(name, known)?)))
    {
        Some((name, known)) => format!("unknown value `{name}`; did you mean `{known}`?"),
        None => message,
    }
}

/// The name that `name` was probably meant to be.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if let Some((_, known)) = VALUES
        .iter()
        .find(|(other, value)| *other == name && known.contains(value))
    {
        return Some(*known);
    }
    let distance = |candidate: &str| strsim::damerau_levenshtein(name, candidate);
    let nearest = known
        .iter()
        .copied()
        .min_by_key(|candidate| distance(candidate))?;
    (distance(nearest) <= (name.len() / 3).max(1)).then_some(nearest)
}
