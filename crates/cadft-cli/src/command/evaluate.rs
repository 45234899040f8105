//! `cadft evaluate`.

use crate::args::{AnswerArgs, EvaluateArgs};
use crate::console::{Activity, count, counted, next, percent};
use crate::destination;
use crate::hint::UsageError;
use crate::model::OpenInput;
use crate::output;
use anyhow::{Context, Result};
use cadft_files::shown;
use cadft_model::GenerateOptions;
use cadft_step::Ranks;
use cadft_train::data::Question;
use cadft_train::evaluate::{
    Answered, Answers, EvaluatedSource, Evaluation, answer_questions, score_samples_watched,
    summarise_by_source,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::Path;

/// What was measured.
#[derive(Serialize, JsonSchema)]
pub(super) struct Report {
    #[serde(flatten)]
    evaluation: Evaluation,
    /// With `--generate` or `--answers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Answers>,
}

pub(crate) fn run(args: &EvaluateArgs) -> Result<()> {
    check(&args.answers)?;
    destination::file_of(args.answers.out.as_deref(), &args.input)?;
    let opened = OpenInput::open(&args.input, &args.scoring)?;
    let samples = opened.samples()?;
    let asked = args.answers.questions().unwrap_or(0);
    let questions = opened.reader.questions(&opened.data.train, asked)?;
    let scoring = Activity::of("evaluating", samples.len());
    let watch = |done| {
        scoring.at(done);
        ControlFlow::Continue(())
    };
    let scores = score_samples_watched(Ranks::solo(), &opened.model, &samples, opened.micro, watch);
    let evaluation = summarise_by_source(scores, &opened.data.train);
    drop(scoring);
    let answered = match args.answers.questions() {
        None => None,
        Some(_) => Some(answer(&opened, &args.answers, &questions)?),
    };
    if let (Some(path), Some(answered)) = (&args.answers.out, &answered) {
        write(path, answered)?;
    }
    let report = Report {
        evaluation,
        answers: answered
            .as_deref()
            .map(|answered| Answers::summarise_by_source(answered, &questions, &opened.data.train)),
    };
    if args.json {
        output::json_line(&report)
    } else {
        output::table(&rows(&report))?;
        next::evaluated(args.input.given());
        Ok(())
    }
}

fn check(args: &AnswerArgs) -> Result<()> {
    let refuse = |message: &str, hint: &str| Err(UsageError::new(message, hint).into());
    if args.samples > 1 && args.temperature == 0.0 {
        return refuse(
            &format!("`--samples {}`: greedy answers are all the same", args.samples),
            "set a temperature, such as `--temperature 0.7`",
        );
    }
    if args.out.is_some() && args.questions().is_none() {
        return refuse(
            "`--out` writes answers, and none are asked for",
            "add `--generate`",
        );
    }
    Ok(args.sampling().check()?)
}

fn answer(opened: &OpenInput, args: &AnswerArgs, questions: &[Question]) -> Result<Vec<Answered>> {
    let options = GenerateOptions {
        max_new_tokens: args.max_new_tokens,
        max_positions: opened.config.max_position_embeddings,
        stop_token_ids: opened.reader.tokenizer().stop_token_ids().to_vec(),
        sampling: args.sampling(),
        batch: args.batch,
    };
    let extract = args.extractor.compile()?;
    let how = (&extract, args.samples);
    let answering = Activity::begin(format!("answering {}", counted(questions.len(), "question")));
    let answered = answer_questions(&opened.model, opened.reader.tokenizer(), questions, &options, how)?;
    drop(answering);
    Ok(answered)
}

/// Writes one line for each question. The file is complete, or not written at all.
fn write(path: &Path, answered: &[Answered]) -> Result<()> {
    let mut lines = String::new();
    for question in answered {
        writeln!(lines, "{}", serde_json::to_string(question)?)?;
    }
    cadft_files::write(path, lines).with_context(|| format!("cannot write `{}`", shown(path)))
}

fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let Evaluation {
        samples,
        tokens,
        supervised,
        nll,
        perplexity,
        token_accuracy,
        sources,
    } = &report.evaluation;
    let mut rows = vec![
        ("samples", count(*samples)),
        ("tokens", count(*tokens)),
        ("supervised", count(*supervised)),
        ("nll", format!("{nll:.4}")),
        ("perplexity", format!("{perplexity:.4}")),
        ("token accuracy", percent(*token_accuracy)),
    ];
    rows.extend(sources.iter().map(|source| {
        let EvaluatedSource { path, nll, .. } = source;
        ("nll of a source", format!("{nll:.4}  {}", shown(path)))
    }));
    rows.extend(report.answers.iter().flat_map(answer_rows));
    rows
}

fn answer_rows(answers: &Answers) -> Vec<(&'static str, String)> {
    let all = answers.questions * answers.samples;
    let error = answers
        .standard_error
        .map_or_else(String::new, |error| format!(" ± {}", percent(error)));
    let mut rows = vec![("questions", answers.questions.to_string())];
    if answers.samples > 1 {
        rows.push(("answers each", answers.samples.to_string()));
    }
    rows.push(("right", format!("{} of {all}", answers.correct)));
    let name = if answers.samples > 1 { "avg@k" } else { "pass@1" };
    rows.push((name, format!("{}{error}", percent(answers.accuracy))));
    for (k, pass) in answers.pass_at.iter().filter(|_| answers.samples > 1) {
        rows.push(("pass@k", format!("{} (k = {k})", percent(*pass))));
    }
    rows.extend(answers.sources.iter().map(|source| {
        let share = percent(source.accuracy);
        ("right of a source", format!("{share}  {}", shown(&source.path)))
    }));
    for (name, value) in [
        ("entropy of answers", answers.answer_entropy),
        ("distinct texts", answers.distinct_texts),
    ] {
        rows.extend(value.map(|value| (name, format!("{value:.3}"))));
    }
    rows.push(("ended on a stop token", format!("{} of {all}", answers.stopped)));
    rows.push(("without an answer", answers.without_answer.to_string()));
    rows
}
