//! `value[start:stop:step]` with Python's rules.

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::fuel::looped;

/// `value[start:stop:step]`; the engine's version is lazy for lists.
pub(super) fn slice(
    state: &State<'_, '_>,
    value: &Value,
    start: Value,
    stop: Value,
    step: Value,
) -> Result<Value, Error> {
    let number = |bound: Value| match bound.is_none() {
        true => Ok(None),
        false => i64::try_from(bound).map(Some),
    };
    let (start, stop) = (number(start)?, number(stop)?);
    let step = number(step)?.unwrap_or(1);
    if step == 0 {
        let message = "cannot slice by step size of 0";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    if value.is_undefined() || value.is_none() {
        return Ok(Value::from(Vec::<Value>::new()));
    }
    if let Some(text) = value.as_str() {
        let letters: Vec<char> = text.chars().collect();
        let chosen = places(letters.len(), start, stop, step);
        return Ok(Value::from(chosen.map(|at| letters[at]).collect::<String>()));
    }
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        let message = format!("value of type {} cannot be sliced", value.kind());
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    looped(state, value.clone())?;
    let items = value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
    let chosen = places(items.len(), start, stop, step).map(|at| items[at].clone());
    Ok(if value.is_tuple() {
        Value::from(Tuple::from(chosen.collect::<Vec<_>>()))
    } else {
        Value::from(chosen.collect::<Vec<_>>())
    })
}

/// The indices that Python's `start:stop:step` selects from `len` items.
fn places(len: usize, start: Option<i64>, stop: Option<i64>, step: i64) -> impl Iterator<Item = usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let (lowest, highest) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |bound: i64| match bound < 0 {
        true => bound.saturating_add(len).max(lowest),
        false => bound.min(highest),
    };
    let (first, last) = if step > 0 {
        (lowest, highest)
    } else {
        (highest, lowest)
    };
    let end = stop.map_or(last, clamp);
    let mut next = Some(start.map_or(first, clamp));
    std::iter::from_fn(move || {
        let at = next.filter(|at| if step > 0 { *at < end } else { *at > end })?;
        next = at.checked_add(step);
        usize::try_from(at).ok()
    })
}
