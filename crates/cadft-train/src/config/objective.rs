//! The objective of a recipe: a member of the family by name, or one of the caller's own.

use super::Recipe;
use crate::error::TrainError;
use cadft_core::{AnyObjective, Objective};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// What a run trains with. It is an [`Objective`] in either case.
#[derive(Clone, Debug)]
pub enum ObjectiveChoice {
    /// A member of the family, as a recipe names it.
    Named(AnyObjective),
    /// One that only the calling program has: [`Recipe::with_objective`]. It is written as a table without settings under its
    /// name, and cannot be read back.
    Own(Arc<dyn Objective>),
}

impl ObjectiveChoice {
    /// The member of the family, unless it is the caller's own.
    #[must_use]
    pub fn named(&self) -> Option<&AnyObjective> {
        match self {
            Self::Named(objective) => Some(objective),
            Self::Own(_) => None,
        }
    }
}

impl Deref for ObjectiveChoice {
    type Target = dyn Objective;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Named(objective) => objective,
            Self::Own(objective) => &**objective,
        }
    }
}

impl Default for ObjectiveChoice {
    fn default() -> Self {
        Self::Named(AnyObjective::default())
    }
}

impl From<AnyObjective> for ObjectiveChoice {
    fn from(objective: AnyObjective) -> Self {
        Self::Named(objective)
    }
}

/// Objectives of the caller's own are the same if their names are.
impl PartialEq for ObjectiveChoice {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Named(one), Self::Named(other)) => one == other,
            (Self::Own(one), Self::Own(other)) => one.name() == other.name(),
            _ => false,
        }
    }
}

impl Serialize for ObjectiveChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Named(objective) => objective.serialize(serializer),
            Self::Own(objective) => {
                let mut table = serializer.serialize_map(Some(1))?;
                table.serialize_entry(objective.name(), &BTreeMap::<String, ()>::new())?;
                table.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for ObjectiveChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AnyObjective::deserialize(deserializer).map(Self::Named)
    }
}

impl JsonSchema for ObjectiveChoice {
    fn schema_name() -> Cow<'static, str> {
        AnyObjective::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        AnyObjective::json_schema(generator)
    }
}

impl Recipe {
    /// A run with an objective of the caller's own in the place of the recipe's. Everything else of the recipe holds,
    /// `loss.start` too.
    ///
    /// Metrics, `config.resolved.toml` and checkpoints know the objective by [`Objective::name`]. A run is resumed only with an
    /// objective of the same name. If it has settings, they belong into the name.
    ///
    /// ```
    /// use cadft_core::{Objective, TokenStats};
    /// use cadft_train::Recipe;
    ///
    /// /// Every token counts for half.
    /// #[derive(Debug)]
    /// struct Half;
    ///
    /// impl Objective for Half {
    ///     fn name(&self) -> &str {
    ///         "half"
    ///     }
    ///
    ///     fn token_gates(&self, stats: &TokenStats) -> burn::tensor::Tensor<1> {
    ///         stats.log_probs.full_like(0.5)
    ///     }
    /// }
    ///
    /// let recipe = Recipe::default().with_objective(Box::new(Half))?;
    /// assert_eq!(recipe.objective.name(), "half");
    /// # Ok::<(), cadft_train::TrainError>(())
    /// ```
    ///
    /// # Errors
    /// A name that is not made of letters, digits, `-` and `_`, or that a recipe could give.
    pub fn with_objective(mut self, objective: Box<dyn Objective>) -> Result<Self, TrainError> {
        check_name(objective.name())?;
        self.objective = ObjectiveChoice::Own(objective.into());
        Ok(self)
    }
}

/// The name is a key of TOML and of dotted paths, and stands for one objective only.
fn check_name(name: &str) -> Result<(), TrainError> {
    let is_key = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    let wrong = if name.is_empty() || !name.chars().all(is_key) {
        "is not a name of letters, digits, `-` and `_`"
    } else if is_member(name) {
        "is the name of an objective that recipes have"
    } else {
        return Ok(());
    };
    Err(TrainError::mismatch(
        format!("`objective`: `{}` {wrong}", cadft_files::visible_text(name)),
        "give the objective another name in `Objective::name`",
    ))
}

/// Whether a recipe can name it.
pub(crate) fn is_member(name: &str) -> bool {
    AnyObjective::NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::dotted::flatten;
    use burn::tensor::Tensor;
    use cadft_core::TokenStats;

    #[derive(Debug)]
    struct Called(&'static str);

    impl Objective for Called {
        fn name(&self) -> &str {
            self.0
        }

        fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
            stats.log_probs.clone().exp()
        }
    }

    fn with(name: &'static str) -> Result<Recipe, TrainError> {
        Recipe::default().with_objective(Box::new(Called(name)))
    }

    #[test]
    fn an_objective_of_ones_own_is_written_under_its_name_and_equals_that_of_its_name() {
        let recipe = with("typical-3").unwrap();
        let settings = serde_json::to_value(&recipe).unwrap();
        assert_eq!(flatten(&settings)["objective.typical-3"], serde_json::json!({}));
        assert_eq!(recipe, with("typical-3").unwrap());
        assert_ne!(recipe, with("typical-4").unwrap());
        assert_ne!(recipe, Recipe::default());
    }

    #[test]
    fn a_name_that_a_recipe_could_give_or_no_key_can_have_is_refused() {
        for (name, wrong) in [
            ("dft", "recipes have"),
            ("", "letters"),
            ("a.b", "letters"),
            ("a\n", "letters"),
        ] {
            let message = cadft_files::with_hints(&with(name).unwrap_err());
            assert!(
                message.contains(wrong) && message.contains("\nhint: "),
                "{message}"
            );
        }
    }

    #[test]
    fn what_is_written_of_it_is_not_read_as_another_objective() {
        let mut recipe = with("typical-3").unwrap();
        "m".clone_into(&mut recipe.model.path);
        recipe.data.train = vec!["t.jsonl".into()];
        let text = toml::to_string(&recipe).unwrap();
        let message = parse("resolved", &text, &[]).unwrap_err().to_string();
        assert!(
            message.contains("`typical-3`") && message.contains("program"),
            "{message}"
        );
        let named = parse("resolved", &text, &["objective=nll".to_owned()]).unwrap();
        assert_eq!(
            named.with_objective(Box::new(Called("typical-3"))).unwrap(),
            recipe
        );
    }
}
