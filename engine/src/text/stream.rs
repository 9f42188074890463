//! One choice's text as it grows: tokens in, parts that are safe to send out. Owns: the chain detokenizer → stop
//! strings → tool calls, and when the text has ended by a stop string.

use lps_engine_core::request::TokenId;

use crate::text::detokenizer::Detokenizer;
use crate::text::stop::{Scan, StopMatcher};
use crate::text::tokenizer::Error;
use crate::text::tool_calls::{Parser, Part};

/// The text of one choice.
#[derive(Debug)]
pub struct TextStream {
    detokenizer: Detokenizer,
    stop: StopMatcher,
    /// Only where the request has tools.
    tool_calls: Option<Parser>,
    stopped: bool,
}

impl TextStream {
    /// `tools`: whether tool calls are looked for.
    pub fn new(detokenizer: Detokenizer, stop: StopMatcher, tools: bool) -> Self {
        Self { detokenizer, stop, tool_calls: tools.then(Parser::default), stopped: false }
    }

    /// Whether a stop string came: the choice is over, and later tokens bring nothing.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Takes a token.
    ///
    /// # Errors
    /// When the tokenizer cannot decode.
    pub fn push(&mut self, token: TokenId) -> Result<Vec<Part>, Error> {
        if self.stopped {
            return Ok(Vec::new());
        }
        let text = self.detokenizer.push(token)?;
        let text = self.scan(&text);
        Ok(self.parts(text))
    }

    /// What was held back, when the choice has ended.
    ///
    /// # Errors
    /// When the tokenizer cannot decode.
    pub fn finish(&mut self) -> Result<Vec<Part>, Error> {
        let mut text = String::new();
        if !self.stopped {
            let rest = self.detokenizer.finish()?;
            text = self.scan(&rest);
            if !self.stopped {
                text += &self.stop.finish();
            }
        }
        let mut parts = self.parts(text);
        if let Some(parser) = &mut self.tool_calls {
            parts.extend(parser.finish());
        }
        Ok(parts)
    }

    fn scan(&mut self, text: &str) -> String {
        match self.stop.push(text) {
            Scan::Text(text) => text,
            Scan::Stopped(text) => {
                self.stopped = true;
                text
            }
        }
    }

    fn parts(&mut self, text: String) -> Vec<Part> {
        match &mut self.tool_calls {
            Some(parser) => parser.push(&text),
            None if text.is_empty() => Vec::new(),
            None => vec![Part::Content(text)],
        }
    }
}
