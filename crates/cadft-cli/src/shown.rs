//! Text for users. Foreign text cannot control the terminal; only our own code adds colours.

use cadft_files::visible_text;
use console::Style;

/// Text to show. A conversion from a string makes control characters visible, so only [`Shown::styled`] can add escape
/// sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown(String);

impl Shown {
    /// Text in a style, if the terminal supports styles.
    pub(crate) fn styled(style: &Style, text: &str) -> Self {
        Self(style.apply_to(visible_text(text)).to_string())
    }

    /// Appends text.
    pub(crate) fn and(mut self, more: impl Into<Self>) -> Self {
        self.0.push_str(&more.into().0);
        self
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Shown {
    fn from(text: &str) -> Self {
        Self(visible_text(text).into_owned())
    }
}

impl From<&String> for Shown {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<String> for Shown {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl FromIterator<Self> for Shown {
    fn from_iter<I: IntoIterator<Item = Self>>(parts: I) -> Self {
        parts.into_iter().fold(Self::default(), Self::and)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_styles_bring_escape_sequences() {
        let red = Style::new().red().force_styling(true);
        let shown = Shown::from("a\u{1b}[8m").and(Shown::styled(&red, "b\u{1b}[0m"));
        assert_eq!(shown.as_str(), "a\\u{1b}[8m\u{1b}[31mb\\u{1b}[0m\u{1b}[0m");
    }
}
