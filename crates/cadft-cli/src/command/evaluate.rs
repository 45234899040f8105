//! `cadft evaluate`.

use crate::args::EvaluateArgs;
use crate::console::percent;
use crate::model::{OpenModel, sources, warn_about};
use crate::output;
use anyhow::Result;
use cadft_train::evaluate::{Answers, Evaluation, answer_questions, score_samples, summarise};
use cadft_train::prepare::{load_examples, load_rows, questions};
use serde::Serialize;

/// Questions that are answered in one batch.
const ANSWER_BATCH: usize = 32;

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    evaluation: Evaluation,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Answers>,
}

pub(crate) fn run(args: &EvaluateArgs) -> Result<()> {
    let sources = sources(&args.input.data, &args.input.source)?;
    let OpenModel {
        model,
        config,
        tokenizer,
    } = OpenModel::open(&args.input.model, &args.device)?;
    let dataset = load_examples(&sources, &tokenizer, &config)?;
    warn_about(&dataset, config.max_position_embeddings);
    let questions = match args.answers {
        None => vec![],
        Some(limit) => questions(&load_rows(&sources)?, &tokenizer, limit.unwrap_or(usize::MAX))?,
    };
    let pad_id = tokenizer.pad_token_id();
    let evaluation = summarise(&score_samples(&model, &dataset.examples, args.micro, pad_id));
    let answers = match args.answers {
        None => None,
        Some(_) => Some(answer_questions(
            &model,
            &tokenizer,
            &questions,
            args.max_new_tokens,
            ANSWER_BATCH,
        )?),
    };
    let report = Report { evaluation, answers };
    if args.json {
        output::json_line(&report)
    } else {
        show(&report)
    }
}

fn show(report: &Report) -> Result<()> {
    let Evaluation {
        samples,
        tokens,
        supervised,
        nll,
        perplexity,
        token_accuracy,
    } = &report.evaluation;
    let mut rows = vec![
        ("samples", samples.to_string()),
        ("tokens", tokens.to_string()),
        ("supervised", supervised.to_string()),
        ("nll", format!("{nll:.4}")),
        ("perplexity", format!("{perplexity:.4}")),
        ("token accuracy", percent(*token_accuracy)),
    ];
    if let Some(answers) = &report.answers {
        rows.push((
            "answers",
            format!(
                "{} of {} right ({}), {} ended on a stop token",
                answers.correct,
                answers.questions,
                percent(answers.accuracy),
                answers.stopped
            ),
        ));
    }
    output::table(&rows)
}
