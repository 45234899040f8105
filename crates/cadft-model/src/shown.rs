//! Texts and lists in messages, short enough to be read.

/// Characters of a text that a message shows.
const LONGEST: usize = 120;

/// Problems that a message shows.
const MOST: usize = 20;

/// The beginning of a long text.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The first problems, and how many there are beside them.
pub(crate) fn shortened(problems: &[String]) -> Vec<String> {
    let mut shown = problems[..problems.len().min(MOST)].to_vec();
    if problems.len() > MOST {
        shown.push(format!("and {} more", problems.len() - MOST));
    }
    shown
}
