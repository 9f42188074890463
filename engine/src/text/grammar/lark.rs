//! A form in Lark's notation, as `llguidance` reads it. Owns: the rules of texts, calls and reasoning; calls are written as
//! their format says, so that what must be written is what is read.

use std::fmt::Write as _;

use llguidance::{JsonCompileOptions, regex_to_lark};
use serde_json::Value;

use super::cost::PATTERN_BYTES_MAX;
use super::{Calls, Form, GrammarError, Shape, closed, cost, numbers, own};
use crate::text::reasoning::{ReasoningFormat, Stage};
use crate::text::tokenizer::Tokenizer;
use crate::text::tool_calls::format::{Body, Part, ToolCallFormat};

/// Tool calls of one answer, at most.
const CALLS_MAX: u32 = 16;

/// The form's grammar.
///
/// # Errors
/// When what it asks for excludes each other, or cannot be written down.
pub(super) fn of(form: &Form, tokenizer: &Tokenizer) -> Result<String, GrammarError> {
    let stage = form.reasoning.map_or(Stage::After, |(_, stage)| stage);
    match (&form.text, &form.calls) {
        (Some(Shape::Lark(_)), Some(_)) => {
            return refused("a grammar of one's own and tools exclude each other");
        }
        (Some(Shape::Lark(_)), None) if stage == Stage::Inside => {
            return refused("a grammar of one's own excludes reasoning, which the prompt begins");
        }
        (Some(Shape::Lark(text)), None) => return own::checked(text),
        _ => {}
    }
    let mut lark = Lark {
        text: String::new(),
        tokenizer,
    };
    match form.reasoning {
        Some((format, Stage::Before)) => {
            lark.rule("start", "(reasoning after)? answer");
            let open = lark.mark(format.open);
            lark.rule("reasoning", &open);
            lark.thoughts(format);
        }
        Some((format, Stage::Inside)) => {
            lark.rule("start", "after answer");
            lark.thoughts(format);
        }
        Some((_, Stage::After)) | None => lark.rule("start", "answer"),
    }
    lark.answer(form)?;
    Ok(lark.text)
}

fn refused<T>(message: &str) -> Result<T, GrammarError> {
    Err(GrammarError::Form(message.to_owned()))
}

struct Lark<'a> {
    text: String,
    tokenizer: &'a Tokenizer,
}

