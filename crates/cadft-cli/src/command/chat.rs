//! `cadft chat`.

use crate::args::ChatArgs;
use crate::console::note;
use crate::model::OpenModel;
use crate::output;
use anyhow::{Context, Result};
use cadft_data::{Content, Message, Row, SpecialTokens, Tokenizer, prompt_ids};
use cadft_model::generate::generate;
use std::io::{self, BufRead, IsTerminal, Write};

pub(crate) fn run(args: &ChatArgs) -> Result<()> {
    let opened = OpenModel::open(&args.model, &args.device)?;
    opened.tokenizer.chat_template()?;
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
                let answer = answer(&opened, args, &messages)?;
                messages.push(Message::new("assistant", &answer));
            }
        }
    }
}

/// Answers a conversation, printing each piece as it comes.
fn answer(opened: &OpenModel, args: &ChatArgs, messages: &[Message]) -> Result<String> {
    let tokenizer = &opened.tokenizer;
    let row = Row::new(Content::Messages {
        messages: messages.to_vec(),
        tools: vec![],
        trained_from: None,
    });
    let prompt = prompt_ids(&row, tokenizer)?;
    let options = opened.options(&args.sampling, prompt.len())?;
    let mut stream = Stream::default();
    let mut printed = Ok(());
    generate(&opened.model, &[prompt], &options, &mut |_, token| {
        if printed.is_ok() {
            printed = stream
                .push(token, tokenizer)
                .and_then(|piece| output::text(&piece));
        }
    })?;
    printed?;
    let answer = tokenizer.decode(&stream.token_ids, SpecialTokens::Skip)?;
    output::line(answer.get(stream.shown..).unwrap_or_default())?;
    Ok(answer)
}

/// Tokens that become text piece by piece.
#[derive(Default)]
struct Stream {
    token_ids: Vec<u32>,
    /// Bytes that were shown.
    shown: usize,
}

impl Stream {
    /// What a token adds to the text; nothing while it ends in the middle of a character.
    fn push(&mut self, token: u32, tokenizer: &Tokenizer) -> Result<String> {
        self.token_ids.push(token);
        let text = tokenizer.decode(&self.token_ids, SpecialTokens::Skip)?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        let piece = text.get(self.shown..).unwrap_or_default().to_owned();
        self.shown = text.len();
        Ok(piece)
    }
}
