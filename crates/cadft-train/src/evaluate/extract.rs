//! Extracts the final answer of a text, and normalises it for comparison with the reference.

use regex::Regex;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

use super::normalise::{braced, closing, normalise};
use super::number::{Rational, numbers};

/// How to find the final answer in a text.
///
/// Written as `number`, `boxed`, `choice`, `exact` or `regex=PATTERN`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Extractor {
    /// The number after the last `####`, else the last number of the text, else the text itself.
    #[default]
    Number,
    /// The content of the last `\boxed{…}`.
    Boxed,
    /// A letter from A to J: after the last "answer is", in `\boxed{…}`, in parentheses, or alone on a line.
    Choice,
    /// The whole text, without leading and trailing whitespace.
    Exact,
    /// The first group in the last match of a regular expression; the whole match if there are no groups.
    Regex(String),
}

/// A regular expression that does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a regular expression: {message}")]
pub struct BadPattern {
    /// The pattern.
    pub pattern: String,
    /// The error of the compiler.
    pub message: String,
}

impl TryFrom<String> for Extractor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Extractor> for String {
    fn from(extractor: Extractor) -> Self {
        extractor.to_string()
    }
}

impl std::str::FromStr for Extractor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let extractor = match text.split_once('=') {
            Some(("regex", pattern)) => Self::Regex(pattern.to_owned()),
            _ => match text {
                "number" => Self::Number,
                "boxed" => Self::Boxed,
                "choice" => Self::Choice,
                "exact" => Self::Exact,
                _ => {
                    return Err("expected `number`, `boxed`, `choice`, `exact` or `regex=PATTERN`".to_owned());
                }
            },
        };
        extractor.compile().map_err(|error| error.to_string())?;
        Ok(extractor)
    }
}

impl std::fmt::Display for Extractor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number => formatter.write_str("number"),
            Self::Boxed => formatter.write_str("boxed"),
            Self::Choice => formatter.write_str("choice"),
            Self::Exact => formatter.write_str("exact"),
            Self::Regex(pattern) => write!(formatter, "regex={pattern}"),
        }
    }
}

impl Extractor {
    /// Prepares the extractor for use.
    ///
    /// # Errors
    /// If the regular expression does not compile.
    pub fn compile(&self) -> Result<Extract, BadPattern> {
        let pattern = match self {
            Self::Regex(pattern) => Some(Regex::new(pattern).map_err(|error| {
                BadPattern {
                    pattern: pattern.clone(),
                    message: error
                        .to_string()
                        .lines()
                        .last()
                        .unwrap_or_default()
                        .trim()
                        .to_owned(),
                }
            })?),
            _ => None,
        };
        Ok(Extract {
            extractor: self.clone(),
            pattern,
        })
    }
}

/// Finds final answers.
#[derive(Clone, Debug)]
pub struct Extract {
    extractor: Extractor,
    pattern: Option<Regex>,
}

impl Extract {
    /// The final answer of a text, normalised; `None` if there is none.
    ///
    /// ```
    /// use cadft_train::evaluate::Extractor;
    /// let number = Extractor::Number.compile()?;
    /// assert_eq!(number.answer("3 + 4 = 7\n#### 1,007.50").as_deref(), Some("1007.5"));
    /// let boxed = Extractor::Boxed.compile()?;
    /// assert_eq!(boxed.answer(r"So \boxed{\frac{1}{2}}.").as_deref(), Some("0.5"));
    /// assert_eq!(boxed.answer("So one half."), None);
    /// # Ok::<(), cadft_train::evaluate::BadPattern>(())
    /// ```
    #[must_use]
    pub fn answer(&self, text: &str) -> Option<String> {
        match &self.extractor {
            Extractor::Number => Some(last_number(text)),
            Extractor::Boxed => last_boxed(text).map(normalise),
            Extractor::Choice => choice(text),
            Extractor::Exact => Some(text.trim().to_owned()),
            Extractor::Regex(_) => {
                let captures = self.pattern.as_ref()?.captures_iter(text).last()?;
                let found = captures.get(1).or_else(|| captures.get(0))?;
                Some(normalise(found.as_str()))
            }
        }
    }

    /// The reference of a question, normalised. If `reference` contains a final answer like a generated text does, that
    /// answer is used, else the whole text.
    #[must_use]
    pub fn reference(&self, reference: &str) -> String {
        self.answer(reference).unwrap_or_else(|| normalise(reference))
    }
}

