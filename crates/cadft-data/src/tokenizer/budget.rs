//! Limits for a `tokenizer.json`, which comes from a download like a chat template.
//!
//! The output of a normaliser that lengthens text is limited before it runs. Endless backtracking of a regular
//! expression is stopped by the regex engine's own limit. A panic of a damaged pipeline becomes an error.

use std::ffi::c_ulong;
use std::sync::Once;

use serde_json::Value;

use super::config::{TOKENIZER, invalid};
use crate::error::DataError;
use crate::read::caught;

/// Largest factor by which a normaliser may lengthen a text. SentencePiece's normalisers turn one byte into three.
const MOST_GROWTH: f64 = 256.0;

/// Largest size of a text in bytes, before and after normalisation. Each byte may become a token, for which
/// `tokenizers` keeps over a hundred bytes.
pub(crate) const LONGEST: usize = 4 << 20;

/// Number of retries of a regular expression in one search.
const MOST_RETRIES: c_ulong = 10_000_000;

/// Upper bound of the factor by which a tokenizer's normaliser lengthens a text.
pub(super) fn growth(inner: &tokenizers::Tokenizer) -> Result<f64, DataError> {
    let normalizer = inner
        .get_normalizer()
        .and_then(|part| serde_json::to_value(part).ok());
    let decoder = inner
        .get_decoder()
        .and_then(|part| serde_json::to_value(part).ok());
    let mut most: f64 = 1.0;
    for (name, part, children) in [
        ("normalizer", &normalizer, "normalizers"),
        ("decoder", &decoder, "decoders"),
    ] {
        let growth = part.as_ref().map_or(1.0, |part| growth_of(part, children));
        if growth > MOST_GROWTH {
            let message = format!("its `{name}` can make a text more than {MOST_GROWTH} times as long");
            return Err(invalid(
                TOKENIZER,
                &message,
                "look at its steps of the type `Replace`",
            ));
        }
        if name == "normalizer" {
            most = growth;
        }
    }
    Ok(most)
}

fn growth_of(part: &Value, children: &str) -> f64 {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map_or(0, str::len) as f64;
    match part.get("type").and_then(Value::as_str) {
        Some("Sequence") => {
            let children = part.get(children).and_then(Value::as_array);
            let growths = children
                .into_iter()
                .flatten()
                .map(|child| growth_of(child, "normalizers"));
            growths.product()
        }
        Some("Replace") => {
            let content = text(part.get("content"));
            let pattern = part.get("pattern");
            match pattern
                .and_then(|pattern| pattern.get("String"))
                .and_then(Value::as_str)
            {
                Some("") => content + 1.0,
                Some(pattern) => (content / pattern.len() as f64).max(1.0),
                // A regular expression may match the empty text at every position.
                None => content + 1.0,
            }
        }
        _ => 1.0,
    }
}

/// Refuses a text that is too long, or may become too long.
pub(super) fn check(text: &str, growth: f64) -> Result<(), DataError> {
    if text.len() as f64 * growth <= LONGEST as f64 {
        return Ok(());
    }
    let made = if growth > 1.0 {
        format!(", and its normaliser may make it {growth:.0} times as long")
    } else {
        String::new()
    };
    Err(DataError::Conversation {
        message: format!(
            "a text of {} bytes is too long{made}: at most {} MiB are tokenised at a time",
            text.len(),
            LONGEST >> 20
        ),
        hint: "split it into several rows".to_owned(),
    })
}

/// Calls the tokenizer; a panic becomes an error.
pub(super) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, DataError> {
    static LIMIT: Once = Once::new();
    LIMIT.call_once(|| {
        // SAFETY: the function sets a number that later searches read; it has no other requirements.
        unsafe {
            onig_sys::onig_set_retry_limit_in_search(MOST_RETRIES);
        }
    });
    caught(run).map_err(|reason| {
        let hint = "the file is damaged, or made to do harm; get it again from where the model came from";
        invalid(TOKENIZER, &reason, hint)
    })
}
