//! The JSON Schema of a recipe, for editors and other programs.

use super::Recipe;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The JSON Schema (draft 7) of a recipe: every key with its type, its default, and where the default comes from.
///
/// ```
/// let schema = cadft_train::config::schema();
/// let lr = &schema["properties"]["optimizer"]["properties"]["lr"];
/// assert_eq!(lr["default"], 5e-5);
/// assert_eq!(lr["description"], "Peak learning rate; the DFT code's: 5e-5.");
/// ```
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Recipe>();
    schema.insert("title".to_owned(), "Recipe of cadft".into());
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// Calls `visit` with the path and the schema of every key below.
    fn keys(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
        match schema {
            Value::Object(fields) => {
                for (name, of) in fields {
                    if name != "properties" {
                        keys(path, of, visit);
                    }
                }
                for (key, of) in fields
                    .get("properties")
                    .and_then(Value::as_object)
                    .into_iter()
                    .flatten()
                {
                    let path = format!("{path}.{key}");
                    visit(&path, of);
                    keys(&path, of, visit);
                }
            }
            Value::Array(items) => items.iter().for_each(|of| keys(path, of, visit)),
            _ => {}
        }
    }

    #[test]
    fn every_key_of_a_recipe_is_described_in_a_sentence() {
        let (mut found, mut bare) = (0, vec![]);
        keys("", &super::schema(), &mut |path, of| {
            found += 1;
            let about = of["description"].as_str().unwrap_or_default();
            if !about.trim_end().ends_with('.') {
                bare.push(format!("{path}: {about:?}"));
            }
        });
        assert!(found > 80, "only {found} keys");
        assert!(bare.is_empty(), "{bare:#?}");
    }
}
