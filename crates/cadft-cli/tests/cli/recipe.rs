//! Recipes: embedded ones, files, overrides, and errors in them.

use super::{Cadft, fixture, json_lines};

#[test]
fn the_list_names_every_embedded_recipe_and_each_can_be_shown_and_resolved() {
    let cadft = Cadft::new();
    let listed = json_lines(&cadft.answer(&["recipe", "list", "--json"]));
    let names: Vec<_> = listed
        .iter()
        .map(|recipe| recipe["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "quickstart",
            "smollm2",
            "nll",
            "dft-paper",
            "cadft-paper",
            "cadft-laptop",
            "lora-8gb"
        ]
    );
    for name in names {
        let shown = cadft.answer(&["recipe", "show", name]);
        cadft.write("shown.toml", &shown);
        let resolved = cadft.answer(&["recipe", "show", name, "--resolved"]);
        assert_eq!(
            cadft.answer(&["recipe", "show", "shown.toml", "--resolved"]),
            resolved
        );
        cadft.write("resolved.toml", &resolved);
        assert_eq!(
            cadft.answer(&["recipe", "show", "resolved.toml", "--resolved"]),
            resolved
        );
    }
}

#[test]
fn the_papers_recipes_have_the_papers_settings() {
    let cadft = Cadft::new();
    let cadft_paper = cadft.answer(&["recipe", "show", "cadft-paper", "--resolved"]);
    let dft_paper = cadft.answer(&["recipe", "show", "dft-paper", "--resolved"]);
    for recipe in [&cadft_paper, &dft_paper] {
        for setting in [
            "global = 256",
            "lr = 0.00005",
            "betas = [0.9, 0.95]",
            "weight-decay = 0.01",
            "clip = 1.0",
            "warmup = 0.1",
            "max-length = 2048",
        ] {
            assert!(
                recipe.contains(setting) || recipe.contains(&setting.replace("0.00005", "5e-5")),
                "no {setting} in\n{recipe}"
            );
        }
    }
    assert!(cadft_paper.contains("[objective.cadft]") && cadft_paper.contains("beta = 1.0"));
    assert!(cadft_paper.contains("gate = \"dft\"") && cadft_paper.contains("statistics = \"exact\""));
    assert!(dft_paper.contains("[objective.dft]"), "{dft_paper}");
}

#[test]
fn overrides_are_part_of_what_is_shown() {
    let shown = Cadft::new().answer(&["recipe", "show", "nll", "--set", "batch.global=7"]);
    assert!(shown.contains("global = 7"), "{shown}");
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_a_suggestion() {
    let cadft = Cadft::new();
    cadft.write(
        "r.toml",
        "[model]\npath = \"m\"\n[data]\ntrain = [\"t.jsonl\"]\n[optimizer]\nlearning_rate = 1\nbeta = 1\n",
    );
    insta::assert_snapshot!(cadft.refusal(&["train", "--recipe", "r.toml", "--set", "batch.globl=3"]));
}

#[test]
fn a_recipe_that_does_not_exist_is_refused_with_the_ones_that_do() {
    let cadft = Cadft::new();
    insta::assert_snapshot!(cadft.refusal(&["train", "--recipe", "quickstrat"]));
    let message = cadft.refusal(&["recipe", "show", "missing/r.toml"]);
    assert!(
        message.contains("`missing/r.toml` is neither a file"),
        "{message}"
    );
}

#[test]
fn every_embedded_recipe_can_be_planned() {
    let cadft = Cadft::new();
    let folder = fixture("");
    let model = format!("model.path={folder}/model");
    let train = format!("data.train=[\"{folder}/messages.jsonl\"]");
    let eval = format!("data.eval=[\"{folder}/eval.jsonl\"]");
    for recipe in json_lines(&cadft.answer(&["recipe", "list", "--json"])) {
        let name = recipe["name"].as_str().expect("a name");
        let mut args = vec!["train", "--dry-run", "--json", "--recipe", name];
        if name != "quickstart" {
            args.extend(["--set", &model, "--set", &train, "--set", &eval]);
            args.extend(["--set", "data.max-length=128", "--set", "evaluate.answers=0"]);
        }
        let plan = json_lines(&cadft.answer(&args)).remove(0);
        assert!(plan["steps"].as_u64() > Some(0), "{name}: {plan}");
    }
}

#[test]
fn the_schema_has_every_key_of_a_resolved_recipe() {
    let cadft = Cadft::new();
    let schema: serde_json::Value =
        serde_json::from_str(&cadft.answer(&["recipe", "schema"])).expect("one JSON object");
    let resolved = cadft.answer(&["recipe", "show", "quickstart", "--resolved"]);
    let resolved: toml::Table = toml::from_str(&resolved).expect("TOML");
    for (table, values) in &resolved {
        let known = &schema["properties"][table];
        assert!(known["description"].is_string(), "{table}: {known}");
        let Some(values) = values.as_table().filter(|_| table != "objective") else {
            continue;
        };
        assert_eq!(known["additionalProperties"], false, "{table}");
        for key in values.keys() {
            let property = &known["properties"][key];
            assert!(property["description"].is_string(), "{table}.{key}: {property}");
        }
    }
}

#[test]
fn a_diff_names_the_keys_that_differ_and_reads_runs() {
    let cadft = Cadft::new();
    let text = cadft.answer(&["recipe", "diff", "dft-paper", "cadft-paper"]);
    assert!(text.contains("objective.cadft.beta"), "{text}");
    assert!(!text.contains("optimizer.lr"), "{text}");
    std::fs::create_dir(cadft.path("run")).expect("a directory");
    let resolved = cadft.answer(&["recipe", "show", "nll", "--set", "optimizer.lr=0.25"]);
    cadft.write("run/config.resolved.toml", &resolved);
    let lines = json_lines(&cadft.answer(&["recipe", "diff", "nll", "run", "--json"]));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["key"], "optimizer.lr");
    assert_eq!(lines[0]["right"], "0.25");
    let same = cadft.run(&["recipe", "diff", "nll", "nll"]);
    assert_eq!((same.code, same.stdout.as_str()), (0, ""));
}

#[test]
fn a_migration_prints_or_writes_and_says_what_it_changed() {
    let cadft = Cadft::new();
    let old = "# Mine.\n[model]\npath = \"m\"\n[data]\ntrain = [\"t\"] # kept\nmax_length = 9\n";
    cadft.write("old.toml", old);
    let ran = cadft.run(&["recipe", "migrate", "old.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("`max_length` is now `max-length`"),
        "{}",
        ran.stderr
    );
    let read = || std::fs::read_to_string(cadft.path("old.toml")).expect("the recipe");
    assert_eq!(read(), old, "printing changes nothing");
    cadft.answer(&["recipe", "migrate", "old.toml", "--write"]);
    assert_eq!(read(), ran.stdout);
    assert!(ran.stdout.contains("# kept") && ran.stdout.contains("format-version = 1"));
    cadft.answer(&["recipe", "show", "old.toml", "--resolved"]);
    let message = cadft.refusal(&["recipe", "migrate", "none.toml"]);
    assert!(message.contains("none.toml"), "{message}");
}
