//! Runs with a custom objective.

use super::{ObjectiveChoice, Recipe, is_member};
use crate::error::TrainError;
use cadft_core::Objective;

impl Recipe {
    /// Replaces the recipe's objective by a custom one. The rest of the recipe stays in force, including `loss.start`.
    ///
    /// Metrics, `config.resolved.toml` and checkpoints refer to the objective by [`Objective::name`]. A run can be
    /// resumed only with an objective of the same name, so the name should include settings if there are any.
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
    /// If the name has other characters than letters, digits, `-` and `_`, or is a name that recipes can use.
    pub fn with_objective(mut self, objective: Box<dyn Objective>) -> Result<Self, TrainError> {
        check_name(objective.name())?;
        self.objective = ObjectiveChoice::Own(objective.into());
        Ok(self)
    }
}

/// The name is used as a TOML key and in dotted paths, and must be unambiguous.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
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
        assert!(
            toml::to_string(&recipe)
                .unwrap()
                .contains("[objective.typical-3]\n")
        );
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
            let message = with(name).unwrap_err().to_string();
            assert!(message.contains(wrong), "{message}");
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
