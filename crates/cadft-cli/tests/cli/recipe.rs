//! Recipes: embedded ones, files, overrides, and what is wrong with them.

use super::{Cadft, json_lines};

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
        ["quickstart", "smollm2", "nll", "dft-paper", "cadft-paper"]
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
