//! A study of rewriting: trains the quickstart's model with and without it. Prints one JSON object.
//!
//! A fifth of the quickstart's demonstrations is incompatible, and their ids say in which way. The study asks whether
//! the moving averages find them, whether CADFT lowers the weights of only these, what happens to the rewritten ones,
//! and how this affects held-out questions, for NLL, DFT and CADFT, over several seeds.

use cadft_core::Moments;
use cadft_core::rewrite::Tracker;
use cadft_data::Example;
use cadft_model::checkpoint;
use cadft_train::evaluate::score_samples;
use cadft_train::rewrite::{
    Decision, Record, RewriteLog, SampleCompatibility, SampleRecord, read_compatibility, read_log,
};
use cadft_train::run_files::REWRITES;
use cadft_train::{Event, Prepared, RunDirectory, Summary, config, train};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SEEDS: [u64; 3] = [1, 2, 3];
const OBJECTIVES: [&str; 3] = ["nll", "dft", "cadft"];

/// Four epochs of 1000 samples. Rounds after steps 80, 96, 112, 128 and 144.
const RECIPE: &str = r#"
[batch]
global = 32
micro = 16
[optimizer]
lr = 5e-4
[schedule]
steps = 150
[evaluate]
answers = 200
max-new-tokens = 48
[checkpoint]
every = 0
"#;

const REWRITE: &str = r#"
[rewrite]
warmup = 80
every = 16
fraction = 0.06
probability = 0.5
max-new-tokens = 48
"#;

/// The results of one run.
struct Run {
    summary: Summary,
    prepared: Prepared,
    averages: Vec<SampleCompatibility>,
    records: Vec<Record>,
    rounds_secs: f64,
    step_secs: f64,
    directory: PathBuf,
}

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut arms: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut findings = vec![];
    for seed in SEEDS {
        for objective in OBJECTIVES {
            for rewriting in [false, true] {
                let name = format!("{objective}{}", if rewriting { " with rewriting" } else { "" });
                eprintln!("seed {seed}: {name}");
                let run = run(folder.path(), objective, rewriting, seed)?;
                arms.entry(name.clone()).or_default().push(accuracy(&run));
                if objective == "cadft" && !rewriting {
                    findings.push(found(&run, seed));
                }
                if rewriting {
                    findings.push(rewritten(&run, seed, objective)?);
                }
            }
        }
    }
    let table: BTreeMap<_, _> = arms.iter().map(|(name, runs)| (name, table_row(runs))).collect();
    let report = json!({"seeds": SEEDS, "steps": 150, "held_out": table, "findings": findings});
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// Every third demonstration of the quickstart, so that the share of each kind stays the same.
fn data(folder: &Path, assets: &Path) -> Result<PathBuf> {
    let path = folder.join("train.jsonl");
    let rows = std::fs::read_to_string(assets.join("train.jsonl"))?;
    let rows: Vec<&str> = rows.lines().step_by(3).collect();
    std::fs::write(&path, rows.join("\n") + "\n")?;
    Ok(path)
}

fn run(folder: &Path, objective: &str, rewriting: bool, seed: u64) -> Result<Run> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cadft-cli/assets/quickstart");
    let data = data(folder, &assets)?;
    let eval = assets.join("eval.jsonl");
    // As in the quickstart: plain likelihood for the first fifth of the run.
    let start = if objective == "nll" {
        ""
    } else {
        "[loss]\nstart = \"nll\"\nstart-until = 0.2\n"
    };
    let recipe = format!(
        "objective = {objective:?}\n[model]\npath = {assets:?}\n[data]\ntrain = [{data:?}]\neval = [{eval:?}]\n\
         max-length = 256\n[run]\nseed = {seed}\n{start}{RECIPE}{}",
        if rewriting { REWRITE } else { "" }
    );
    let device = cadft_train::device::parse(cadft_train::device::compiled()[0])?;
    let prepared = Prepared::new(config::parse("study", &recipe, &[])?, &device)?;
    let directory = folder.join(format!("{objective}-{rewriting}-{seed}"));
    let mut output = RunDirectory::create(&directory, &prepared.recipe, "study")?;
    let (mut rounds_secs, mut seconds) = (0.0, Moments::default());
    let model = prepared.model()?;
    let summary = train(
        &prepared,
        model,
        &mut output,
        &AtomicBool::new(false),
        &mut |event| match event {
            Event::Step(metrics) => seconds.push(metrics.tokens as f64 / metrics.tokens_per_sec),
            Event::Rewrote { round, .. } => rounds_secs += round.elapsed_secs,
            _ => {}
        },
    )?;
    Ok(Run {
        summary,
        averages: read_compatibility(&directory)?,
        records: if rewriting {
            read_log(&directory.join(REWRITES))?
        } else {
            vec![]
        },
        prepared,
        rounds_secs,
        step_secs: seconds.mean(),
        directory,
    })
}

