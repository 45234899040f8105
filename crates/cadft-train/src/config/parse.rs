//! Reads a recipe: every unknown key and every wrong value in one report, each with its line and a suggestion.

pub(in crate::config) mod lines;
mod names;
mod overrides;
mod words;

use super::Recipe;
use crate::error::{ConfigProblem, TrainError};
use lines::{line_at, line_of};
use overrides::to_blame;
use serde::de::DeserializeOwned;
use toml::{Table, Value};
use words::{explained, unknown_field, unknown_key};

/// Reads a recipe from TOML text, with `KEY=VALUE` overrides merged in before it is checked.
///
/// `name` is how errors call the text; what is wrong with an override is said of that. A value that is not TOML by itself is
/// taken as a string, so that `model.path=models/x` needs no quotes. An override of `schedule.steps` takes the place of
/// `schedule.epochs`, and the other way.
///
/// # Errors
/// [`TrainError::Config`] with everything that is wrong.
pub fn parse(name: &str, text: &str, overrides: &[String]) -> Result<Recipe, TrainError> {
    let fail = |problems| TrainError::Config {
        name: name.to_owned(),
        problems,
    };
    let mut table: Table = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| line_at(text, span.start));
        fail(vec![ConfigProblem {
            line,
            set: None,
            key: String::new(),
            message: error.message().to_owned(),
        }])
    })?;
    let mut problems = overrides::merge(&mut table, overrides);
    let mut reader = Reader {
        text,
        overrides,
        problems: &mut problems,
    };
    let recipe = reader.read(&table);
    recipe.check(&mut |key, message| {
        // The default that stands for a wrong value is no second problem.
        if !reader.problems.iter().any(|problem| problem.key == key) {
            reader.report(key, message);
        }
    });
    if problems.is_empty() {
        Ok(recipe)
    } else {
        Err(fail(problems))
    }
}

/// The dotted key of a recipe that `name` was probably meant to be: a last part that only one key has, such as `lr`, or what
/// another program calls it, such as `learning_rate`.
#[must_use]
pub fn suggested_key(name: &str) -> Option<&'static str> {
    names::suggested(name)
}

/// The keys of token gates, each a name or one table under a name.
const GATES: [[&str; 3]; 2] = [["objective", "cadft", "gate"], ["objective", "kl-sft", "gate"]];

/// Sets one dotted key of a table, as `KEY=VALUE`. A value that is not TOML by itself is taken as a string.
///
/// # Errors
/// An assignment without `=`.
pub fn set(table: &mut Table, assignment: &str) -> Result<(), String> {
    let (path, value) = assignment
        .split_once('=')
        .ok_or("an override has the form KEY=VALUE")?;
    let value = value.trim();
    let value = toml::from_str::<Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().unwrap_or_default();
    let mut place = table;
    for (depth, key) in keys.iter().enumerate() {
        // `objective.cadft.beta=2` replaces `objective = "dft"` and any other member's table.
        // So does `objective.cadft.gate.power.alpha=0.3` with another gate.
        let is_choice = keys[..depth] == ["objective"] || GATES.iter().any(|gate| keys[..depth] == *gate);
        if is_choice {
            place.retain(|member, _| *member == **key);
        }
        let entry = place
            .entry((*key).to_owned())
            .or_insert_with(|| Value::Table(Table::new()));
        if !entry.is_table() {
            *entry = Value::Table(Table::new());
        }
        place = entry.as_table_mut().ok_or("not a table")?;
    }
    place.insert(last.to_owned(), value);
    Ok(())
}

struct Reader<'a> {
    text: &'a str,
    overrides: &'a [String],
    problems: &'a mut Vec<ConfigProblem>,
}

