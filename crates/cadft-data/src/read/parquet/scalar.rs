//! Values of columns as JSON: the meaning of a row does not depend on the kind of file.
//!
//! Dates and times become ISO 8601 strings. Values that JSON cannot express are refused.

use half::f16;
use parquet::basic::{ConvertedType, IntType, LogicalType, TimeUnit, Type as Physical};
use parquet::schema::types::Type;
use serde_json::{Number, Value};

use super::hint::{Arrow, Hint, Unit};
use super::number::{MAX_DECIMAL_BYTES, decimal, float32, not_finite};
use super::time::{DAY, Zone, clock, date, fraction, interval, shown_instant};
use crate::shown::short;

/// Largest number of digits behind the point of a decimal.
const MAX_SCALE: i32 = 127;

/// What the values of a column are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    /// Every value is null.
    Null,
    Flag,
    Signed,
    /// Integers of 32 or fewer bits, or of 64.
    Unsigned,
    Half,
    Float,
    /// Bytes of UTF-8; `is_text` if the file says that they are text.
    Text {
        is_text: bool,
        is_json: bool,
    },
    Decimal {
        scale: usize,
    },
    Date,
    Time(Unit),
    Timestamp(Unit, Zone),
    /// Nanoseconds of a day and the day's Julian number.
    JulianTimestamp(Zone),
    Duration(Unit),
    /// Months, days and milliseconds.
    Interval,
}

/// A value of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Raw<'a> {
    Flag(bool),
    Int32(i32),
    Int64(i64),
    /// The words of a 96-bit integer, the lowest first.
    Int96([u32; 3]),
    Float32(f32),
    Float64(f64),
    Bytes(&'a [u8]),
}

impl Scalar {
    /// The values of a column; an error is a reason why they are not read.
    pub(super) fn new(of: &Type, hint: Option<&Hint>) -> Result<Self, String> {
        let info = of.get_basic_info();
        let (logical, converted) = (info.logical_type_ref(), info.converted_type());
        if let Some(LogicalType::Unknown) = logical {
            return Ok(Self::Null);
        }
        let Type::PrimitiveType {
            scale, type_length, ..
        } = of
        else {
            return Err(unread("a group"));
        };
        let found = match of.get_physical_type() {
            Physical::BOOLEAN => Some(Self::Flag),
            Physical::INT32 => int32(logical, converted, *scale),
            Physical::INT64 => int64(logical, converted, *scale),
            Physical::INT96 => Some(Self::JulianTimestamp(Zone::None)),
            Physical::FLOAT | Physical::DOUBLE => Some(Self::Float),
            Physical::BYTE_ARRAY => byte_array(logical, converted, *scale),
            Physical::FIXED_LEN_BYTE_ARRAY => fixed(logical, converted, *scale, *type_length),
        };
        let found = found.ok_or_else(|| {
            let logical = logical.map_or_else(|| converted.to_string(), |logical| format!("{logical:?}"));
            unread(&format!("{} as {logical}", of.get_physical_type()))
        })?;
        Ok(match hint {
            Some(hint) => found.hinted(of.get_physical_type(), hint),
            None => found,
        })
    }

    /// The values as the program meant them that wrote the file.
    fn hinted(self, physical: Physical, hint: &Hint) -> Self {
        let is_32 = physical == Physical::INT32;
        match (self, &hint.of) {
            (Self::Text { is_text, .. }, of) => Self::Text {
                is_text: is_text || *of == Arrow::Text,
                is_json: hint.is_json,
            },
            (Self::Signed, Arrow::Timestamp(unit, zone)) => Self::Timestamp(*unit, Zone::of(zone.as_deref())),
            (Self::Signed, Arrow::Time(unit)) if is_32 == matches!(unit, Unit::Second | Unit::Milli) => {
                Self::Time(*unit)
            }
            (Self::Signed, Arrow::Duration(unit)) if !is_32 => Self::Duration(*unit),
            (Self::Signed, Arrow::Date64) if !is_32 => Self::Timestamp(Unit::Milli, Zone::None),
            (Self::Date, Arrow::Date64) => Self::Timestamp(Unit::Day, Zone::None),
            (Self::Timestamp(unit, _), Arrow::Timestamp(same, zone @ Some(_))) if unit == *same => {
                Self::Timestamp(unit, Zone::of(zone.as_deref()))
            }
            (Self::JulianTimestamp(_), Arrow::Timestamp(_, zone)) => {
                Self::JulianTimestamp(Zone::of(zone.as_deref()))
            }
            (other, _) => other,
        }
    }

