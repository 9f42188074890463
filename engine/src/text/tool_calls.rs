//! Tool calls in a choice's text. Owns: telling calls from text in pieces of any size, whatever their format. What is no call
//! after all stays text. Pure.

/// What a block of calls says.
mod block;
/// Gemma's way to write a call.
mod notation;
/// The formats.
pub mod format;

#[cfg(test)]
mod tests;

use lps_api::ids::CallId;
use lps_api::openai::{FunctionCall, ToolCall};
use lps_api::tool_call;

use self::block::{Block, FENCE, Read};
use self::format::{Called, ToolCallFormat};

/// How tool calls are told.
#[derive(Debug, Clone)]
pub struct ToolRules {
    /// How the model writes them.
    pub format: &'static ToolCallFormat,
    /// The call that ids are made from.
    pub call: CallId,
    /// Whether calls after the first are dropped.
    pub only_one: bool,
}

/// What may stand between calls that no mark tells from text.
const UNMARKED_BETWEEN: [char; 5] = [' ', '\n', '\r', '\t', ';'];

/// Splits a choice's text into text and calls.
#[derive(Debug, Clone)]
pub(super) struct ToolCallParser {
    rules: ToolRules,
    /// Which choice ids are made from.
    choice: u32,
    calls: u32,
    /// Text that may belong to a call, and white space before it.
    held: String,
    /// What follows the mark in it.
    block: Option<Block>,
    /// Whether there was text since the last call.
    text_shown: bool,
    /// Whether what looked like a call without a mark was none.
    is_marked_only: bool,
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
    pub(super) fn new(rules: &ToolRules, choice: u32) -> Self {
        Self {
            is_marked_only: !rules.format.goes_unmarked,
            rules: rules.clone(),
            choice,
            calls: 0,
            held: String::new(),
            block: None,
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
            if let Some(mut block) = self.block.take() {
                match block.read(&self.held, self.rules.format) {
                    Read::More => {
                        self.block = Some(block);
                        return parsed;
                    }
                    Read::Calls(calls, end) => {
                        self.held.drain(..end);
                        self.give(calls, &mut parsed.calls);
                    }
                    Read::Not if block.is_marked() => self.show(block.begin(), &mut parsed.text),
                    Read::Not => self.is_marked_only = true,
                }
            } else if let Some((before, block)) = self.begin() {
                self.show(before, &mut parsed.text);
                self.block = Some(block);
            } else {
                self.show(self.certain_len(), &mut parsed.text);
                return parsed;
            }
        }
    }

    /// What is held back, when nothing more comes: a call without end is text.
    pub(super) fn finish(&mut self) -> String {
        let mut text = String::new();
        let is_space = self.held.trim().is_empty();
        if self.block.take().is_some() || !(self.has_calls() && is_space) {
            self.show(self.held.len(), &mut text);
        }
        text
    }

    /// Shows the beginning of what is held. White space between calls is theirs.
    fn show(&mut self, length: usize, shown: &mut String) {
        let text: String = self.held.drain(..length).collect();
        let text = if self.text_shown || !self.has_calls() {
            text.as_str()
        } else {
            text.trim_start()
        };
        if !text.is_empty() {
            self.text_shown = true;
            shown.push_str(text);
        }
    }

    /// The text before a block that begins in what is held, without white space, and the block.
    fn begin(&self) -> Option<(usize, Block)> {
        if let Some(rest) = self.unmarked()
            && (rest.starts_with('{') || rest.starts_with(FENCE))
        {
            return Some((0, Block::new(self.held.len() - rest.len(), false)));
        }
        let mark = self.rules.format.mark;
        let at = self.held.find(mark)?;
        let before = self.held[..at].trim_end().len();
        Some((before, Block::new(at - before + mark.len(), true)))
    }

    /// What is held, where a call may begin without a mark.
    fn unmarked(&self) -> Option<&str> {
        let may = !self.is_marked_only && !self.text_shown;
        may.then(|| match self.has_calls() {
            true => self.held.trim_start_matches(UNMARKED_BETWEEN),
            false => self.held.trim_start(),
        })
    }

    /// All but a possible beginning of a call and white space before it.
    fn certain_len(&self) -> usize {
        if self.unmarked().is_some_and(|rest| FENCE.starts_with(rest)) {
            return 0;
        }
        let mark = self.rules.format.mark;
        let most = (mark.len() - 1).min(self.held.len());
        let beginning = (1..=most)
            .rev()
            .find(|length| self.held.ends_with(&mark[..*length]))
            .unwrap_or(0);
        self.held[..self.held.len() - beginning].trim_end().len()
    }

    fn give(&mut self, called: Vec<Called>, calls: &mut Vec<ToolCall>) {
        self.text_shown = false;
        for Called { name, arguments } in called {
            if self.rules.only_one && self.has_calls() {
                return;
            }
            let index = self.calls;
            self.calls += 1;
            calls.push(ToolCall {
                index: Some(index),
                id: tool_call::id(&self.rules.call, self.choice, index),
                r#type: "function".to_owned(),
                function: FunctionCall { name, arguments },
            });
        }
    }
}
