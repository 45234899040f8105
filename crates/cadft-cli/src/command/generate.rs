//! `cadft generate`.

use crate::args::GenerateArgs;
use crate::model::{OpenModel, sources};
use crate::output;
use anyhow::Result;
use cadft_data::{Content, Message, Row, SpecialTokens, Tokenizer, prompt_ids, prompt_text};
use cadft_model::generate::generate;
use cadft_model::{Finish, Generated};
use cadft_train::prepare::load_rows;
use serde::Serialize;

/// What is answered.
struct Prompt {
    id: Option<String>,
    /// The prompt as typed, or the text of the row's prompt.
    text: String,
    token_ids: Vec<u32>,
}

/// The answer to one prompt.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    prompt: &'a str,
    text: String,
    tokens: usize,
    finish: &'static str,
    token_ids: &'a [u32],
}

pub(crate) fn run(args: &GenerateArgs) -> Result<()> {
    let sources = sources(&args.data, &args.source)?;
    let opened = OpenModel::open(&args.model, &args.device)?;
    let tokenizer = &opened.tokenizer;
    let prompts = match &args.prompt {
        Some(text) => vec![typed(text, args.raw, tokenizer)?],
        None => rows(&load_rows(&sources)?, tokenizer)?,
    };
    let longest = prompts.iter().map(|prompt| prompt.token_ids.len()).max();
    let options = opened.options(&args.sampling, longest.unwrap_or(0))?;
    for (number, batch) in prompts.chunks(args.batch).enumerate() {
        let ids: Vec<_> = batch.iter().map(|prompt| prompt.token_ids.clone()).collect();
        let answers = generate(&opened.model, &ids, &options, &mut |_, _| {})?;
        for (index, (prompt, generated)) in batch.iter().zip(&answers).enumerate() {
            let answer = answer(prompt, generated, tokenizer)?;
            if args.json {
                output::json_line(&answer)?;
            } else {
                if number + index > 0 {
                    output::line("")?;
                }
                output::line(&answer.text)?;
            }
        }
    }
    Ok(())
}

/// A prompt from the command line: a user's turn where the model has a chat template.
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

fn answer<'a>(prompt: &'a Prompt, generated: &'a Generated, tokenizer: &Tokenizer) -> Result<Answer<'a>> {
    Ok(Answer {
        id: prompt.id.as_deref(),
        prompt: &prompt.text,
        text: tokenizer.decode(&generated.token_ids, SpecialTokens::Skip)?,
        tokens: generated.token_ids.len(),
        finish: match generated.finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
        },
        token_ids: &generated.token_ids,
    })
}
