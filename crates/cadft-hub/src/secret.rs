//! A token or password that is never shown.

use std::fmt;

/// The value of an `Authorization` header; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    scheme: &'static str,
    value: String,
    /// The secret parts of the value, if they are long enough to be distinguished from other text.
    parts: Vec<String>,
}

impl Secret {
    /// A token; `None` if it is empty or has characters that no token has, such as a line end.
    #[must_use]
    pub fn token(text: &str) -> Option<Self> {
        let token = text.trim();
        let is_plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        is_plain.then(|| Self::new("Bearer", token.to_owned(), vec![]))
    }

    /// A user name and a password.
    pub(crate) fn password(user: &str, password: &str) -> Self {
        use base64::Engine;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Self::new("Basic", pair, vec![password.to_owned()])
    }

    fn new(scheme: &'static str, value: String, mut parts: Vec<String>) -> Self {
        const SHORTEST: usize = 4;
        parts.push(value.clone());
        parts.retain(|part| part.len() >= SHORTEST);
        Self { scheme, value, parts }
    }

    /// The value of the header.
    pub(crate) fn header(&self) -> String {
        format!("{} {}", self.scheme, self.value)
    }

    /// Replaces the secret in a text: a server may repeat it.
    pub(crate) fn hide(&self, text: &str) -> String {
        let hide = |text: String, part: &String| text.replace(part, "[secret]");
        self.parts.iter().fold(text.to_owned(), hide)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown_and_never_breaks_a_header() {
        let token = Secret::token(" hf_abc\r\n").unwrap();
        assert_eq!(token.header(), "Bearer hf_abc");
        assert!(!format!("{token:?}").contains("abc"));
        assert_eq!(token.hide("no user has hf_abc."), "no user has [secret].");
        for text in ["", " \n", "a\r\nX-Evil: 1", "a b", "é"] {
            assert_eq!(Secret::token(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_password_is_sent_as_the_standard_says() {
        let password = Secret::password("Aladdin", "open sesame");
        assert_eq!(password.header(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(
            password.hide("QWxhZGRpbjpvcGVuIHNlc2FtZQ== is open sesame"),
            "[secret] is [secret]"
        );
    }
}
