//! Values of columns as JSON: the meaning of a row does not depend on the kind of file.
//!
//! Text and UTF-8 bytes become strings. Text in a JSON column is parsed. Dates and times become ISO 8601 strings.
//! Values that JSON cannot express are refused. A null in a struct is an absent key, because every struct of a column
//! has every key.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{DataType, Field};
use serde_json::{Map, Number, Value};

use super::super::MAX_RECORD_BYTES;
use super::super::jsonl::too_long;
use crate::exact;
use crate::shown::short;

/// Smallest size that is counted for a value: a list of nulls takes no bytes in a file.
const LEAST_BYTES: usize = 16;

/// Why values of a type cannot be in a row; `None` if they can.
pub(super) fn refused(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => refused(item.data_type()),
        DataType::Struct(fields) => fields.iter().find_map(|field| refused(field.data_type())),
        DataType::Dictionary(_, values) => refused(values),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 && is_text(pair[0].data_type()) => {
                refused(pair[1].data_type())
            }
            _ => Some("a map whose keys are no strings".to_owned()),
        },
        DataType::Union(..) | DataType::RunEndEncoded(..) => Some(format!(
            "of a type that is not read, `{}`",
            short(&data_type.to_string())
        )),
        _ => None,
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        other => matches!(other, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
    }
}

/// Converts the values of one row, up to a limit of bytes.
pub(super) struct Values {
    left: usize,
}

impl Values {
    pub(super) fn new() -> Self {
        Self {
            left: MAX_RECORD_BYTES,
        }
    }

    /// Number of bytes counted so far.
    pub(super) fn used(&self) -> usize {
        MAX_RECORD_BYTES - self.left
    }

    /// The value of a column in a row; an error begins with the place within the column.
    pub(super) fn value(&mut self, field: &Field, array: &dyn Array, row: usize) -> Result<Value, String> {
        self.take(LEAST_BYTES)?;
        if array.is_null(row) {
            return Ok(Value::Null);
        }
        match array.data_type() {
            DataType::Null => Ok(Value::Null),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => self.text(field, text(array, row)),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => {
                let bytes = bytes(array, row);
                let text = str::from_utf8(bytes).map_err(|error| {
                    let at = error.valid_up_to() + 1;
                    format!("bytes that are no UTF-8 text, at byte {at}; write it as text")
                })?;
                self.text(field, text)
            }
            DataType::Dictionary(..) => {
                let array = array.as_any_dictionary();
                let index = self.value(field, array.keys(), row)?;
                let index = index.as_u64().and_then(|index| usize::try_from(index).ok());
                match index.filter(|&index| index < array.values().len()) {
                    Some(index) => self.value(field, array.values(), index),
                    None => Err("an entry of no dictionary".to_owned()),
                }
            }
            DataType::Struct(_) | DataType::Map(..) => self.object(array, row),
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _) => self.list(item, &items(array, row)),
            _ => scalar(array, row),
        }
    }

    /// A string, or the parsed value if the column is JSON.
    fn text(&mut self, field: &Field, text: &str) -> Result<Value, String> {
        self.take(text.len())?;
        if field.extension_type_name() == Some("arrow.json") {
            exact::value(text)
        } else {
            Ok(Value::from(text))
        }
    }

    fn list(&mut self, item: &Field, values: &ArrayRef) -> Result<Value, String> {
        let value = |index| {
            let value = self.value(item, values, index);
            value.map_err(|message| within(&format!("[{index}]"), &message))
        };
        (0..values.len())
            .map(value)
            .collect::<Result<_, _>>()
            .map(Value::Array)
    }

    fn object(&mut self, array: &dyn Array, row: usize) -> Result<Value, String> {
        let mut object = Map::new();
        if let Some(map) = array.as_map_opt() {
            let entries = map.value(row);
            let [key_field, field] = [&entries.fields()[0], &entries.fields()[1]];
            for index in 0..entries.len() {
                let key = self.value(key_field, entries.column(0), index)?;
                let key = key.as_str().unwrap_or_default().to_owned();
                let value = self.value(field, entries.column(1), index);
                let value = value.map_err(|message| within(&format!(".{key}"), &message))?;
                object.insert(key, value);
            }
        } else {
            let fields = array.as_struct();
            for (field, column) in fields.fields().iter().zip(fields.columns()) {
                let value = self.value(field, column, row);
                let value = value.map_err(|message| within(&format!(".{}", field.name()), &message))?;
                if !value.is_null() {
                    object.insert(field.name().clone(), value);
                }
            }
        }
        Ok(Value::Object(object))
    }

    fn take(&mut self, bytes: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(bytes).ok_or_else(too_long)?;
        Ok(())
    }
}

