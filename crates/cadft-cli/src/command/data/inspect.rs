//! `cadft data inspect`.

use crate::args::InspectArgs;
use crate::console::{counted, next};
use crate::model::{self, sources, warn_about};
use crate::output;
use crate::shown::Shown;
use anyhow::Result;
use cadft_data::{InspectedToken, Mixing, TokenizeOptions, first_rows, inspect, tokenize};
use cadft_files::visible_name;
use console::{Style, colors_enabled};
use schemars::JsonSchema;
use serde::Serialize;

/// A sample, as JSON.
#[derive(Serialize, JsonSchema)]
pub(in crate::command) struct Sample<'a> {
    /// The row's id.
    id: &'a str,
    /// Its tokens, in order.
    tokens: &'a [InspectedToken],
}

pub(crate) fn run(args: &InspectArgs) -> Result<()> {
    let sources = sources(&args.input.data, &args.input.source)?;
    let limit = args.limit.unwrap_or(usize::MAX);
    let rows = first_rows(&sources, &Mixing::default(), limit, |_| true)?;
    let tokenizer = model::tokenizer(&args.input.model, args.input.adapter.as_deref())?;
    let tokenizer = args.template.tokenizer(tokenizer)?;
    let options = TokenizeOptions::new(args.max_length, args.mask.into());
    let dataset = tokenize(&rows, &tokenizer, &options)?;
    warn_about(&dataset.report, args.max_length);
    if !args.json {
        output::line(legend())?;
    }
    for example in &dataset.examples {
        let tokens = inspect(example, &tokenizer);
        if args.json {
            let id = &example.id;
            output::json_line(&Sample { id, tokens: &tokens })?;
        } else {
            let heading = format!(
                "── {}: {}, {} trained",
                visible_name(&example.id),
                counted(example.token_ids.len(), "token"),
                example.supervised()
            );
            let text = if colors_enabled() {
                coloured(&tokens)
            } else {
                Shown::from(marked(&tokens))
            };
            output::line(Shown::from(format!("\n{heading}\n")).and(text))?;
        }
    }
    next::looked_at(Some(args.input.given()), &args.input.data);
    Ok(())
}

fn legend() -> Shown {
    if colors_enabled() {
        Shown::styled(&style(true, false), "trained")
            .and(" ")
            .and(Shown::styled(&style(false, false), "context"))
            .and(" ")
            .and(Shown::styled(&style(false, true), "<|special|>"))
    } else {
        Shown::from("⟦trained⟧ context")
    }
}

fn style(trained: bool, special: bool) -> Style {
    match (trained, special) {
        (true, false) => Style::new().green(),
        (true, true) => Style::new().green().bold().underlined(),
        (false, false) => Style::new().dim(),
        (false, true) => Style::new().cyan().dim(),
    }
}

fn coloured(tokens: &[InspectedToken]) -> Shown {
    tokens
        .iter()
        .map(|token| Shown::styled(&style(token.trained, token.special), &token.text))
        .collect()
}

/// The text with `⟦…⟧` around the trained parts.
fn marked(tokens: &[InspectedToken]) -> String {
    let mut text = String::new();
    let mut was_trained = false;
    for token in tokens {
        match (was_trained, token.trained) {
            (false, true) => text.push('⟦'),
            (true, false) => text.push('⟧'),
            _ => {}
        }
        text.push_str(&token.text);
        was_trained = token.trained;
    }
    if was_trained {
        text.push('⟧');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trained_spans_are_bracketed() {
        let token = |text: &str, trained| InspectedToken {
            id: 0,
            text: text.to_owned(),
            trained,
            special: false,
        };
        let tokens = [
            token("a", false),
            token("b", true),
            token("c", true),
            token("d", false),
            token("e", true),
        ];
        assert_eq!(marked(&tokens), "a⟦bc⟧d⟦e⟧");
        assert_eq!(marked(&[]), "");
    }
}
