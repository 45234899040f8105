//! Objectives that look at single tokens under a frozen model.

use crate::CADFT;
use cadft_tests::command::{Outcome, lines, run_with};
use cadft_tests::{Workspace, runs};
use std::fs;
use std::path::{Path, PathBuf};

/// A recipe of the fixture with its own cache of references.
struct Runs(Workspace);

impl Runs {
    fn new() -> Self {
        Self(Workspace::new())
    }

    fn train(&self, recipe: &str, out: &str, more: &[&str]) -> Outcome {
        let args = ["train", "--recipe", recipe, "--out", out];
        let set = more.iter().flat_map(|setting| ["--set", setting]);
        let args: Vec<&str> = args.into_iter().chain(set).collect();
        self.cadft(&args)
    }

    fn cadft(&self, args: &[&str]) -> Outcome {
        let cache = self.0.path("cache");
        run_with(
            CADFT,
            self.0.root(),
            args,
            &[("CADFT_CACHE", cache.to_str().expect("UTF-8"))],
        )
    }

    /// Steps and evaluations of a run, and the bytes of its model.
    fn left(&self, out: &str) -> (Vec<String>, Vec<u8>) {
        let run = self.0.path(out);
        let mut metrics = runs::metrics(&run);
        metrics.pop();
        let model =
            ["model.safetensors", "adapter_model.safetensors"].map(|name| run.join("model").join(name));
        let model = model.iter().find(|path| path.exists()).expect("a model");
        let model = fs::read(model).expect("a model");
        (metrics, model)
    }