/// The number after the last `####`, else the last number, else the text.
fn last_number(text: &str) -> String {
    let marked = text.rsplit_once("####").map(|(_, after)| after);
    let number = marked
        .and_then(|after| numbers(after).first().copied())
        .or_else(|| numbers(marked.unwrap_or(text)).last().copied());
    number.map_or_else(|| marked.unwrap_or(text).trim().to_owned(), Rational::text)
}

/// The content of the last `\boxed{…}` or `\boxed …`.
fn last_boxed(text: &str) -> Option<&str> {
    let at = text
        .rfind("\\boxed")
        .into_iter()
        .chain(text.rfind("\\fbox"))
        .max()?;
    let after = text[at..]
        .trim_start_matches("\\boxed")
        .trim_start_matches("\\fbox");
    match after.strip_prefix('{') {
        Some(inside) => Some(&inside[..closing(inside)?]),
        None => after
            .split_whitespace()
            .next()
            .map(|word| word.trim_end_matches(['$', '.'])),
    }
}

static STATED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i:answer|choice|option)(?i:\s+is)?\s*:?\s*[\s*(\[$]*([A-J])\b")
        .expect("the pattern is valid")
});
static BRACKETED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\(([A-J])\)").expect("the pattern is valid"));
static ALONE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^[\s*]*([A-J])\**(?:[.:)]|\s*$)").expect("the pattern is valid"));

fn choice(text: &str) -> Option<String> {
    let last = |pattern: &Regex, text: &str| {
        pattern
            .captures_iter(text)
            .last()
            .map(|found| found[1].to_owned())
    };
    let boxed =
        last_boxed(text).map(|inside| braced(inside, "\\text").map_or(inside, |(_, letter, _)| letter));
    last(&STATED, text)
        .or_else(|| boxed.and_then(|inside| last(&BRACKETED, inside).or_else(|| last(&ALONE, inside))))
        .or_else(|| last(&BRACKETED, text))
        .or_else(|| last(&ALONE, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(extractor: &str, text: &str) -> Option<String> {
        extractor
            .parse::<Extractor>()
            .unwrap()
            .compile()
            .unwrap()
            .answer(text)
    }

    #[test]
    fn numbers_are_the_marked_or_the_last_one() {
        for (text, expected) in [
            ("5 + 6 = 11\n#### 11\nThat took 3 steps", "11"),
            ("#### 3 then #### -4", "-4"),
            ("$1,200.00", "1200"),
            ("-0", "0"),
            ("7-4", "4"),
            ("it is 5.", "5"),
            ("#### 3/4", "0.75"),
            ("  no idea ", "no idea"),
            ("x ####  blue ", "blue"),
        ] {
            assert_eq!(answer("number", text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn boxes_are_read_to_their_own_brace() {
        for (text, expected) in [
            (r"$\boxed{\frac{1}{\sqrt{2}}}$ and", Some(r"\frac{1}{\sqrt{2}}")),
            (r"\boxed{1} then \boxed{2}", Some("2")),
            (r"\boxed 7$.", Some("7")),
            (r"\fbox{3}", Some("3")),
            (r"\boxed{never closed", None),
            ("7", None),
        ] {
            assert_eq!(answer("boxed", text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn choices_are_letters_that_are_meant_as_such() {
        for (text, expected) in [
            ("A long story. The answer is (C).", Some("C")),
            ("The correct answer: **B**", Some("B")),
            ("First (A), no: (D)", Some("D")),
            ("C. Because I said so", Some("C")),
            (r"Thus \boxed{\text{E}}", Some("E")),
            ("B", Some("B")),
            ("A man walks. I do not know", None),
        ] {
            assert_eq!(answer("choice", text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn exact_and_regular_expressions_do_as_they_say() {
        assert_eq!(answer("exact", " yes \n").as_deref(), Some("yes"));
        assert_eq!(
            answer("regex=x = (\\S+)", "x = 1 x = 0.50").as_deref(),
            Some("0.5")
        );
        assert_eq!(answer("regex=[0-9]+", "7 8").as_deref(), Some("8"));
        assert_eq!(answer("regex=z", "7 8"), None);
        assert!(
            "regex=("
                .parse::<Extractor>()
                .unwrap_err()
                .contains("not a regular expression")
        );
        assert!(
            "words"
                .parse::<Extractor>()
                .unwrap_err()
                .contains("expected `number`")
        );
    }

    #[test]
    fn references_are_answers_or_texts_that_hold_them() {
        let boxed = Extractor::Boxed.compile().unwrap();
        assert_eq!(boxed.reference(r"so \boxed{12}"), "12");
        assert_eq!(boxed.reference("12.0"), "12");
        let choice = Extractor::Choice.compile().unwrap();
        assert_eq!(choice.reference("B"), "B");
    }
}
