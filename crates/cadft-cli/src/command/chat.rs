//! `cadft chat`.

use crate::answer_text::AnswerText;
use crate::args::ChatArgs;
use crate::console::note;
use crate::model::OpenModel;
use crate::output;
use anyhow::{Context, Result};
use cadft_data::{Content, Message, Row, prompt_ids};
use cadft_model::generate::generate;
use cadft_model::{GenerateOptions, Request};
use cadft_train::room;
use std::io::{self, BufRead, IsTerminal, Write};
use std::ops::ControlFlow;

pub(crate) fn run(args: &ChatArgs) -> Result<()> {
    let opened = OpenModel::open(&args.model, args.adapter.as_deref(), &args.device)?;
    opened.tokenizer.chat_template()?;
    let options = opened.options(&args.sampling, 1);
    let system: Vec<_> = args
        .system
        .iter()
        .map(|text| Message::new("system", text))
        .collect();
    let mut messages = system.clone();
    let stdin = io::stdin();
    let is_terminal = stdin.is_terminal();
    if is_terminal {
        note("`/reset` forgets the conversation, `/exit` ends it");
    }
    let mut lines = stdin.lock().lines();
    loop {
        if is_terminal {
            let _ = write!(io::stderr(), "> ");
        }
        let Some(line) = lines.next() else { return Ok(()) };
        let line = line.context("cannot read standard input")?;
        match line.trim() {
            "" => {}
            "/exit" => return Ok(()),
            "/reset" => messages.clone_from(&system),
            text => {
                messages.push(Message::new("user", text));
                let answer = answer(&opened, args, &options, &messages)?;
                messages.push(Message::new("assistant", &answer));
            }
        }
    }
}

/// Answers a conversation, printing each piece as it comes.
fn answer(
    opened: &OpenModel,
    args: &ChatArgs,
    options: &GenerateOptions,
    messages: &[Message],
) -> Result<String> {
    let tokenizer = &opened.tokenizer;
    let row = Row::new(Content::Messages {
        messages: messages.to_vec(),
        tools: vec![],
        trained_from: None,
    });
    let prompt = prompt_ids(&row, tokenizer)?;
    let request = Request { prompt, stream: 0 };
    let options = room::fitting(&opened.model, std::slice::from_ref(&request), options)?;
    let mut text = AnswerText::new(tokenizer, &args.sampling.stop);
    let mut printed = Ok(());
    generate(&opened.model, &[request], &options, &mut |_, token| {
        let flow = text.push(token).and_then(|flow| {
            output::exact(&text.news())?;
            Ok(flow)
        });
        flow.unwrap_or_else(|error| {
            printed = Err(error);
            ControlFlow::Break(())
        })
    })?;
    printed?;
    output::exact(&(text.rest() + "\n"))?;
    Ok(text.into_text())
}
