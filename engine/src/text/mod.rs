//! Between text and tokens. Owns: tokenizer, chat template, and what becomes of a choice's tokens: text without broken
//! characters, reasoning, stop texts, tool calls. Knows no call, no HTTP and no tensor.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// What becomes of one choice's tokens.
pub mod choice;
/// What a choice's text must look like.
pub mod grammar;
/// From messages to a prompt.
pub mod template;
/// Tool calls in a choice's text.
pub mod tool_calls;
/// Texts that end a choice.
mod stop;
/// Reasoning in a choice's text.
pub mod reasoning;
/// Tokens to text, piece by piece.
mod detokeniser;
/// Text to tokens and back.
pub mod tokenizer;
/// JSON as Python writes it.
mod python_json;
/// Dates as Python writes them.
mod python_date;

use std::sync::Arc;

use crate::model;
use crate::model::directory::ModelDirectory;
use crate::text::grammar::Grammars;
use crate::text::grammar::compiler::Compiler;
use crate::text::template::Template;
use crate::text::tokenizer::Tokenizer;

/// A model's tokenizer and template, and what makes its grammars.
#[derive(Debug, Clone)]
pub struct Text {
    /// Text to tokens and back.
    pub tokenizer: Arc<Tokenizer>,
    /// `None`: the model is not made for chats.
    pub template: Option<Arc<Template>>,
    /// From forms to grammars.
    pub compiler: Compiler,
}

impl Text {
    /// Reads the files.
    ///
    /// # Errors
    /// When a file is missing or has no use.
    pub fn open(directory: &ModelDirectory) -> Result<Self, model::Error> {
        let tokenizer = Arc::new(Tokenizer::open(directory)?);
        let grammars = Grammars::new(Arc::clone(&tokenizer), &directory.end_tokens);
        Ok(Self {
            tokenizer,
            compiler: Compiler::new(grammars),
            template: Template::open(directory)?.map(Arc::new),
        })
    }
}
