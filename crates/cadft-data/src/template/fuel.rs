//! The cost of operations on values, paid from the fuel of the rendering before they run.
//!
//! Units are the engine's: a byte costs 1, a list item 32, and 64 units are one fuel.

use minijinja::value::{DynObject, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};

use super::objects::held;

/// The cost of one value, in units.
pub(super) const ITEM: u64 = 32;

const UNITS: u64 = 64;

/// Largest nesting depth of lists and dictionaries. They are written, compared and freed recursively. JSON is limited
/// to a depth of 128 when it is read.
pub(super) const DEEPEST: usize = 200;

/// Subtracts units from the remaining fuel; an error if they exceed it.
pub(super) fn pay(state: &State<'_, '_>, units: u64) -> Result<(), Error> {
    if units < UNITS {
        return Ok(());
    }
    state.consume_fuel(units / UNITS)
}

/// An error if the remaining fuel is less than `units`; nothing is subtracted.
pub(super) fn afford(state: &State<'_, '_>, units: u64) -> Result<(), Error> {
    if units <= left(state) {
        return Ok(());
    }
    state.consume_fuel(u64::MAX)
}

/// The remaining fuel in units.
pub(super) fn left(state: &State<'_, '_>) -> u64 {
    state
        .fuel_levels()
        .map_or(u64::MAX, |(_, left)| left.saturating_mul(UNITS))
}

/// Cost of walking a value and everything it contains; a shared value counts once per reference. An error if the cost
/// exceeds the remaining fuel.
pub(super) fn weight(state: &State<'_, '_>, value: &Value) -> Result<u64, Error> {
    walk(state, value, Objects::All)
}

/// Pays the [`weight`] of a value.
pub(super) fn measure(state: &State<'_, '_>, value: &Value) -> Result<u64, Error> {
    let units = weight(state, value)?;
    pay(state, units)?;
    Ok(units)
}

/// Like [`measure`], for a value that an object will store. It must not contain objects that can later store others;
/// otherwise chains or cycles would be possible.
pub(super) fn measure_kept(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let units = walk(state, value, Objects::Fixed)?;
    pay(state, units)
}

/// Which objects a value may contain.
#[derive(Clone, Copy, PartialEq)]
enum Objects {
    All,
    /// All except namespaces and loops, which are mutable.
    Fixed,
}

fn walk(state: &State<'_, '_>, value: &Value, objects: Objects) -> Result<u64, Error> {
    let Some(object) = value.as_object() else {
        return Ok(ITEM + bytes(value));
    };
    let mut walk = Walk {
        left: left(state),
        spent: ITEM,
        objects,
    };
    match walk.visit(object, 0) {
        Ok(()) => Ok(walk.spent),
        // All fuel is consumed, so that the rendering cannot continue.
        Err(Stop::Spent) => Err(state.consume_fuel(u64::MAX).err().unwrap_or_else(out_of_fuel)),
        Err(Stop::Refused(message)) => Err(Error::new(ErrorKind::OutOfFuel, message)),
    }
}

fn out_of_fuel() -> Error {
    Error::from(ErrorKind::OutOfFuel)
}

fn bytes(value: &Value) -> u64 {
    value.as_str().map_or(0, |text| text.len() as u64)
}

struct Walk {
    left: u64,
    spent: u64,
    objects: Objects,
}

/// Why a walk stops early.
enum Stop {
    Spent,
    Refused(String),
}

impl Walk {
    fn item(&mut self, value: &Value, depth: usize) -> Result<(), Stop> {
        self.spent += ITEM + bytes(value);
        if self.spent > self.left {
            return Err(Stop::Spent);
        }
        match value.as_object() {
            Some(object) => self.visit(object, depth),
            None => Ok(()),
        }
    }

    fn visit(&mut self, object: &DynObject, depth: usize) -> Result<(), Stop> {
        if depth == DEEPEST {
            let message = format!("it nests lists and dictionaries deeper than {DEEPEST}");
            return Err(Stop::Refused(message));
        }
        if self.objects == Objects::Fixed && is_changing(object) {
            let message = "it keeps a namespace or a loop in an object".to_owned();
            return Err(Stop::Refused(message));
        }
        for item in held(object) {
            self.item(item, depth + 1)?;
        }
        if object.repr() == ObjectRepr::Map {
            for (key, value) in object.try_iter_pairs().into_iter().flatten() {
                self.item(&key, depth + 1)?;
                self.item(&value, depth + 1)?;
            }
        } else if let Some(items) = object.downcast_ref::<Vec<Value>>() {
            for item in items {
                self.item(item, depth + 1)?;
            }
        } else {
            for item in object.try_iter().into_iter().flatten() {
                self.item(&item, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// Converts a lazily joined list, the possible result of an operation, to a real list.
pub(super) fn settled(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    let Some(object) = value
        .as_object()
        .filter(|object| object.repr() == ObjectRepr::Iterable)
    else {
        return Ok(value);
    };
    let known = object.enumerator_len();
    let cost = known.map_or(0, |len| (len as u64).saturating_mul(ITEM));
    afford(state, cost)?;
    pay(state, cost)?;
    let mut items = Vec::new();
    for item in value.try_iter()?.checked() {
        if known.is_none() {
            state.consume_fuel(1)?;
        }
        items.push(item?);
    }
    Ok(Value::from(items))
}

/// Pays for a value before a loop over it.
pub(super) fn looped(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    let len = match (value.as_str(), value.as_object()) {
        (Some(text), _) => text.len(),
        (_, Some(object)) => object.enumerator_len().unwrap_or(0),
        _ => 0,
    };
    pay(state, (len as u64).saturating_mul(ITEM))?;
    Ok(value)
}

fn is_changing(object: &DynObject) -> bool {
    let name = object.type_name();
    name.ends_with("::Namespace") || name.ends_with("::Loop")
}
