//! Versions of the engine's filters, tests, functions and methods that pay for the size of their inputs.
//!
//! The engine charges for results. These versions charge for the values that they walk, and for values before they are
//! built. Names that begin with `@` are called by the instructions that `guards` inserts.

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, escape_formatter};

use super::fuel::{DEEPEST, ITEM, afford, looped, measure, measure_kept, pay, settled, weight};
use super::json::ToJson;
use super::python::{bind, invalid, split_keywords, text};
use super::slice::slice;
use super::{filters, globals, methods, numbers, printf};

/// Cost in units per byte of writing a value that contains others. The engine charges it only after writing.
const WRITTEN: u64 = 16;

/// Cost of rounding a number, which works on decimal digits.
const ROUNDED: u64 = 20;

/// Filters that walk or build more than the engine charges for, with the names of the checked versions.
const FILTERS: [(&str, &str); 20] = [
    ("attr", "@attr"),
    ("batch", "@batch"),
    ("dictsort", "@dictsort"),
    ("groupby", "@groupby"),
    ("items", "@items"),
    ("list", "@list"),
    ("map", "@map"),
    ("max", "@max"),
    ("min", "@min"),
    ("reject", "@reject"),
    ("rejectattr", "@rejectattr"),
    ("reverse", "@reverse"),
    ("round", "@round"),
    ("select", "@select"),
    ("selectattr", "@selectattr"),
    ("slice", "@batches"),
    ("sort", "@sort"),
    ("sum", "@sum"),
    ("trim", "@trim"),
    ("unique", "@unique"),
];

/// Tests that walk their operands, with the names of the checked versions.
const TESTS: [(&str, &str); 21] = [
    ("!=", "@!="),
    ("<", "@<"),
    ("<=", "@<="),
    ("==", "@=="),
    (">", "@>"),
    (">=", "@>="),
    ("endingwith", "@endingwith"),
    ("eq", "@eq"),
    ("equalto", "@equalto"),
    ("ge", "@ge"),
    ("greaterthan", "@greaterthan"),
    ("gt", "@gt"),
    ("in", "@in"),
    ("le", "@le"),
    ("lessthan", "@lessthan"),
    ("lower", "@lower"),
    ("lt", "@lt"),
    ("ne", "@ne"),
    ("sameas", "@sameas"),
    ("startingwith", "@startingwith"),
    ("upper", "@upper"),
];

/// Filters and functions that Jinja does not have, or that expose the engine's state.
const DROPPED: [&str; 5] = ["chain", "lines", "pprint", "split", "zip"];

/// The checked version of a filter with this number of arguments, if it needs one.
pub(super) fn filter_name(name: &str, arguments: Option<u16>) -> Option<&'static str> {
    let is_plain = name == "trim" && arguments == Some(1);
    (!is_plain).then(|| checked_name(&FILTERS, name)).flatten()
}

/// The checked version of a test, if it needs one.
pub(super) fn test_name(name: &str) -> Option<&'static str> {
    checked_name(&TESTS, name)
}

fn checked_name(names: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    let found = names.iter().find(|(plain, _)| *plain == name);
    found.map(|(_, checked)| *checked)
}

/// Adds the checked versions of everything that a template can call.
pub(super) fn install(environment: &mut Environment<'static>) {
    for (name, checked) in FILTERS {
        environment.add_filter(
            checked,
            move |state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>| {
                filter(state, name, arguments.into_values())
            },
        );
    }
    for (name, checked) in TESTS {
        environment.add_test(
            checked,
            move |state: &mut State<'_, '_>, operands: Rest<Value>| test(state, name, &operands),
        );
    }
    for name in DROPPED {
        environment.remove_filter(name);
    }
    environment.remove_global("debug");
    environment.set_unknown_method_callback(methods::method);
    environment.set_formatter(write);
    environment.add_test("sequence", is_sequence);
    environment.add_test("callable", methods::is_callable);
    filters::install(environment);
    globals::install(environment);
    environment.add_filter("tojson", tojson);
    environment.add_filter("@measured", measured);
    environment.add_filter("@text", as_text);
    environment.add_filter("@written", written);
    environment.add_filter("@searched", searched);
    environment.add_filter("@settled", settled);
    environment.add_filter("@stored", stored);
    environment.add_filter("@looped", looped);
    environment.add_filter("@arguments", arguments);
    environment.add_filter("@slice", slice);
    environment.add_filter("@changed", changed);
    environment.add_filter("@cycle", cycle);
    environment.add_filter("@file", no_file);
    environment.add_filter("@modulo", modulo);
    environment.add_filter("@attribute", attribute);
    environment.add_filter("@item", item);
    environment.add_filter("@variadic", globals::variadic);
}

