//! The facts of a run that a page shows next to the curves.

use super::rewrites::{self, Round};
use super::run::Run;
use super::samples::{Incompatible, least_compatible};
use super::text::{digits, percent, plain, shortened};
use super::texts;
use crate::console::counted;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Events with a table of their own, and steps.
const KNOWN_EVENTS: [&str; 6] = ["started", "evaluated", "answered", "saved", "warned", "finished"];

/// Largest number of warnings and other events that are shown.
const MOST_EVENTS: usize = 100;

/// The facts of a run for the template.
#[derive(Serialize)]
pub(super) struct Summary {
    name: String,
    objective: String,
    state: String,
    steps: String,
    elapsed: String,
    before_after: Vec<BeforeAfter>,
    evaluations: Vec<EvaluationRow>,
    warnings: Vec<Notice>,
    events: Vec<Notice>,
    rounds: Vec<Round>,
    least_compatible: Vec<Incompatible>,
    broken: usize,
}

/// A measure before and after training.
#[derive(Serialize)]
struct BeforeAfter {
    name: &'static str,
    before: String,
    after: String,
}

/// An evaluation of the likelihood or of answers.
#[derive(Serialize)]
struct EvaluationRow {
    step: u64,
    nll: String,
    perplexity: String,
    token_accuracy: String,
    answers: String,
}

/// Something that happened at a step.
#[derive(Serialize)]
struct Notice {
    step: String,
    what: String,
    hint: String,
}

impl Summary {
    /// The summary of one of `runs` runs.
    pub(super) fn of(run: &Run, runs: usize) -> Self {
        let finished = run.events_named("finished").last();
        let planned = run.events_named("started").last().map(|event| &event["plan"]);
        let done = run
            .steps
            .last()
            .map_or(0, |step| step["step"].as_u64().unwrap_or(0));
        let total = planned.and_then(|plan| plan["steps"].as_u64());
        let state = match finished {
            Some(event) if event.get("interrupted") == Some(&Value::Bool(true)) => "interrupted",
            Some(_) => "finished",
            None if run.steps.is_empty() => "no step yet",
            None => "not finished",
        };
        let elapsed = finished.and_then(|event| event.get("elapsed_secs")?.as_f64());
        let mut rounds = rewrites::rounds(&run.rewrites, runs);
        let mut least_compatible = least_compatible(run);
        add_texts(run, &mut rounds, &mut least_compatible);
        Self {
            name: run.name.clone(),
            objective: objective(planned),
            state: state.to_owned(),
            steps: total.map_or_else(|| done.to_string(), |total| format!("{done} of {total}")),
            elapsed: elapsed.map_or_else(String::new, duration),
            before_after: before_after(finished),
            evaluations: evaluations(run),
            warnings: run.events_named("warned").take(MOST_EVENTS).map(notice).collect(),
            events: run
                .events
                .iter()
                .filter(|event| !KNOWN_EVENTS.iter().any(|known| event["event"] == *known))
                .take(MOST_EVENTS)
                .map(other)
                .collect(),
            rounds,
            least_compatible,
            broken: run.broken,
        }
    }
}

/// Longest text of a sample that is shown, in characters.
const LONGEST: usize = 600;

/// Adds the questions and answers of the samples.
fn add_texts(run: &Run, rounds: &mut [Round], least_compatible: &mut [Incompatible]) {
    let rewritten = || {
        rounds
            .iter()
            .flat_map(|round| &round.samples)
            .map(|sample| sample.id.as_str())
    };
    let ids = rewritten()
        .chain(least_compatible.iter().map(|sample| sample.id.as_str()))
        .collect();
    let texts = texts::of(run, &ids);
    let question = |id: &str| {
        let text = texts.get(id).and_then(|text| text.question.as_deref());
        shortened(text.unwrap_or_default(), LONGEST)
    };
    for sample in rounds.iter_mut().flat_map(|round| &mut round.samples) {
        sample.prompt = question(&sample.id);
    }
    for sample in least_compatible {
        sample.question = question(&sample.id);
        let answer = texts.get(&sample.id).map_or("", |text| &text.answer);
        sample.answer = shortened(answer, LONGEST);
    }
}

