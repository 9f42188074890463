//! Tokens to text, a token at a time. Owns: what text is certain so far. A token may be half a character, and a
//! decoder may join or space tokens by what stands before them, so a window of earlier tokens is decoded with each new
//! one, and text that may still change is held back.

use lps_engine_core::request::TokenId;

use crate::text::tokenizer::{Error, Tokenizer};

/// Tokens that a window keeps as context.
const CONTEXT_TOKENS: usize = 5;

/// One choice's tokens on their way to text.
#[derive(Debug)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    skip_special: bool,
    /// The window: context, then what is not yet certain.
    tokens: Vec<TokenId>,
    /// Where the context begins and the uncertain part begins.
    prefix: usize,
    read: usize,
}

impl Detokenizer {
    /// Starts after `prompt`, of which the end serves as context.
    pub fn new(tokenizer: Tokenizer, prompt: &[TokenId], skip_special: bool) -> Self {
        let context = &prompt[prompt.len().saturating_sub(CONTEXT_TOKENS)..];
        Self { tokenizer, skip_special, tokens: context.to_vec(), prefix: 0, read: context.len() }
    }

    /// Takes a token; the text that became certain by it, often one word, sometimes none.
    ///
    /// # Errors
    /// When the tokenizer cannot decode.
    pub fn push(&mut self, token: TokenId) -> Result<String, Error> {
        self.tokens.push(token);
        let before = self.tokenizer.decode(&self.tokens[self.prefix..self.read], self.skip_special)?;
        let now = self.tokenizer.decode(&self.tokens[self.prefix..], self.skip_special)?;
        // U+FFFD at the end: a character whose bytes are not all there.
        if now.len() <= before.len() || now.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        let text = now.get(before.len()..).unwrap_or_default().to_owned();
        self.prefix = self.read;
        self.read = self.tokens.len();
        if self.prefix > 64 {
            self.tokens.drain(..self.prefix);
            self.read -= self.prefix;
            self.prefix = 0;
        }
        Ok(text)
    }

    /// What was held back, when nothing more comes.
    ///
    /// # Errors
    /// When the tokenizer cannot decode.
    pub fn finish(&mut self) -> Result<String, Error> {
        let before = self.tokenizer.decode(&self.tokens[self.prefix..self.read], self.skip_special)?;
        let now = self.tokenizer.decode(&self.tokens[self.prefix..], self.skip_special)?;
        self.prefix = self.tokens.len();
        self.read = self.tokens.len();
        Ok(now.get(before.len()..).unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        let bytes = include_bytes!("../../models/demo/tokenizer.json");
        Tokenizer::from_bytes(bytes, "tokenizer.json").expect("the demo model's tokenizer")
    }

    #[test]
    fn pieces_make_the_whole_and_no_character_is_broken() {
        let tokenizer = tokenizer();
        for text in ["Hello, world! 17 * 23 = 391", "naïve café — ünïcödé", "日本語と🙂 emoji 👩‍👩‍👧", "  spaces\n\n\ttabs"] {
            let tokens = tokenizer.encode(text, false).expect("tokens");
            let mut stream = Detokenizer::new(tokenizer.clone(), &[], true);
            let mut got = String::new();
            for token in tokens {
                let piece = stream.push(token).expect("text");
                assert!(!piece.contains(char::REPLACEMENT_CHARACTER), "{piece:?}");
                got += &piece;
            }
            got += &stream.finish().expect("text");
            assert_eq!(got, text);
        }
    }

    #[test]
    fn half_a_character_is_held_back_and_shown_at_the_end() {
        let tokenizer = tokenizer();
        let tokens = tokenizer.encode("日", false).expect("tokens");
        assert!(tokens.len() > 1, "the test wants a character of several tokens");
        let mut stream = Detokenizer::new(tokenizer, &[], true);
        assert_eq!(stream.push(tokens[0]).expect("text"), "");
        assert_eq!(stream.finish().expect("text"), "\u{FFFD}");
    }

    #[test]
    fn long_streams_forget_their_beginning() {
        let tokenizer = tokenizer();
        let text = "word ".repeat(400);
        let tokens = tokenizer.encode(&text, false).expect("tokens");
        let mut stream = Detokenizer::new(tokenizer, &[], true);
        let mut got = String::new();
        for token in tokens {
            got += &stream.push(token).expect("text");
            assert!(stream.tokens.len() < 200);
        }
        got += &stream.finish().expect("text");
        assert_eq!(got, text);
    }
}
