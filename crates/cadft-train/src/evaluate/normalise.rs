//! Normalises answers, so that equal answers become equal texts.
//!
//! Follows the normalisation of the MATH benchmark (Hendrycks et al. 2021, arXiv 2103.03874; Lewkowycz et al. 2022,
//! 2206.14858, appendix D), as evaluation harnesses apply it: LaTeX spacing and delimiters, `\text`, units, currency
//! and percent signs are removed, `\frac12` becomes `\frac{1}{2}`, and only the text after the last `=` counts. Ours:
//! numbers are compared by their exact value, so that `1/2`, `\frac{1}{2}` and `0.50` are equal.

use regex::Regex;
use std::sync::LazyLock;

use super::number::Rational;

/// Commands and signs without meaning for the answer.
const REMOVED: &[&str] = &[
    "\\left",
    "\\right",
    "\\!",
    "\\,",
    "\\;",
    "\\:",
    "\\ ",
    "\\displaystyle",
    "{,}",
    "\\$",
    "$",
    "\\%",
    "%",
    "^{\\circ}",
    "^\\circ",
    "\\circ",
    "°",
    "\\mathrm{th}",
    "\\ldots",
    "\\dots",
    "€",
    "£",
    "\"",
    "**",
];
/// Commands whose argument is the answer.
const UNWRAPPED: &[&str] = &[
    "\\boxed",
    "\\fbox",
    "\\textbf",
    "\\text",
    "\\mbox",
    "\\mathrm",
    "\\mathbf",
    "\\textit",
    "\\overline",
];
/// Words after a number that are units.
static UNIT: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"^(.*[\d})])(?:\\text\{|\\mbox\{|\\mathrm\{)?\s*[a-zA-Z][a-zA-Z\s.]*\}?(?:\^\{?[23]\}?)?$";
    Regex::new(pattern).expect("the pattern is valid")
});
/// `\frac` and `\sqrt` without braces.
static SHORT_FRACTION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\\frac\s*([^{\s\\])\s*([^{\s\\])").expect("the pattern is valid"));
static SHORT_ROOT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\\sqrt\s*([^{\[\s\\])").expect("the pattern is valid"));

/// The normal form of an answer.
///
/// ```
/// use cadft_train::evaluate::normalise;
/// assert_eq!(normalise("$1,200.00"), "1200");
/// assert_eq!(normalise(r"x = \dfrac{1}{2}"), normalise("0.5"));
/// assert_eq!(normalise(r"\text{ Monday }."), "Monday");
/// ```
#[must_use]
pub fn normalise(answer: &str) -> String {
    let text = answer.trim().trim_end_matches(['.', ',', ';']);
    let text = text.rsplit_once('=').map_or(text, |(_, after)| after).trim();
    let text = text.trim_start_matches("$").trim_end_matches("$");
    if let Some(value) = number(&cleaned(text)) {
        return value.text();
    }
    // A number with a unit counts as the number.
    if let Some(captures) = UNIT.captures(text)
        && let Some(value) = number(&cleaned(&captures[1]))
    {
        return value.text();
    }
    cleaned(text)
}

/// Removes [`REMOVED`] and spaces around operators.
fn cleaned(text: &str) -> String {
    let mut text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac");
    for removed in REMOVED {
        text = text.replace(removed, "");
    }
    for command in UNWRAPPED {
        while let Some((before, inside, after)) = braced(&text, command) {
            text = format!("{before}{}{after}", inside.trim());
        }
    }
    let text = SHORT_FRACTION.replace_all(&text, r"\frac{$1}{$2}");
    let text = SHORT_ROOT.replace_all(&text, r"\sqrt{$1}");
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    // Keep spaces only between words.
    let mut kept = String::new();
    let characters: Vec<char> = text.chars().collect();
    for (index, &character) in characters.iter().enumerate() {
        let is_letter = |at: Option<usize>| {
            at.and_then(|at| characters.get(at))
                .is_some_and(|c| c.is_alphabetic())
        };
        if character != ' ' || (is_letter(index.checked_sub(1)) && is_letter(Some(index + 1))) {
            kept.push(character);
        }
    }
    kept.trim_end_matches(['.', ',', ';']).to_owned()
}

/// The parts of `text` around `command{…}`: before it, inside the braces, and after it.
pub(super) fn braced<'a>(text: &'a str, command: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let opening = format!("{command}{{");
    let at = text.find(&opening)?;
    let inside = &text[at + opening.len()..];
    let end = closing(inside)?;
    Some((&text[..at], &inside[..end], &inside[end + 1..]))
}

/// The position of the brace that closes the one open at the beginning of `text`.
pub(super) fn closing(text: &str) -> Option<usize> {
    let mut depth = 1usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The value of a cleaned text that is a number: decimal, fraction, mixed number or power of ten.
fn number(text: &str) -> Option<Rational> {
    if let Some(positive) = text.strip_prefix('-')
        && !positive.starts_with(['-', '+'])
    {
        return number(positive)?.multiply(Rational::new(-1, 1)?);
    }
    if let Some((whole, inside, rest)) = braced(text, "\\frac") {
        let bottom = rest.strip_prefix('{')?.strip_suffix('}')?;
        let fraction = number(inside)?.divide(number(bottom)?)?;
        return if whole.is_empty() {
            Some(fraction)
        } else {
            plain(whole)?.add(fraction)
        };
    }
    if let Some((mantissa, power)) = text
        .split_once("\\times10^")
        .or_else(|| text.split_once("\\cdot10^"))
    {
        let power = power.trim_start_matches('{').trim_end_matches('}');
        return Rational::decimal(&format!("{}e{power}", mantissa.replace(',', "")));
    }
    match text.split_once('/') {
        Some((top, bottom)) => plain(top)?.divide(plain(bottom)?),
        None => plain(text),
    }
}

/// A decimal number, with or without thousands separators.
fn plain(text: &str) -> Option<Rational> {
    let text = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
        .unwrap_or(text);
    let whole = text.split('.').next().unwrap_or(text);
    let mut groups = whole.split(',');
    let first = groups.next()?;
    let is_grouped = groups.clone().next().is_none()
        || ((1..=3).contains(&first.trim_start_matches('+').len()) && groups.all(|group| group.len() == 3));
    is_grouped
        .then(|| Rational::decimal(&text.replace(',', "")))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_are_written_alike() {
        let table: &[(&str, &[&str])] = &[
            (
                "1200",
                &[
                    "1,200",
                    "$1,200.00",
                    "\\$1{,}200",
                    "1200.",
                    " 1200 ",
                    "1\\,200",
                    "1200 dollars",
                    "1200\\text{ m}",
                ],
            ),
            (
                "0.5",
                &[
                    "1/2",
                    "\\frac{1}{2}",
                    "\\dfrac12",
                    "\\frac 1 2",
                    "\\tfrac{2}{4}",
                    ".5",
                    "0.50",
                    "$\\frac{1}{2}$",
                ],
            ),
            (
                "1.5",
                &["1\\frac{1}{2}", "3/2", "\\frac{3}{2}\\text{ hours}", "1.5 hours"],
            ),
            ("-2/3", &["-\\frac{2}{3}", "\\frac{-2}{3}", "-2/3", "x=-\\frac23"]),
            (
                "50",
                &[
                    "50%",
                    "50\\%",
                    "50 \\%",
                    "x = 50",
                    "f(x)=50",
                    "5\\times10^1",
                    "0.5\\times 10^{2}",
                ],
            ),
            (
                "30",
                &[
                    "30^\\circ",
                    "30^{\\circ}",
                    "30°",
                    "30\\text{ degrees}",
                    "30 cm^2",
                    "30\\mbox{ cm}^2",
                    "30 sq. ft",
                ],
            ),
            (
                "Monday",
                &["\\text{Monday}", "Monday.", " \\textbf{Monday} ", "**Monday**"],
            ),
            (
                "(3,\\frac{\\pi}{2})",
                &["\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\frac{\\pi}{2})"],
            ),
            ("\\sqrt{2}", &["\\sqrt2", "$\\sqrt{2}$"]),
            ("2\\sqrt{3}", &["2 \\sqrt{3}", "2\\sqrt3"]),
            ("two words", &["two  words", "\\text{two words}"]),
            ("0", &["-0", "0.000", "0/7"]),
        ];
        for (expected, written) in table {
            for text in *written {
                assert_eq!(normalise(text), *expected, "{text}");
            }
        }
    }

    #[test]
    fn different_answers_stay_different() {
        for (a, b) in [
            ("1,2", "12"),
            ("(1,2)", "(1,3)"),
            ("1/2", "2"),
            ("x+1", "x-1"),
            ("\\frac{1}{3}", "0.333"),
            ("12", "-12"),
            ("1/0", "1"),
            ("\\frac{a}{b}", "\\frac{b}{a}"),
            ("B", "C"),
            ("", "0"),
        ] {
            assert_ne!(normalise(a), normalise(b), "{a} and {b}");
        }
    }
}
