//! What a choice's text must look like. Owns: forms of text, and from a form to a grammar that says, token by token, what
//! may follow (`llguidance`). A grammar costs bounded work: it is refused where it needs more.

use std::fmt;
use std::sync::{Arc, OnceLock};

use llguidance::ParserFactory;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use lps_engine_core::model::Matcher;
use lps_engine_core::request::TokenId;
use lps_engine_core::token_set::TokenSet;
use serde_json::Value;

use crate::text::reasoning::{ReasoningFormat, Stage};
use crate::text::tokenizer::Tokenizer;
use crate::text::tool_calls::format::ToolCallFormat;

/// Of a form written down as a grammar. The schema of FHIR, the largest that people serve, has 2 MB with its descriptions
/// and a tenth of it without.
const BYTES_MAX: usize = 1 << 20;

/// Of a reason; the library quotes forms.
const REASON_CHARS_MAX: usize = 300;

/// A mark that no text can hold: what follows it is a special token's name.
const SPECIAL: u8 = TokTrie::SPECIAL_TOKEN_MARKER;

/// What a choice's text must look like; text or calls at least.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Form {
    /// Text.
    pub text: Option<Shape>,
    /// Or tool calls instead; where text may be anything, after it too.
    pub calls: Option<Calls>,
    /// What may stand before either: how the model reasons, and where its text begins.
    pub reasoning: Option<(&'static ReasoningFormat, Stage)>,
}

/// What text must look like.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Anything; of use beside calls.
    Any,
    /// JSON of this schema.
    Json(Value),
    /// All of it matches a regular expression.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A context-free grammar in Lark's notation.
    Lark(String),
}

/// Tools of which one at least is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Calls {
    /// How they are written.
    pub format: &'static ToolCallFormat,
    /// Which.
    pub tools: Vec<Tool>,
    /// Whether one call is all.
    pub only_one: bool,
}

/// A tool that may be called.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The schema of its arguments.
    pub parameters: Value,
}

/// Why a form is no grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The form is wrong, or asks for too much.
    #[error("{0}")]
    Form(String),
    /// It, or a pattern in it, is too long to be looked at: how long it is, and may be.
    #[error("it has {0} bytes; at most {1} are taken")]
    TooLong(usize, usize),
    /// A number of a schema that no text can be held to: what it is, and which.
    #[error("{0}: it is out of range, or has too many digits, for texts to be held to it")]
    Number(String),
    /// Nothing would end a text.
    #[error("the model has no token that ends a text, so none can be held to a form")]
    Endless,
}

/// Makes grammars for one model.
pub struct Grammars {
    tokenizer: Arc<Tokenizer>,
    end_tokens: Vec<TokenId>,
    /// The vocabulary as a trie; made with the first grammar, which few models' clients ever send.
    factory: OnceLock<Result<ParserFactory, GrammarError>>,
}

impl Grammars {
    /// For texts of this tokenizer that end with one of `end_tokens`.
    pub fn new(tokenizer: Arc<Tokenizer>, end_tokens: &[TokenId]) -> Self {
        let known = end_tokens.iter().filter(|token| **token < tokenizer.size());
        Self {
            end_tokens: known.copied().collect(),
            tokenizer,
            factory: OnceLock::new(),
        }
    }

    /// Whether a token ends a text.
    pub fn ends(&self, token: TokenId) -> bool {
        self.end_tokens.contains(&token)
    }

    /// Makes a grammar. Takes milliseconds, the first one as long as a look at the whole vocabulary, and as much stack as the
    /// form has rules: not to be called where others wait, but by a [`compiler`].
    ///
    /// # Errors
    /// When the form is wrong, unsupported or too large.
    pub fn compile(&self, form: &Form) -> Result<Grammar, GrammarError> {
        let grammar = self.grammar(form)?;
        let factory = self.factory.get_or_init(|| self.factory());
        let factory = factory.as_ref().map_err(Clone::clone)?;
        let refused = |error: String| GrammarError::Form(one_line(&error));
        let parser = factory.create_parser(grammar);
        let mut matcher = llguidance::Matcher::new(parser);
        match matcher.get_error() {
            Some(error) => Err(refused(error)),
            // Some impossible forms show only when the first token is asked for.
            None => match matcher.compute_mask_or_eos() {
                Ok(mask) if mask.is_zero() => Err(refused("no text has this form".to_owned())),
                Ok(_) => Ok(Grammar(matcher)),
                Err(error) => Err(refused(error.to_string())),
            },
        }
    }