impl Reader<'_> {
    fn read(&mut self, table: &Table) -> Recipe {
        let defaults = Recipe::default();
        let mut known = vec![];
        macro_rules! section {
            ($field:ident) => {{
                let name = stringify!($field).replace('_', "-");
                let section = self.section(&name, table.get(&name), defaults.$field);
                known.push(name);
                section
            }};
        }
        let recipe = Recipe {
            format_version: section!(format_version),
            model: section!(model),
            adapter: section!(adapter),
            data: section!(data),
            batch: section!(batch),
            objective: section!(objective),
            loss: section!(loss),
            optimizer: section!(optimizer),
            schedule: section!(schedule),
            rewrite: section!(rewrite),
            evaluate: section!(evaluate),
            checkpoint: section!(checkpoint),
            log: section!(log),
            guard: section!(guard),
            run: section!(run),
        };
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        for key in table.keys().filter(|key| !known.contains(&key.as_str())) {
            self.report(key, unknown_key(key, &known));
        }
        recipe
    }

    /// Reads one section, taking unknown keys out one by one so that all of them are reported.
    fn section<T: DeserializeOwned>(&mut self, name: &str, value: Option<&Value>, default: T) -> T {
        let Some(value) = value else { return default };
        let mut value = value.clone();
        loop {
            match T::deserialize(value.clone()) {
                Ok(section) => return section,
                Err(error) => {
                    let message = error.message().trim().to_owned();
                    let unknown = unknown_field(&message)
                        .map(|(key, known)| (key.to_owned(), unknown_key(key, &known)));
                    match unknown {
                        Some((key, message)) => {
                            let path = remove(&mut value, &key, name);
                            self.report(path.as_deref().unwrap_or(name), message);
                            if path.is_none() {
                                return default;
                            }
                        }
                        None => {
                            let key = failing_key::<T>(&value, name);
                            self.report(&key, explained(&key, message));
                            // The rest of the section is as it was meant.
                            let wrong = key.strip_prefix(name).and_then(|key| key.strip_prefix('.'));
                            let table = value.as_table_mut().zip(wrong);
                            if table.and_then(|(table, key)| table.remove(key)).is_none() {
                                return default;
                            }
                        }
                    }
                }
            }
        }
    }

    fn report(&mut self, key: &str, message: String) {
        let set = to_blame(self.overrides, key).cloned();
        let line = (set.is_none()).then(|| line_of(self.text, key)).flatten();
        self.problems.push(ConfigProblem {
            line,
            set,
            key: key.to_owned(),
            message,
        });
    }
}

/// The key of a section without which the section can be read, or else one that cannot be read by itself: the one with the
/// wrong value.
fn failing_key<T: DeserializeOwned>(value: &Value, section: &str) -> String {
    let Some(table) = value.as_table() else {
        return section.to_owned();
    };
    let is_read_without = |key: &str| {
        let mut rest = table.clone();
        rest.remove(key);
        T::deserialize(Value::Table(rest)).is_ok()
    };
    let is_wrong_alone = |key: &str| {
        let alone = table.iter().filter(|(name, _)| *name == key);
        let alone = alone.map(|(name, value)| (name.clone(), value.clone())).collect();
        let error = T::deserialize(Value::Table(alone)).err();
        error.is_some_and(|error| unknown_field(error.message().trim()).is_none())
    };
    let found = table.keys().find(|key| is_read_without(key));
    let found = found.or_else(|| table.keys().find(|key| table.len() > 1 && is_wrong_alone(key)));
    found.map_or_else(|| section.to_owned(), |key| format!("{section}.{key}"))
}

