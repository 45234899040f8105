//! The final answer in a text.

/// The final answer of `text`: the number after the last `####`, else the last number, else the trimmed text.
///
/// Numbers are compared as written, without `$`, thousands separators, and trailing zeros of a fraction.
///
/// ```
/// use cadft_train::evaluate::extract_answer;
/// assert_eq!(extract_answer("3 + 4 = 7\n#### 1,007.50"), "1007.5");
/// assert_eq!(extract_answer("The answer is 12."), "12");
/// assert_eq!(extract_answer(" yes "), "yes");
/// ```
#[must_use]
pub fn extract_answer(text: &str) -> String {
    let marked = text.rsplit_once("####").map(|(_, after)| after);
    let number = marked
        .and_then(|after| numbers(after).next())
        .or_else(|| numbers(marked.unwrap_or(text)).last());
    number.unwrap_or_else(|| marked.unwrap_or(text).trim().to_owned())
}

/// The numbers of a text, normalised.
fn numbers(text: &str) -> impl Iterator<Item = String> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, ',' | '.' | '-');
    text.split(move |c| !is_part(c)).filter_map(|word| {
        let word = word.trim_end_matches(['.', ',', '-']);
        // A minus sign belongs to the number only in front of it: `3-4` ends in 4.
        let (negative, digits) = match word.rfind('-') {
            Some(0) => (true, &word[1..]),
            Some(dash) => (false, &word[dash + 1..]),
            None => (false, word),
        };
        let digits = digits.replace(',', "");
        let value = if digits.contains('.') {
            digits.trim_end_matches('0').trim_end_matches('.')
        } else {
            digits.as_str()
        };
        let is_number =
            value.chars().any(|c| c.is_ascii_digit()) && value.chars().filter(|&c| c == '.').count() <= 1;
        is_number.then(|| format!("{}{value}", if negative && value != "0" { "-" } else { "" }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marked_number_wins_over_later_ones() {
        assert_eq!(extract_answer("5 + 6 = 11\n#### 11\nThat took 3 steps"), "11");
        assert_eq!(extract_answer("#### 3 then #### -4"), "-4");
    }

    #[test]
    fn numbers_are_normalised() {
        assert_eq!(extract_answer("$1,200.00"), "1200");
        assert_eq!(extract_answer("-0"), "0");
        assert_eq!(extract_answer("7-4"), "4");
        assert_eq!(extract_answer("it is 5."), "5");
        assert_eq!(extract_answer("0.50"), extract_answer("0.5"));
    }

    #[test]
    fn text_without_a_number_is_compared_as_text() {
        assert_eq!(extract_answer("  no idea "), "no idea");
        assert_eq!(extract_answer("x ####  blue "), "blue");
    }
}
