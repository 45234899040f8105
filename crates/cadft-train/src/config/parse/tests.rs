//! Tests of reading recipes, and of the errors in them.

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
    let text = format!("{SMALL}mask = \"all\"\n[rewrite]\nwarm-up = 1\nfraction = 2\nevery = 0\ndecay = 1\n");
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

#[test]
fn a_choice_of_another_type_is_answered_with_its_names() {
    let report = problems(SMALL, &["guard.memory=1"]);
    assert!(report.contains("expected one of `refuse`, `warn`"), "{report}");
}

#[test]
fn what_a_key_means_is_said_beside_a_wrong_value_and_what_is_absent_beside_its_name() {
    let hints = |set: &str| {
        let error = parse("r.toml", SMALL, &[set.to_owned()]).unwrap_err();
        cadft_files::Hint::hints(&error).join("\n")
    };
    assert!(hints("batch.global=0").starts_with("`batch.global`: Samples in one optimizer step"));
    assert!(hints("load_in_4bit=true").contains("adapter.base=nf4"));
    assert!(hints("objective=dpo").contains("no preference training"));
    assert_eq!(
        hints("lr=1"),
        "`cadft recipe show NAME --resolved` prints a recipe with every key"
    );
}