/// The evaluations, one row for each step.
fn evaluations(run: &Run) -> Vec<EvaluationRow> {
    let mut rows: BTreeMap<u64, EvaluationRow> = BTreeMap::new();
    for event in &run.events {
        let (Some(name), Some(step)) = (event["event"].as_str(), event.get("step").and_then(Value::as_u64))
        else {
            continue;
        };
        if !matches!(name, "evaluated" | "answered") {
            continue;
        }
        let row = rows.entry(step).or_insert_with(|| EvaluationRow {
            step,
            nll: String::new(),
            perplexity: String::new(),
            token_accuracy: String::new(),
            answers: String::new(),
        });
        if name == "evaluated" {
            row.nll = digits(event.get("nll"));
            row.perplexity = digits(event.get("perplexity"));
            row.token_accuracy = percent(event.get("token_accuracy"));
        } else {
            row.answers = answers(&Value::Object(event.clone()));
        }
    }
    // Of many evaluations, show the first and the last.
    let skip = rows.len().saturating_sub(MOST_EVENTS);
    rows.into_values()
        .enumerate()
        .filter(|(index, _)| *index == 0 || *index > skip)
        .map(|(_, row)| row)
        .collect()
}

fn objective(plan: Option<&Value>) -> String {
    let Some(plan) = plan else { return String::new() };
    let objective = plan["objective"].as_str().unwrap_or_default();
    match plan["start"].as_str() {
        Some(start) => {
            let steps = plan["start_steps"]
                .as_u64()
                .and_then(|steps| usize::try_from(steps).ok());
            format!(
                "{start} for {}, then {objective}",
                counted(steps.unwrap_or(0), "step")
            )
        }
        None => objective.to_owned(),
    }
}

fn before_after(finished: Option<&Map<String, Value>>) -> Vec<BeforeAfter> {
    let Some(finished) = finished else { return vec![] };
    let pair = |table: &str, show: &dyn Fn(&Value) -> String| {
        let pair = finished.get(table)?.as_array()?;
        Some([show(pair.first()?), show(pair.get(1)?)])
    };
    let rows = [
        ("eval NLL", pair("evaluation", &|e| digits(e.get("nll")))),
        (
            "eval token accuracy",
            pair("evaluation", &|e| percent(e.get("token_accuracy"))),
        ),
        ("right answers", pair("answers", &answers)),
    ];
    rows.into_iter()
        .filter_map(|(name, pair)| {
            let [before, after] = pair?;
            let [before, after] = [before, after].map(|text| unbroken(&text));
            Some(BeforeAfter { name, before, after })
        })
        .collect()
}

/// Makes a text breakable only before a bracket: a number stays with its unit.
fn unbroken(text: &str) -> String {
    text.replace(' ', "\u{a0}").replace("\u{a0}(", " (")
}

fn answers(value: &Value) -> String {
    format!(
        "{} of {} ({})",
        value["correct"],
        value["questions"],
        percent(value.get("accuracy"))
    )
}

fn notice(event: &Map<String, Value>) -> Notice {
    let text = |key: &str| {
        event
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Notice {
        step: step_text(event),
        what: text("message"),
        hint: text("hint"),
    }
}

/// An event that has no table of its own, as keys and values.
fn other(event: &Map<String, Value>) -> Notice {
    let values: Vec<String> = event
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "event" | "step" | "unix_secs"))
        .map(|(key, value)| format!("{key} {}", shortened(&shown(value), 200)))
        .collect();
    Notice {
        step: step_text(event),
        what: format!("{}: {}", plain(&event["event"]), values.join(", ")),
        hint: String::new(),
    }
}

/// A value as text. The changes of a resumed run are shown as pairs of values.
fn shown(value: &Value) -> String {
    let change = |change: &Value| {
        let key = change.get("key")?.as_str()?;
        Some(format!(
            "{key} from {} to {}",
            plain(change.get("was")?),
            plain(change.get("is")?)
        ))
    };
    let changes = value.as_array().filter(|changes| !changes.is_empty());
    let changes: Option<Vec<String>> = changes.and_then(|changes| changes.iter().map(change).collect());
    changes.map_or_else(|| plain(value), |changes| changes.join(", "))
}

fn step_text(event: &Map<String, Value>) -> String {
    event.get("step").map(plain).unwrap_or_default()
}

fn duration(secs: f64) -> String {
    let duration = std::time::Duration::try_from_secs_f64(secs.round()).unwrap_or_default();
    format!("{:#}", indicatif::HumanDuration(duration))
}