    /// Files of the cache of references.
    fn kept(&self) -> Vec<PathBuf> {
        files(&self.0.path("cache/references"))
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return vec![];
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn kept_values_train_the_same_bits_as_a_frozen_model_in_memory() {
    for recipe in ["recipe.prift.toml", "recipe.prift-mass.toml", "recipe.rho.toml"] {
        let runs = Runs::new();
        let _ = runs.train(recipe, "kept", &[]).succeeded();
        let [file] = runs.kept().try_into().expect("one file of the cache");
        let expected = runs.left("kept");
        let written = fs::metadata(&file)
            .and_then(|file| file.modified())
            .expect("a file");
        let _ = runs.train(recipe, "again", &[]).succeeded();
        let read = fs::metadata(&file)
            .and_then(|file| file.modified())
            .expect("a file");
        assert_eq!(written, read, "{recipe}: the file is not made again");
        let _ = runs.train(recipe, "live", &["reference.live=true"]).succeeded();
        let _ = runs.train(recipe, "off", &["data.cache=off"]).succeeded();
        let _ = runs.train(recipe, "ranks", &["batch.shards=1"]).succeeded();
        assert_eq!(runs.kept(), std::slice::from_ref(&file), "{recipe}");
        // A file that is damaged is made again.
        let mut bytes = fs::read(&file).expect("a file");
        bytes[40] ^= 1;
        fs::write(&file, &bytes).expect("a file");
        let _ = runs.train(recipe, "damaged", &[]).succeeded();
        for out in ["again", "live", "off", "ranks", "damaged"] {
            assert_eq!(runs.left(out), expected, "{recipe}: {out}");
        }
        bytes[40] ^= 1;
        assert_eq!(fs::read(&file).expect("a file"), bytes, "{recipe}");
    }
}

#[test]
fn what_the_values_depend_on_is_in_the_name_of_their_file() {
    let runs = Runs::new();
    let steps = "schedule.steps=1";
    let _ = runs.train("recipe.prift.toml", "run", &[steps]).succeeded();
    for (index, other) in [
        "data.max-length=70",
        "model.tf32=false",
        "objective.prift.support=\"mass\"",
    ]
    .iter()
    .enumerate()
    {
        let out = format!("other-{index}");
        let _ = runs.train("recipe.prift.toml", &out, &[steps, other]).succeeded();
        assert_eq!(runs.kept().len(), index + 2, "{other}");
    }
    // Neither the learning rate nor the batch changes what the frozen model says.
    let more = [steps, "optimizer.lr=1e-5", "batch.global=4", "run.seed=7"];
    let _ = runs.train("recipe.prift.toml", "same", &more).succeeded();
    assert_eq!(runs.kept().len(), 4);
}

#[test]
fn a_frozen_model_on_a_packed_base_has_values_of_its_own() {
    let runs = Runs::new();
    let plain = ["schedule.steps=4", "adapter.rank=4"];
    let packed = [&plain[..], &["adapter.base=nf4"]].concat();
    let _ = runs.train("recipe.prift.toml", "plain", &plain).succeeded();
    let _ = runs.train("recipe.prift.toml", "packed", &packed).succeeded();
    assert_eq!(runs.kept().len(), 2);
    let live = [&packed[..], &["reference.live=true"]].concat();
    let _ = runs.train("recipe.prift.toml", "live", &live).succeeded();
    assert_eq!(runs.left("packed"), runs.left("live"));
}

#[test]
fn the_estimate_counts_a_frozen_model_of_another_directory() {
    let runs = Runs::new();
    let planned = |more: &[&str]| {
        let set = more.iter().flat_map(|setting| ["--set", setting]);
        let args = ["train", "--recipe", "recipe.prift.toml", "--dry-run", "--json"];
        let args: Vec<&str> = args.into_iter().chain(set).collect();
        let plan = lines(&runs.cadft(&args).succeeded().stdout).remove(0);
        ["memory_mib", "parameters"].map(|key| plan[key].as_f64().expect("a number"))
    };
    let own = ["adapter.rank=4", "reference.live=true"];
    let [of_own, parameters] = planned(&own);
    let [of_other, _] = planned(&[&own[..], &["reference.model=model"]].concat());
    let weights = 4.0 * parameters / f64::from(1 << 20);
    assert!(
        (of_other - of_own - weights).abs() < 1e-6,
        "{of_other} and {of_own} MiB, weights of {weights}"
    );
}

#[test]
fn runs_continue_exactly_within_a_window() {
    for (recipe, every, more) in [
        ("recipe.psft.toml", 3, "objective.psft.every=3"),
        ("recipe.psft.toml", 8, "objective.psft.every=8"),
        ("recipe.prift.toml", 1, "reference.live=true"),
    ] {
        let runs = Runs::new();
        let set = [
            more,
            "checkpoint.every=5",
            "checkpoint.keep=9",
            "data.order=shuffled",
        ];
        let _ = runs.train(recipe, "run", &set).succeeded();
        let expected = runs.left("run");
        for done in [5, 10, 15] {
            let step = format!("step-{done:06}");
            let from = format!("run/checkpoints/{step}");
            let reference = runs.0.path(&from).join("training/reference.safetensors");
            assert_eq!(
                reference.exists(),
                done % every != 0,
                "steps of a window are left, {more}, {step}"
            );
            let _ = runs
                .cadft(&["train", "--resume", &from, "--out", &step])
                .succeeded();
            assert_eq!(runs.left(&step), expected, "{recipe}, {more}, {step}");
        }
    }
}

#[test]
fn several_ranks_leave_the_bytes_of_one() {
    for recipe in ["recipe.psft.toml", "recipe.prift.toml", "recipe.rho.toml"] {
        let runs = Runs::new();
        let train = |out: &str, ranks: &str| {
            let args = ["train", "--recipe", recipe, "--out", out, "--ranks", ranks];
            let set = ["--set", "batch.shards=2", "--set", "data.cache=off"];
            let _ = runs.cadft(&[&args[..], &set].concat()).succeeded();
            // The numbers of ranks differ.
            runs.left(out).1
        };
        assert!(train("one", "1") == train("two", "2"), "{recipe}");
    }
}

#[test]
fn another_frozen_model_changes_the_run_and_must_know_the_same_tokens() {
    let runs = Runs::new();
    let recipe = "recipe.rho.toml";
    let _ = runs.train("recipe.nll.toml", "trained", &[]).succeeded();
    let _ = runs.train(recipe, "own", &[]).succeeded();
    let _ = runs
        .train(recipe, "other", &["reference.model=trained"])
        .succeeded();
    assert_ne!(runs.left("own").1, runs.left("other").1);
    let text = fs::read_to_string(runs.0.path("other/config.resolved.toml")).expect("a recipe");
    assert!(text.contains("model = \"trained\""), "{text}");

    // It is compared when the run continues.
    let weights = runs.0.path("trained/model/model.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&weights, bytes).expect("weights");
    let resumed = [
        "train",
        "--resume",
        "other/checkpoints/step-000020",
        "--out",
        "more",
    ];
    runs.cadft(&resumed)
        .refused(&["`reference.model (SHA-256 of its files)`"]);

    let tokenizer = runs.0.path("trained/model/tokenizer.json");
    let text = fs::read_to_string(&tokenizer).expect("a tokenizer");
    fs::write(&tokenizer, text + " ").expect("a tokenizer");
    let refused = runs.train(recipe, "refused", &["reference.model=trained"]);
    refused.refused(&["`reference.model`", "another tokenizer", "hint: "]);
    let refused = runs.train(recipe, "refused", &["reference.model=nowhere"]);
    refused.refused(&["`reference.model`: `nowhere` is not a directory", "hint: "]);
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let runs = Runs::new();
    let rewrite = ["rewrite.warmup=4"];
    let refused = runs.train("recipe.prift.toml", "run", &rewrite);
    refused.refused(&["`reference.live`", "set it to `true`"]);
    let start = ["loss.start=\"prift\""];
    let refused = runs.train("recipe.nll.toml", "run", &start);
    refused.refused(&["`loss.start`"]);
}