fn accuracy(run: &Run) -> Value {
    let (evaluation, answers) = (run.summary.evaluation.as_ref(), run.summary.answers.as_ref());
    json!({"nll": evaluation.map(|pair| pair[1].nll), "accuracy": answers.map(|pair| pair[1].accuracy)})
}

fn table_row(runs: &[Value]) -> Value {
    let moments = |key: &str| {
        runs.iter()
            .filter_map(|run| run[key].as_f64())
            .collect::<Moments>()
    };
    let (accuracy, nll) = (moments("accuracy"), moments("nll"));
    json!({
        "accuracy": accuracy.mean(), "accuracy_std": accuracy.std(), "nll": nll.mean(),
        "runs": runs.iter().map(|run| run["accuracy"].clone()).collect::<Vec<_>>(),
    })
}

/// The kind of a demonstration: the first part of its id.
fn kind(id: &str) -> &str {
    id.split('-').next().unwrap_or_default()
}

/// Statistics of the moving averages of a run, by kind.
fn found(run: &Run, seed: u64) -> Value {
    let averages = |wanted: &dyn Fn(&str) -> bool| -> Vec<f64> {
        run.averages
            .iter()
            .filter(|sample| wanted(kind(&sample.id)))
            .filter_map(|sample| sample.average)
            .collect()
    };
    let clean = averages(&|kind| kind == "clean");
    let objective = run
        .prepared
        .recipe
        .objective
        .compatibility()
        .cloned()
        .unwrap_or_default();
    // The weight of each sample in its last step.
    let mut weights: BTreeMap<&str, Moments> = BTreeMap::new();
    for sample in &run.averages {
        let weight = sample.last_z.map(|z| objective.weight(z));
        for name in [
            kind(&sample.id),
            if kind(&sample.id) == "clean" {
                "all clean"
            } else {
                "all planted"
            },
        ] {
            weight
                .into_iter()
                .for_each(|weight| weights.entry(name).or_default().push(weight));
        }
    }
    let kinds = ["offstyle", "shuffled", "swapped", "wrong"];
    let areas: BTreeMap<_, _> = kinds
        .map(|name| (name, area(&averages(&|kind| kind == name), &clean)))
        .into();
    json!({
        "seed": seed, "arm": "cadft",
        "auc": area(&averages(&|kind| kind != "clean"), &clean), "auc_by_kind": areas,
        "mean_weight": weights.iter().map(|(name, moments)| (*name, moments.mean())).collect::<BTreeMap<_, _>>(),
    })
}

/// The probability that a value of `high` is above a value of `low`; ties count half.
fn area(high: &[f64], low: &[f64]) -> f64 {
    let pairs = high
        .iter()
        .flat_map(|h| low.iter().map(move |l| (h.total_cmp(l) as i8 as f64 + 1.0) / 2.0));
    pairs.collect::<Moments>().mean()
}

