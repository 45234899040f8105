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
