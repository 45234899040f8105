//! Names from the network: which of them may become part of a path.

/// Whether a text is a commit or a git hash: 40 hexadecimal digits.
#[must_use]
pub fn is_commit(text: &str) -> bool {
    is_hex(text, 40)
}

/// Whether a text consists of exactly `digits` lower-case hexadecimal digits.
pub(crate) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The content's tag from an `ETag` header, without quotes; `None` if it cannot be a file name.
///
/// Weak tags, `W/"…"`, are accepted, as in Python.
#[must_use]
pub fn etag(header: &str) -> Option<&str> {
    const LONGEST: usize = 128;
    let tag = header.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let tag = tag
        .strip_prefix('"')
        .and_then(|tag| tag.strip_suffix('"'))
        .unwrap_or(tag);
    let is_legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let is_name = (1..=LONGEST).contains(&tag.len()) && tag.bytes().all(is_legal);
    // A name with the ending of a partial download would be mistaken for one.
    (is_name && !tag.starts_with('.') && !tag.ends_with('.') && !tag.ends_with(".incomplete")).then_some(tag)
}

/// Why a name cannot be a file below a directory; `None` if it can.
///
/// A valid name consists of parts separated by `/`. A part is not empty, `.` or `..`, does not look like a Windows
/// drive, has at most 255 bytes, and consists of visible characters without `\`. On Windows, reserved names and
/// characters are refused too.
#[must_use]
pub fn problem(name: &str) -> Option<&'static str> {
    const LONGEST: usize = 1024;
    if name.len() > LONGEST {
        return Some("is longer than 1024 bytes");
    }
    name.split('/').find_map(problem_of_part)
}

fn problem_of_part(part: &str) -> Option<&'static str> {
    let is_drive = matches!(part.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    match part {
        "" => Some("is empty, begins or ends with `/`, or has `//`"),
        "." | ".." => Some("has a part `.` or `..`"),
        _ if part.len() > 255 => Some("has a part of more than 255 bytes"),
        _ if part.contains('\\') => Some("has a `\\`"),
        _ if is_drive => Some("has a part that is a drive of Windows"),
        _ if part.chars().any(steers) => Some("has a character that is not visible"),
        _ if cfg!(windows) && is_kept_by_windows(part) => Some("is not a name on Windows"),
        _ => None,
    }
}

/// Whether a character is a control character, or invisible and changes how others are shown.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn is_kept_by_windows(part: &str) -> bool {
    let stem = part
        .split('.')
        .next()
        .unwrap_or(part)
        .trim_end()
        .to_ascii_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix)
            .is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
    };
    part.contains([':', '*', '?', '"', '<', '>', '|'])
        || part.ends_with(['.', ' '])
        || ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str())
        || numbered("COM")
        || numbered("LPT")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn a_tag_is_taken_out_of_its_quotes_or_refused() {
        for (header, tag) in [
            ("\"abc-1\"", Some("abc-1")),
            ("W/\"abc\"", Some("abc")),
            ("abc", Some("abc")),
            ("\"\"", None),
            ("\"..\"", None),
            ("\".hidden\"", None),
            ("\"../x\"", None),
            ("\"/etc/passwd\"", None),
            ("\"a b\"", None),
            ("\"a\u{1b}\"", None),
            ("\"C:x\"", None),
            ("\"a.incomplete\"", None),
        ] {
            assert_eq!(etag(header), tag, "{header:?}");
        }
        assert_eq!(etag(&"a".repeat(129)), None);
    }

    #[test]
    fn a_commit_is_forty_digits() {
        assert!(is_commit(&"0a".repeat(20)));
        for text in [
            "",
            "main",
            &"0a".repeat(21),
            &"0A".repeat(20),
            &"../".repeat(20)[..40],
        ] {
            assert!(!is_commit(text), "{text:?}");
        }
    }

    #[test]
    fn names_of_files_stay_below_their_directory() {
        for name in [
            "config.json",
            "data/train-00000-of-00002.parquet",
            "päth with spaces/día.jsonl",
            "con.jsonl",
            "2024-01-01T00:00.jsonl",
            "..a",
        ] {
            assert_eq!(
                problem(name).is_some(),
                cfg!(windows) && (name.contains(':') || name.starts_with("con")),
                "{name}"
            );
        }
        for name in [
            "",
            "/etc/passwd",
            "../a",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "\\\\server\\x",
            "C:x",
            "a/c:",
            "a\0b",
            "a\u{1b}[2Jb",
            "a\nb",
            "\u{202e}lnosj",
            &"a".repeat(256),
            &"a/".repeat(600),
        ] {
            assert!(problem(name).is_some(), "{name:?}");
        }
    }

    #[test]
    fn windows_keeps_names_for_itself() {
        for name in ["con", "NUL.jsonl", "com1.txt", "lpt9", "a:b", "a?", "a.", "a "] {
            assert!(is_kept_by_windows(name), "{name:?}");
        }
        for name in ["console", "com", "com10", "a.b"] {
            assert!(!is_kept_by_windows(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_without_a_problem_has_only_normal_parts(name in "([./a\\\\:\u{1b}]|\\PC){0,12}") {
            if problem(&name).is_none() {
                let parts: Vec<_> = Path::new(&name).components().collect();
                prop_assert!(!parts.is_empty());
                prop_assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(parts.len(), name.split('/').count());
            }
        }
    }
}
