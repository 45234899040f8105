//! Numbers as JSON: the value of the shortest text, with no digit lost.

use serde_json::{Number, Value};

use crate::exact;

/// Largest number of bytes of a decimal.
pub(super) const MAX_DECIMAL_BYTES: usize = 32;

/// The shortest decimal form is what was written: 0.1, not 0.10000000149.
pub(super) fn float32(value: f32) -> Result<Value, String> {
    let number = value.to_string().parse().ok().and_then(Number::from_f64);
    number.map(Value::Number).ok_or_else(|| not_finite(&value))
}

pub(super) fn not_finite(value: &dyn std::fmt::Display) -> String {
    format!("expected a finite number, found `{value}`")
}

/// A number in two's complement, the highest byte first, with `scale` digits behind the point.
pub(super) fn decimal(bytes: &[u8], scale: usize) -> Result<Value, String> {
    if bytes.is_empty() || bytes.len() > MAX_DECIMAL_BYTES {
        return Err(format!("a decimal of {} bytes", bytes.len()));
    }
    let is_negative = bytes[0] >= 128;
    let mut digits = magnitude(bytes, is_negative);
    if scale > 0 {
        let zeros = (scale + 1).saturating_sub(digits.len());
        digits.insert_str(0, &"0".repeat(zeros));
        digits.insert(digits.len() - scale, '.');
    }
    let sign = if is_negative { "-" } else { "" };
    exact::value(&format!("{sign}{digits}"))
}

/// The decimal digits of a number without its sign.
pub(super) fn magnitude(bytes: &[u8], is_negative: bool) -> String {
    const BILLION: u64 = 1_000_000_000;
    if bytes.len() <= 16 {
        let fill = if is_negative { 255 } else { 0 };
        let mut all = [fill; 16];
        all[16 - bytes.len()..].copy_from_slice(bytes);
        return i128::from_be_bytes(all).unsigned_abs().to_string();
    }
    let mut bytes = bytes.to_vec();
    if is_negative {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    let mut parts = Vec::new();
    while bytes.iter().any(|&byte| byte != 0) {
        let mut rest = 0;
        for byte in &mut bytes {
            let number = rest << 8 | u64::from(*byte);
            *byte = (number / BILLION) as u8;
            rest = number % BILLION;
        }
        parts.push(rest);
    }
    let first = parts.pop().unwrap_or(0).to_string();
    parts
        .iter()
        .rev()
        .fold(first, |digits, part| format!("{digits}{part:09}"))
}
