//! Text to tokens and back. Owns: the tokenizer file and the bytes of each token.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use lps_engine_core::request::TokenId;

use crate::model::Error;
use crate::model::directory::ModelDirectory;

/// Tokens of a vocabulary, at most: sixty times those of the largest. A file may name any id.
const SIZE_MAX: u32 = 1 << 24;

/// Why text has no tokens, as the library says it.
#[derive(Debug, thiserror::Error)]
#[error("the text cannot be tokenised: {0}")]
pub struct EncodeError(String);

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// How pieces of the vocabulary stand for bytes.
    alphabet: Alphabet,
    /// One more than the largest id.
    size: u32,
    /// The longest token in bytes, where each byte of a text is part of some token.
    token_bytes_max: Option<usize>,
}

/// How pieces of the vocabulary stand for bytes.
#[derive(Debug)]
enum Alphabet {
    /// One character a byte (GPT-2): the table.
    ByteLevel(HashMap<char, u8>),
    /// Plain text with `▁` for a space and `<0x0A>` for a byte (SentencePiece).
    Sentence,
    /// Plain text.
    Plain,
}

impl Tokenizer {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// When it is missing or has no use.
    pub fn open(directory: &ModelDirectory) -> Result<Self, Error> {
        const FILE: &str = "tokenizer.json";
        let bytes = directory.files.required(FILE)?;
        let bad = |reason: String| Error::File {
            file: directory.files.path(FILE),
            reason,
        };
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(&bytes))
            .map_err(|error| bad(format!("is no tokenizer in Hugging Face's form: {error}")))?;
        // Some files keep the padding and truncation of training.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| bad(error.to_string()))?;
        let decoder = inner.get_decoder().map(serde_json::to_string);
        let decoder = decoder.and_then(Result::ok).unwrap_or_default();
        let changes_text = decoder.contains("Replace") || decoder.contains("Strip");
        let alphabet = if decoder.contains("ByteLevel") && !changes_text {
            Alphabet::ByteLevel(byte_characters())
        } else if decoder.contains("ByteFallback") || decoder.contains('▁') {
            Alphabet::Sentence
        } else {
            Alphabet::Plain
        };
        let vocabulary = inner.get_vocab(true);
        let largest = vocabulary.iter().max_by_key(|(_, id)| **id);
        if let Some((token, id)) = largest.filter(|(_, id)| **id >= SIZE_MAX) {
            let reason = format!("gives {token:?} the id {id}; supported are ids below {SIZE_MAX}");
            return Err(bad(reason));
        }
        let size = largest.map_or(0, |(_, id)| id + 1);
        let mut tokenizer = Self {
            inner,
            alphabet,
            size,
            token_bytes_max: None,
        };
        if tokenizer.is_byte_level() {
            let lengths = (0..size).map(|token| tokenizer.token_bytes(token).len());
            tokenizer.token_bytes_max = lengths.max();
        }
        Ok(tokenizer)
    }

    /// Tokens of a text. Takes long for long texts: see [`Tokenizer::tokens_min`].
    ///
    /// # Errors
    /// As the library says.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<TokenId>, EncodeError> {
        guarded(|| self.inner.encode_fast(text, add_special))
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(EncodeError)
    }

    /// Fewest tokens that a text of so many bytes can have, to refuse absurd ones before they cost anything.
    pub fn tokens_min(&self, text_bytes: usize) -> usize {
        self.token_bytes_max
            .map_or(0, |longest| text_bytes / longest.max(1))
    }

    /// Text of tokens; ids that the vocabulary does not have are no text.
    pub fn decode(&self, tokens: &[TokenId], skip_special: bool) -> String {
        guarded(|| self.inner.decode(tokens, skip_special)).unwrap_or_default()
    }

    /// One more than the largest id.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Whether a text is its tokens' bytes, one after the other.
    pub(in crate::text) fn is_byte_level(&self) -> bool {
        matches!(self.alphabet, Alphabet::ByteLevel(_))
    }

    /// Whether a token marks something instead of being text.
    pub(in crate::text) fn is_special(&self, token: TokenId) -> bool {
        let piece = self.inner.id_to_token(token).unwrap_or_default();
        self.inner.get_added_vocabulary().is_special_token(&piece)
    }

    /// The special token of that name.
    pub(in crate::text) fn special(&self, name: &str) -> Option<TokenId> {
        let token = self.inner.token_to_id(name)?;
        self.is_special(token).then_some(token)
    }

    /// The bytes that a token stands for.
    pub fn token_bytes(&self, token: TokenId) -> Vec<u8> {
        let Some(piece) = self.inner.id_to_token(token) else {
            return Vec::new();
        };
        if self.inner.get_added_vocabulary().is_special_token(&piece) {
            return piece.into_bytes();
        }
        match &self.alphabet {
            Alphabet::ByteLevel(bytes) => {
                let whole: Option<Vec<u8>> =
                    piece.chars().map(|c| bytes.get(&c).copied()).collect();
                whole.unwrap_or_else(|| piece.into_bytes())
            }
            Alphabet::Sentence => match byte_piece(&piece) {
                Some(byte) => vec![byte],
                None => piece.replace('▁', " ").into_bytes(),
            },
            Alphabet::Plain => piece.into_bytes(),
        }
    }

    /// Tokens that are printable text by themselves, ascending.
    pub fn printable_tokens(&self) -> Vec<TokenId> {
        let is_printable = |token: &TokenId| {
            let text = String::from_utf8(self.token_bytes(*token)).unwrap_or_default();
            let is_word = |c: char| c.is_alphanumeric() || " .,".contains(c);
            !self.is_special(*token)
                && text.contains(char::is_alphanumeric)
                && text.chars().all(is_word)
        };
        (0..self.size).filter(is_printable).collect()
    }
}

/// What the library says of its input; it panics at some that it should refuse. What it works on is not changed by that.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("the library panicked at it".to_owned()),
    }
}

/// `<0x0A>` as a byte.
fn byte_piece(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}

/// GPT-2's table: printable bytes stand for themselves, the others for characters from U+0100 on.
fn byte_characters() -> HashMap<char, u8> {
    let mut next = 256;
    let mut table = HashMap::new();
    for byte in 0..=u8::MAX {
        let code = match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
            _ => {
                next += 1;
                next - 1
            }
        };
        table.extend(char::from_u32(code).map(|character| (character, byte)));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::directory::Source;

    #[test]
    fn the_bytes_of_the_tokens_are_the_bytes_of_the_text() {
        let tokenizer = Tokenizer::open(&ModelDirectory::open(&Source::Demo).unwrap()).unwrap();
        let text = "Hello, 🌍!\n\u{1}<tool_call>";
        let tokens = tokenizer.encode(text, false).unwrap();
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|t| tokenizer.token_bytes(*t))
            .collect();
        assert_eq!(bytes, text.as_bytes());
        assert!(tokenizer.tokens_min(text.len()) <= tokens.len());
        assert_eq!(tokenizer.decode(&tokens, false), text);
        assert_eq!(tokenizer.size(), 1536);
    }

    #[test]
    fn printable_tokens_are_words() {
        let tokenizer = Tokenizer::open(&ModelDirectory::open(&Source::Demo).unwrap()).unwrap();
        let printable = tokenizer.printable_tokens();
        assert!(printable.len() > 500, "{}", printable.len());
        let text = tokenizer.decode(&printable, false);
        assert!(!text.contains('<') && !text.contains('\u{fffd}'));
    }
}