    /// A value of such a column; text is the caller's.
    pub(super) fn value(&self, raw: Raw<'_>) -> Result<Value, String> {
        match (self, raw) {
            (Self::Null, _) => Ok(Value::Null),
            (Self::Flag, Raw::Flag(value)) => Ok(Value::from(value)),
            (Self::Signed, Raw::Int32(value)) => Ok(Value::from(value)),
            (Self::Signed, Raw::Int64(value)) => Ok(Value::from(value)),
            (Self::Unsigned, Raw::Int32(value)) => Ok(Value::from(value.cast_unsigned())),
            (Self::Unsigned, Raw::Int64(value)) => Ok(Value::from(value.cast_unsigned())),
            (Self::Half, Raw::Bytes(&[low, high])) => float32(f16::from_le_bytes([low, high]).to_f32()),
            (Self::Float, Raw::Float32(value)) => float32(value),
            (Self::Float, Raw::Float64(value)) => {
                let number = Number::from_f64(value).map(Value::Number);
                number.ok_or_else(|| not_finite(&value))
            }
            (Self::Decimal { scale }, Raw::Int32(value)) => decimal(&value.to_be_bytes(), *scale),
            (Self::Decimal { scale }, Raw::Int64(value)) => decimal(&value.to_be_bytes(), *scale),
            (Self::Decimal { scale }, Raw::Bytes(bytes)) => decimal(bytes, *scale),
            (Self::Interval, Raw::Bytes(bytes)) => interval(bytes),
            (Self::JulianTimestamp(zone), Raw::Int96([low, high, day])) => {
                /// The Julian number of 1970-01-01.
                const EPOCH: i64 = 2_440_588;
                let nanos = i128::from(u64::from(high) << 32 | u64::from(low));
                shown_instant(
                    i128::from(i64::from(day) - EPOCH) * i128::from(DAY) * 1_000_000_000 + nanos,
                    *zone,
                )
            }
            (_, Raw::Int32(value)) => self.time(i64::from(value)),
            (_, Raw::Int64(value)) => self.time(value),
            _ => Err("a value of another kind than its column".to_owned()),
        }
    }

    fn time(&self, count: i64) -> Result<Value, String> {
        match self {
            Self::Date => date(count).map(|date| Value::from(date.to_string())),
            Self::Time(unit) => {
                let nanos = unit.nanos(count);
                let of_day = 0..i128::from(DAY) * 1_000_000_000;
                if !of_day.contains(&nanos) {
                    return Err(format!("{count} is no time of a day"));
                }
                Ok(Value::from(clock(nanos)))
            }
            Self::Timestamp(unit, zone) => shown_instant(unit.nanos(count), *zone),
            Self::Duration(unit) => {
                let nanos = unit.nanos(count);
                let sign = if nanos < 0 { "-" } else { "" };
                let (seconds, part) = (
                    nanos.unsigned_abs() / 1_000_000_000,
                    nanos.unsigned_abs() % 1_000_000_000,
                );
                Ok(Value::from(match nanos {
                    0 => "P0D".to_owned(),
                    _ => format!("{sign}PT{seconds}{}S", fraction(part, 1)),
                }))
            }
            _ => Err("a number in a column of something else".to_owned()),
        }
    }
}

impl Unit {
    fn nanos(self, count: i64) -> i128 {
        let nanos = match self {
            Self::Day => i128::from(DAY) * 1_000_000_000,
            Self::Second => 1_000_000_000,
            Self::Milli => 1_000_000,
            Self::Micro => 1000,
            Self::Nano => 1,
        };
        i128::from(count) * nanos
    }
}

fn int32(logical: Option<&LogicalType>, converted: ConvertedType, scale: i32) -> Option<Scalar> {
    use ConvertedType as Old;
    match (logical, converted) {
        (Some(LogicalType::Integer(of)), _) if of.bit_width <= 32 => Some(integer(of)),
        (Some(LogicalType::Decimal(of)), _) => decimals(of.scale),
        (Some(LogicalType::Date), _) | (None, Old::DATE) => Some(Scalar::Date),
        (Some(LogicalType::Time(of)), _) if of.unit == TimeUnit::MILLIS => Some(Scalar::Time(Unit::Milli)),
        (None, Old::TIME_MILLIS) => Some(Scalar::Time(Unit::Milli)),
        (None, Old::NONE | Old::INT_8 | Old::INT_16 | Old::INT_32) => Some(Scalar::Signed),
        (None, Old::UINT_8 | Old::UINT_16 | Old::UINT_32) => Some(Scalar::Unsigned),
        (None, Old::DECIMAL) => decimals(scale),
        _ => None,
    }
}

