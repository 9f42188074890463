//! Text to tokens and back. Owns: the vocabulary of the served model. Knows nothing of templates and streams.

use std::sync::Arc;

use lps_engine_core::request::TokenId;

/// Why a tokenizer cannot be had or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `tokenizer.json` is not one.
    #[error("{file} is not a tokenizer: {reason}")]
    File {
        /// Its path.
        file: String,
        /// What the library said.
        reason: String,
    },
    /// The text cannot be encoded.
    #[error("text cannot be tokenised: {0}")]
    Encode(String),
    /// The tokens cannot be decoded.
    #[error("tokens cannot be turned into text: {0}")]
    Decode(String),
}

/// The model's tokenizer; clones share it.
#[derive(Debug, Clone)]
pub struct Tokenizer(Arc<tokenizers::Tokenizer>);

impl Tokenizer {
    /// Reads a `tokenizer.json`. Truncation and padding that it may ask for are switched off: a prompt is never
    /// shortened in silence.
    ///
    /// # Errors
    /// When the bytes are no tokenizer; `file` names them in the message.
    pub fn from_bytes(bytes: &[u8], file: &str) -> Result<Self, Error> {
        let no = |reason: String| Error::File { file: file.to_owned(), reason };
        let mut tokenizer =
            tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| no(error.to_string()))?;
        tokenizer.with_truncation(None).map_err(|error| no(error.to_string()))?;
        tokenizer.with_padding(None);
        Ok(Self(Arc::new(tokenizer)))
    }

    /// Tokens of a text. `special` adds the tokens that the model wants around a plain prompt; a rendered chat
    /// template has them already.
    ///
    /// # Errors
    /// What the library says.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<TokenId>, Error> {
        let encoding =
            self.0.encode_fast(text, special).map_err(|error| Error::Encode(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Text of tokens.
    ///
    /// # Errors
    /// What the library says.
    pub fn decode(&self, tokens: &[TokenId], skip_special: bool) -> Result<String, Error> {
        self.0.decode(tokens, skip_special).map_err(|error| Error::Decode(error.to_string()))
    }

    /// The vocabulary's own spelling of a token, such as `Ġthe`.
    pub fn spelling(&self, token: TokenId) -> Option<String> {
        self.0.id_to_token(token)
    }

    /// The token of a spelling.
    pub fn token(&self, spelling: &str) -> Option<TokenId> {
        self.0.token_to_id(spelling)
    }

    /// Number of tokens, added ones included.
    pub fn vocab_size(&self) -> u32 {
        u32::try_from(self.0.get_vocab_size(true)).unwrap_or(u32::MAX)
    }
}
