//! `cadft generate`.

use crate::answer_text::AnswerText;
use crate::args::GenerateArgs;
use crate::console::{Activity, counted, next};
use crate::model::{OpenModel, sources};
use crate::output;
use anyhow::Result;
use cadft_data::{Content, Message, Mixing, Row, Tokenizer, prompt_ids, prompt_text, read_rows};
use cadft_model::generate::generate;
use cadft_model::{Finish, GenerateOptions, Generated, Request};
use cadft_train::room;
use schemars::JsonSchema;
use serde::Serialize;
use std::ops::ControlFlow;

/// Number of batches after which the finished answers are printed.
const ROUNDS: usize = 8;

/// A prompt to answer.
struct Prompt {
    id: Option<String>,
    /// The prompt as typed, or the text of the row's prompt.
    text: String,
    token_ids: Vec<u32>,
}

/// What ends an answer.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Ended {
    /// A stop token, or a text of `--stop`.
    Stop,
    /// `--max-new-tokens`.
    Length,
}

/// The answer to one prompt.
#[derive(Serialize, JsonSchema)]
pub(super) struct Answer<'a> {
    /// The row's id; with `--data` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    /// The prompt as typed, or the text of the row's prompt.
    prompt: &'a str,
    /// The answer.
    text: &'a str,
    /// Its tokens.
    tokens: usize,
    /// What ended it.
    finish: Ended,
    /// The tokens themselves.
    token_ids: &'a [u32],
}

pub(crate) fn run(args: &GenerateArgs) -> Result<()> {
    let sources = sources(&args.data, &args.source)?;
    let opened = OpenModel::open(&args.model, args.adapter.as_deref(), &args.device)?;
    let tokenizer = &opened.tokenizer;
    let prompts = match &args.prompt {
        Some(text) => vec![typed(text, args.raw, tokenizer)?],
        None => rows(&read_rows(&sources, &Mixing::default())?, tokenizer)?,
    };
    let ids: Vec<_> = prompts.iter().map(|prompt| prompt.token_ids.clone()).collect();
    let requests = Request::samples(&ids, args.samples);
    let options = opened.options(&args.sampling, args.batch);
    let options = room::fitting(&opened.model, &requests, &options)?;
    let mut is_first = true;
    // Print finished answers from time to time.
    for (part, requests) in requests.chunks(ROUNDS * args.batch).enumerate() {
        let answering = Activity::begin(format!("answering {}", counted(requests.len(), "prompt")));
        let answers = answers(&opened, args, requests, &options)?;
        drop(answering);
        for (index, (generated, text)) in answers.iter().enumerate() {
            let prompt = &prompts[(part * ROUNDS * args.batch + index) / args.samples];
            let answer = answer(prompt, generated, text);
            if args.json {
                output::json_line(&answer)?;
            } else {
                if !std::mem::take(&mut is_first) {
                    output::line("")?;
                }
                output::exact(&format!("{}\n", answer.text))?;
            }
        }
    }
    let model = next::Given(&args.model, args.adapter.as_deref());
    next::generated(model, args.data.as_deref());
    Ok(())
}

/// The answers to these requests, as texts.
fn answers(
    opened: &OpenModel,
    args: &GenerateArgs,
    requests: &[Request],
    options: &GenerateOptions,
) -> Result<Vec<(Generated, String)>> {
    let mut texts: Vec<_> = requests
        .iter()
        .map(|_| AnswerText::new(&opened.tokenizer, &args.sampling.stop))
        .collect();
    let mut failed = None;
    let answers = generate(&opened.model, requests, options, &mut |request, token| {
        texts[request].push(token).unwrap_or_else(|error| {
            failed = Some(error);
            ControlFlow::Break(())
        })
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok(answers
            .into_iter()
            .zip(texts.into_iter().map(AnswerText::into_text))
            .collect()),
    }
}

/// A prompt from the command line. If the model has a chat template, the text is a user's turn.
fn typed(text: &str, raw: bool, tokenizer: &Tokenizer) -> Result<Prompt> {
    let content = if raw || tokenizer.chat_template().is_err() {
        Content::PromptCompletion {
            prompt: text.to_owned(),
            completion: String::new(),
        }
    } else {
        Content::Messages {
            messages: vec![Message::new("user", text)],
            tools: vec![],
            trained_from: None,
        }
    };
    Ok(Prompt {
        id: None,
        text: text.to_owned(),
        token_ids: prompt_ids(&Row::new(content), tokenizer)?,
    })
}

fn rows(rows: &[Row], tokenizer: &Tokenizer) -> Result<Vec<Prompt>> {
    rows.iter()
        .map(|row| {
            Ok(Prompt {
                id: Some(row.id.clone()),
                text: prompt_text(row, tokenizer)?,
                token_ids: prompt_ids(row, tokenizer)?,
            })
        })
        .collect()
}

fn answer<'a>(prompt: &'a Prompt, generated: &'a Generated, text: &'a str) -> Answer<'a> {
    Answer {
        id: prompt.id.as_deref(),
        prompt: &prompt.text,
        text,
        tokens: generated.token_ids.len(),
        finish: match generated.finish {
            Finish::Stop => Ended::Stop,
            Finish::Length => Ended::Length,
        },
        token_ids: &generated.token_ids,
    }
}
