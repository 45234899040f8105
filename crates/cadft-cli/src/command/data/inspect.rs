//! `cadft data inspect`.

use crate::args::InspectArgs;
use crate::model::{self, sources, warn_about};
use crate::output;
use anyhow::Result;
use cadft_data::{InspectedToken, Mixing, TokenizeOptions, Tokenizer, first_rows, inspect, tokenize};
use console::{Style, colors_enabled};
use serde::Serialize;

/// A sample, as JSON.
#[derive(Serialize)]
struct Sample<'a> {
    id: &'a str,
    tokens: &'a [InspectedToken],
}

pub(crate) fn run(args: &InspectArgs) -> Result<()> {
    let sources = sources(&args.input.data, &args.input.source)?;
    let limit = args.limit.unwrap_or(usize::MAX);
    let rows = first_rows(&sources, &Mixing::default(), limit, |_| true)?;
    let tokenizer = Tokenizer::from_dir(&model::directory(&args.input.model)?)?;
    let options = TokenizeOptions::new(args.max_length, args.mask.into());
    let dataset = tokenize(&rows, &tokenizer, &options)?;
    warn_about(&dataset.report, args.max_length);
    if !args.json {
        output::line(&legend())?;
    }
    for example in &dataset.examples {
        let tokens = inspect(example, &tokenizer);
        if args.json {
            let id = &example.id;
            output::json_line(&Sample { id, tokens: &tokens })?;
        } else {
            let heading = format!(
                "── {}: {} tokens, {} trained",
                example.id,
                example.token_ids.len(),
                example.supervised()
            );
            let text = if colors_enabled() {
                coloured(&tokens)
            } else {
                marked(&tokens)
            };
            output::line(&format!("\n{heading}\n{text}"))?;
        }
    }
    Ok(())
}

fn legend() -> String {
    if colors_enabled() {
        format!(
            "{} {} {}",
            style(true, false).apply_to("trained"),
            style(false, false).apply_to("context"),
            style(false, true).apply_to("<|special|>"),
        )
    } else {
        "⟦trained⟧ context".to_owned()
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

fn coloured(tokens: &[InspectedToken]) -> String {
    tokens
        .iter()
        .map(|token| {
            style(token.trained, token.special)
                .apply_to(&token.text)
                .to_string()
        })
        .collect()
}

/// The text with `⟦…⟧` around what is trained.
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
