//! Short options for keys of the recipe. They can also start a run without a recipe.

use super::positive;
use cadft_core::AnyObjective;
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use toml::Value;

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Without a recipe, or in place of its values")]
pub(crate) struct ShorthandArgs {
    /// The model: a Hugging Face directory, `hf://OWNER/NAME`, or a run, whose model or adapter is trained further.
    /// With `--data` and without a recipe, cadft chooses the other settings, shows them and saves them as a recipe.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<String>,
    /// The training data: files, directories and globs.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) data: Vec<String>,
    /// The evaluation data.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) eval: Vec<String>,
    /// Train an adapter instead of all weights.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) adapter: Option<AdapterName>,
    /// The objective.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(AnyObjective::NAMES.iter().copied()), hide_possible_values = true)]
    pub(crate) objective: Option<String>,
    /// Optimizer steps, instead of epochs.
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "epochs")]
    pub(crate) steps: Option<usize>,
    /// Passes over the training data.
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<f64>,
}

/// `adapter.kind` of a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AdapterName {
    /// A low-rank update of every linear layer.
    Lora,
    /// The same with separate magnitudes.
    Dora,
}

impl AdapterName {
    /// The name in a recipe.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lora => "lora",
            Self::Dora => "dora",
        }
    }
}

impl ShorthandArgs {
    /// Whether these options replace a recipe.
    pub(crate) fn begins(&self) -> bool {
        self.model.is_some() || !self.data.is_empty()
    }

    /// These options as `KEY=VALUE`, to merge into a recipe.
    pub(crate) fn overrides(&self) -> Vec<String> {
        let text = |text: &String| Value::from(text.as_str());
        let list =
            |paths: &Vec<String>| (!paths.is_empty()).then(|| Value::Array(paths.iter().map(text).collect()));
        let values = [
            ("model.path", self.model.as_ref().map(text)),
            ("data.train", list(&self.data)),
            ("data.eval", list(&self.eval)),
            ("adapter.kind", self.adapter.map(|kind| Value::from(kind.name()))),
            ("objective", self.objective.as_ref().map(text)),
            (
                "schedule.steps",
                self.steps
                    .map(|steps| Value::Integer(i64::try_from(steps).unwrap_or(i64::MAX))),
            ),
            ("schedule.epochs", self.epochs.map(Value::Float)),
        ];
        let given = values.into_iter().filter_map(|(key, value)| Some((key, value?)));
        given.map(|(key, value)| format!("{key}={value}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shorthand_is_an_override() {
        let all = ShorthandArgs {
            model: Some("a \"b\"".to_owned()),
            data: vec!["x".to_owned(), "y".to_owned()],
            eval: vec!["z".to_owned()],
            adapter: Some(AdapterName::Dora),
            objective: Some("nll".to_owned()),
            steps: Some(3),
            epochs: None,
        };
        let recipe = cadft_train::config::parse("r", "[schedule]\nepochs = 1\n", &all.overrides()).unwrap();
        assert_eq!(recipe.model.path, "a \"b\"");
        assert_eq!((recipe.data.train.len(), recipe.data.eval.len()), (2, 1));
        assert!(recipe.adapter.is_some());
        assert_eq!(recipe.objective.name(), "nll");
        assert_eq!((recipe.schedule.epochs, recipe.schedule.steps), (None, Some(3)));
        assert!(ShorthandArgs::default().overrides().is_empty());
    }
}