/// Removes a key from a table or from the tables in it; its dotted path.
fn remove(value: &mut Value, key: &str, path: &str) -> Option<String> {
    if let Some(list) = value.as_array_mut() {
        return list.iter_mut().find_map(|inner| remove(inner, key, path));
    }
    let table = value.as_table_mut()?;
    if table.remove(key).is_some() {
        return Some(format!("{path}.{key}"));
    }
    table
        .iter_mut()
        .find_map(|(name, inner)| remove(inner, key, &format!("{path}.{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "[model]\npath = \"m\"\n[data]\ntrain = [\"t.jsonl\"]\n";

    fn problems(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(|&o| o.to_owned()).collect();
        parse("r.toml", text, &overrides).unwrap_err().to_string()
    }

    #[test]
    fn a_small_recipe_takes_the_papers_defaults() {
        let recipe = parse("r.toml", SMALL, &[]).unwrap();
        assert_eq!(recipe.objective.name(), "cadft");
        assert_eq!((recipe.batch.global, recipe.optimizer.lr), (256, 5e-5));
    }

    #[test]
    fn a_resolved_recipe_reads_back_the_same() {
        let overrides = [
            "loss.start=nll",
            "loss.start-until=0.2",
            "schedule.steps=7",
            "objective.power.alpha=2",
            "data.train=[\"a\", {path=\"b\", weight=2, columns={prompt=\"q\", completion=\"a\"}}]",
            "data.stopping-strategy=all-exhausted",
            "adapter.target-modules=[\"q_proj\"]",
        ];
        let overrides: Vec<String> = overrides.iter().map(|&o| o.to_owned()).collect();
        let recipe = parse("r.toml", SMALL, &overrides).unwrap();
        let text = toml::to_string(&recipe).unwrap();
        assert_eq!(parse("resolved", &text, &[]).unwrap(), recipe, "{text}");
    }

    #[test]
    fn every_problem_is_in_one_report_with_line_and_suggestion() {
        let text = "[model]\npath = \"m\"\n[data]\ntrain = [\"t\"]\nmax_length = 5\n[optimizer]\nlearning-rate = 1\n\
                    lr = \"x\"\n[sheduler]\n[batch]\nglobal = 0\n";
        let report = problems(text, &["optimizer.betas=3"]);
        for part in [
            "r.toml:5: `data.max_length`: unknown key `max_length`; did you mean `max-length`?",
            "r.toml:7: `optimizer.learning-rate`: unknown key",
            "r.toml:9: `sheduler`: unknown key `sheduler`; did you mean `schedule`?",
            "r.toml:11: `batch.global`",
        ] {
            assert!(report.contains(part), "{part} is not in:\n{report}");
        }
    }

    #[test]
    fn overrides_win_and_need_no_quotes() {
        let overrides = [
            "model.path=models/x",
            "optimizer.lr=1e-3",
            "objective=dft",
            "data.train=[\"a\", \"b\"]",
        ];
        let overrides: Vec<String> = overrides.iter().map(|&o| o.to_owned()).collect();
        let recipe = parse("r.toml", SMALL, &overrides).unwrap();
        assert_eq!(recipe.model.path, "models/x");
        assert_eq!(recipe.optimizer.lr, 1e-3);
        assert_eq!(recipe.objective.name(), "dft");
        assert_eq!(recipe.data.train, ["a".into(), "b".into()]);
        assert!(problems(SMALL, &["lr"]).contains("KEY=VALUE"));
        assert!(problems(SMALL, &["optimizer.rl=1"]).contains("did you mean `lr`"));
    }

    #[test]
    fn a_problem_of_an_override_is_said_of_the_override() {
        let text = format!("{SMALL}[batch]\nglobal = 8\n");
        for (overrides, said) in [
            (
                &["batch.global=0"][..],
                "`--set batch.global=0`: `batch.global`: must be at least 1",
            ),
            (
                &["lr=1e-3"],
                "`--set lr=1e-3`: `lr`: unknown key `lr`; did you mean `optimizer.lr`?",
            ),
            (
                &["lr"],
                "`--set lr`: an override has the form KEY=VALUE, as in `optimizer.lr=…`",
            ),
            (
                &["optimizer.lr=fast"],
                "`--set optimizer.lr=fast`: `optimizer.lr`: found \"fast\", expected a number",
            ),
            (&["model.tf32=True"], "expected `true` or `false`"),
            (&["batch.global=8", "batch.global=-1"], "`--set batch.global=-1`"),
        ] {
            let report = problems(&text, overrides);
            assert!(report.contains(said) && !report.contains("r.toml"), "{report}");
            assert_eq!(report.lines().count(), 1, "{report}");
        }
        let report = problems("[model]\npath = \"m\"\n[data]\ntrain = 3\nlr = 1\n", &[]);
        assert!(
            report.contains("r.toml:5: `data.lr`: unknown key `lr`; did you mean `optimizer.lr`?"),
            "{report}"
        );
        assert_eq!(
            report.lines().count(),
            2,
            "a wrong value is no missing one: {report}"
        );
    }

    #[test]
    fn steps_take_the_place_of_epochs_and_the_other_way() {
        let length = |of_file: &str, overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(|&o| o.to_owned()).collect();
            let schedule = parse("r.toml", &format!("{SMALL}[schedule]\n{of_file}\n"), &overrides)
                .unwrap()
                .schedule;
            (schedule.epochs, schedule.steps)
        };
        assert_eq!(length("epochs = 2", &["schedule.steps=3"]), (None, Some(3)));
        assert_eq!(length("steps = 2", &["schedule.epochs=0.5"]), (Some(0.5), None));
        let both = problems(SMALL, &["schedule.epochs=1", "schedule.steps=3"]);
        assert!(both.contains("not both"), "{both}");
    }

    #[test]
    fn one_training_file_needs_no_list() {
        let recipe = parse(
            "r.toml",
            "[model]\npath = \"m\"\n[data]\ntrain = \"t.jsonl\"\n",
            &[],
        )
        .unwrap();
        assert_eq!(recipe.data.train, ["t.jsonl".into()]);
        let recipe = parse("r.toml", SMALL, &["data.eval=e.jsonl".to_owned()]).unwrap();
        assert_eq!(recipe.data.eval, ["e.jsonl".into()]);
    }

    #[test]
    fn sources_are_paths_or_strict_tables() {
        let text = "[model]\npath = \"m\"\n[data]\neval = [{ path = \"e\", weight = 2 }]\n\
                    train = [\"a\", { path = \"b\", wieght = 1, columns = { promt = \"q\" }, format = \"alpaca\" }]\n";
        let report = problems(text, &["data.stopping-strategy=all-exhausted"]);
        for part in [
            "`data.train.wieght`: unknown key `wieght`; did you mean `weight`?",
            "`data.train.columns.promt`: unknown key `promt`; did you mean `prompt`?",
            "`data.eval`: a `weight` mixes training data",
            "`data.stopping-strategy`: has no effect without a `weight`",
        ] {
            assert!(report.contains(part), "{part} is not in:\n{report}");
        }
        let report = problems(SMALL, &["data.train=[{path=\"b\", weight=-1}]"]);
        assert!(
            report.contains("`data.train`: a `weight` must be finite and above 0"),
            "{report}"
        );
        let report = problems(SMALL, &["data.train=[{path=\"b\", format=\"alpacca\"}]"]);
        assert!(report.contains("alpaca"), "{report}");
    }

    #[test]
    fn an_objective_override_replaces_the_recipes_member() {
        let text = format!("{SMALL}[objective.cadft]\nbeta = 3.0\n");
        let recipe = parse("r.toml", &text, &["objective.power.alpha=2.0".to_owned()]).unwrap();
        assert_eq!(recipe.objective.name(), "power");
        let recipe = parse(
            "r.toml",
            &text,
            &["objective.cadft.statistics=running".to_owned()],
        )
        .unwrap();
        assert_eq!(recipe.objective.name(), "cadft");
    }

    #[test]
    fn a_misspelt_choice_gets_a_suggestion() {
        assert!(problems(SMALL, &["objective=dtf"]).contains("unknown value `dtf`; did you mean `dft`?"));
        assert!(problems(SMALL, &["data.mask=asistant"]).contains("did you mean `assistant`?"));
        assert!(problems(SMALL, &["schedule.kind=x"]).contains("expected one of"));
    }

    #[test]
    fn a_wrong_value_is_one_problem_whatever_else_its_section_holds() {
        let report = problems(SMALL, &["model.precision=f16"]);
        assert!(
            report.contains("no training in `f16`") && !report.contains("model.path"),
            "{report}"
        );
        let report = problems(SMALL, &["model.precision=bf17", "optimizer.lr=x"]);
        assert!(
            report.contains("did you mean `bf16`?") && report.contains("`optimizer.lr`"),
            "{report}"
        );
        assert_eq!(report.lines().count(), 2, "{report}");
    }

    #[test]
    fn broken_toml_names_its_line() {
        assert!(problems("[model]\npath = \n", &[]).contains("r.toml:2"));
    }

    #[test]
    fn rewriting_is_off_without_its_table_and_has_defaults_with_it() {
        assert_eq!(parse("r.toml", SMALL, &[]).unwrap().rewrite, None);
        let text = format!("{SMALL}[rewrite]\nprobability = 0.25\n");
        let rewrite = parse("r.toml", &text, &[]).unwrap().rewrite.unwrap();
        assert_eq!((rewrite.probability, rewrite.fraction), (0.25, 0.005));
    }

    #[test]
    fn every_wrong_value_of_rewriting_is_named() {
        let text =
            format!("{SMALL}mask = \"all\"\n[rewrite]\nwarm-up = 1\nfraction = 2\nevery = 0\ndecay = 1\n");
        let report = problems(&text, &[]);
        for part in [
            "`rewrite.warm-up`: unknown key `warm-up`; did you mean `warmup`?",
            "r.toml:8: `rewrite.fraction`: must be above 0 and at most 1",
            "`rewrite.every`",
            "`rewrite.decay`",
            "`data.mask`: rewriting needs prompts",
        ] {
            assert!(report.contains(part), "{part} is not in:\n{report}");
        }
    }
}