/// Pays for walking a value, and returns it.
fn measured(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    measure(state, &value)?;
    Ok(value)
}

/// The text of a value that is about to be inserted into a text.
fn as_text(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if value.as_str().is_some() {
        return Ok(value);
    }
    written(state, value).map(|value| Value::from(text(&value)))
}

/// A value that may be about to be inserted into a text; fails if writing it could not be paid.
fn written(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    let units = measure(state, &value)?;
    if value.as_object().is_some() {
        afford(state, units.saturating_mul(WRITTEN))?;
    }
    Ok(value)
}

/// `left % right`: a remainder, or formatting if `left` is a string.
fn modulo(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    match left.as_str() {
        Some(format) => printf::modulo(state, format, right).map(Value::from),
        None => numbers::modulo(left, right),
    }
}

/// `value.name`, including the methods of dictionaries.
fn attribute(value: &Value, name: &str) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::new(
            ErrorKind::UndefinedError,
            format!("no `{name}` of an undefined value"),
        ));
    }
    match methods::attribute(value, name) {
        Some(method) => Ok(method),
        None => value.get_attr(name),
    }
}

/// `value['name']`, including the methods of dictionaries.
fn item(value: &Value, name: &str) -> Result<Value, Error> {
    let key = Value::from(name);
    match value.as_object().and_then(|object| object.get_value(&key)) {
        Some(found) => Ok(found),
        None => attribute(value, name),
    }
}

/// Whether a value has a length and items, as strings and dictionaries do.
fn is_sequence(value: &Value) -> bool {
    let is_known = matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map);
    is_known || value.is_undefined() || (value.kind() == ValueKind::Iterable && value.len().is_some())
}

/// Pays for searching in a value. A search in a dictionary walks nothing, and the engine charges for strings.
fn searched(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Map | ValueKind::String => Ok(value),
        _ => measured(state, value),
    }
}

/// Pays for a value that a namespace is about to store.
fn stored(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    measure_kept(state, &value)?;
    Ok(value)
}

/// Pays for keyword arguments that were made from a dictionary.
fn arguments(state: &State<'_, '_>, value: ValueOrKwargs) -> Result<Value, Error> {
    let value = value.into_value();
    measure(state, &value)?;
    Ok(value)
}

/// `loop.changed(..)`: the loop stores the values, so they are checked.
fn changed(state: &mut State<'_, '_>, values: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let values = values.into_values();
    for value in values.iter().skip(1) {
        measure_kept(state, value)?;
    }
    call("changed", state, &values)
}

/// `loop.cycle(..)`; without values the engine would divide by zero.
fn cycle(state: &mut State<'_, '_>, values: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let values = values.into_values();
    if values.len() < 2 {
        return Err(Error::new(ErrorKind::MissingArgument, "`cycle` takes values"));
    }
    call("cycle", state, &values)
}

fn call(name: &str, state: &mut State<'_, '_>, values: &[Value]) -> Result<Value, Error> {
    match values {
        [receiver, arguments @ ..] => receiver.call_method(state, name, arguments),
        [] => Err(Error::from(ErrorKind::MissingArgument)),
    }
}

fn no_file(name: &Value) -> Result<Value, Error> {
    let name = name.as_str().unwrap_or("..");
    let message = format!("template `{name}` does not exist");
    Err(Error::new(ErrorKind::TemplateNotFound, message))
}

