//! Tokens to text, piece by piece. Owns: which tokens must be seen together so that the pieces add up to the text of the
//! whole, and that no piece holds half a character.

use lps_engine_core::request::TokenId;

use crate::text::tokenizer::Tokenizer;

/// Tokens that a character is spread over at most where a token is a byte or whole text; a longer run that does not
/// decode is broken for good, and shown as such.
const CHARACTER_TOKENS_MAX: usize = 4;

/// The state of one choice's text.
#[derive(Debug, Clone)]
pub(super) enum Detokeniser {
    /// The text is the tokens' bytes: what is left is the beginning of a character.
    Bytes(Vec<u8>),
    /// The decoder looks at neighbours (spaces between words, runs of bytes).
    Window(Window),
}

/// `tokens[..read]` is shown already and gives the decoder its context.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    tokens: Vec<TokenId>,
    read: usize,
}

impl Detokeniser {
    pub(super) fn new(tokenizer: &Tokenizer) -> Self {
        if tokenizer.is_byte_level() {
            Self::Bytes(Vec::new())
        } else {
            Self::Window(Window::default())
        }
    }

    /// Takes the next token and returns the text that is certain with it, often none.
    pub(super) fn push(&mut self, token: TokenId, tokenizer: &Tokenizer) -> String {
        match self {
            Self::Bytes(bytes) => {
                bytes.extend(tokenizer.token_bytes(token));
                take_characters(bytes)
            }
            Self::Window(window) => window.push(token, tokenizer),
        }
    }

    /// The rest, when nothing more comes: half a character becomes a replacement character.
    pub(super) fn finish(&mut self, tokenizer: &Tokenizer) -> String {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(&std::mem::take(bytes)).into_owned(),
            Self::Window(window) => window.finish(tokenizer),
        }
    }
}

/// Takes all but the beginning of a character; what can be no character is replaced.
fn take_characters(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut rest = bytes.as_slice();
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                rest = &[];
                break;
            }
            Err(error) => {
                let (valid, after) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                rest = after;
                let Some(length) = error.error_len() else {
                    break;
                };
                text.push('\u{fffd}');
                rest = &rest[length..];
            }
        }
    }
    *bytes = rest.to_vec();
    text
}

impl Window {
    fn push(&mut self, token: TokenId, tokenizer: &Tokenizer) -> String {
        self.tokens.push(token);
        let waits = self.tokens.len() - self.read < CHARACTER_TOKENS_MAX;
        let text = self.new_text(tokenizer);
        if waits && (text.is_empty() || text.ends_with('\u{fffd}')) {
            return String::new();
        }
        self.advance();
        text
    }

    fn finish(&mut self, tokenizer: &Tokenizer) -> String {
        let text = self.new_text(tokenizer);
        self.advance();
        text
    }

    fn new_text(&self, tokenizer: &Tokenizer) -> String {
        if self.read == self.tokens.len() {
            return String::new();
        }
        let shown = tokenizer.decode(&self.tokens[..self.read], false);
        let all = tokenizer.decode(&self.tokens, false);
        // A decoder that changes its mind about what was shown cannot be followed: only what stands after it counts.
        all.get(shown.len()..).unwrap_or_default().to_owned()
    }

    /// All tokens are shown; those before are no longer needed as context.
    fn advance(&mut self) {
        self.tokens.drain(..self.read);
        self.read = self.tokens.len();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::directory::{ModelDirectory, Source};

    fn tokenizer() -> Tokenizer {
        Tokenizer::open(&ModelDirectory::open(&Source::Demo).unwrap()).unwrap()
    }

    fn pieces(mut detokeniser: Detokeniser, tokens: &[TokenId]) -> Vec<String> {
        let tokenizer = tokenizer();
        let mut pieces: Vec<_> = tokens
            .iter()
            .map(|token| detokeniser.push(*token, &tokenizer))
            .collect();
        pieces.push(detokeniser.finish(&tokenizer));
        pieces
    }

    fn both() -> [Detokeniser; 2] {
        [
            Detokeniser::Bytes(Vec::new()),
            Detokeniser::Window(Window::default()),
        ]
    }

    #[test]
    fn no_piece_holds_half_a_character() {
        let text = "naïve 🌍🏳️\u{200d}🌈 日本語 e\u{301} x";
        let tokens = tokenizer().encode(text, false).unwrap();
        assert!(
            tokens.len() > text.chars().count(),
            "characters are spread over tokens"
        );
        for detokeniser in both() {
            let pieces = pieces(detokeniser, &tokens);
            assert!(
                pieces.iter().all(|piece| !piece.contains('\u{fffd}')),
                "{pieces:?}"
            );
            assert_eq!(pieces.concat(), text);
        }
    }

    #[test]
    fn half_a_character_at_the_end_is_replaced() {
        let mut tokens = tokenizer().encode("a 🌍", false).unwrap();
        tokens.pop();
        for detokeniser in both() {
            assert_eq!(pieces(detokeniser, &tokens).concat(), "a \u{fffd}");
        }
    }

    #[test]
    fn the_window_stays_small() {
        let tokenizer = tokenizer();
        let broken = tokenizer.encode("🌍", false).unwrap()[0];
        let mut window = Window::default();
        for token in [broken, 0].into_iter().cycle().take(1000) {
            window.push(token, &tokenizer);
            assert!(window.tokens.len() <= 2 * CHARACTER_TOKENS_MAX);
        }
    }

    #[test]
    fn bytes_are_replaced_as_the_standard_library_does() {
        let bytes = [b'a', 0xff, 0xc3, 0x28, 0xf0, 0x9f, 0x8c, b'b', 0xe2, 0x82];
        for cut in 0..bytes.len() {
            let mut left = bytes[..cut].to_vec();
            let mut text = take_characters(&mut left);
            left.extend(&bytes[cut..]);
            text += &take_characters(&mut left);
            assert_eq!(left, [0xe2, 0x82]);
            text += &String::from_utf8_lossy(&left);
            assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn pieces_add_up_to_the_whole(text in "[a-z é🌍\n字]{0,40}") {
            let tokens = tokenizer().encode(&text, false).unwrap();
            for detokeniser in both() {
                prop_assert_eq!(pieces(detokeniser, &tokens).concat(), text.clone());
            }
        }
    }
}