    fn factory(&self) -> Result<ParserFactory, GrammarError> {
        let first = *self.end_tokens.first().ok_or(GrammarError::Endless)?;
        let size = self.tokenizer.size();
        let words: Vec<_> = (0..size).map(|token| self.word(token)).collect();
        let trie = TokTrie::from(&TokRxInfo::new(size, first), &words);
        let trie = trie.with_eos_tokens(&self.end_tokens);
        // "Approximate": it forces no spelling of a text upon the model.
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = llguidance::earley::SlicedBiasComputer::json_slices();
        let factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices);
        let mut factory = factory.map_err(|error| GrammarError::Form(error.to_string()))?;
        *factory.quiet().limits_mut() = limits();
        Ok(factory)
    }

    fn word(&self, token: TokenId) -> Vec<u8> {
        let bytes = self.tokenizer.token_bytes(token);
        // No text has an end token in it, whether the tokenizer knows it as special or not.
        match self.tokenizer.is_special(token) || self.ends(token) {
            true => [&[SPECIAL], bytes.as_slice()].concat(),
            false => bytes,
        }
    }

    fn grammar(&self, form: &Form) -> Result<TopLevelGrammar, GrammarError> {
        let text = lark::of(form, &self.tokenizer)?;
        match text.len() {
            0..=BYTES_MAX => Ok(TopLevelGrammar::from_lark(text)),
            bytes => Err(GrammarError::TooLong(bytes, BYTES_MAX)),
        }
    }
}

impl fmt::Debug for Grammars {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { end_tokens, .. } = self;
        let mut shown = formatter.debug_struct("Grammars");
        shown
            .field("end_tokens", end_tokens)
            .finish_non_exhaustive()
    }
}

/// A grammar at the start of a text.
pub struct Grammar(llguidance::Matcher);

impl Grammar {
    /// One matcher for each of so many choices.
    pub fn matchers(&self, choices: u32) -> Vec<Box<dyn Matcher>> {
        (0..choices)
            // Deep: they work on several threads, and would otherwise wait for each other.
            .map(|_| Box::new(Self(self.0.deep_clone())) as Box<dyn Matcher>)
            .collect()
    }
}

impl Matcher for Grammar {
    fn follow(&mut self, tokens: &[TokenId]) -> Result<TokenSet, String> {
        let told = |error: String| one_line(&error);
        self.0
            .consume_tokens(tokens)
            .map_err(|error| told(error.to_string()))?;
        let mask = self.0.compute_mask_or_eos();
        let mask = mask.map_err(|error| told(error.to_string()))?;
        match mask.is_zero() {
            true => Err("no token may follow".to_owned()),
            false => Ok(TokenSet::from_words(mask.as_slice().to_vec())),
        }
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Grammar").finish_non_exhaustive()
    }
}

/// What a grammar may cost: a batch waits for its slowest set. The library's own bounds are for one text at a time.
fn limits() -> ParserLimits {
    ParserLimits {
        // 4 ms for one set at most.
        step_lexer_fuel: 50_000,
        // A state takes 1 or 2 KB, in each of a call's choices.
        max_lexer_states: 20_000,
        // Objects with hundreds of properties that may be left out need more than 2,000.
        max_items_in_row: 10_000,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// The first line of what the library says, without what it says about itself. It catches panics of its own, some of which
/// come while it words an error.
fn one_line(error: &str) -> String {
    let line = error.lines().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or("no reason was given").trim();
    let end = line.char_indices().nth(REASON_CHARS_MAX);
    let line = end.map_or(line, |(end, _)| &line[..end]);
    match line.strip_prefix("panic: ") {
        Some(reason) => format!("it could not be looked at: {reason}"),
        None => line.to_owned(),
    }
}

/// Where grammars are made: on what stack, and how many at once.
pub mod compiler;
/// A form in Lark's notation.
mod lark;
/// Grammars that clients wrote.
mod own;
/// Schemas that cost too much.
mod cost;
/// Numbers that a grammar can count in.
mod numbers;
/// Objects that have only what their schema names.
mod closed;

#[cfg(test)]
mod tests;
