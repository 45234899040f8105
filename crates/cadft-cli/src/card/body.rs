//! The text of a card.

use super::record::{Record, sources};
use super::{Card, papers, settings};
use crate::console::{count, counted, percent};
use cadft_files::visible_name;
use cadft_train::hub::Spec;
use serde_json::Value;
use std::fmt::Write;

const HOME: &str = "https://github.com/cadft/cadft";

/// Appends the text below the metadata.
pub(super) fn write(text: &mut String, card: &Card<'_>) {
    let name = card.id.rsplit('/').next().unwrap_or(card.id);
    let _ = writeln!(text, "# {name}\n");
    introduction(text, card);
    if let Some(record) = card.record {
        data(text, record);
        method(text, record);
        results(text, record);
        checks(text, record);
    }
    usage(text, card);
}

fn introduction(text: &mut String, card: &Card<'_>) {
    let what = if card.is_adapter { "An adapter" } else { "A model" };
    let of = match card.base_model {
        Some(base) if card.is_adapter => format!(" for [{base}](https://huggingface.co/{base})"),
        Some(base) => format!(", fine-tuned from [{base}](https://huggingface.co/{base})"),
        None => String::new(),
    };
    let program = match card.record {
        Some(_) => format!("Trained with [cadft]({HOME})."),
        None => format!("Sent with [cadft]({HOME}), which knows nothing of its training."),
    };
    let _ = writeln!(text, "{what}{of}. {program}");
    if card.license.is_none() {
        text.push_str("\nNo licence is given. That of the base model and those of the data apply.\n");
    }
}

/// Tables of the sources, with the numbers of their rows.
fn data(text: &mut String, record: &Record) {
    for (heading, key) in [("Training data", "sources"), ("Evaluation data", "eval_sources")] {
        let sources = sources(&record.plan[key]);
        if sources.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n## {heading}\n");
        text.push_str("| source | rows | used | of these cut | left out | tokens | with a loss |\n");
        text.push_str("|---|---|---|---|---|---|---|\n");
        for source in sources {
            let numbers = ["rows", "kept", "truncated", "dropped", "tokens", "supervised"];
            let numbers = numbers.map(|key| number(&source[key]));
            let name = source_name(source["path"].as_str().unwrap_or_default());
            let _ = writeln!(text, "| {name} | {} |", numbers.join(" | "));
        }
    }
    if record.rewritten > 0 {
        let rewritten = count_of(record.rewritten);
        let _ = writeln!(
            text,
            "\nDuring training, {rewritten} demonstrations were replaced by answers of the model itself."
        );
    }
}

/// The name of a source: a data set of the Hub, or the last part of a path.
fn source_name(path: &str) -> String {
    match Spec::parse(path) {
        Ok(Some(spec)) => {
            let file = spec.file.as_deref().map(|file| format!(", {}", code(file)));
            let revision = (spec.revision != "main").then(|| format!(", at {}", code(&spec.revision)));
            format!(
                "[{id}](https://huggingface.co/datasets/{id}){}{}",
                revision.unwrap_or_default(),
                file.unwrap_or_default(),
                id = spec.id
            )
        }
        _ => {
            let parts = path.rsplit(['/', '\\']);
            let last = parts
                .into_iter()
                .find(|part| !part.is_empty())
                .unwrap_or_default();
            format!("{}, a local file", code(last))
        }
    }
}

/// A foreign text as code in a table.
fn code(text: &str) -> String {
    let plain = visible_name(text).replace(['`', '|', '<', '>'], "_");
    format!("`{plain}`")
}