impl Lark<'_> {
    fn rule(&mut self, name: &str, body: &str) {
        writeln!(self.text, "{name}: {body}").expect("a text takes text");
    }

    /// From the middle of reasoning to its end.
    fn thoughts(&mut self, format: &ReasoningFormat) {
        let close = format.close;
        let space = "(\"\\n\" \"\\n\"?)?";
        if self.tokenizer.special(close).is_some() {
            // The same letters by ordinary tokens would end the thoughts for whoever reads the text.
            let spelled = escaped(close);
            let close = self.mark(close);
            self.rule("after", &format!("THOUGHTS? {close} {space}"));
            self.rule(
                "THOUGHTS",
                &format!("/(?s:.+)/ & ~/(?s:.*){spelled}(?s:.*)/"),
            );
        } else {
            self.rule("after", &format!("thoughts {space}"));
            self.until("thoughts", close);
        }
    }

    /// All text until a mark that is no token, and the mark: text is told from it by its last character only, so that both are
    /// one word.
    fn until(&mut self, name: &str, mark: &str) {
        self.rule(
            &format!("{name}[lazy]"),
            &format!("/(?s:.*){}/", escaped(mark)),
        );
    }

    fn answer(&mut self, form: &Form) -> Result<(), GrammarError> {
        match (&form.text, &form.calls) {
            (Some(Shape::Any), Some(calls)) => self.free(calls.format),
            (Some(_), Some(_)) => self.rule("answer", "text | calls"),
            (Some(_), None) => self.rule("answer", "text"),
            (None, _) => self.rule("answer", "calls"),
        }
        match (&form.text, &form.calls) {
            // Only a word may be cut out of another.
            (Some(Shape::Any), Some(calls)) => self.rule("text", &unmarked(calls.format)),
            (Some(shape), _) => self.rule("text", &text(shape)?),
            (None, _) => {}
        }
        form.calls
            .as_ref()
            .map_or(Ok(()), |calls| self.calls(calls))
    }

    /// Text as the model likes, and then calls or none.
    fn free(&mut self, format: &ToolCallFormat) {
        if format.goes_unmarked {
            self.rule("answer", "text? | calls");
        } else if self.tokenizer.special(format.mark).is_some() {
            self.rule("answer", "text? calls?");
        } else {
            self.rule("answer", "text? | marked after_mark");
            self.until("marked", format.mark);
        }
    }

    fn calls(&mut self, calls: &Calls) -> Result<(), GrammarError> {
        let format = calls.format;
        let any: Vec<_> = (0..calls.tools.len())
            .map(|index| format!("t{index}"))
            .collect();
        self.rule("any", &any.join(" | "));
        let first = [format.begin, format.open].concat();
        let (mark, inside) = first.split_at(first.len().min(1));
        let (mark, inside) = (self.parts(mark), self.parts(inside));
        let (open, close) = (self.parts(format.open), self.parts(format.close));
        let end = self.parts(format.end);
        let further = match format.between.filter(|_| !calls.only_one) {
            None => String::new(),
            Some(between) => {
                let between = Value::from(between);
                format!("({between} {open} any {close}){{0,{}}}", CALLS_MAX - 1)
            }
        };
        self.rule("calls", &format!("{mark} after_mark"));
        let first = format!("{inside} any {close} {further} {end}");
        self.rule("after_mark", &first);
        for (index, tool) in calls.tools.iter().enumerate() {
            let arguments = format!("t{index}_arguments");
            let call = self.call(&tool.name, &arguments, format.body)?;
            self.rule(&format!("t{index}"), &call);
            // A text of their own, so that what their schema refers to stays where it is.
            let schema = with(spaced(), tool.parameters.clone())?;
            self.rule(&arguments, &format!("%json {schema}"));
        }
        Ok(())
    }

    /// A call's name, and the rule of its arguments.
    fn call(&self, name: &str, arguments: &str, body: Body) -> Result<String, GrammarError> {
        match body {
            Body::Object { arguments: key } => {
                let head = format!("{{\"name\": {}, \"{key}\": ", Value::from(name));
                Ok(format!("{} {arguments} \"}}\"", Value::from(head)))
            }
            Body::Named { mark } => Ok(format!(
                "{} {} {arguments}",
                Value::from(name),
                self.mark(mark)
            )),
            Body::Notation { .. } => refused(
                "this model writes calls in a notation of its own, to which no schema is held",
            ),
        }
    }

    fn parts(&self, parts: &[Part]) -> String {
        let each = parts.iter().map(|part| match part {
            Part::Mark(mark) => self.mark(mark),
            Part::Text(text) => Value::from(*text).to_string(),
        });
        each.collect::<Vec<_>>().join(" ")
    }

    /// A mark: a token of its own, or text.
    fn mark(&self, mark: &str) -> String {
        match self.tokenizer.special(mark) {
            Some(token) => format!("<[{token}]>"),
            None => Value::from(mark).to_string(),
        }
    }
}

/// Text that is told from calls.
fn unmarked(format: &ToolCallFormat) -> String {
    let begin = if format.goes_unmarked {
        r"\s*[^\s{`]"
    } else {
        ""
    };
    let (some, mark) = (
        if begin.is_empty() { ".+" } else { ".*" },
        escaped(format.mark),
    );
    format!("TEXT\nTEXT: /(?s:{begin}{some})/ & ~/(?s:.*){mark}(?s:.*)/")
}

/// A text as a pattern for itself.
fn escaped(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]{}^$/".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// What a rule for text says.
fn text(shape: &Shape) -> Result<String, GrammarError> {
    Ok(match shape {
        Shape::Any => "TEXT\nTEXT: /(?s:.+)/".to_owned(),
        Shape::Json(schema) => {
            // A model that has nothing to say could otherwise write white space until its limit.
            let options = JsonCompileOptions {
                whitespace_pattern: Some(r"[\x20\x0A\x0D\x09]{1,20}".to_owned()),
                ..JsonCompileOptions::default()
            };
            format!("%json {}", with(options, schema.clone())?)
        }
        Shape::Regex(pattern) if pattern.is_empty() => {
            return Err(GrammarError::Form("the pattern is empty".to_owned()));
        }
        Shape::Regex(pattern) if pattern.len() > PATTERN_BYTES_MAX => {
            return Err(GrammarError::TooLong(pattern.len(), PATTERN_BYTES_MAX));
        }
        Shape::Regex(pattern) => format!("/{}/", regex_to_lark(pattern, "")),
        Shape::Choice(texts) => {
            let texts = texts
                .iter()
                .map(|text| Value::from(text.as_str()).to_string());
            // One word, not a rule for each.
            format!("TEXT\nTEXT: {}", texts.collect::<Vec<_>>().join(" | "))
        }
        Shape::Lark(text) => own::checked(text)?,
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

/// Says how the schema's texts are written, whatever it says about that itself, closes its objects and fits its numbers.
fn with(options: JsonCompileOptions, mut schema: Value) -> Result<Value, GrammarError> {
    cost::check(&schema)?;
    closed::close(&mut schema);
    numbers::fit(&mut schema)?;
    if schema.is_object() {
        options.apply_to(&mut schema);
    }
    Ok(schema)
}
