//! Foreign text, made safe to show.

use cadft_files::visible_name;
use std::fmt::{self, Display};

/// Foreign texts are cut to this length.
const LONGEST: usize = 300;

/// Shows a foreign text in one line: control characters are escaped, and a long text is cut.
pub(crate) struct Visible<'a>(pub(crate) &'a str);

impl Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.char_indices().nth(LONGEST).map(|(end, _)| end);
        let shown = visible_name(&self.0[..end.unwrap_or(self.0.len())]);
        write!(f, "{shown}{}", if end.is_some() { "…" } else { "" })
    }
}

/// The first few names, and the number of further ones.
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
        assert_eq!(shown, r"a\u{1b}[2J\n\u{202e}b\u{9b}é");
        assert!(Visible(&"x".repeat(1000)).to_string().chars().count() == LONGEST + 1);
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let names: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        assert!(some_of(&names).ends_with("`9` and 2 more"));
        assert_eq!(some_of(&names[..2]), "`0`, `1`");
    }
}
