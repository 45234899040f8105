//! Which layers and modules an `adapter_config.json` selects, by the rules of PEFT 0.21.

use regex::Regex;
use serde_json::{Map, Value};

use super::{is_unset, strings};
use crate::adapter::targets::is_end;
use crate::json::show;
use crate::parameters::is_embedding;
use crate::shown::cut;

/// A selection of layers by name.
#[derive(Clone, Debug)]
pub(in crate::adapter) enum Names {
    /// Every linear layer but the output weight.
    AllLinear,
    /// Layers whose name is in the list, or ends with a dot and a listed name.
    List(Vec<String>),
    /// Layers whose whole name matches the expression.
    Pattern(Regex),
}

/// The layers and modules that the keys of the file select.
#[derive(Clone, Debug)]
pub(in crate::adapter) struct Selection {
    pub(in crate::adapter) targets: Names,
    excluded: Option<Names>,
    /// `modules_to_save`. Layers inside these modules get no update.
    saved: Vec<Regex>,
    /// `layers_to_transform`, with the patterns that find the index of a layer.
    layers: Option<(Vec<u64>, Vec<Regex>)>,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
}

impl Selection {
    pub(super) fn read(object: &Map<String, Value>, problems: &mut Vec<String>) -> Self {
        let targets = match object.get("target_modules") {
            Some(value) if !is_unset(value) => names("target_modules", value, problems),
            _ => None,
        };
        if targets.is_none()
            && !problems
                .iter()
                .any(|problem| problem.contains("`target_modules`"))
        {
            problems.push("`target_modules` names no layer".to_owned());
        }
        let excluded = match object.get("exclude_modules") {
            Some(value) if !is_unset(value) => names("exclude_modules", value, problems),
            _ => None,
        };
        let saved = strings(object, "modules_to_save", problems);
        let saved = (saved.iter())
            .filter_map(|name| {
                regex(
                    "modules_to_save",
                    &format!(r"^(?:(^|.*\.){name}($|\..*))"),
                    problems,
                )
            })
            .collect();
        let targets = targets.unwrap_or(Names::List(vec![]));
        let layers = layers(object, &targets, problems);
        let ranks = pattern(object, "rank_pattern", problems, |value| {
            let rank = value
                .as_u64()
                .filter(|rank| (1..=super::MAX_RANK).contains(rank))?;
            usize::try_from(rank).ok()
        });
        let alphas = pattern(object, "alpha_pattern", problems, super::sensible);
        Self {
            targets,
            excluded,
            saved,
            layers,
            ranks,
            alphas,
        }
    }

    /// Whether a linear layer or the embedding gets an update.
    pub(in crate::adapter) fn has_update(&self, layer: &str) -> bool {
        let is_excluded = self.excluded.as_ref().is_some_and(|names| names.has(layer))
            || self.saved.iter().any(|saved| saved.is_match(layer));
        if is_excluded || !self.targets.has(layer) {
            return false;
        }
        // A layer named in full is selected whatever its index is.
        let is_exact = matches!(&self.targets, Names::List(names) if names.iter().any(|name| name == layer));
        match &self.layers {
            Some((indices, patterns)) if !is_exact => {
                let found = patterns.iter().find_map(|pattern| pattern.captures(layer));
                let index = found.and_then(|found| found.name("idx")?.as_str().parse().ok());
                index.is_some_and(|index: u64| indices.contains(&index))
            }
            _ => true,
        }
    }

    /// The rank of a layer in `rank_pattern`, if it has one.
    pub(in crate::adapter) fn rank(&self, layer: &str) -> Option<usize> {
        first(&self.ranks, layer)
    }

    /// The numerator of a layer in `alpha_pattern`, if it has one.
    pub(in crate::adapter) fn alpha(&self, layer: &str) -> Option<f64> {
        first(&self.alphas, layer)
    }
}

impl Names {
    fn has(&self, layer: &str) -> bool {
        match self {
            Self::AllLinear => layer != "lm_head" && !is_embedding(layer),
            Self::List(names) => names.iter().any(|name| is_end(layer, name)),
            Self::Pattern(pattern) => pattern.is_match(layer),
        }
    }
}

