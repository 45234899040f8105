//! Text of others, made fit to be shown.

use std::fmt::{self, Display, Write};

/// More of a foreign text is not shown.
const LONGEST: usize = 300;

/// Shows a text that another machine or file chose: characters that steer a terminal, or that change the direction of
/// the text, as `\u{1b}`; a long one is cut.
pub(crate) struct Visible<'a>(pub(crate) &'a str);

impl Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, c) in self.0.chars().enumerate() {
            if count == LONGEST {
                return f.write_str("…");
            }
            if steers(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Whether a character is one of control, or is not seen but changes how others are.
pub(crate) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The first of several names, and how many more there are.
pub(crate) fn some_of<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{}`", Visible(name.as_ref())))
        .collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_shown_as_it_is() {
        let shown = Visible("a\u{1b}[2J\n\u{202e}b\u{9b}é").to_string();
        assert_eq!(shown, r"a\u{1b}[2J\u{a}\u{202e}b\u{9b}é");
        assert!(Visible(&"x".repeat(1000)).to_string().chars().count() == LONGEST + 1);
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let names: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        assert!(some_of(&names).ends_with("`9` and 2 more"));
        assert_eq!(some_of(&names[..2]), "`0`, `1`");
    }
}