fn method(text: &mut String, record: &Record) {
    let plan = &record.plan;
    text.push_str("\n## Method\n\n");
    let objective = plan["objective"].as_str().unwrap_or("unknown");
    let _ = write!(text, "Objective: {}", code(objective));
    if let Some((title, number)) = papers::of(objective) {
        let _ = write!(
            text,
            " (*{title}*, arXiv [{number}](https://arxiv.org/abs/{number}))"
        );
    }
    if let Some(start) = plan["start"].as_str() {
        let steps = plan["start_steps"]
            .as_u64()
            .and_then(|steps| usize::try_from(steps).ok());
        let _ = write!(
            text,
            ", after {} of {}",
            counted(steps.unwrap_or(0), "step"),
            code(start)
        );
    }
    let _ = writeln!(
        text,
        ". {} optimizer steps with {}; {} parameters trained, of a model of {}. The defaults and meanings of all \
         settings are in the [reference]({HOME}/blob/main/docs/src/reference/recipe.md).",
        number(&record.finished["steps"]),
        match record.recipe["optimizer"]["kind"].as_str() {
            Some("adafactor") => "Adafactor",
            Some("muon") => "Muon",
            _ => "AdamW",
        },
        number(&plan["trainable"]),
        number(&plan["parameters"]),
    );
    text.push_str("\n| setting | value |\n|---|---|\n");
    for (key, value) in settings::of(&record.recipe) {
        let _ = writeln!(text, "| `{key}` | {} |", code(&value));
    }
}

fn results(text: &mut String, record: &Record) {
    let pair = |key: &str| match record.finished[key].as_array().map(Vec::as_slice) {
        Some([before, after]) => Some([before, after]),
        _ => None,
    };
    let mut rows: Vec<(String, [String; 2])> = vec![];
    let mut samples = None;
    if let Some(pair) = pair("evaluation") {
        samples = pair[1]["samples"].as_u64();
        let digits = |value: &Value| {
            value
                .as_f64()
                .map_or("not finite".to_owned(), |value| format!("{value:.4}"))
        };
        rows.push(("NLL, nats a token".to_owned(), pair.map(|e| digits(&e["nll"]))));
        rows.push(("perplexity".to_owned(), pair.map(|e| digits(&e["perplexity"]))));
        let share = |value: &Value| value.as_f64().map_or("not finite".to_owned(), percent);
        rows.push((
            "token accuracy".to_owned(),
            pair.map(|e| share(&e["token_accuracy"])),
        ));
    }
    if let Some(pair) = pair("answers") {
        let right = |answers: &Value| {
            let all = answers["questions"].as_u64().unwrap_or(0) * answers["samples"].as_u64().unwrap_or(1);
            format!("{} of {}", number(&answers["correct"]), count_of(all))
        };
        rows.push(("right answers, by generation".to_owned(), pair.map(right)));
    }
    text.push_str("\n## Results\n\n");
    if rows.is_empty() {
        text.push_str("Nothing was evaluated.\n");
        return;
    }
    if let Some(samples) = samples {
        let _ = writeln!(text, "On {} evaluation samples:\n", count_of(samples));
    }
    text.push_str("| | before training | after |\n|---|---|---|\n");
    for (name, [before, after]) in rows {
        let _ = writeln!(text, "| {name} | {before} | {after} |");
    }
}

fn checks(text: &mut String, record: &Record) {
    let version = |key: &str| code(record.environment[key].as_str().unwrap_or("unknown"));
    text.push_str("\n## How it was checked\n\n");
    text.push_str(
        "The numbers above are those that the run itself computed, with the recipe above. No benchmark was run, and \
         nothing was checked for bias, safety or memorised text.\n\n",
    );
    let _ = writeln!(
        text,
        "The tests of cadft compare its models, likelihoods, gradients and optimizer steps with PyTorch and transformers; \
         they are about the program, not about this model. Versions: cadft {}, Burn {}.",
        version("cadft"),
        version("burn"),
    );
}

fn usage(text: &mut String, card: &Card<'_>) {
    let id = card.id;
    text.push_str("\n## Use\n\n```python\n");
    if card.is_adapter {
        let _ = writeln!(
            text,
            "from peft import AutoPeftModelForCausalLM\n\nmodel = AutoPeftModelForCausalLM.from_pretrained(\"{id}\")"
        );
    } else {
        let _ = writeln!(
            text,
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
             model = AutoModelForCausalLM.from_pretrained(\"{id}\")\n\
             tokenizer = AutoTokenizer.from_pretrained(\"{id}\")"
        );
    }
    let _ = writeln!(text, "```\n\nOr `cadft chat --model hf://{id}`.");
}

fn number(value: &Value) -> String {
    value.as_u64().map_or_else(|| "unknown".to_owned(), count_of)
}

fn count_of(number: u64) -> String {
    usize::try_from(number).map_or_else(|_| number.to_string(), count)
}
