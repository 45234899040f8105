//! JSON Schemas of what is printed, from the types that are printed.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The schema of a type, whole: it refers to nothing. A number that may be infinite or none is written as `null`.
pub(crate) fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().for_serialize();
    let settings = settings.with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    each(&mut schema, &mut |part| {
        if part.get("type") == Some(&json!("number")) {
            part.insert("type".to_owned(), json!(["number", "null"]));
        }
    });
    schema
}

fn each(value: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(part) => {
            change(part);
            part.values_mut().for_each(|value| each(value, change));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| each(value, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(JsonSchema)]
    struct Inner {
        _number: f64,
    }

    #[derive(JsonSchema)]
    struct Outer {
        _inner: Vec<Inner>,
    }

    #[test]
    fn a_schema_is_whole_and_a_number_may_be_none() {
        let schema = schema::<Outer>();
        assert!(!schema.to_string().contains("$ref"), "{schema}");
        let number = schema.pointer("/properties/_inner/items/properties/_number/type");
        assert_eq!(number, Some(&json!(["number", "null"])));
    }
}
