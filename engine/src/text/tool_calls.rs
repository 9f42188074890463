//! Tool calls in a choice's text, in the Hermes form: `<tool_call>{"name": …, "arguments": …}</tool_call>`. Owns: telling
//! calls from text in pieces of any size. What is no call after all stays text. Pure.

use lps_api::ids::CallId;
use lps_api::openai::{FunctionCall, ToolCall};
use lps_api::tool_call;
use serde_json::Value;

use crate::text::python_json::{Layout, dumps};

/// Begins a call.
pub(super) const OPEN: &str = "<tool_call>";
/// Ends it.
pub(super) const CLOSE: &str = "</tool_call>";

/// Splits a choice's text into text and calls.
#[derive(Debug, Clone)]
pub(super) struct ToolCallParser {
    /// The call and its choice that ids are made from.
    call: CallId,
    choice: u32,
    /// Whether calls after the first are dropped.
    only_one: bool,
    calls: u32,
    /// Text that may belong to a call.
    held: String,
    inside: bool,
    /// Whether white space is held back because a call may follow.
    text_shown: bool,
}

/// What is certain after a piece.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parsed {
    /// Text outside of calls.
    pub(super) text: String,
    /// Calls whose end was seen.
    pub(super) calls: Vec<ToolCall>,
}

impl ToolCallParser {
    pub(super) fn new((call, choice): (CallId, u32), only_one: bool) -> Self {
        Self {
            call,
            choice,
            only_one,
            calls: 0,
            held: String::new(),
            inside: false,
            text_shown: false,
        }
    }

    /// Whether the choice called something.
    pub(super) fn has_calls(&self) -> bool {
        self.calls > 0
    }

    /// Takes the next piece of text.
    pub(super) fn push(&mut self, piece: &str) -> Parsed {
        self.held.push_str(piece);
        let mut parsed = Parsed::default();
        loop {
            if self.inside {
                let Some(end) = self.held.find(CLOSE) else {
                    return parsed;
                };
                let body: String = self.held.drain(..end).collect();
                self.held.drain(..CLOSE.len());
                self.inside = false;
                match self.call(&body) {
                    Some(call) => parsed.calls.extend(call),
                    None => self.show(&format!("{OPEN}{body}{CLOSE}"), &mut parsed.text),
                }
            } else if let Some(start) = self.held.find(OPEN) {
                let before: String = self.held.drain(..start).collect();
                self.held.drain(..OPEN.len());
                self.show(before.trim_end(), &mut parsed.text);
                self.inside = true;
            } else {
                let certain = self.certain_len();
                let text: String = self.held.drain(..certain).collect();
                self.show(&text, &mut parsed.text);
                return parsed;
            }
        }
    }

    /// What is held back, when nothing more comes: a call without end is text.
    pub(super) fn finish(&mut self) -> String {
        let mut text = String::new();
        let held = std::mem::take(&mut self.held);
        if self.inside {
            self.inside = false;
            self.show(OPEN, &mut text);
            self.show(&held, &mut text);
        } else if !(self.has_calls() && held.trim().is_empty()) {
            self.show(&held, &mut text);
        }
        text
    }

    /// Text outside of calls: white space between calls is theirs.
    fn show(&mut self, text: &str, shown: &mut String) {
        let text = if self.text_shown || !self.has_calls() {
            text
        } else {
            text.trim_start()
        };
        if !text.is_empty() {
            self.text_shown = true;
            shown.push_str(text);
        }
    }

    /// All but a possible beginning of a call and white space before it.
    fn certain_len(&self) -> usize {
        let most = (OPEN.len() - 1).min(self.held.len());
        let beginning = (1..=most)
            .rev()
            .find(|length| self.held.ends_with(&OPEN[..*length]))
            .unwrap_or(0);
        self.held[..self.held.len() - beginning].trim_end().len()
    }

    /// The call in a block: `None` where it is none, `Some(None)` where it is one too many.
    fn call(&mut self, body: &str) -> Option<Option<ToolCall>> {
        let block: Value = serde_json::from_str(body.trim()).ok()?;
        let name = block.get("name")?.as_str()?.to_owned();
        let arguments = match block.get("arguments").or_else(|| block.get("parameters")) {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(object) => dumps(object, Layout::default()),
        };
        if self.only_one && self.has_calls() {
            return Some(None);
        }
        let index = self.calls;
        self.calls += 1;
        self.text_shown = false;
        Some(Some(ToolCall {
            index: Some(index),
            id: tool_call::id(&self.call, self.choice, index),
            r#type: "function".to_owned(),
            function: FunctionCall { name, arguments },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, piece_bytes: usize) -> (String, Vec<(String, String)>) {
        let mut parser = ToolCallParser::new((CallId::parse("c").unwrap(), 0), false);
        let mut shown = String::new();
        let mut calls = Vec::new();
        for piece in text.as_bytes().chunks(piece_bytes) {
            let parsed = parser.push(std::str::from_utf8(piece).unwrap());
            shown += &parsed.text;
            calls.extend(parsed.calls);
        }
        shown += &parser.finish();
        for (index, call) in calls.iter().enumerate() {
            assert_eq!(call.index, Some(index as u32));
            assert_eq!(call.id, format!("call_c_0_{index}"));
        }
        let calls = calls
            .into_iter()
            .map(|call| (call.function.name, call.function.arguments));
        (shown, calls.collect())
    }

    fn check(text: &str, shown: &str, calls: &[(&str, &str)]) {
        for piece_bytes in [1, 2, 3, 7, 1000] {
            let (got, found) = run(text, piece_bytes);
            let found: Vec<_> = found
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .collect();
            assert_eq!(
                (got.as_str(), found.as_slice()),
                (shown, calls),
                "{text:?} by {piece_bytes}"
            );
        }
    }

    #[test]
    fn calls_are_told_from_text_wherever_the_pieces_end() {
        let one =
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"b\":1, \"a\":[2.0]}}\n</tool_call>";
        let call = ("f", "{\"b\": 1, \"a\": [2.0]}");
        check("plain <text> \n", "plain <text> \n", &[]);
        check(one, "", &[call]);
        check(&format!("Let me see. \n{one}"), "Let me see.", &[call]);
        check(&format!("{one}\n{one} "), "", &[call, call]);
        check(&format!("{one}\nDone."), "Done.", &[call]);
        check(
            "<tool_call>{\"name\":\"g\",\"arguments\":\"{}\"}</tool_call>",
            "",
            &[("g", "{}")],
        );
    }

    #[test]
    fn what_is_no_call_stays_text() {
        for text in [
            "<tool_call>{\"name\": 7}</tool_call>",
            "<tool_call>{\"name\": \"f\", </tool_call> and more",
            "<tool_call>\n{\"name\": \"f\"",
            "<tool",
        ] {
            check(text, text, &[]);
        }
    }

    #[test]
    fn one_call_is_enough_where_only_one_is_asked_for() {
        let mut parser = ToolCallParser::new((CallId::parse("c").unwrap(), 0), true);
        let one = "<tool_call>{\"name\": \"f\"}</tool_call>";
        let parsed = parser.push(&format!("{one}{one}"));
        assert_eq!((parsed.calls.len(), parsed.text.as_str()), (1, ""));
    }
}
