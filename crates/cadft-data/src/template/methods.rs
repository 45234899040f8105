//! The methods of Python's values that Jinja's sandbox permits; methods that change a value are refused.

use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, ValueKind};
use minijinja::{Error, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::fuel::{measure, pay, settled};
use super::objects::Method;
use super::python::{bind, integer, invalid, required};
use super::strings;

/// The methods of dictionaries. A method that is read but not called is a value, whatever keys the dictionary has.
const OF_DICTIONARIES: [&str; 11] = [
    "clear",
    "copy",
    "fromkeys",
    "get",
    "items",
    "keys",
    "pop",
    "popitem",
    "setdefault",
    "update",
    "values",
];

/// The methods that change dictionaries and lists; Jinja's sandbox refuses them.
const CHANGING: [&str; 12] = [
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "reverse",
    "setdefault",
    "sort",
    "update",
    "__setitem__",
];

/// Calls a method that the engine does not have.
pub(super) fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    for argument in arguments {
        measure(state, argument)?;
    }
    if let Some(text) = value.as_str() {
        let letters = arguments.first().and_then(Value::as_str).map_or(0, str::len) as u64;
        if matches!(name, "strip" | "lstrip" | "rstrip") {
            pay(state, (text.len() as u64).saturating_mul(letters))?;
        }
        pay(state, text.len() as u64)?;
        return strings::method(state, text, name, arguments);
    }
    if matches!(value.kind(), ValueKind::Map | ValueKind::Seq) && CHANGING.contains(&name) {
        let message = format!("`{name}` would change a value that the template was given");
        return Err(invalid(message));
    }
    let is_list = value.kind() == ValueKind::Seq;
    match name {
        "index" if is_list => {
            measure(state, value)?;
            let [wanted, start, end] = bind(name, ["value", "start", "stop"], arguments)?;
            index(value, &required(name, wanted)?, start, end)
        }
        "copy" if is_list || value.kind() == ValueKind::Map => {
            let [] = bind(name, [], arguments)?;
            measure(state, value)?;
            Ok(value.clone())
        }
        _ => {
            if name == "count" {
                measure(state, value)?;
            }
            let result = unknown_method_callback(state, value, name, arguments)?;
            settled(state, result)
        }
    }
}

fn index(value: &Value, wanted: &Value, start: Option<Value>, end: Option<Value>) -> Result<Value, Error> {
    let items: Vec<Value> = value.try_iter()?.collect();
    let bound = |bound: Option<Value>, otherwise: usize| match bound {
        None => Ok(otherwise),
        Some(bound) => integer("index", &bound).map(|bound| {
            let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let bound = if bound < 0 { (bound + len).max(0) } else { bound };
            usize::try_from(bound).unwrap_or(0).min(items.len())
        }),
    };
    let (start, end) = (bound(start, 0)?, bound(end, items.len())?);
    let place = (start..end).find(|at| items[*at] == *wanted);
    place
        .map(Value::from)
        .ok_or_else(|| invalid("the value is not in the list"))
}

/// The dictionary method for `value.name` or `value['name']`. As an attribute it has priority over a key, as an item it
/// does not.
pub(super) fn attribute(value: &Value, name: &str) -> Option<Value> {
    let is_dictionary = value
        .as_object()
        .is_some_and(|object| object.repr() == ObjectRepr::Map && !is_special(object.type_name()));
    (is_dictionary && OF_DICTIONARIES.contains(&name)).then(|| {
        Value::from_object(Method {
            of: value.clone(),
            name: name.to_owned(),
        })
    })
}

/// Whether dictionaries have a method with this name.
pub(super) fn is_method(name: &str) -> bool {
    OF_DICTIONARIES.contains(&name)
}

/// Whether an engine object looks like a dictionary but is none in Python.
fn is_special(type_name: &str) -> bool {
    ["Namespace", "Loop", "Macro", "Module"]
        .iter()
        .any(|name| type_name.ends_with(&format!("::{name}")))
}

impl Object for Method {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, arguments: &[Value]) -> Result<Value, Error> {
        self.of.call_method(state, &self.name, arguments)
    }

    fn render(self: &Arc<Self>, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "<built-in method {} of dict object>", self.name)
    }
}

/// Whether a value can be called.
pub(super) fn is_callable(value: &Value) -> bool {
    let Some(object) = value.as_object() else {
        return false;
    };
    let name = object.type_name();
    object.repr() == ObjectRepr::Plain || name.ends_with("::Macro") || name.contains("BoxedFunction")
}