/// Pays for a filter of the engine and applies it.
fn filter(state: &mut State<'_, '_>, name: &str, mut arguments: Vec<Value>) -> Result<Value, Error> {
    let mut units = 0_u64;
    for argument in &arguments {
        units += measure(state, argument)?;
    }
    match name {
        "dictsort" => name_arguments(&mut arguments, ["value", "case_sensitive", "by", "reverse"])?,
        "sort" => name_arguments(
            &mut arguments,
            ["value", "reverse", "case_sensitive", "attribute"],
        )?,
        "unique" | "min" | "max" => name_arguments(&mut arguments, ["value", "case_sensitive", "attribute"])?,
        _ => {}
    }
    let items = arguments.first().and_then(Value::len).unwrap_or(0) as u64;
    match name {
        "sort" | "unique" | "groupby" | "dictsort" | "min" | "max" => {
            pay(state, units.saturating_mul(u64::from(items.max(1).ilog2())))?;
        }
        // The sum of lists is lazy, and is copied once every 32 lists.
        "sum" => pay(state, units.saturating_mul(items / 32))?,
        "trim" => pay_for_trim(state, &arguments)?,
        "round" => state.consume_fuel(ROUNDED)?,
        "map" => rename(&mut arguments, 1, |name| filter_name(name, None)),
        "select" | "reject" => rename(&mut arguments, 1, test_name),
        "selectattr" | "rejectattr" => rename(&mut arguments, 2, test_name),
        _ => {}
    }
    let result = state.apply_filter(name, &arguments)?;
    let result = settled(state, result)?;
    if matches!(name, "batch" | "slice" | "groupby" | "map") {
        measure(state, &result)?;
    }
    Ok(result)
}

/// Replaces a filter or test name in the arguments by that of its checked version.
fn rename(arguments: &mut [Value], at: usize, checked: fn(&str) -> Option<&'static str>) {
    if let Some(argument) = arguments.get_mut(at)
        && let Some(name) = argument.as_str().and_then(checked)
    {
        *argument = Value::from(name);
    }
}

/// Converts positional arguments to named ones: the engine accepts these arguments only by name.
fn name_arguments<const N: usize>(arguments: &mut Vec<Value>, names: [&str; N]) -> Result<(), Error> {
    let (by_position, _) = split_keywords(arguments);
    if by_position.len() < 2 {
        return Ok(());
    }
    let bound = bind("filter", names, arguments)?;
    let mut values = names.into_iter().zip(bound);
    let first = values.next().and_then(|(_, value)| value);
    let first = first.ok_or_else(|| invalid("a filter lacks its value"))?;
    let others = values.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let others = Kwargs::from_iter(others.collect::<Vec<_>>());
    *arguments = vec![first, Value::from(others)];
    Ok(())
}

fn pay_for_trim(state: &State<'_, '_>, arguments: &[Value]) -> Result<(), Error> {
    let length = |at: usize| arguments.get(at).and_then(Value::as_str).map_or(0, str::len) as u64;
    pay(state, length(0).saturating_mul(length(1)))
}

/// Pays for a test of the engine and applies it.
fn test(state: &mut State<'_, '_>, name: &str, operands: &[Value]) -> Result<bool, Error> {
    for operand in operands {
        let units = measure(state, operand)?;
        if name == "in" && operand.as_object().is_some() {
            afford(state, units.saturating_mul(WRITTEN))?;
        }
    }
    state.perform_test(name, operands)
}

/// Writes a value to the output of the template.
fn write(output: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.as_str().is_some() {
        return escape_formatter(output, state, value);
    }
    if value.as_object().is_some() {
        let units = measure(state, value)?;
        afford(state, units.saturating_mul(WRITTEN))?;
    }
    output.write_str(&text(value)).map_err(Error::from)
}

fn tojson(state: &State<'_, '_>, arguments: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let (value, options) = ToJson::of_call(&arguments.into_values())?;
    let units = weight(state, &value)?;
    // A byte of text becomes at most six bytes; the indentation of an item grows with its depth.
    let items = units / ITEM;
    let around = options.around(DEEPEST as u64);
    afford(
        state,
        units
            .saturating_mul(6)
            .saturating_add(items.saturating_mul(around)),
    )?;
    pay(state, units)?;
    options.write(&value)
}
