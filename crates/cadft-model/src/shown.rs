//! Texts and lists in messages, cut to a readable length.

/// Largest number of characters of a text in a message.
const LONGEST: usize = 120;

/// Largest number of problems in a message.
const MOST: usize = 20;

/// The beginning of a text that is too long; otherwise the whole text.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The first problems, and the number of further ones.
pub(crate) fn shortened(problems: &[String]) -> Vec<String> {
    let mut shown = problems[..problems.len().min(MOST)].to_vec();
    if problems.len() > MOST {
        shown.push(format!("and {} more", problems.len() - MOST));
    }
    shown
}
