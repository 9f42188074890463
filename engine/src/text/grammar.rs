//! What a choice's text must look like. Owns: forms of text, and from a form to a grammar that says, token by token, what
//! may follow (`llguidance`). A grammar costs bounded work: it is refused where it needs more.

use std::fmt;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{JsonCompileOptions, ParserFactory, regex_to_lark};
use lps_engine_core::model::Matcher;
use lps_engine_core::request::TokenId;
use lps_engine_core::token_set::TokenSet;
use serde_json::Value;

use crate::text::tokenizer::Tokenizer;
use crate::text::tool_calls::{CLOSE, OPEN};

/// Of a form written down as a grammar. The schema of FHIR, the largest that people serve, has 2 MB with its descriptions
/// and a tenth of it without.
const BYTES_MAX: usize = 1 << 20;

/// Tool calls of one answer, at most.
const CALLS_MAX: u32 = 16;

/// A mark that no text can hold: what follows it is a special token's name.
const SPECIAL: u8 = TokTrie::SPECIAL_TOKEN_MARKER;

/// What a choice's text must look like; one of the two at least.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Form {
    /// Text.
    pub text: Option<Shape>,
    /// Or tool calls instead, in the Hermes form; where text may be anything, after it too.
    pub calls: Option<Calls>,
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
    /// It is too long to be looked at.
    #[error("it has {0} bytes as a grammar; at most {BYTES_MAX} are taken")]
    TooLong(usize),
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
        let text = match (&form.text, &form.calls) {
            (Some(Shape::Lark(text)), None) => text.clone(),
            (Some(Shape::Lark(_)), Some(_)) => {
                let message = "a grammar of one's own and tools exclude each other";
                return Err(GrammarError::Form(message.to_owned()));
            }
            _ => self.lark(form)?,
        };
        match text.len() {
            0..=BYTES_MAX => Ok(TopLevelGrammar::from_lark(text)),
            bytes => Err(GrammarError::TooLong(bytes)),
        }
    }

    /// The form in Lark's notation.
    fn lark(&self, form: &Form) -> Result<String, GrammarError> {
        let mut lark = String::new();
        match (&form.text, &form.calls) {
            (Some(Shape::Any), Some(_)) => self.free(&mut lark),
            (Some(_), Some(_)) => rule(&mut lark, "start", "text | call further"),
            (Some(_), None) => rule(&mut lark, "start", "text"),
            (None, _) => rule(&mut lark, "start", "call further"),
        }
        if let Some(shape) = &form.text {
            rule(&mut lark, "text", &text(shape)?);
        }
        if let Some(calls) = &form.calls {
            let names: Vec<_> = (0..calls.tools.len())
                .map(|index| format!("t{index}"))
                .collect();
            let further = match calls.only_one {
                true => "\"\"".to_owned(),
                false => format!("(\"\\n\" call){{0,{}}}", CALLS_MAX - 1),
            };
            rule(&mut lark, "further", &further);
            let (open, close) = (self.mark(OPEN), self.mark(CLOSE));
            let any = names.join(" | ");
            rule(&mut lark, "call", &format!("{open} body"));
            rule(
                &mut lark,
                "body",
                &format!("\"\\n\" ({any}) \"\\n\" {close}"),
            );
            for (name, tool) in names.iter().zip(&calls.tools) {
                // As templates write calls. The arguments are a text of their own, so that what their schema refers to
                // stays where it is.
                let head = format!(
                    "{{\"name\": {}, \"arguments\": ",
                    Value::from(tool.name.as_str())
                );
                let head = Value::from(head);
                rule(&mut lark, name, &format!("{head} {name}_arguments \"}}\""));
                let arguments = with(spaced(), tool.parameters.clone());
                rule(
                    &mut lark,
                    &format!("{name}_arguments"),
                    &format!("%json {arguments}"),
                );
            }
        }
        Ok(lark)
    }

    /// Text as the model likes, and then calls or none.
    fn free(&self, lark: &mut String) {
        if self.tokenizer.special(OPEN).is_some() {
            rule(lark, "start", "text? (call further)?");
            return;
        }
        // Text is told from a mark by the mark's last character only, so what stands before it is one word with it.
        rule(lark, "start", "text? | head body further");
        rule(lark, "head[lazy]", &format!("/(?s:.*){OPEN}/"));
    }

    /// A mark around a call: a token of its own, or text.
    fn mark(&self, mark: &str) -> String {
        match self.tokenizer.special(mark) {
            Some(token) => format!("<[{token}]>"),
            None => Value::from(mark).to_string(),
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

/// What a rule for text says.
fn text(shape: &Shape) -> Result<String, GrammarError> {
    Ok(match shape {
        // Only a word may be cut out of another.
        Shape::Any => format!("TEXT\nTEXT: /(?s:.+)/ & ~/(?s:.*){OPEN}(?s:.*)/"),
        Shape::Json(schema) => {
            // A model that has nothing to say could otherwise write white space until its limit.
            let options = JsonCompileOptions {
                whitespace_pattern: Some(r"[\x20\x0A\x0D\x09]{1,20}".to_owned()),
                ..JsonCompileOptions::default()
            };
            format!("%json {}", with(options, schema.clone()))
        }
        Shape::Regex(pattern) if pattern.is_empty() => {
            return Err(GrammarError::Form("the pattern is empty".to_owned()));
        }
        Shape::Regex(pattern) => format!("/{}/", regex_to_lark(pattern, "")),
        Shape::Choice(texts) => {
            let texts = texts
                .iter()
                .map(|text| Value::from(text.as_str()).to_string());
            // One word, not a rule for each.
            format!("TEXT\nTEXT: {}", texts.collect::<Vec<_>>().join(" | "))
        }
        Shape::Lark(text) => text.clone(),
    })
}

/// How Python writes JSON, and templates the arguments of calls.
fn spaced() -> JsonCompileOptions {
    JsonCompileOptions {
        item_separator: ", ".to_owned(),
        key_separator: ": ".to_owned(),
        whitespace_flexible: false,
        ..JsonCompileOptions::default()
    }
}

fn rule(lark: &mut String, name: &str, body: &str) {
    writeln!(lark, "{name}: {body}").expect("a text takes text");
}

/// Says how the schema's texts are written, whatever it says about that itself, and closes its objects.
fn with(options: JsonCompileOptions, mut schema: Value) -> Value {
    closed::close(&mut schema);
    if schema.is_object() {
        options.apply_to(&mut schema);
    }
    schema
}

/// The first line of what the library says, without what it says about itself.
fn one_line(error: &str) -> String {
    let line = error.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or("no reason was given").trim().to_owned()
}

/// Where grammars are made: on what stack, and how many at once.
pub mod compiler;
/// Objects that have only what their schema names.
mod closed;

#[cfg(test)]
mod tests;
