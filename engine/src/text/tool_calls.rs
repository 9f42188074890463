//! Tool calls in the Hermes form, `<tool_call>{"name": …, "arguments": …}</tool_call>`, out of the text of an answer.
//! Owns: telling calls from content while the text grows. What does not parse stays content: nothing is lost.

use serde::Deserialize;
use serde_json::value::RawValue;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// One call that the model made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The function.
    pub name: String,
    /// Its arguments, the model's own JSON text.
    pub arguments: String,
}

/// What a piece of text was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Content, safe to send.
    Content(String),
    /// A whole call.
    Call(ToolCall),
}

/// Splits a growing text.
#[derive(Debug, Default)]
pub struct Parser {
    /// Text from a possible `<tool_call>` on; or all of an open one.
    held: String,
    /// Whether a call was seen: white space around calls is no content then.
    seen: bool,
}

impl Parser {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &str) -> Vec<Part> {
        self.held.push_str(piece);
        let mut parts = Vec::new();
        loop {
            let Some(open) = self.held.find(OPEN) else {
                let keep = (1..OPEN.len()).rev().find(|&len| self.held.ends_with(&OPEN[..len])).unwrap_or(0);
                let blank = self.held.len() - keep - self.held[..self.held.len() - keep].trim_end().len();
                let rest = self.held.split_off(self.held.len() - keep - blank);
                let content = std::mem::replace(&mut self.held, rest);
                self.content(content, &mut parts);
                return parts;
            };
            let Some(length) = self.held[open..].find(CLOSE) else {
                let call = self.held.split_off(open);
                let content = std::mem::replace(&mut self.held, call);
                self.content(content.trim_end().to_owned(), &mut parts);
                return parts;
            };
            let rest = self.held.split_off(open + length + CLOSE.len());
            let block = self.held.split_off(open);
            let content = std::mem::replace(&mut self.held, rest);
            match parse(&block[OPEN.len()..length]) {
                Some(call) => {
                    self.content(content.trim_end().to_owned(), &mut parts);
                    self.seen = true;
                    parts.push(Part::Call(call));
                }
                None => self.content(content + &block, &mut parts),
            }
        }
    }

    /// What was held back, when nothing more comes: an unfinished call stays content.
    pub fn finish(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        let content = std::mem::take(&mut self.held);
        self.content(content, &mut parts);
        parts
    }

    fn content(&mut self, text: String, parts: &mut Vec<Part>) {
        if !text.is_empty() && !(self.seen && text.trim().is_empty()) {
            parts.push(Part::Content(text));
        }
    }
}

fn parse(block: &str) -> Option<ToolCall> {
    #[derive(Deserialize)]
    struct Hermes<'a> {
        name: String,
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let hermes: Hermes<'_> = serde_json::from_str(block.trim()).ok()?;
    let arguments = hermes.arguments.map_or("{}", RawValue::get).to_owned();
    Some(ToolCall { name: hermes.name, arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str, step: usize) -> Vec<Part> {
        let mut parser = Parser::default();
        let mut merged: Vec<Part> = Vec::new();
        let characters: Vec<char> = text.chars().collect();
        let pieces = characters.chunks(step).map(String::from_iter);
        let mut all: Vec<Part> = pieces.flat_map(|piece| parser.push(&piece)).collect();
        all.extend(parser.finish());
        for part in all {
            match (merged.last_mut(), part) {
                (Some(Part::Content(text)), Part::Content(more)) => text.push_str(&more),
                (_, part) => merged.push(part),
            }
        }
        merged
    }

    #[test]
    fn calls_are_told_from_content_however_the_text_is_cut() {
        let call = |name: &str, arguments: &str| {
            Part::Call(ToolCall { name: name.to_owned(), arguments: arguments.to_owned() })
        };
        let content = |text: &str| Part::Content(text.to_owned());
        let cases = [
            ("plain <tool> text", vec![content("plain <tool> text")]),
            (
                "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": [1, 2]}}\n</tool_call>",
                vec![content("Let me see."), call("f", "{\"x\": [1, 2]}")],
            ),
            (
                "<tool_call>{\"name\": \"f\"}</tool_call>\n<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>\n",
                vec![call("f", "{}"), call("g", "{}")],
            ),
            ("<tool_call>{broken</tool_call> x", vec![content("<tool_call>{broken</tool_call> x")]),
            ("a <tool_call>{\"name\":", vec![content("a<tool_call>{\"name\":")]),
        ];
        for (text, expected) in cases {
            for step in [1, 2, 7, 1000] {
                assert_eq!(parts(text, step), expected, "{text:?} by {step}");
            }
        }
    }
}