fn int64(logical: Option<&LogicalType>, converted: ConvertedType, scale: i32) -> Option<Scalar> {
    use ConvertedType as Old;
    match (logical, converted) {
        (Some(LogicalType::Integer(of)), _) if of.bit_width == 64 => Some(integer(of)),
        (Some(LogicalType::Decimal(of)), _) => decimals(of.scale),
        (Some(LogicalType::Time(of)), _) if of.unit != TimeUnit::MILLIS => Some(Scalar::Time(of.unit.into())),
        (Some(LogicalType::Timestamp(of)), _) => {
            let zone = if of.is_adjusted_to_u_t_c {
                Zone::UTC
            } else {
                Zone::None
            };
            Some(Scalar::Timestamp(of.unit.into(), zone))
        }
        (None, Old::NONE | Old::INT_64) => Some(Scalar::Signed),
        (None, Old::UINT_64) => Some(Scalar::Unsigned),
        (None, Old::TIME_MICROS) => Some(Scalar::Time(Unit::Micro)),
        (None, Old::TIMESTAMP_MILLIS) => Some(Scalar::Timestamp(Unit::Milli, Zone::UTC)),
        (None, Old::TIMESTAMP_MICROS) => Some(Scalar::Timestamp(Unit::Micro, Zone::UTC)),
        (None, Old::DECIMAL) => decimals(scale),
        _ => None,
    }
}

fn integer(of: &IntType) -> Scalar {
    if of.is_signed {
        Scalar::Signed
    } else {
        Scalar::Unsigned
    }
}

impl From<TimeUnit> for Unit {
    fn from(unit: TimeUnit) -> Self {
        match unit {
            TimeUnit::MILLIS => Self::Milli,
            TimeUnit::MICROS => Self::Micro,
            TimeUnit::NANOS => Self::Nano,
        }
    }
}

fn byte_array(logical: Option<&LogicalType>, converted: ConvertedType, scale: i32) -> Option<Scalar> {
    use ConvertedType as Old;
    let text = |is_text, is_json| Some(Scalar::Text { is_text, is_json });
    match (logical, converted) {
        (Some(LogicalType::Json), _) => text(true, true),
        (Some(LogicalType::String), _) | (None, Old::UTF8 | Old::JSON) => text(true, false),
        (Some(LogicalType::Decimal(of)), _) => decimals(of.scale),
        (None, Old::DECIMAL) => decimals(scale),
        (
            Some(
                LogicalType::Bson
                | LogicalType::Enum
                | LogicalType::Geometry { .. }
                | LogicalType::Geography { .. }
                | LogicalType::_Unknown { .. },
            ),
            _,
        )
        | (None, Old::NONE | Old::BSON | Old::ENUM) => text(false, false),
        _ => None,
    }
}

fn fixed(logical: Option<&LogicalType>, converted: ConvertedType, scale: i32, length: i32) -> Option<Scalar> {
    let is_decimal = (1..=MAX_DECIMAL_BYTES as i32).contains(&length);
    match (logical, converted) {
        (Some(LogicalType::Decimal(of)), _) => decimals(of.scale).filter(|_| is_decimal),
        (None, ConvertedType::DECIMAL) => decimals(scale).filter(|_| is_decimal),
        (None, ConvertedType::INTERVAL) => (length == 12).then_some(Scalar::Interval),
        (Some(LogicalType::Float16), _) => (length == 2).then_some(Scalar::Half),
        _ => Some(Scalar::Text {
            is_text: false,
            is_json: false,
        }),
    }
}

fn decimals(scale: i32) -> Option<Scalar> {
    let scale = usize::try_from(scale).ok().filter(|_| scale <= MAX_SCALE)?;
    Some(Scalar::Decimal { scale })
}

/// The reason for a type that no value is made of.
pub(super) fn unread(what: &str) -> String {
    format!("of a type that is not read, `{}`", short(what))
}

#[cfg(test)]
mod tests;