/// Puts a step before the place at the start of a message. Place and message are separated by a tab until they are
/// shown.
fn within(step: &str, message: &str) -> String {
    let (place, message) = message.split_once('\t').unwrap_or(("", message));
    format!("{}{place}\t{message}", short(step))
}

/// The message about a value of a column.
pub(super) fn shown(column: &str, message: &str) -> String {
    let (place, message) = message.split_once('\t').unwrap_or(("", message));
    format!("`{}{}`: {message}", short(column), short(place))
}

fn text(array: &dyn Array, row: usize) -> &str {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        _ => array.as_string_view().value(row),
    }
}

fn bytes(array: &dyn Array, row: usize) -> &[u8] {
    match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value(row),
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().value(row),
        _ => array.as_binary_view().value(row),
    }
}

fn items(array: &dyn Array, row: usize) -> ArrayRef {
    match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::ListView(_) => array.as_list_view::<i32>().value(row),
        DataType::LargeListView(_) => array.as_list_view::<i64>().value(row),
        _ => array.as_fixed_size_list().value(row),
    }
}

/// A value without parts.
fn scalar(array: &dyn Array, row: usize) -> Result<Value, String> {
    macro_rules! integer {
        ($type:ty) => {
            Ok(Value::from(array.as_primitive::<$type>().value(row)))
        };
    }
    match array.data_type() {
        DataType::Boolean => Ok(Value::from(array.as_boolean().value(row))),
        DataType::Int8 => integer!(Int8Type),
        DataType::Int16 => integer!(Int16Type),
        DataType::Int32 => integer!(Int32Type),
        DataType::Int64 => integer!(Int64Type),
        DataType::UInt8 => integer!(UInt8Type),
        DataType::UInt16 => integer!(UInt16Type),
        DataType::UInt32 => integer!(UInt32Type),
        DataType::UInt64 => integer!(UInt64Type),
        DataType::Float16 => float(&array.as_primitive::<Float16Type>().value(row).to_string()),
        // The shortest decimal form is what was written: 0.1, not 0.10000000149.
        DataType::Float32 => float(&array.as_primitive::<Float32Type>().value(row).to_string()),
        DataType::Float64 => float(&array.as_primitive::<Float64Type>().value(row).to_string()),
        DataType::Decimal32(precision, scale) => {
            let value = array.as_primitive::<Decimal32Type>().value(row);
            decimal(&Decimal32Type::format_decimal(value, *precision, *scale))
        }
        DataType::Decimal64(precision, scale) => {
            let value = array.as_primitive::<Decimal64Type>().value(row);
            decimal(&Decimal64Type::format_decimal(value, *precision, *scale))
        }
        DataType::Decimal128(precision, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            decimal(&Decimal128Type::format_decimal(value, *precision, *scale))
        }
        DataType::Decimal256(precision, scale) => {
            let value = array.as_primitive::<Decimal256Type>().value(row);
            decimal(&Decimal256Type::format_decimal(value, *precision, *scale))
        }
        _ => array_value_to_string(array, row)
            .map(Value::from)
            .map_err(|error| short(&error.to_string()).into_owned()),
    }
}

fn float(shown: &str) -> Result<Value, String> {
    let number = shown.parse().ok().and_then(Number::from_f64);
    number
        .map(Value::Number)
        .ok_or_else(|| format!("expected a finite number, found `{shown}`"))
}

/// Parses a number as JSON text.
fn decimal(shown: &str) -> Result<Value, String> {
    exact::value(shown)
}
