//! `cadft probe`: gradients of single demonstrations, without training.

use crate::CADFT;
use cadft_tests::Workspace;
use cadft_tests::command::run;
use cadft_tests::fixture;
use serde_json::Value;
use std::fs;

const PROBE: [&str; 5] = ["probe", "--model", "model", "--data", "messages.jsonl"];

fn probed(options: &[&str]) -> Value {
    let found = run(CADFT, &fixture("blackbox"), &[&PROBE, options].concat()).succeeded();
    serde_json::from_str(&found.stdout).expect("one JSON object")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn weights_lower_the_second_moment_and_shares_add_up() {
    let found = probed(&["--objectives", "nll,dft,cadft", "--clean", "eval.jsonl", "--json"]);
    assert_eq!(found["samples"], 61);
    let [nll, dft, cadft] = [0, 1, 2].map(|index| found["objectives"][index].clone());
    assert_eq!(
        [&nll["name"], &dft["name"], &cadft["name"]],
        ["nll", "dft", "cadft"]
    );
    // Weights are at most 1, and the gate of CADFT is that of DFT.
    assert!(number(&cadft["second_moment"]) < number(&cadft["unweighted_second_moment"]));
    let [of_dft, of_cadft] = [&dft, &cadft].map(|row| number(&row["unweighted_second_moment"]));
    assert!((of_dft / of_cadft - 1.0).abs() < 1e-9);
    assert!(number(&cadft["effective_sample_size"]) < number(&dft["effective_sample_size"]));
    for row in [nll, dft, cadft] {
        let bins = row["bins"].as_array().expect("bins");
        let sum = |key: &str| bins.iter().map(|bin| number(&bin[key])).sum::<f64>();
        assert_eq!(sum("samples"), 61.0);
        assert!((sum("second_moment") - 1.0).abs() < 1e-9);
        assert!((sum("unweighted_second_moment") - 1.0).abs() < 1e-9);
        assert!(number(&row["cosine_to_clean"]).abs() <= 1.0);
    }
}

#[test]
fn the_gradient_of_the_first_step_is_the_mean() {
    let data = fs::read_to_string(fixture("blackbox/messages.jsonl")).expect("the fixture exists");
    let first: String = data.lines().take(8).map(|line| line.to_owned() + "\n").collect();
    let workspace = Workspace::new();
    workspace.write("first.jsonl", &first);
    let found = workspace
        .run(
            CADFT,
            &[
                "probe",
                "--recipe",
                "recipe.toml",
                "--model",
                "model",
                "--data",
                "first.jsonl",
                "--objectives",
                "cadft",
                "--json",
            ],
        )
        .succeeded();
    let found: Value = serde_json::from_str(&found.stdout).expect("one JSON object");
    let expected = fs::read_to_string(fixture("blackbox/expected.exact.jsonl")).expect("the fixture exists");
    let expected: Value = serde_json::from_str(expected.lines().next().expect("a step")).expect("JSON");
    let (ours, theirs) = (
        number(&found["objectives"][0]["mean_norm"]),
        number(&expected["grad_norm"]),
    );
    assert!((ours / theirs - 1.0).abs() < 1e-4, "{ours}, {theirs}");
}

#[test]
fn a_sketch_is_drawn_from_its_seed() {
    let options = ["--objectives", "dft", "--sketch", "4096", "--json", "--seed"];
    let of = |seed: &'static str| probed(&[&options[..], &[seed]].concat());
    assert_eq!(of("1"), of("1"));
    assert_ne!(of("1"), of("2"));
    let exact = probed(&["--objectives", "dft", "--json"]);
    let ratio =
        number(&of("1")["objectives"][0]["second_moment"]) / number(&exact["objectives"][0]["second_moment"]);
    assert!((ratio - 1.0).abs() < 0.05, "{ratio}");
}

#[test]
fn what_cannot_be_probed_is_refused() {
    let folder = fixture("blackbox");
    run(CADFT, &folder, &[&PROBE[..], &["--objectives", "dtf"]].concat()).refused(&["`dtf`", "hint:"]);
    run(
        CADFT,
        &folder,
        &[&PROBE[..], &["--clean", "nowhere.jsonl"]].concat(),
    )
    .refused(&["nowhere.jsonl"]);
}

#[test]
fn planted_noise_is_told_from_the_rest() {
    let workspace = Workspace::new();
    let corrupt = [
        "data",
        "corrupt",
        "--data",
        "messages.jsonl",
        "--share",
        "0.3",
        "--kinds",
        "words,swap",
        "--seed",
        "3",
    ];
    let corrupted = |out: &'static str| {
        let _ = workspace
            .run(CADFT, &[&corrupt[..], &["--out", out]].concat())
            .succeeded();
        fs::read_to_string(workspace.path(out)).expect("the file exists")
    };
    let text = corrupted("noisy.jsonl");
    assert_eq!(text, corrupted("again.jsonl"));
    let marks: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let planted = marks.iter().filter(|row| row["planted"] != "none").count();
    assert_eq!((marks.len(), planted), (61, 18));
    let probe = [
        "probe",
        "--model",
        "model",
        "--data",
        "noisy.jsonl",
        "--objectives",
        "nll,cadft",
        "--json",
    ];
    let found: Value = serde_json::from_str(&workspace.run(CADFT, &probe).succeeded().stdout).expect("JSON");
    let [nll, cadft] = [0, 1].map(|index| found["objectives"][index]["noise"].clone());
    assert_eq!([&nll["planted"], &cadft["planted"]], [18, 18]);
    // NLL does not separate noise from clean samples.
    assert_eq!(number(&nll["auc"]), 0.5);
    assert!((number(&nll["recall"]) - 18.0 / 61.0).abs() < 1e-12);
    assert!((0.0..=1.0).contains(&number(&cadft["auc"])));
    workspace
        .run(
            CADFT,
            &[
                "data",
                "corrupt",
                "--data",
                "messages.jsonl",
                "--out",
                "noisy.csv",
            ],
        )
        .refused(&["jsonl"]);
}

#[test]
fn a_probe_beside_a_run_is_a_picture_in_its_report() {
    let workspace = Workspace::new();
    let run = workspace.trained(CADFT, &["schedule.steps=1"]);
    let args = ["--objectives", "nll,cadft", "--out", "run/probe.json"];
    let _ = workspace.run(CADFT, &[&PROBE[..], &args].concat()).succeeded();
    let _ = workspace.run(CADFT, &["report", "run"]).succeeded();
    let page = fs::read_to_string(run.join("report.html")).expect("a page");
    let section = page
        .find("id=\"probe\"")
        .map(|start| &page[start..])
        .expect("a section");
    let section = &section[..section.find("</section>").expect("an end")];
    let found: Value =
        serde_json::from_str(&fs::read_to_string(run.join("probe.json")).expect("a probe")).expect("JSON");
    for row in found["objectives"].as_array().expect("rows") {
        let bins = row["bins"].as_array().expect("bins");
        let name = row["name"].as_str().expect("a name");
        assert!(section.contains(&format!(">{name}</text>")), "{section}");
        for bin in bins.iter().filter(|bin| number(&bin["second_moment"]) > 0.0) {
            let share = format!(
                "{:.1} % of it, {} samples",
                100.0 * number(&bin["second_moment"]),
                bin["samples"]
            );
            assert!(section.contains(&share), "{share}: {section}");
        }
    }
}
