//! Arithmetic with Python's rules.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::python::invalid;

/// `left % right` for numbers: the remainder has the sign of the divisor.
pub(super) fn modulo(left: &Value, right: &Value) -> Result<Value, Error> {
    let is_number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !is_number(left) || !is_number(right) {
        let message = format!("`%` takes numbers, not {} and {}", left.kind(), right.kind());
        return Err(invalid(message));
    }
    if let (Some(left), Some(right)) = (integer(left), integer(right)) {
        let rest = left
            .checked_rem_euclid(right)
            .ok_or_else(|| invalid("division by zero"))?;
        // The Euclidean remainder is never negative.
        let rest = if right < 0 && rest != 0 {
            rest + right
        } else {
            rest
        };
        return Ok(Value::from(rest));
    }
    let (left, right) = (number(left)?, number(right)?);
    if right == 0.0 {
        return Err(invalid("division by zero"));
    }
    let rest = left % right;
    Ok(Value::from(if rest == 0.0 {
        0.0_f64.copysign(right)
    } else if (rest < 0.0) == (right < 0.0) {
        rest
    } else {
        rest + right
    }))
}

fn integer(value: &Value) -> Option<i128> {
    match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        _ if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    }
}

fn number(value: &Value) -> Result<f64, Error> {
    match value.kind() {
        ValueKind::Bool => Ok(f64::from(u8::from(value.is_true()))),
        _ => f64::try_from(value.clone()),
    }
}
