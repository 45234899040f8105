//! `cadft chat`.

use crate::answer_text::AnswerText;
use crate::args::ChatArgs;
use crate::console::{next, note};
use crate::exit::Exit;
use crate::lines::{Lines, Typed};
use crate::model::OpenModel;
use crate::output;
use anyhow::{Context, Result};
use cadft_data::{Content, Message, Row, prompt_ids};
use cadft_model::generate::generate;
use cadft_model::{GenerateOptions, Request};
use cadft_train::room;
use signal_hook::consts::SIGINT;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) fn run(args: &ChatArgs) -> Result<Exit> {
    let opened = OpenModel::open(&args.model, args.adapter.as_deref(), &args.device)?;
    opened.tokenizer.chat_template()?;
    let options = opened.options(&args.sampling, 1);
    let system: Vec<_> = args
        .system
        .iter()
        .map(|text| Message::new("system", text))
        .collect();
    let mut messages = system.clone();
    let mut lines = Lines::new();
    let stop = Arc::new(AtomicBool::new(true));
    if lines.is_terminal() {
        // Ctrl-C ends the answer. If no answer is being generated, or at the second time, it ends the program.
        let code = i32::from(Exit::Interrupted.code());
        signal_hook::flag::register_conditional_shutdown(SIGINT, code, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(SIGINT, Arc::clone(&stop)))
            .context("cannot listen to signals")?;
        note(HELP);
    }
    loop {
        let line = match lines.next()? {
            Typed::Line(line) => line,
            Typed::Interrupt => return Ok(Exit::Interrupted),
            Typed::End => break,
        };
        match line.trim() {
            "" => {}
            "/exit" => break,
            "/reset" => messages.clone_from(&system),
            command if command.starts_with('/') && lines.is_terminal() => note(HELP),
            text => {
                messages.push(Message::new("user", text));
                stop.store(false, Ordering::Relaxed);
                let answer = answer(&opened, args, &options, &messages, &stop)?;
                // Between answers, a signal ends the program.
                stop.store(true, Ordering::Relaxed);
                messages.push(Message::new("assistant", &answer));
            }
        }
    }
    next::chatted(next::Given(&args.model, args.adapter.as_deref()));
    Ok(Exit::Done)
}

/// Commands that can be typed instead of a message.
const HELP: &str = "`/reset` forgets the conversation, `/exit` or Ctrl-D ends it; Ctrl-C ends an answer, and between answers the program";

/// Answers a conversation, printing each piece as it comes.
fn answer(
    opened: &OpenModel,
    args: &ChatArgs,
    options: &GenerateOptions,
    messages: &[Message],
    stop: &AtomicBool,
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
            Ok(if stop.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                flow
            })
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