/// Statistics of the rewritten samples, and the cost of rewriting.
fn rewritten(run: &Run, seed: u64, objective: &str) -> Result<Value> {
    let samples: Vec<&SampleRecord> = (run.records.iter())
        .filter_map(|record| match record {
            Record::Sample(sample) => Some(sample),
            _ => None,
        })
        .collect();
    let replaced: Vec<&SampleRecord> = (samples.iter().copied())
        .filter(|sample| sample.decision == Decision::Replaced)
        .collect();
    let planted = |samples: &[&SampleRecord]| {
        samples
            .iter()
            .filter(|sample| kind(&sample.id) != "clean")
            .count()
    };
    let extract = cadft_train::evaluate::Extractor::Number.compile().ok();
    let answer = |text: &str| extract.as_ref().and_then(|extract| extract.answer(text));
    let right = |side: fn(&SampleRecord) -> Option<&str>| {
        let is_right = |sample: &&&SampleRecord| {
            let reference = run.prepared.train.get(sample.sample).answer;
            side(sample)
                .zip(reference)
                .is_some_and(|(text, reference)| answer(text) == answer(&reference))
        };
        replaced.iter().filter(is_right).count()
    };
    let old: Moments = replaced.iter().map(|sample| sample.average).collect();
    let new: Moments = replaced
        .iter()
        .filter_map(|sample| run.averages[sample.sample].average)
        .collect();
    let [before, after] = final_scores(run, &replaced)?;
    Ok(json!({
        "seed": seed, "arm": format!("{objective} with rewriting"),
        "chosen": samples.len(), "chosen_planted": planted(&samples),
        "replaced": replaced.len(), "replaced_planted": planted(&replaced),
        "right_before": right(|sample| sample.old.as_ref().map(|side| side.text.as_str())),
        "right_after": right(|sample| sample.new.as_ref().map(|side| side.text.as_str())),
        "average_before": old.mean(), "average_after": new.mean(), "seen_after": new.count(),
        "final_score_of_old": before, "final_score_of_new": after,
        "rounds_secs": run.rounds_secs, "cost": cost(run)?,
    }))
}

/// Mean score of the old and the new text of replaced samples, under the model at the end of the run.
fn final_scores(run: &Run, replaced: &[&SampleRecord]) -> Result<[f64; 2]> {
    let stop = run.prepared.tokenizer.stop_token_ids();
    let last = cadft_train::rewrite::replay(&run.records, &run.prepared.train, stop)?.examples;
    let old: Vec<Example> = replaced
        .iter()
        .map(|sample| run.prepared.train.get(sample.sample))
        .collect();
    let new: Vec<Example> = replaced
        .iter()
        .map(|sample| last[&sample.sample].clone())
        .collect();
    let model = checkpoint::load(&run.directory.join("model"), &run.prepared.device)?.model;
    let mean = |examples: &[Example]| {
        score_samples(&model, examples, 16)
            .map(|score| score.nll)
            .collect::<Moments>()
            .mean()
    };
    Ok([mean(&old), mean(&new)])
}

/// The cost of tracking samples and writing the log, as a share of the time of the steps.
fn cost(run: &Run) -> Result<Value> {
    const TIMES: u32 = 10_000;
    let mut tracker = Tracker::new(run.prepared.train.len(), 0.9);
    let started = Instant::now();
    for step in 0..TIMES {
        (0..32).for_each(|sample| tracker.observe(sample, f64::from(step)));
    }
    let observe = started.elapsed().as_secs_f64() / f64::from(TIMES);
    std::hint::black_box(&tracker);
    let rounds: Vec<&[Record]> = run
        .records
        .split_inclusive(|record| matches!(record, Record::Round(_)))
        .collect();
    let path = run.directory.join("again.jsonl");
    let started = Instant::now();
    for round in &rounds {
        RewriteLog::open(&path)?.append(round)?;
    }
    let log = started.elapsed().as_secs_f64();
    let steps = run.step_secs * run.summary.steps as f64;
    Ok(json!({
        "step_secs": run.step_secs, "observe_secs_a_step": observe, "log_secs_a_round": log / rounds.len().max(1) as f64,
        "share_of_step_time": (observe * run.summary.steps as f64 + log) / steps,
    }))
}
