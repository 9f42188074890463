//! Access tokens and API keys. Owns: that one is sent as a bearer's, and never shown: not in messages, not in what is kept.

use std::fmt;

use hyper::header::{HeaderValue, InvalidHeaderValue};

/// What stands for a token in a text that would show it.
const HIDDEN: &str = "[hidden]";
/// Shorter texts are no secrets, and would be found in many words.
const HIDDEN_BYTES_MIN: usize = 8;

/// An access token. It is never shown.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// What is sent. A text of nothing but blanks is none: an unset variable often is an empty one.
    pub fn secret(&self) -> Option<&str> {
        Some(self.0.trim()).filter(|text| !text.is_empty())
    }

    /// The value of the header `authorization`; `None`: there is no token.
    ///
    /// # Errors
    /// When it has characters that no header may have.
    pub fn bearer(&self) -> Result<Option<HeaderValue>, InvalidHeaderValue> {
        self.after("Bearer ")
    }

    /// The value of a header that is nothing but it; `None`: there is no token.
    ///
    /// # Errors
    /// When it has characters that no header may have.
    pub fn bare(&self) -> Result<Option<HeaderValue>, InvalidHeaderValue> {
        self.after("")
    }

    fn after(&self, scheme: &str) -> Result<Option<HeaderValue>, InvalidHeaderValue> {
        let value = |secret| {
            let mut value = HeaderValue::from_str(&format!("{scheme}{secret}"))?;
            value.set_sensitive(true);
            Ok(value)
        };
        self.secret().map(value).transpose()
    }

    /// The text without it, as where a server repeats the key that it refuses.
    pub fn hide_in(&self, text: &str) -> String {
        match self.secret() {
            Some(secret) if secret.len() >= HIDDEN_BYTES_MIN => text.replace(secret, HIDDEN),
            _ => text.to_owned(),
        }
    }
}

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let token = Token::from(" hf_secret\n".to_owned());
        assert_eq!(token.secret(), Some("hf_secret"));
        let header = token.bearer().expect("plain").expect("a token");
        assert_eq!(header, "Bearer hf_secret");
        assert!(!format!("{token:?} {header:?}").contains("secret"));
        assert_eq!(token.hide_in("no key hf_secret!"), "no key [hidden]!");
    }

    #[test]
    fn an_empty_token_is_none() {
        let none = Token::from(" ".to_owned());
        assert_eq!(
            (none.secret(), none.bearer().expect("nothing")),
            (None, None)
        );
        assert_eq!(none.hide_in("as it is"), "as it is");
        assert!(Token::from("a\nb".to_owned()).bearer().is_err());
    }
}