fn first<T: Copy>(patterns: &[(Regex, T)], layer: &str) -> Option<T> {
    let found = patterns.iter().find(|(pattern, _)| pattern.is_match(layer))?;
    Some(found.1)
}

fn names(key: &str, value: &Value, problems: &mut Vec<String>) -> Option<Names> {
    match value {
        Value::String(word) if key == "target_modules" && word.eq_ignore_ascii_case("all-linear") => {
            Some(Names::AllLinear)
        }
        Value::String(pattern) => regex(key, &format!(r"^(?:{pattern})$"), problems).map(Names::Pattern),
        Value::Array(names) if names.iter().all(Value::is_string) => Some(Names::List(
            names
                .iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
        )),
        other => {
            problems.push(format!(
                "`{key}`: `{}` is neither a list of names nor an expression",
                show(other)
            ));
            None
        }
    }
}

/// `layers_to_transform`, one index or several, together with `layers_pattern`.
fn layers(
    object: &Map<String, Value>,
    targets: &Names,
    problems: &mut Vec<String>,
) -> Option<(Vec<u64>, Vec<Regex>)> {
    let set = |key: &str| object.get(key).filter(|value| !is_unset(value));
    let prefixes = match set("layers_pattern") {
        None => vec![],
        Some(Value::String(one)) => vec![one.clone()],
        Some(_) => strings(object, "layers_pattern", problems),
    };
    let Some(value) = set("layers_to_transform") else {
        if !prefixes.is_empty() {
            problems.push("`layers_pattern` is there without `layers_to_transform`".to_owned());
        }
        return None;
    };
    if !matches!(targets, Names::List(_)) {
        problems.push("`layers_to_transform` goes with a list of `target_modules` only".to_owned());
    }
    let indices = match value {
        Value::Array(indices) => indices.iter().map(Value::as_u64).collect(),
        one => one.as_u64().map(|index| vec![index]),
    };
    let Some(indices) = indices else {
        problems.push(format!(
            "`layers_to_transform`: `{}` is neither an index nor a list of them",
            show(value)
        ));
        return None;
    };
    let expressions = if prefixes.is_empty() {
        vec![r"^.*?\.[^.]*\.(?P<idx>\d+)\.".to_owned()]
    } else {
        let expression = |prefix: &String| format!(r"^(?:^|.*?\.)(?:{prefix})\.(?P<idx>\d+)\.");
        prefixes.iter().map(expression).collect()
    };
    let patterns = expressions
        .iter()
        .filter_map(|expression| regex("layers_pattern", expression, problems))
        .collect();
    Some((indices, patterns))
}

/// Reads an object that maps expressions for the end of a layer's name to values. The first match applies.
fn pattern<T>(
    object: &Map<String, Value>,
    key: &str,
    problems: &mut Vec<String>,
    read: impl Fn(&Value) -> Option<T>,
) -> Vec<(Regex, T)> {
    let entries = match object.get(key) {
        Some(Value::Object(entries)) => entries,
        Some(other) if !is_unset(other) => {
            problems.push(format!("`{key}`: `{}` is not an object", show(other)));
            return vec![];
        }
        _ => return vec![],
    };
    let mut patterns = vec![];
    for (name, value) in entries {
        let expression = regex(key, &format!(r"^(?:(.*\.)?({name})$)"), problems);
        match (expression, read(value)) {
            (Some(expression), Some(value)) => patterns.push((expression, value)),
            (Some(_), None) => {
                problems.push(format!("`{key}.{}`: `{}` cannot be used", cut(name), show(value)));
            }
            (None, _) => {}
        }
    }
    patterns
}

fn regex(key: &str, expression: &str, problems: &mut Vec<String>) -> Option<Regex> {
    match Regex::new(expression) {
        Ok(regex) => Some(regex),
        Err(_) => {
            problems.push(format!(
                "`{key}`: `{}` is an expression that is not supported",
                cut(expression)
            ));
            None
        }
    }
}
