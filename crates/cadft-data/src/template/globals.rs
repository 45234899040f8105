//! `dict`, `namespace`, `cycler`, `joiner`, and macros with variable arguments.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, Tuple, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value, functions};

use super::fuel::{looped, measure, measure_kept};
use super::objects::Cycler;
use super::python::{bind, invalid, split_keywords, text};

/// Adds these functions to an environment.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_function("cycler", cycler);
    environment.add_function("joiner", joiner);
    environment.add_function("dict", dict);
    environment.add_function("namespace", namespace);
}

fn cycler(state: &State<'_, '_>, items: Rest<Value>) -> Result<Value, Error> {
    if items.is_empty() {
        return Err(invalid("`cycler` takes at least one value"));
    }
    for item in items.iter() {
        measure_kept(state, item)?;
    }
    Ok(Value::from_object(Cycler {
        items: items.0,
        place: AtomicUsize::new(0),
    }))
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "current" => self.items.get(self.place.load(Ordering::Relaxed)).cloned(),
            "pos" => Some(Value::from(self.place.load(Ordering::Relaxed))),
            "items" => Some(Value::from(Tuple::from(self.items.clone()))),
            _ => None,
        }
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        name: &str,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        let [] = bind(name, [], arguments)?;
        match name {
            "next" => {
                let place = self.place.load(Ordering::Relaxed);
                self.place
                    .store((place + 1) % self.items.len(), Ordering::Relaxed);
                Ok(self.items.get(place).cloned().unwrap_or_default())
            }
            "reset" => {
                self.place.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

fn joiner(arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [separator] = bind("joiner", ["sep"], &arguments.into_values())?;
    Ok(Value::from_object(Joiner {
        separator: separator.map_or_else(|| ", ".to_owned(), |separator| text(&separator)),
        was_called: AtomicBool::new(false),
    }))
}

/// Returns an empty text at the first call, then its separator.
#[derive(Debug)]
struct Joiner {
    separator: String,
    was_called: AtomicBool,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, arguments: &[Value]) -> Result<Value, Error> {
        let [] = bind("joiner", [], arguments)?;
        let was_called = self.was_called.swap(true, Ordering::Relaxed);
        Ok(Value::from(if was_called { self.separator.as_str() } else { "" }))
    }
}

fn dict(state: &State<'_, '_>, value: Option<Value>, others: Kwargs) -> Result<Value, Error> {
    if let Some(value) = &value {
        looped(state, value.clone())?;
    }
    let is_list = value.as_ref().is_some_and(|value| value.kind() == ValueKind::Seq);
    let value = if is_list {
        value.as_ref().map(of_pairs).transpose()?
    } else {
        value
    };
    let result = functions::dict(value, others)?;
    measure(state, &result)?;
    Ok(result)
}

/// A dictionary from a list of pairs.
fn of_pairs(pairs: &Value) -> Result<Value, Error> {
    let pair = |pair: Value| Ok((pair.get_item_by_index(0)?, pair.get_item_by_index(1)?));
    let pairs = pairs.try_iter()?.map(pair).collect::<Result<Vec<_>, Error>>()?;
    Ok(Value::from_pairs(pairs))
}

fn namespace(state: &State<'_, '_>, values: Option<ValueOrKwargs>) -> Result<Value, Error> {
    if let Some(values) = &values {
        measure_kept(state, values)?;
    }
    functions::namespace(values)
}

/// The names under which a macro gets additional arguments.
pub(super) const VARARGS: &str = "varargs";
pub(super) const KWARGS: &str = "kwargs";

/// Wraps a macro that uses `varargs` or `kwargs`, so that it gets additional arguments.
pub(super) fn variadic(value: Value) -> Result<Value, Error> {
    let names: Vec<String> = value
        .get_attr("arguments")?
        .try_iter()?
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    Ok(Value::from_object(Variadic { inner: value, names }))
}

#[derive(Debug)]
struct Variadic {
    inner: Value,
    /// The declared arguments, including the two hidden ones.
    names: Vec<String>,
}

impl Variadic {
    fn takes(&self, hidden: &str) -> bool {
        self.names.iter().any(|name| name == hidden)
    }

    /// The declared arguments without the hidden ones.
    fn declared(&self) -> impl Iterator<Item = &str> {
        let names = self.names.iter().map(String::as_str);
        names.filter(|name| ![VARARGS, KWARGS].contains(name))
    }
}

impl Object for Variadic {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "arguments" => Some(Value::from(Tuple::from(
                self.declared().map(Value::from).collect::<Vec<_>>(),
            ))),
            "catch_varargs" => Some(Value::from(self.takes(VARARGS))),
            "catch_kwargs" => Some(Value::from(self.takes(KWARGS))),
            name => self.inner.get_attr(name).ok(),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, arguments: &[Value]) -> Result<Value, Error> {
        let (by_position, by_name) = split_keywords(arguments);
        let count = self.declared().count().min(by_position.len());
        let (first, rest) = by_position.split_at(count);
        if !rest.is_empty() && !self.takes(VARARGS) {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        let mut passed = Vec::new();
        let mut others = Vec::new();
        for name in by_name.iter().flat_map(Kwargs::args) {
            let value = by_name
                .as_ref()
                .map_or(Ok(Value::UNDEFINED), |names| names.get::<Value>(name))?;
            if name == "caller" || self.declared().any(|declared| declared == name) {
                passed.push((name.to_owned(), value));
            } else {
                others.push((name.to_owned(), value));
            }
        }
        if self.takes(KWARGS) {
            passed.push((KWARGS.to_owned(), Value::from_pairs(others)));
        } else {
            passed.extend(others);
        }
        if self.takes(VARARGS) {
            passed.push((VARARGS.to_owned(), Value::from(Tuple::from(rest))));
        }
        for (_, value) in &passed {
            measure(state, value)?;
        }
        let mut arguments = first.to_vec();
        arguments.push(Value::from(Kwargs::from_iter(passed)));
        self.inner.call(state, &arguments)
    }

    fn render(self: &Arc<Self>, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.inner)
    }
}
